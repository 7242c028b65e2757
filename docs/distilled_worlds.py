"""Worlds for students: a law, a teacher, networks to start from, and exact measures.

- mixture: the zoo's eight Gaussians in the plane, rectified flow; the teacher is exact.
- product: the zoo's rotated product of 16 mixtures, VP-linear; the teacher is exact.
- digits: scikit-learn's digits, EDM; the teacher is the zoo's residual MLP.
- digits, UNet: the same on the cosine table; the teacher is the zoo's second UNet of diffusers.

Students and fake scores start as copies of the zoo's networks. The levels of a student are given as
noise to signal, largest first; one step takes the first, two the first and the third.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

import fewtheory as ft
from fewtheory.arrays import to_numpy
from fewtheory.model import over_event

BLOCKS = 8  # disjoint blocks of samples: the standard errors come from their scatter
Numbers = dict[str, list[float]]  # a name: the number and its standard error


@dataclass(frozen=True, eq=False)
class World:
    """A teacher on its path, `network()` as students and fake scores start, the data as batches.

    network(told=k): one that can be told a number below k.

    shape: of an event; rho: noise to signal at the student's levels; parts: how conditions (here
    the part itself) divide the law, by number of parts, each with the teacher that knows its
    "label"; measure(x): exact measures of samples (n, *shape), with standard errors.
    """

    name: str
    path: ft.paths.Path
    as_model: Callable[[nn.Module], ft.Model]
    teacher: ft.Model
    network: Callable[..., nn.Module]
    data: Callable[[int, torch.Generator], dict[str, torch.Tensor]]
    shape: tuple[int, ...]
    rho: tuple[float, float, float, float]
    measure: Callable[[torch.Tensor], Numbers]
    samples: int
    batch: int
    parts: Mapping[int, Parts] = field(default_factory=dict)

    def times(self, count: int) -> list[float]:
        """The levels of a student of 1, 2 or 4 steps, in the path's time."""
        chosen = {1: (0,), 2: (0, 2), 4: (0, 1, 2, 3)}[count]
        return [self._time(self.rho[k]) for k in chosen]

    def _time(self, rho: float) -> float:
        path = self.path
        return float(path.start if rho == math.inf else path.t_at(-math.log(rho)))


@dataclass(frozen=True, eq=False)
class Parts:
    """The teacher that knows in which part a sample is ("label"), and the parts' masses."""

    teacher: ft.Model
    masses: tuple[float, ...]
    data: Callable[[int, torch.Generator], dict[str, torch.Tensor]]


def _ignoring(as_model: Callable[[nn.Module], ft.Model]) -> Callable[[nn.Module], ft.Model]:
    """Networks see no "label", only who was asked; "exit" they see."""

    def made(network: nn.Module) -> ft.Model:
        inner = as_model(network)

        def function(x: Any, t: Any, label: Any = None, exit: Any = None) -> Any:
            return inner.function(x, t, **({} if exit is None else {"label": exit}))

        return ft.Model(function, inner.path, inner.prediction)

    return made


def _copy_of(name: str, told: int = 0) -> nn.Module:
    """The zoo's network; with told numbers 0, 1, .. that it can be given and does not heed yet."""
    network: Any = ft.zoo.load(name).network.requires_grad_(True)
    if told:
        inner = getattr(network, "network", network)
        inner.labels = nn.Embedding(told + 1, inner.inner.out_features)
        nn.init.zeros_(inner.labels.weight)
    return network


def estimated(values: Any) -> list[float]:
    """The mean over blocks and its standard error."""
    v = np.asarray(values, dtype=float)
    return [float(f"{v.mean():.4g}"), float(f"{v.std(ddof=1) / math.sqrt(v.size):.2g}")]


def sliced(x: torch.Tensor, law: Any, sides: int = 64) -> list[float]:
    """Sliced W2 to exact draws: the mean over blocks, each with draws and directions of its own."""
    rng = np.random.default_rng(21)
    found = []
    for block in x.flatten(1).double().chunk(BLOCKS):
        y = torch.tensor(law.sample(len(block), rng=rng))
        found.append(ft.metrics.sliced_wasserstein(block, y, sides, rng=rng).value)
    return estimated(found)


def of_mixture(x: torch.Tensor) -> Numbers:
    """KL on a grid of cells .1 wide, the weights of the modes, sliced W2."""
    bed, edges = ft.zoo.data.mixture(), [np.linspace(-4.0, 4.0, 81)] * 2
    kl = ft.metrics.binned_kl(to_numpy(x), bed, edges)
    each = [to_numpy(bed.responsibilities(block.double())).mean(0) for block in x.chunk(BLOCKS)]
    share = np.mean(each, axis=0)
    off = [np.abs(part - bed.weights).sum() / 2 for part in each]
    total = float(np.abs(share - bed.weights).sum() / 2)
    return {
        "KL": [float(f"{kl.value:.4g}"), float(f"{kl.standard_error:.2g}")],
        "mode weights": [float(f"{total:.4g}"), estimated(off)[1]],
        "smallest mode": estimated([part[0] / bed.weights[0] for part in each]),
        "sliced W2": sliced(x, bed),
    }


def of_tilt(x: torch.Tensor) -> Numbers:
    """The mean of x_1, the KL to the nearest of the laws p exp(x_1 / tau) / Z, and its 1 / tau.

    Those laws are what a reward x_1 with a KL penalty asks for (`reward_tilt`).
    """
    bed, edges = ft.zoo.data.mixture(), [np.linspace(-4.0, 4.0, 81)] * 2
    reward = ft.testbeds.Reward([1.0, 0.0])
    rows, found = to_numpy(x), {}
    for strength in np.linspace(0.0, 2.0, 41):
        law = ft.testbeds.reward_tilt(bed, reward, 1 / strength).law if strength else bed
        found[float(strength)] = ft.metrics.binned_kl(rows, law, edges)
    best = min(found, key=lambda strength: found[strength].value)
    kl = found[best]
    return {
        "reward": estimated([float(block[:, 0].mean()) for block in x.chunk(BLOCKS)]),
        "KL to the nearest tilt": [float(f"{kl.value:.4g}"), float(f"{kl.standard_error:.2g}")],
        "its strength": [best, 0.05],
        "reward of that tilt": [
            float(ft.testbeds.reward_tilt(bed, reward, 1 / best).law.mean[0])
            if best
            else bed.mean[0],
            0.0,
        ],
    }


def of_product(x: torch.Tensor) -> Numbers:
    """W2 along the 16 axes to the exact mixtures, the weights of their modes, sliced W2."""
    bed = ft.zoo.data.product()
    along = to_numpy(x.double()) @ np.asarray(bed.rotation)
    marginals = [
        ft.testbeds.mixture_1d(w, m, s)
        for w, m, s in zip(bed.weights, bed.means, bed.stds, strict=True)
    ]
    w2, off = [], []
    for block in np.array_split(along, BLOCKS):
        columns = list(zip(block.T, marginals, strict=True))
        w2.append(np.mean([ft.metrics.wasserstein_1d_to_mixture(v, law) for v, law in columns]))
        off.append(np.mean([abs(_low_share(v, law) - law.weights[0, 0]) for v, law in columns]))
    return {
        "W2 along axes": estimated(w2),
        "mode weights": estimated(off),
        "sliced W2": sliced(x, bed),
    }


def _low_share(v: np.ndarray, law: Any) -> float:
    """The mean probability that a number comes from the mixture's first component."""
    z = (v[:, None] - law.means[0]) / law.stds[0]
    log_w = np.log(law.weights[0]) - 0.5 * z**2 - np.log(law.stds[0])
    return float(np.mean(1 / (1 + np.exp(log_w[:, 1] - log_w[:, 0]))))


def of_digits(x: torch.Tensor) -> Numbers:
    """Frechet distance of a thousand samples to the held-out digits in the classifier's features.

    The error is that of new samples; the held-out digits are the same for all.
    """
    features: Any = ft.zoo.load("digits-classifier").network.features
    held = ft.zoo.digits("held-out").x
    with torch.no_grad():
        mine, theirs = (features(v.float()).double() for v in (x, held))
    blocks = mine.chunk(BLOCKS)
    return {"Frechet": estimated([ft.metrics.frechet_distance(b, theirs) for b in blocks])}


def _drawn(law: Any, n: int, rng: torch.Generator) -> dict[str, torch.Tensor]:
    return {"x": law.sample(n, rng=rng, like=torch.empty(0))}


def _of_parts(laws: Any, masses: Any, n: int, rng: torch.Generator) -> dict[str, torch.Tensor]:
    """Rows of all parts, in proportion to their masses, each part at least once."""
    label = torch.multinomial(torch.tensor(masses), n, replacement=True, generator=rng)
    label[: len(laws)] = torch.arange(len(laws))
    x = torch.stack([law.sample(n, rng=rng, like=torch.empty(0)) for law in laws])
    return {"x": x[label, torch.arange(n)], "label": label}


def _split_mixture(count: int) -> Parts:
    """Consecutive modes, count parts of them."""
    whole = ft.zoo.data.mixture()
    part = np.arange(8) * count // 8
    bed = ft.testbeds.GaussianMixture(whole.weights, whole.means, whole.covs, classes=part)
    masses = tuple(float(m) for m in np.bincount(part, whole.weights))
    laws = [bed.given(k) for k in range(count)]
    teacher = bed.model(ft.paths.RectifiedFlow(), "velocity")
    return Parts(teacher, masses, functools.partial(_of_parts, laws, masses))


def _split_product() -> Parts:
    """The two components of the first axis."""
    whole = ft.zoo.data.product()
    laws = []
    for k in range(2):
        weights = np.array(whole.weights)
        weights[0] = np.eye(2)[k]
        laws.append(ft.testbeds.ProductMixture(weights, whole.means, whole.stds, whole.rotation))
    masses = tuple(float(w) for w in whole.weights[0])
    path = ft.paths.VPLinear()
    each = [law.model(path, "v") for law in laws]

    def velocity(x: Any, t: Any, label: Any) -> Any:
        return torch.where(label[:, None] == 0, each[0](x, t), each[1](x, t))

    teacher = ft.Model(velocity, path, "v")
    return Parts(teacher, masses, functools.partial(_of_parts, laws, masses))


def _split_digits() -> Parts:
    """0 to 4 and 5 to 9: the zoo's denoiser, guided by its classifier to the part's own law."""
    network: Any = ft.zoo.load("digits-classifier").network
    whole = ft.zoo.load("digits-mlp").model
    x, digit = ft.zoo.digits()
    label = (digit >= 5).long()

    def denoised(x: torch.Tensor, t: Any, label: torch.Tensor) -> torch.Tensor:
        rho = torch.as_tensor(t, dtype=x.dtype).expand(x.shape[0])
        with torch.enable_grad():
            seen = x.detach().requires_grad_(True)
            log_p = network(seen, rho).log_softmax(1).reshape(-1, 2, 5).logsumexp(2)
            chosen = log_p.gather(1, label[:, None]).sum()
            (pull,) = torch.autograd.grad(chosen, seen)
        return whole(x, t) + over_event(rho, x) ** 2 * pull

    def data(n: int, rng: torch.Generator) -> dict[str, torch.Tensor]:
        rows = torch.randint(len(x), (n,), generator=rng)
        return {"x": x[rows], "label": label[rows]}

    masses = tuple(float((label == k).double().mean()) for k in range(2))
    return Parts(ft.Model(denoised, whole.path, "data"), masses, data)


def _digits(n: int, rng: torch.Generator) -> dict[str, torch.Tensor]:
    x = ft.zoo.digits().x
    return {"x": x[torch.randint(len(x), (n,), generator=rng)]}


@functools.cache
def world(name: str) -> World:
    """One of them, by its name."""
    any_module = functools.partial(functools.partial, ft.adapters.torch.model)
    if name == "mixture":
        path, law = ft.paths.RectifiedFlow(), ft.zoo.data.mixture()
        return World(
            name,
            path,
            _ignoring(any_module(path=path, prediction="velocity")),
            law.model(path, "velocity"),
            functools.partial(_copy_of, "mixture-mlp-flow"),
            functools.partial(_drawn, law),
            (2,),
            (math.inf, 3.0, 1.0, 0.33),
            of_mixture,
            samples=200_000,
            batch=256,
            parts={k: _split_mixture(k) for k in (1, 2, 4, 8)},
        )
    if name == "product":
        vp, product = ft.paths.VPLinear(), ft.zoo.data.product()
        return World(
            name,
            vp,
            _ignoring(any_module(path=vp, prediction="v")),
            product.model(vp, "v"),
            functools.partial(_copy_of, "product-mlp"),
            functools.partial(_drawn, product),
            (16,),
            (math.inf, 3.0, 1.0, 0.33),
            of_product,
            samples=40_000,
            batch=256,
            parts={2: _split_product()},
        )
    if name == "digits, UNet":
        unet = ft.zoo.load("digits-unet-v")
        as_model: Any = unet.recipe.as_model
        return World(
            name,
            unet.model.path,
            as_model,
            unet.model,
            functools.partial(_copy_of, "digits-unet-v"),
            _digits,
            (1, 8, 8),
            (math.inf, 3.0, 1.2, 0.5),
            of_digits,
            samples=4000,
            batch=32,
        )
    edm = ft.paths.EDM()
    return World(
        name,
        edm,
        _ignoring(any_module(path=edm, prediction="data")),
        ft.zoo.load("digits-mlp").model,
        functools.partial(_copy_of, "digits-mlp"),
        _digits,
        (1, 8, 8),
        (5.0, 1.5, 0.7, 0.3),
        of_digits,
        samples=8000,
        batch=64,
        parts={2: _split_digits()},
    )
