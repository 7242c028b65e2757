"""What a run gives, exactly: its law on Gaussian data and its error on a bimodal law's flow map.

No sample is drawn. The start is p_T itself, so that what is measured is the sampler; how far the
pure noise with which it really starts is from p_T is a number of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..metrics import gaussian_kl_terms
from ..paths import RectifiedFlow
from ..plan import Plan
from ..testbeds import Gaussian, mixture_1d

BED = mixture_1d([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3])  # the sheets' bimodal law
DATA = Gaussian(np.ones(8), np.geomspace(0.01, 1.0, 8))  # means 1, variances from narrow to unit
FLOW = RectifiedFlow()  # finite at both ends, alpha = 0 and sigma = 0
POINTS = 32  # quantiles of x_T at which the flow map is compared


@dataclass(frozen=True)
class Outcome:
    """The exact result of a run in `steps` steps, `nfe` evaluations.

    w2, kl (nats): of the output's law on Gaussian data to the exact one at its last level; std:
    the standard deviation over the exact one where it is worst; mean: the largest error of a mean
    in exact standard deviations; flow: rms error against the bimodal law's flow map in units of
    x_0, None for a stochastic sampler; start: KL (nats, one dimension of unit variance) from the
    noise with which a run starts to p_T, None where that is not said.
    """

    steps: int
    nfe: int
    w2: float
    kl: float
    std: float
    mean: float
    flow: float | None
    start: float | None


def outcome(plan: Plan, steps: int, init_noise_sigma: float | None = None) -> Outcome:
    """What this plan gives."""
    law = plan.law(DATA)
    ratio, scale = law.std_ratio, np.sqrt(law.exact_variance)
    start = None
    if init_noise_sigma is not None:
        alpha, sigma = float(plan.alpha[0]), float(plan.sigma[0])
        given, true = np.array([init_noise_sigma**2]), np.array([alpha**2 + sigma**2])
        start = float(gaussian_kl_terms(np.zeros(1), given, np.zeros(1), true)[0])
    return Outcome(
        steps,
        plan.nfe,
        law.w2,
        law.kl,
        float(ratio[np.argmax(np.abs(np.log(np.maximum(ratio, 1e-300))))]),
        float(np.max(np.abs(law.spectral_mean - law.exact_mean) / scale)),
        None if plan.stochastic else flow_error(plan, 1, [plan.nodes - 1]),
        start,
    )


def flow_error(plan: Plan, first: int, at: list[int]) -> float:
    """Rms error over these nodes on the bimodal law, from exact states before node `first`.

    In u / (alpha + sigma), the flow-matching path, where the flow keeps quantiles.
    """
    last = max(at)
    plan = plan.predicting("data").on(FLOW)
    P, B, t = plan.P, plan.B, plan.t
    levels = (np.arange(POINTS) + 0.5)[:, None] / POINTS
    model = BED.model(FLOW, "data")
    exact = {i: BED.at(FLOW, float(t[i])).quantile(levels) for i in at}
    used = np.any(B[first : last + 1] != 0, axis=0) | np.any(P[first : last + 1, :-1] != 0, axis=0)
    blank = np.zeros((POINTS, 1))
    u: list[np.ndarray] = []
    m: list[np.ndarray] = []
    for i in range(last + 1):
        if i < first:
            u.append(BED.at(FLOW, float(t[i])).quantile(levels) if used[i] else blank)
        else:
            u.append(np.tensordot(P[i, :i], u, 1) + np.tensordot(B[i, :i], m, 1))
        if i < last:
            m.append(model(u[i], float(t[i])) if used[i] else blank)
    return float(np.sqrt(np.mean([(u[i] - exact[i]) ** 2 for i in exact])))
