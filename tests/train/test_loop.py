"""The training loop: the same numbers however a run is cut, and nothing left behind."""

import functools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

from fewtheory.train import Diverged, Fitted, Player, checkpoint, cosine_decay, fit

ROOT = Path(__file__).parents[2]
EPS = np.finfo(np.float64).eps
DATA = torch.arange(20.0).view(10, 2) / 20 - 0.5


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def sgd(rate):
    return lambda parameters: torch.optim.SGD(parameters, lr=rate)


def weight(*start):
    """A module that is one vector, in double precision."""
    module = nn.Module()
    module.w = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    return module


def networks_of(seed=0):
    """Two small networks with dropout."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return [
            nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 2))
            for _ in range(2)
        ]


def student_loss(networks, batch, rng):
    noise = torch.randn(batch["x"].shape, generator=rng)
    made = networks["student"](batch["x"] + noise)
    return (networks["critic"](made) - made).square().mean()


def critic_loss(networks, batch, rng):
    made = networks["student"](batch["x"]).detach()
    return (networks["critic"](made + 0.1 * torch.randn(made.shape, generator=rng))).square().mean()


def two_players(wrap=lambda loss: loss):
    """Everything that a run can have: dropout, averages, schedules, clipping, unequal turns."""
    student, critic = networks_of()
    momentum = functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9)
    return {
        "student": Player(
            student, wrap(student_loss), schedule=cosine_decay(20, 4), ema=0.99, clip=0.05
        ),
        "critic": Player(critic, critic_loss, momentum, every=3, ema=0.5),
    }


def run(players, steps, data=DATA, **settings):
    settings = {"rng": seeded(), "batch": 4, "log_every": 4, "device": "cpu", **settings}
    return fit(players, data, steps, **settings)


def saved(folder):
    return torch.load(checkpoint.file_in(folder), weights_only=True)


# the same numbers


STEPS = 13


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The checkpoint of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    run(two_players(), STEPS, folder=folder)
    return saved(folder)


@pytest.mark.parametrize("stops", [(1,), (4,), (5,), (6, 7, 12)])
def test_a_run_in_parts_is_the_run_in_one(tmp_path, whole, stops, same):
    for k, steps in enumerate((*stops, STEPS)):
        fitted = run(two_players(), steps, folder=tmp_path, rng=seeded(1 + k))  # the first counts
    assert same(saved(tmp_path), whole)
    assert same(fitted.log, whole["log"]["records"])


def test_a_run_of_another_seed_is_another(tmp_path, whole, same):
    run(two_players(), STEPS, folder=tmp_path, rng=seeded(2))
    assert not same(saved(tmp_path)["players"], whole["players"])


@pytest.mark.parametrize("killed", [2, 5, 8, 12])
@pytest.mark.parametrize("every", [2, 3, 5])
def test_a_run_that_was_killed_goes_on_to_the_same_numbers(tmp_path, whole, killed, every, same):
    calls = []

    def dying(loss):
        def function(networks, batch, rng):
            calls.append(0)
            if len(calls) > killed:
                raise KeyboardInterrupt
            return loss(networks, batch, rng)

        return function

    with pytest.raises(KeyboardInterrupt):
        run(two_players(dying), STEPS, folder=tmp_path, checkpoint_every=every)
    assert not (killed >= every) ^ checkpoint.file_in(tmp_path).exists()
    fitted = run(two_players(), STEPS, folder=tmp_path, checkpoint_every=every)
    assert same(saved(tmp_path), whole)
    assert same(fitted.log, whole["log"]["records"])


def test_what_steps_draw_depends_on_the_step_alone():
    def drawing(extra, seen):
        def data(n, rng):
            drawn = torch.rand(n, generator=rng)
            torch.rand(extra, generator=rng)
            return drawn

        def loss(networks, batch, rng):
            torch.rand(extra, generator=rng)  # after this, nothing of the step is drawn
            torch.rand(extra)
            return (networks["net"].w * seen(batch, rng)).sum()

        return {"net": Player(weight(0.0), loss)}, data

    records = []
    for extra in (0, 7):
        rows = []

        def seen(batch, rng, rows=rows):
            rows.append((batch["x"].tolist(), rng.initial_seed(), torch.initial_seed()))
            return 1.0

        players, data = drawing(extra, seen)
        run(players, 5, data)
        records.append(rows)
    assert records[0] == records[1]
    assert len({row[0][0] for row in records[0]}) == 5


def test_no_two_draws_of_a_run_share_a_seed():
    seeds = []

    def data(n, rng):
        seeds.append(rng.initial_seed())
        return torch.zeros(n)

    def loss(name):
        def function(networks, batch, rng):
            seeds.extend([rng.initial_seed(), torch.initial_seed()])  # its own, and dropout's
            return networks[name].w.sum()

        return function

    players = {name: Player(weight(0.0), loss(name)) for name in ("a", "b")}
    run(players, 50, data)
    assert len(set(seeds)) == len(seeds) == 50 * 5


def test_the_order_of_an_epoch_owes_nothing_to_a_losss_draws():
    orders, own = [], []

    def loss(networks, batch, rng):
        orders.append(batch["x"].tolist())
        fresh = torch.Generator().manual_seed(rng.initial_seed())
        own.append(torch.randperm(10, generator=fresh).tolist())
        return networks["net"].w.sum()

    run({"net": Player(weight(0.0), loss)}, 20, torch.arange(10), batch=10)
    assert not any(order in own for order in orders)


@pytest.mark.parametrize("make", [seeded, np.random.default_rng])
def test_the_seed_decides_the_run(make, same):
    found = [run(two_players(), 5, rng=make(seed)).networks["student"] for seed in (3, 3, 4)]
    a, b, c = (network.state_dict() for network in found)
    assert same(a, b)
    assert not same(a, c)


def test_a_generator_gives_its_next_run_another_seed(same):
    rng = seeded()
    a, b = (run(two_players(), 5, rng=rng).networks["student"].state_dict() for _ in range(2))
    assert not same(a, b)


def global_state():
    return torch.get_rng_state().tolist(), repr(np.random.get_state())  # noqa: NPY002 (it is watched)


@pytest.mark.parametrize("last", [5, None], ids=["finished", "diverged"])
def test_global_random_state_is_left_as_it_was(last):
    before = global_state()
    players = two_players()
    if last is None:
        players["late"] = Player(weight(0.0), lambda n, b, rng: n["late"].w.sum() * math.nan)
        with pytest.raises(Diverged):
            run(players, 5)
    else:
        run(players, 5)
    assert global_state() == before


# two players


def test_players_move_in_their_order_and_at_their_steps():
    moves = []

    def loss(name):
        def function(networks, batch, rng):
            moves.append(name)
            return networks[name].w.sum()

        return function

    every = {"b": 1, "a": 3, "c": 2}
    run({name: Player(weight(0.0), loss(name), every=k) for name, k in every.items()}, 7)
    assert "".join(moves) == "bacbbcbabcbbac"


def test_a_loss_sees_the_moves_made_before_it_in_its_step():
    seen = []

    def follow(networks, batch, rng):
        seen.append(networks["first"].w.item())
        return networks["second"].w.sum()

    first = Player(weight(0.0), lambda networks, batch, rng: networks["first"].w.sum(), sgd(1.0))
    run({"first": first, "second": Player(weight(0.0), follow)}, 3)
    assert seen == [-1.0, -2.0, -3.0]


def test_only_the_player_that_moves_gets_gradients():
    a, b = weight(2.0), weight(3.0)
    frozen = nn.Parameter(torch.ones(1, dtype=torch.float64), requires_grad=False)
    b.frozen = frozen
    seen = []

    def product(networks, batch, rng):
        moving = [networks[name].w.requires_grad for name in "ab"]
        gradients = [None if m.w.grad is None else m.w.grad.item() for m in (a, b)]
        training = [networks[name].training for name in "ab"]
        seen.append((moving, training, gradients, frozen.requires_grad))
        return (networks["a"].w * networks["b"].w * networks["b"].frozen).sum()

    players = {"a": Player(a, product, sgd(1.0)), "b": Player(b, product, sgd(1.0))}
    run(players, 2)
    # d(a b)/da = b: a <- 2 - 3 = -1; then b <- 3 + 1 = 4; a <- -1 - 4 = -5; b <- 4 + 5 = 9
    assert seen == [
        ([True, False], [True, False], [None, None], False),
        ([False, True], [False, True], [3.0, None], False),
        ([True, False], [True, False], [3.0, -1.0], False),
        ([False, True], [False, True], [4.0, -1.0], False),
    ]
    assert (a.w.item(), b.w.item()) == (-5.0, 9.0)
    assert frozen.grad is None
    assert a.w.requires_grad
    assert b.w.requires_grad
    assert not frozen.requires_grad
    assert not a.training


def test_a_frozen_network_may_serve_two_players():
    teacher = nn.Linear(1, 1).requires_grad_(False)
    players = {}
    for name in "ab":
        module = weight(0.0)
        module.teacher = teacher
        players[name] = Player(module, lambda n, b, rng, name=name: n[name].w.sum())
    assert run(players, 2).steps == 2
    assert not teacher.weight.requires_grad


# divergence


def nan_at(k, healthy):
    """A loss that is not a number at the k-th call."""
    calls = []

    def loss(networks, batch, rng):
        calls.append(0)
        value = healthy(networks, batch, rng)
        return value * math.nan if len(calls) == k + 1 else value

    return loss


def test_a_loss_that_is_not_a_number_names_step_player_and_checkpoint(tmp_path, whole, same):
    players = two_players(lambda loss: nan_at(7, loss))
    with pytest.raises(Diverged) as caught:
        run(players, STEPS, folder=tmp_path, checkpoint_every=5)
    error = caught.value
    assert (error.step, error.player, error.checkpoint) == (
        7,
        "student",
        checkpoint.file_in(tmp_path),
    )
    for part in ("step 7", "the loss of player 'student'", str(error.checkpoint)):
        assert part in str(error)
    assert saved(tmp_path)["step"] == 5
    run(two_players(), STEPS, folder=tmp_path)
    assert same(saved(tmp_path), whole)


def test_divergence_without_a_folder_says_that_nothing_was_kept():
    with pytest.raises(Diverged, match="last checkpoint: none") as caught:
        run(two_players(lambda loss: nan_at(0, loss)), 3)
    assert caught.value.checkpoint is None


def test_divergence_before_the_first_checkpoint_has_none(tmp_path):
    with pytest.raises(Diverged) as caught:
        run(two_players(lambda loss: nan_at(2, loss)), 3, folder=tmp_path)
    assert caught.value.checkpoint is None


def test_a_finite_loss_whose_gradient_is_not_is_caught_and_not_taken():
    net = weight(1.0, 0.0)

    def loss(networks, batch, rng):
        w = networks["net"].w
        return w[0] + w[1].square().sqrt()  # at 0: 0 times infinity

    with pytest.raises(Diverged, match="step 0: the gradient of player 'net' is not finite"):
        run({"net": Player(net, loss, sgd(1.0), ema=0.9)}, 3)
    assert net.w.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("every", [1, 5, 100])
def test_weights_that_are_not_finite_are_never_written(tmp_path, every):
    net = weight(0.0)
    # the gradient is finite, the step overflows: lr 1e300 times 1e300 at step 3
    net_loss = lambda networks, batch, rng: 1e300 * networks["net"].w.clamp(-1, 1).sum()  # noqa: E731
    player = Player(net, net_loss, sgd(1.0), lambda step: 1e300 if step == 3 else 1e-302)
    with pytest.raises(Diverged, match="a weight of player 'net' is not finite") as caught:
        run({"net": player}, 5, folder=tmp_path, checkpoint_every=every)
    file = checkpoint.file_in(tmp_path)
    if every == 1:
        assert caught.value.checkpoint == file
        assert saved(tmp_path)["step"] == 3
        assert torch.isfinite(saved(tmp_path)["players"]["net"]["module"]["w"]).all()
    else:
        assert not file.exists()


def test_weights_that_are_not_finite_are_not_given_back():
    player = Player(weight(0.0), lambda n, b, rng: 1e300 * n["net"].w.sum(), sgd(1e300))
    with pytest.raises(Diverged, match="step 0: a weight of player 'net' is not finite"):
        run({"net": player}, 1)


# what a run gives back


def test_a_run_gives_back_what_it_did(tmp_path):
    players = two_players()
    fitted = run(players, 5, folder=tmp_path)
    assert isinstance(fitted, Fitted)
    assert list(fitted.networks) == list(fitted.averages) == ["student", "critic"]
    assert fitted.networks["student"] is players["student"].module
    assert fitted.averages["student"] is not players["student"].module
    assert fitted.steps == 5
    assert fitted.seconds > 0
    assert fitted.checkpoint == tmp_path / "checkpoint.pt"
    assert run(two_players(), 2).checkpoint is None


def test_a_record_is_the_means_since_the_last():
    losses = iter([1.0, 2.0, 4.0, 8.0, 16.0])

    def loss(networks, batch, rng):
        w = networks["net"].w
        return (w - w.detach()).sum() + next(losses)

    player = Player(weight(0.0, 0.0, 0.0, 0.0), loss, schedule=lambda step: 1.0 + step)
    records = []
    fitted = run({"net": player}, 5, log_every=2, on_record=records.append)
    assert fitted.log == records
    kept = [
        (r["step"], r["player"], r["loss"], r["gradient_norm"], r["learning_rate"]) for r in records
    ]
    assert kept == [
        (2, "net", 1.5, 2.0, 0.002),
        (4, "net", 6.0, 2.0, 0.004),
        (5, "net", 16.0, 2.0, 0.005),
    ]
    seconds = [record["seconds"] for record in records]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_a_player_that_did_not_move_has_no_record():
    players = two_players()  # the critic moves at steps 0, 3, 6
    log = run(players, 6, log_every=1).log
    assert [record["step"] for record in log if record["player"] == "critic"] == [1, 4]


def test_the_progress_bar_shows_the_steps(capsys):
    run(two_players(), 3, progress=True)
    assert "100%" in capsys.readouterr().out
    run(two_players(), 3)
    assert capsys.readouterr().out == ""


# bad input


def bad(**settings):
    """A call with good arguments but for these."""
    given = {"players": two_players(), "data": DATA, "steps": 2, "rng": seeded()}
    return fit(**{**given, "batch": 4, "device": "cpu", **settings})


def losing(value):
    return {"net": Player(weight(0.0), lambda networks, batch, rng: value)}


SHARED = nn.Linear(1, 1)
BAD = {
    "players must be a mapping of names to Player, got {}": {"players": {}},
    "players must be a mapping of names": {"players": [1]},
    r"players\['a'\] must be a Player": {"players": {"a": SHARED}},
    "players must be without a common parameter": {
        "players": {name: Player(SHARED, student_loss) for name in "ab"}
    },
    "players must be without a common .*got .'inner', 'outer'.": {
        "players": {
            "inner": Player(SHARED, student_loss),
            "outer": Player(nn.Sequential(SHARED), student_loss),
        }
    },
    "steps must be at least 1": {"steps": 0},
    "steps must be an integer": {"steps": 2.0},
    "batch must be at least 1": {"batch": 0},
    "batch must be an integer": {"batch": True},
    "batch must be at most the 10 rows": {"batch": 11},
    "checkpoint_every must be at least 1": {"checkpoint_every": 0},
    "log_every must be at least 1": {"log_every": -1},
    "precision must be one of 'no', 'bf16', 'fp16', got 'half'": {"precision": "half"},
    "precision must be 'no' or 'bf16' on a CPU, got 'fp16'": {"precision": "fp16", "device": "cpu"},
    "device must be one of 'cpu'": {"device": "abacus"},
    "device must be one of 'cpu'.*got 'meta'": {"device": torch.device("meta")},
    "rng must be a numpy.random.Generator or a torch.Generator": {"rng": 3},
    "accelerator must be an Accelerator": {"accelerator": 3},
    "the loss of player 'net' must be a scalar tensor, got 1.0": {"players": losing(1.0)},
    "the loss of player 'net' must be a scalar": {"players": losing(torch.zeros(1))},
    "the loss of player 'net' must be differentiable": {"players": losing(torch.zeros(()))},
}


@pytest.mark.parametrize("named", BAD)
@pytest.mark.usefixtures("own_checks")
def test_bad_input_is_named(named):
    with pytest.raises((ValueError, TypeError), match=f"fit: {named}"):
        bad(**BAD[named])
    assert not AcceleratorState._shared_state
