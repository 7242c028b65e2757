"""Deciders: from what was measured to evidence, with a tolerance that is derived.

| decider | question | tolerance from |
| --- | --- | --- |
| `identity` | do two expressions agree? | rounding: operations times eps times the largest term |
| `order` | what power of h is the error? | p against p - 1, decided half way |
| `limit` | what does a deterministic sequence tend to? | its own extrapolation |
| `bound` | does an inequality hold at every point? | rounding; and is it attained? |
| `law` | are these samples of that law? | a test at the fixed level |
| `rate` | what exponent does noisy data have? | a regression's interval at the fixed level |
| `optimum` | is this the minimum, and is it reached? | the optimiser's own gradient tolerance |
| `half_way` | do runs end here or where a wrong formula would? | half the way between them |
| `known` | is this the published or high-precision number? | half a unit of its last digit |
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import fail
from .evidence import Evidence, Series
from .power import LEVEL, normal_quantile

EPS = float(np.finfo(np.float64).eps)


def identity(
    actual: Any,
    expected: Any,
    *,
    operations: int,
    scale: Any = None,
    what: str = "",
    eps: float = EPS,
) -> Evidence:
    """The largest |actual - expected| against operations * eps * scale.

    operations: roundings on the longest chain that leads to a number; scale: the largest term that
    enters a sum (by default |expected|, at least where it is largest). eps: of the dtype compared.
    """
    a, b = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if a.shape != b.shape:
        a, b = np.broadcast_arrays(a, b)
    size = np.abs(b).max(initial=0.0) if scale is None else np.abs(np.asarray(scale)).max()
    gap = np.abs(a - b)
    return Evidence(
        kind="identity",
        measured=float(gap.max(initial=0.0)),
        expected=0.0,
        tolerance=operations * eps * float(size),
        tolerance_from=f"{operations} roundings of {eps:.2g} on terms up to {float(size):.3g}",
        what=what,
    )


def order(
    steps: Any,
    errors: Any,
    expected: int | float,
    *,
    what: str = "",
    floor: float | None = None,
    x_label: str = "steps",
) -> Evidence:
    """The power of 1/steps in which errors fall, p against p - 1, decided at p - 1/2 and p + 1/2.

    steps: increasing; errors: positive, one a number of steps. Points whose error is under `floor`
    (default: 1e4 eps, where rounding has two digits left) are left out; the last three that remain
    give two local slopes, extrapolated once (s_2 + (s_2 - s_1) / (ratio - 1), exact for a relative
    correction O(h)). Fewer than three points is no evidence: the measured slope is NaN.
    """
    n, e = np.asarray(steps, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if n.ndim != 1 or n.shape != e.shape or np.any(np.diff(n) <= 0):
        raise fail("order", "steps", "increasing, one an error", steps)
    used = e > (1e4 * EPS if floor is None else floor)
    x, y = np.log(n[used]), np.log(e[used])
    slope = float("nan")
    if x.size >= 3 and np.all(np.isfinite(e)):
        first, last = -np.diff(y)[-2:] / np.diff(x)[-2:]
        ratio = n[used][-1] / n[used][-2]
        slope = float(last + (last - first) / (ratio - 1))
    return Evidence(
        kind="order",
        measured=slope,
        expected=expected,
        tolerance=0.5,
        tolerance_from=f"an order is an integer: {expected} against {expected - 1}, half way",
        what=what,
        series=(Series(n, e, "error", x_label, "error"),),
    )


def limit(h: Any, values: Any, expected: Any, *, next_power: int = 1, what: str = "") -> Evidence:
    """The limit of values(h) as h -> 0, by repeated Richardson extrapolation in powers of h.

    h: decreasing by a constant factor, three or more; the expansion is in h^{next_power},
    h^{next_power + 1}, ... The tolerance is the last change of the extrapolation (its error is
    smaller than that once the sequence is asymptotic), but no more than 2% of the sequence's size:
    one that has not settled cannot pass on a wide tolerance.
    """
    steps, table = np.asarray(h, dtype=np.float64), [np.asarray(values, dtype=np.float64)]
    if steps.size < 3 or np.any(np.diff(steps) >= 0) or table[0].shape != steps.shape:
        raise fail("limit", "h", "three or more, decreasing, one a value", h)
    ratio = steps[0] / steps[1]
    if not np.allclose(steps[:-1] / steps[1:], ratio, rtol=1e-9):
        raise fail("limit", "h", "decreasing by a constant factor", h)
    for k in range(steps.size - 1):
        row, factor = table[-1], ratio ** (next_power + k)
        table.append((factor * row[1:] - row[:-1]) / (factor - 1))
    size = max(abs(expected), abs(float(table[0][0])))
    best, before = float(table[-1][-1]), float(table[-2][-1])
    return Evidence(
        kind="rate",
        measured=best,
        expected=expected,
        tolerance=min(abs(best - before), 0.02 * size) + 64 * EPS * size / float(steps[-1]),
        tolerance_from="the last change of the Richardson extrapolation, at most 2% of the size",
        what=what,
        series=(Series(steps, table[0], "", "h", "value", False),),
    )


def bound(
    values: Any,
    limits: Any,
    *,
    side: str = "at most",
    x: Any = None,
    operations: int = 64,
    what: str = "",
    x_label: str = "",
) -> Evidence:
    """An inequality values <= limits (or "at least") at every point; the worst is reported."""
    v, b = np.broadcast_arrays(
        np.asarray(values, dtype=np.float64), np.asarray(limits, dtype=np.float64)
    )
    v, b = v.ravel(), b.ravel()
    if v.size == 0:
        raise fail("bound", "values", "one or more", values)
    slack = b - v if side == "at most" else v - b
    tolerance = operations * EPS * np.maximum(np.abs(b), 1.0)
    worst = int(np.argmin(np.where(np.isnan(slack), -np.inf, slack / tolerance)))
    where = np.arange(v.size) if x is None else np.asarray(x, dtype=np.float64).ravel()
    series = tuple(
        Series(where, y, label, x_label, "", False) for y, label in ((v, "value"), (b, "bound"))
    )
    return Evidence(
        kind="bound",
        measured=float(v[worst]),
        expected=float(b[worst]),
        tolerance=float(tolerance[worst]),
        tolerance_from=f"{operations} roundings; {v.size} points, the worst shown",
        relation=side,
        what=what,
        series=series if 1 < v.size <= 4096 and where.size == v.size else (),
    )


def law(statistic: Any, *, level: float = LEVEL, what: str = "", n: int = 0) -> Evidence:
    """A statistic that is N(0, 1) under the claim, two-sided at the fixed level.

    n: the sample size, chosen from the power against the saboteurs (`power`).
    """
    return Evidence(
        kind="law",
        measured=abs(float(statistic)),
        expected=0.0,
        tolerance=normal_quantile(level / 2),
        tolerance_from=f"two-sided test at level {level:.2g}" + (f", n = {n}" if n else ""),
        relation="at most",
        what=what,
    )


def rate(x: Any, y: Any, expected: Any, *, level: float = LEVEL, what: str = "") -> Evidence:
    """The exponent b of y ~ x^b for noisy y, by least squares in logarithms.

    The tolerance is the half width of the regression's confidence interval at the fixed level.
    """
    import statsmodels.api as sm

    if np.size(x) < 3:
        raise fail("rate", "x", "three or more points", x)
    log_x, log_y = np.log(np.asarray(x, dtype=np.float64)), np.log(np.asarray(y, dtype=np.float64))
    fit = sm.OLS(log_y, sm.add_constant(log_x)).fit()
    low, high = fit.conf_int(alpha=level)[1]
    return Evidence(
        kind="rate",
        measured=float(fit.params[1]),
        expected=expected,
        tolerance=float(high - low) / 2,
        tolerance_from=f"confidence interval of the regression at level {level:.2g}",
        what=what,
        series=(Series(np.exp(log_x), np.exp(log_y), "data", "x", "y"),),
    )


def optimum(
    value: Any,
    best: Any,
    *,
    tolerance: Any,
    tolerance_from: str,
    side: str = "equal",
    what: str = "",
) -> Evidence:
    """A minimum that is reached (or beaten): value against the known best."""
    return Evidence("optimum", value, best, tolerance, tolerance_from, side, what)


def half_way(
    ends: Any, expected: float, wrong_ends: Any, what: str = "", *, kind: str = "optimum"
) -> Evidence:
    """The mean end of independent runs, to half the way to the nearest end of a wrong formula.

    ends: of the runs, two or more; wrong_ends: where named wrong formulas are predicted to end.
    What the runs leave uncertain of their mean, Student's interval at the fixed level, is taken off
    the tolerance: the right end is accepted only where it can be told from the others.
    """
    from scipy.special import stdtrit

    found = np.asarray(ends, dtype=np.float64).ravel()
    if found.size < 2:
        raise fail("half_way", "ends", "two or more", found.size)
    nearest = min(map(float, wrong_ends), key=lambda end: abs(end - expected))
    spread = float(np.std(found, ddof=1)) / math.sqrt(found.size)
    unsure = -float(stdtrit(found.size - 1, LEVEL / 2)) * spread
    return Evidence(
        kind=kind,
        measured=float(np.mean(found)),
        expected=expected,
        tolerance=max(0.0, abs(nearest - expected) / 2 - unsure),
        tolerance_from=f"half way to {nearest:.4g}, a wrong formula's end, less the interval of "
        f"{found.size} runs",
        what=what,
    )


def known(
    value: Any, expected: Any, decimals: int, what: str = "", kind: str = "identity"
) -> Evidence:
    """Numbers against their known values, to half a unit of that many digits after the point.

    value, expected: numbers or arrays of one shape; the worst is reported. kind: the claim's.
    """
    a, b = np.broadcast_arrays(
        np.asarray(value, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    )
    worst = int(np.abs(a - b).argmax())  # a NaN counts as the largest
    why = "half a unit of the known value's last digit"
    told, wanted = float(a.ravel()[worst]), float(b.ravel()[worst])
    return Evidence(kind, told, wanted, 0.5 * 10.0**-decimals, why, what=what)
