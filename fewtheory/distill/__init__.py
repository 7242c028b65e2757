"""Distillation: a method's players, their losses, and what its theory says before a run.

| you want | take |
| --- | --- |
| DMD, DMD2, Diff-Instruct | `dmd`, then `train.fit`, then `sample` |
| a few deterministic steps with the teacher's laws | `tdm`, then `trajectory_report` |
| an expert a phase, fake scores above its end | `phases`, `phased_dmd`, `train_phases` |
| a loss a step, a pulled fake score, preferences | `flash_dmd`, `Preference` |
| score identity distillation | `sid`; log `sid_bound` |
| several students, each for a part of the conditions | `partition_gain`, `msd`, `Routed` |
| the gradient alone, on NumPy or torch | `dmd_gradient`, `as_loss`, `sid_terms` |
| how many fake-score steps, and whether it will ring | `fake_steps`, `two_time_scale` |
| whether one fake score serves several exits | `exit_pooling`, `two_exits` |
| how far preferences drift, and what holds them | `joint_optimum`, `preference_drift` |
| an unbiased target from samples at a level | `subinterval_target` |
| what an importance weight leaves of a batch | `effective_fraction`, `weight_wall` |
| which noise levels lock a student on one mode | `mode_transition`, `reverse_kl_fit` |
| what a poor fake score or guidance does | `shifted_mean`, `collapse_kappa`, `largest_noise` |
| exact divergences of linear students | `linear_kl`, `fisher_divergence` |

Each method is a function that returns players for `train.fit`; a student is a network behind
`as_model`, a teacher any `Model`. One file a method; `parts` holds what several are made of,
`theory` what can be known without a run.
"""

from __future__ import annotations

from .dmd import dmd
from .flash_dmd import back_simulated, by_step, flash_dmd, pulling
from .msd import Routed, msd, teacher_score_matching, tsm_loss
from .parts.adversary import Critic, critic_loss, generator_loss, ideal_gradient
from .parts.feature_critic import FeatureCritic
from .parts.huber import huber_scale, pseudo_huber
from .parts.importance import effective_fraction, importance_log_weight, weight_wall
from .parts.intervals import interval_gradient, interval_level, raised, trajectory_target
from .parts.levels import inner_levels, karras_levels, log_uniform_times
from .parts.preference import (
    Preference,
    best_and_worst,
    preference_loss,
    preference_margin,
    renoise_log_ratio,
)
from .parts.score_difference import dmd_gradient, score_difference
from .parts.step_levels import step_intervals
from .parts.student import Exit, FewSteps, leave, sample
from .parts.subinterval import (
    biased_loss,
    phase_weight,
    subinterval_coefficients,
    subinterval_loss,
    subinterval_target,
    subinterval_weight,
)
from .parts.surrogate import as_loss
from .parts.trajectory_losses import min_snr
from .phase_runs import sample_phases, train_phases
from .phased_dmd import Phase, phased_dmd, phases
from .sid import SiDTerms, denoising_score, resetting, sid, sid_bound, sid_loss, sid_terms
from .tdm import tdm, unified_steps
from .theory.affine_denoiser import AffineDenoiser, affine_denoiser
from .theory.exit_pooling import Pooling, exit_gradients, exit_pooling, pooled_kl
from .theory.exploration import candidate_spread, redrawn_share
from .theory.greedy_steps import GreedySteps, greedy_steps, particle_kl
from .theory.guided_target import guided_mean, guided_variance, largest_noise
from .theory.imperfect_fake import collapse_kappa, shifted_mean, shrunk_variance
from .theory.linear_world import LinearKL, fisher_divergence, kl_from_fisher, linear_kl
from .theory.mode_seeking import GaussianFit, ModeTransition, mode_transition, reverse_kl_fit
from .theory.normaliser import normalised_fixed_point
from .theory.partition import (
    PartitionGain,
    by_precision,
    consecutive,
    equal_partitions,
    interleaved,
    partition_gain,
)
from .theory.phases import (
    BiasedError,
    Carried,
    biased_error,
    biased_flow,
    carried,
    noised_kl,
    target_variance,
    unlocked_share,
)
from .theory.preferences import (
    drift_law,
    joint_optimum,
    preference_drift,
    preference_slope,
    preference_value,
    range_mean,
    soft_optimum,
)
from .theory.reward_matching import reward_guidance, reward_shift, tilted_shift
from .theory.score_identity import minor_mass, protein_times, sid_basin, sid_slope
from .theory.split_by_step import (
    SplitRun,
    joint_mean,
    largest_ema,
    low_offset,
    mean_pulls,
    split_bias,
    split_run,
)
from .theory.trajectories import GaussianTrajectory, exact_gain, gaussian_trajectory
from .theory.trajectory_report import TrajectoryReport, trajectory_report
from .theory.two_exits import TwoExits, two_exits
from .theory.two_time_scale import TwoTimeScale, fake_steps, monotone_step, two_time_scale
from .theory.union import joint_kl, locked_kl, locked_l1, one_step_variance

__all__ = [
    "AffineDenoiser",
    "BiasedError",
    "Carried",
    "Critic",
    "Exit",
    "FeatureCritic",
    "FewSteps",
    "GaussianFit",
    "GaussianTrajectory",
    "GreedySteps",
    "LinearKL",
    "ModeTransition",
    "PartitionGain",
    "Phase",
    "Pooling",
    "Preference",
    "Routed",
    "SiDTerms",
    "SplitRun",
    "TrajectoryReport",
    "TwoExits",
    "TwoTimeScale",
    "affine_denoiser",
    "as_loss",
    "back_simulated",
    "best_and_worst",
    "biased_error",
    "biased_flow",
    "biased_loss",
    "by_precision",
    "by_step",
    "candidate_spread",
    "carried",
    "collapse_kappa",
    "consecutive",
    "critic_loss",
    "denoising_score",
    "dmd",
    "dmd_gradient",
    "drift_law",
    "effective_fraction",
    "equal_partitions",
    "exact_gain",
    "exit_gradients",
    "exit_pooling",
    "fake_steps",
    "fisher_divergence",
    "flash_dmd",
    "gaussian_trajectory",
    "generator_loss",
    "greedy_steps",
    "guided_mean",
    "guided_variance",
    "huber_scale",
    "ideal_gradient",
    "importance_log_weight",
    "inner_levels",
    "interleaved",
    "interval_gradient",
    "interval_level",
    "joint_kl",
    "joint_mean",
    "joint_optimum",
    "karras_levels",
    "kl_from_fisher",
    "largest_ema",
    "largest_noise",
    "leave",
    "linear_kl",
    "locked_kl",
    "locked_l1",
    "log_uniform_times",
    "low_offset",
    "mean_pulls",
    "min_snr",
    "minor_mass",
    "mode_transition",
    "monotone_step",
    "msd",
    "noised_kl",
    "normalised_fixed_point",
    "one_step_variance",
    "particle_kl",
    "partition_gain",
    "phase_weight",
    "phased_dmd",
    "phases",
    "pooled_kl",
    "preference_drift",
    "preference_loss",
    "preference_margin",
    "preference_slope",
    "preference_value",
    "protein_times",
    "pseudo_huber",
    "pulling",
    "raised",
    "range_mean",
    "redrawn_share",
    "renoise_log_ratio",
    "resetting",
    "reverse_kl_fit",
    "reward_guidance",
    "reward_shift",
    "sample",
    "sample_phases",
    "score_difference",
    "shifted_mean",
    "shrunk_variance",
    "sid",
    "sid_basin",
    "sid_bound",
    "sid_loss",
    "sid_slope",
    "sid_terms",
    "soft_optimum",
    "split_bias",
    "split_run",
    "step_intervals",
    "subinterval_coefficients",
    "subinterval_loss",
    "subinterval_target",
    "subinterval_weight",
    "target_variance",
    "tdm",
    "teacher_score_matching",
    "tilted_shift",
    "train_phases",
    "trajectory_report",
    "trajectory_target",
    "tsm_loss",
    "two_exits",
    "two_time_scale",
    "unified_steps",
    "unlocked_share",
    "weight_wall",
]
