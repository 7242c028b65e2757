"""Flash-DMD's players: who has which loss, the pull, the critic, alternation, closed forms."""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fewtheory import Model, paths, testbeds
from fewtheory.distill import FewSteps, critic_loss, generator_loss, leave, sample, two_time_scale
from fewtheory.distill.flash_dmd import back_simulated, by_step, flash_dmd, pulling
from fewtheory.distill.parts.feature_critic import FeatureCritic
from fewtheory.distill.parts.preference import Preference
from fewtheory.distill.theory.split_by_step import (
    joint_mean,
    largest_ema,
    low_offset,
    mean_pulls,
    split_bias,
    split_run,
)
from fewtheory.train import Player, fit

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "flash-dmd.json").read_text())
RF = paths.RectifiedFlow()
TEACHER = testbeds.Gaussian([0.2], 1.0).model(RF, "data")
STEPS = FewSteps([0.999, 0.7, 0.4])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class PerStep(nn.Module):
    """x0hat = gain_k x + shift_k at the student's step k; at other levels that of the nearest."""

    def __init__(self, times=STEPS.times, gain=0.5):
        super().__init__()
        self.times = torch.tensor(times, dtype=torch.float64)
        self.gain = nn.Parameter(torch.full((len(times),), gain, dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros(len(times), dtype=torch.float64))

    def forward(self, x, t):
        k = (t.to(self.times).reshape(-1, 1) - self.times).abs().argmin(1)
        event = (-1, *(1,) * (x.ndim - 1))
        return self.gain[k].reshape(event) * x + self.shift[k].reshape(event)


class Line(nn.Module):
    """A critic of one dimension, l = a x + b."""

    def __init__(self, slope=0.0):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([slope], dtype=torch.float64))
        self.offset = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach())
        return self.slope * x[:, 0] + self.offset


def as_model(network):
    return Model(lambda x, t: network(x, t), RF, "data")


def players(student=None, fake=None, critic=None, **settings):
    student, fake, critic = student or PerStep(), fake or PerStep(), critic or Line(0.3)
    given = {"teacher": TEACHER, "steps": STEPS, **settings}
    return flash_dmd(
        student, fake, critic, as_model, given.pop("teacher"), given.pop("steps"), **given
    )


def networks(moving):
    return {name: player.module for name, player in moving.items()}


def batch(n=64, **columns):
    return {"x": torch.zeros(n, 1, dtype=torch.float64), **columns}


# who has which loss


def test_matching_moves_the_noisy_steps_and_the_critic_the_last():
    for weight, adversarial, expected in (
        ("kl", 0.0, [True, True, False]),
        (lambda level: 0.0 * level.alpha, 1.0, [False, False, True]),
    ):
        moving = players(weight=weight, adversarial=adversarial)
        student, moved = moving["student"].module, np.zeros(3)
        for seed in range(24):  # 2^-23 that one of two steps is never drawn
            loss = moving["student"].loss(networks(moving), batch(), generator(seed))
            slopes = torch.autograd.grad(loss, [student.shift, student.gain])
            moved += sum(g.abs().numpy() for g in slopes)
        assert (moved > 0).tolist() == expected


def test_the_students_adversarial_term_is_that_of_its_last_output():
    critic = Line(0.7)
    moving = players(critic=critic, weight=lambda level: 0.0 * level.alpha, adversarial=2.0)
    loss = moving["student"].loss(networks(moving), batch(), generator(3))
    (shown,) = critic.seen
    assert shown.shape == (64, 1)
    assert loss.item() == pytest.approx(2 * generator_loss(critic(shown)).item(), rel=1e-13)


def test_the_critic_sees_decoded_samples_and_the_batchs_real_ones():
    real = torch.full((64, 2), 3.0, dtype=torch.float64)
    critic = Line(0.4)
    moving = players(critic=critic, decode=lambda x: torch.cat([x, 2 * x], 1))
    loss = moving["critic"].loss(networks(moving), batch(real=real), generator())
    fake, shown = critic.seen
    assert fake[:, 1].tolist() == (2 * fake[:, 0]).tolist()
    assert shown.tolist() == real.tolist()
    expected = critic_loss(*(critic(x) for x in (fake, real)))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-13)
    critic.seen.clear()
    moving["critic"].loss(networks(moving), batch(), generator())
    assert critic.seen[1].shape == (64, 2)  # "x", decoded


def test_the_fake_score_learns_the_noisy_steps_alone():
    # a student whose steps put out 1, 2 and 100: the fake's best shift lies between the first two
    student = PerStep(gain=0.0)
    with torch.no_grad():
        student.shift.copy_(torch.tensor([1.0, 2.0, 100.0]))
    fake = PerStep([0.5], gain=0.0)
    moving = players(student, fake, ema=1.0)
    slopes = []
    for seed in range(24):
        loss = moving["fake"].loss(networks(moving), batch(), generator(seed))
        slopes.append(torch.autograd.grad(loss, fake.shift)[0].item())
    assert sorted({round(s, 12) for s in slopes}) == [-4.0, -2.0]  # 2 (0 - shift)


@pytest.mark.parametrize("name", ["student", "fake", "critic"])
def test_a_players_loss_has_gradients_of_its_own_network(name):
    moving = players()
    loss = moving[name].loss(networks(moving), batch(), generator())
    own = torch.autograd.grad(loss, list(moving[name].module.parameters()), retain_graph=True)
    assert all(bool(torch.isfinite(g).all()) for g in own)
    if name != "student":
        others = list(moving["student"].module.parameters())
        assert all(g is None for g in torch.autograd.grad(loss, others, allow_unused=True))


def test_back_simulation_is_the_rest_of_sampling():
    student, like = as_model(PerStep()), torch.zeros(5, 1, dtype=torch.float64)
    rng = generator(1)
    here = leave(student, STEPS, like, rng=rng, exit=0)
    end = back_simulated(student, STEPS, here, rng=rng)
    assert end.step == 2
    assert not end.x0.requires_grad
    assert end.x0.tolist() == sample(student, STEPS, like, rng=generator(1)).tolist()
    middle = back_simulated(student, STEPS, here, 1, rng=rng)
    assert (middle.step, middle.t) == (1, 0.7)


def test_conditions_reach_every_network():
    told = []

    def conditioned(network):
        def predict(x, t, label):
            told.append(tuple(label.shape))
            return network(x, t)

        return Model(predict, RF, "data")

    exact = testbeds.Gaussian([0.2], 1.0).model(RF, "data")
    teacher = Model(lambda x, t, label: exact(x, t), RF, "data")
    moving = flash_dmd(PerStep(), PerStep(), Line(), conditioned, teacher, STEPS)
    label = torch.zeros(64)
    for player in moving.values():
        player.loss(networks(moving), batch(label=label), generator())
    assert set(told) == {(64,)}


# the pull


def test_the_pull_moves_the_fake_network_part_of_the_way():
    fake, student = PerStep(gain=1.0), PerStep(gain=0.0)
    with torch.no_grad():
        pulling("fake", "student", 0.7)({"fake": fake, "student": student}, 1)
    assert fake.gain.tolist() == pytest.approx([0.7] * 3, rel=1e-15)
    assert student.gain.tolist() == [0.0] * 3


def test_a_run_pulls_after_the_students_moves_alone():
    def sgd(parameters):
        return torch.optim.SGD(parameters, lr=0.0)

    still = {"optimizer": sgd}
    fake = PerStep(gain=1.0)
    moving = players(
        PerStep(gain=0.0),
        fake,
        every=2,
        ema=0.5,
        student_settings=still,
        fake_settings=still,
        critic_settings=still,
    )
    fit(moving, torch.zeros(64, 1, dtype=torch.float64), 5, rng=generator(), batch=16)
    assert fake.gain.tolist() == pytest.approx([0.5**3] * 3, rel=1e-14)  # at steps 0, 2, 4


def test_a_run_moves_the_noisy_steps_to_the_teacher_and_the_last_to_the_data():
    def adam(parameters):
        return torch.optim.Adam(parameters, lr=0.1, betas=(0.0, 0.99))

    settings = {"optimizer": adam, "schedule": lambda k: 1 / (1 + k / 25)}
    steps = FewSteps([0.9, 0.5])
    shift = 1.0
    teacher = testbeds.Gaussian([shift], 0.25).model(RF, "data")

    class Exact(nn.Module):
        """A student with a mean a step, and, as fake score, the denoiser of N(mean_0, .25)."""

        def __init__(self):
            super().__init__()
            self.mean = nn.Parameter(torch.zeros(2, dtype=torch.float64))

        def forward(self, x, t):
            t = t.reshape(-1, 1)
            alpha, mean = 1 - t, self.mean[(t[:, 0] < 0.6).long()][:, None]
            return mean + 0.25 * alpha / (0.25 * alpha**2 + t**2) * (x - alpha * shift)

    class Score(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = nn.Parameter(torch.zeros(2, dtype=torch.float64))

        def forward(self, x, t):
            t = t.reshape(-1, 1)
            alpha = 1 - t
            pull = 0.25 * alpha / (0.25 * alpha**2 + t**2)
            return self.mean[0] + pull * (x - alpha * self.mean[0])

    student = Exact()
    moving = flash_dmd(
        student,
        Score(),
        Line(),
        as_model,
        teacher,
        steps,
        weight="kl",
        ema=0.9,
        student_settings=settings,
        fake_settings=settings,
        critic_settings=settings,
    )
    data = 0.1 * torch.randn(4000, 1, generator=generator(1), dtype=torch.float64) - 1.0
    fit(moving, data, 160, rng=generator(), batch=256)
    end = sample(as_model(student), steps, torch.zeros(20_000, 1).double(), rng=generator(2))
    first = leave(as_model(student), steps, data, rng=generator(3), exit=0).x0
    assert first.mean().item() == pytest.approx(1.0, abs=0.1)  # the teacher's
    assert end.mean().item() == pytest.approx(-1.0, abs=0.15)  # the data's


# alternation with preference training


def test_alternation_keeps_the_ratio_and_the_fake_steps():
    wanted = Preference(lambda z, t: z[:, 0], as_model(PerStep()), at=(0, 1), ratio=3)
    moving = players(preference=wanted, every=2)
    assert [player.every for player in moving.values()] == [2, 4, 4]
    critic = moving["critic"].module
    for seed in range(160):
        moving["student"].loss(networks(moving), batch(2), generator(seed))
    # one in four with matching: six standard deviations
    assert len(critic.seen) == pytest.approx(40, abs=6 * math.sqrt(160 * 3 / 16))


def test_preference_training_moves_the_compared_steps_to_higher_rewards():
    wanted = Preference(lambda z, t: z[:, 0], as_model(PerStep()), at=(0, 1), beta=2.0)
    student = PerStep()
    moving = players(
        student,
        preference=wanted,
        adversarial=0.0,
        weight=lambda level: 0.0 * level.alpha,  # nothing else moves the student
        student_settings={"optimizer": lambda p: torch.optim.Adam(p, lr=0.02)},
    )
    fit(moving, torch.zeros(64, 1, dtype=torch.float64), 30, rng=generator(), batch=64)
    assert bool((student.shift[:2] > 0.1).all())
    assert student.shift[2].item() == 0.0


# the critic on frozen features


def features():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6))


def test_heads_move_and_features_do_not():
    network = features()
    before = copy.deepcopy(network.state_dict())
    critic = FeatureCritic(network, {"0": 4, "3": 6})
    x = torch.randn(32, 1, 8, 8, generator=generator())

    def loss(networks, batch, rng):
        return critic_loss(networks["critic"](-batch["x"]), networks["critic"](batch["x"]))

    start = loss({"critic": critic}, {"x": x}, None).item()
    fit({"critic": Player(critic, loss)}, x, 20, rng=generator(), batch=32)
    assert loss({"critic": critic}, {"x": x}, None).item() < start
    after = network.state_dict()
    assert all(bool((before[k] == after[k]).all()) for k in before)  # running means, too


def test_gradients_pass_through_the_features_to_the_sample():
    critic = FeatureCritic(features(), {"2": 6})
    x = torch.randn(2, 1, 8, 8, generator=generator(), requires_grad=True)
    critic(x).sum().backward()
    assert x.grad is not None
    assert bool((x.grad != 0).any())
    assert critic.train().network.training is False


def test_positions_before_channels_are_pooled_over_positions():
    critic = FeatureCritic(nn.Sequential(nn.Linear(3, 5)), {"0": 5}, channels_last=True)
    x = torch.randn(2, 7, 3, generator=generator())
    mixed = x[:, torch.randperm(7, generator=generator())]
    assert critic(x).tolist() == pytest.approx(critic(mixed).tolist(), abs=1e-6)  # float32


# closed forms


def test_the_strongest_pull_needed_is_known():
    i = KNOWN[4]["inputs"]
    assert largest_ema(i["g"], i["f"]) == pytest.approx(KNOWN[4]["expected"]["lam"], abs=1e-14)
    assert largest_ema(0.01, 0.3, 5) == 1.0


def test_roles_are_told_by_step():
    assert by_step(STEPS) == ("dm", "dm", "adv")
    assert by_step(STEPS, 2) == ("dm", "adv", "adv")


def test_the_joint_mean_is_where_both_pulls_cancel():
    for teacher, data, weight in ((0.2, 0.0, 1.0), (-1.0, 2.0, 0.3), (0.5, 0.5, 1.0)):
        b = joint_mean(teacher, data, weight)
        dm, adversarial = mean_pulls(b, teacher, data)
        assert dm + weight * adversarial == pytest.approx(0.0, abs=1e-13)
        assert min(teacher, data) <= b <= max(teacher, data)


def test_a_pull_is_the_derivative_of_the_divergence_less_two_js():
    # grad (KL(q | p) - 2 JS) with unit variances, by quadrature of the divergences
    x = np.linspace(-12, 12, 4801)
    step = 24 / 4800

    def value(b):
        q, p = (np.exp(-0.5 * (x - m) ** 2) / math.sqrt(2 * math.pi) for m in (b, 0.0))
        mid = 0.5 * (p + q)
        js = 0.5 * (q * np.log(q / mid) + p * np.log(p / mid)).sum() * step
        return 0.5 * b * b - 2 * js

    h = 1e-4
    for b in (0.1, 0.7, -1.2):
        quotient = (value(b + h) - value(b - h)) / (2 * h)
        assert mean_pulls(b, 0.0)[1] == pytest.approx(quotient, abs=1e-7)  # h^2


def test_a_split_run_is_the_law_of_two_time_scales():
    run = split_run(0.1, 0.2, 2, ema=0.8, cycles=40)
    law = two_time_scale(0.1, 0.2, 2, ema=0.8).run(np.array([0.8, 0.8]), 40)
    assert run.means[:, 0] - 0.2 == pytest.approx(law[:, 0], abs=1e-13)
    joint = split_run(0.1, 0.1, 5, split="joint", weight=0.0)
    plain = two_time_scale(0.1, 0.1, 5).run(np.array([0.8, 0.8]), 600)
    assert joint.means[:, 1] - 0.2 == pytest.approx(plain[:, 0], abs=1e-13)


def test_settling_is_counted_from_the_last_time_outside():
    run = split_run(0.1, 0.1, 1, ema=0.7)
    noisy, last = run.settled()
    off = np.abs(run.means - np.array([0.2, 0.0]))
    for column, at in ((0, noisy), (1, last)):
        assert off[at - 1, column] > 1e-3
        assert bool((off[at:, column] <= 1e-3).all())
    assert replace(run, n=3).fake_steps() == 3 * run.fake_steps()


def test_offsets_and_biases_belong_together():
    for state in ("own", "rediffused"):
        h = 1.3 / math.hypot(1.3 * 0.7, 0.3)
        b = low_offset(RF, 0.3, -0.4, c=1.3, state=state)
        sampled = b + h * 0.7 * -0.4
        assert split_bias(RF, 0.3, -0.4, c=1.3, state=state) == pytest.approx(sampled, abs=1e-15)
        trained = sampled if state == "own" else b + h * 0.7 * sampled
        assert trained == pytest.approx(0.0, abs=1e-15)


X = torch.zeros(2, 1, dtype=torch.float64)
LAST = Preference(lambda z, t: z[:, 0], as_model(PerStep()), at=(2,))
OTHER = testbeds.Gaussian([0.0], 1.0).model(paths.EDM())
DETERMINISTIC = FewSteps(STEPS.times, step="deterministic")


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: players(teacher=None), TypeError, "flash_dmd: teacher must be a Model"),
        (lambda: players(critic=lambda x: x), TypeError, "critic must be a torch module"),
        (lambda: players(roles=("dm", "adv")), ValueError, "flash_dmd: roles must be 3 of"),
        (lambda: players(roles=("dm",) * 3), ValueError, "each at least once"),
        (lambda: players(roles=("adv", "dm", "dm")), ValueError, "'dm' comes before 'adv'"),
        (lambda: players(low_state="any"), ValueError, "low_state must be one of 'rediffused'"),
        (lambda: players(every=0), ValueError, "flash_dmd: every must be at least 1"),
        (lambda: players(ema=1.1), ValueError, "flash_dmd: ema must be finite in"),
        (lambda: players(fake=PerStep([0.5])), ValueError, "ema must be 1 where fake and stud"),
        (
            lambda: players(student_settings={"after": lambda networks, moves: None}),
            ValueError,
            "student_settings must be without 'after'",
        ),
        (lambda: players(adversarial=-1.0), ValueError, "flash_dmd: adversarial must be finite"),
        (lambda: players(steps=FewSteps([0.9])), ValueError, "by_step: low must be"),
        (lambda: players(preference=LAST), ValueError, "the last step has no density"),
        (
            lambda: players(preference=replace(LAST, at=(0,)), steps=DETERMINISTIC),
            ValueError,
            "other steps are no Gaussian policy",
        ),
        (
            lambda: players(preference=replace(LAST, at=(0,), reference=OTHER)),
            ValueError,
            "preference.reference must be on",
        ),
        (lambda: by_step(STEPS, 3), ValueError, r"by_step: low must be in \[1, 2\], got 3"),
        (
            lambda: back_simulated(
                as_model(PerStep()),
                STEPS,
                leave(as_model(PerStep()), STEPS, X, rng=generator(), exit=1),
                0,
                rng=generator(),
            ),
            ValueError,
            r"back_simulated: until must be in \[1, 2\]",
        ),
        (lambda: pulling("a", "b", 2.0), ValueError, "pulling: kept must be finite in"),
        (lambda: FeatureCritic(None, {"0": 1}), TypeError, "network must be a torch module"),
        (lambda: FeatureCritic(features(), {"9": 1}), ValueError, "FeatureCritic: layers must be"),
        (lambda: FeatureCritic(features(), {}), ValueError, "FeatureCritic: layers must be"),
        (lambda: FeatureCritic(features(), {"0": 0}), ValueError, "layers must be at least 1"),
        (lambda: mean_pulls(math.nan, 0.0), ValueError, "mean_pulls: b must be finite"),
        (lambda: joint_mean(0.1, 0.0, -1.0), ValueError, "joint_mean: weight must be finite in"),
        (lambda: largest_ema(1.0, 0.1), ValueError, r"largest_ema: g must be in \(0, 1\)"),
        (lambda: largest_ema(0.1, 0.1, 0), ValueError, "largest_ema: n must be at least 1"),
        (lambda: split_run(0.1, 0.1, 1, split="level"), ValueError, "split must be one of 'step'"),
        (lambda: split_run(0.1, 0.1, 1, cycles=0), ValueError, "cycles must be at least 1"),
        (lambda: split_run(0.1, 0.1, 1, cycles=3).settled(), ValueError, "within must be reached"),
        (lambda: split_bias(RF, 0.5, 0.1, state="x"), ValueError, "state must be one of 'own'"),
        (lambda: low_offset(RF, 0.5, 0.1, c=0.0), ValueError, "low_offset: c must be above 0"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
