"""What the array API standard lacks, and what libraries do differently.

Every public function of the package takes NumPy arrays, torch tensors (CPU or CUDA) or any other
array of the Python array API standard, and gives back the same kind, dtype and device. This file
owns the differences: the namespace of an array, special functions, draws, and the linear
combination that each step of each sampler is. Nothing here knows what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import array_api_compat
import numpy as np

Array: TypeAlias = Any
Rng: TypeAlias = Any  # numpy.random.Generator or torch.Generator


def namespace(*arrays: Array) -> Any:
    """The array API namespace of the arrays (NumPy when none of them is an array).

    NumPy 2.1 is its own: the compatibility layer would load f2py and numpy.testing, 0.1 s.
    """
    found = [a for a in arrays if not isinstance(a, (np.ndarray, np.generic, int, float))]
    found = [a for a in found if array_api_compat.is_array_api_obj(a)]
    return array_api_compat.array_namespace(*found) if found else np


def is_torch(array: Array) -> bool:
    """Whether this is a torch tensor; does not import torch."""
    return array_api_compat.is_torch_array(array)


def is_numpy(array: Array) -> bool:
    """Whether this is a NumPy array."""
    return isinstance(array, np.ndarray)


def as_like(value: Any, like: Array) -> Array:
    """`value` (float64 NumPy or a number) as an array of the kind, dtype and device of `like`."""
    xp = namespace(like)
    own = np.array(value)  # a copy: torch shares memory, and constants are read-only
    return xp.asarray(own, dtype=like.dtype, device=array_api_compat.device(like))


def to_numpy(array: Array) -> np.ndarray:
    """The array as a NumPy array on the host, detached from any graph."""
    if is_torch(array):
        return array.detach().cpu().numpy()
    return np.asarray(array)


def _through_numpy(function: Callable[..., np.ndarray], array: Array) -> Array:
    return as_like(function(to_numpy(array)), array)


def logsumexp(x: Array, axis: int = -1) -> Array:
    """log sum exp(x) along an axis, without overflow; -inf where every term is -inf."""
    xp = namespace(x)
    top = xp.max(x, axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    total = xp.sum(xp.exp(x - top), axis=axis)
    floor = xp.finfo(x.dtype).smallest_normal
    log_total = xp.where(total > 0, xp.log(xp.clip(total, min=floor)), -xp.inf)
    return log_total + xp.squeeze(top, axis=axis)


def log_ndtr(x: Array) -> Array:
    """log Phi(x), accurate in both tails."""
    if is_torch(x):
        import torch

        return torch.special.log_ndtr(x)
    from scipy.special import log_ndtr as host

    return host(x) if is_numpy(x) else _through_numpy(host, x)


def ndtri(p: Array) -> Array:
    """Phi^{-1}(p)."""
    if is_torch(p):
        import torch

        return torch.special.ndtri(p)
    from scipy.special import ndtri as host

    return host(p) if is_numpy(p) else _through_numpy(host, p)


def quantile(x: Array, q: float, axis: int = -1) -> Array:
    """The q-quantile along an axis, linear between order statistics (NumPy's default)."""
    xp = namespace(x)
    n = x.shape[axis]
    low = min(int(q * (n - 1)), n - 1)
    high, weight = min(low + 1, n - 1), q * (n - 1) - low
    ordered = xp.sort(x, axis=axis)
    below = xp.take(ordered, xp.asarray([low], device=array_api_compat.device(x)), axis=axis)
    above = xp.take(ordered, xp.asarray([high], device=array_api_compat.device(x)), axis=axis)
    return xp.squeeze(below + weight * (above - below), axis=axis)


def solve_triangular(a: Array, b: Array, lower: bool = True) -> Array:
    """x with a x = b for a triangular `a` of shape (d, d) and b of shape (d, n)."""
    if is_torch(a):
        import torch

        return torch.linalg.solve_triangular(a, b, upper=not lower)
    from scipy.linalg import solve_triangular as host

    if is_numpy(a):
        return host(a, b, lower=lower, check_finite=False)
    return as_like(host(to_numpy(a), to_numpy(b), lower=lower), b)


def check_rng(name: str, rng: Rng) -> None:
    """Raise a TypeError unless `rng` is a numpy.random.Generator or a torch.Generator."""
    if isinstance(rng, np.random.Generator) or type(rng).__module__.startswith("torch"):
        return
    raise TypeError(
        f"{name}: rng must be a numpy.random.Generator or a torch.Generator, "
        f"got {type(rng).__name__}"
    )


def standard_normal(rng: Rng, shape: Sequence[int], like: Array) -> Array:
    """N(0, I) of this shape, of the kind, dtype and device of `like`."""
    check_rng("standard_normal", rng)
    if isinstance(rng, np.random.Generator):
        return as_like(rng.standard_normal(tuple(shape)), like)
    import torch

    dtype = like.dtype if is_torch(like) and like.dtype.is_floating_point else torch.float64
    drawn = torch.randn(tuple(shape), generator=rng, device=rng.device, dtype=dtype)
    return drawn.to(like.device) if is_torch(like) else as_like(to_numpy(drawn), like)


def uniform(rng: Rng, shape: Sequence[int], like: Array) -> Array:
    """Uniform on [0, 1) of this shape, of the kind, dtype and device of `like`.

    Drawn in float64; a draw that would round up to 1 in a narrower dtype is the number below it.
    """
    check_rng("uniform", rng)
    if isinstance(rng, np.random.Generator):
        out = as_like(rng.random(tuple(shape)), like)
    else:
        import torch

        out = torch.rand(tuple(shape), generator=rng, device=rng.device, dtype=torch.float64)
        out = out.to(like.device, like.dtype) if is_torch(like) else as_like(to_numpy(out), like)
    xp = namespace(out)
    return xp.clip(out, max=1.0 - float(xp.finfo(out.dtype).eps) / 2)


def categorical(rng: Rng, weights: Array, shape: Sequence[int]) -> Array:
    """Indices with the probabilities `weights` (.., K), which broadcast against `shape`.

    Drawn in float64: in single precision a uniform number can round up to 1, and so to a component
    of weight zero.
    """
    xp = namespace(weights)
    wide = xp.astype(weights, xp.float64)
    edges = xp.cumulative_sum(wide, axis=-1)
    edges = edges / edges[..., -1:]
    drawn = uniform(rng, shape, wide)[..., None]
    return xp.sum(xp.astype(drawn >= edges[..., :-1], xp.int64), axis=-1)


def linear_combination(coefficients: Sequence[Any], arrays: Sequence[Array]) -> Array:
    """sum_k c_k x_k in a new buffer; c_k are Python floats, or arrays that broadcast."""
    if all(type(c) is float for c in coefficients):
        in_place = not any(getattr(x, "requires_grad", False) for x in arrays)
        return scalar_combination(coefficients, arrays, in_place)
    total = arrays[0] * coefficients[0]
    for c, x in zip(coefficients[1:], arrays[1:], strict=True):
        total = total + c * x
    return total


def scalar_combination(
    coefficients: Sequence[float], arrays: Sequence[Array], in_place: bool
) -> Array:
    """sum_k c_k x_k for Python floats and arrays of one shape, always in a new buffer.

    in_place: after the first product, add into its buffer (wrong where a gradient is recorded), so
    that a step of a sampler costs one pass over memory for each term and one allocation.
    """
    total, rest = arrays[0] * coefficients[0], range(1, len(arrays))
    if in_place and hasattr(total, "add_"):  # torch, asked the cheapest way: this is a hot path
        add = total.add_
        for k in rest:
            add(arrays[k], alpha=coefficients[k])
    elif in_place and type(total) is np.ndarray:
        for k in rest:
            total += coefficients[k] * arrays[k]
    else:
        for k in rest:
            total = total + coefficients[k] * arrays[k]
    return total
