"""TDM's players: their losses against closed forms, what each network is told, where a run ends."""

import math

import pytest
import torch
from torch import nn

from fewtheory import Model, paths, testbeds
from fewtheory.distill.parts.intervals import interval_level, step_down, step_gain
from fewtheory.distill.parts.step_levels import Interval
from fewtheory.distill.parts.student import FewSteps
from fewtheory.distill.parts.trajectory_losses import (
    End,
    fake_regression,
    min_snr,
    student_regression,
)
from fewtheory.distill.tdm import tdm, unified_steps
from fewtheory.distill.theory.trajectories import gaussian_trajectory, state_gain
from fewtheory.distill.theory.trajectory_report import trajectory_report
from fewtheory.model import Level, guided
from fewtheory.train import fit

TRIG = paths.Trigonometric()
C = 0.49
TEACHER = testbeds.Gaussian([0.0], C)
TWO = FewSteps([1.0, 0.5], "deterministic")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class PerStep(nn.Module):
    """x0hat = g_k x, one gain for each of the times."""

    def __init__(self, gains, times=(1.0, 0.5)):
        super().__init__()
        self.g = nn.Parameter(torch.tensor(gains, dtype=torch.float64))
        self.times = torch.tensor(times, dtype=torch.float64)

    def forward(self, x, t):
        k = (t.reshape(-1, 1).double() - self.times).abs().argmin(1)
        return self.g[k][:, None] * x


class Slopes(nn.Module):
    """x0hat = (piecewise linear in t) x: enough for any Gaussian law above a step."""

    def __init__(self, pieces=41):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(pieces, dtype=torch.float64))

    def forward(self, x, t):
        at = t.double().clamp(0, 1) * (self.w.numel() - 1)
        low = at.floor().long().clamp(max=self.w.numel() - 2)
        share = at - low
        return ((1 - share) * self.w[low] + share * self.w[low + 1])[:, None] * x


def as_model(network):
    return Model(lambda x, t: network(x, t), TRIG, "data")


def players(student=None, fake=None, **settings):
    student, fake = student or PerStep([0.3, 0.6]), fake or Slopes()
    teacher = settings.pop("teacher", TEACHER.model(TRIG))
    return tdm(student, fake, as_model, teacher, settings.pop("steps", TWO), **settings)


def networks(moving):
    return {name: player.module for name, player in moving.items()}


def batch(n=64):
    return {"x": torch.zeros(n, 1, dtype=torch.float64)}


ONE = FewSteps([0.8], "deterministic")


@pytest.mark.parametrize("loss", ["kl", "vector"])
def test_a_student_at_the_teachers_law_with_an_exact_fake_score_rests(loss):
    # one step from .8 to 0: the trajectory law is that of the noised x0hat
    v = float(TRIG.sigma(0.8)) ** 2
    student = PerStep([math.sqrt(C / v)], (0.8,))

    class Exact(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(()))

        def forward(self, x, t):
            return TEACHER.model(TRIG, "data")(x, t) + 0 * self.unused

    moving = players(student, Exact(), steps=ONE, loss=loss)
    value = moving["student"].loss(networks(moving), batch(), generator())
    (slope,) = torch.autograd.grad(value, student.g)
    # two exact denoisers differ by roundings; one over c = .00054 amplifies them
    assert abs(float(slope)) < 1e-11


def test_the_students_gradient_is_that_of_the_divergence():
    g, n = 0.5, 200_000
    student = PerStep([g], (0.8,))
    v = float(TRIG.sigma(0.8)) ** 2

    class Fake(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(()))

        def forward(self, x, t):
            a, s = TRIG.alpha(t)[:, None], TRIG.sigma(t)[:, None]
            return a * g * g * v / (a * a * g * g * v + s * s) * x + 0 * self.unused

    moving = players(student, Fake(), steps=ONE, loss="kl", least=0.4, margin=0.3999)
    value = moving["student"].loss(networks(moving), batch(n), generator())
    (slope,) = torch.autograd.grad(value, student.g)
    a, s = (float(f(0.4)) for f in (TRIG.alpha, TRIG.sigma))
    expected = a * a * g * v * (1 / (a * a * C + s * s) - 1 / (a * a * g * g * v + s * s))
    assert float(slope) == pytest.approx(expected, abs=5 * 1.0 / math.sqrt(n))


@pytest.mark.parametrize("law", ["trajectory", "renoised", "naive"])
def test_the_fakes_loss_is_least_at_the_slope_of_its_law(law):
    g, t, s, tau, n = 0.3, 1.0, 0.5, 0.8, 200_000
    rng = generator(1)
    x_t, eps = torch.randn(2, n, 1, generator=rng, dtype=torch.float64)
    span, taus = Interval(t, s, tau, tau), torch.full((n,), tau, dtype=torch.float64)
    end = End(g * x_t, step_down(TRIG, x_t, g * x_t, t, s), eps, taus, span, {})
    a, b = float(TRIG.alpha(tau)), float(TRIG.sigma(tau))
    h, (r, beta) = state_gain(TRIG, t, s, g), interval_level(TRIG, s, tau)
    V = (r * h) ** 2 + beta**2
    exact = {  # (1 - sigma^2 / V) / alpha is the score -x / V as a clean prediction
        "trajectory": (1 - b * b / V) / a,
        "renoised": a * g * g / (a * a * g * g + b * b),
        "naive": r * g * h / V,
    }
    slope = torch.tensor(exact[law], dtype=torch.float64, requires_grad=True)
    fake = Model(lambda x, t: slope * x, TRIG, "data")
    value = fake_regression(fake, end, law, "sum", lambda level: torch.ones_like(level.alpha))
    (gradient,) = torch.autograd.grad(value, slope)
    # a mean of n terms, residual times x times weight, whose std is under 4 here
    assert abs(float(gradient)) < 5 * 4 / math.sqrt(n)
    others = [v for name, v in exact.items() if name != law]
    assert min(abs(exact[law] - v) for v in others) > 5 * 4 / math.sqrt(n)  # they can be told apart


@pytest.mark.parametrize("law", ["trajectory", "renoised"])
def test_a_run_ends_at_the_fixed_point_of_its_law(law):
    def adam(rate):
        return lambda parameters: torch.optim.Adam(parameters, lr=rate, betas=(0.0, 0.99))

    student, fake = PerStep([0.3, 0.6]), Slopes()
    schedule = {"schedule": lambda k: 1 / (1 + k / 40)}
    moving = players(
        student,
        fake,
        law=law,
        loss="kl",
        weight=lambda level: level.sigma**2,
        every=2,
        student_settings={"optimizer": adam(0.08), **schedule},
        fake_settings={"optimizer": adam(0.15), **schedule},
    )
    fit(moving, torch.zeros(4096, 1, dtype=torch.float64), 200, rng=generator(), batch=4096)
    exact = gaussian_trajectory(C, TRIG, [1, 0.5, 0], law)
    # a quarter of the two laws' distance, .863 against 1.202: the last moves' noise is under .04
    std = abs(state_gain(TRIG, 1.0, 0.5, student.g[0].item()))
    assert std == pytest.approx(math.sqrt(exact.variances[0]), abs=0.085)
    assert abs(student.g[1].item()) * std == pytest.approx(math.sqrt(C), abs=0.085)


@pytest.mark.parametrize("law", ["trajectory", "renoised", "naive"])
@pytest.mark.parametrize("loss", ["vector", "elements", "kl"])
def test_each_player_moves_its_own_network_alone(law, loss):
    moving = players(law=law, loss=loss, importance="mean", middle=law != "renoised")
    for name, player in moving.items():
        value = player.loss(networks(moving), batch(), generator())
        assert value.shape == ()
        assert torch.isfinite(value)
        other = moving["fake" if name == "student" else "student"].module
        slopes = torch.autograd.grad(value, list(other.parameters()), allow_unused=True)
        assert all(slope is None for slope in slopes), name


def test_the_students_gradient_is_the_huber_forms_in_the_demos_and_in_the_papers_way():
    x_t = torch.randn(1, 5, generator=generator(), dtype=torch.float64)
    x0 = (0.4 * x_t).requires_grad_()
    span, tau = Interval(0.8, 0.0, 0.4, 0.4), torch.full((1,), 0.4, dtype=torch.float64)
    end = End(x0, x0, torch.zeros_like(x_t), tau, span, {})
    real, fake = (Model(lambda x, t, k=k: k * x, TRIG, "data") for k in (0.9, 0.5))
    up = float(TRIG.alpha(0.4)) * x0.detach()
    D = (0.5 - 0.9) * up  # x0hat less its target
    size = float((x0.detach() - 0.9 * up).abs().mean())
    for loss, c in (("vector", 0.00054 * math.sqrt(5)), ("elements", 1e-3)):
        (gradient,) = torch.autograd.grad(student_regression(end, real, fake, loss), x0)
        length = D.norm() if loss == "vector" else D.abs()
        expected = D / (length**2 + c**2).sqrt() / size
        assert gradient.flatten().tolist() == pytest.approx(expected.flatten().tolist(), rel=1e-12)


def told_players(**settings):
    """Players whose networks write down what they are told."""
    seen = {"student": [], "fake": [], "teacher": []}

    class Told(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name, self.g = name, nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

        def forward(self, x, t, **cond):
            seen[self.name].append(cond)
            return self.g * x

    def model(network):
        return Model(lambda x, t, **cond: network(x, t, **cond), TRIG, "data")

    def teacher(x, t, **cond):
        seen["teacher"].append(cond)
        return 0.5 * x

    args = Told("student"), Told("fake"), model, Model(teacher, TRIG, "data")
    return seen, tdm(*args, settings.pop("steps", TWO), **settings)


def test_the_step_is_told_to_the_fake_score_alone():
    seen, moving = told_players(intervals="to the end", step_as="place")
    for seed in range(6):
        moving["student"].loss(networks(moving), batch(3), generator(seed))
    assert {tuple(cond["place"].tolist()) for cond in seen["fake"]} == {(0, 0, 0), (1, 1, 1)}
    assert all(not cond for name in ("student", "teacher") for cond in seen[name])


def test_the_number_of_steps_is_told_to_both_networks_and_not_to_the_teacher():
    steps = unified_steps(0.9, [1, 2, 4])
    seen, moving = told_players(steps=steps, count_as="count")
    labels = torch.arange(3)
    for seed in range(12):
        moving["student"].loss(networks(moving), {**batch(3), "label": labels}, generator(seed))
    for name in ("student", "fake"):
        counts = {int(cond["count"][0]) for cond in seen[name]}
        assert counts == {1, 2, 4}, name
        assert all(cond["label"] is labels for cond in seen[name])
    assert all(set(cond) == {"label"} for cond in seen["teacher"])


def test_guidance_is_in_the_target_as_the_demo_has_it():
    # x0hat_c - x0hat_fake + (w - 1)(x0hat_c - x0hat_u) is the guided teacher less the fake score
    free, given = (Model(lambda x, t, k=k: k * x, TRIG, "data") for k in (0.4, 0.7))
    student, w = PerStep([0.3], (0.8,)), 4.5

    class Half(nn.Linear):
        def forward(self, x, t=None):
            return 0.5 * x + 0 * self.weight.double()

    def gradient(teacher):
        moving = players(student, Half(1, 1), teacher=teacher, steps=ONE)
        value = moving["student"].loss(networks(moving), batch(), generator())
        return torch.autograd.grad(value, student.g)[0].item()

    by_hand = Model(lambda x, t: (0.7 + (w - 1) * (0.7 - 0.4)) * x, TRIG, "data")
    assert gradient(guided(free, given, w)) == pytest.approx(gradient(by_hand), rel=1e-12)
    assert gradient(given) != pytest.approx(gradient(by_hand), rel=1e-3)


def test_the_levels_drawn_are_those_of_the_step():
    seen = []
    fake = Slopes()

    class Probe(nn.Module):
        def forward(self, x, t):
            seen.append(t)
            return fake(x, t)

    for law, importance, low in (("trajectory", "sum", 0.51), ("renoised", "sum", 0.6182)):
        moving = players(fake=fake, law=law, importance=importance)
        seen.clear()
        for seed in range(8):
            nets = {**networks(moving), "fake": Probe()}
            moving["fake"].loss(nets, batch(512), generator(seed))
        upper = [t for t in seen if float(t.max()) > 0.5]
        assert 0 < len(upper) < 8
        t = torch.cat(upper)
        assert low <= float(t.min()) < low + 0.02  # above the wall where the weight is exact
        assert 0.97 < float(t.max()) <= 0.99


def test_a_batch_gives_the_same_loss_to_the_same_generator():
    moving = players(middle=True)
    values = [moving["fake"].loss(networks(moving), batch(), generator(4)).item() for _ in range(2)]
    assert values[0] == values[1]


def test_min_snr_caps_the_weight():
    level = Level(torch.tensor([0.6, 0.99]), torch.tensor([0.8, 0.1]))
    assert min_snr()(level).tolist() == pytest.approx([0.5625, 5.0])


# the report


def report(gains, times=(1.0, 0.75, 0.5, 0.25), n=20_000):
    steps = FewSteps(times, "deterministic")
    data = 0.7 * torch.randn(n, 1, generator=generator(5), dtype=torch.float64)
    student = as_model(PerStep(list(gains), times))
    return trajectory_report(student, steps, data, rng=generator(6))


@pytest.mark.parametrize("law", ["trajectory", "renoised"])
def test_the_report_tells_which_law_a_student_has_been_taught(law):
    exact = gaussian_trajectory(C, TRIG, [1, 0.75, 0.5, 0.25, 0], law)
    found = report(exact.gains)
    wanted = found.teacher_std if law == "trajectory" else found.renoised_std
    # stds of 20,000 samples, the student's and the data's
    assert found.std == pytest.approx(wanted, rel=5 / math.sqrt(20_000))
    assert found.std[1] != pytest.approx(
        found.renoised_std[1 if law == "trajectory" else 3], rel=0.1
    )
    assert found.times.tolist() == [0.75, 0.5, 0.25, 0.0]
    assert found.mean_gap.max() < 5 * 2 / math.sqrt(20_000)


def test_the_report_has_the_weights_share_and_its_wall():
    found = report([0.1, 0.3, 0.6, 0.9])
    assert (found.fraction <= found.mean_fraction + 1e-12).all()
    assert found.wall[1] == pytest.approx(0.6081734, abs=1e-6)
    assert found.fraction[-1] == pytest.approx(1.0)  # at s = 0 the two laws are one
    high = FewSteps([0.55, 0.5], "deterministic")  # a step under its wall
    data = torch.randn(50, 1, generator=generator())
    narrow = trajectory_report(as_model(PerStep([0.5, 0.5])), high, data, rng=generator())
    assert narrow.fraction[0] == 0.0


# bad input


OTHER = TEACHER.model(paths.RectifiedFlow())


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"teacher": OTHER}, ValueError, r"tdm: as_model\(student\) must be on the path of the"),
        ({"teacher": TEACHER}, TypeError, "tdm: teacher must be a Model, got Gaussian"),
        ({"student": 3}, TypeError, "tdm: student must be a torch module, got 3"),
        ({"steps": [1.0]}, TypeError, "tdm: steps must be FewSteps, got 1.0"),
        ({"steps": 3}, TypeError, "tdm: steps must be FewSteps, got 3"),
        ({"steps": []}, ValueError, "tdm: steps must be FewSteps, or one or more"),
        ({"steps": FewSteps([1.0])}, ValueError, "tdm: steps must be deterministic"),
        ({"steps": [TWO, TWO]}, ValueError, "tdm: count_as must be the name of a condition"),
        ({"count_as": "k", "step_as": "k"}, ValueError, "tdm: step_as must be another name"),
        ({"law": "exact"}, ValueError, "tdm: law must be one of 'trajectory', 'renoised', 'nai"),
        ({"importance": "max"}, ValueError, "tdm: importance must be one of 'sum', 'mean'"),
        ({"loss": "l2"}, ValueError, "tdm: loss must be one of 'vector', 'elements', 'kl'"),
        ({"intervals": "all"}, ValueError, "step_intervals: intervals must be one of"),
        ({"every": 0}, ValueError, "tdm: every must be at least 1, got 0"),
        ({"c": 0.0}, ValueError, "tdm: c must be above 0, got 0.0"),
        ({"limit": 0.0}, ValueError, "tdm: limit must be above 0, got 0.0"),
        ({"margin": 0.3}, ValueError, "step_intervals: margin must be small enough for the step"),
        ({"least": -1.0}, ValueError, "step_intervals: least must be"),
        ({"law": "renoised", "middle": True}, ValueError, "tdm: middle must be False with the"),
        (
            {"law": "renoised", "steps": FewSteps([0.55, 0.5], "deterministic")},
            ValueError,
            "tdm: steps must be of steps that reach above the weight's wall",
        ),
    ],
)
def test_bad_input_is_named_before_any_work(settings, error, message):
    with pytest.raises(error, match=message):
        players(**settings)


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: unified_steps(0.0, [1]), ValueError, "unified_steps: last must be above 0"),
        (lambda: unified_steps(0.9, []), ValueError, "unified_steps: counts must be one or more"),
        (lambda: unified_steps(0.9, [0]), ValueError, "unified_steps: counts must be at least 1"),
        (lambda: min_snr(-1.0), ValueError, "min_snr: most must be"),
        (
            lambda: trajectory_report(3, TWO, torch.zeros(4, 1), rng=generator()),
            TypeError,
            "trajectory_report: student must be a Model, got int",
        ),
        (
            lambda: trajectory_report(OTHER, FewSteps([1.0]), torch.zeros(4, 1), rng=generator()),
            ValueError,
            "trajectory_report: steps must be FewSteps with deterministic",
        ),
        (
            lambda: trajectory_report(OTHER, TWO, torch.zeros(1, 1), rng=generator()),
            ValueError,
            "trajectory_report: data must be of shape",
        ),
        (
            lambda: trajectory_report(OTHER, TWO, torch.zeros(4, 1), rng=3),
            TypeError,
            "trajectory_report: rng",
        ),
    ],
)
def test_the_rest_names_bad_input_too(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_gain_of_a_step_is_what_the_loss_in_the_state_is_scaled_by():
    # kl on x_s reaches x0hat through this factor: .414 of the step from .75 to .5
    assert step_gain(TRIG, 0.75, 0.5) == pytest.approx(math.sqrt(2) - 1, rel=1e-14)
