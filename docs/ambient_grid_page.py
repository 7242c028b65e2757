"""The laws and the page of the grid of models on noisy digits, from its JSON alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fewtheory.learning.ambient.price import noisy_price, variance_price
from fewtheory.learning.ambient.scaling import scaling_law
from fewtheory.learning.ambient.weighting import variance_slopes

Row = Mapping[str, Any]
DIRECTIONS = ((0, 8), (8, 16), (16, 32))  # principal ones, of like variances
DENOISING = ("0.4", "0.8", "1.6")
LEAST = 144  # digits a run: with fewer the fixed number of steps learns them by heart
REFERENCE = (144, 1293)  # clean and noisy digits at which theory is asked for its prices


def qualities(c: np.ndarray) -> dict[str, Callable[[Row], float]]:
    """What is fitted, by name: errors of a run; c: the spectrum of the digits."""
    found: dict[str, Callable[[Row], float]] = {
        f"denoising at {sigma}": lambda row, sigma=sigma: row["denoising"][sigma][0]
        for sigma in DENOISING
    }
    found["Frechet, pixels"] = lambda row: row["frechet"]["pixels"][2]
    found["Frechet, features"] = lambda row: row["frechet"]["features"][2]
    for a, b in DIRECTIONS:
        found[f"variances {a + 1}-{b}"] = lambda row, a=a, b=b: float(
            np.mean(np.log(np.array(row["variances"][a:b]) / c[a:b]) ** 2)
        )
    return found


def laws(rows: Sequence[Row], c: np.ndarray) -> list[dict[str, Any]]:
    """A scaling law for each quality, fitted to all mixes with a clean part: 95% intervals.

    Denoising at a level knows of noisy digits below it alone: the others teach nothing there.
    """
    mixes = [
        r
        for r in rows
        if r["n_clean"] > 0 and r["weight"] == "loss" and r["n_clean"] + r["n_noisy"] >= LEAST
    ]
    found = []
    for name, quality in qualities(c).items():
        most = float(name.split()[-1]) if name.startswith("denoising") else math.inf
        used = [r for r in mixes if r["sigma_n"] < most]
        sizes = [r["n_clean"] for r in used], [r["n_noisy"] for r in used]
        sigmas = [r["sigma_n"] for r in used]
        levels = sorted({s for s, n2 in zip(sigmas, sizes[1], strict=True) if n2 > 0})
        fit = scaling_law(*sizes, [quality(r) for r in used], group=sigmas)
        found.append(
            {
                "quality": name,
                "runs": len(used),
                "exponent": _interval(fit.interval("exponent")),
                "floor": _interval(fit.interval("floor")),
                "amplitude": _short(fit.amplitude),
                "scatter": _short(fit.scatter),
                "price": {str(s): _interval(fit.interval("price", s)) for s in levels},
                "theory": {str(s): theory(name, c, s) for s in levels},
            }
        )
    return found


def theory(quality: str, c: np.ndarray, sigma_n: float) -> dict[str, float] | None:
    """Prices of a linear denoiser: by Fisher's information, and at the margin of the mix."""
    if quality.startswith("variances"):
        a, b = next(d for d in DIRECTIONS if quality.endswith(f" {d[0] + 1}-{d[1]}"))
        slopes = variance_slopes(c[a:b], sigma_n, *REFERENCE, "loss")
        fisher = b - a, float(np.sum(1 / variance_price(c[a:b], sigma_n)))
        margin = float(np.sum(slopes[0])), float(np.sum(slopes[1]))
    elif quality == "Frechet, pixels":
        seen = c[c > 0]
        worth = float(np.sum(seen / variance_price(seen, sigma_n)))
        fisher = float(np.sum(seen)), worth
        margin = noisy_price(c, sigma_n, *REFERENCE).total_price, 1.0
    elif quality.startswith("denoising"):
        fisher, margin = denoising_slopes(c[c > 0], sigma_n, float(quality.split()[-1]))
    else:
        return None
    return {"information": _short(fisher[0] / fisher[1]), "margin": _short(margin[0] / margin[1])}


def denoising_slopes(
    c: np.ndarray, sigma_n: float, sigma: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of the linear denoiser's excess error at sigma, sum_j s_j Var(c_w) / c_j^2: (clean, noisy).

    s = c^2 sigma^4 / (c + sigma^2)^3 and Var(c_w) / c^2 = 2 (n1 + n2 A^2 / g^2) / N^2, where the
    loss weighs a noisy sample by A = a^2: N = n1 + n2 A, g = c / (c + sigma_n^2). First what one
    sample is worth by its information, then the derivatives in n1 and n2.
    """
    (n1, n2), g = REFERENCE, c / (c + sigma_n**2)
    s, A = c**2 * sigma**4 / (c + sigma**2) ** 3, (1 - (sigma_n / sigma) ** 2) ** 2
    N, noise = n1 + n2 * A, n1 + n2 * A**2 / g**2
    of_clean, of_noisy = 1 / N**2 - 2 * noise / N**3, A**2 / (g * N) ** 2 - 2 * A * noise / N**3
    information = float(np.sum(s)), float(np.sum(s * g**2))
    return information, (float(np.sum(s * of_clean)), float(np.sum(s * of_noisy)))


def _interval(found: Any) -> list[float | None]:
    return [_short(v) for v in (found.value, found.low, found.high)]


def _short(value: float) -> Any:
    """Four digits; None for what is not bounded."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def page(table: Mapping[str, Any]) -> str:
    """The whole page."""
    settings = table["settings"]
    parts = [
        "# What a noisy digit is worth",
        f"{len(table['rows'])} models of one network ({settings['network']}), {settings['steps']} "
        f"steps of batches of {settings['batch']} each, trained with `ambient_denoising` on the "
        "8 x 8 digits in [-1, 1]: some clean, the others seen only with noise of one level. "
        "`make ambient-grid` trains what the JSON beside this page does not hold.",
        "![errors by effective size](../paper_figs/ambient-grid.png)",
        "## Errors",
        "Of held-out digits, mean over seeds: the denoising error a pixel at two levels, and the "
        "Frechet distance of 2000 samples to the 360 digits in pixels and in the features of the "
        "zoo's classifier (as they stand: two halves of one law are not at 0). Rows without clean "
        "digits are sampled down to their noise and denoised once. *best* weights clean and noisy "
        "digits by the share that theory finds best.",
        errors(table["rows"]),
        "## Prices",
        "Noisy digits for one clean: `error = floor + A (n_clean + w n_noisy)^(-b)` by least "
        f"squares of logarithms over the runs with a clean part and {LEAST} digits or more, one "
        "1/w for each level; 95% profile intervals. In brackets the theory of a linear denoiser, "
        "which has no fitted number: the ratio of Fisher informations, and the price at the margin "
        f"of the plain loss at {REFERENCE[0]} clean and {REFERENCE[1]} noisy. Denoising "
        "at a level is fitted to the noise below it, from which alone it can learn. One w is a "
        "summary: the generated law has a floor that the clean part alone can lower, so that its "
        "marginal price rises with every noisy digit. And all runs have the same number of steps: "
        "with more noisy digits a batch has fewer clean ones, the levels below the noise are "
        "trained less, and samples keep some of it, which linear theory does not know.",
        prices(table["laws"]),
    ]
    return "\n\n".join(parts) + "\n"


def errors(rows: Sequence[Row]) -> str:
    """A table of the means over seeds."""
    header = ["noise", "clean", "noisy", "weights", "seeds"]
    header += ["denoising at 0.2", "denoising at 0.8", "Frechet, pixels", "Frechet, features"]
    by: dict[tuple[Any, ...], list[Row]] = {}
    for r in rows:
        by.setdefault((r["sigma_n"], r["n_clean"], r["n_noisy"], r["weight"]), []).append(r)
    lines = []
    for (sigma_n, n1, n2, weight), same in by.items():
        cells = [
            f"{np.mean([r['denoising']['0.2'][0] for r in same]):.4f}",
            f"{np.mean([r['denoising']['0.8'][0] for r in same]):.4f}",
            f"{np.mean([r['frechet']['pixels'][2] for r in same]):.3f}",
            f"{np.mean([r['frechet']['features'][2] for r in same]):.1f}",
        ]
        noise = f"{sigma_n}" if n2 else ""
        lines.append([noise, str(n1), str(n2), weight, str(len(same)), *cells])
    return markdown(header, lines)


def prices(found: Sequence[Mapping[str, Any]]) -> str:
    """A table of exponents and prices, with theory's beside them."""
    sigmas = sorted({s for law in found for s in law["price"]}, key=float)
    header = ["error", "b", "floor", "scatter", *(f"price at {s}" for s in sigmas)]
    lines = []
    for law in found:
        cells = [_shown(law["exponent"]), _shown(law["floor"], False), f"{law['scatter']:.2g}"]
        for s in sigmas:
            told = law["theory"].get(s)
            beside = f" ({told['information']:.3g}; {told['margin']:.3g})" if told else ""
            cells.append(_shown(law["price"][s]) + beside if s in law["price"] else "")
        lines.append([law["quality"], *cells])
    return markdown(header, lines)


def _shown(interval: Sequence[float | None], ends: bool = True) -> str:
    told = [v if v is None or v > 1e-12 else 0.0 for v in interval]
    value, low, high = ("∞" if v is None else f"{v:.3g}" for v in told)
    return f"{value} [{low}, {high}]" if ends else value


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join(["---"] * len(header)) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
