"""Block probes: on a known stack, on real transformers, and on blocks that return a pair."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from fewtheory import samplers, zoo
from fewtheory.compress import Skipping, probe_blocks
from fewtheory.compress.pruning import MODES
from fewtheory.plan import grids
from fewtheory.testbeds.layered import chebyshev_roots, residual
from fewtheory.zoo.data import digits

LAM, ROOTS = np.linspace(0.4, 2.0, 401), chebyshev_roots(0.4, 2.0, 10)


def worst(dropped):
    """The worst residual of the Chebyshev stack without these blocks."""
    return float(np.abs(residual(LAM, ROOTS, [k for k in range(10) if k not in dropped])).max())


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("exhaustive", 0.0083), ("greedy", 0.023), ("one-shot", 0.050), ("last", 0.16), ("first", 16)],
)
def test_four_of_ten_chebyshev_blocks_cost_what_is_known(mode, expected):
    # sheet protenix-mini, C8, to two digits
    found = probe_blocks(10, worst, mode=mode, drop=4)
    assert found.loss == pytest.approx(
        expected, abs=0.5 * 10 ** (math.floor(math.log10(expected)) - 1)
    )
    assert found.loss == worst(found.dropped)


def test_the_cost_in_evaluations_is_as_stated():
    for mode, count in (
        ("one-shot", 1 + 10 + 3),  # the first of the trail is a score
        ("greedy", 1 + 10 + 9 + 8 + 7),
        ("exhaustive", 1 + math.comb(10, 4)),
        ("first", 1 + 4),
        ("last", 1 + 4),
    ):
        assert probe_blocks(10, worst, mode=mode, drop=4).evaluations == count


def test_a_trail_is_the_loss_of_each_beginning():
    found = probe_blocks(10, worst, mode="greedy", drop=3)
    assert found.trail == tuple(worst(found.dropped[:k]) for k in (1, 2, 3))
    assert found.scores == tuple(worst({k}) for k in range(10))
    assert found.baseline == worst(())
    assert found.kept(10) == tuple(k for k in range(10) if k not in found.dropped)


@pytest.mark.parametrize("mode", MODES)
def test_dropping_nothing_or_everything_is_possible(mode):
    assert probe_blocks(10, worst, mode=mode, drop=0).loss == worst(())
    assert set(probe_blocks(5, worst, mode=mode, drop=5).dropped) == set(range(5))


@pytest.mark.parametrize("mode", MODES)
def test_scores_that_add_are_all_that_there_is_to_know(mode):
    # the metamorphic control: on an additive loss ranking, greedy and exhaustive are one
    costs = [5.0, 1.0, 4.0, 2.0, 3.0]
    found = probe_blocks(5, lambda out: sum(costs[k] for k in out), mode=mode, drop=2)
    if mode in ("first", "last"):
        assert found.dropped == ((0, 1) if mode == "first" else (4, 3))
    else:
        assert set(found.dropped) == {1, 3}


def test_a_loss_that_is_not_a_number_comes_last():
    found = probe_blocks(3, lambda out: math.nan if 0 in out else float(len(out)), drop=2)
    assert set(found.dropped) == {1, 2}


# torch


@pytest.fixture(scope="module")
def dit():
    """The zoo's transformer, its blocks, held-out digits with noise and the exact velocities."""
    entry = zoo.load("digits-dit")
    data = digits("held-out")
    x0, label = data.x[:64], data.label[:64]
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    return entry, list(entry.network.transformer_blocks), x0, label, eps


def denoising_error(dit):
    """loss(): mean squared error of the predicted velocity at three levels, on held-out digits."""
    entry, _, x0, label, eps = dit

    def loss():
        total = 0.0
        with torch.no_grad():
            for t in (0.2, 0.5, 0.8):
                found = entry.model((1 - t) * x0 + t * eps, t, class_labels=label)
                total += float(((found - (eps - x0)) ** 2).mean()) / 3
        return total

    return loss


def test_blocks_of_a_real_transformer_are_ranked_by_denoising_error(dit, one_thread):
    _, blocks, *_ = dit
    loss = denoising_error(dit)
    found = {
        m: probe_blocks(blocks, loss, mode=m, drop=2) for m in ("one-shot", "greedy", "exhaustive")
    }
    greedy = found["greedy"]
    # a trained block helps: without it the error is larger, and larger still without two
    assert greedy.baseline < min(greedy.scores)
    assert greedy.baseline < greedy.trail[0] < greedy.trail[1]
    assert found["exhaustive"].loss <= greedy.loss
    assert found["exhaustive"].loss <= found["one-shot"].loss
    with Skipping(blocks) as out:  # what was measured is what a network without them does
        out.skipped = set(greedy.dropped)
        assert loss() == greedy.loss
    assert loss() == greedy.baseline


def test_samples_of_a_pruned_transformer_are_off_from_the_whole_ones(dit, one_thread):
    entry, blocks, _, label, eps = dit
    path = entry.model.path
    plan = samplers.ddim(path, grids.uniform(path, 6))

    def sample():
        with torch.no_grad():
            return plan.run(entry.model, eps[:16], class_labels=label[:16])

    whole = sample()
    found = probe_blocks(blocks, lambda: float((sample() - whole).pow(2).mean()), drop=2)
    assert found.baseline == 0.0  # the same network on the same noise
    assert 0.0 < found.trail[0] < found.trail[1]


class Pairformer(nn.Module):
    """A residual block on a single (b, n, c) and a pair (b, n, n, k) representation."""

    def __init__(self, c=6, k=4):
        super().__init__()
        self.triangle = nn.Linear(k, k)
        self.bias, self.value = nn.Linear(k, 1), nn.Linear(c, c)

    def forward(self, s, z):
        left = self.triangle(z).sigmoid() * z
        z = z + 0.1 * torch.einsum("bikc,bjkc->bijc", left, left) / z.shape[1]
        s = s + torch.softmax(self.bias(z)[..., 0], dim=-1) @ self.value(s)
        return s, z


@pytest.fixture
def pairs():
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)
        stack = nn.ModuleList(Pairformer() for _ in range(5)).double()
    for block in list(stack)[3:4]:  # one block whose branches are nearly off
        for part in (block.value, block.triangle):
            nn.init.constant_(part.bias, 0.0)
        nn.init.zeros_(block.value.weight)
        nn.init.constant_(block.triangle.bias, -40.0)
    return stack.requires_grad_(False)


def run(stack, s, z):
    for block in stack:
        s, z = block(s, z)
    return s, z


def test_blocks_that_return_a_pair_are_probed(pairs):
    rng = torch.Generator().manual_seed(1)
    s = torch.randn(2, 7, 6, generator=rng, dtype=torch.float64)
    z = torch.randn(2, 7, 7, 4, generator=rng, dtype=torch.float64)
    whole = run(pairs, s, z)

    def loss():
        found = run(pairs, s, z)
        return sum(float((a - b).pow(2).sum()) for a, b in zip(found, whole, strict=True))

    found = probe_blocks(list(pairs), loss, mode="greedy", drop=2)
    assert found.dropped[0] == 3  # sigmoid(-40): its branches add nothing
    assert found.trail[0] < 1e-20
    rest = nn.ModuleList(b for k, b in enumerate(pairs) if k not in found.dropped)
    without = run(rest, s, z)
    exact = sum(float((a - b).pow(2).sum()) for a, b in zip(without, whole, strict=True))
    assert found.loss == exact  # the same operations in the same order


def test_the_network_is_as_before_even_if_the_loss_fails():
    stack = nn.ModuleList([nn.Linear(3, 3)])
    before = stack[0](torch.ones(1, 3))

    def loss():
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        probe_blocks(list(stack), loss)
    assert not stack[0]._forward_hooks
    assert torch.equal(stack[0](torch.ones(1, 3)), before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: probe_blocks(3, worst, mode="best"),
            "probe_blocks: mode must be one of 'one-shot'",
        ),
        (lambda: probe_blocks(0, worst), "probe_blocks: blocks must be at least 1, got 0"),
        (lambda: probe_blocks([], worst), "probe_blocks: blocks must be at least 1, got 0"),
        (lambda: probe_blocks(3, worst, drop=4), r"probe_blocks: drop must be in \[0, 3\], got 4"),
        (
            lambda: probe_blocks(3, worst, drop=-1),
            r"probe_blocks: drop must be in \[0, 3\], got -1",
        ),
        (lambda: probe_blocks(3, worst, drop=1.0), "probe_blocks: drop must be an integer"),
        (lambda: probe_blocks(3, 1.0), "probe_blocks: loss must be callable, got 1.0"),
        (lambda: probe_blocks(["a"], worst), "Skipping: blocks must be modules, got 'a' at 0"),
        (
            lambda: probe_blocks(3, lambda out: math.inf),
            "probe_blocks: loss must be finite with every block in, got inf",
        ),
        (
            lambda: probe_blocks(48, worst, mode="exhaustive", drop=8),
            "probe_blocks: mode must be 'greedy' or another with over 65536 sets",
        ),
    ],
)
@pytest.mark.usefixtures("own_checks")
def test_a_bad_argument_is_named(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
