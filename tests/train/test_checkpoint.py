"""Checkpoints: written whole, read without running code, refused by name where they do not fit."""

import json
import pickle

import pytest
import torch
from torch import nn

from fewtheory.train import Player, checkpoint, fit

STEPS = 4


def net(width=3, seed=0):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, 1))


def loss(networks, batch, rng):
    noise = torch.randn(batch["x"].shape, generator=rng)
    return networks["net"](batch["x"] + noise).square().mean()


def go_on(folder, steps=STEPS, *, name="net", module=None, ema=0.9, optimizer=None):
    """A run in this folder."""
    made = optimizer or (lambda parameters: torch.optim.Adam(parameters, lr=1e-2))
    player = Player(net() if module is None else module, loss, made, ema=ema)
    data = torch.arange(12.0).view(6, 2) / 6
    rng = torch.Generator().manual_seed(1)
    return fit({name: player}, data, steps, rng=rng, batch=2, folder=folder, device="cpu")


@pytest.fixture
def folder(tmp_path):
    """A folder with the checkpoint of a finished run."""
    go_on(tmp_path)
    return tmp_path


def saved(folder):
    return torch.load(checkpoint.file_in(folder), weights_only=True)


def rewritten(folder, change):
    """The checkpoint with a change to what it holds."""
    state = saved(folder)
    change(state)
    torch.save(state, checkpoint.file_in(folder))


def test_a_checkpoint_holds_the_run_and_the_log_beside_it(folder):
    fitted = go_on(folder)  # nothing is left to do
    state = saved(folder)
    assert fitted.checkpoint == checkpoint.file_in(folder)
    assert state["step"] == STEPS
    kept = state["players"]["net"]
    for name, value in fitted.networks["net"].state_dict().items():
        assert torch.equal(value, kept["module"][name])
    for name, value in fitted.averages["net"].state_dict().items():
        assert torch.equal(value, kept["average"][name])
    lines = (folder / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == fitted.log == state["log"]["records"]


def test_the_folder_is_made_and_holds_two_files(tmp_path):
    go_on(tmp_path / "new" / "run")
    found = sorted(file.name for file in (tmp_path / "new" / "run").iterdir())
    assert found == ["checkpoint.pt", "log.jsonl"]


@pytest.mark.parametrize("written", [0, 100])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_the_previous_checkpoint_whole(
    folder, monkeypatch, written, error
):
    before = checkpoint.file_in(folder).read_bytes()

    def broken(state, stream):
        stream.write(b"x" * written)
        raise error

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(type(error)):
        go_on(folder, STEPS + 3)
    monkeypatch.undo()
    assert checkpoint.file_in(folder).read_bytes() == before
    assert sorted(file.name for file in folder.iterdir()) == ["checkpoint.pt", "log.jsonl"]
    assert go_on(folder, STEPS + 3).steps == STEPS + 3


# files that are none


class Code:
    """A pickle that would make a file where it is read."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


def refused(folder, match="is no checkpoint"):
    file = checkpoint.file_in(folder)
    with pytest.raises(ValueError, match=match) as caught:
        go_on(folder, STEPS + 1)
    assert str(folder) in str(caught.value)
    assert file.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(folder, share):
    file = checkpoint.file_in(folder)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    refused(folder)


def test_a_byte_that_flipped_is_refused_or_changes_nothing(folder, rng):
    file = checkpoint.file_in(folder)
    whole, expected, refusals = file.read_bytes(), saved(folder)["players"]["net"]["module"], 0
    for place in rng.integers(len(whole), size=100):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = go_on(folder, module=net(seed=5)).networks["net"].state_dict()
        except ValueError as error:
            assert str(folder) in str(error)  # noqa: PT017 (either branch is right)
            refusals += 1
        else:
            assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert refusals > 0


@pytest.mark.parametrize(
    "content",
    [b"not a checkpoint", b"PK\x03\x04" + bytes(100), bytes(64), b"\x80\x02", b"[1, 2]\n", b"\xff"],
)
def test_a_foreign_file_is_refused(folder, content):
    checkpoint.file_in(folder).write_bytes(content)
    refused(folder)


@pytest.mark.parametrize("foreign", [{"model": torch.zeros(2)}, torch.zeros(2), [1], {}])
def test_a_torch_file_of_another_kind_is_refused(folder, foreign):
    torch.save(foreign, checkpoint.file_in(folder))
    refused(folder, "is no checkpoint of a fewtheory training")


def bare(value, file):
    file.write_bytes(pickle.dumps(value, protocol=2))


@pytest.mark.parametrize("write", [torch.save, bare])
def test_a_pickle_with_code_is_refused_and_does_not_run(folder, write):
    write({"format": Code(folder / "ran")}, checkpoint.file_in(folder))
    refused(folder)
    assert not (folder / "ran").exists()


def test_another_version_is_refused(folder):
    rewritten(folder, lambda state: state.update(version=0))
    refused(folder, "must be of version 1, got 0")


@pytest.mark.parametrize("field", ["seed", "step", "players", "scaler", "log"])
def test_a_missing_field_is_named(folder, field):
    rewritten(folder, lambda state: state.pop(field))
    refused(folder, rf"must hold \['{field}'\]")


@pytest.mark.parametrize("field", ["module", "average", "optimizer", "moves"])
def test_a_missing_field_of_a_player_is_named(folder, field):
    rewritten(folder, lambda state: state["players"]["net"].pop(field))
    refused(folder, f"player 'net' must fit the checkpoint .*'{field}'")


# checkpoints of other runs


def other_groups(parameters):
    first, *others = parameters
    return torch.optim.Adam([{"params": [first]}, {"params": others}], lr=1e-2)


OTHERS = {
    "module of .*0.weight": {"module": net(4)},
    "module of .*0.bias.*, got": {"module": nn.Sequential(nn.Linear(2, 3, bias=False))},
    "with and without a moving average": {"ema": None},
    "optimizer with the groups": {"optimizer": other_groups},
    "optimizer with the groups .*betas": {"optimizer": torch.optim.SGD},
}


@pytest.mark.parametrize("named", OTHERS)
def test_a_player_that_does_not_fit_is_named_and_keeps_its_weights(folder, named):
    module = OTHERS[named].get("module", net(seed=5))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ValueError, match=f"fit: player 'net' must fit the checkpoint in .*{named}"):
        go_on(folder, STEPS + 1, **{**OTHERS[named], "module": module})
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(p.requires_grad for p in module.parameters())


def test_an_average_where_the_checkpoint_has_none_is_named(tmp_path):
    go_on(tmp_path, ema=None)
    with pytest.raises(ValueError, match=r"player 'net' .* with and without a moving average"):
        go_on(tmp_path, STEPS + 1)


def test_players_of_other_names_are_named(folder):
    with pytest.raises(ValueError, match=r"fit: players must be \['net'\], as in .*\['critic'\]"):
        go_on(folder, STEPS + 1, name="critic")


def test_fewer_steps_than_the_checkpoints_are_named(folder):
    module = net(seed=5)
    before = module[0].weight.detach().clone()
    with pytest.raises(ValueError, match=f"fit: steps must be at least {STEPS}, .*, got 2"):
        go_on(folder, 2, module=module)
    assert torch.equal(module[0].weight, before)
