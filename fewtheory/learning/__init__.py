"""Learning from few or poor data, against worlds in which the best possible answer is known.

| you have | start with |
| --- | --- |
| samples of which each has its own noise level | `ambient_denoising`, then `train.fit` |
| the price of clean and of noisy samples | `noisy_price`, `noisy_needed`, `cheapest_mix` |
| errors of runs at several sizes | `scaling_law` |
| a few atoms seen through noise | `denoised_law` |
| a stream of small tasks and a torch network | `NIWMeta`, then `adapt` |
| a few linear tasks | `fit`, then `adapt` or `adapt_student` |
| parameter vectors of tasks | `condition`, `log_evidence` |
| a learner to be judged | `MAML`, `ProtoNet`, `shrinkage` |

`ambient` is of sheet `ambient-scaling`, `niw` of `niwmeta`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .ambient.consistency import consistency_gap, consistency_slope, consistent_gain, reverse_step
from .ambient.frechet import frechet_error, frechet_floor, stopped_frechet, stopped_variance
from .ambient.generated import generated_variance
from .ambient.identity import ambient_coefficients, ambient_weights, earlier_mean, renoising
from .ambient.mixtures import (
    crossover,
    effective_size,
    mixture_error,
    noise_norm,
    sample_price,
    top_subspace,
    weighted_covariance,
)
from .ambient.moment_space import denoised_law, nearest_law
from .ambient.moments import (
    atoms_from_moments,
    hermite_covariance,
    hermite_moments,
    hermite_polynomials,
    law_moments,
    moment_weights,
    two_atoms,
)
from .ambient.planning import Mix, NoisyNeeded, cheapest_mix, noisy_needed
from .ambient.pooled import (
    SecondMoments,
    likelihood_variance,
    linear_denoiser,
    pooled_variance,
    second_moments,
)
from .ambient.price import (
    NoisyPrice,
    marginal_price,
    mean_price,
    noisy_price,
    target_price,
    variance_price,
)
from .ambient.scaling import Interval, Prediction, ScalingFit, scaling_law
from .ambient.shares import MixedData
from .ambient.spectrum import debiased_spectrum
from .ambient.weighting import noisy_share, relative_variance, variance_floor, variance_slopes
from .ambient.worst_pairs import chi_square_series, gauss_rule, price_exponent, worst_pair
from .niw import shrinkage
from .niw.calibration import calibration_error, interval_coverage
from .niw.classes import class_episodes, class_log_prob
from .niw.conjugacy import condition, log_evidence
from .niw.curvature import gauss_newton, laplace, softmax_curvature
from .niw.divergence import expected_kl, niw_kl
from .niw.episodes import (
    LocalLaw,
    Quadratic,
    adapt,
    linear_episode,
    local_objective,
    local_posterior,
)
from .niw.finite import Fit, OnlineNIW, fit, full_objective, law_excess
from .niw.hierarchy import NIW
from .niw.inner import (
    Proximal,
    implicit_gradient,
    inner_steps,
    maml_gradient,
    moreau,
)
from .niw.multigamma import log_multigamma, multidigamma
from .niw.one_time import OneTime, average_objective, envelope_gradient, one_time
from .niw.pac_bayes import best_lam, pac_bayes_bound
from .niw.prototypes import prototype_head, prototypes
from .niw.sgld import (
    SGLDMoments,
    SGLDStatistics,
    debiased_mean,
    precision_from_variance,
    sgld,
    sgld_moments,
)
from .niw.student import Student
from .niw.student_prior import StudentPosterior, adapt_student

if TYPE_CHECKING:
    from .ambient._torch import ambient_denoising, ambient_loss, reweighting
    from .ambient.levels._torch import LogNormalLevels, UniformLevels
    from .ambient.martingale._torch import consistency_loss
    from .niw._torch import NIWMeta
    from .niw.learners._torch import MAML, ProtoNet

TORCH = {
    "MAML": "niw.learners._torch",
    "NIWMeta": "niw._torch",
    "ProtoNet": "niw.learners._torch",
    "LogNormalLevels": "ambient.levels._torch",
    "UniformLevels": "ambient.levels._torch",
    "ambient_denoising": "ambient._torch",
    "ambient_loss": "ambient._torch",
    "consistency_loss": "ambient.martingale._torch",
    "reweighting": "ambient._torch",
}


def __getattr__(name: str) -> Any:
    """What needs torch loads when it is asked for."""
    if name in TORCH:
        return getattr(importlib.import_module(f".{TORCH[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "MAML",
    "NIW",
    "Fit",
    "Interval",
    "LocalLaw",
    "LogNormalLevels",
    "Mix",
    "MixedData",
    "NIWMeta",
    "NoisyNeeded",
    "NoisyPrice",
    "OneTime",
    "OnlineNIW",
    "Prediction",
    "ProtoNet",
    "Proximal",
    "Quadratic",
    "SGLDMoments",
    "SGLDStatistics",
    "ScalingFit",
    "SecondMoments",
    "Student",
    "StudentPosterior",
    "UniformLevels",
    "adapt",
    "adapt_student",
    "ambient_coefficients",
    "ambient_denoising",
    "ambient_loss",
    "ambient_weights",
    "atoms_from_moments",
    "average_objective",
    "best_lam",
    "calibration_error",
    "cheapest_mix",
    "chi_square_series",
    "class_episodes",
    "class_log_prob",
    "condition",
    "consistency_gap",
    "consistency_loss",
    "consistency_slope",
    "consistent_gain",
    "crossover",
    "debiased_mean",
    "debiased_spectrum",
    "denoised_law",
    "earlier_mean",
    "effective_size",
    "envelope_gradient",
    "expected_kl",
    "fit",
    "frechet_error",
    "frechet_floor",
    "full_objective",
    "gauss_newton",
    "gauss_rule",
    "generated_variance",
    "hermite_covariance",
    "hermite_moments",
    "hermite_polynomials",
    "implicit_gradient",
    "inner_steps",
    "interval_coverage",
    "laplace",
    "law_excess",
    "law_moments",
    "likelihood_variance",
    "linear_denoiser",
    "linear_episode",
    "local_objective",
    "local_posterior",
    "log_evidence",
    "log_multigamma",
    "maml_gradient",
    "marginal_price",
    "mean_price",
    "mixture_error",
    "moment_weights",
    "moreau",
    "multidigamma",
    "nearest_law",
    "niw_kl",
    "noise_norm",
    "noisy_needed",
    "noisy_price",
    "noisy_share",
    "one_time",
    "pac_bayes_bound",
    "pooled_variance",
    "precision_from_variance",
    "price_exponent",
    "prototype_head",
    "prototypes",
    "relative_variance",
    "renoising",
    "reverse_step",
    "reweighting",
    "sample_price",
    "scaling_law",
    "second_moments",
    "sgld",
    "sgld_moments",
    "shrinkage",
    "softmax_curvature",
    "stopped_frechet",
    "stopped_variance",
    "target_price",
    "top_subspace",
    "two_atoms",
    "variance_floor",
    "variance_price",
    "variance_slopes",
    "weighted_covariance",
    "worst_pair",
]
