"""Choosing a plan: one way to call every search, `run(space, objective, budget=, seed=)`.

| method | asks for | take it when |
| --- | --- | --- |
| `exhaustive` | every candidate | the space is small: it is the optimum |
| `bellman` | nothing: the objective is a sum over steps | local errors are what counts |
| `evolution` | mutants and children of the best | evaluations are cheap (hundreds) |
| `predictor` | what a fit to the values so far proposes | evaluations are dear (tens) |
| `tournament` | one child of the best at a time | schedules of several costs compete at once |
| `coordinate` | all changes of one choice | the objective is smooth in each choice |
| `gradient` | descent on the exact law of the output | data are Gaussian |
| `random` | random candidates | as the control |
"""

from __future__ import annotations

from .boss import (
    StepCosts,
    bellman,
    bellman_steps,
    error_bound,
    euler_costs,
    gaussian_costs,
    shortest_path,
    teacher_trajectory,
)
from .driver import METHODS, run
from .evolution import evolution
from .gradient import Coefficients, LawDistance, fit_to_law, gradient, refit_last_row
from .jacobians import flow_jacobians
from .layers import Layered, LayeredSteps
from .ledger import SearchResult, Trial
from .predictor import best_of_each, predictor, tournament
from .qsched import JAQ, CoefficientGrid, Rated, Tuned, selection_regret, tune_coefficients
from .simple import coordinate, exhaustive, random
from .timesteps import TimeSteps, even_times

__all__ = [
    "JAQ",
    "METHODS",
    "CoefficientGrid",
    "Coefficients",
    "LawDistance",
    "Layered",
    "LayeredSteps",
    "Rated",
    "SearchResult",
    "StepCosts",
    "TimeSteps",
    "Trial",
    "Tuned",
    "bellman",
    "bellman_steps",
    "best_of_each",
    "coordinate",
    "error_bound",
    "euler_costs",
    "even_times",
    "evolution",
    "exhaustive",
    "fit_to_law",
    "flow_jacobians",
    "gaussian_costs",
    "gradient",
    "predictor",
    "random",
    "refit_last_row",
    "run",
    "selection_regret",
    "shortest_path",
    "teacher_trajectory",
    "tournament",
    "tune_coefficients",
]
