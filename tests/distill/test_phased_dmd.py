"""Phased DMD's players, its sampler, and the toy in which phases keep what random exits lose."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from fewtheory import Model, paths, testbeds
from fewtheory.distill.parts.intervals import interval_gradient
from fewtheory.distill.parts.student import FewSteps, leave
from fewtheory.distill.phase_runs import sample_phases, train_phases
from fewtheory.distill.phased_dmd import Phase, phased_dmd, phases, run_steps
from fewtheory.distill.theory.exit_pooling import exit_pooling
from fewtheory.distill.theory.linear_world import linear_kl
from fewtheory.distill.theory.two_exits import two_exits

RF, TRIG = paths.RectifiedFlow(), paths.Trigonometric()
TEACHER = testbeds.Gaussian([0.5], 0.64)
PARTS = phases([1, 0.75, 0.5, 0.25, 0], [0.5])
TWO_STEPS = phases([1, 0.5, 0], [0.5])
TWO = testbeds.mixture_1d([0.5, 0.5], [-2.0, 2.0], [0.3, 0.3])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Affine(nn.Module):
    """x0hat = gain x + shift, in float64, counted."""

    def __init__(self, gain=0.3, shift=0.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([gain], dtype=torch.float64))
        self.shift = nn.Parameter(torch.tensor([shift], dtype=torch.float64))
        self.calls, self.told = [], []

    def forward(self, x, t, **cond):
        self.calls.append(float(t[0]))
        self.told.append(cond)
        return self.gain * x + self.shift


class GaussianFake(nn.Module):
    """The exact denoiser where x_s = alpha_s (mean + std z) + sigma_s n, for any s below t.

    With log_var of what may be negative: the variance of x_s / alpha_s less rho_s^2 is the
    parameter, so that a law that is narrower than the noise can be learnt too.
    """

    def __init__(self, mean=0.0, variance=0.3):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean, dtype=torch.float64))
        self.variance = nn.Parameter(torch.tensor(variance, dtype=torch.float64))

    def forward(self, x, t, **cond):
        t = t.reshape(-1, 1) if isinstance(t, torch.Tensor) and t.ndim else t
        pull = (x - (1 - t) * self.mean) / ((1 - t) ** 2 * self.variance + t**2)
        return self.mean + (1 - t) * self.variance * pull


def as_model(network):
    return Model(network, RF, "data")


def players(student=None, fake=None, earlier=(), parts=TWO_STEPS, **settings):
    teacher = settings.pop("teacher", TEACHER.model(RF))
    student, fake = student or Affine(), fake or GaussianFake()
    return phased_dmd(student, fake, as_model, teacher, parts, earlier, **settings)


def networks(moving):
    return {name: player.module for name, player in moving.items()}


def batch(n=64):
    return {"x": torch.zeros(n, 1, dtype=torch.float64)}


# phases


def test_phases_are_cut_at_their_boundaries():
    assert PARTS == [Phase((1.0, 0.75), 0.5), Phase((0.5, 0.25), 0.0)]
    assert phases([0.9, 0.4]) == [Phase((0.9,), 0.4)]
    cut = phases([1, 0.75, 0.5, 0.25, 0], [0.25, 0.5])
    assert [part.times for part in cut] == [(1.0, 0.75), (0.5,), (0.25,)]


def test_nested_levels_reach_the_path_and_disjoint_ones_the_phases_start():
    path = paths.EDM(0.0, 10.0)  # measured in t^(1/7), from its default end .002
    levels = np.array(Phase((5.0,), 1.0).levels(path)) ** (1 / 7)
    room = 0.02 * (10 ** (1 / 7) - 0.002 ** (1 / 7))
    assert levels == pytest.approx([1 + room, 10 ** (1 / 7) - room], rel=1e-12)
    low, high = PARTS[1].levels(RF, "disjoint", margin=0.01)
    assert (low, high) == pytest.approx((0.001 + 0.00998, 0.5), rel=1e-12)


# what the student's sample is


def test_a_phase_runs_the_experts_before_it_and_one_exit_of_its_own():
    first, second = Affine(0.7, 0.1), Affine(0.4)
    moving = players(second, earlier=[first], parts=PARTS)
    seen = set()
    for seed in range(12):
        first.calls.clear()
        second.calls.clear()
        moving["student"].loss(networks(moving), batch(), generator(seed))
        assert first.calls == [1.0, 0.75]
        seen.add(tuple(second.calls))
    assert seen == {(0.5,), (0.5, 0.25)}


def test_deterministic_steps_are_those_of_a_student():
    net = Affine(0.6, 0.2)
    steps = FewSteps([1.0, 0.75, 0.5], "deterministic")
    out = leave(as_model(net), steps, batch()["x"], rng=generator(), exit=2)
    x = torch.randn(64, 1, generator=generator(), dtype=torch.float64)
    found = run_steps(as_model(net), (1.0, 0.75), 0.5, x)
    assert found.detach() == pytest.approx(out.x.detach(), rel=1e-12)


def test_an_early_exit_goes_to_the_end_of_its_phase_at_once():
    captured = []

    def fake(x, t, **cond):
        captured.append((x, t))
        return 0 * x

    def by_name(network):
        return Model(fake, RF, "data") if isinstance(network, GaussianFake) else as_model(network)

    net = Affine(0.0, 2.0)  # x0hat = 2: from x_1 = z straight to x_.5 = 1 + z / 2
    moving = phased_dmd(
        net, GaussianFake(), by_name, TEACHER.model(RF), phases([1, 0.75, 0.5, 0], [0.5])
    )
    moving["fake"].loss(networks(moving), batch(40_000), generator())
    x, t = captured[0]
    r, beta2 = (1 - t) / 0.5, t**2 - (1 - t) ** 2
    back = (x[:, 0] - r) / (r**2 / 4 + beta2) ** 0.5  # of x_t = r x_.5 + beta eps
    assert float(back.mean()) == pytest.approx(0.0, abs=5 / 200)
    assert float(back.std()) == pytest.approx(1.0, abs=5 / math.sqrt(2 * 40_000))


# gradients


def test_the_students_gradient_is_that_of_the_divergence():
    # x_0 = .3 z + .2 after one step: x_.5 = .65 z + .1 = .5 (.3 z + .2) + .5 z
    moving = players(Affine(0.3, 0.2), GaussianFake(0.2, 0.69), parts=TWO_STEPS)  # 1.3^2 - 1
    low, high = TWO_STEPS[0].levels(RF)
    n, m = 400_000, 401
    loss = moving["student"].loss(networks(moving), batch(n), generator())
    student = moving["student"].module
    found = torch.autograd.grad(loss, [student.gain, student.shift])
    levels = np.linspace(low, high, m)
    # x_t = (1 - t) (1.3 z + .2) + (t^2 - (1 - t)^2)^{1/2} n: in A the clean variance is 1.3^2 - 1
    exact = [linear_kl([[math.sqrt(0.69)]], [0.2], TEACHER, RF, t) for t in levels]
    by_std = np.array([float(e.grad_A[0, 0]) * 1.3 / math.sqrt(0.69) for e in exact])
    by_mean = np.array([float(e.grad_b[0]) for e in exact])
    for value, expected in zip(found, (by_std, by_mean), strict=True):
        mean = float(np.trapezoid(expected, levels)) / (high - low)
        assert float(value) == pytest.approx(mean, abs=5 * 2 / math.sqrt(n))


def test_the_fakes_gradient_vanishes_at_the_law_of_the_phases_end():
    moving = players(Affine(0.3, 0.2), GaussianFake(0.2, 0.69))
    n = 400_000
    loss = moving["fake"].loss(networks(moving), batch(n), generator())
    fake = moving["fake"].module
    for slope in torch.autograd.grad(loss, [fake.mean, fake.variance]):
        assert abs(float(slope)) < 5 * 4 / math.sqrt(n)  # of residuals of order 4


def test_each_player_moves_its_own_network_and_earlier_experts_never():
    first = Affine(0.7)
    moving = players(earlier=[first])
    for name, player in moving.items():
        loss = player.loss(networks(moving), batch(), generator())
        other = moving["fake" if name == "student" else "student"].module
        still = [*other.parameters(), *first.parameters()]
        assert all(s is None for s in torch.autograd.grad(loss, still, allow_unused=True))


def test_the_paths_agree_on_the_gradient_at_one_ratio_of_noise():
    rng = np.random.default_rng(0)
    y, eps = rng.standard_normal((2, 5, 1))
    found = []
    for path in (RF, TRIG, paths.VPLinear()):
        s, t = (float(path.t_at(lam)) for lam in (0.5, -0.5))
        fake, teacher = (testbeds.Gaussian([m], 0.5).model(path) for m in (0.0, 1.0))
        g = interval_gradient(path.alpha(s) * y, eps, s, t, teacher, fake)
        found.append(path.alpha(s) * g)  # in y = x_s / alpha_s
    assert found[1] == pytest.approx(found[0], rel=1e-10)
    assert found[2] == pytest.approx(found[0], rel=1e-10)


def test_a_weight_multiplies_the_gradient():
    x = torch.ones(3, 1, dtype=torch.float64)
    t = torch.tensor([0.6, 0.7, 0.9], dtype=torch.float64)
    fake, teacher = (testbeds.Gaussian([m], 0.5).model(RF) for m in (0.0, 1.0))
    plain = interval_gradient(x, 0 * x, 0.5, t, teacher, fake)
    weighted = interval_gradient(x, 0 * x, 0.5, t, teacher, fake, weight=lambda lv: lv.sigma**2)
    assert weighted == pytest.approx(t[:, None] ** 2 * plain, rel=1e-12)


def test_the_fake_score_alone_is_told_the_exit():
    student, fake = Affine(), Affine()
    labels = torch.arange(64)
    teacher = Model(lambda x, t, label: 0 * x, RF, "data")
    moving = players(student, fake, parts=phases([1, 0.5, 0]), teacher=teacher, exit_as="exit")
    moving["fake"].loss(networks(moving), {**batch(), "label": labels}, generator(1))
    moving["student"].loss(networks(moving), {**batch(), "label": labels}, generator(1))
    assert all(set(cond) == {"label"} for cond in student.told)
    assert all(set(cond) == {"label", "exit"} for cond in fake.told)


def test_several_exits_of_one_phase_are_pooled_and_single_ones_are_not():
    levels = [PARTS[0].levels(RF)] * len(PARTS[0].times)
    with pytest.warns(UserWarning, match="one fake score serves several exits"):
        assert exit_pooling(levels).pooled
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not exit_pooling([TWO_STEPS[0].levels(RF)]).pooled


# runs


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.1, betas=(0.0, 0.9))


def test_a_run_phase_by_phase_ends_at_the_teachers_law():
    settings = {"optimizer": adam, "schedule": lambda k: 1 / (1 + k / 8)}
    experts, done = [Affine(0.2), Affine(0.6)], []
    start = copy.deepcopy(experts)
    fitted = train_phases(
        experts,
        GaussianFake(0.5, 0.64),
        as_model,
        TEACHER.model(RF),
        TWO_STEPS,
        torch.zeros(4096, 1, dtype=torch.float64),
        90,
        rng=generator(),
        settings={"every": 2, "student_settings": settings, "fake_settings": settings},
        batch=4096,
        on_phase=lambda k, _: done.append((k, experts[1].gain.item())),
    )
    assert [k for k, _ in done] == [0, 1]
    assert done[0][1] == start[1].gain.item()  # the second had not moved yet
    like = torch.zeros(200_000, 1, dtype=torch.float64)
    models = [as_model(expert) for expert in experts]
    middle = sample_phases(models[:1], TWO_STEPS, like, rng=generator(5))
    last = sample_phases(models, TWO_STEPS, like, rng=generator(5))
    # five times the .01 that a run of 45 student steps at this rate leaves, by three seeds
    expected = TEACHER.at(RF, 0.5)
    assert float(middle.mean()) == pytest.approx(float(expected.mean[0]), abs=0.04)
    assert float(middle.std()) == pytest.approx(math.sqrt(float(expected.cov[0])), abs=0.04)
    assert (float(last.mean()), float(last.std())) == pytest.approx((0.5, 0.8), abs=0.06)
    assert len(fitted) == 2


def test_a_stopped_run_goes_on_in_the_folder_of_each_phase(tmp_path):
    def run():
        experts = [Affine(0.2), Affine(0.6)]
        train_phases(
            experts,
            GaussianFake(),
            as_model,
            TEACHER.model(RF),
            TWO_STEPS,
            torch.zeros(8, 1, dtype=torch.float64),
            5,
            rng=generator(),
            folder=tmp_path,
            batch=8,
        )
        return [expert.gain.item() for expert in experts]

    first = run()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["phase-0", "phase-1"]
    assert run() == first


def test_samples_go_through_all_steps_of_each_expert():
    nets = [Affine(0.7), Affine(0.4)]
    sample_phases([as_model(n) for n in nets], PARTS, torch.zeros(3, 1), rng=generator())
    assert [net.calls for net in nets] == [[1.0, 0.75], [0.5, 0.25]]


# two exits


@pytest.mark.usefixtures("one_thread")
def test_phases_keep_both_modes_and_the_density_says_so():
    found = two_exits(TWO, "phased", start=(2.0, 0.3))
    assert found.mass == pytest.approx(0.5, abs=1e-6)
    x = np.linspace(-9, 9, 901)
    q = found.density(x, 0.3)
    assert float(q.sum() * 0.02) == pytest.approx(1.0, abs=1e-9)
    p = np.exp(testbeds.mixture_1d([0.5, 0.5], [-2, 2], [0.18**0.5] * 2).log_prob(x[:, None]))
    live = q > 1e-300
    kl = float((q[live] * np.log(q[live] / p[live])).sum() * 0.02)
    # spacing .1 against .02, where p has a zero i pi .18 / 4 off the line: e^{-2 pi .14 / .1} q(0)
    assert kl == pytest.approx(found.kl, abs=1e-7)


# bad input


NET = Affine()


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: phases([1.0]), ValueError, "phases: levels must be two or more, decreasing"),
        (lambda: phases([0.5, 1.0]), ValueError, "phases: levels must be two or more, decreasing"),
        (
            lambda: phases([1, 0.5, 0], [0.4]),
            ValueError,
            r"phases: boundaries must be different ones among \[0.5\], got \[0.4\]",
        ),
        (lambda: phases([1, 0.5, 0], [0.0]), ValueError, "phases: boundaries must be different"),
        (lambda: Phase((), 0.0), ValueError, "Phase: times must be one or more, decreasing, above"),
        (lambda: Phase((0.5,), 0.5), ValueError, "Phase: times must be one or more, decreasing"),
        (lambda: PARTS[0].levels(RF, "all"), ValueError, "intervals must be one of 'nested'"),
        (lambda: PARTS[0].levels(RF, margin=0.3), ValueError, "margin must be small enough for"),
        (lambda: players(earlier=[NET, NET]), ValueError, "earlier must be fewer than the 2 ph"),
        (lambda: players(parts=[(1.0, 0.5)]), TypeError, "phased_dmd: parts must be phases, got"),
        (
            lambda: players(parts=[Phase((1.0,), 0.5), Phase((0.4,), 0.0)]),
            ValueError,
            "phased_dmd: parts must be phases that begin where the one before ends",
        ),
        (lambda: players(earlier=[3]), TypeError, "phased_dmd: earlier0 must be a torch module"),
        (lambda: players(teacher=TEACHER), TypeError, "phased_dmd: teacher must be a Model"),
        (
            lambda: players(teacher=TEACHER.model(TRIG)),
            ValueError,
            r"phased_dmd: as_model\(student\) must be on the path of the teacher",
        ),
        (lambda: players(every=0), ValueError, "phased_dmd: every must be at least 1, got 0"),
        (lambda: players(intervals="all"), ValueError, "intervals must be one of 'nested'"),
        (
            lambda: players(parts=[Phase((3.0,), 0.0)]),
            ValueError,
            "phased_dmd: steps.times must be in",
        ),
        (
            lambda: interval_gradient(np.ones((1, 1)), np.ones((1, 1)), 0.5, 0.8, TEACHER, TEACHER),
            TypeError,
            "interval_gradient: teacher must be a Model, got Gaussian",
        ),
        (
            lambda: sample_phases([], PARTS, torch.zeros(1, 1), rng=generator()),
            ValueError,
            "sample_phases: experts must be one for each of the 2 phases",
        ),
        (
            lambda: sample_phases([NET], PARTS, torch.zeros(1, 1), rng=generator()),
            TypeError,
            "sample_phases: experts must be Models, got Affine",
        ),
        (
            lambda: sample_phases([as_model(NET)], PARTS, torch.zeros(1, 1), rng=0),
            TypeError,
            "sample_phases: rng must be",
        ),
        (
            lambda: train_phases(
                [NET], NET, as_model, TEACHER.model(RF), PARTS, batch(), 1, rng=generator()
            ),
            ValueError,
            "train_phases: experts must be one for each of the 2 phases",
        ),
        (lambda: two_exits(TWO, "both"), ValueError, "two_exits: training must be one of 'pooled'"),
        (lambda: two_exits(TEACHER), ValueError, "two_exits: teacher must be a mixture in one"),
        (lambda: two_exits(TWO, s=1.0), ValueError, r"two_exits: s must be inside \(0, 1\)"),
        (lambda: two_exits(TWO, rhos=[]), ValueError, "two_exits: rhos must be one or more"),
        (lambda: two_exits(TWO, rhos=[0.0]), ValueError, "two_exits: rhos must be one or more"),
    ],
)
def test_bad_input_is_named_before_any_work(call, error, message):
    with pytest.raises(error, match=message):
        call()
