"""The normal-inverse-Wishart law of a mean and a covariance: what a hierarchy knows of its tasks.

    Sigma ~ IW(V0, n0),   mu given Sigma ~ N(m0, Sigma / l0)

Its four parameters are a mean, how many observations the mean is worth, a sum of squares and how
many observations that is worth. With V0 (d,) it is a product of d one-dimensional laws, n0 each:
the form for networks, where n0 > d - 1 would be millions. What must not be confused: E Sigma^{-1} =
n0 V0^{-1} is not the inverse of E Sigma = V0 / (n0 - d - 1), nor of the joint mode's covariance
V0 / (n0 + d + 2); training uses the first as the prior of an episode, the paper's test the last.
Kim & Hospedales (arXiv 2306.09702), sheet `niwmeta`, "Setting".
"""

from __future__ import annotations

from dataclasses import dataclass

from ...arrays import Array, Rng, as_like, check_rng, namespace, standard_normal
from ...errors import fail, integer, number
from .. import _forms as forms
from .multigamma import log_multigamma, multidigamma
from .student import Student, chi_squared


@dataclass(frozen=True, eq=False)
class NIW:
    """NIW(m0, l0, V0, n0): m0 (d,), l0 > 0, V0 (d, d) with n0 > d - 1, or V0 (d,) with n0 > 0.

    Raises ValueError or TypeError by name, also where n0 is too small for the law to exist: a
    reference setting of n0 = 1 can only be meant for one coordinate at a time.

    >>> import numpy as np
    >>> law = NIW(np.zeros(2), 1.0, np.eye(2), 5.0)
    >>> law.precision().tolist(), law.covariance().tolist()
    ([[5.0, 0.0], [0.0, 5.0]], [[0.5, 0.0], [0.0, 0.5]])
    """

    m0: Array
    l0: float | int
    V0: Array
    n0: float | int

    def __post_init__(self) -> None:
        m0 = forms.vector("NIW", "m0", self.m0)
        object.__setattr__(self, "m0", m0)
        V0 = forms.positive("NIW", "V0", self.V0, m0.shape[0])
        object.__setattr__(self, "V0", V0)
        number("NIW", "l0", self.l0, 1e-300)
        number("NIW", "n0", self.n0, -1e300)
        if not self.n0 > self.block - 1:
            raise fail("NIW", "n0", f"above d - 1 = {self.block - 1}", self.n0)

    @property
    def d(self) -> int:
        """The number of parameters."""
        return self.m0.shape[0]

    @property
    def product(self) -> bool:
        """Whether it is a product of one-dimensional laws."""
        return forms.is_diagonal(self.V0)

    @property
    def block(self) -> int:
        """The dimension of each Wishart law in it: d, or 1 in a product."""
        return 1 if self.product else self.d

    def precision(self) -> Array:
        """E Sigma^{-1} = n0 V0^{-1}."""
        return self.n0 * forms.inverse(self.V0)

    def covariance(self) -> Array:
        """E Sigma = V0 / (n0 - d - 1); refused unless n0 > d + 1 (in a product: n0 > 2)."""
        if not self.n0 > self.block + 1:
            allowed = f"above d + 1 = {self.block + 1} for E Sigma to exist"
            raise fail("NIW.covariance", "n0", allowed, self.n0)
        return self.V0 / (self.n0 - self.block - 1)

    def mode_dof(self) -> float:
        """n0 + d + 2 (in a product: n0 + 3), by which the joint mode divides V0."""
        return self.n0 + self.block + 2

    def mode_covariance(self) -> Array:
        """Sigma at the joint mode of (mu, Sigma), V0 / (n0 + d + 2); mu is m0 there."""
        return self.V0 / self.mode_dof()

    def expected_logdet(self) -> Array:
        """E log |Sigma| = log |V0| - d log 2 - psi_d(n0 / 2)."""
        return forms.logdet(self.V0) - self.d * 0.6931471805599453 - self.psi()

    def psi(self) -> float:
        """psi_d(n0/2); in a product d psi(n0/2)."""
        return (self.d // self.block) * multidigamma(self.n0 / 2, self.block)

    def log_gamma(self) -> float:
        """log Gamma_d(n0/2); in a product d log Gamma(n0/2)."""
        return (self.d // self.block) * log_multigamma(self.n0 / 2, self.block)

    def predictive(self) -> Student:
        """The law of a new theta: t_{n0-d+1}(m0, V0 (1 + 1/l0) / (n0 - d + 1))."""
        dof = self.n0 - self.block + 1
        return Student(self.m0, self.V0 * ((1 + 1 / self.l0) / dof), dof)

    def sample(self, n: int, *, rng: Rng) -> tuple[Array, Array]:
        """n draws: mu (n, d) and Sigma (n, d, d), or (n, d) in a product. rng: either generator.

        Sigma = S B^{-T} B^{-1} S^T with S S^T = V0 and Bartlett's lower triangular B: chi_{n0 - i}
        on the diagonal, N(0, 1) below it.
        """
        integer("NIW.sample", "n", n, 0)
        check_rng("NIW.sample", rng)
        xp, S = namespace(self.m0), forms.factor(self.V0)
        z = standard_normal(rng, (n, self.d), self.m0)
        if self.product:
            Sigma = self.V0 / as_like(chi_squared(rng, self.n0, (n, self.d)), self.m0)
            return self.m0 + z * (Sigma / self.l0) ** 0.5, Sigma
        d, eye = self.d, as_like([[float(i == j) for j in range(self.d)] for i in range(self.d)], S)
        chi2 = [chi_squared(rng, self.n0 - i, (n, 1)) for i in range(d)]
        diagonal = xp.concat([as_like(c**0.5, S) for c in chi2], axis=-1)  # (n, d)
        B = xp.tril(standard_normal(rng, (n, d, d), S), k=-1) + diagonal[..., None] * eye
        # B B^T ~ W(I, n0), hence its inverse ~ IW(I, n0)
        root = S @ xp.matrix_transpose(xp.linalg.inv(B))  # (n, d, d)
        Sigma = root @ xp.matrix_transpose(root)
        return self.m0 + (root @ z[..., None])[..., 0] / self.l0**0.5, Sigma
