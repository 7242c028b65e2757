"""The torch half of what suites share: the networks of training claims. Not a suite."""

from __future__ import annotations

import torch


class Line(torch.nn.Module):
    """x0hat = gain x + shift in each coordinate, a run of its own: a student, or a fake score."""

    def __init__(self, runs: int, gain: float, shift: float) -> None:
        super().__init__()
        start = torch.ones(runs, dtype=torch.float64)
        self.gain, self.shift = (torch.nn.Parameter(v * start) for v in (gain, shift))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gain * x + self.shift
