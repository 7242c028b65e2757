"""What a guided teacher asks of a student: a mean further out, and a variance that may not exist.

Guidance s_u + w (s_c - s_u) of two Gaussians is, at each level, the score of a Gaussian of
precision 1/(v_u + rho^2) + w (1/(v_c + rho^2) - 1/(v_u + rho^2)). With equal covariances that is
the clean law with its mean moved, at every level the same. With unequal ones the clean variance
that it implies differs from level to level, tends to v_u + w (v_c - v_u) at high noise, and is
negative there once w > v_u / (v_u - v_c): no student matches it, and those levels push all variance
to zero. That is the loss of diversity under guided distillation, in closed form. Sheet `dmd-base`,
C8.
"""

from __future__ import annotations

import math

from ...errors import fail, number


def guided_mean(m_u: float | int, m_c: float | int, w: float | int) -> float:
    """m_u + w (m_c - m_u): the mean that a guided teacher of equal covariances asks for.

    >>> guided_mean(0.0, 1.0, 2.5)
    2.5
    """
    m_u = number("guided_mean", "m_u", m_u, -math.inf)
    m_c = number("guided_mean", "m_c", m_c, -math.inf)
    return m_u + number("guided_mean", "w", w, -math.inf) * (m_c - m_u)


def guided_variance(v_u: float | int, v_c: float | int, w: float | int, rho: float | int) -> float:
    """The clean variance that the guided score at noise rho (alpha = 1) implies; may be negative.

    The level's variance, 1 over the guided precision, less rho^2. v_u, v_c > 0: the variances
    without and with the condition. Infinite where the guided precision is zero or less: the score
    there belongs to no law. Raises ValueError by name.

    >>> [round(guided_variance(1.5, 0.5, 4.5, rho), 6) for rho in (0.2, 0.5, 1.0)]
    [0.125, 0.0, -0.375]
    """
    v_u, v_c, w = _arguments("guided_variance", v_u, v_c, w)
    noise = number("guided_variance", "rho", rho, 0.0) ** 2
    unconditional, conditional = 1 / (v_u + noise), 1 / (v_c + noise)
    precision = unconditional + w * (conditional - unconditional)
    return 1 / precision - noise if precision > 0 else math.inf


def largest_noise(v_u: float | int, v_c: float | int, w: float | int) -> float:
    """The noise rho up to which a guided teacher's clean variance is positive, or infinity.

    With x = rho^2 the variance is (v_u v_c + x (v_u + w (v_c - v_u))) / (v_c + w (v_u - v_c) + x),
    which is zero at x = -v_u v_c / (v_u + w (v_c - v_u)).

    >>> largest_noise(1.5, 0.5, 4.5), largest_noise(1.5, 0.5, 1.0)
    (0.5, inf)
    """
    v_u, v_c, w = _arguments("largest_noise", v_u, v_c, w)
    limit = v_u + w * (v_c - v_u)
    return math.sqrt(-v_u * v_c / limit) if limit < 0 else math.inf


def _arguments(where: str, v_u: float | int, v_c: float | int, w: float | int) -> tuple[float, ...]:
    for name, value in {"v_u": v_u, "v_c": v_c}.items():
        if not number(where, name, value, 0.0) > 0:
            raise fail(where, name, "above 0", value)
    return float(v_u), float(v_c), number(where, "w", w, -math.inf)
