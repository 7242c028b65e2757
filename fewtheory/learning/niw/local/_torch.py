"""An episode's posterior over d weights from n rows of curvature, in n x n solves.

Writing K'K for the curvature (K one row an observation) and Sigma0 = V0/n0 for the prior, nothing
of size d x d appears:

    m = m0 + Sigma0 K' S^{-1} (r - K m0),   V = Sigma0 - Sigma0 K' S^{-1} K Sigma0,
    S = I + K Sigma0 K',   log|Sigma0| - log|V| = log|S|

Sheet `niwmeta`, M3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.func import jacrev

from ....errors import fail, integer


def whitened(
    likelihood: str, log_noise: torch.Tensor, out: torch.Tensor, y: torch.Tensor, J: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(K (nk, d), u (nk,)): the loss in the weights is 1/2 |K (theta' - theta) + u|^2 + const to
    Gauss-Newton's order. out (n, k), J (n, k, d)."""
    if likelihood == "gaussian":
        scale = (-log_noise).exp()
        return (J * scale).flatten(0, 1), ((out - y) * scale).flatten()
    p = out.softmax(-1)
    root = p.clamp(min=1e-6).sqrt()
    # R with rows sqrt(p_i) (e_i - p) has R'R = diag(p) - p p'; R'u = p - y for u = (p - y)/sqrt(p)
    K = root[..., None] * (J - (p[..., None] * J).sum(-2, keepdim=True))
    truth = (y[:, None] == torch.arange(p.shape[-1]).to(y)).to(p)
    return K.flatten(0, 1), ((p - truth) / root).flatten()


@dataclass(frozen=True, eq=False)
class Local:
    """N(mean, V), V = Sigma0 - Sigma0 K' S^{-1} K Sigma0, or diag(variance) where that is given.

    Sigma0 = F F', F (d, d), or (d,) for a diagonal.
    """

    mean: torch.Tensor
    F: torch.Tensor
    K: torch.Tensor
    S: torch.Tensor
    variance: torch.Tensor | None = None

    def sample(self, e: torch.Tensor, e2: torch.Tensor) -> torch.Tensor:
        """(s, d) draws from e (s, d) and e2 (s, nk), standard normal (Matheron's rule)."""
        if self.variance is not None:
            return self.mean + e * self.variance.sqrt()
        x = root(self.F, e)
        gain = torch.linalg.solve(self.S, (x @ self.K.T + e2).T).T
        return self.mean + x - gain @ times(self.F, self.K)

    def draws(self, n: int) -> torch.Tensor:
        """(n, d) draws with torch's own generator."""
        e, e2 = (torch.randn(n, size) for size in (len(self.mean), len(self.S)))
        return self.sample(e.to(self.mean), e2.to(self.mean))

    def along(self, J: torch.Tensor) -> torch.Tensor:
        """diag(J V J') (r,) for rows J (r, d)."""
        if self.variance is not None:
            return (J * J) @ self.variance
        JS = times(self.F, J)
        JK = JS @ self.K.T
        told = (JK * torch.linalg.solve(self.S, JK.T).T).sum(-1)
        return ((JS * J).sum(-1) - told).clamp(min=0)

    def divergence(self, m0: torch.Tensor) -> torch.Tensor:
        """1/2 [tr(Sigma0^{-1} (V + D D')) + log|Sigma0| - log|V| - d], what an episode pays."""
        D = self.mean - m0
        if self.variance is not None:
            ratio = self.variance / self.F**2
            return 0.5 * (ratio + (D / self.F) ** 2 - 1 - ratio.log()).sum()
        z = D / self.F if self.F.ndim == 1 else torch.linalg.solve(self.F, D)
        n = len(self.S)  # tr(Sigma0^{-1} V) = d - n + tr S^{-1}
        trace = torch.linalg.solve(self.S, torch.eye(n).to(self.S)).diagonal().sum()
        return 0.5 * (z @ z + torch.linalg.slogdet(self.S)[1] - n + trace)


def root(F: torch.Tensor, E: torch.Tensor) -> torch.Tensor:
    """E F', rows of Sigma0^{1/2} e."""
    return E * F if F.ndim == 1 else E @ F.T


def times(F: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
    """X Sigma0."""
    return X * F**2 if F.ndim == 1 else (X @ F) @ F.T


@dataclass(frozen=True, eq=False)
class NetworkPosterior:
    """q(theta) of one episode, and what it predicts.

    Outputs are those of the network under draws of q, or with linear=True of its linearisation at
    the posterior's mean: the same for a network linear in its weights, and better where q is wide
    in directions that the support says nothing about.
    """

    learner: Any  # an NIWMeta
    local: Local
    support: tuple[torch.Tensor, torch.Tensor]

    def sample(self, n: int) -> torch.Tensor:
        """(n, d) weights."""
        return self.local.draws(n)

    def outputs(self, x: torch.Tensor, samples: int = 16, *, linear: bool = False) -> torch.Tensor:
        """The network's outputs (samples, n, k) under draws of q."""
        integer("NetworkPosterior.outputs", "samples", samples, 1)
        with torch.no_grad():
            thetas, mean = self.sample(samples), self.local.mean
            out_of = partial(self.learner.outputs, support=self.support, x=x)
            if not linear:
                return torch.stack([out_of(t) for t in thetas])
            out, J = out_of(mean), jacrev(out_of)(mean)
            return out + torch.einsum("nkd,sd->snk", J, thetas - mean)

    def predict(
        self, x: torch.Tensor, samples: int = 16, *, linear: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance of a new y (n, k), the noise's included; for classes of the
        probabilities. samples = 0, of a Gaussian likelihood: linear, in closed form."""
        noise = (2 * self.learner.log_noise).exp()
        if samples == 0:
            if self.learner.likelihood != "gaussian":
                raise fail("NetworkPosterior.predict", "samples", "at least 1 for classes", 0)
            with torch.no_grad():
                out_of = partial(self.learner.outputs, support=self.support, x=x)
                out, J = out_of(self.local.mean), jacrev(out_of)(self.local.mean)
                return out, self.local.along(J.flatten(0, 1)).view_as(out) + noise
        out = self.outputs(x, samples, linear=linear)
        if self.learner.likelihood == "categorical":
            out, noise = (out * (-self.learner.log_temperature).exp()).softmax(-1), 0.0
        return out.mean(0), out.var(0, correction=0) + noise

    def log_prob(
        self, x: torch.Tensor, y: torch.Tensor, samples: int = 16, *, linear: bool = False
    ) -> torch.Tensor:
        """log p(y_j | support) (n,), each row for itself: log of the mean over draws of q, or with
        samples = 0 of the Gaussian of `predict`."""
        if samples == 0:
            mean, var = self.predict(x, 0)
            return (-0.5 * ((y - mean) ** 2 / var + (2 * math.pi * var).log())).sum(-1)
        each = self.learner.log_prob(self.outputs(x, samples, linear=linear), y)
        return each.logsumexp(0) - math.log(samples)
