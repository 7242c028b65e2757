"""Students side by side: the joint divergence, and what a student locked on modes loses.

A router of probabilities pi' sends to expert k; the teacher has probabilities pi and laws p_k. By
the chain rule KL(joint) = KL(pi' || pi) + sum_k pi'_k KL(q_k || p_k), at least KL of the marginals.
A Gaussian student of n equal modes, far apart, sits on one: KL = log n and an L1 distance of 2 (1 -
1/n), so K students of n / K modes each have log (n / K). A denoiser used as a student of one step
has too little variance, c^4 sigma^2 / (c^2 + sigma^2)^2 <= c^2 / 4, whatever the level. Sheet
`msd`, C5, C6, C8 (ours)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import fail, finite_array, integer, number


def joint_kl(router: Any, prior: Any, divergences: Any) -> float:
    """KL(pi' || pi) + sum_k pi'_k KL_k, with the router's own probabilities pi'; all (K,).

    >>> joint_kl([0.5, 0.5], [0.5, 0.5], [1.0, 3.0])
    2.0
    """
    q, p = (finite_array("joint_kl", n, v) for n, v in (("router", router), ("prior", prior)))
    kl = finite_array("joint_kl", "divergences", divergences)
    for name, value in {"router": q, "prior": p}.items():
        if value.ndim != 1 or value.min() <= 0 or abs(value.sum() - 1) > 1e-9:
            raise fail("joint_kl", name, "(K,), positive, of sum 1", value)
    if not q.shape == p.shape == kl.shape or kl.min() < 0:
        raise fail("joint_kl", "divergences", f"not negative, of shape {q.shape}", divergences)
    return float((q * np.log(q / p)).sum() + (q * kl).sum())


def locked_kl(modes: int, students: int = 1) -> float:
    """log(n / K): reverse KL of K students, each locked on one of its n / K equal modes.

    >>> round(locked_kl(8, 2), 6)
    1.386294
    """
    n = integer("locked_kl", "modes", modes, 1)
    K = integer("locked_kl", "students", students, 1, n)
    if n % K:
        raise fail("locked_kl", "students", f"a divisor of {n}", students)
    return math.log(n // K)


def locked_l1(modes: int, students: int = 1) -> float:
    """2 (1 - K/n): the L1 distance of those students to their teacher.

    >>> locked_l1(8, 2)
    1.5
    """
    locked_kl(modes, students)
    return 2 * (1 - students / modes)


def one_step_variance(c: float | int, sigma: float | int) -> float:
    """c^4 sigma^2 / (c^2 + sigma^2)^2: a denoiser as a one-step student of pure noise sigma z.

    c: the teacher's std. At most c^2 / 4, reached at sigma = c: why a student starts inside the
    basin, and why an intermediate level starts it better than the top one.

    >>> one_step_variance(0.5, 0.5)
    0.0625
    """
    c, s = (
        number("one_step_variance", "c", c, 0.0),
        number("one_step_variance", "sigma", sigma, 0.0),
    )
    if c == 0 or s == 0:
        raise fail("one_step_variance", "c", "above 0, and sigma too", (c, s))
    return (c * c * s / (c * c + s * s)) ** 2
