"""Choosing k of T at once: the law of a set drawn without replacement, exact for any k.

Give every frame an exponential clock of rate r_i = e^{theta_i} and take the k that ring first. The
order of ringing is Plackett-Luce, P(i_1..i_k) = prod_j r_{i_j} / (sum of the rates still waiting),
and a set's probability is a sum over its k! orders; but it is also one integral over the time at
which all of S have rung and none of the others, whose rates add up to c,

    P(S) = int_0^inf c e^{-ct} prod_{i in S} (1 - e^{-r_i t}) dt.

In y = log t it is analytic for |Im y| < pi/2: some sixty nodes of the trapezoid rule do.
Source: OCSampler (arXiv 2201.04388); sheet `ocsampler`, "Closed forms".
"""

from __future__ import annotations

import decimal
import itertools
import math
from typing import Any

import array_api_compat
import numpy as np

from ...arrays import (
    Array,
    Rng,
    categorical,
    check_rng,
    is_torch,
    logsumexp,
    namespace,
    to_numpy,
    uniform,
)
from ...errors import fail, integer, one_of
from ...shapes import Float, Int

LOG_EPS = 41.0  # what is cut off is e^-41 of the integral: a hundredth of a rounding


def set_log_prob(logits: Array, chosen: Array) -> Float[Any, "..."]:
    """log P(S), the probability that these k of T are drawn, in any order; O(k) a node, no k!.

        P(S) = int c e^{-ct} prod_{i in S} (1 - e^{-r_i t}) dt,   r = e^theta, c = sum_{not S} r.

    logits: theta (..., T); chosen: S (..., k), distinct indices in any order; leading axes
    broadcast. k = T gives 0. Computed in float64, returned in the dtype of the logits. On torch it
    is differentiable through every operation; `SubsetPolicy.log_prob` has the closed form as its
    derivative. Raises ValueError or TypeError by name.
    Source: sheet `ocsampler`, exponential clocks, claim C1.

    >>> import numpy as np
    >>> set_log_prob(np.log([1.0, 2.0, 3.0]), np.array([2, 1])).round(6)  # 3/6 2/3 + 2/6 3/4
    np.float64(-0.538997)
    """
    theta, index, taken = _checked("set_log_prob", logits, chosen)
    out, _ = _law(theta, index, taken)
    return namespace(logits).astype(out, logits.dtype)


def set_score(logits: Array, chosen: Array) -> Float[Any, "... T"]:
    """The gradient of log P(S) in the logits, in closed form.

        d log P / d theta_i = E_t[r_i t / (e^{r_i t} - 1)]          for i in S,
        d log P / d theta_j = r_j (1/c - E_t t)                     for j not in S,

    E_t under the normalised integrand of P(S). The second is evaluated as minus r_j / c times the
    sum of the first, which is the same by an integration by parts and cancels nothing: a common
    shift of the logits changes nothing, so a score sums to 0. Arguments as in `set_log_prob`.
    Source: sheet `ocsampler`, "Score", claims C2 and C3.

    >>> import numpy as np
    >>> set_score(np.zeros(3), np.array([0, 2])).round(6).tolist()
    [0.416667, -0.833333, 0.416667]
    """
    theta, index, taken = _checked("set_score", logits, chosen)
    _, out = _law(theta, index, taken)
    return namespace(logits).astype(out, logits.dtype)


def _checked(where: str, logits: Array, chosen: Array) -> tuple[Array, Array, Array]:
    """Logits in float64 and indices with the same leading axes, and the mask (..., T) of S."""
    xp, T = _logits(where, logits)
    if getattr(chosen, "shape", None) is None or not xp.isdtype(chosen.dtype, "integral"):
        raise TypeError(f"{where}: chosen must be an array of integers, got {chosen!r}")
    if len(chosen.shape) < 1 or not 1 <= chosen.shape[-1] <= T:
        raise fail(where, "chosen", f"of shape (..., k), k in [1, {T}]", tuple(chosen.shape))
    try:
        lead = np.broadcast_shapes(logits.shape[:-1], chosen.shape[:-1])
    except ValueError:
        shapes = f"{tuple(logits.shape)} and {tuple(chosen.shape)}"
        raise ValueError(f"{where}: chosen must broadcast with logits, got {shapes}") from None
    host = np.sort(to_numpy(chosen), axis=-1)
    if host.size and (host.min() < 0 or host.max() >= T):
        raise fail(where, "chosen", f"in [0, {T - 1}]", chosen)
    if np.any(host[..., 1:] == host[..., :-1]):
        raise fail(where, "chosen", "distinct along the last axis", chosen)
    theta = xp.broadcast_to(xp.astype(logits, xp.float64), (*lead, T))
    index = xp.broadcast_to(xp.astype(chosen, xp.int64), (*lead, chosen.shape[-1]))
    return theta, index, xp.any(_one_hot(xp, index, T), axis=-2)


def _logits(where: str, logits: Array) -> tuple[Any, int]:
    xp = namespace(logits)
    if getattr(logits, "shape", None) is None or not hasattr(logits, "dtype"):
        raise TypeError(f"{where}: logits must be an array, got {type(logits).__name__}")
    if not xp.isdtype(logits.dtype, "real floating"):
        raise TypeError(f"{where}: logits must be of a real floating dtype, got {logits.dtype}")
    if len(logits.shape) < 1 or logits.shape[-1] < 1:
        raise fail(where, "logits", "of shape (..., T)", tuple(logits.shape))
    if not bool(xp.all(xp.isfinite(logits))):
        raise fail(where, "logits", "finite", logits)
    return xp, logits.shape[-1]


def _one_hot(xp: Any, index: Array, T: int) -> Array:
    frames = xp.arange(T, dtype=xp.int64, device=array_api_compat.device(index))
    return index[..., :, None] == frames  # (..., k, T)


def _law(theta: Array, index: Array, taken: Array) -> tuple[Array, Array]:
    """(log P(S), score) of checked float64 logits, by the clocks' integral."""
    xp, k, T = namespace(theta), index.shape[-1], theta.shape[-1]
    if k == T:
        return xp.zeros_like(theta[..., 0]), xp.zeros_like(theta)
    nothing = xp.full_like(theta, -math.inf)
    log_r = xp.take_along_axis(theta, index, axis=-1)
    log_c = logsumexp(xp.where(taken, nothing, theta))
    h, y = _nodes(xp, log_r, log_c, k)
    z = log_r[..., None, :] + y[..., None]  # (..., nodes, k): log(r_i t)
    log_ct = log_c[..., None] + y
    u = log_ct - xp.exp(xp.clip(log_ct, max=700.0)) + xp.sum(_log_rung(xp, z), axis=-1)
    top = xp.max(u, axis=-1, keepdims=True)
    weight = xp.exp(u - top)
    total = xp.sum(weight, axis=-1, keepdims=True)
    log_p = (math.log(h) + top + xp.log(total))[..., 0]
    weight = weight / total  # adds up to 1 to rounding, however small P is
    x = xp.exp(xp.clip(z, -40.0, 6.5))  # x / (e^x - 1): 1 to rounding below, under 1e-280 above
    inside = xp.sum(weight[..., None] * (x / xp.expm1(x)), axis=-2)  # (..., k)
    hot = xp.astype(_one_hot(xp, index, T), xp.float64)
    share = xp.exp(xp.where(taken, nothing, theta - log_c[..., None]))  # r_j / c, 0 inside S
    score = xp.sum(inside[..., None] * hot, axis=-2)
    return log_p, score - share * xp.sum(inside, axis=-1, keepdims=True)


def _log_rung(xp: Any, z: Array) -> Array:
    """log(1 - e^{-x}) at x = e^z, which is z to rounding where x < 1e-16."""
    x = xp.exp(xp.clip(z, -38.0, 700.0))
    return xp.where(z < -38.0, z, xp.log(-xp.expm1(-x)))


def _nodes(xp: Any, log_r: Array, log_c: Array, k: int) -> tuple[float, Array]:
    """The step h and the nodes y = log t (..., n) of the trapezoid rule.

    With n = k + 1 the integrand in y is at most c prod r t^n and at least (1 - 1/e)^k / e of that
    for t < 1/m, m = max(r, c): below log t = -log m - (41 + .46 k) / n lies e^-41 of it. Its peak
    is at ct <= n, and beyond ct = 2n + 80 it has fallen by e^-41. The step resolves the narrowest
    integrand there is, t^n e^{-ct}: its spectrum at 2 pi / h is |Gamma(n + 2 pi i / h)| / Gamma(n)
    = e^-39 at n = 21 for h = 1/8, and no larger if h falls as n^-1/2 from there.
    """
    if is_torch(log_r):  # the sum does not depend on where its nodes are
        log_r, log_c = log_r.detach(), log_c.detach()
    n = k + 1
    h = 0.125 * min(1.0, math.sqrt(21 / n))
    top = xp.maximum(xp.max(log_r, axis=-1), log_c)
    low = -top - (LOG_EPS + 0.46 * k) / n
    high = math.log(2 * n + 80) - log_c
    length = float(xp.max(high - low)) if math.prod(low.shape) else 0.0
    i = xp.arange(math.ceil(length / h) + 1, device=array_api_compat.device(low))
    return h, low[..., None] + h * xp.astype(i, xp.float64)


def order_log_prob(logits: Array, order: Array) -> Float[Any, "..."]:
    """log P(i_1..i_k) = sum_j (theta_{i_j} - log sum of e^theta over what is left at draw j).

    order: (..., k), as drawn; otherwise as in `set_log_prob`. Source: sheet `ocsampler`, "Setting".

    >>> import numpy as np
    >>> np.exp(order_log_prob(np.log([1.0, 2.0, 3.0]), np.array([2, 1]))).round(6)  # 3/6 2/3
    np.float64(0.333333)
    """
    theta, index, _ = _checked("order_log_prob", logits, order)
    xp = namespace(theta)
    left = _left(xp, theta, index)  # (..., k, T)
    out = xp.sum(xp.take_along_axis(theta, index, axis=-1) - logsumexp(left), axis=-1)
    return xp.astype(out, logits.dtype)


def order_score(logits: Array, order: Array) -> Float[Any, "... T"]:
    """The gradient of log P(i_1..i_k): sum_j (e_{i_j} - softmax over what is left at draw j).

    >>> import numpy as np
    >>> order_score(np.zeros(3), np.array([0, 2])).round(6).tolist()
    [0.666667, -0.833333, 0.166667]
    """
    theta, index, _ = _checked("order_score", logits, order)
    xp = namespace(theta)
    left = _left(xp, theta, index)
    share = xp.exp(left - logsumexp(left)[..., None])
    hot = xp.astype(_one_hot(xp, index, theta.shape[-1]), xp.float64)
    return xp.astype(xp.sum(hot - share, axis=-2), logits.dtype)


def _left(xp: Any, theta: Array, index: Array) -> Array:
    """The logits at each draw, -inf for what is gone by then: (..., k, T)."""
    hot = xp.astype(_one_hot(xp, index, theta.shape[-1]), xp.int64)
    gone = xp.cumulative_sum(hot, axis=-2) - hot > 0
    wide = xp.broadcast_to(theta[..., None, :], gone.shape)
    return xp.where(gone, xp.full_like(wide, -math.inf), wide)


def set_log_prob_by_orders(logits: Array, chosen: Array) -> Float[Any, "..."]:
    """log P(S) as the sum over all k! orders (the paper's code): an oracle for k up to 8.

    >>> import numpy as np
    >>> set_log_prob_by_orders(np.log([1.0, 2.0, 3.0]), np.array([2, 1])).round(6)
    np.float64(-0.538997)
    """
    theta, index, _ = _checked("set_log_prob_by_orders", logits, chosen)
    xp, k = namespace(theta), index.shape[-1]
    integer("set_log_prob_by_orders", "k", k, 1, 8)
    orders = np.array(list(itertools.permutations(range(k))), dtype=np.int64)
    every = xp.asarray(orders, device=array_api_compat.device(index))
    shuffled = xp.stack([xp.take(index, every[:, j], axis=-1) for j in range(k)], axis=-1)
    each = order_log_prob(theta[..., None, :], shuffled)  # (..., k!)
    return xp.astype(logsumexp(each), logits.dtype)


def set_log_prob_by_inclusion_exclusion(logits: Any, chosen: Any, *, digits: int = 50) -> float:
    """log P(S) = log sum_{B in S} (-1)^|B| c / (c + r_B), in decimals of twice the digits lost.

    One set: logits (T,), chosen (k,), k at most 20 (2^k terms). The sum cancels, so it is repeated
    with more digits until at least half of them are left; an oracle, on the host.

    >>> set_log_prob_by_inclusion_exclusion([0.0, 0.0, 0.0], [0, 1])  # one of three sets
    -1.0986122886681098
    """
    where = "set_log_prob_by_inclusion_exclusion"
    integer(where, "digits", digits, 30)
    theta, index, _ = _checked(where, np.asarray(logits, dtype=np.float64), np.asarray(chosen))
    if theta.ndim != 1 or index.shape[0] > 20:
        raise fail(where, "chosen", "one set of at most 20", index.shape)
    inside, T = index.tolist(), theta.shape[0]
    while True:
        with decimal.localcontext(prec=digits):
            r = [decimal.Decimal(v).exp() for v in theta.tolist()]
            c = sum((r[j] for j in range(T) if j not in inside), decimal.Decimal(0))
            if not c:
                return 0.0
            sums = [(decimal.Decimal(0), 1)]  # r_B and (-1)^|B| of every subset
            for i in inside:
                sums += [(total + r[i], -sign) for total, sign in sums]
            p = sum((sign * c / (c + total) for total, sign in sums), decimal.Decimal(0))
            if p > decimal.Decimal(10) ** (-(digits // 2)):
                return float(p.ln())
        digits *= 2


def draw_order(
    logits: Array, k: int, *, rng: Rng, n: int | None = None, by: str = "gumbel"
) -> Int[Any, "... k"]:
    """k of T without replacement, in the order drawn: (..., k), or (n, ..., k) for n draws.

    by: "gumbel", the k largest of theta_i + Gumbel noise, which are the k first clocks; or
    "sequential", one after another with the rest renormalised (torch.multinomial's). One law.
    Raises ValueError unless 1 <= k <= T.

    >>> import numpy as np
    >>> draw_order(np.array([0.0, 50.0, 100.0]), 2, rng=np.random.default_rng(0)).tolist()
    [2, 1]
    """
    xp, T = _logits("draw_order", logits)
    integer("draw_order", "k", k, 1, T)
    one_of("draw_order", "by", by, ("gumbel", "sequential"))
    check_rng("draw_order", rng)
    lead = () if n is None else (integer("draw_order", "n", n, 0),)
    theta = xp.broadcast_to(xp.astype(logits, xp.float64), (*lead, *logits.shape))
    if by == "gumbel":
        waiting = -xp.log1p(-xp.clip(uniform(rng, theta.shape, theta), min=2.0**-54))  # Exp(1)
        return xp.argsort(xp.log(waiting) - theta, axis=-1)[..., :k]
    gone, out = xp.full_like(theta, 0.0), []
    for _ in range(k):
        left = xp.where(gone > 0, xp.full_like(theta, -math.inf), theta)
        out.append(
            categorical(rng, xp.exp(left - xp.max(left, axis=-1, keepdims=True)), theta.shape[:-1])
        )
        gone = gone + xp.astype(_one_hot(xp, out[-1][..., None], T)[..., 0, :], xp.float64)
    return xp.stack(out, axis=-1)


def set_mode(logits: Array, k: int) -> Int[Any, "... k"]:
    """The most probable set: the k largest logits, in order of time; ties go to the earliest.

    >>> import numpy as np
    >>> set_mode(np.array([0.3, -0.5, 1.1, 0.3]), 2).tolist()
    [0, 2]
    """
    xp, T = _logits("set_mode", logits)
    integer("set_mode", "k", k, 1, T)
    return xp.sort(xp.argsort(-logits, axis=-1, stable=True)[..., :k], axis=-1)
