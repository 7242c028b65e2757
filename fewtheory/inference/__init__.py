"""Inference with imperfect judges and biased answers: what can be known, and at what level.

| you have | you ask | start with |
| --- | --- | --- |
| answers yes and no | are they fair, memoryless coins? | `battery`, `bias` (a file of cells) |
| a question to be asked | how many answers does it take? | `battery_power` |
| a count | an interval that covers; fair enough? | `interval`, `equivalence_test` |
| a series with a memory | an interval of its rate that covers | `memory_limits` |
| one series | too many runs; memory of which order? | `runs_test`, `ladder`, `serial_test` |
| many answers a call | the spread of the counts | `dispersion_test`, `rate_over_calls` |
| the probabilities of all 2^L series | anything, exactly | `SeriesLaw`, `adapters.decisions` |
| a biased model | how to mend it | `temperature_needed`, `logit_bias`, `blum` |
| a verifier that errs | what do more tries buy; how many? | `resampling`, `flaws` (a file) |
| counts of right attempts | pass@k; how hard are tasks? | `pass_at_k`, `beta_fit` |
| programs and unit tests | what do the tests let pass? | `programs.survey`, `sandbox.run` |

`coins` is of sheet `binary-bias`, `verifiers` of `inference-flaws`.
"""

from __future__ import annotations

from .coins.battery import Battery, battery
from .coins.bias_report import BiasReport, bias, bias_report
from .coins.calls import count_test, dispersion_test, follows_probabilities, rate_over_calls
from .coins.decisions import Decisions, read_decisions
from .coins.ladder import (
    Ladder,
    cyclic_pairs_law,
    ladder,
    ladder_statistics,
    ladder_total,
    rung_noncentrality,
    rung_power,
)
from .coins.memory_limits import memory_limits
from .coins.multiplicity import benjamini_hochberg, equivalence_power, equivalence_test, holm
from .coins.power import BatteryPlan, battery_power, battery_rejects
from .coins.repair import (
    biased,
    blum,
    logit_bias,
    von_neumann,
    von_neumann_correlation,
    von_neumann_yield,
)
from .coins.runs import RunsTest, count_runs, runs_law, runs_moments, runs_test
from .coins.serial import (
    SerialTest,
    approximate_entropy,
    approximate_entropy_test,
    psi2,
    psi2_law,
    psi2_tail,
    serial_test,
)
from .coins.series import gram_counts
from .coins.series_law import SeriesLaw
from .coins.streaks import StreakRates, expected_share, streak_rates
from .coins.temperature import temperature_needed, tempered, tempered_variants
from .coins.uniformity import (
    binomial_p_values,
    binomial_test,
    coverage,
    interval,
    uniformity_power,
    uniformity_sample_size,
)
from .verifiers import programs, resampling, sandbox
from .verifiers.counts import Counts, record
from .verifiers.fits import beta_fit, dirichlet_fit, fit_law, histogram_fit
from .verifiers.flaws_report import FlawsReport, flaws, flaws_report
from .verifiers.intervals import Interval, Uncertainty, contrast_interval, probability_interval
from .verifiers.orderings import first_accept_estimates, pass_at_k
from .verifiers.quality import Quality, quality
from .verifiers.results import read_results

__all__ = [
    "Battery",
    "BatteryPlan",
    "BiasReport",
    "Counts",
    "Decisions",
    "FlawsReport",
    "Interval",
    "Ladder",
    "Quality",
    "RunsTest",
    "SerialTest",
    "SeriesLaw",
    "StreakRates",
    "Uncertainty",
    "approximate_entropy",
    "approximate_entropy_test",
    "battery",
    "battery_power",
    "battery_rejects",
    "benjamini_hochberg",
    "beta_fit",
    "bias",
    "bias_report",
    "biased",
    "binomial_p_values",
    "binomial_test",
    "blum",
    "contrast_interval",
    "count_runs",
    "count_test",
    "coverage",
    "cyclic_pairs_law",
    "dirichlet_fit",
    "dispersion_test",
    "equivalence_power",
    "equivalence_test",
    "expected_share",
    "first_accept_estimates",
    "fit_law",
    "flaws",
    "flaws_report",
    "follows_probabilities",
    "gram_counts",
    "histogram_fit",
    "holm",
    "interval",
    "ladder",
    "ladder_statistics",
    "ladder_total",
    "logit_bias",
    "memory_limits",
    "pass_at_k",
    "probability_interval",
    "programs",
    "psi2",
    "psi2_law",
    "psi2_tail",
    "quality",
    "rate_over_calls",
    "read_decisions",
    "read_results",
    "record",
    "resampling",
    "rung_noncentrality",
    "rung_power",
    "runs_law",
    "runs_moments",
    "runs_test",
    "sandbox",
    "serial_test",
    "streak_rates",
    "temperature_needed",
    "tempered",
    "tempered_variants",
    "uniformity_power",
    "uniformity_sample_size",
    "von_neumann",
    "von_neumann_correlation",
    "von_neumann_yield",
]
