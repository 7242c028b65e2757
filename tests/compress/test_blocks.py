"""Leaving blocks out of real networks."""

import pytest
import torch
from torch import nn

from fewtheory import samplers, zoo
from fewtheory.compress import Skipping
from fewtheory.plan import grids


class Residual(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.branch = nn.Linear(width, width)

    def forward(self, x, scale=1.0):
        return x + scale * self.branch(x)


class Pair(nn.Module):
    def forward(self, s, z):
        return s + 1.0, z + 2.0


@pytest.fixture
def blocks():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.ModuleList([Residual() for _ in range(3)])


def run(blocks, x):
    for block in blocks:
        x = block(x)
    return x


def test_a_block_that_is_left_out_returns_its_input(blocks):
    x = torch.ones(2, 4)
    with Skipping(list(blocks)) as out:
        out.skipped = {1}
        assert torch.equal(run(blocks, x), blocks[2](blocks[0](x)))
        out.skipped = {0, 1, 2}
        assert torch.equal(run(blocks, x), x)


def test_afterwards_the_network_is_as_it_was(blocks):
    x = torch.ones(2, 4)
    before = run(blocks, x)
    with Skipping(list(blocks)) as out:
        out.skipped = {0}
        assert not torch.equal(run(blocks, x), before)
    assert torch.equal(run(blocks, x), before)


def test_a_block_of_two_tensors_returns_both():
    pair, s, z = Pair(), torch.ones(2), torch.zeros(2)
    with Skipping([pair]) as out:
        out.skipped = {0}
        found = pair(s, z=z)
    assert torch.equal(found[0], s)
    assert torch.equal(found[1], z)


def test_a_block_that_changes_the_shape_cannot_be_left_out():
    block = nn.Linear(3, 2)
    with Skipping([block]) as out:
        out.skipped = {0}
        with pytest.raises(
            ValueError, match="Skipping: the output of block 0 must be of the shape"
        ):
            block(torch.ones(1, 3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([],), "Skipping: blocks must be one or more"),
        ((["a"],), "Skipping: blocks must be modules, got 'a' at 0"),
        (([nn.Identity()], [{1}]), "Skipping: sets must be of indices below 1"),
    ],
)
def test_bad_arguments_are_named(own_checks, given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Skipping(*given)


def test_a_run_leaves_out_what_its_sets_say(one_thread):
    # the zoo's transformer on digits: all blocks in the first steps, half of them in the last
    entry = zoo.load("digits-dit")
    blocks = list(entry.network.transformer_blocks)
    path = entry.model.path
    plan = samplers.euler(path, grids.uniform(path, 4))
    x = torch.randn(4, *entry.recipe.shape, generator=torch.Generator().manual_seed(0))
    labels = {"class_labels": torch.arange(4)}
    with torch.no_grad():
        whole = plan.run(entry.model, x, **labels)
        with Skipping(blocks, [(), (), (1,), (1,)]) as out:
            thinned = plan.run(entry.model, x, callback=out.at, **labels)
        with Skipping(blocks, [()] * 4) as out:
            same = plan.run(entry.model, x, callback=out.at, **labels)
    assert torch.equal(whole, same)
    assert not torch.equal(whole, thinned)
    assert torch.isfinite(thinned).all()
