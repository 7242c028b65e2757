"""A Gaussian mixture's log density and score together, against torch with autograd and
scikit-learn.

torch: `MixtureSameFamily` over `MultivariateNormal`, the score by `autograd.grad`. scikit-learn:
`GaussianMixture.score_samples`, the log density alone. Last, one shared isotropic covariance at a
size where two matrix products of 2 N K d operations each are the work: the share of the rate at
which this machine multiplies matrices.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.mixture import GaussianMixture as Sklearn
from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky

import fewtheory as ft

from .timing import medians, show

N, K = 100_000, 10


def world(d: int):
    """A mixture with full covariances, as this package, torch and scikit-learn hold it."""
    rng = np.random.default_rng(d)
    w, m = rng.dirichlet(np.ones(K)), rng.standard_normal((K, d))
    A = rng.standard_normal((K, d, d)) / np.sqrt(d)
    C = A @ A.transpose(0, 2, 1) + 0.1 * np.eye(d)
    bed = ft.testbeds.GaussianMixture(w, m, C)
    tensors = [torch.tensor(v) for v in (w, m, C)]
    peer = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(tensors[0]),
        torch.distributions.MultivariateNormal(tensors[1], tensors[2]),
    )
    learned = Sklearn(K, covariance_type="full")
    learned.weights_, learned.means_, learned.covariances_ = w, m, C
    learned.precisions_cholesky_ = _compute_precision_cholesky(C, "full")
    return bed, peer, learned, bed.sample(N, rng=rng)


def against_peers(d: int) -> None:
    """Log density and score of 1e5 points under ten full covariances."""
    bed, peer, learned, x = world(d)
    points = torch.tensor(x, requires_grad=True)

    def autograd():
        torch.autograd.grad(peer.log_prob(points).sum(), points)

    times = medians(
        {
            "fewtheory, log density and score": lambda: bed.log_prob_and_score(x),
            "fewtheory, log density alone": lambda: bed.log_prob(x),
            "scikit-learn, log density alone": lambda: learned.score_samples(x),
            "torch MixtureSameFamily, autograd": autograd,
        },
        rounds=21 if d == 2 else 5,
        settle=5 if d == 2 else 0,
        warm_up=1,
    )
    show(
        f"mixture, N = {N}, K = {K}, d = {d}, full covariances, float64",
        times,
        "fewtheory, log density and score",
    )


def share_of_matmul() -> None:
    """4 N K d operations over the time, against those of one matrix product of 2 N K d."""
    n, k, d = 20_000, 1000, 64
    rng = np.random.default_rng(0)
    x, m = rng.standard_normal((n, d)), rng.standard_normal((k, d))
    bed = ft.testbeds.GaussianMixture(np.full(k, 1 / k), m, np.full(k, 1.0))
    times = medians(
        {
            "one matrix product, 2 N K d": lambda: x @ m.T,
            "log density and score, 4 N K d": lambda: bed.log_prob_and_score(x),
        },
        rounds=15,
        warm_up=2,
        settle=1,
    )
    product, both = times.values()
    show(f"one variance, N = {n}, K = {k}, d = {d}", times, "one matrix product, 2 N K d")
    print(f"  share of the machine's matrix-product rate: {2 * product / both:.0%}")


def main() -> None:
    """Mixtures against their peers."""
    for d in (2, 64):
        against_peers(d)
    share_of_matmul()


if __name__ == "__main__":
    main()
