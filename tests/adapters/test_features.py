"""Rows of frozen networks, and heads fitted on few of them."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from sklearn.datasets import load_digits

from fewtheory import zoo
from fewtheory.adapters import features
from fewtheory.subsets import FeatureSpace, StreamingCoreset, sample, wls


class Record:
    """An output with a name, as diffusers has it."""

    def __init__(self, sample):
        self.sample = sample


class Wrapped(torch.nn.Module):
    """Gives its parts' outputs as the kind asks."""

    def __init__(self, kind):
        super().__init__()
        self.part, self.idle, self.kind = torch.nn.Linear(3, 4), torch.nn.Linear(1, 1), kind
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, x, attention_mask=None):
        out = self.drop(self.part(x))
        return {"tuple": (out, 1), "record": Record(out), "dict": {"a": out}, "tensor": out}[
            self.kind
        ]


@pytest.mark.parametrize("kind", ["tensor", "tuple", "record", "dict"])
def test_the_first_tensor_of_any_output_is_the_row(kind):
    network, x = Wrapped(kind), torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    (own,) = features.rows(network, [x])
    (inner,) = features.rows(network, [(x,)], block="part")
    assert torch.equal(own, inner)  # no dropout: the network is in evaluation mode
    assert network.training
    assert not own.requires_grad
    assert not network.part._forward_hooks


def test_positions_are_pooled_where_the_mask_keeps_them():
    network = Wrapped("tensor")
    x = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
    out = network.part(x)
    (mean,) = features.rows(network, [{"x": x, "attention_mask": mask}])
    assert torch.allclose(mean[0], out[0, :3].mean(dim=0))
    (last,) = features.rows(network, [{"x": x, "attention_mask": mask}], pool="last")
    assert torch.allclose(last, torch.stack([out[0, 2], out[1, 5]]))
    (flat,) = features.rows(network, [x], pool="flatten")
    assert flat.shape == (2, 24)


def images():
    """The 1,797 digits, (n, 1, 8, 8) in [-1, 1]."""
    return torch.tensor(load_digits().data / 8 - 1, dtype=torch.float32).reshape(-1, 1, 8, 8)


def test_blocks_of_a_unet_and_of_a_language_model_are_rows():
    unet = zoo.load("digits-unet").network
    batch = {"sample": images()[:6], "timestep": 10, "class_labels": torch.arange(6)}
    (mid,) = features.rows(unet, [batch], block="mid_block")
    assert mid.shape == (6, unet.config.block_out_channels[-1])
    llama = zoo.load("source-llama").network
    tokens = torch.randint(0, 4, (3, 8), generator=torch.Generator().manual_seed(0))
    (hidden,) = features.rows(llama, [{"input_ids": tokens}], block="model.layers.0", pool="last")
    states = llama(tokens, output_hidden_states=True).hidden_states
    assert torch.allclose(hidden, states[1][:, -1], atol=1e-6)


def median_fit(A, y, weight):
    """The coefficients of least sum of weight |y - A c|, from the dual linear program."""
    dual = linprog(
        -weight * y, A_eq=(A * weight[:, None]).T, b_eq=np.zeros(A.shape[1]), bounds=(-1, 1)
    )
    return -dual.eqlin.marginals


def test_a_median_head_on_a_stream_of_features_is_near_the_head_on_all_rows(rng):
    x = images()
    network = zoo.load("digits-classifier").network
    ink = ((x + 1) / 2).sum(dim=(1, 2, 3)).numpy()
    stream, seen = StreamingCoreset(1, 170, draw="fixed", rng=rng), []
    batches = torch.split(x, 150)
    for part, rows in zip(
        np.split(ink, range(150, 1797, 150)),
        features.rows(network, batches, block="inner"),
        strict=True,
    ):
        one = np.ones((len(part), 1))
        seen.append(np.concatenate([rows.numpy(), one, part[:, None]], axis=1))
        stream.push(seen[-1])
    A, kept = np.concatenate(seen), stream.result()
    assert len(kept.index) == 170
    best = median_fit(A[:, :-1], A[:, -1], np.ones(len(A)))
    few = median_fit(A[kept.index, :-1], A[kept.index, -1], kept.weight)
    loss = [np.abs(A[:, -1] - A[:, :-1] @ c).sum() for c in (best, few)]
    # a distortion of eps costs (1 + eps) / (1 - eps); eps ~ sqrt(d / m), five rows a column
    eps = np.sqrt(34 / 170)
    assert 1 <= loss[1] / loss[0] < (1 + eps) / (1 - eps)


def test_labels_are_asked_for_where_a_determinantal_process_says(rng):
    (rows,) = features.rows(zoo.load("digits-classifier").network, [images()], block="inner")
    V = FeatureSpace(rows.double())
    S = sample(V, "repeated_dpp", repeats=8, delta=0.5, rng=rng)
    y = rows.double() @ torch.arange(32.0, dtype=torch.float64)  # in the space: nothing is lost
    fit = wls(V, S, y[S.index])
    assert torch.allclose(fit.predict(torch.arange(1797)), y, atol=1e-8 * float(y.abs().max()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": "head"}, "block must be a submodule's name"),
        ({"block": "idle"}, "block must be called by the network, 'idle' was not"),
        ({"pool": "max"}, "pool must be one of"),
        ({"batch": torch.ones(2, 2, 2, 2, 3)}, r"pool must fit the block's output"),
    ],
)
def test_bad_arguments_are_named(own_checks, change, message):
    batch = change.pop("batch", torch.ones(2, 3))
    with pytest.raises(ValueError, match=message):
        list(features.rows(Wrapped("tensor"), [batch], **change))
