"""Few-step students: levels, exits, samples, what carries a gradient, bad input."""

import math

import numpy as np
import pytest
import torch

from fewtheory import Model, paths, testbeds
from fewtheory.distill import FewSteps, karras_levels, log_uniform_times, sample
from fewtheory.distill.parts.student import leave

RF, VE = paths.RectifiedFlow(), paths.EDM()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Gain(torch.nn.Module):
    """x0hat = g x, counted."""

    def __init__(self, gain=0.5):
        super().__init__()
        self.gain, self.calls = torch.nn.Parameter(torch.tensor(gain, dtype=torch.float64)), []

    def forward(self, x, t):
        self.calls.append((tuple(t.shape), float(t[0]), x.detach().clone()))
        return self.gain * x


def model(net, path=RF):
    return Model(lambda x, t: net(x, t), path, "data")


LIKE = torch.zeros(50_000, 1, dtype=torch.float64)


def test_one_step_is_the_network_at_the_first_level():
    net = Gain(2.0)
    x = sample(model(net), FewSteps([0.8]), LIKE, rng=generator())
    assert len(net.calls) == 1
    assert net.calls[0][:2] == ((50_000,), 0.8)
    assert torch.equal(x, 2.0 * net.calls[0][2])
    # the state is .8 times noise: of 50,000 draws the variance is known to 1 in 158
    assert float(net.calls[0][2].std()) == pytest.approx(0.8, rel=5 / math.sqrt(2 * 50_000))


def test_fresh_noise_makes_the_variance_that_the_recursion_says():
    g, times = 0.5, [1.0, 0.6, 0.3]
    for gamma in (1.0, 0.45):
        net, steps = Gain(g), FewSteps(times, noise_scale=gamma)
        x = sample(model(net), steps, LIKE, rng=generator())
        variance = g**2 * gamma**2
        for t in times[1:]:
            variance = g**2 * ((1 - t) ** 2 * variance + t**2 * gamma**2)
        assert float(x.var()) == pytest.approx(variance, rel=5 * math.sqrt(2 / 50_000))
        assert [round(call[1], 6) for call in net.calls] == times


def test_a_deterministic_step_is_ddim():
    bed, times = testbeds.Gaussian([0.3], 0.5), [0.9, 0.5]
    exact = bed.model(RF, "data")
    x1 = 0.9 * torch.randn(4, 1, generator=generator(), dtype=torch.float64)
    out = leave(
        exact, FewSteps(times, "deterministic"), torch.zeros_like(x1), rng=generator(), exit=1
    )
    x0 = exact(x1, 0.9)
    assert out.x == pytest.approx(0.5 * x0 + 0.5 * (x1 - 0.1 * x0) / 0.9, rel=1e-12)
    assert (out.t, out.step) == (0.5, 1)
    assert out.x0 == pytest.approx(exact(out.x, 0.5), rel=1e-12)


def test_the_gradient_passes_through_the_last_step_alone():
    net = Gain()
    out = leave(model(net), FewSteps([1.0, 0.6, 0.3]), LIKE[:8], rng=generator(), exit=2)
    assert not out.x.requires_grad
    (slope,) = torch.autograd.grad(out.x0.sum(), net.gain)
    assert float(slope) == pytest.approx(float(out.x.sum()), rel=1e-12)
    assert len(net.calls) == 3


def test_exits_are_drawn_uniformly_by_either_generator():
    steps, net = FewSteps([1.0, 0.6, 0.3]), Gain()
    for rng in (generator(), np.random.default_rng(0)):
        seen = [leave(model(net), steps, LIKE[:1], rng=rng).step for _ in range(600)]
        counts = np.bincount(seen, minlength=3)
        assert ((counts - 200) ** 2 / 200).sum() < 27.6  # chi-square, 2 degrees, 1e-6


def test_a_training_exit_never_scales_its_noise():
    quiet, plain = (FewSteps([1.0, 0.5], noise_scale=g) for g in (0.3, 1.0))
    outs = [leave(model(Gain()), s, LIKE[:4], rng=generator(), exit=1).x for s in (quiet, plain)]
    assert torch.equal(*outs)


def test_any_prediction_and_any_path_will_do():
    bed = testbeds.Gaussian([0.3], 0.5)
    for path in (RF, paths.VPLinear(), paths.Trigonometric()):
        times = [float(path.t_at(lam)) for lam in (-2.0, 0.0)]
        outs = [
            leave(bed.model(path, kind), FewSteps(times), LIKE[:5], rng=generator(), exit=1).x0
            for kind in ("data", "noise", "velocity")
        ]
        assert outs[1] == pytest.approx(outs[0], rel=1e-9, abs=1e-12)
        assert outs[2] == pytest.approx(outs[0], rel=1e-9, abs=1e-12)


def test_a_condition_reaches_the_network():
    seen = []

    def network(x, t, label):
        seen.append(label)
        return x

    labels = torch.arange(3)
    conditional = Model(network, RF, "data")
    sample(conditional, FewSteps([1.0, 0.5]), torch.zeros(3, 1), rng=generator(), label=labels)
    assert len(seen) == 2
    assert seen[0] is labels


def test_karras_levels_have_the_quantiles_of_their_law():
    t = karras_levels(until=0.8)(VE, 20_000, generator())
    for u in (0.1, 0.5, 0.75):
        a, b = 0.002 ** (1 / 7), 80 ** (1 / 7)
        rho = (b + (1 - u) * (a - b)) ** 7
        share = float((t <= rho).double().mean())
        # u uniform on [0, .8]; five standard errors
        assert share == pytest.approx(u / 0.8, abs=5 * math.sqrt(0.25 / 20_000))


def test_log_uniform_times_have_as_many_in_every_decade():
    t = log_uniform_times(0.01, 1.0)(RF, 20_000, generator())
    share = float((t < 0.1).double().mean())
    assert share == pytest.approx(0.5, abs=5 * math.sqrt(0.25 / 20_000))


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: FewSteps([]), ValueError, "FewSteps: times must be one or more, decreasing"),
        (lambda: FewSteps([0.5, 0.5]), ValueError, "FewSteps: times must be one or more, decr"),
        (lambda: FewSteps([1.0], "euler"), ValueError, "FewSteps: step must be one of"),
        (lambda: FewSteps([1.0], noise_scale=0.0), ValueError, "noise_scale must be above 0"),
        (lambda: FewSteps(["a"]), TypeError, "FewSteps: times must be a number, got 'a'"),
        (
            lambda: sample(model(Gain()), FewSteps([2.0]), LIKE, rng=generator()),
            ValueError,
            r"sample: steps.times must be in \[0, 1\] on RectifiedFlow\(\), got 2.0",
        ),
        (
            lambda: sample(Gain(), FewSteps([1.0]), LIKE, rng=generator()),
            TypeError,
            "sample: student must be a Model, got Gain",
        ),
        (
            lambda: sample(model(Gain()), [1.0], LIKE, rng=generator()),
            TypeError,
            "sample: steps must be FewSteps, got list",
        ),
        (
            lambda: leave(model(Gain()), FewSteps([1.0]), LIKE, rng=generator(), exit=1),
            ValueError,
            r"leave: exit must be in \[0, 0\], got 1",
        ),
        (
            lambda: leave(model(Gain()), FewSteps([1.0]), LIKE, rng=0),
            TypeError,
            "leave: rng",
        ),
        (lambda: karras_levels(1.0, 0.5), ValueError, "karras_levels: low must be above 0"),
        (lambda: karras_levels(until=2.0), ValueError, "karras_levels: until must be finite in"),
        (lambda: log_uniform_times(0.0), ValueError, "log_uniform_times: low must be above 0"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
