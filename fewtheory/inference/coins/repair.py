"""Fair bits from unfair answers: a logit bias, von Neumann's pairs, Blum's exits.

A bias on the logit repairs the rate of one position and no memory. Von Neumann's pairs give exactly
fair bits even from a Markov coin, but neighbouring bits are then correlated, -rho / (2 + rho) at
whatever rate. Blum applies von Neumann to the exits of each state, in an order that makes the bits
independent. Sheet `binary-bias`, M8; claim C9.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import number
from ...shapes import Int
from ...testbeds.coins import MarkovCoin
from .series import flips
from .uniformity import open_share


def logit_bias(p: float | int, target: float | int = 0.5) -> float:
    """What to add to yes's logit (all its tokens) so that the rate p becomes `target`.

    logit target - logit p; exact for one position at temperature 1 (divide the logits first).

    >>> round(logit_bias(0.98), 4)
    -3.8918
    """
    p, q = open_share("logit_bias", "p", p), open_share("logit_bias", "target", target)
    return math.log(q) - math.log1p(-q) - math.log(p) + math.log1p(-p)


def biased(p: float | int, bias: float | int) -> float:
    """The rate after `bias` was added to yes's logit: p e^b / (p e^b + 1 - p).

    >>> biased(0.98, logit_bias(0.98)).__round__(12)
    0.5
    """
    from scipy.special import expit, logit

    p = open_share("biased", "p", p)
    return float(expit(logit(p) + number("biased", "bias", bias, -math.inf)))


def von_neumann(x: Any) -> Int[np.ndarray, "bits"]:
    """Pairs that do not overlap: 10 gives 1, 01 gives 0, equal answers nothing.

    >>> von_neumann([1, 0, 1, 1, 0, 1]).tolist()
    [1, 0]
    """
    one = flips("von_neumann", x)
    first, second = one[0 : one.size - 1 : 2], one[1::2]
    return first[first != second]


def von_neumann_yield(p: float | int, rho: float | int = 0.0) -> float:
    """Bits a flip from a Markov coin: p (1 - p)(1 - rho).

    >>> round(von_neumann_yield(0.7, -0.3), 12)
    0.273
    """
    coin = MarkovCoin(p, rho)
    return float(coin.p * (1 - coin.p) * (1 - coin.rho))


def von_neumann_correlation(rho: float | int) -> float:
    """The correlation of neighbouring output bits from a Markov coin: -rho / (2 + rho), any rate.

    >>> round(von_neumann_correlation(-0.3), 6)
    0.176471
    """
    rho = number("von_neumann_correlation", "rho", rho, -1.0, 1.0)
    return -rho / (2 + rho)


def blum(x: Any) -> Int[np.ndarray, "bits"]:
    """Independent fair bits from a Markov coin: von Neumann on the exits of each state.

    The exits of a state are the answers that follow it, taken in pairs; a pair's bit is given out
    when the state is next entered, not when its second exit is seen: the time of giving out then
    tells nothing of the bits. Source: Blum 1986.

    >>> blum([0, 1, 0, 0, 1, 1, 0, 1]).tolist()
    [1, 0]
    """
    one = flips("blum", x)
    exits: list[list[int]] = [[], []]
    out = []
    for here, following in zip(one[:-1].tolist(), one[1:].tolist(), strict=True):
        exits[here].append(following)
        if len(exits[following]) == 2:
            first, second = exits[following]
            exits[following] = []
            if first != second:
                out.append(first)
    return np.array(out, dtype=np.int8)
