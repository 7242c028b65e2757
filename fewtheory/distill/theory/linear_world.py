"""A linear student x_0 = A z + b of a Gaussian teacher: divergences, their gradients, exactly.

With S_q = alpha^2 A A' + sigma^2 I and S_p = alpha^2 C + sigma^2 I,

    KL(q_t || p_t) = (tr S_p^{-1} S_q - d + log det S_p / det S_q + alpha^2 |b - m|^2_{S_p^{-1}}) /
    2,

and the Fisher divergence F_t = E_q |s_q - s_p|^2 integrates to it over the noise:
KL(q_0 || p_0) = int_0^inf rho F(rho) d rho at alpha = 1, sigma = rho. So matching by KL (DMD) and
matching by scores (SiD) weigh the same quantity differently over the levels. Sheet `dmd-base`,
"Linear world", C1, C2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import fail, finite_array, number
from ...metrics import gaussian_kl
from ...paths import Path
from ...shapes import Float
from ...testbeds import Gaussian


@dataclass(frozen=True, eq=False)
class LinearKL:
    """value: KL(q_t || p_t); grad_A (d, k), grad_b (d,): its gradients in the student."""

    value: float
    grad_A: Float[np.ndarray, "d k"]
    grad_b: Float[np.ndarray, "d"]


def linear_kl(A: Any, b: Any, teacher: Gaussian, path: Path, t: float | int) -> LinearKL:
    """KL at time t of the student N(b, A A') to the teacher, with dKL/dA and dKL/db.

    dKL/dA = alpha^2 (S_p^{-1} - S_q^{-1}) A and dKL/db = alpha^2 S_p^{-1} (b - m). A: (d, k); b:
    (d,). dKL(A Q) = dKL(A) Q for a rotation Q: the loss fixes A A' only, not which noise becomes
    which sample. Raises ValueError by name, also where the level has no noise and A is singular.

    >>> from fewtheory import paths
    >>> linear_kl([[2.0]], [0.0], Gaussian([0.0], 1.0), paths.EDM(), 1.0).grad_A.tolist()
    [[0.6]]
    """
    A, b = finite_array("linear_kl", "A", A), finite_array("linear_kl", "b", b)
    d = teacher.mean.size
    if A.ndim != 2 or A.shape[0] != d:
        raise fail("linear_kl", "A", f"of shape ({d}, k)", A.shape)
    if b.shape != (d,):
        raise fail("linear_kl", "b", f"of shape ({d},)", b.shape)
    path.check_t("linear_kl", float(t))
    alpha = path.alpha(float(t))
    p, q = teacher.at(path, float(t)), Gaussian(b, A @ A.T).at(path, float(t))
    S_p, S_q = _dense(p), _dense(q)
    value = float(gaussian_kl(q.mean, S_q, p.mean, S_p))
    grad_A = alpha**2 * (np.linalg.solve(S_p, A) - np.linalg.solve(S_q, A))
    return LinearKL(value, grad_A, alpha**2 * np.linalg.solve(S_p, b - teacher.mean))


def fisher_divergence(student: Gaussian, teacher: Gaussian, path: Path, t: float | int) -> float:
    """E_q |s_q(x_t) - s_p(x_t)|^2 of two Gaussians at time t.

    With M = S_p^{-1} - S_q^{-1} it is tr M S_q M + |alpha S_p^{-1} (b - m)|^2.

    >>> from fewtheory import paths
    >>> fisher_divergence(Gaussian([0.0], 3.0), Gaussian([0.0], 1.0), paths.EDM(), 1.0)
    0.25
    """
    if student.mean.size != teacher.mean.size:
        wanted = f"of dimension {teacher.mean.size}, as the teacher"
        raise fail("fisher_divergence", "student", wanted, student.mean.size)
    p, q = teacher.at(path, float(t)), student.at(path, float(t))
    S_p, S_q = _dense(p), _dense(q)
    M = np.linalg.inv(S_p) - np.linalg.inv(S_q)
    return float(np.trace(M @ S_q @ M) + (np.linalg.solve(S_p, q.mean - p.mean) ** 2).sum())


def kl_from_fisher(
    fisher: Callable[[float], float],
    low: float | int = 1e-6,
    high: float | int = 1e6,
    points: int = 2001,
) -> float:
    """int rho F(rho) d rho by the trapezoid rule in u = log rho, where the integrand is rho^2 F.

    fisher(rho): the divergence at alpha = 1, sigma = rho. Outside [low, high] the integrand is
    rho^2 F(0) and at most of order 1/rho^2, so the ends leave out about low^2 F(0) / 2 and
    |b - m|^2 / (2 high^2) plus the square of the covariances' distance over 4 high^4.

    >>> from fewtheory import paths
    >>> q, p, ve = Gaussian([0.0], 3.0), Gaussian([0.0], 1.0), paths.EDM(1e-9, 1e9)
    >>> kl = kl_from_fisher(lambda rho: fisher_divergence(q, p, ve, rho))
    >>> bool(abs(kl - (2 - np.log(3)) / 2) < 1e-9)  # (r - 1 - log r) / 2, r = 3
    True
    """
    a, b = number("kl_from_fisher", "low", low, 0.0), number("kl_from_fisher", "high", high, 0.0)
    if not 0 < a < b:
        raise fail("kl_from_fisher", "low", f"above 0 and under high = {b}", low)
    u = np.linspace(np.log(a), np.log(b), points)
    rho = np.exp(u)
    return float(np.trapezoid(rho * np.array([fisher(float(r)) for r in rho]) * rho, u))


def _dense(law: Gaussian) -> np.ndarray:
    """The covariance as a (d, d) matrix."""
    return np.diag(law.cov) if law.basis is None else np.asarray(law.cov)
