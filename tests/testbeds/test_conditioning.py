"""The rich and the poor input: risks by other routes, and heads that are trained."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm
from torch import nn

from fewtheory import arrays
from fewtheory.testbeds import SwitchableHead, SwitchedConditioning

EPS = np.finfo(np.float64).eps
BED = SwitchedConditioning()
scale = st.floats(1e-3, 1e3)


def test_the_published_example_has_its_numbers():
    # sheet protenix-mini, C9: .09/1.09, .81/1.81, and (.09^2 + .81)/1.09^2 for the poor input
    # through the rich head
    assert BED.risk("rich") == pytest.approx(0.09 / 1.09, rel=16 * EPS)
    assert BED.risk("poor") == pytest.approx(0.81 / 1.81, rel=16 * EPS)
    exact = (0.09**2 + 0.81) / 1.09**2
    assert BED.risk("poor", "rich") == pytest.approx(exact, rel=16 * EPS)
    assert BED.information_gap == pytest.approx(0.845038, abs=5e-7)


@given(scale, scale, scale)
@settings(deadline=None)
def test_risks_are_those_of_conditioning_a_joint_gaussian(prior, one, two):
    rich, poor = sorted((one, two))
    if rich == poor:
        return
    bed = SwitchedConditioning(prior, rich, poor)
    for name, noise in (("rich", rich), ("poor", poor)):
        c, r = Fraction(prior) ** 2, Fraction(noise) ** 2
        schur = c - c / (c + r) * c  # exact: in floats it would cancel
        assert bed.risk(name) == pytest.approx(float(schur), rel=16 * EPS)


@given(scale, scale, scale)
@settings(deadline=None)
def test_its_own_head_is_the_best_for_an_input(prior, one, two):
    rich, poor = sorted((one, two))
    if rich == poor:
        return
    bed = SwitchedConditioning(prior, rich, poor)
    slack = 1 + 16 * EPS
    assert bed.risk("rich") <= bed.risk("rich", "poor") * slack
    assert bed.risk("poor") <= bed.risk("poor", "rich") * slack
    assert bed.risk("rich") <= bed.risk("poor") * slack
    assert bed.information_gap >= -16 * EPS


@given(scale)
@settings(deadline=None)
def test_a_change_of_units_changes_the_risks_by_its_square(k):
    bed = SwitchedConditioning(k, 0.3 * k, 0.9 * k)
    for name in ("rich", "poor"):
        assert bed.risk(name) == pytest.approx(k**2 * BED.risk(name), rel=64 * EPS)
        for head in ("rich", "poor"):
            assert bed.risk(name, head) == pytest.approx(k**2 * BED.risk(name, head), rel=64 * EPS)
    assert bed.information_gap == pytest.approx(BED.information_gap, rel=64 * EPS)


def test_samples_have_the_joint_law(asarray, rng):
    n = 100_000
    drawn = BED.sample(n, rng=rng, like=asarray(np.zeros(1)))
    x, rich, poor = (arrays.to_numpy(v)[:, 0] for v in drawn)
    for products, exact in (
        (x * x, 1.0),
        (rich * rich, 1.09),
        (poor * poor, 1.81),
        (x * rich, 1.0),
        (x * poor, 1.0),
        (rich * poor, 1.0),
    ):
        error = (products.mean() - exact) * math.sqrt(n) / products.std()
        assert abs(error) < norm.isf(1e-6 / 6 / 2)


# without a flag


def test_the_compromise_is_the_posterior_mean_of_both_kinds():
    y, p = 1.3, 0.3
    moments = [0.0, 0.0]
    for w, noise in ((p, 0.3), (1 - p, 0.9)):
        for power in (0, 1):
            found = quad(
                lambda x, k, noise: x**k * norm.pdf(x) * norm.pdf(y, x, noise),
                *(-8, 8),
                args=(power, noise),
                epsabs=1e-13,
            )
            moments[power] += w * found[0]
    assert float(BED.compromise(y, p)) == pytest.approx(moments[1] / moments[0], abs=1e-11)


def test_the_compromise_lies_between_the_two_heads():
    y = np.linspace(-60, 60, 1001)
    gain = BED.compromise(y[y != 0]) / y[y != 0]
    assert np.all(gain >= BED.gain("poor") * (1 - 8 * EPS))
    assert np.all(gain <= BED.gain("rich") * (1 + 8 * EPS))


@pytest.mark.parametrize(("share", "name"), [(1.0, "rich"), (0.0, "poor")])
def test_with_one_kind_only_no_flag_is_needed(share, name):
    found = BED.compromise_risk(share)
    assert found["mean"] == pytest.approx(BED.risk(name), rel=64 * EPS)
    assert found["mean"] == pytest.approx(BED.switched_risk(share), rel=64 * EPS)


def test_the_compromise_has_the_risk_that_samples_have(rng):
    n, share = 200_000, 0.5
    x, rich, poor = BED.sample(n, rng=rng)
    exact = BED.compromise_risk(share)
    for y, name in ((rich, "rich"), (poor, "poor")):
        errors = ((BED.compromise(y, share) - x) ** 2)[:, 0]
        z = (errors.mean() - exact[name]) * math.sqrt(n) / errors.std()
        assert abs(z) < norm.isf(1e-6 / 2 / 2)


@given(st.floats(0.01, 0.99), st.floats(0.1, 1.0), st.floats(1.1, 5.0))
@settings(deadline=None, max_examples=40)
def test_the_flag_is_worth_something_for_every_share(share, rich, times):
    bed = SwitchedConditioning(1.0, rich, times * rich)
    found = bed.compromise_risk(share)
    assert found["rich"] > bed.risk("rich")
    assert found["poor"] > bed.risk("poor")
    assert found["mean"] > bed.switched_risk(share)


# heads


def test_a_switchable_head_serves_each_row_with_its_own(asarray):
    head = BED.head()
    y, flag = asarray(np.array([[1.0], [2.0], [3.0]])), asarray(np.array([True, False, True]))
    found = arrays.to_numpy(head(y, flag))[:, 0]
    exact = [BED.gain("rich"), 2 * BED.gain("poor"), 3 * BED.gain("rich")]
    np.testing.assert_allclose(found, exact, rtol=4 * EPS)


def test_gradients_reach_a_head_from_its_own_rows_only():
    one, two = nn.Linear(2, 3), nn.Linear(2, 3)
    head = SwitchableHead(one, two)
    head(torch.ones(4, 2), torch.tensor([True] * 4)).sum().backward()
    assert float(one.weight.grad.abs().min()) > 0
    assert float(two.weight.grad.abs().max()) == 0.0


class Told(nn.Module):
    """A tiny network of (y, flag), or of y alone."""

    def __init__(self, flagged):
        super().__init__()
        self.flagged = flagged
        self.layers = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 1))

    def forward(self, y, flag):
        told = flag[:, None].to(y.dtype) if self.flagged else torch.zeros_like(y)
        return self.layers(torch.cat([y, told], dim=1))


def trained_risks(flagged):
    """Risks of a network trained on equal parts of both inputs: the population's, by quadrature."""
    z, w = np.polynomial.hermite_e.hermegauss(40)
    w = torch.from_numpy(w / w.sum())[:, None]
    y = torch.from_numpy(np.concatenate([math.sqrt(1.09) * z, math.sqrt(1.81) * z]))[:, None]
    flag = torch.arange(80) < 40
    gain = torch.tensor([[BED.gain("rich")]] * 40 + [[BED.gain("poor")]] * 40).double()
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)
        network = Told(flagged).double()
    optimiser = torch.optim.LBFGS(
        network.parameters(), max_iter=400, history_size=50, line_search_fn="strong_wolfe"
    )

    def excess():  # E (h(y) - x)^2 = risk + E (h(y) - gain y)^2
        off = (network(y, flag) - gain * y) ** 2
        return (w * off[:40]).sum(), (w * off[40:]).sum()

    def closure():
        optimiser.zero_grad()
        loss = sum(excess())
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        rich, poor = (float(v) for v in excess())
    return {"rich": BED.risk("rich") + rich, "poor": BED.risk("poor") + poor}


def test_a_network_with_the_flag_reaches_both_risks_and_one_without_only_a_compromise(one_thread):
    told, deaf = trained_risks(True), trained_risks(False)
    best = BED.compromise_risk(0.5)
    for name in ("rich", "poor"):
        assert told[name] <= 1.01 * BED.risk(name)
    mean = (deaf["rich"] + deaf["poor"]) / 2
    # no head of y alone is below the compromise (quadrature: 1e-6), and training comes near
    assert best["mean"] - 1e-5 <= mean <= 1.01 * best["mean"]
    assert mean > 1.1 * BED.switched_risk(0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SwitchedConditioning(0.0), "SwitchedConditioning: prior must be finite in"),
        (lambda: SwitchedConditioning(1.0, -0.1), "SwitchedConditioning: rich must be finite in"),
        (lambda: SwitchedConditioning(1.0, 0.1, math.inf), "Conditioning: poor must be finite in"),
        (lambda: SwitchedConditioning(1.0, 0.9, 0.3), "rich must be below poor = 0.3, got 0.9"),
        (lambda: BED.gain("flag"), "SwitchedConditioning.gain: given must be one of 'rich'"),
        (lambda: BED.risk("flag"), "SwitchedConditioning.risk: given must be one of 'rich'"),
        (lambda: BED.risk("poor", "flag"), "SwitchedConditioning.risk: head must be one of"),
        (lambda: BED.switched_risk(1.1), "switched_risk: share must be finite in"),
        (lambda: BED.compromise(math.nan), "SwitchedConditioning.compromise: y must be finite"),
        (lambda: BED.compromise(1.0, -0.1), "compromise: share must be finite in"),
        (lambda: BED.compromise_risk(math.nan), "compromise_risk: share must be finite in"),
        (lambda: BED.sample(-1, rng=np.random.default_rng(0)), "sample: n must be at least 0"),
        (
            lambda: BED.head()(np.ones((2, 1)), np.ones(3, dtype=bool)),
            r"SwitchableHead: flag must be bool of shape \(2,\)",
        ),
        (
            lambda: BED.head()(np.ones((2, 1)), np.ones(2)),
            r"SwitchableHead: flag must be bool of shape \(2,\)",
        ),
    ],
)
@pytest.mark.usefixtures("own_checks")
def test_a_bad_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
