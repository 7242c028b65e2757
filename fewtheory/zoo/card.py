"""What a card of the zoo says, and how it is measured.

Numbers of one trained network, each from draws that are always the same: how far its denoiser is
from the truth, level by level (from the exact denoiser on a testbed, from the held-out digits
themselves otherwise), and how far its samples are from the law (Frechet distance in the
classifier's features beside what real digits give; sliced W2 beside what exact draws give). A card
holds them for several seeds: a network trained again is expected within their spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..metrics import frechet_distance, frechet_noise_floor, sliced_wasserstein
from ..model import Model, over_event
from ..paths import Path
from ..plan import Plan, grids
from ..samplers import dpm_solver_pp
from ..testbeds.autoregressive import chain_kl
from . import data
from .autoregressive import PATCHES, PatchAutoregression, patches_of
from .entry import Entry, load
from .networks import DigitClassifier

RHO = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # levels, as noise to signal
STEPS = 24  # of the solver that samples: third order, its error far below that of the networks
BLOCK, BLOCKS = data.HELD_OUT, 4  # samples are compared as many at a time as digits are held out

Numbers = dict[str, float]


def measure(entry: Entry, classifier: Entry | None = None) -> Numbers:
    """The numbers of a trained network, by name; samples of digits need the classifier."""
    with torch.no_grad():
        if entry.name == "digits-classifier":
            return {**accuracy(entry), **noise_floor(entry)}
        if isinstance(entry.network, PatchAutoregression):
            found = frechet(entry, classifier or load("digits-classifier"))
            return {**patch_errors(entry), **found}
        if entry.recipe.as_model is None:
            return divergence(entry)
        if entry.recipe.testbed is not None:
            return {**excess(entry), **distance(entry)}
        return {**errors(entry), **frechet(entry, classifier or load("digits-classifier"))}


def _draws() -> torch.Generator:
    """The draws of each number, always the same."""
    return torch.Generator().manual_seed(20261126)


def _noisy(
    model: Model, x: torch.Tensor, rho: float, eps: torch.Tensor
) -> tuple[torch.Tensor, Any]:
    """x at the level rho of the model's path, and its time."""
    t = model.path.t_at(-math.log(rho))
    return model.path.alpha(t) * x + model.path.sigma(t) * eps, t


def _reaches(model: Model, rho: float) -> bool:
    """Whether the model's path, between its default ends, has this level."""
    lam = -math.log(rho)
    return model.path.lam(model.path.start) <= lam <= model.path.lam(model.path.end)


def sampled(model: Model, x: torch.Tensor, **cond: Any) -> torch.Tensor:
    """Samples from standard normal x by the network's own ODE, solved finely."""
    path = model.path
    level = over_event(path.sigma(path.start), x)
    return _finely(path).run(model, x * level, **cond)


def _finely(path: Path) -> Plan:
    return dpm_solver_pp(path, grids.log_snr(path, STEPS).to_clean(), order=3)


def errors(
    entry: Entry, parts: Sequence[str] = ("train", "held-out"), levels: Sequence[float] = RHO
) -> Numbers:
    """mean |D - x_0|^2 / d of digits, of their own class where the network knows classes."""
    model, rng, out = entry.model.predicting("data"), _draws(), Numbers()
    for part in ("train", "held-out"):
        x, label = data.digits(part)
        eps = torch.randn(x.shape, generator=rng)
        cond = {} if entry.recipe.null is None else {"class_labels": label}
        for rho in levels if part in parts else ():
            if _reaches(model, rho):
                error = model(*_noisy(model, x, rho, eps), **cond) - x
                out[f"error {part} at {rho:g}"] = float(error.square().mean())
    return out


def patch_errors(
    entry: Entry, parts: Sequence[str] = ("train", "held-out"), levels: Sequence[float] = RHO
) -> Numbers:
    """mean |D - x_0|^2 / d of patches of digits, seen with noise after the clean ones before them.

    D = x_t - t v, v the head's velocity.
    """
    rng, out = _draws(), Numbers()
    for part in ("train", "held-out"):
        x0 = patches_of(data.digits(part).x)
        eps = torch.randn(x0.shape, generator=rng)
        for rho in levels if part in parts else ():
            t = torch.full((1, *x0.shape[:2]), rho / (1 + rho))
            time = float(t[0, 0, 0])
            v = entry.network(x0, t, eps[None])[0]
            error = (1 - time) * x0 + time * eps - time * v - x0
            out[f"error {part} at {rho:g}"] = float(error.square().mean())
    return out


def frechet(entry: Entry, classifier: Entry) -> Numbers:
    """The Frechet distance of samples to the held-out digits, in the classifier's features.

    Beside it what training digits in their place give: a distance of finite samples is never 0.
    """
    rng, features = _draws(), _features(classifier)
    x, label = data.digits("held-out")
    cond = {} if entry.recipe.null is None else {"class_labels": label}
    real, found = features(x), []
    for _ in range(BLOCKS):
        noise = torch.randn(x.shape, generator=rng)
        if isinstance(entry.network, PatchAutoregression):
            made = entry.network.draw(noise, [_finely(entry.network.path)] * PATCHES)
        else:
            made = sampled(entry.model, noise, **cond)
        found.append(float(frechet_distance(features(made), real)))
    floor = noise_floor(classifier)["frechet floor"]
    return {"frechet distance": float(np.mean(found)), "frechet floor": floor}


def _features(classifier: Entry) -> Callable[[torch.Tensor], torch.Tensor]:
    network = classifier.network
    assert isinstance(network, DigitClassifier)
    return lambda x: network.features(x).double()


def noise_floor(classifier: Entry) -> Numbers:
    """What real digits give for the Frechet distance, as many at a time as are held out.

    Of training digits to the held-out ones, and of disjoint halves of all, whose classes are not
    in proportion.
    """
    rng, features = _draws(), _features(classifier)
    train, held_out = (features(data.digits(part).x) for part in ("train", "held-out"))
    blocks = train[torch.randperm(train.shape[0], generator=rng)].split(BLOCK)
    own = [float(frechet_distance(b, held_out)) for b in blocks if b.shape[0] == BLOCK]
    halves = frechet_noise_floor(torch.cat([train, held_out]), BLOCK, rng=rng)
    return {"frechet floor": float(np.mean(own)), "frechet floor of halves": halves.value}


def excess(entry: Entry, levels: Sequence[float] = RHO) -> Numbers:
    """mean |D - D*|^2 / d, D* the exact denoiser, beside the least loss, mean |D* - x_0|^2 / d."""
    assert entry.recipe.testbed is not None
    bed, model, out = entry.recipe.testbed(), entry.model.predicting("data"), Numbers()
    rng, exact = _draws(), bed.model(model.path, "data")
    x = bed.sample(20_000, rng=rng, like=torch.empty(0, dtype=torch.float64))
    eps = torch.randn(x.shape, generator=rng, dtype=torch.float64)
    for rho in levels:
        if _reaches(model, rho):
            seen, t = _noisy(model, x, rho, eps)
            truth = exact(seen, t)
            out[f"excess at {rho:g}"] = float((model(seen, t) - truth).square().mean())
            out[f"least at {rho:g}"] = float((x - truth).square().mean())
    return out


def distance(entry: Entry) -> Numbers:
    """Sliced W2 of 20,000 samples to exact draws, beside that of other exact draws."""
    assert entry.recipe.testbed is not None
    bed, rng = entry.recipe.testbed(), _draws()
    like = torch.empty(0, dtype=torch.float64)
    x, again = (bed.sample(20_000, rng=rng, like=like) for _ in range(2))
    made = sampled(entry.model, torch.randn(x.shape, generator=rng)).double()
    return {
        "sliced W2": sliced_wasserstein(made, x, 64, rng=rng).value,
        "sliced W2 of exact draws": sliced_wasserstein(again, x, 64, rng=rng).value,
    }


def accuracy(entry: Entry) -> Numbers:
    """The share of held-out digits that the classifier names, clean and with noise."""
    rng, out = _draws(), Numbers()
    x, label = data.digits("held-out")
    for rho in (0.0, 0.5, 1.0, 2.0):
        noisy = x + rho * torch.randn(x.shape, generator=rng)
        right = entry.network(noisy, rho).argmax(1) == label
        out[f"accuracy at {rho:g}"] = float(right.double().mean())
    return out


def divergence(entry: Entry) -> Numbers:
    """KL(source || network) in nats a sequence, by enumeration of all prefixes."""
    from ..adapters.transformers import next_token_law

    source = data.source()
    law = next_token_law(entry.network, source.L, tokens=range(source.V))
    return {"KL": float(chain_kl(source, law).sum()), "entropy": source.table().entropy()}


def spread(numbers: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """For each number its value (the first network's), and mean and standard deviation of all."""
    out = {}
    for name in numbers[0]:
        values = [n[name] for n in numbers]
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        out[name] = {"value": values[0], "mean": float(np.mean(values)), "sd": sd, "seeds": values}
    return out


def expected(entry: Mapping[str, Any], level: float = 0.01) -> tuple[float, float]:
    """The interval in which one more network's number falls with probability 1 - level.

    exp of mean -+ t sd sqrt(1 + 1/k) of the logarithms, for k log-normal numbers: Student's t with
    k - 1 degrees of freedom; and room for float32's roundings, in which numbers that are no
    network's may differ.
    """
    from scipy.stats import t as student

    logs = np.log(entry["seeds"])
    k = len(logs)
    half = float(student.ppf(1 - level / 2, k - 1) * logs.std(ddof=1)) * math.sqrt(1 + 1 / k) + 1e-5
    return math.exp(logs.mean() - half), math.exp(logs.mean() + half)
