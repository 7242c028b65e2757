"""The digits patch by patch: what `digits-ar` is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fewtheory.samplers import euler_head
from fewtheory.zoo.autoregressive import (
    PATCHES,
    PatchAutoregression,
    images_of,
    patches_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def network():
    """A network whose last layers are not zero, in float64."""
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(3)
        made = PatchAutoregression(width=16, depth=2, heads=2, head=16, layers=1).double()
        torch.nn.init.normal_(made.head.outer.weight)
    return made.requires_grad_(False)


@pytest.fixture
def x():
    return torch.randn(3, PATCHES, 4, generator=torch.Generator().manual_seed(1)).double()


def test_patches_are_two_by_two_row_by_row():
    image = torch.arange(64.0).reshape(1, 1, 8, 8)
    patches = patches_of(image)
    assert patches.shape == (1, 16, 4)
    assert patches[0, 1].tolist() == [2, 3, 10, 11]
    assert patches[0, 4].tolist() == [16, 17, 24, 25]
    assert torch.equal(images_of(patches), image)


def test_a_condition_sees_the_patches_before_it_and_no_other(network, x):
    z = network.conditions(x[:, :-1])
    for i in (0, 5, 14):
        moved = x.clone()
        moved[:, i] += 1.0
        changed = (network.conditions(moved[:, :-1]) - z).abs().amax((0, 2)) > 1e-9
        assert changed.tolist() == [k > i for k in range(PATCHES)]


def test_a_condition_is_the_same_from_the_prefix_alone(network, x):
    whole = network.conditions(x[:, :-1])
    for i in (0, 1, 7, 15):
        # sums over up to 16 places in another order, in a dozen layers
        torch.testing.assert_close(
            network.conditions(x[:, :i])[:, i], whole[:, i], rtol=1e-11, atol=1e-11
        )


def test_the_conditional_model_is_what_was_trained(network, x):
    t = torch.full((1, 3, PATCHES), 0.4, dtype=torch.float64)
    eps = torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).double()
    trained = network(x, t, eps[None])[0]
    for i in (0, 9):
        model = network.conditional(i, x[:, :i])
        seen = 0.6 * x[:, i : i + 1] + 0.4 * eps[:, i : i + 1]
        torch.testing.assert_close(model(seen, 0.4)[:, 0], trained[:, i], rtol=1e-10, atol=1e-10)
        times = torch.full((3,), 0.4, dtype=torch.float64)
        assert torch.equal(model(seen, times), model(seen, 0.4))


def test_a_digit_is_drawn_patch_by_patch(network):
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(4)).double()
    drawn = network.draw(noise, [euler_head(2)] * PATCHES)
    assert drawn.shape == noise.shape
    first = euler_head(2).run(
        network.conditional(0, noise.new_zeros(2, 0, 4)), patches_of(noise)[:, :1]
    )
    assert torch.equal(patches_of(drawn)[:, :1], first)


def test_float32_states_and_models_agree_with_float64(network, x):
    single = PatchAutoregression(width=16, depth=2, heads=2, head=16, layers=1)
    single.load_state_dict(network.state_dict())
    with torch.no_grad():
        wide = network.conditional(3, x[:, :3])(x[:, 3:4], 0.4)
        narrow = single.conditional(3, x[:, :3].float())(x[:, 3:4].float(), 0.4)
    scale = float(wide.abs().max())
    assert float((narrow - wide).abs().max()) < 1000 * np.finfo(np.float32).eps * scale
