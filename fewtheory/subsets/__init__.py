"""Choosing few: rows of a matrix, points of a design, frames of a clip, each with a certificate.

| you have | you keep | start with |
| --- | --- | --- |
| a tall matrix A whose |Ax|_p matter | reweighted rows | `coreset`, then its `distortion` |
| one that does not fit in memory | reweighted rows | the same, on a dask array chunked by rows |
| batches, seen once | reweighted rows | `StreamingCoreset`, `OnlineLeverage` |
| a function that you may ask anywhere | points and weights | `PolySpace`, `sample`, `wls` |
| a pool of candidates with features | some of them | `FeatureSpace`, `sample`; `dpp` |
| T frames, tokens or documents, one choice | a set of k | `SubsetPolicy`, `set_log_prob` |

`rows` is of sheet `lp-sensitivity`, `points` of `dpp-wls`, `frames` of `ocsampler`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .frames.estimators import (
    EstimatorMoments,
    best_baseline,
    mode_estimator,
    order_estimator,
    second_draw_estimator,
    set_estimator,
    shared_draws_estimator,
)
from .frames.inclusion import set_inclusion, set_inclusion_gradient
from .frames.plackett_luce import (
    draw_order,
    order_log_prob,
    order_score,
    set_log_prob,
    set_log_prob_by_inclusion_exclusion,
    set_log_prob_by_orders,
    set_mode,
    set_score,
)
from .frames.policy import (
    Ascent,
    FrameBudget,
    SetLaw,
    ascend_reward,
    best_set,
    expected_reward,
    expected_reward_gradient,
    frame_budget,
    frame_entropy_gradient,
    set_law,
)
from .frames.rewards import baseline_clip, clip_reward, fewest_frames, leave_one_out, segment_clip
from .frames.training import budgeted_policy_gradient, policy_gradient
from .points.designs import Sample, UnstableDesign, greedy_removal, sample
from .points.dpp import DPPDraw, dpp, dpp_density, expected_proposals, projection_dpp
from .points.ensembles import ensemble, fourier_ensemble, hermite_ensemble, jacobi_ensemble
from .points.guarantees import (
    expected_draws,
    expected_inverse,
    expected_noise_error,
    points_for_stability,
    quasi_optimality,
    stability_probability,
    stability_rate,
)
from .points.kernels import (
    Kernel,
    kappa,
    kernel_space,
    natural_reference,
    residual_diagonal,
    sobolev_kernel,
)
from .points.least_squares import Fit, wls
from .points.reference import Reference, reference
from .points.spaces import FeatureSpace, PolySpace, christoffel
from .points.volume import reverse_removal, volume_density, volume_marginal, volume_sample
from .rows.budget import draw_rows, inclusion_probabilities
from .rows.coreset import Coreset, coreset
from .rows.distortion import Distortion, distortion
from .rows.flatten import flatten
from .rows.leverage import leverage_scores
from .rows.lewis import LewisWeights, lewis_map, lewis_potential, lewis_weights
from .rows.online import OnlineLeverage, online_coreset, online_leverage
from .rows.root_leverage import recursion_limit, root_leverage_budget, root_leverage_coreset
from .rows.scores import FAMILIES, Family, rows_needed, scores
from .rows.sensitivities import Sensitivities, sensitivities
from .rows.streaming import StreamingCoreset
from .rows.total_sensitivity import (
    TotalSensitivity,
    bracket,
    bucket_sensitivities,
    lewis_range,
    total_sensitivity,
)

if TYPE_CHECKING:
    from .frames._torch import BudgetedPolicy, OneStepPolicy, SubsetPolicy

__all__ = [
    "FAMILIES",
    "Ascent",
    "BudgetedPolicy",
    "Coreset",
    "DPPDraw",
    "Distortion",
    "EstimatorMoments",
    "Family",
    "FeatureSpace",
    "Fit",
    "FrameBudget",
    "Kernel",
    "LewisWeights",
    "OneStepPolicy",
    "OnlineLeverage",
    "PolySpace",
    "Reference",
    "Sample",
    "Sensitivities",
    "SetLaw",
    "StreamingCoreset",
    "SubsetPolicy",
    "TotalSensitivity",
    "UnstableDesign",
    "ascend_reward",
    "baseline_clip",
    "best_baseline",
    "best_set",
    "bracket",
    "bucket_sensitivities",
    "budgeted_policy_gradient",
    "christoffel",
    "clip_reward",
    "coreset",
    "distortion",
    "dpp",
    "dpp_density",
    "draw_order",
    "draw_rows",
    "ensemble",
    "expected_draws",
    "expected_inverse",
    "expected_noise_error",
    "expected_proposals",
    "expected_reward",
    "expected_reward_gradient",
    "fewest_frames",
    "flatten",
    "fourier_ensemble",
    "frame_budget",
    "frame_entropy_gradient",
    "greedy_removal",
    "hermite_ensemble",
    "inclusion_probabilities",
    "jacobi_ensemble",
    "kappa",
    "kernel_space",
    "leave_one_out",
    "leverage_scores",
    "lewis_map",
    "lewis_potential",
    "lewis_range",
    "lewis_weights",
    "mode_estimator",
    "natural_reference",
    "online_coreset",
    "online_leverage",
    "order_estimator",
    "order_log_prob",
    "order_score",
    "points_for_stability",
    "policy_gradient",
    "projection_dpp",
    "quasi_optimality",
    "recursion_limit",
    "reference",
    "residual_diagonal",
    "reverse_removal",
    "root_leverage_budget",
    "root_leverage_coreset",
    "rows_needed",
    "sample",
    "scores",
    "second_draw_estimator",
    "segment_clip",
    "sensitivities",
    "set_estimator",
    "set_inclusion",
    "set_inclusion_gradient",
    "set_law",
    "set_log_prob",
    "set_log_prob_by_inclusion_exclusion",
    "set_log_prob_by_orders",
    "set_mode",
    "set_score",
    "shared_draws_estimator",
    "sobolev_kernel",
    "stability_probability",
    "stability_rate",
    "total_sensitivity",
    "volume_density",
    "volume_marginal",
    "volume_sample",
    "wls",
]

TORCH = ("BudgetedPolicy", "OneStepPolicy", "SubsetPolicy")  # with torch, on first use


def __getattr__(name: str) -> Any:
    if name in TORCH:
        from .frames import _torch

        return getattr(_torch, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
