"""Weighted least squares with DPPs and volume sampling (arXiv 2312.14057), claim by claim.

Sheet `dpp-wls`. On a few atoms every law is a finite sum, so determinants, biases, errors and
stability are enumerated; in one variable a projection DPP has known linear statistics and gap
probabilities, which its samplers are held to.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from fewtheory.subsets.points import designs, volume
from fewtheory.subsets.points import dpp as chain
from fewtheory.subsets.points import ensembles as models
from fewtheory.subsets.points.designs import Sample, sample, stable
from fewtheory.subsets.points.dpp import dpp_density, expected_proposals, projection_dpp
from fewtheory.subsets.points.ensembles import (
    fourier_ensemble,
    hermite_ensemble,
    jacobi_ensemble,
    largest_probability,
    pair_moment,
    sum_variance,
)
from fewtheory.subsets.points.guarantees import (
    expected_draws,
    expected_inverse,
    expected_noise_error,
    expected_noise_vector,
    noise_overlap,
    points_for_stability,
    quasi_optimality,
    stability_probability,
    stability_rate,
)
from fewtheory.subsets.points.kernels import (
    kernel_space,
    natural_reference,
    residual_diagonal,
    sobolev_kernel,
)
from fewtheory.subsets.points.least_squares import error_terms, wls
from fewtheory.subsets.points.reference import Reference, reference
from fewtheory.subsets.points.spaces import FeatureSpace, PolySpace, christoffel
from fewtheory.subsets.points.volume import (
    gram_adjugate_mean,
    gram_determinant_mean,
    removal_probabilities,
    reverse_removal,
    volume_density,
    volume_marginal,
    volume_sample,
)
from fewtheory.verify import (
    bound,
    claim,
    identity,
    law,
    sabotage,
    sequential_p,
    sprt,
    wrong,
)
from fewtheory.verify.power import LEVEL, samples_for_mean

# worlds


@cache
def atoms() -> tuple[FeatureSpace, np.ndarray, np.ndarray]:
    """Six atoms with unequal mu, m = 2; an arbitrary nu; a response outside V."""
    rng = np.random.default_rng(5)
    mu, nu = rng.dirichlet(np.full(6, 3.0)), rng.dirichlet(np.full(6, 3.0))
    space = FeatureSpace(rng.standard_normal((6, 2)), mu)
    return space, nu, rng.standard_normal(6)


def references(space: FeatureSpace, arbitrary: np.ndarray) -> dict[str, tuple[np.ndarray, Any]]:
    """Probabilities of the atoms, and the law: mu, nu_m, an arbitrary one."""
    nus = {"mu": space.weights, "optimal": space.leverage / space.m, "arbitrary": arbitrary}
    out = {}
    for name, nu in nus.items():
        weight = np.divide(space.weights, nu)
        own = Reference(
            name,
            lambda n, rng, nu=nu: rng.choice(nu.size, size=n, p=nu),
            lambda x, weight=weight: weight[x],
        )
        out[name] = (nu, own)
    return out


def multisets(N: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """All samples of n of N atoms up to order, (S, n), and how many orders each has."""
    found = np.array(list(itertools.combinations_with_replacement(range(N), n)))
    orders = [
        math.factorial(n) / math.prod(math.factorial(c) for c in Counter(row).values())
        for row in found.tolist()
    ]
    return found, np.array(orders)


@cache
def headline() -> tuple[FeatureSpace, np.ndarray]:
    """C9: eight equispaced atoms on [-1, 1], affine V, f = exp(1.5 t)."""
    t = np.linspace(-1, 1, 8)
    return FeatureSpace(np.stack([np.ones(8), t], axis=1)), np.exp(1.5 * t)


def drop(space: FeatureSpace, f: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(coefficients of Pf, g = f - Pf, |g|^2) on the atoms."""
    c = space.rows.T @ (space.weights * f)
    g = f - space.rows @ c
    return c, g, float(space.weights @ (g * g))


@cache
def laws_of_four() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """C9's samples of four atoms up to order, and their probabilities under each law."""
    space, _ = headline()
    x, orders = multisets(8, 4)
    nu, phi = space.leverage / 2, space.rows
    weight = 2 / christoffel(space, np.arange(8))
    iid = orders * nu[x].prod(axis=1)
    gamma = iid * volume_density(phi[x], weight[x])
    pairs = np.array(list(itertools.combinations(range(8), 2)))
    p = 2 * dpp_density(phi[pairs]) / 64  # unordered, mu = 1/8 each
    twice: dict[tuple[int, ...], float] = defaultdict(float)
    for (a, pa), (b, pb) in itertools.product(zip(pairs.tolist(), p, strict=True), repeat=2):
        twice[tuple(sorted([*a, *b]))] += pa * pb
    repeated = np.array([twice[tuple(row)] for row in x.tolist()])
    return x, {"iid": iid, "volume": gamma, "repeated_dpp": repeated}


def given(space: Any, x: np.ndarray, weight: np.ndarray) -> Sample:
    """These points as a sample."""
    index = x if space.finite else None
    return Sample(x, index, weight, math.nan, 1, "given")


def rounded(found, value, unit, what=""):
    """Evidence of an identity with a known value, to half a unit of its last digit."""
    return identity(found, value, operations=1, eps=unit / 2, scale=1.0, what=what)


# C1: determinants


@claim("C1a", kind="identity", of=gram_determinant_mean, saboteurs=[
    sabotage(gram_determinant_mean, "math.perm(n, m)", "n**m", "without the falling factorial"),
])  # fmt: skip
def determinants_have_known_means(mean):
    """E_nu det(sum u u^T) = n! / (n - m)! for mu, nu_m and an arbitrary nu on six atoms, m = 2,
    n = 2, 3, 4."""
    yield from expectations(mean, lambda G: np.linalg.det(G))


@claim("C1b", kind="identity", of=gram_adjugate_mean, saboteurs=[
    sabotage(gram_adjugate_mean, "math.perm(n, m - 1)", "math.perm(n, m)", "(n-m)! for (n-m+1)!"),
])  # fmt: skip
def adjugates_have_known_means(mean):
    """E_nu adj(sum u u^T) = n! / (n - m + 1)! I in the same worlds."""
    yield from expectations(lambda n, m: mean(n, m) * np.eye(m), adjugate)


def adjugate(G):
    """The adjugate of 2 x 2 matrices, also singular ones."""
    return np.trace(G, axis1=-2, axis2=-1)[..., None, None] * np.eye(2) - G


def expectations(expected, function):
    """Evidence that E_nu function(sum u u^T) is what is expected, for three nu and n = 2, 3, 4."""
    space, arbitrary, _ = atoms()
    for name, (nu, own) in references(space, arbitrary).items():
        u = np.sqrt(own.weight(np.arange(6)))[:, None] * space.rows
        for n in (2, 3, 4):
            x, orders = multisets(6, n)
            values = function(np.einsum("sni,snj->sij", u[x], u[x]))
            p = orders * nu[x].prod(axis=1)
            yield identity(
                np.tensordot(p, values, 1),
                expected(n, 2),
                operations=32 * n,
                scale=np.abs(values).max(),
                what=f"{name}, n = {n}",
            )


UNWEIGHTED = sabotage(volume_density, "w * phi", "phi", "w is missing though nu is not mu")
POWER = sabotage(
    volume_density, "math.perm(n, m)", "n**m", "n^m for n!/(n-m)!", inside=gram_determinant_mean
)


@claim("C1c", kind="identity", of=volume_density, saboteurs=[UNWEIGHTED, POWER])
def the_volume_law_is_a_probability(density):
    """(n-m)! n^m / n! det(G) d nu^n has mass 1 for every nu."""
    space, arbitrary, _ = atoms()
    for name, (nu, own) in references(space, arbitrary).items():
        weight = own.weight(np.arange(6))
        for n in (2, 3, 4):
            x, orders = multisets(6, n)
            p = orders * nu[x].prod(axis=1) * density(space.rows[x], weight[x])
            yield identity(p.sum(), 1.0, operations=64 * n, what=f"{name}, n = {n}")


# C2: marginals


@claim("C2a", kind="identity", of=volume_marginal, saboteurs=[
    wrong(lambda optimal, nu, n, m: nu, "every point has law nu"),
    sabotage(volume_marginal, "(m / n) * optimal", "(m / n) * nu", "the DPP part is left out"),
])  # fmt: skip
def points_of_the_volume_law_are_a_mixture(marginal):
    """Each point of gamma_n has law (m/n) nu_m + (1 - m/n) nu, for mu, nu_m and an arbitrary nu."""
    space, arbitrary, _ = atoms()
    for name, (nu, own) in references(space, arbitrary).items():
        weight = own.weight(np.arange(6))
        for n in (2, 3, 4):
            x, orders = multisets(6, n)
            p = orders * nu[x].prod(axis=1) * volume_density(space.rows[x], weight[x])
            share = np.stack([(p * (x == i).mean(axis=1)).sum() for i in range(6)])
            known = marginal(space.leverage / 2, nu, n, 2)
            yield identity(share, known, operations=64 * n, scale=1.0, what=f"{name}, n = {n}")


@claim("C2b", kind="law", of=volume_sample, saboteurs=[
    sabotage(volume_sample, "rng.permutation(np.concatenate([repelled, independent]))",
             "np.concatenate([repelled, independent])", "no shuffle: the first point is nu_m"),
    sabotage(volume_sample, "law.draw(n - space.m, rng)",
             "space.draw_optimal(n - space.m, rng=rng)", "the other points are of nu_m"),
    wrong(lambda space, n, nu, rng: nu.draw(n, rng), "independent points of nu"),
])  # fmt: skip
def the_sampler_has_that_law(sampler, rng):
    """The first point of the sampler has that law, and the three points together have density
    det(G)."""
    space, arbitrary, _ = atoms()
    nu, own = references(space, arbitrary)["arbitrary"]
    weight = own.weight(np.arange(6))
    x, orders = multisets(6, 3)
    joint = orders * nu[x].prod(axis=1) * volume_density(space.rows[x], weight[x])
    first = volume_marginal(space.leverage / 2, nu, 3, 2)
    # a wrong law is 4% away in chi-square or more: 3000 draws shift it by 120, of some 55 +- 10
    place = {tuple(row): i for i, row in enumerate(x.tolist())}

    def pvalues(n):
        drawn = np.stack([sampler(space, 3, nu=own, rng=rng) for _ in range(n)])
        cells = [place[tuple(row)] for row in np.sort(drawn, axis=1).tolist()]
        return [
            chi_square(np.bincount(drawn[:, 0], minlength=6), first),
            chi_square(np.bincount(cells, minlength=joint.size), joint),
        ]

    return sequential_p(pvalues, samples=3000)


def chi_square(counts, p):
    """The p-value of counts under p; cells that expect under five are one."""
    from scipy.stats import chisquare

    expected = p / p.sum() * counts.sum()
    small = expected < 5
    if small.any():
        counts = np.append(counts[~small], counts[small].sum())
        expected = np.append(expected[~small], expected[small].sum())
        if expected[-1] < 5:  # a cell of probability next to nothing: with the one before
            counts = np.append(counts[:-2], counts[-2:].sum())
            expected = np.append(expected[:-2], expected[-2:].sum())
    return float(chisquare(counts, expected).pvalue)


# C3: bias


def enumerated_fits(space, x, weight, f, solver):
    """(S, m) coefficients of the fit on each sample, zero where the fit is not determined."""
    out = np.zeros((len(x), space.m))
    for k, row in enumerate(x):
        if len(set(row.tolist())) >= space.m:
            out[k] = solver(space, given(space, row, weight[row]), f[row]).coef
    return out


def without_weights(space, sample, y):
    """Weights 1 in place of w."""
    return wls(space, replace(sample, weight=np.ones(sample.n)), y)


def dpp_points_alone(space, sample, y):
    """The n - m extra points have weight 0."""
    w = np.where(np.arange(sample.n) < space.m, sample.weight, 1e-12)
    return wls(space, replace(sample, weight=w), y)


@claim("C3a", kind="identity", of=wls, saboteurs=[
    without_weights,
    sabotage(wls, "np.sqrt(w)", "w", "the rows are multiplied by w, not its root"),
])  # fmt: skip
def volume_fits_are_unbiased(solver):
    """Under the volume law E fhat = Pf, for every nu, n = 2, 3, 4."""
    space, arbitrary, f = atoms()
    c, _, _ = drop(space, f)
    for name, (nu, own) in references(space, arbitrary).items():
        weight = own.weight(np.arange(6))
        for n in (2, 3, 4):
            x, orders = multisets(6, n)
            p = orders * nu[x].prod(axis=1) * volume_density(space.rows[x], weight[x])
            fits = enumerated_fits(space, x, weight, f, solver)
            # where a fit is large the density is small: det(G) cancels what 1 / det(G) amplifies
            terms = p[:, None] * np.abs(fits)
            size = max(1.0, terms.max() * np.abs(fits).max())
            yield identity(p @ fits, c, operations=256, scale=size, what=f"{name}, n = {n}")


@claim("C3b", kind="identity", of=wls, saboteurs=[
    without_weights,
    dpp_points_alone,
])  # fmt: skip
def the_other_laws_are_biased(solver):
    """In the world of C9 the volume law's bias is 0, and .0201 (largest coefficient) once it is
    conditioned on stability; repeated DPPs have .0285."""
    space, f = headline()
    c, _, _ = drop(space, f)
    x, p = laws_of_four()
    weight = 2 / christoffel(space, np.arange(8))
    fits = enumerated_fits(space, x, weight, f, solver)
    steady = stable_ones(space, x, weight)
    bias = {name: np.abs(q @ fits - c).max() for name, q in p.items()}
    after = p["volume"] * steady
    yield identity(bias["volume"], 0.0, operations=512, scale=np.abs(fits).max(), what="volume law")
    yield rounded(np.abs(after @ fits / after.sum() - c).max(), 0.0201, 1e-4, "volume, stable")
    yield rounded(bias["repeated_dpp"], 0.0285, 1e-4, "repeated DPP")


@claim("C3c", kind="bound", of=wls, saboteurs=[
    wrong(lambda space, s, y: wls(space, s, space.rows[s.x] @ drop(space, atoms()[2])[0]),
          "a response that lies in V, so nothing is biased"),
])  # fmt: skip
def independent_points_are_biased(solver):
    """Independent points, given a fit, are biased in the same worlds: by .02 or more for one nu at
    n = 4, where the volume law's bias is a rounding."""
    space, arbitrary, f = atoms()
    c, _, _ = drop(space, f)
    worst = []
    for nu, own in references(space, arbitrary).values():
        weight, (x, orders) = own.weight(np.arange(6)), multisets(6, 4)
        p = orders * nu[x].prod(axis=1)
        p = np.where([len(set(row)) >= 2 for row in x.tolist()], p, 0.0)
        fits = enumerated_fits(space, x, weight, f, solver)
        worst.append(np.abs(p @ fits / p.sum() - c).max())
    return bound(max(worst), 0.02, side="at least", what="largest coefficient")


# C4: the inverse Gram matrix


@claim("C4a", kind="bound", of=expected_inverse, saboteurs=[
    sabotage(expected_inverse, "n / (n - m + 1)", "n / (n - m + 2)", "an index off by one"),
    wrong(lambda n, m: 1.0, "G^{-1} is I on average, as G is"),
])  # fmt: skip
def the_inverse_is_bounded_with_atoms(factor):
    """n / (n-m+1) I - E G^{-1} is positive semidefinite under the volume law on atoms, where some
    samples have rank m - 1; with m = 1 none has, and it is zero."""
    space, arbitrary, _ = atoms()
    one = FeatureSpace(space.A[:, :1], space.weights)
    for V, m in ((space, 2), (one, 1)):
        for name, (nu, own) in references(V, arbitrary).items():
            weight = own.weight(np.arange(6))
            for n in (2, 3, 4):
                x, orders = multisets(6, n)
                phi, w = V.rows[x], weight[x]
                p = orders * nu[x].prod(axis=1) * volume_density(phi, w)
                G = np.einsum("sni,sn,snj->sij", phi, w, phi) / n
                full = np.linalg.matrix_rank(G) == m
                mean = np.tensordot(p[full], np.linalg.inv(G[full]), 1)
                low = float(np.linalg.eigvalsh(factor(n, m) * np.eye(m) - mean)[0])
                yield bound(low, 0.0, side="at least", what=f"m = {m}, {name}, n = {n}")
                if m == 1:
                    yield bound(low, 0.0, what=f"m = 1 is attained, {name}, n = {n}")


@claim("C4b", kind="identity", of=expected_inverse, saboteurs=[
    sabotage(expected_inverse, "n / (n - m + 1)", "n / (n - m)", "n - m for n - m + 1"),
])  # fmt: skip
def the_inverse_without_atoms(factor):
    """Without atoms E G^{-1} = n / (n-m+1) I: 1.5 I for Legendre, m = 3, n = 6, by quadrature of
    the adjugate, a polynomial of degree 4 in each point."""
    mean, scale = mean_inverse()
    yield identity(mean, factor(6, 3) * np.eye(3), operations=128, scale=scale, what="quadrature")
    yield identity(factor(6, 3), 1.5, operations=1, what="1.5")


def mean_inverse():
    """(E G^{-1} under the volume law over mu, the largest term), Legendre, m = 3, n = 6."""
    nodes, weights = np.polynomial.legendre.leggauss(3)
    phi = PolySpace("legendre", 2).features(nodes)
    x, orders = multisets(3, 6)
    S = np.einsum("sni,snj->sij", phi[x], phi[x])
    # adj(S) = S^2 - tr(S) S + (tr(S)^2 - tr(S^2)) / 2 I for 3 x 3, by Cayley and Hamilton
    tr, square = np.trace(S, axis1=1, axis2=2)[:, None, None], S @ S
    both = np.trace(square, axis1=1, axis2=2)[:, None, None]
    adj = square - tr * S + (tr**2 - both) / 2 * np.eye(3)
    p = orders * (weights[x] / 2).prod(axis=1)
    # det(G) G^{-1} (n-m)! n^m / n! = n adj(S) / (n! / (n-m)!)
    factor = 6 / gram_determinant_mean(6, 3)
    return factor * np.tensordot(p, adj, 1), factor * np.abs(square).max()


@claim("C4c", kind="law", of=volume_sample, saboteurs=[
    wrong(lambda space, n, *, nu, rng: space.draw(n, rng=rng), "independent points of mu"),
])  # fmt: skip
def sampled_inverses(sampler, rng):
    """Samples of the volume law over mu, Legendre m = 3, n = 6: the mean of w^T G^{-1} w is 1.5 for
    unit w, tested on bounded functionals that the density implies: E det(G)^{-1} = n! / ((n-m)!
    n^m)^{-1}, so E min(1, a / det G) is a sum over independent points."""
    V = PolySpace("legendre", 2)
    n = 4000
    own = determinants(V, np.stack([sampler(V, 6, nu="mu", rng=rng) for _ in range(n)]))
    other = determinants(V, V.draw(40 * n * 6, rng=rng).reshape(-1, 6))
    # E_gamma h(det G) = c E_mu det(G) h(det G), c = (n-m)! n^m / n!; h = min(1, 1 / det)
    c = 6**3 / gram_determinant_mean(6, 3)
    a, b = np.minimum(1.0, 1 / own), c * np.minimum(other, 1.0)
    error = math.sqrt(a.var() / a.size + b.var() / b.size)
    return law((a.mean() - b.mean()) / error, n=n, what="E min(1, 1 / det G)")


def determinants(V, x):
    """det G of samples (S, n) with weights 1."""
    phi = V.features(x.reshape(-1)).reshape(*x.shape, V.m)
    return np.linalg.det(np.einsum("sni,snj->sij", phi, phi) / x.shape[1])


@claim("C4d", kind="identity", of=expected_noise_error, saboteurs=[
    sabotage(expected_noise_error, "variance * m * expected_inverse(n, m) / n",
             "variance * m / n", "the noise error of an ideal design"),
])  # fmt: skip
def noise_under_the_volume_law(error):
    """Noise of variance s^2 / w adds s^2 m / (n-m+1) where no sample lacks rank: s^2 tr(E G^{-1}) /
    n, Legendre, m = 3, n = 6; and the mean over samples of the fit's own, m = 1, n = 2, 3, 4."""
    mean, scale = mean_inverse()
    value = 2.0 * np.trace(mean) / 6
    yield identity(error(6, 3, 2.0), value, operations=128, scale=scale, what="Legendre")
    space, arbitrary, f = atoms()
    one = FeatureSpace(space.A[:, :1], space.weights)
    for name, (nu, own) in references(one, arbitrary).items():
        weight = own.weight(np.arange(6))
        for n in (2, 3, 4):
            x, orders = multisets(6, n)
            p = orders * nu[x].prod(axis=1) * volume_density(one.rows[x], weight[x])
            each = [wls(one, given(one, row, weight[row]), f[row]).noise_error(2.0) for row in x]
            size = max(each)
            yield identity(
                p @ each, error(n, 1, 2.0), operations=256, scale=size, what=f"{name}, n = {n}"
            )


# C5: interpolation


DENSITY = [
    sabotage(dpp_density, "det**2", "abs(det)", "the determinant instead of its square"),
    sabotage(dpp_density, "math.factorial(phi.shape[-1])", "1", "ordered points counted as sets"),
    wrong(lambda phi: np.ones(phi.shape[:-2]), "independent points of mu"),
]


@claim("C5a", kind="identity", of=dpp_density, saboteurs=DENSITY)
def interpolation_costs_m_plus_one(density):
    """Interpolation at the projection DPP: E |f - If|^2 = (m+1) |f - Pf|^2; Legendre, f = exp,
    m = 1, 2, 3: 2, 3, 4 by tensor quadrature."""
    for m in (1, 2, 3):
        V = PolySpace("legendre", m - 1)
        rules = [np.polynomial.legendre.leggauss(14 + k) for k in range(m)]  # no node twice
        x = np.stack(np.meshgrid(*[r[0] for r in rules], indexing="ij"), -1).reshape(-1, m)
        w = np.stack(np.meshgrid(*[r[1] / 2 for r in rules], indexing="ij"), -1).reshape(-1, m)
        phi = V.features(x.reshape(-1)).reshape(-1, m, m)
        nodes, weights = np.polynomial.legendre.leggauss(40)
        c = V.features(nodes).T @ (np.exp(nodes) * weights / 2)
        g2 = float(((np.exp(nodes) - V.features(nodes) @ c) ** 2) @ weights / 2)
        at = x.reshape(-1)
        g = (np.exp(at) - V.features(at) @ c).reshape(-1, m)
        excess = (np.linalg.solve(phi, g[..., None])[..., 0] ** 2).sum(axis=1)
        mean = g2 + float((density(phi) * w.prod(axis=1)) @ excess)
        # |phi^{-1} g|^2 loses cond(phi) digits where det(phi)^2 is as small as cond^-2; |g| is a
        # difference of numbers of order e, squared
        size = math.e * math.sqrt(g2) * m
        yield identity(mean, (m + 1) * g2, operations=512, scale=size, what=f"m = {m}")


@claim("C5b", kind="identity", of=dpp_density, saboteurs=DENSITY)
def subsets_of_rows_cost_m_plus_one(density):
    """Size-m volume sampling of rows: the expected loss is (m+1) times the optimum, 75.5930 = 3 x
    25.1977 for rows (1, i), i = 0, 1, 2, 4, 5, and labels (3 k^2 + 2 k + 1) mod 7."""
    A = np.array([[1.0, 0], [1, 1], [1, 2], [1, 4], [1, 5]])
    y = np.array([(3 * i * i + 2 * i + 1) % 7 for i in range(5)], dtype=float)
    V = FeatureSpace(A)
    sets = np.array(list(itertools.combinations(range(5), 2)))
    p = 2 * density(V.rows[sets]) / 25
    fits = np.linalg.solve(A[sets], y[sets][..., None])[..., 0]
    losses = ((fits @ A.T - y) ** 2).sum(axis=1)
    yield identity(p @ losses, 75.59302325581395, operations=256, scale=losses.max(), what="loss")
    yield identity(p.sum(), 1.0, operations=64, what="mass")


# C6: the noise vector


@cache
def runge() -> tuple[PolySpace, np.ndarray, np.ndarray, np.ndarray]:
    """Legendre, m = 5, f = 1/(1 + 4x^2) + x^5: (V, coefficients, nodes' g, nodes' mu)."""
    V = PolySpace("legendre", 4)
    nodes, weights = np.polynomial.legendre.leggauss(120)
    f = runge_f(nodes)
    c = V.features(nodes).T @ (f * weights / 2)
    return V, c, f - V.features(nodes) @ c, weights / 2


def runge_f(x):
    return 1 / (1 + 4 * x * x) + x**5


@claim("C6a", kind="identity", of=expected_noise_vector, saboteurs=[
    sabotage(expected_noise_vector, "processes * overlap / n**2", "0 * overlap",
             "repulsion changes nothing"),
    sabotage(expected_noise_vector, '{"iid": 0, "volume": 1, "repeated_dpp": n // m}',
             '{"iid": 0, "volume": n // m, "repeated_dpp": n // m}',
             "the volume law counted as repeated DPPs"),
    sabotage(expected_noise_vector, "n**2", "n", "n for n^2"),
])  # fmt: skip
def the_noise_vector(moment):
    """E |b|^2 is (m/n) |g|^2 for independent points, less T / n^2 under the volume law with nu_m
    and less r T / n^2 for r DPPs: enumerated on C9's atoms, n = 4."""
    space, f = headline()
    _, g, g2 = drop(space, f)
    x, p = laws_of_four()
    weight = 2 / christoffel(space, np.arange(8))
    each = np.array(
        [
            error_terms(space.rows[r], weight[r], g[r])[1]
            if len(set(r.tolist())) > 1
            else singular_b(space, weight, g, r)
            for r in x
        ]
    )
    overlap = noise_overlap(space.rows, g, space.weights)
    for kind, q in p.items():
        yield identity(q @ each, moment(g2, 4, 2, overlap, kind=kind), operations=256,
                       scale=each.max(), what=kind)  # fmt: skip


def singular_b(space, weight, g, row):
    """|b|^2 of four times the same atom."""
    i = row[0]
    return float((weight[i] * g[i]) ** 2 * (space.rows[i] @ space.rows[i]))


@claim("C6b", kind="identity", of=noise_overlap, saboteurs=[
    sabotage(noise_overlap, "K**3", "K**2", "K^2 for K^3"),
    sabotage(noise_overlap, "mu * weight * g", "mu * g", "the weights are dropped"),
])  # fmt: skip
def the_overlap(overlap):
    """T = 8.4785 |g|^2 for Legendre, m = 5, f = 1/(1 + 4x^2) + x^5, so that E |b|^2 / |g|^2 for 15
    points is .33333 and .22029; for x^6, m = 3, r = 3: T = .016382, .0037211 and .0031144."""
    V, _, g, mu = runge()
    g2 = float(mu @ g**2)
    phi = V.features(np.polynomial.legendre.leggauss(120)[0])
    T = overlap(phi, g, mu)
    yield rounded(T / g2, 8.4785, 1e-4, "T / |g|^2")
    yield rounded(expected_noise_vector(g2, 15, 5) / g2, 0.33333, 1e-5, "independent")
    value = expected_noise_vector(g2, 15, 5, T, kind="repeated_dpp") / g2
    yield rounded(value, 0.22029, 1e-5, "three DPPs")
    nodes, weights = np.polynomial.legendre.leggauss(60)
    phi = PolySpace("legendre", 2).features(nodes)
    g = nodes**6 - phi @ (phi.T @ (nodes**6 * weights / 2))
    T = overlap(phi, g, weights / 2)
    yield identity(T, 0.01638162323568882, operations=512, scale=1.0, what="x^6, T")
    value = expected_noise_vector(0.011163439734868306, 9, 3, T, kind="repeated_dpp")
    yield identity(value, 0.003114419791782442, operations=512, scale=1.0, what="x^6, r = 3")


def one_dpp_repeated(space, kind="repeated_dpp", *, repeats, rng, **how):
    """The same DPP sample, repeated."""
    one = sample(space, "dpp", rng=rng)
    x, w = np.tile(one.x, repeats), np.tile(one.weight, repeats)
    return replace(one, x=x, weight=w, kind=kind)  # the Gram matrix is that of one


def all_weights_one(space, kind="repeated_dpp", **how):
    """Points of nu_m with w = 1."""
    found = sample(space, kind, **how)
    w = np.ones(found.n)
    smallest = designs.lambda_min(space.features(found.x), w)
    return replace(found, weight=w, lambda_min=smallest)


@claim("C6c", kind="law", of=sample, saboteurs=[
    one_dpp_repeated,
    all_weights_one,
    wrong(lambda space, kind, *, repeats, rng: sample(space, "iid", n=space.m * repeats, rng=rng),
          "independent points"),
])  # fmt: skip
def sampled_noise(design, rng):
    """Samples of three DPPs have that E |b|^2, .22029 |g|^2, not the .33333 of independent
    points."""
    V, c, g, mu = runge()
    g2 = float(mu @ g**2)
    T = noise_overlap(V.features(np.polynomial.legendre.leggauss(120)[0]), g, mu)
    expected = expected_noise_vector(g2, 15, 5, T, kind="repeated_dpp") / g2
    # |b|^2 / |g|^2 has mean .22 and standard deviation .17; independent points .33 and .27
    n = samples_for_mean((1 / 3 - 0.22029) / 0.24, 1.6)
    values = np.empty(n)
    for i in range(n):
        S = design(V, "repeated_dpp", repeats=3, rng=rng)
        phi = V.features(S.x)
        b = phi.T @ (S.weight * (runge_f(S.x) - phi @ c)) / S.n
        values[i] = b @ b / g2
    return law((values.mean() - expected) / (values.std() / math.sqrt(n)), n=n)


# C7: the samplers


def without_kernel(space, **how):
    """projection_dpp on the plain twin, where saboteurs work."""
    return projection_dpp(space, method="rejection", compiled=False, **how)


def twin(old, new, why):
    """The chain rule with a mistake in its decisions."""
    return sabotage(projection_dpp, old, new, why, inside=chain.judge)


CHAIN = [
    twin("v[i] * (row @ row) < r @ r", "v[i] < r @ r", "accepted without dividing by K"),
    twin("row - E.T @ (E @ row)", "row", "the orthogonalisation is forgotten: independent points"),
    twin("v[i] * (row @ row) < r @ r", "v[i] * np.sqrt(row @ row) < np.sqrt(r @ r)",
         "accepted with |r| in place of |r|^2"),
]  # fmt: skip


def chains(sampler, space, n, rng):
    """n draws, half judged by Numba and half by the plain twin: (points (n, m), proposals)."""
    drawn = [
        sampler(space, method="rejection", compiled=bool(i % 2), rng=rng) for i in range(2 * n)
    ]
    # each half is tested: a mistake in one of them must not hide in the mean
    return [
        (np.stack([d.x for d in half]), np.array([d.proposals for d in half], dtype=float))
        for half in (drawn[::2], drawn[1::2])
    ]


@claim("C7a", kind="law", of=projection_dpp, saboteurs=[
    *CHAIN,
    twin("r - E.T @ (E @ r)", "row", "the accepted point's features are kept as they are"),
])  # fmt: skip
def proposals_of_the_chain_rule(sampler, rng):
    """The chain rule takes m H_m proposals on average, 8.333 for m = 4 and 21.743 for m = 8, points
    judged by Numba or by the plain twin alike."""
    for m in (4, 8):
        p = (m - np.arange(m)) / m
        std = math.sqrt(((1 - p) / p**2).sum())
        n = 280
        for (_, asked), who in zip(chains(sampler, PolySpace("legendre", m - 1), n, rng),
                                   ("twin", "Numba"), strict=True):  # fmt: skip
            z = (asked.mean() - expected_proposals(m)) / (std / math.sqrt(n))
            yield law(z, n=n, what=f"m = {m}, {who}")


@claim("C7b", kind="law", of=projection_dpp, saboteurs=CHAIN[1:])
def linear_statistics_of_the_chain_rule(sampler, rng):
    """Points of the chain rule, m = 4 Legendre functions: Var(sum x_i) = a_m^2 = .25397 (2.0 for
    independent points), E sum_{i != j} x_i x_j = -2 sum a_k^2 = -12/7, and P(max x_i <= t) is the
    determinant of the Gram matrix on [-1, t]: .185302, .666920 at .8, .95."""
    # accepted with |r|, the variance is .19 larger, at a standard deviation of .66: a z of 11.2
    space, n = PolySpace("legendre", 3), 1500
    for (x, _), who in zip(chains(sampler, space, n, rng), ("twin", "Numba"), strict=True):
        yield from statistics(x, space, who)
        yield from largest(x, space, who)


def statistics(x, space, who):
    """Evidence for the variance of the sum and for the pair moment."""
    total, squares = x.sum(axis=1), (x * x).sum(axis=1)
    for what, values, expected in (
        ("variance of the sum", total**2, sum_variance(space)),
        ("pairs", total**2 - squares, pair_moment(space)),
    ):
        z = (values.mean() - expected) / (values.std() / math.sqrt(len(x)))
        yield law(z, n=len(x), what=f"{what}, {who}")


def largest(x, space, who):
    """Evidence for the law of the largest point."""
    n = len(x)
    for t in (0.8, 0.95):
        p = largest_probability(space, t)
        z = ((x.max(axis=1) <= t).mean() - p) / math.sqrt(p * (1 - p) / n)
        yield law(z, n=n, what=f"t = {t}, {who}")


@claim("C7c", kind="law", of=jacobi_ensemble, saboteurs=[
    sabotage(jacobi_ensemble, "2 * m - k - 1", "2 * m - k", "a Beta parameter is off by a half",
             inside=models._verblunsky),
    sabotage(jacobi_ensemble, "(1 - odd_before) * even - (1 + odd_before) * even_before",
             "(1 - odd_before) * even + (1 + odd_before) * even_before", "a sign on the diagonal"),
    sabotage(jacobi_ensemble, "1 - even**2", "1 - even", "the square is missing"),
    wrong(lambda m, a=0, b=0, *, repeats, rng: np.sort(
        PolySpace("legendre" if a == 0 else "chebyshev", m - 1)
        .draw_optimal(repeats * m, rng=rng).reshape(repeats, m)), "independent points of nu_m"),
])  # fmt: skip
def tridiagonal_points_on_an_interval(model, rng):
    """Eigenvalues of the Jacobi matrices have the statistics of the DPP: Legendre, m = 4: variance
    m^2 / (4m^2 - 1), pairs -12/7, the largest point; Chebyshev: variance 1/4, and 1/2 at m = 1."""
    n, space = 40_000, PolySpace("legendre", 3)
    x = model(4, repeats=n, rng=rng)
    yield from statistics(x, space, "Legendre")
    yield from largest(x, space, "Legendre")
    for m, variance in ((1, 0.5), (3, 0.25)):
        space = PolySpace("chebyshev", m - 1)
        total = model(m, -0.5, -0.5, repeats=n, rng=rng).sum(axis=1) ** 2
        z = (total.mean() - variance) / (total.std() / math.sqrt(n))
        yield law(z, n=n, what=f"Chebyshev, m = {m}")


@claim("C7d", kind="law", of=hermite_ensemble, saboteurs=[
    sabotage(hermite_ensemble, "np.arange(1.0, m)", "np.arange(1.0, m) / 2",
             "the scale of another convention of the GUE"),
    sabotage(hermite_ensemble, "np.sqrt(rng.standard_gamma(np.arange(1.0, m), size=(n, m - 1)))",
             "rng.standard_gamma(np.arange(1.0, m), size=(n, m - 1))", "the root is missing"),
    wrong(lambda m, *, repeats, rng: np.sort(
        PolySpace("hermite", m - 1).draw_optimal(repeats * m, rng=rng).reshape(repeats, m)),
          "independent points of nu_m"),
])  # fmt: skip
def tridiagonal_points_on_the_line(model, rng):
    """Eigenvalues of the GUE: the variance of their sum is m, pairs -m(m-1); m = 4."""
    space = PolySpace("hermite", 3)
    yield from statistics(model(4, repeats=20_000, rng=rng), space, "Hermite")


@claim("C7e", kind="identity", of=sum_variance, saboteurs=[
    sabotage(sum_variance, "space.m", "max(space.m - 1, 1)",
             "the coefficient inside of V"),
    wrong(lambda space: space.m * PolySpace(space.family, 1).m / 4, "grows with m"),
])  # fmt: skip
def variances_of_the_sum(variance):
    """Var(sum x_i) is the recurrence coefficient that leads out of V, squared: Legendre m^2 / (4m^2
    - 1), .25397 for m = 4; Hermite m; Chebyshev 1/4, and 1/2 at m = 1. It is the norm of the
    commutator of x with the projection, by quadrature."""
    for m in (1, 2, 4, 10):
        for family, known in (
            ("legendre", m * m / (4 * m * m - 1)),
            ("hermite", m),
            ("chebyshev", 0.5 if m == 1 else 0.25),
        ):
            found = variance(PolySpace(family, m - 1))
            yield identity(found, known, operations=16, what=f"{family}, m = {m}")
            nodes, weights = rule(family, m + 2)
            phi = PolySpace(family, m).features(nodes)
            x = phi.T @ (phi * (nodes * weights)[:, None])  # the matrix of x
            out = float((x[:m, m:] ** 2).sum())
            yield identity(found, out, operations=256, scale=np.abs(x).max() ** 2 + 1,
                           what=f"commutator, {family}, m = {m}")  # fmt: skip


def rule(family, n):
    """Gauss nodes and probabilities of a family."""
    if family == "chebyshev":
        return np.cos(np.pi * (np.arange(n) + 0.5) / n), np.full(n, 1 / n)
    poly = np.polynomial
    gauss = poly.legendre.leggauss if family == "legendre" else poly.hermite_e.hermegauss
    nodes, weights = gauss(n)
    return nodes, weights / weights.sum()


@claim("C7f", kind="identity", of=pair_moment, saboteurs=[
    sabotage(pair_moment, "range(1, space.m)", "range(1, space.m + 1)", "one coefficient too many"),
    sabotage(pair_moment, "-2", "-1", "pairs are counted once"),
])  # fmt: skip
def pair_moments(moment):
    """E sum_{i != j} x_i x_j = -2 sum_k a_k^2 over the coefficients within V: -12/7 for four
    Legendre functions, -m (m-1) for Hermite; minus the integral of x y K^2, by quadrature."""
    yield identity(moment(PolySpace("legendre", 3)), -12 / 7, operations=16, what="-12/7")
    for family in ("legendre", "hermite", "chebyshev"):
        for m in (1, 2, 4):
            space = PolySpace(family, m - 1)
            nodes, weights = rule(family, m + 2)
            phi = space.features(nodes)
            x = phi.T @ (phi * (nodes * weights)[:, None])
            exact = float(np.trace(x)) ** 2 - float((x * x).sum())
            yield identity(moment(space), exact, operations=256, scale=1 + (x * x).sum(),
                           what=f"{family}, m = {m}")  # fmt: skip
    yield identity(moment(PolySpace("hermite", 3)), -12.0, operations=16, what="-m (m-1)")


@claim("C7g", kind="identity", of=largest_probability, saboteurs=[
    sabotage(largest_probability, "weights * half * density", "weights * half * density * 0.999",
             "mu has not mass 1"),
    wrong(lambda space, t: ((t + 1) / 2) ** space.m, "independent points of mu"),
])  # fmt: skip
def the_law_of_the_largest_point(probability):
    """P(max <= t) is the determinant of the Gram matrix on x <= t: Legendre, m = 4: .010023,
    .185302, .666920 at .5, .8, .95; m = 5, to 1e-10."""
    for t, known in ((0.5, 0.010023), (0.8, 0.185302), (0.95, 0.666920)):
        found = probability(PolySpace("legendre", 3), t)
        yield rounded(found, known, 1e-6, f"m = 4, t = {t}")
    for t, known in ((0.5, 0.0007525434581650003), (0.95, 0.5310255194818013)):
        found = probability(PolySpace("legendre", 4), t)
        yield identity(found, known, operations=256, scale=1.0, what=f"m = 5, t = {t}")


@claim("C7h", kind="identity", of=expected_proposals, saboteurs=[
    sabotage(expected_proposals, "m * sum(1 / k for k in range(1, size + 1))", "m * m",
             "one proposal of probability 1/m a point"),
    sabotage(expected_proposals, "range(1, size + 1)", "range(1, size)", "the last point is free"),
])  # fmt: skip
def numbers_of_proposals(expected):
    """m H_m: 8.333 for m = 4, 21.743 for m = 8, 224.96 and 518.74 for m = 50, 100."""
    for m, known in ((4, 25 / 3), (8, 21.742857142857144), (50, 224.96026691647126),
                     (100, 518.737751763962)):  # fmt: skip
        yield identity(expected(m), known, operations=128, what=f"m = {m}")


# C8: stability


TABLE = {  # m = 10, delta = 1/2: points over m, P(lambda_min >= 1/2) in 400 runs
    "iid": ((4, 0.08), (10, 0.69), (20, 0.97)),
    "volume": ((4, 0.17), (10, 0.76), (20, 0.98)),
    "repeated_dpp": ((2, 0.13), (4, 0.72), (6, 0.94)),
}


def stable_shares(design, kind, m, runs, rng):
    """For each n of the table: (n, the known share, how many of `runs` samples are stable)."""
    V = PolySpace("legendre", m - 1)
    for ratio, known in TABLE[kind]:
        how: dict[str, Any] = {"repeats": ratio} if kind == "repeated_dpp" else {"n": ratio * m}
        found = [design(V, kind, rng=rng, **how).lambda_min >= 0.5 for _ in range(runs)]
        yield ratio * m, known, sum(found)


def stable_at_once(V, n, points, runs, rng):
    """How many of `runs` samples of `points` DPP points and n - points of nu_m are stable."""
    x = V.draw_optimal(runs * (n - points), rng=rng).reshape(runs, -1)
    if points:
        x = np.append(x, models.ensemble(V, repeats=runs, rng=rng), axis=1)
    phi = V.features(x.reshape(-1)).reshape(runs, n, V.m)
    u = phi * np.sqrt(V.m / (phi**2).sum(axis=2))[..., None]
    G = np.matmul(np.swapaxes(u, 1, 2), u) / n
    return int((np.linalg.eigvalsh(G)[:, 0] >= 0.5).sum())


@claim("C8a", kind="bound", of=stability_probability, saboteurs=[
    sabotage(stability_probability, "delta + (1 - delta) * math.log1p(-delta)", "delta",
             "c_delta without its logarithm", inside=stability_rate),
    sabotage(stability_probability, "math.exp(-alone * stability_rate(delta) / (m * sup))",
             "math.exp(-alone * stability_rate(delta))", "n in place of n / m"),
])  # fmt: skip
def stability_is_never_below_theory(theory_of, rng):
    """P(lambda_min >= 1/2) is at least 1 - m exp(-n c / m) for independent points, and at least
    that of its n - m independent points for the volume law; Legendre, m = 10."""
    V, runs = PolySpace("legendre", 9), 1000
    for kind in ("iid", "volume"):
        for n in (100, 170, 200, 300):
            count = stable_at_once(V, n, 10 if kind == "volume" else 0, runs, rng)
            # the upper limit of Clopper and Pearson at the fixed level
            upper = upper_limit(count, runs)
            yield bound(theory_of(n, 10, 0.5, kind=kind), upper, what=f"{kind}, n = {n}")
    yield bound(abs(stability_rate(0.5) - 0.153426), 5e-7, what="c of 1/2")


def upper_limit(count, runs):
    """The share above which so few of the runs have probability LEVEL."""
    from scipy.stats import beta

    return 1.0 if count == runs else float(beta.ppf(1 - LEVEL, count + 1, runs - count))


@claim("C8b", kind="identity", of=points_for_stability, saboteurs=[
    sabotage(points_for_stability, "math.log(m / failure)", "math.log(1 / failure)",
             "the dimension is missing from the union bound"),
])  # fmt: skip
def points_that_theory_asks_for(points):
    """The theory's n for P >= .9: 128, 301, 691 for m = 5, 10, 20; 47 for m = 5, delta = .9,
    failure .01."""
    for m, n in ((5, 128), (10, 301), (20, 691)):
        yield identity(points(m), n, operations=0, what=f"m = {m}")
    yield identity(points(5, 0.9, 0.01), 47, operations=0, what="delta = .9")


def dpps_repeated(space, kind, **how):
    """Where DPPs are asked for, one and the same is repeated."""
    return (one_dpp_repeated if kind == "repeated_dpp" else sample)(space, kind, **how)


@claim("C8c", kind="law", of=sample, saboteurs=[dpps_repeated, all_weights_one])
def stability_as_measured(design, rng):
    """P(lambda_min >= 1/2) for Legendre, m = 10: independent .08, .69, .97 at n/m = 4, 10, 20;
    volume .17, .76, .98; repeated DPPs .13, .72, .94 at n/m = 2, 4, 6."""
    runs = 80
    for kind in TABLE:
        for n, known, count in stable_shares(design, kind, 10, runs, rng):
            # two samples of one share: 400 runs behind the known value, rounded to .005
            pooled = (400 * known + count) / (400 + runs)
            error = math.sqrt(pooled * (1 - pooled) * (1 / 400 + 1 / runs))
            gap = max(0.0, abs(count / runs - known) - 0.005)
            yield law(gap / error, n=runs, what=f"{kind}, n = {n}")


@claim("C8d", kind="law", of=sample, saboteurs=[
    wrong(lambda space, kind, *, repeats, rng: sample(space, "iid", n=repeats * space.m, rng=rng),
          "independent points"),
    one_dpp_repeated,
])  # fmt: skip
def a_third_of_the_points(design, rng):
    """Repeated DPPs reach P >= .9 with a third of the points: at n = 60, m = 10 they have .94;
    independent points have about .33 there and need 151."""
    V = PolySpace("legendre", 9)

    def draw(n, rng):
        found = [design(V, "repeated_dpp", repeats=6, rng=rng).lambda_min for _ in range(n)]
        return np.array(found) >= 0.5

    return sprt(draw, 0.9, 0.5, rng=rng)


# C9: the headline, enumerated


def stable_ones(space, x, weight, decide=stable):
    """Which samples are stable at 1/2."""
    return np.array([
        decide(designs.lambda_min(space.rows[r], weight[r]), 0.5) for r in x
    ])  # fmt: skip


@claim("C9a", kind="identity", of=stable, saboteurs=[
    sabotage(stable, "1 - delta - MARGIN", "1 - delta + MARGIN", "ties are thrown away"),
    sabotage(stable, "1 - delta - MARGIN", "delta / 2", "delta is the smallest eigenvalue's"),
])  # fmt: skip
def stability_in_the_headline(decide):
    """Eight atoms, affine V, n = 4: P(S) = .66422, .78430, .95168 for independent points, the
    volume law and repeated DPPs; ties lambda_min = 1/2, of probability .05114, .05114, .01190,
    count."""
    space, _ = headline()
    x, p = laws_of_four()
    weight = 2 / christoffel(space, np.arange(8))
    steady = stable_ones(space, x, weight, decide)
    smallest = np.array([designs.lambda_min(space.rows[r], weight[r]) for r in x])
    ties = np.abs(smallest - 0.5) < 1e-12
    for kind, known, tied in (
        ("iid", 0.66422, 0.05114),
        ("volume", 0.78430, 0.05114),
        ("repeated_dpp", 0.95168, 0.01190),
    ):
        yield rounded(p[kind] @ steady, known, 1e-5, kind)
        yield rounded(p[kind] @ ties, tied, 1e-5, f"ties, {kind}")


@claim("C9b", kind="identity", of=wls, saboteurs=[without_weights, dpp_points_alone])
def errors_in_the_headline(solver):
    """E |f - fhat|^2 / |g|^2 there: 3.00092, 1.85150, 1.60620 unconditioned (independent points
    given a fit, which .00463 of them do not have); 1.49922, 1.48897, 1.50991 on stability: the
    same quality, so that a DPP buys probability."""
    space, f = headline()
    c, _, g2 = drop(space, f)
    x, p = laws_of_four()
    weight = 2 / christoffel(space, np.arange(8))
    fits = enumerated_fits(space, x, weight, f, solver)
    error = 1 + ((fits - c) ** 2).sum(axis=1) / g2
    steady = stable_ones(space, x, weight)
    usable = np.array([len(set(r.tolist())) > 1 for r in x])
    yield rounded(p["iid"] @ ~usable, 0.00463, 1e-5, "singular")
    for kind, free, after in (
        ("iid", 3.00092, 1.49922),
        ("volume", 1.85150, 1.48897),
        ("repeated_dpp", 1.60620, 1.50991),
    ):
        q = p[kind] * usable
        yield rounded(q @ error / q.sum(), free, 1e-5, kind)
        q = p[kind] * steady
        yield rounded(q @ error / q.sum(), after, 1e-5, f"{kind}, stable")


def no_cost(probability):
    """The redraw cost is not reported."""
    return 1.0


@claim("C9d", kind="identity", of=expected_draws, saboteurs=[
    no_cost,
    sabotage(expected_draws, "1 / probability", "2 - probability", "at most one redraw"),
])  # fmt: skip
def draws_in_the_headline(draws):
    """Conditioned quality is equal, and its price is 1/P(S) draws: 1.51, 1.28, 1.05."""
    space, _ = headline()
    x, p = laws_of_four()
    steady = stable_ones(space, x, 2 / christoffel(space, np.arange(8)))
    for kind, known in (("iid", 1.51), ("volume", 1.28), ("repeated_dpp", 1.05)):
        yield rounded(draws(float(p[kind] @ steady)), known, 1e-2, kind)


def first_draw_only(space, kind, **how):
    """The redraw cost is not reported."""
    return replace(sample(space, kind, **how), draws=1)


@claim("C9c", kind="law", of=sample, saboteurs=[
    first_draw_only,
    wrong(lambda space, kind, *, delta, **how: sample(space, kind, **how), "nothing is redrawn"),
])  # fmt: skip
def conditioning_has_a_price(design, rng):
    """Of conditioned samples the share P(S), .66422, .78430, .95168, took one draw, and every
    sample that is handed out is stable."""
    space, _ = headline()
    cases: list[Any] = [
        ("iid", 0.66422, {"n": 4}),
        ("volume", 0.78430, {"n": 4}),
        ("repeated_dpp", 0.95168, {"repeats": 2}),
    ]
    for kind, known, how in cases:
        n = 500
        found = [design(space, kind, delta=0.5, rng=rng, **how) for _ in range(n)]
        once = np.mean([s.draws == 1 for s in found])
        yield law((once - known) / math.sqrt(known * (1 - known) / n), n=n, what=kind)
        astray = sum(not stable(s.lambda_min, 0.5) for s in found)
        yield law(10.0 * astray, what=f"{kind}: none is unstable")


# C10: bounds


@claim("C10a", kind="bound", of=quasi_optimality, saboteurs=[
    sabotage(quasi_optimality, "(m / n) / ((1 - delta) ** 2 * probability)",
             "(m / n) * (1 - delta) ** 2 / probability", "G^{-1} is at most 1 - delta"),
    sabotage(quasi_optimality, "1 + 1 / ((1 - delta) * probability)", "1 / probability",
             "the projection error is left out"),
])  # fmt: skip
def conditioned_quasi_optimality(constant):
    """On stability E |f - fhat|^2 <= min(1 + 1/((1-delta) P), 1 + (m/n) / ((1-delta)^2 P)) |g|^2:
    exact in the headline's world for all three laws, f = exp(1.5 t), |t|, t^2 and t^3."""
    space, _ = headline()
    t = np.linspace(-1, 1, 8)
    x, p = laws_of_four()
    weight = 2 / christoffel(space, np.arange(8))
    steady = stable_ones(space, x, weight)
    for name, f in (("exp", np.exp(1.5 * t)), ("|t|", abs(t)), ("t^2", t**2), ("t^3", t**3)):
        c, _, g2 = drop(space, f)
        error = 1 + ((enumerated_fits(space, x, weight, f, wls) - c) ** 2).sum(axis=1) / g2
        for kind, q in p.items():
            P = float(q @ steady)
            found = float((q * steady) @ error / P)
            yield bound(found, constant(4, 2, 0.5, P, kind=kind), what=f"{name}, {kind}")


@claim("C10b", kind="bound", of=quasi_optimality, saboteurs=[
    sabotage(quasi_optimality, "(m / n) / ((1 - delta) ** 2 * probability)",
             "(m / n) * (1 - delta) ** 2 / probability", "G^{-1} is at most 1 - delta"),
    wrong(lambda n, m, delta, probability, kind: 1.0, "the fit is as good as the projection"),
])  # fmt: skip
def conditioned_errors_of_a_kink(constant, rng):
    """f = |x|, Legendre m = 5: mean error 1.245 <= 3.7 for 20 independent points and 1.455 <= 4.8
    for two DPPs, relative to the best, given stability."""
    V = PolySpace("legendre", 4)
    c = np.zeros(5)
    c[0], c[2], c[4] = 0.5, math.sqrt(5) / 8, -3 / 48  # <|x|, phi_j>
    g2 = 1 / 3 - float(c @ c)
    cases: list[Any] = [("iid", {"n": 20}, 1.245), ("repeated_dpp", {"repeats": 2}, 1.455)]
    for kind, how, mean in cases:
        error, draws = [], 0
        for _ in range(150):
            S = sample(V, kind, delta=0.5, rng=rng, **how)
            draws += S.draws
            error.append(1 + ((wls(V, S, abs(S.x)).coef - c) ** 2).sum() / g2)
        limit = constant(S.n, 5, 0.5, 150 / draws, kind=kind)
        yield bound(float(np.mean(error)), limit, what=kind)
        off = abs(np.mean(error) - mean) / (np.std(error) * math.sqrt(1 / 150 + 1 / 3000))
        yield bound(off, 6.0, what=f"{kind}: the known mean, within six standard errors")


OF_THE_LARGEST = sabotage(
    wls,
    "smallest_eigenvalue(phi, w)",
    "float(np.linalg.eigvalsh(gram(phi, w))[-1])",
    "lambda_max for lambda_min",
)


@claim("C10c", kind="bound", of=wls, saboteurs=[
    OF_THE_LARGEST,
    sabotage(wls, "float(w.mean())", "1.0", "without the mean of w"),
])  # fmt: skip
def the_sup_norm_bound(solver, rng):
    """|f - fhat| <= |f - v| + (mean w / lambda_min)^{1/2} |f - v|_inf on every draw: for f = |x|
    and v = Pf, for the worst residual that is at most 1 at the points and 0 elsewhere, and attained
    by a constant with m = 1."""
    V = PolySpace("legendre", 4)
    c = np.zeros(5)
    c[0], c[2], c[4] = 0.5, math.sqrt(5) / 8, -3 / 48
    grid = np.linspace(-1, 1, 2001)
    sup = float(abs(abs(grid) - V.features(grid) @ c).max())
    l2 = math.sqrt(1 / 3 - float(c @ c))
    cases: list[Any] = [("iid", {"n": 8}), ("dpp", {}), ("volume", {"n": 8, "reference": "mu"})]
    for kind, how in cases:
        ratio, worst = [], []
        for _ in range(100):
            S = sample(V, kind, rng=rng, **how)
            fit = solver(V, S, abs(S.x))
            error = math.sqrt(l2**2 + ((fit.coef - c) ** 2).sum())
            ratio.append(error / fit.error_bound(sup=sup, l2=l2))
            phi = V.features(S.x)
            z = np.linalg.eigh(designs.gram(phi, S.weight))[1][:, 0]
            fit = solver(V, S, np.sign(phi @ z))  # as large as 1 at the points, no mass elsewhere
            worst.append(np.linalg.norm(fit.coef) / fit.error_bound(sup=1.0, l2=0.0))
        yield bound(max(ratio), 1.0, what=f"|x|, {kind}")
        yield bound(max(worst), 1.0, what=f"worst residual, {kind}")
    space, arbitrary, _ = atoms()
    one = FeatureSpace(np.ones((6, 1)), space.weights)
    weight = space.weights / arbitrary
    for i in range(6):
        x = np.array([i, (i + 1) % 6])
        fit = solver(one, given(one, x, weight[x]), np.ones(2))
        value, limit = abs(float(fit.coef[0])), fit.error_bound(sup=1.0, l2=0.0)
        yield bound(value, limit, what=f"a constant, atom {i}")
        yield bound(value, limit, side="at least", what=f"it is attained, atom {i}")


@claim("C10d", kind="bound", of=wls, saboteurs=[OF_THE_LARGEST])
def the_rkhs_bound(solver, rng):
    """|f - fhat|^2 <= |g|^2 + (kappa / lambda_min) |g|_H^2 on every draw for the worst function of
    the unit ball, an operator norm: k = 1 + 2 sum cos(2 pi j (x - y)) / j^2, m = 5, k_res =
    .789868, trace 1 + pi^2 / 3."""
    V, J = PolySpace("fourier", 2), 120
    kernel = sobolev_kernel(V)
    yield bound(abs(kernel.trace - (1 + math.pi**2 / 3)), 0.0, what="trace")
    left = residual_diagonal(kernel, V, np.array([0.3, 0.7]))
    yield bound(abs(left - 0.789868), 5e-7, what="residual kernel")
    wide = PolySpace("fourier", J)
    scale = 1 / np.maximum((wide.indices[5:, 0] + 1) // 2, 1)  # roots of the eigenvalues
    cases: list[Any] = [("dpp", {}), ("iid", {"n": 10}), ("repeated_dpp", {"repeats": 3})]
    for kind, how in cases:
        worst = []
        for _ in range(40):
            S = sample(V, kind, rng=rng, **how)
            residual = wide.features(S.x)[:, 5:] * scale  # g at the points, for unit coefficients
            fit = solver(V, S, residual)
            # |g|^2 + |G^{-1} b|^2 over the ball: the largest eigenvalue
            top = np.linalg.eigvalsh(np.diag(scale**2) + fit.coef.T @ fit.coef)[-1]
            kappa = float((S.weight * left[0]).max())  # w = 1 here
            limit = fit.error_bound(hnorm=1.0, kappa=kappa, l2=float(scale.max()))
            worst.append(math.sqrt(top) / limit)
        yield bound(max(worst), 1.0, what=kind)
        if kind == "repeated_dpp":
            yield bound(max(worst) ** 2, 0.29 * 1.5, what="far from tight")


@claim("C10e", kind="bound", of=natural_reference, saboteurs=[
    wrong(lambda space, kernel: reference(space, "optimal"), "nu_m alone leaves w k unbounded"),
    sabotage(natural_reference, "0.5 * (K / space.m + k / kernel.trace)", "K / space.m + k",
             "the two halves are not weighed"),
])  # fmt: skip
def the_natural_reference(law_of):
    """nu = (1/2)(K/m + k/tr) mu is a probability, w k <= 2 tr and w K <= 2 m at every point."""
    t = np.linspace(0.01, 1, 40)
    K = np.minimum(t[:, None], t) + 3 * np.eye(40) * (t > 0.7)  # a peak that V does not see
    mu = np.random.default_rng(0).dirichlet(np.full(40, 2.0))
    space, kernel = kernel_space(K, 3, weights=mu)
    rows = np.arange(40)
    weight = law_of(space, kernel).weight(rows)
    yield bound(weight * kernel.diagonal(rows), 2 * kernel.trace, what="w k <= 2 tr")
    yield bound(weight * christoffel(space, rows), 2 * space.m, what="w K <= 2 m")
    yield bound(abs((mu / weight).sum() - 1), 0.0, what="mass 1")


@claim("C10f", kind="bound", of=reference, saboteurs=[
    wrong(lambda space, nu: reference(space, "optimal"), "nu_m alone"),
])  # fmt: skip
def the_safe_reference(law_of):
    """nu = (nu_m + mu) / 2 has w <= 2 and w K <= 2 m everywhere, Hermite (where nu_m has w up to 4)
    and Legendre, m = 10; w <= m for nu_m where V holds the constants."""
    for family, x in (("hermite", np.linspace(-9, 9, 501)), ("legendre", np.linspace(-1, 1, 501))):
        V = PolySpace(family, 9)
        weight = law_of(V, "mixture").weight(x)
        yield bound(weight, 2.0, what=f"w <= 2, {family}")
        yield bound(weight * christoffel(V, x), 2.0 * V.m, what=f"w K <= 2 m, {family}")
        yield bound(reference(V, "optimal").weight(x), float(V.m), what=f"nu_m, {family}")


# C11: reverse removal


SIX = np.random.default_rng(3).standard_normal((6, 2))
LABELS = np.random.default_rng(4).standard_normal(6)


def subset_law(probabilities, A, n):
    """The law of what is left, by enumeration of all orders of removal."""
    now = {tuple(range(len(A))): 1.0}
    while len(next(iter(now))) > n:
        after: dict[tuple[int, ...], float] = defaultdict(float)
        for rows, p in now.items():
            each = probabilities(A[list(rows)])
            for i in range(len(rows)):
                after[rows[:i] + rows[i + 1 :]] += p * float(each[i])
        now = dict(after)
    return now


def exact_law(A, n):
    """det(A_S^T A_S) / (C(N-m, n-m) det(A^T A)), by the definition."""
    N, m = A.shape
    Z = math.comb(N - m, n - m) * np.linalg.det(A.T @ A)
    sets = itertools.combinations(range(N), n)
    return {s: float(np.linalg.det(A[list(s)].T @ A[list(s)]) / Z) for s in sets}


REMOVAL = [
    sabotage(removal_probabilities, "1 - xp.sum(Q * Q, axis=1)", "xp.sum(Q * Q, axis=1)",
             "rows go in proportion to their leverage"),
    wrong(lambda A: np.full(len(A), 1 / len(A)), "rows go at random"),
    sabotage(removal_probabilities, "s - m", "s", "the leverage scores' sum is forgotten"),
]  # fmt: skip


@claim("C11a", kind="identity", of=removal_probabilities, saboteurs=REMOVAL)
def reverse_removal_is_volume_sampling(probabilities):
    """Removing rows with (1 - leverage) / (s - m) leaves S with probability det(A_S^T A_S) / Z, Z =
    C(N-m, n-m) det(A^T A): all 20 subsets of 3 of 6."""
    found, exact = subset_law(probabilities, SIX, 3), exact_law(SIX, 3)
    sets = sorted(exact)
    yield identity([found[s] for s in sets], [exact[s] for s in sets], operations=256, scale=1.0)
    yield identity(sum(exact.values()), 1.0, operations=256, what="Z normalises")


@claim("C11b", kind="identity", of=removal_probabilities, saboteurs=REMOVAL)
def reverse_removal_is_unbiased(probabilities):
    """Plain least squares on what is left is unbiased: its mean is the fit to all rows."""
    found = subset_law(probabilities, SIX, 3)
    fits = {s: np.linalg.lstsq(SIX[list(s)], LABELS[list(s)])[0] for s in found}
    mean = sum(p * fits[s] for s, p in found.items())
    size = max(float(np.abs(v).max()) for v in fits.values())
    full = np.linalg.lstsq(SIX, LABELS)[0]
    return identity(mean, full, operations=512, scale=max(1.0, size))


@claim("C11c", kind="law", of=reverse_removal, saboteurs=[
    sabotage(reverse_removal, "rng.random() >= 1 - stays", "rng.random() >= stays",
             "rows go with their leverage", inside=volume._by_rejection),
    sabotage(reverse_removal, "inverse + np.outer(h, h / (1 - stays))", "inverse",
             "the inverse is not updated", inside=volume._by_rejection),
    sabotage(reverse_removal, "inverse + np.outer(h, h / (1 - stays))",
             "inverse - np.outer(h, h / (1 + stays))", "the update of an added row",
             inside=volume._by_rejection),
])  # fmt: skip
def reverse_removal_as_sampled(sampler, rng):
    """The sampler that rejects, with Sherman and Morrison's updates, and the direct one have that
    law: 8 rows to 5, m = 2."""
    A = np.random.default_rng(8).standard_normal((8, 2)) * np.array([[3.0], [1], [1], [1], [0.3],
                                                                      [1], [1], [0.3]])  # fmt: skip
    exact = exact_law(A, 5)
    place = {s: i for i, s in enumerate(exact)}
    p = np.array(list(exact.values()))
    space = FeatureSpace(A)

    def pvalues(n, method):
        drawn = [sampler(space, 5, method=method, rng=rng) for _ in range(n)]
        cells = [place[tuple(sorted(row.tolist()))] for row in drawn]
        return [chi_square(np.bincount(cells, minlength=p.size), p)]

    yield sequential_p(lambda n: pvalues(n, "rejection"), samples=1500, what="rejection")
    yield sequential_p(lambda n: pvalues(n, "direct"), samples=400, what="direct")


# C12: the circular ensemble


@claim("C12", kind="law", of=fourier_ensemble, saboteurs=[
    sabotage(fourier_ensemble, "Q * (diagonal / np.abs(diagonal))[:, None, :]", "Q",
             "the eigenvalues of QR's Q, without the phases"),
    wrong(lambda m, *, repeats, rng: rng.random((repeats, m)), "independent points"),
])  # fmt: skip
def traces_of_the_unitary_group(model, rng):
    """E |sum e^{2 pi i k x}|^2 = min(k, m) for the eigenvalues of a Haar unitary, m = 5, k = 1, 2,
    where independent points have m; and for the chain rule on the Fourier space."""
    n = 4000
    chain_rule = np.stack([
        projection_dpp(PolySpace("fourier", 2), method="rejection", rng=rng).x for _ in range(1000)
    ])  # fmt: skip
    for what, x in (("matrix", model(5, repeats=n, rng=rng)), ("chain rule", chain_rule)):
        for k in (1, 2):
            values = np.abs(np.exp(2j * np.pi * k * x).sum(axis=1)) ** 2
            z = (values.mean() - k) / (values.std() / math.sqrt(len(x)))
            yield law(z, n=len(x), what=f"k = {k}, {what}")
