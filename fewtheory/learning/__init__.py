"""Learning from few or poor data, against worlds in which the best possible answer is known.

| you have | start with |
| --- | --- |
| a stream of small tasks and a torch network | `NIWMeta`, then `adapt` |
| a few linear tasks | `fit`, then `adapt` or `adapt_student` |
| parameter vectors of tasks | `condition`, `log_evidence` |
| a learner to be judged | `MAML`, `ProtoNet`, `shrinkage` |

`niw` is of sheet `niwmeta`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .niw import shrinkage
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
    from .niw._torch import NIWMeta
    from .niw.learners._torch import MAML, ProtoNet

TORCH = {"NIWMeta": "_torch", "MAML": "learners._torch", "ProtoNet": "learners._torch"}


def __getattr__(name: str) -> Any:
    """What needs torch loads when it is asked for."""
    if name in TORCH:
        return getattr(importlib.import_module(f".niw.{TORCH[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "MAML",
    "NIW",
    "Fit",
    "LocalLaw",
    "NIWMeta",
    "OneTime",
    "OnlineNIW",
    "ProtoNet",
    "Proximal",
    "Quadratic",
    "SGLDMoments",
    "SGLDStatistics",
    "Student",
    "StudentPosterior",
    "adapt",
    "adapt_student",
    "average_objective",
    "best_lam",
    "condition",
    "debiased_mean",
    "envelope_gradient",
    "expected_kl",
    "fit",
    "full_objective",
    "gauss_newton",
    "implicit_gradient",
    "inner_steps",
    "laplace",
    "law_excess",
    "linear_episode",
    "local_objective",
    "local_posterior",
    "log_evidence",
    "log_multigamma",
    "maml_gradient",
    "moreau",
    "multidigamma",
    "niw_kl",
    "one_time",
    "pac_bayes_bound",
    "precision_from_variance",
    "prototype_head",
    "prototypes",
    "sgld",
    "sgld_moments",
    "shrinkage",
    "softmax_curvature",
]
