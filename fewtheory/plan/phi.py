"""The phi-functions phi_0(z) = e^z, phi_{k+1}(z) = (phi_k(z) - 1/k!) / z, without cancellation.

They are the moments of the exponential kernel, int_0^1 e^{(1-tau) z} tau^{k-1} / (k-1)! dtau, and
so the weights of every exponential integrator. Sheet `plan-algebra`.
"""

from __future__ import annotations

import math

TERMS = 40  # |z| < 3: 3^40 / 40! < 2e-29


def phi(k: int, z: float) -> float:
    """phi_k(z) for one real number z; phi_k(-inf) is its limit, 0 for k <= 1.

    >>> phi(1, 0.0), phi(2, 0.0)
    (1.0, 0.5)
    """
    if k == 0:
        return math.exp(z)
    if abs(z) < 3:  # above, the recurrence loses less than the series would
        return _series(k, z)
    value = math.exp(z)
    for j in range(k):
        value = (value - 1 / math.factorial(j)) / z
    return value


def _series(k: int, z: float) -> float:
    # Horner: sum_j z^j / (j + k)! = (1 + z/(k+1) (1 + z/(k+2) (...))) / k!
    total = 1.0
    for j in range(TERMS, 0, -1):
        total = 1 + z * total / (k + j)
    return total / math.factorial(k)


def kernel_moments(h: float, count: int, rate: float = -1.0) -> list[float]:
    """int_0^h e^{rate (h - tau)} tau^k / k! dtau = h^{k+1} phi_{k+1}(rate h), k = 0..count-1."""
    if math.isinf(h):  # only the zeroth moment has a limit, and only where the kernel decays
        return [-1 / rate] + [math.nan] * (count - 1)
    return [h ** (k + 1) * phi(k + 1, rate * h) for k in range(count)]
