"""The zoo: small networks trained here, on digits and on testbeds whose truth is known.

    entry = ft.zoo.load("digits-unet")
    entry.network                   # a torch module
    entry.model                     # the same as a Model: any plan runs on it
    entry.card                      # what was measured of it

`python -m fewtheory.zoo` lists them; with `train NAME` it trains one again, with `check NAME` it
compares that with the card.
"""

from __future__ import annotations

from . import data, networks, recipes
from .data import digits
from .entry import Entry, load, names, train

__all__ = ["Entry", "data", "digits", "load", "names", "networks", "recipes", "train"]
