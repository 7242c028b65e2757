"""Quantised networks: what rounds, what is stored, and that the rest stays as it is."""

import copy
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import nn

from fewtheory import zoo
from fewtheory.compress import FakeQuantised, fake_quantise, fake_quantised, stored, with_torchao
from fewtheory.compress.quantise import StoredLayer, layers, pack, unpack
from fewtheory.errors import MissingExtra

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ["digits-unet", "digits-dit"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def small():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = nn.Conv2d(1, 3, 3), nn.SiLU(), nn.Flatten(), nn.Linear(108, 5)
        return nn.Sequential(*parts).eval().requires_grad_(False)


@pytest.fixture
def images():
    return torch.randn(2, 1, 8, 8, generator=seeded())


# rounding


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_token_is_rounded_to_its_own_levels_by_at_most_half_a_step(bits):
    x = (
        torch.randn(5, 7, generator=seeded(), dtype=torch.float64)
        * torch.logspace(-3, 3, 5)[:, None]
    )
    levels = 2 ** (bits - 1) - 1
    step = x.abs().amax(1, keepdim=True) / levels
    found = fake_quantise(x, bits)
    assert torch.all((found - x).abs() <= step / 2 * (1 + 1e-12))
    k = found / step
    torch.testing.assert_close(k, k.round(), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.abs().amax(1, keepdim=True), step * levels)


def test_zeros_stay_zeros():
    assert torch.equal(fake_quantise(torch.zeros(2, 3), 4), torch.zeros(2, 3))


def test_rounding_twice_changes_nothing():
    once = fake_quantise(torch.randn(4, 9, generator=seeded()), 4)
    torch.testing.assert_close(fake_quantise(once, 4), once, rtol=1e-6, atol=0)


def test_more_bits_come_closer(small, images):
    out, expected = [], small(images)
    for bits in (2, 4, 8):
        out.append(float((fake_quantised(small, bits)(images) - expected).norm()))
    assert out[0] > out[1] > out[2] > 0


def test_weights_have_a_scale_a_channel(small):
    found = layers(fake_quantised(small, 3))
    for name, layer in layers(small).items():
        rounded = found[name].weight
        for mine, channel in zip(rounded.flatten(1), layer.weight.flatten(1), strict=True):
            torch.testing.assert_close(mine, fake_quantise(channel, 3))


def test_a_linear_layers_token_is_a_row_and_a_convolutions_a_place():
    linear, conv = nn.Linear(4, 2, bias=False), nn.Conv2d(4, 2, 1, bias=False)
    conv.weight.data = linear.weight.data[:, :, None, None].clone()
    x = torch.randn(3, 4, 5, 5, generator=seeded())
    rows = x.movedim(1, -1)
    by_row = fake_quantised(linear, None, 4)(rows)
    torch.testing.assert_close(by_row, linear(fake_quantise(rows, 4)))
    by_place = fake_quantised(conv, None, 4)(x)
    torch.testing.assert_close(by_place.movedim(1, -1), by_row)


def test_the_original_is_left_as_it_was(small, images):
    before, state = small(images), copy.deepcopy(small.state_dict())
    fake_quantised(small, 2, 2)
    stored(small, 4)
    assert torch.equal(small(images), before)
    assert all(torch.equal(v, state[k]) for k, v in small.state_dict().items())


def test_a_context_rounds_inside_and_restores_afterwards(small, images):
    before, copied = small(images), fake_quantised(small, 4, 8)(images)
    with FakeQuantised(small, 4, 8):
        assert torch.equal(small(images), copied)
    assert torch.equal(small(images), before)


def test_a_context_restores_after_an_error_and_shared_weights_too():
    one, two = nn.Linear(3, 3), nn.Linear(3, 3)
    two.weight = one.weight
    network, before = nn.Sequential(one, two), one.weight.clone()
    with pytest.raises(RuntimeError, match="inside"), FakeQuantised(network, 2):
        raise RuntimeError("inside")
    assert torch.equal(one.weight, before)


# storage


@pytest.mark.parametrize("bits", [4, 8])
def test_what_is_stored_computes_what_is_fake_quantised(small, images, bits):
    assert torch.equal(stored(small, bits)(images), fake_quantised(small, bits)(images))


@pytest.mark.parametrize("shape", [(3, 5), (2, 4), (1, 1), (2, 3, 3, 3)])
def test_packing_two_codes_a_byte_loses_nothing(shape):
    codes = torch.randint(-7, 8, shape, generator=seeded(), dtype=torch.int8)
    packed = pack(codes)
    assert packed.numel() == (codes.numel() + 1) // 2
    assert torch.equal(unpack(packed, shape), codes)


@pytest.mark.parametrize(("bits", "share"), [(8, 1 / 4), (4, 1 / 8)])
def test_storage_takes_the_share_of_memory_that_it_says(bits, share):
    layer = nn.Linear(256, 64, bias=False)
    size = sum(v.numel() * v.element_size() for v in stored(layer, bits).state_dict().values())
    assert size == 256 * 64 * 4 * share + 64 * 4  # and a scale a channel


@pytest.mark.parametrize("bits", [4, 8])
def test_a_state_dict_carries_the_codes(small, images, bits):
    one, other = stored(small, bits), stored(nn.Sequential(*copy.deepcopy(list(small))), bits)
    for part in other.modules():
        if isinstance(part, StoredLayer):
            part.codes.zero_()
    other.load_state_dict(one.state_dict())
    assert torch.equal(other(images), one(images))


def test_a_stored_network_moves_to_another_dtype(small, images):
    wide = stored(small, 4).double()
    assert wide(images.double()).dtype == torch.float64
    # the codes are the same, the sums are longer
    torch.testing.assert_close(
        wide(images.double()).float(), stored(small, 4)(images), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bits", [8, 4])
def test_the_zoos_networks_stay_close_and_stored_is_fake(name, bits):
    entry, x = zoo.load(name), torch.randn(4, 1, 8, 8, generator=seeded())
    label = torch.arange(4)
    with torch.no_grad():
        exact = entry.model(x, 0.5, class_labels=label)
        rounded = replace(entry, network=fake_quantised(entry.network, bits))
        held = replace(entry, network=stored(entry.network, bits))
        found, same = (e.model(x, 0.5, class_labels=label) for e in (rounded, held))
    assert torch.equal(found, same)
    off = float((found - exact).norm() / exact.norm())
    assert 1e-4 < off < (0.01 if bits == 8 else 0.2)  # half steps of 1/127 and 1/7, averaged over


# torchao


def test_torchao_that_is_missing_is_named_with_its_extra(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(MissingExtra, match=r"needs the extra 'quant'"):
        with_torchao(small)


@pytest.mark.parametrize("config", ["Int8WeightOnlyConfig", "int8_weight_only"])
def test_torchao_is_called_on_a_copy_by_its_new_and_its_old_name(small, monkeypatch, config):
    fake, calls = ModuleType("torchao.quantization"), []
    setattr(fake, config, lambda **settings: ("config", settings))
    fake.quantize_ = lambda network, how: calls.append((network, how))
    monkeypatch.setitem(sys.modules, "torchao", ModuleType("torchao"))
    monkeypatch.setitem(sys.modules, "torchao.quantization", fake)
    found = with_torchao(small, 8, group_size=32)
    assert calls == [(found, ("config", {"group_size": 32}))]
    assert found is not small


# bad input


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda n: fake_quantise(torch.ones(2), 1), ValueError, "fake_quantise: bits must be"),
        (lambda n: fake_quantise(torch.ones(2), 4.0), TypeError, "bits must be an integer"),
        (lambda n: fake_quantised(n, 17), ValueError, "weights must be in"),
        (lambda n: fake_quantised(n, 4, 1), ValueError, "activations must be in"),
        (lambda n: fake_quantised(lambda x: x), TypeError, "network must be a torch module"),
        (lambda n: fake_quantised(nn.SiLU()), ValueError, "network must be one with linear or"),
        (lambda n: FakeQuantised(n, 0), ValueError, "FakeQuantised: weights must be in"),
        (lambda n: stored(n, 3), ValueError, "stored: bits must be one of 4, 8"),
        (lambda n: stored(nn.SiLU()), ValueError, "stored: network must be"),
        (lambda n: with_torchao(n, 2), ValueError, "with_torchao: bits must be one of 4, 8"),
    ],
)
def test_a_bad_argument_is_named(small, call, error, named):
    with pytest.raises(error, match=named):
        call(small)
