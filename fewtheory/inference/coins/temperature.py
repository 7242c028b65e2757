"""What temperature does to a rate: one token an answer, several variants, and the T that it takes.

With one token an answer logit p_T = logit p_1 / T. With several (Yes, yes, " yes") each token's
logit is divided, not the group's: the rate may cross 1/2 and tends to |Y| / (|Y| + |N|), not to
1/2. Sheet `binary-bias`, M6; claim C7.
"""

from __future__ import annotations

import math
from typing import Any

import array_api_compat

from ...arrays import Array, logsumexp, namespace
from ...errors import fail, number
from ...shapes import Float
from .uniformity import open_share


def tempered(p: Array, T: float | int) -> Float[Any, "..."]:
    """p_T = p^{1/T} / (p^{1/T} + (1 - p)^{1/T}) of rates p strictly inside (0, 1), or of a float.

    T >= 0: 0 is the likelier answer (1/2 at a tie), infinity 1/2.
    Raises ValueError or TypeError by name.

    >>> round(float(tempered(0.98, 2)), 12)
    0.875
    """
    xp, p = _rates("tempered", p)
    if not bool(xp.all((p > 0) & (p < 1))):
        raise fail("tempered", "p", "strictly between 0 and 1", p)
    logit = xp.log(p) - xp.log1p(-p)
    return _logistic(_over(logit, _temperature("tempered", T)))


def tempered_variants(yes: Array, no: Array, T: float | int = 1.0) -> Float[Any, "..."]:
    """P_T(yes) = sum_{v in Y} e^{z_v / T} / sum_{v in Y u N} e^{z_v / T}.

    yes (..., Y), no (..., N): the logits of each answer's tokens (any constant added to all).
    T >= 0; 0: the share of Y among the tokens of the largest logit, infinity: |Y| / (|Y| + |N|).

    >>> import numpy as np
    >>> round(float(tempered_variants(np.array([2.0, 1.5, -3.0]), np.array([3.0]), 2)), 6)
    0.530226
    """
    where = "tempered_variants"
    T = _temperature(where, T)
    (xp, y), (_, n) = _rates(where, yes, "yes"), _rates(where, no, "no")
    for name, z in (("yes", y), ("no", n)):
        if len(z.shape) < 1 or z.shape[-1] < 1 or bool(xp.any(xp.isnan(z))):
            raise fail(where, name, "logits of shape (..., tokens), at least one, no NaN", z.shape)
    top = xp.maximum(xp.max(y, axis=-1, keepdims=True), xp.max(n, axis=-1, keepdims=True))
    y, n = _over(y - top, T), _over(n - top, T)  # first the top: a small T cannot overflow
    return _logistic(logsumexp(y) - logsumexp(n))


def _rates(where: str, value: Any, argument: str = "p") -> tuple[Any, Any]:
    """The namespace and the value as a floating array."""
    if isinstance(value, (int, float, list, tuple)):
        import numpy as np

        try:
            value = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            raise fail(where, argument, "an array of real numbers", value) from None
    if not (hasattr(value, "dtype") and array_api_compat.is_array_api_obj(value)):
        raise TypeError(f"{where}: {argument} must be an array, got {type(value).__name__}")
    xp, kind = namespace(value), getattr(value, "dtype", None)
    if not xp.isdtype(kind, "real floating"):
        raise TypeError(f"{where}: {argument} must be of a real floating dtype, got {kind}")
    return xp, value


def _temperature(where: str, T: Any) -> float:
    """T in [0, infinity]."""
    if isinstance(T, (int, float)) and T == math.inf:
        return math.inf
    return number(where, "T", T, 0.0)


def _over(z: Any, T: float) -> Any:
    """z / T with its limits."""
    xp = namespace(z)
    if T == 0:
        signed = xp.where(z > 0, xp.full_like(z, math.inf), xp.full_like(z, -math.inf))
        return xp.where(z == 0, xp.zeros_like(z), signed)
    return xp.zeros_like(z) if T == math.inf else z / T


def _logistic(z: Any) -> Any:
    """1 / (1 + e^{-z}); e^{-|z|} cannot overflow, and the smaller share keeps its digits."""
    xp = namespace(z)
    small = xp.exp(-xp.abs(z))
    return xp.where(z >= 0, 1 / (1 + small), small / (1 + small))


def temperature_needed(p: float | int, within: float | int) -> float:
    """The least T with |p_T - 1/2| <= within: |logit p| / logit(1/2 + within), one token an answer.

    Below 1 where p is that near already. A p of 1/2 needs none: 0.

    >>> round(temperature_needed(0.98, 0.05), 3)
    19.394
    """
    p = open_share("temperature_needed", "p", p)
    d = number("temperature_needed", "within", within, 0.0, 0.5)
    if d in (0.0, 0.5):
        raise fail("temperature_needed", "within", "strictly between 0 and 1/2", within)
    return abs(math.log(p) - math.log1p(-p)) / (math.log(0.5 + d) - math.log(0.5 - d))
