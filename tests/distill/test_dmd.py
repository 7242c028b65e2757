"""DMD's players: their losses against closed forms, what moves whom, and where a run ends."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from fewtheory import Model, distill, paths, testbeds
from fewtheory.distill import Critic, FewSteps, dmd, dmd_gradient, linear_kl, sample
from fewtheory.train import fit

RF = paths.RectifiedFlow()
TEACHER = testbeds.Gaussian([0.5], 0.64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Affine(nn.Module):
    """x0hat = gain x + shift, in float64."""

    def __init__(self, gain=0.3, shift=0.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([gain], dtype=torch.float64))
        self.shift = nn.Parameter(torch.tensor([shift], dtype=torch.float64))

    def forward(self, x, t):
        return self.gain * x + self.shift


class GaussianFake(nn.Module):
    """The exact denoiser of N(mean, exp(log_std)^2): well specified for an affine student."""

    def __init__(self, mean=0.0, std=0.3):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean, dtype=torch.float64))
        self.log_std = nn.Parameter(torch.tensor(math.log(std), dtype=torch.float64))

    def forward(self, x, t):
        t = t.reshape(-1, 1) if isinstance(t, torch.Tensor) and t.ndim else t
        v = (2 * self.log_std).exp()
        pull = (x - (1 - t) * self.mean) / ((1 - t) ** 2 * v + t**2)
        return self.mean + (1 - t) * v * pull


def as_model(network):
    return Model(lambda x, t: network(x, t), RF, "data")


def players(student=None, fake=None, **settings):
    student, fake = student or Affine(), fake or GaussianFake()
    teacher = settings.pop("teacher", TEACHER.model(RF))
    return dmd(student, fake, as_model, teacher, settings.pop("steps", FewSteps([1.0])), **settings)


def at(t):
    """All times this one."""
    return lambda path, n, rng: torch.full((n,), t)


def batch(n=64):
    return {"x": torch.zeros(n, 1, dtype=torch.float64)}


def networks(moving):
    return {name: player.module for name, player in moving.items()}


def test_the_students_gradient_is_that_of_the_divergence():
    # exact fake score N(0, .3^2) for the student x_0 = .3 z
    moving = players(weight="kl", levels=at(0.4))
    n = 400_000
    loss = moving["student"].loss(networks(moving), batch(n), generator())
    student = moving["student"].module
    found = torch.autograd.grad(loss, [student.gain, student.shift])
    exact = linear_kl([[0.3]], [0.0], TEACHER, RF, 0.4)
    # g is linear in the noises and of order one: five standard errors of the mean of n
    for value, expected in zip(found, (exact.grad_A, exact.grad_b), strict=True):
        assert float(value) == pytest.approx(float(expected.ravel()[0]), abs=5 * 2 / math.sqrt(n))


def test_the_fakes_gradient_vanishes_at_the_students_own_law():
    moving = players(fake_levels=at(0.4))
    n = 400_000
    loss = moving["fake"].loss(networks(moving), batch(n), generator())
    fake = moving["fake"].module
    slopes = torch.autograd.grad(loss, [fake.mean, fake.log_std])
    for slope in slopes:
        assert abs(float(slope)) < 5 * 0.5 / math.sqrt(n)


def test_each_player_moves_its_own_network_alone():
    moving = players(steps=FewSteps([1.0, 0.5]))
    for name, player in moving.items():
        loss = player.loss(networks(moving), batch(), generator())
        other = moving["fake" if name == "student" else "student"].module
        slopes = torch.autograd.grad(loss, list(other.parameters()), allow_unused=True)
        assert all(s is None for s in slopes), name


def test_the_student_moves_first_and_the_fake_score_five_times_as_often():
    moving = players()
    assert list(moving) == ["student", "fake"]
    assert (moving["student"].every, moving["fake"].every) == (5, 1)


def test_a_run_ends_at_the_teachers_law():
    def adam(parameters):
        return torch.optim.Adam(parameters, lr=0.02, betas=(0.0, 0.99))

    settings = {"optimizer": adam, "schedule": lambda k: 1 / (1 + k / 100)}
    student = Affine()
    moving = players(
        student,
        weight="kl",
        student_settings=settings,
        fake_settings=settings,
        every=4,
    )
    fit(moving, torch.zeros(512, 1, dtype=torch.float64), 1200, rng=generator(), batch=512)
    # the mean over 300 student steps of noise of order 1 / sqrt(512), and the rate's own bias
    assert student.gain.item() == pytest.approx(0.8, abs=0.04)
    assert student.shift.item() == pytest.approx(0.5, abs=0.04)


def test_regression_to_the_teachers_pairs_finds_its_flow_map():
    z = torch.randn(4096, 1, generator=generator(), dtype=torch.float64)
    data = {"x": z, "pair_noise": z, "pair_data": 0.5 + 0.8 * z}
    student = Affine(-0.3)  # the other orientation, of which the divergence cannot tell
    moving = players(student, weight=lambda level: 0 * level.alpha, regression=1.0)
    moving["student"] = moving["student"].__class__(
        student, moving["student"].loss, lambda p: torch.optim.SGD(p, lr=0.3)
    )
    fit({"student": moving["student"]} | {"fake": moving["fake"]}, data, 60, rng=generator())
    assert student.gain.item() == pytest.approx(0.8, abs=1e-6)
    assert student.shift.item() == pytest.approx(0.5, abs=1e-6)


def test_guidance_reaches_the_teacher_alone():
    calls = []

    def conditional(x, t, label):
        calls.append(label)
        return 0 * x

    teacher = Model(conditional, RF, "data")
    fake = Affine()

    def both(network):
        return Model(lambda x, t, label: network(x, t), RF, "data")

    moving = dmd(Affine(), fake, both, teacher, FewSteps([1.0]))
    labels = torch.arange(64)
    moving["student"].loss(networks(moving), {**batch(), "label": labels}, generator())
    assert len(calls) == 1
    assert calls[0] is labels


# the critic


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, 8), nn.SiLU())
        self.out = nn.Linear(8, 1)
        self.double()

    def forward(self, x, t):
        return self.out(self.body(x))


@pytest.mark.parametrize("by_name", [True, False])
def test_a_critic_is_its_network_with_a_logit(by_name):
    torch.manual_seed(0)
    network = Small()
    critic = Critic(network, "body" if by_name else network.body, channels=8)
    x, t = torch.ones(3, 1, dtype=torch.float64), torch.full((3,), 0.5)
    assert torch.equal(critic(x, t), network(x, t))
    expected = critic.head(network.body(x)).flatten()
    assert torch.equal(critic.logits(as_model(critic), x, t), expected)
    copied = copy.deepcopy(critic)  # as an average does
    with torch.no_grad():
        copied.network.body[0].weight.zero_()
    assert not torch.equal(copied.logits(as_model(copied), x, t), expected)
    assert torch.equal(critic.logits(as_model(critic), x, t), expected)


def test_a_critic_pools_over_positions():
    network = nn.Conv2d(2, 4, 1)
    wrapped = nn.Sequential(network)
    critic = Critic(wrapped, "0", head=nn.Identity())
    model = Model(lambda x, t: critic(x), RF, "data")
    x = torch.randn(5, 2, 3, 3, generator=generator())
    found = critic.logits(model, x, torch.full((5,), 0.5)).detach()
    assert found == pytest.approx(network(x).mean((2, 3)).flatten().detach(), abs=1e-6)


def test_a_critic_of_a_transformer_pools_over_its_positions():
    network = nn.Sequential(nn.Linear(3, 5))
    critic = Critic(network, "0", head=nn.Identity(), channels_last=True)
    model = Model(lambda x, t: critic(x), RF, "data")
    x = torch.randn(2, 7, 3, generator=generator())
    found = critic.logits(model, x, torch.full((2,), 0.5)).detach()
    assert found == pytest.approx(network(x).mean(1).flatten().detach(), abs=1e-6)  # float32


def test_a_critic_keeps_no_features_of_a_call():
    network = Small()
    critic = Critic(network, "body", channels=8)
    critic.logits(as_model(critic), torch.ones(3, 1, dtype=torch.float64), torch.full((3,), 0.5))
    assert not network.body._forward_hooks


def test_a_network_that_does_not_pass_the_layer_is_named():
    critic = Critic(Small(), "body", channels=8)
    model = Model(lambda x, t: x, RF, "data")
    with pytest.raises(ValueError, match=r"Critic.logits: model must be one that calls the layer"):
        critic.logits(model, torch.ones(3, 1), torch.full((3,), 0.5))


def test_adversarial_terms_are_added_with_their_weights():
    torch.manual_seed(0)
    critic, student = Critic(Small(), "body", channels=8), Affine()
    data = {"x": torch.randn(64, 1, generator=generator(3), dtype=torch.float64)}

    def losses(weights):
        moving = players(student, critic, adversarial=weights)
        return [p.loss(networks(moving), data, generator()).item() for p in moving.values()]

    plain, one, two = (losses((w, w)) for w in (0.0, 1.0, 2.0))
    for k in range(2):  # the draws before the terms are the same: the weight enters linearly
        assert two[k] - plain[k] == pytest.approx(2 * (one[k] - plain[k]), rel=1e-10)
        assert one[k] > plain[k]


def test_the_critic_learns_which_samples_are_real():
    torch.manual_seed(0)
    critic, student = Critic(Small(), "body", channels=8), Affine(0.1, -2.0)
    moving = players(
        student,
        critic,
        adversarial=(0.0, 1.0),
        fake_settings={"optimizer": lambda p: torch.optim.Adam(p, lr=0.02)},
        every=1000,
    )
    real = 0.5 + 0.8 * torch.randn(4096, 1, generator=generator(1), dtype=torch.float64)
    fit(moving, real, 60, rng=generator(), batch=64)
    t = torch.full((256,), 0.2, dtype=torch.float64)
    told = [
        critic.logits(as_model(critic), 0.8 * x + 0.2 * torch.randn_like(x), t).mean().item()
        for x in (real[:256], torch.full((256, 1), -2.0, dtype=torch.float64))
    ]
    assert told[0] > 0.5 > -0.5 > told[1]


# bad input


OTHER = TEACHER.model(paths.Trigonometric())


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"teacher": OTHER}, ValueError, r"dmd: as_model\(student\) must be on the path of the"),
        ({"teacher": TEACHER}, TypeError, "dmd: teacher must be a Model, got Gaussian"),
        ({"student": 3}, TypeError, "dmd: student must be a torch module, got 3"),
        ({"fake": "unet"}, TypeError, "dmd: fake must be a torch module, got 'unet'"),
        ({"steps": [1.0]}, TypeError, "dmd: steps must be FewSteps"),
        ({"steps": FewSteps([3.0])}, ValueError, "dmd: steps.times must be in"),
        ({"every": 0}, ValueError, "dmd: every must be at least 1, got 0"),
        ({"adversarial": (-1.0, 0.0)}, ValueError, "dmd: adversarial must be"),
        ({"adversarial": (0.1, 0.1)}, ValueError, "dmd: fake must be a Critic where there are"),
        ({"regression": -1.0}, ValueError, "dmd: regression must be"),
        (
            {"regression": 1.0, "steps": FewSteps([1.0, 0.5])},
            ValueError,
            "dmd: steps must be one step where there is a regression",
        ),
    ],
)
def test_bad_input_is_named_before_any_work(settings, error, message):
    with pytest.raises(error, match=message):
        players(**settings)


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": "tail"}, r"Critic: layer must be one of \['body'"),
        ({"layer": 0, "channels": 8}, r"Critic: layer must be one of \['body'"),
        ({"layer": "body"}, "Critic: channels must be given, or a head"),
        ({"layer": "body", "channels": 8, "head": nn.Identity()}, "channels must be given, or"),
    ],
)
def test_a_critic_names_bad_input(settings, message):
    with pytest.raises(ValueError, match=message):
        Critic(Small(), **settings)


def test_a_batch_without_samples_is_named():
    moving = players()
    with pytest.raises(ValueError, match="dmd: a batch must be a mapping with 'x'"):
        moving["student"].loss(networks(moving), {"y": torch.zeros(1)}, generator())


def test_the_public_names_are_all_there():
    assert all(hasattr(distill, name) for name in distill.__all__)
    assert dmd_gradient is distill.dmd_gradient
    assert sample is distill.sample
    assert np.isfinite(distill.monotone_step(0.1, 5))
