"""Known samplers are named as themselves, and the best of the known is the best."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from fewtheory import paths, samplers
from fewtheory.audit.outcome import FLOW, flow_error
from fewtheory.audit.peers import best, twins
from fewtheory.audit.recovered import recover
from fewtheory.audit.subject import Told, subject
from fewtheory.plan import Grid, grids

VP, EDM = paths.VPLinear(), paths.EDM()
STEPS = 12
LAM = np.linspace(-3.0, 2.0, STEPS + 1)
FULL = {"lower_order_final": False}
pytestmark = pytest.mark.usefixtures("own_checks")  # a hundred plans a test: beartype doubles it
TAYLOR = {"order": 3, "solver_type": "taylor", **FULL}

KNOWN = [  # (sampler, settings, the path of its grid, its name)
    ("ddim", {"eta": 1.0}, VP, "ddim(eta=1.0)"),
    ("dpm_solver_pp", {"order": 2, **FULL}, VP, "dpm_solver_pp(order=2)"),
    (
        "dpm_solver_pp",
        {"order": 2, "lower_order_final": True},
        VP,
        "dpm_solver_pp(order=2, lower_order_final=True)",
    ),
    (
        "dpm_solver_pp",
        {"order": 2, "solver_type": "taylor", "prediction": "noise", **FULL},
        VP,
        "dpm_solver_pp(order=2, prediction='noise', solver_type='taylor')",
    ),
    ("dpm_solver_pp", TAYLOR, VP, "dpm_solver_pp(order=3, solver_type='taylor')"),
    (
        "dpm_solver_pp",
        {**TAYLOR, "repaired": False},
        VP,
        "dpm_solver_pp(order=3, solver_type='taylor', repaired=False)",
    ),
    (
        "dpm_solver_pp",
        {"order": 2, "eta": 1.0, **FULL},
        VP,
        "dpm_solver_pp(order=2, eta=1.0)",
    ),
    ("deis", {"degree": 2, "fit": "rho"}, VP, "deis(degree=2, fit='rho')"),
    ("deis", {"degree": 1, "fit": "t"}, EDM, "deis(degree=1, fit='t')"),
    ("ipndm", {"order": 4}, VP, "ipndm(order=4)"),
    ("unipc", {"order": 2, "bh": "bh1"}, VP, "unipc(order=2, bh='bh1')"),
    ("unipc", {"order": 2, "prediction": "noise"}, VP, "unipc(order=2, prediction='noise')"),
    (
        "unipc",
        {"order": 3, "lower_order_final": True},
        VP,
        "unipc(order=3, lower_order_final=True)",
    ),
    ("heun", {}, paths.RectifiedFlow(), "heun on RectifiedFlow()"),
    (
        "runge_kutta",
        {"method": "midpoint", "time": "rho"},
        VP,
        "runge_kutta(method='midpoint', time='rho')",
    ),
    *(
        (
            "dpm_solver_pp",
            {"order": o, "method": "singlestep", "solver_type": kind},
            VP,
            f"dpm_solver_pp(method='singlestep', inner='grid', order={o}{shown})",
        )
        for o, kind, shown in ((2, "midpoint", ""), (3, "taylor", ", solver_type='taylor'"))
    ),
]


def taken_apart(make, steps, path=VP):
    """The run of a function of steps that returns a plan; its network is on the path."""
    return recover(subject(make), steps, Told(path, "noise"))


def on_levels(name, path, lam=LAM, **chosen):
    """steps -> the plan of this sampler on these levels."""
    return lambda steps: samplers.SAMPLERS[name](path, grids.at_lams(path, lam), **chosen)


@pytest.mark.parametrize(("name", "chosen", "path", "call"), KNOWN, ids=[k[3] for k in KNOWN])
def test_a_sampler_of_the_package_is_named_as_itself(name, chosen, path, call):
    found = twins(taken_apart(on_levels(name, path, **chosen), STEPS, path))
    named = {t.call: t for t in found}
    assert call in named
    assert named[call].whole
    assert named[call].differs_at == ()
    # two forms of one float64 formula, a hundred roundings apart
    assert named[call].difference <= 1e-12


def test_unequal_steps_are_no_hindrance():
    lam = np.sort(np.random.default_rng(3).uniform(-3.0, 2.0, STEPS + 1))
    found = twins(taken_apart(on_levels("unipc", VP, lam, order=3), STEPS))
    assert [t.call for t in found if t.whole] == ["unipc(order=3)"]


def with_row(node, slope):
    """DPM-Solver++(2M) whose one step takes another share of its slope (a half is the rule's)."""

    def make(steps):
        plan = on_levels("dpm_solver_pp", VP, order=2, **FULL)(steps)
        B = plan.B.copy()
        B[node, node - 2] *= 2 * slope
        B[node, node - 1] = plan.B[node].sum() - B[node, node - 2]
        return replace(plan, B=B)

    return make


def test_a_last_step_of_first_order_is_known():
    found = twins(taken_apart(with_row(STEPS, 0.0), STEPS))[0]
    assert found.call == "dpm_solver_pp(order=2, lower_order_final=True)"
    assert found.whole


@pytest.mark.parametrize("node", [2, 6, STEPS])
def test_a_changed_step_is_the_only_difference(node):
    found = {t.call: t for t in twins(taken_apart(with_row(node, 0.3), STEPS))}
    one = found["dpm_solver_pp(order=2)"]
    assert one.differs_at == (node,)
    assert not one.whole


def test_a_step_of_first_order_in_the_middle_is_the_only_difference():
    found = {t.call: t for t in twins(taken_apart(with_row(6, 0.0), STEPS))}
    assert found["dpm_solver_pp(order=2)"].differs_at == (6,)


def test_a_sampler_that_nobody_knows_has_no_twin():
    def make(steps):
        plan = on_levels("dpm_solver_pp", VP, order=2, **FULL)(steps)
        B = plan.B.copy()
        for i in range(2, plan.nodes):  # a third of the slope in place of a half
            B[i, i - 2] *= 2 / 3
            B[i, i - 1] = plan.B[i].sum() - B[i, i - 2]
        return replace(plan, B=B)

    assert twins(taken_apart(make, STEPS)) == []


def test_a_last_step_to_clean_data_is_compared_too():
    lam = np.append(LAM[:-1], math.inf)
    found = twins(taken_apart(on_levels("dpm_solver_pp", VP, lam, order=2, **FULL), STEPS))
    call = "dpm_solver_pp(order=2)"
    assert [t.whole for t in found if t.call == call] == [True]


def test_a_run_that_does_not_go_one_way_has_no_twins():
    def there_and_back(model, x, steps):
        for s, t in itertools.pairwise((8.0, 4.0, 6.0, 2.0, 1.0)):
            x = x + (t - s) * model(x, s)
        return x

    judged = subject(there_and_back, path=EDM, prediction="noise")
    assert twins(recover(judged, 4, judged.told)) == []


# the best


def spacings(nfe, first, last, clean):
    """The three grids, each from its own definition."""
    u = np.linspace(0, 1, nfe if clean else nfe + 1)
    rho = np.exp(-np.array([first, last]))
    t = rho / (1 + rho)
    karras = (rho[0] ** (1 / 7) + (rho[1] ** (1 / 7) - rho[0] ** (1 / 7)) * u) ** 7
    time = t[0] + (t[1] - t[0]) * u
    found = {
        "equal steps in lam": first + (last - first) * u,
        "Karras": -np.log(karras),
        "equal steps in flow time": np.log((1 - time) / time),
    }
    return {k: np.append(v, math.inf) if clean else v for k, v in found.items()}


def contenders(lower):
    """Calls that are tried, each made here by hand."""
    s = samplers
    full = {"lower_order_final": lower}
    return {
        "ddim()": lambda g: s.ddim(FLOW, g),
        f"dpm_solver_pp(order=2, lower_order_final={lower})": lambda g: s.dpm_solver_pp(
            FLOW, g, 2, **full
        ),
        f"dpm_solver_pp(order=3, lower_order_final={lower})": lambda g: s.dpm_solver_pp(
            FLOW, g, 3, **full
        ),
        "deis(degree=2, fit='log_rho')": lambda g: s.deis(FLOW, g, 2, fit="log_rho"),
        "unipc(order=2)": lambda g: s.unipc(FLOW, g, 2),
        "unipc(order=3)": lambda g: s.unipc(FLOW, g, 3),
    }


@pytest.mark.parametrize(
    ("nfe", "first", "last", "clean"),
    [(6, -3.0, 2.5, False), (8, -5.0, 3.0, True), (16, -3.0, 2.0, False)],
)
def test_no_contender_beats_the_best(nfe, first, last, clean):
    winner = best(nfe, first, last, clean)
    assert winner is not None
    made = contenders(nfe < 15)
    errors = {}
    for (grid, lam), (call, make) in itertools.product(
        spacings(nfe, first, last, clean).items(), made.items()
    ):
        if clean and call.startswith("unipc"):
            continue  # it refuses sigma = 0
        plan = make(Grid(FLOW, lam))
        assert plan.nfe == nfe
        errors[call, grid] = flow_error(plan, 1, [nfe])
    least = min(errors.values())
    assert winner.flow == pytest.approx(least, rel=1e-6)  # its grids' roundings times condition
    assert errors[winner.call, winner.grid] == pytest.approx(least, rel=1e-6)


def test_more_evaluations_are_better():
    errors = [best(n, -3.0, 2.5, False) for n in (4, 8, 16)]
    flows = [b.flow for b in errors if b is not None]
    assert len(flows) == 3
    assert flows[0] > flows[1] > flows[2]


@pytest.mark.parametrize(
    ("nfe", "first", "last", "clean"), [(8, 2.0, -3.0, False), (1, -3.0, 2.0, True)]
)
def test_there_is_no_best_without_a_grid(nfe, first, last, clean):
    assert best(nfe, first, last, clean) is None


def test_a_start_in_pure_noise_is_bounded():
    assert best(6, -math.inf, 2.0, False) == best(6, -12.0, 2.0, False)
