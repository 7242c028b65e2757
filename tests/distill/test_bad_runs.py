"""Bad input in real trainings: what is named before any work, what stops a run, what it keeps."""

import copy

import pytest
import torch

from fewtheory import Model, distill, paths
from fewtheory.adapters import lora
from fewtheory.train import Diverged, fit
from fewtheory.train.checkpoint import load

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = "DiTTransformer2DModel"


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def nets_of(real, method):
    roles = {
        "msd": ("teacher", "student0", "fake0", "student1", "fake1"),
        "phased_dmd": ("teacher", "student", "fake", "earlier"),
    }.get(method, ("teacher", "student", "fake"))
    return {role: real.network(k) for k, role in enumerate(roles)}


# teacher and student on different paths


@pytest.mark.parametrize(
    ("method", "named"),
    [
        ("dmd", r"dmd: as_model\(student\)"),
        ("tdm", r"tdm: as_model\(student\)"),
        ("phased_dmd", r"phased_dmd: as_model\(student\)"),
        ("flash_dmd", r"flash_dmd: as_model\(student\)"),
        ("msd", r"msd: as_model\(students\[0\]\)"),
        ("sid", r"sid: as_model\(student\)"),
    ],
)
def test_a_teacher_on_another_path_is_named_by_its_method(reals, players, method, named):
    real, other = reals[SMALL], reals["SD3Transformer2DModel"]
    nets = nets_of(real, method)
    message = rf"{named} must be on the path of the teacher, RectifiedFlow\(.*, got Table"
    with pytest.raises(ValueError, match=message):
        players(real, method, nets, other.model(other.network()))


def test_teacher_score_matching_names_it_too(reals):
    real, exact = reals[SMALL], Model(lambda x, t: x, paths.EDM(), "data")
    message = "teacher_score_matching: as_model must be on the path of the teacher, EDM"
    with pytest.raises(ValueError, match=message):
        distill.teacher_score_matching(real.network(), real.model, exact)


def test_an_expert_of_another_path_is_named(reals, players):
    real, other = reals[SMALL], reals["SD3Transformer2DModel"]
    nets = nets_of(real, "phased_dmd") | {"earlier": other.network()}

    def as_model(network):
        return (other if network is nets["earlier"] else real).model(network)

    parts = distill.phases([0.9, 0.6, 0.3, 0.0], [0.3])
    both, teacher = (nets["student"], nets["fake"]), real.model(nets["teacher"])
    with pytest.raises(ValueError, match=r"phased_dmd: as_model\(earlier0\) must be on the path"):
        distill.phased_dmd(*both, as_model, teacher, parts, [nets["earlier"]])


# guidance and conditions that are not there


def test_guidance_without_what_stands_for_no_condition_is_refused(real):
    network = real.network()
    for null in (None, {}):
        with pytest.raises(ValueError, match="null must name the conditions that stand for none"):
            real.model(network, guidance=4.0, null=null)


def without(batch, name):
    return {key: value for key, value in batch.items() if key != name}


@pytest.mark.parametrize("method", ["dmd", "tdm", "sid"])
def test_a_guided_teacher_without_its_condition_stops_the_run(real, method):
    """Both halves of the guided call would be the unconditional one, and guidance nothing."""
    nets = nets_of(real, method)
    teacher = real.model(nets["teacher"], guidance=4.0, null=real.null)

    def as_model(network):  # of networks that know the conditions by themselves
        model = real.model(network)
        return model.given(**{k: v for k, v in real.batch(2).items() if k != "x"})

    steps = distill.FewSteps([0.5], "deterministic" if method == "tdm" else "renoise")
    moving = getattr(distill, method)(nets["student"], nets["fake"], as_model, teacher, steps)
    before = [copy.deepcopy(net.state_dict()) for net in nets.values()]
    last = sorted(real.conditions)[-1]
    data = without(real.batch(2), last)
    message = rf"adapters.torch.model: the conditions must be with \['{last}'\], to guide by"
    with pytest.raises(ValueError, match=message):
        fit(moving, data, 2, rng=seeded(), batch=2)
    for net, kept in zip(nets.values(), before, strict=True):
        assert all(torch.equal(v, kept[k]) for k, v in net.state_dict().items())
        assert all(p.requires_grad for p in net.parameters())


def test_a_batch_without_a_condition_says_which_ones_there_were(real, players, tmp_path):
    nets = nets_of(real, "tdm")
    before = {role: copy.deepcopy(net.state_dict()) for role, net in nets.items()}
    for name in real.conditions:
        there = sorted({*real.conditions, *real.fixed} - {name})
        moving = players(real, "tdm", nets)
        with pytest.raises((AttributeError, TypeError, ValueError)) as caught:
            fit(moving, without(real.batch(2), name), 2, rng=seeded(), batch=2, folder=tmp_path)
        notes = getattr(caught.value, "__notes__", [])
        assert notes == [f"adapters.torch.model: called with the conditions {there}"]
    for role, net in nets.items():
        assert all(torch.equal(v, before[role][k]) for k, v in net.state_dict().items())
    assert list(tmp_path.iterdir()) == []


def test_msd_asks_for_the_condition_that_routes(reals, players):
    moving = players(reals[SMALL], "msd", nets_of(reals[SMALL], "msd"))
    data = without(reals[SMALL].batch(3), "class_labels")
    with pytest.raises(ValueError, match="msd: a batch must be a mapping with 'class_labels'"):
        fit(moving, data, 1, rng=seeded(), batch=3)


@pytest.mark.parametrize("method", ["dmd", "tdm", "phased_dmd", "flash_dmd", "sid"])
def test_a_batch_without_samples_is_named_by_its_method(reals, players, method):
    real = reals[SMALL]
    moving, data = players(real, method, nets_of(real, method)), without(real.batch(2), "x")
    with pytest.raises(ValueError, match=f"{method}: a batch must be a mapping with 'x'"):
        fit(moving, data, 1, rng=seeded(), batch=2)


# a loss that is not finite


class Fault:
    """A network's output is not a number at one of its calls; `calls` counts them."""

    def __init__(self, network, at=None):
        self.calls, self.at = 0, at
        network.register_forward_hook(self)

    def __call__(self, module, given, out):
        self.calls += 1
        if self.calls == self.at:
            out.sample.detach().fill_(float("nan"))
        return out


def run(real, players, method, role, folder, steps, fault, as_lora):
    """A run whose network `role` fails at its call number `fault`; its calls after each step."""
    nets, seen = nets_of(real, method), []
    if as_lora:
        nets = {"teacher": nets["teacher"]}
        nets |= lora.adapters(nets["teacher"], ["student", "fake"], rng=seeded(), rank=2)
    counted = Fault(nets[role], fault)
    settings = {"every": 1} if method == "dmd" else {}
    for who in ("student", "fake"):
        settings[f"{who}_settings"] = {"ema": 0.9}
    moving = players(real, method, nets, **settings)
    fitted = fit(
        moving,
        real.batch(4),
        steps,
        rng=seeded(),
        batch=2,
        folder=folder,
        checkpoint_every=1,
        log_every=1,
        on_record=lambda record: seen.append((record["step"], counted.calls)),
    )
    return fitted, seen


@pytest.mark.parametrize(
    ("name", "method", "role", "player", "as_lora"),
    [
        ("UNet2DModel", "dmd", "teacher", "student", False),
        ("DiTTransformer2DModel", "sid", "fake", "fake", False),
        ("UNet2DConditionModel", "tdm", "fake", "fake", True),
        ("FluxTransformer2DModel", "flash_dmd", "student", "critic", True),
        ("FluxTransformer2DModel", "phased_dmd", "fake", "fake", False),
    ],
)
def test_a_run_that_is_stopped_by_a_fault_goes_on_to_the_same_numbers(
    reals, players, tmp_path, name, method, role, player, as_lora
):
    """In the third step the network's first or last output, for the player there, is no number."""
    whole, seen = run(reals[name], players, method, role, None, 3, None, as_lora)
    calls = dict(seen)
    at = calls[2] + 1 if player == "student" else calls[3]
    cut = tmp_path / "cut"
    with pytest.raises(Diverged) as caught:
        run(reals[name], players, method, role, cut, 3, at, as_lora)
    error = caught.value
    assert (error.step, error.player, error.checkpoint) == (2, player, cut / "checkpoint.pt")
    assert str(error) == (
        f"fit: step 2: the loss of player {player!r} is not finite; "
        f"last checkpoint: {cut / 'checkpoint.pt'}"
    )
    assert load(cut)["step"] == 2
    resumed, _ = run(reals[name], players, method, role, cut, 3, None, as_lora)
    for one, two in ((whole.networks, resumed.networks), (whole.averages, resumed.averages)):
        for key, network in one.items():
            for p, q in zip(network.parameters(), two[key].parameters(), strict=True):
                assert torch.equal(p, q)
    logs = [[without(record, "seconds") for record in fitted.log] for fitted in (whole, resumed)]
    assert logs[0] == logs[1]
