"""Making a trained network cheaper. `blocks`: leaving blocks of a torch network out."""

from __future__ import annotations

from .blocks import Skipping

__all__ = ["Skipping"]
