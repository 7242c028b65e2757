"""Choosing a plan. `gradient`: descent on the exact law of its output."""

from __future__ import annotations

from .gradient import FitResult, fit_to_law, refit_last_row

__all__ = ["FitResult", "fit_to_law", "refit_last_row"]
