"""Distillation: a method's players, their losses, and what its theory says before a run.

| you want | take |
| --- | --- |
| DMD, DMD2, Diff-Instruct | `dmd`, then `train.fit`, then `sample` |
| a few deterministic steps with the teacher's laws | `tdm`, then `trajectory_report` |
| score identity distillation | `sid`; log `sid_bound` |
| several students, each for a part of the conditions | `partition_gain`, `msd`, `Routed` |
| the gradient alone, on NumPy or torch | `dmd_gradient`, `as_loss`, `sid_terms` |
| how many fake-score steps, and whether it will ring | `fake_steps`, `two_time_scale` |
| whether one fake score serves several exits | `exit_pooling` |
| what an importance weight leaves of a batch | `effective_fraction`, `weight_wall` |
| which noise levels lock a student on one mode | `mode_transition`, `reverse_kl_fit` |
| what a poor fake score or guidance does | `shifted_mean`, `collapse_kappa`, `largest_noise` |
| exact divergences of linear students | `linear_kl`, `fisher_divergence` |

Each method is a function that returns players for `train.fit`; a student is a network behind
`as_model`, a teacher any `Model`.
"""

from __future__ import annotations

from .adversary import Critic, critic_loss, generator_loss, ideal_gradient
from .affine_denoiser import AffineDenoiser, affine_denoiser
from .dmd import dmd
from .exit_pooling import Pooling, exit_gradients, exit_pooling, pooled_kl
from .greedy_steps import GreedySteps, greedy_steps, particle_kl
from .guided_target import guided_mean, guided_variance, largest_noise
from .huber import huber_scale, pseudo_huber
from .imperfect_fake import collapse_kappa, shifted_mean, shrunk_variance
from .importance import effective_fraction, importance_log_weight, weight_wall
from .intervals import interval_gradient, step_intervals, trajectory_target
from .levels import karras_levels, log_uniform_times
from .linear_world import LinearKL, fisher_divergence, kl_from_fisher, linear_kl
from .mode_seeking import GaussianFit, ModeTransition, mode_transition, reverse_kl_fit
from .msd import Routed, msd, teacher_score_matching, tsm_loss
from .normaliser import normalised_fixed_point
from .partition import (
    PartitionGain,
    by_precision,
    consecutive,
    equal_partitions,
    interleaved,
    partition_gain,
)
from .score_difference import dmd_gradient, score_difference
from .sid import SiDTerms, denoising_score, resetting, sid, sid_bound, sid_loss, sid_terms
from .sid_theory import minor_mass, protein_times, sid_basin, sid_slope
from .student import Exit, FewSteps, leave, sample
from .surrogate import as_loss
from .tdm import tdm, unified_steps
from .trajectories import GaussianTrajectory, exact_gain, gaussian_trajectory
from .trajectory_losses import min_snr
from .trajectory_report import TrajectoryReport, trajectory_report
from .two_time_scale import TwoTimeScale, fake_steps, monotone_step, two_time_scale
from .union import joint_kl, locked_kl, locked_l1, one_step_variance

__all__ = [
    "AffineDenoiser",
    "Critic",
    "Exit",
    "FewSteps",
    "GaussianFit",
    "GaussianTrajectory",
    "GreedySteps",
    "LinearKL",
    "ModeTransition",
    "PartitionGain",
    "Pooling",
    "Routed",
    "SiDTerms",
    "TrajectoryReport",
    "TwoTimeScale",
    "affine_denoiser",
    "as_loss",
    "by_precision",
    "collapse_kappa",
    "consecutive",
    "critic_loss",
    "denoising_score",
    "dmd",
    "dmd_gradient",
    "effective_fraction",
    "equal_partitions",
    "exact_gain",
    "exit_gradients",
    "exit_pooling",
    "fake_steps",
    "fisher_divergence",
    "gaussian_trajectory",
    "generator_loss",
    "greedy_steps",
    "guided_mean",
    "guided_variance",
    "huber_scale",
    "ideal_gradient",
    "importance_log_weight",
    "interleaved",
    "interval_gradient",
    "joint_kl",
    "karras_levels",
    "kl_from_fisher",
    "largest_noise",
    "leave",
    "linear_kl",
    "locked_kl",
    "locked_l1",
    "log_uniform_times",
    "min_snr",
    "minor_mass",
    "mode_transition",
    "monotone_step",
    "msd",
    "normalised_fixed_point",
    "one_step_variance",
    "particle_kl",
    "partition_gain",
    "pooled_kl",
    "protein_times",
    "pseudo_huber",
    "resetting",
    "reverse_kl_fit",
    "sample",
    "score_difference",
    "shifted_mean",
    "shrunk_variance",
    "sid",
    "sid_basin",
    "sid_bound",
    "sid_loss",
    "sid_slope",
    "sid_terms",
    "step_intervals",
    "tdm",
    "teacher_score_matching",
    "trajectory_report",
    "trajectory_target",
    "tsm_loss",
    "two_time_scale",
    "unified_steps",
    "weight_wall",
]
