"""The exact law of a linear plan's output on Gaussian data, and its exact gradient.

For data N(m, C) the denoiser is affine, x0hat = g u + k m with g_j = alpha_j c / (alpha_j^2 c +
sigma_j^2) and k_j = 1 - alpha_j g_j for each eigenvalue c of C. So every node is
u_i = A_i x_T + q_i m + D_i + S_i xi, by forward substitution; mean, covariance, KL and W2 need no
sampling, and their derivatives need one backward substitution. Sheet `plan-algebra`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import fail, one_of
from ..metrics import gaussian_kl_terms, gaussian_w2_terms
from ..shapes import Float
from .plan import Plan, Tableau, entries


@runtime_checkable
class GaussianData(Protocol):
    """What a law needs of a Gaussian: its mean and spectrum in the eigenbasis of its covariance."""

    @property
    def spectral_mean(self) -> np.ndarray: ...

    @property
    def spectrum(self) -> np.ndarray: ...

    @property
    def basis(self) -> np.ndarray | None: ...


@dataclass(frozen=True, eq=False)
class Law:
    """The output's law, N(mean, covariance), beside the exact one at the plan's last level.

    Arrays over the eigenvalues of the data covariance; `kl` is KL(output || exact) in nats, `w2`
    the 2-Wasserstein distance in the units of the state.
    """

    spectral_mean: Float[np.ndarray, "d"]
    variance: Float[np.ndarray, "d"]
    exact_mean: Float[np.ndarray, "d"]
    exact_variance: Float[np.ndarray, "d"]
    basis: np.ndarray | None
    kl: float
    w2: float

    @property
    def mean(self) -> np.ndarray:
        """The mean in the data's own coordinates, (d,)."""
        return self.spectral_mean if self.basis is None else self.basis @ self.spectral_mean

    @property
    def covariance(self) -> np.ndarray:
        """The covariance in the data's own coordinates, (d, d)."""
        if self.basis is None:
            return np.diag(self.variance)
        return (self.basis * self.variance) @ self.basis.T

    @property
    def std_ratio(self) -> np.ndarray:
        """Standard deviation of the output over the exact one, (d,)."""
        return np.sqrt(self.variance / self.exact_variance)


@dataclass(frozen=True, eq=False)
class LawGradient:
    """Derivatives in the canonical tableau: `a` (n+1,), `B` (n+1, n), `C` (n+1, q), `lam` (n,).

    `lam` moves the level at which node j calls the model, the coefficients held fixed.
    """

    value: float
    a: Float[np.ndarray, "nodes"]
    B: Float[np.ndarray, "nodes evaluations"]
    C: Float[np.ndarray, "nodes noises"]
    lam: Float[np.ndarray, "evaluations"]


def start_law(
    start: Any, gaussian: GaussianData, alpha: float, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of x_T in the eigenbasis.

    "marginal" is p_T; else a pair (mean, variance) in the data's own coordinates, each a number or
    (d,), the variance a number unless the data are diagonal.
    """
    m, c, basis = gaussian.spectral_mean, gaussian.spectrum, gaussian.basis
    if isinstance(start, str):
        one_of("Plan.law", "start", start, ("marginal",))
        return alpha * m, alpha**2 * c + sigma**2
    mean, variance = (np.asarray(v, dtype=np.float64) for v in start)
    allowed = f"'marginal' or finite (mean, variance >= 0), each a number or of shape {c.shape}"
    shapes_fit = mean.shape in ((), c.shape) and variance.shape in ((), c.shape)
    if not (shapes_fit and np.all(np.isfinite(mean)) and np.all(np.isfinite(variance))):
        raise fail("Plan.law", "start", allowed, start)
    if np.any(variance < 0) or (basis is not None and variance.ndim):
        raise fail("Plan.law", "start", allowed + ", one variance if they are full", start)
    mean = np.broadcast_to(mean, c.shape)
    return mean if basis is None else basis.T @ mean, np.broadcast_to(variance, c.shape)


def _spectral(plan: Plan, gaussian: GaussianData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, eigenvalues, and the plan's constants d in the eigenbasis, (n+1, d)."""
    plan._require_linear("Plan.law")
    m, c = gaussian.spectral_mean, gaussian.spectrum
    event = np.broadcast_shapes(plan.P.shape[2:], plan.B.shape[2:], plan.C.shape[2:])
    for shape in (event, plan.d.shape[1:]):
        if shape not in ((), (1,), c.shape):
            raise fail("Plan.law", "gaussian", f"of dimension {shape}", c.shape)
    if event not in ((), (1,)) and gaussian.basis is not None:
        raise fail("Plan.law", "gaussian", "diagonal (the plan acts elementwise)", "full")
    d = plan.d if plan.d.ndim == 2 else np.repeat(plan.d[:, None], c.size, axis=1)
    return m, c, d if gaussian.basis is None else d @ gaussian.basis


def _each(row: np.ndarray) -> np.ndarray:
    """Coefficients of one row with an axis over the eigenvalues."""
    return row[..., None] if row.ndim == 1 else row


def law(plan: Plan, gaussian: GaussianData, start: Any = "marginal") -> Law:
    """The exact law of the plan's output for Gaussian data.

    gaussian: a `fewtheory.testbeds.Gaussian` (any object with `spectral_mean`, `spectrum`,
    `basis`); start: the law of x_T, "marginal" (p_T) or (mean, variance), e.g. (0, 1) for N(0, I).
    Source: sheet `plan-algebra`, "Exact Gaussian law".

    >>> import fewtheory as ft
    >>> path = ft.paths.VPLinear()
    >>> plan = ft.samplers.ddim(path, ft.plan.grids.log_snr(path, steps=8))
    >>> plan.law(ft.testbeds.Gaussian([0.0], 0.25)).std_ratio.round(4)
    array([0.7414])
    """
    m, c, d = _spectral(plan, gaussian)
    data = plan.predicting("data")
    alpha, sigma = data.alpha[:-1, None], data.sigma[:-1, None]
    g = alpha * c / (alpha**2 * c + sigma**2)
    k = 1 - alpha * g
    n, noises = plan.nodes - 1, plan.C.shape[1]
    A, q, D = (np.zeros((n + 1, c.size)) for _ in range(3))
    S = np.zeros((n + 1, noises, c.size))
    A[0] = 1.0
    from_P, from_B = entries(data.P), entries(data.B)
    for i in range(1, n + 1):
        D[i], S[i] = d[i], _each(data.C[i])
        for j in sorted({*from_P[i], *from_B[i]}):
            P, B = data.P[i, j], data.B[i, j]
            w = P + B * g[j]  # du_i / du_j
            A[i] += w * A[j]
            q[i] += w * q[j] + B * k[j]
            D[i] += w * D[j]
            S[i] += w * S[j]
    mean_T, var_T = start_law(start, gaussian, float(data.alpha[0]), float(data.sigma[0]))
    mean = A[n] * mean_T + q[n] * m + D[n]
    variance = A[n] ** 2 * var_T + (S[n] ** 2).sum(0)
    exact_mean = plan.alpha[n] * m
    exact = plan.alpha[n] ** 2 * c + plan.sigma[n] ** 2
    kl = float(gaussian_kl_terms(mean, variance, exact_mean, exact).sum())
    w2 = float(np.sqrt(gaussian_w2_terms(mean, variance, exact_mean, exact).sum()))
    return Law(mean, variance, exact_mean, exact, gaussian.basis, kl, w2)


def law_gradient(
    plan: Plan, gaussian: GaussianData, of: str = "kl", start: Any = "marginal"
) -> LawGradient:
    """The gradient of "kl" or "w2_squared" of the output law, in canonical coordinates.

    With r the last row of (I - [B G, 0])^{-1}: dA_n/db_ij = r_i g_j A_j, dA_n/da_i = r_i and
    dA_n/dg_j = (r B)_j A_j, likewise for q and S; then the chain rule. Plans with elementwise
    coefficients are refused. Source: sheet `plan-algebra`, "Exact gradient".
    """
    one_of("Plan.law_gradient", "of", of, ("kl", "w2_squared"))
    if plan._event_axes():
        raise fail("Plan.law_gradient", "plan", "free of elementwise coefficients", plan)
    m, c, _ = _spectral(plan, gaussian)
    tab = plan.canonical()
    mean_T, var_T = start_law(start, gaussian, float(plan.alpha[0]), float(plan.sigma[0]))
    scale = plan.alpha[0]
    return tableau_gradient(tab, m, c, (mean_T / scale, var_T / scale**2), of)


def tableau_gradient(
    tab: Tableau, m: np.ndarray, c: np.ndarray, start: tuple[np.ndarray, np.ndarray], of: str
) -> LawGradient:
    """The gradient of `law_gradient` for a canonical tableau as it stands."""
    n, rho2 = tab.lam.size - 1, np.exp(-2 * tab.lam)[:, None]
    g = c / (c + rho2[:-1])
    k = 1 - g
    A, q, D = (np.zeros((n + 1, c.size)) for _ in range(3))
    S = np.zeros((n + 1, tab.C.shape[1], c.size))
    for i in range(n + 1):
        b = tab.B[i, :i, None]
        A[i] = tab.a[i] + (b * g[:i] * A[:i]).sum(0)
        q[i] = (b * (g[:i] * q[:i] + k[:i])).sum(0)
        D[i] = tab.d[i] + (b * g[:i] * D[:i]).sum(0)
        S[i] = tab.C[i][:, None] + ((b * g[:i])[:, None] * S[:i]).sum(0)
    mean_T, var_T = start
    mean, var = A[n] * mean_T + q[n] * m + D[n], A[n] ** 2 * var_T + (S[n] ** 2).sum(0)
    exact_mean, exact = m, c + rho2[n]
    if of == "kl":
        value = gaussian_kl_terms(mean, var, exact_mean, exact).sum()
        d_mean, d_var = (mean - exact_mean) / exact, (1 / exact - 1 / var) / 2
    else:
        value = gaussian_w2_terms(mean, var, exact_mean, exact).sum()
        d_mean, d_var = 2 * (mean - exact_mean), 1 - np.sqrt(exact / var)
    d_A = d_mean * mean_T + d_var * 2 * A[n] * var_T
    d_q, d_D, d_S = d_mean * m, d_mean, d_var * 2 * S[n]
    r = np.zeros((n + 1, c.size))  # du_n / du_i
    r[n] = 1.0
    for j in reversed(range(n)):
        r[j] = g[j] * (tab.B[j + 1 :, j, None] * r[j + 1 :]).sum(0)
    # what each node's model output carries: d(x0hat_j) in A, q, D, S
    carried = d_A * g * A[:n] + d_q * (g * q[:n] + k) + d_D * g * D[:n]
    carried = carried + (d_S * (g[:, None] * S[:n])).sum(1)
    reach = np.einsum("id,ij->jd", r, tab.B)  # (r B)_j
    moved = d_A * A[:n] + d_q * (q[:n] - 1) + d_D * D[:n] + (d_S * S[:n]).sum(1)
    dg_dlam = 2 * c * rho2[:-1] / (c + rho2[:-1]) ** 2
    lower = np.tril(np.ones((n + 1, n)), -1)
    return LawGradient(
        value=float(value),
        a=(r * d_A).sum(1),
        B=np.einsum("id,jd->ij", r, carried) * lower,
        C=np.einsum("id,kd->ik", r, d_S),
        lam=(reach * moved * dg_dlam).sum(1),
    )
