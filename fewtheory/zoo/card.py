"""What a card of the zoo says, and how it is measured.

Numbers of one trained network, each from draws that are always the same: how far its denoiser is
from the truth, level by level (from the exact denoiser on a testbed, from the held-out digits
themselves otherwise), and how far its samples are from the law (Frechet distance in the
classifier's features beside what real digits give; sliced W2 beside what exact draws give). A card
holds them for several seeds: a network trained again is expected within their spread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..metrics import frechet_distance, frechet_noise_floor, sliced_wasserstein
from ..model import Model, over_event
from ..plan import grids
from ..samplers import dpm_solver_pp
from ..testbeds.autoregressive import chain_kl
from . import data
from .entry import Entry, load

RHO = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # levels, as noise to signal
STEPS = 24  # of the solver that samples: third order, its error far below that of the networks
BLOCK, BLOCKS = data.HELD_OUT, 4  # samples are compared as many at a time as digits are held out

Numbers = dict[str, float]


def measure(entry: Entry, classifier: Entry | None = None) -> Numbers:
    """The numbers of a trained network, by name; digits need the classifier."""
    rng = torch.Generator().manual_seed(20261126)
    with torch.no_grad():
        if entry.name == "digits-classifier":
            return _classifier(entry, rng)
        if entry.recipe.as_model is None:
            return _language(entry)
        if entry.recipe.testbed is not None:
            return _testbed(entry, rng)
        return _digits(entry, classifier or load("digits-classifier"), rng)


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
    plan = dpm_solver_pp(path, grids.log_snr(path, STEPS).to_clean(), order=3)
    return plan.run(model, x * level, **cond)


def _digits(entry: Entry, classifier: Entry, rng: torch.Generator) -> Numbers:
    model, out = entry.model.predicting("data"), Numbers()
    for part in ("train", "held-out"):
        x, label = data.digits(part)
        eps = torch.randn(x.shape, generator=rng)
        cond = {} if entry.recipe.null is None else {"class_labels": label}
        for rho in RHO:
            if _reaches(model, rho):
                error = model(*_noisy(model, x, rho, eps), **cond) - x
                out[f"error {part} at {rho:g}"] = float(error.square().mean())
    held_out, features = data.digits("held-out"), classifier.network.features
    real = features(held_out.x).double()  # type: ignore[operator]
    found = []
    for _ in range(BLOCKS):
        x = torch.randn(held_out.x.shape, generator=rng)
        cond = {} if entry.recipe.null is None else {"class_labels": held_out.label}
        made = features(sampled(entry.model, x, **cond)).double()  # type: ignore[operator]
        found.append(float(frechet_distance(made, real)))
    out["frechet distance"] = float(np.mean(found))
    return out


def noise_floor(classifier: Entry) -> Numbers:
    """What real digits give for the Frechet distance, as many at a time as are held out.

    "train": of training digits to the held-out ones; "all": of halves of all digits.
    """
    rng = torch.Generator().manual_seed(20261126)
    with torch.no_grad():
        parts = [
            classifier.network.features(data.digits(p).x).double()  # type: ignore[operator]
            for p in ("train", "held-out")
        ]
    blocks = parts[0][torch.randperm(parts[0].shape[0], generator=rng)].split(BLOCK)
    own = [float(frechet_distance(b, parts[1])) for b in blocks if b.shape[0] == BLOCK]
    split = frechet_noise_floor(torch.cat(parts), BLOCK, rng=rng)
    return {"train": float(np.mean(own)), "all": split.value}


def _testbed(entry: Entry, rng: torch.Generator) -> Numbers:
    assert entry.recipe.testbed is not None
    bed, model, out = entry.recipe.testbed(), entry.model.predicting("data"), Numbers()
    exact = bed.model(model.path, "data")
    x = bed.sample(20_000, rng=rng, like=torch.empty(0, dtype=torch.float64))
    eps = torch.randn(x.shape, generator=rng, dtype=torch.float64)
    for rho in RHO:
        if _reaches(model, rho):
            seen, t = _noisy(model, x, rho, eps)
            truth = exact(seen, t)
            out[f"excess at {rho:g}"] = float((model(seen, t) - truth).square().mean())
            out[f"least at {rho:g}"] = float((x - truth).square().mean())
    made = sampled(entry.model, torch.randn(x.shape, generator=rng)).double()
    again = bed.sample(x.shape[0], rng=rng, like=x)
    out["sliced W2"] = sliced_wasserstein(made, x, 64, rng=rng).value
    out["sliced W2 of exact draws"] = sliced_wasserstein(again, x, 64, rng=rng).value
    return out


def _classifier(entry: Entry, rng: torch.Generator) -> Numbers:
    x, label = data.digits("held-out")
    out = {"accuracy": float((entry.network(x).argmax(1) == label).double().mean())}
    for rho in (0.5, 1.0, 2.0):
        noisy = x + rho * torch.randn(x.shape, generator=rng)
        out[f"accuracy at {rho:g}"] = float(
            (entry.network(noisy, rho).argmax(1) == label).double().mean()
        )
    floor = noise_floor(entry)
    return {**out, "frechet floor": floor["train"], "frechet floor of halves": floor["all"]}


def _language(entry: Entry) -> Numbers:
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


def expected(entry: Mapping[str, Any], level: float = 0.001) -> tuple[float, float]:
    """The interval in which one more network's number falls with probability 1 - level.

    mean -+ t sd sqrt(1 + 1/k), for k normal numbers: Student's t with k - 1 degrees of freedom.
    """
    from scipy.stats import t as student

    k = len(entry["seeds"])
    half = float(student.ppf(1 - level / 2, k - 1)) * entry["sd"] * math.sqrt(1 + 1 / k)
    return entry["mean"] - half, entry["mean"] + half
