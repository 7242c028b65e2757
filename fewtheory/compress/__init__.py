"""Making a trained network cheaper.

| file | what |
| --- | --- |
| `blocks` | leaving blocks of a torch network out |
| `bussgang` | a quantiser as a gain and noise: closed forms |
| `pruning` | choosing the blocks to leave out |
| `quantise` | fake quantisation of any network, integer storage, torchao |
"""

from __future__ import annotations

from .blocks import Skipping
from .bussgang import (
    Clipping,
    MidTread,
    broken_quadrature,
    bussgang_gain,
    bussgang_split,
    optimal_pair,
    step_mse,
)
from .pruning import BlockProbe, probe_blocks
from .quantise import FakeQuantised, fake_quantise, fake_quantised, stored, with_torchao

__all__ = [
    "BlockProbe",
    "Clipping",
    "FakeQuantised",
    "MidTread",
    "Skipping",
    "broken_quadrature",
    "bussgang_gain",
    "bussgang_split",
    "fake_quantise",
    "fake_quantised",
    "optimal_pair",
    "probe_blocks",
    "step_mse",
    "stored",
    "with_torchao",
]
