"""Student's t in d dimensions: what a normal-inverse-Wishart law predicts.

A Gaussian whose covariance is not known has heavy tails: with few degrees of freedom its variance,
and at last its mean, do not exist, and are refused here rather than returned as what some samples
happen to average to. Sheet `niwmeta`, M6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...arrays import Array, Rng, as_like, check_rng, namespace, standard_normal, to_numpy
from ...errors import fail, integer, number
from .. import _forms as forms


@dataclass(frozen=True, eq=False)
class Student:
    """t_dof(loc, scale): loc + scale^{1/2} z / sqrt(w), z ~ N(0, I), w ~ chi2_dof / dof.

    loc (d,); scale (d, d), one w for all coordinates, or (d,), one for each: a product of d laws.
    Raises ValueError for a scale that is not positive definite, or dof that is not positive.

    >>> import numpy as np
    >>> round(float(Student(np.zeros(2), np.eye(2), 7.0).log_prob(np.ones(2))), 4)
    -2.9688
    """

    loc: Array
    scale: Array
    dof: float | int

    def __post_init__(self) -> None:
        loc = forms.vector("Student", "loc", self.loc)
        object.__setattr__(self, "loc", loc)
        scale = forms.positive("Student", "scale", self.scale, loc.shape[0])
        object.__setattr__(self, "scale", scale)
        number("Student", "dof", self.dof, 1e-300)

    @property
    def d(self) -> int:
        """The dimension."""
        return self.loc.shape[0]

    def log_prob(self, x: Array) -> Array:
        """log density at x (..., d)."""
        xp, nu = namespace(self.loc), float(self.dof)
        x = _points("Student.log_prob", x, self.d)
        u = x - self.loc
        if forms.is_diagonal(self.scale):
            each = _log_constant(nu, 1) - 0.5 * xp.log(self.scale)
            return xp.sum(each - (nu + 1) / 2 * xp.log1p(u * u / (self.scale * nu)), axis=-1)
        distance = xp.sum((u @ forms.inverse(self.scale)) * u, axis=-1)
        constant = _log_constant(nu, self.d) - 0.5 * forms.logdet(self.scale)
        return constant - (nu + self.d) / 2 * xp.log1p(distance / nu)

    def mean(self) -> Array:
        """The mean, which exists for dof > 1; refused otherwise."""
        if not self.dof > 1:
            raise fail("Student.mean", "dof", "above 1 for a mean to exist", self.dof)
        return self.loc

    def covariance(self) -> Array:
        """scale dof / (dof - 2), which exists for dof > 2; refused otherwise."""
        if not self.dof > 2:
            raise fail("Student.covariance", "dof", "above 2 for a variance to exist", self.dof)
        return self.scale * (self.dof / (self.dof - 2))

    def sample(self, n: int, *, rng: Rng) -> Array:
        """n draws (n, d). rng: either generator; the chi-squared ones are drawn on the host."""
        integer("Student.sample", "n", n, 0)
        check_rng("Student.sample", rng)
        z = standard_normal(rng, (n, self.d), self.loc)
        product = forms.is_diagonal(self.scale)
        w = chi_squared(rng, self.dof, (n, self.d if product else 1)) / self.dof
        S = forms.factor(self.scale)
        moved = z * S if product else z @ S.T
        return self.loc + moved / as_like(w**0.5, self.loc)


def chi_squared(rng: Rng, dof: float | int, shape: tuple[int, ...]) -> Array:
    """chi2_dof draws as float64 NumPy; a torch generator seeds a NumPy one."""
    return host_generator(rng).chisquare(dof, shape)


def host_generator(rng: Rng) -> Rng:
    """A NumPy generator: this one, or one seeded by a torch generator's next number."""
    import numpy as np

    if isinstance(rng, np.random.Generator):
        return rng
    import torch

    drawn = torch.randint(2**62, (), generator=rng, device=rng.device)
    return np.random.default_rng(int(to_numpy(drawn)))


def _log_constant(nu: float, d: int) -> float:
    a, b = math.lgamma((nu + d) / 2), math.lgamma(nu / 2)
    return a - b - d / 2 * math.log(nu * math.pi)


def _points(where: str, x: Array, d: int) -> Array:
    x = forms.floating(where, "x", x)
    if len(x.shape) < 1 or x.shape[-1] != d:
        raise fail(where, "x", f"of shape (..., {d})", tuple(x.shape))
    return x
