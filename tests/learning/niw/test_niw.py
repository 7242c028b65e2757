"""NIW laws: divergences, predictions and draws against one another and against SciPy's."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from fewtheory.arrays import to_numpy
from fewtheory.learning import (
    NIW,
    Student,
    condition,
    expected_kl,
    log_evidence,
    log_multigamma,
    multidigamma,
    niw_kl,
)

KNOWN = json.loads((Path(__file__).parents[2] / "data" / "niwmeta.json").read_text())
EPS = np.finfo(float).eps


def law(asarray=np.array, d=2, product=False):
    """A law of dimension d with correlated V0."""
    R = np.random.default_rng(d).standard_normal((d, d))
    V = R @ R.T + np.eye(d)
    m = np.linspace(-1, 1, d)
    return NIW(asarray(m), 2.5, asarray(np.diag(V).copy() if product else V), d + 4.5)


def of(record):
    """NIW from a known answer's list."""
    m, strength, V, n = record
    return NIW(np.array(m), strength, np.array(V), n)


def test_the_expected_divergence_is_the_known_one(asarray):
    i = KNOWN[0]["inputs"]
    q = NIW(asarray(i["m0"]), i["l0"], asarray(i["V0"]), i["n0"])
    found = expected_kl(asarray(i["m"]), asarray(i["V"]), q)
    assert float(found) == pytest.approx(KNOWN[0]["expected"], abs=KNOWN[0]["tolerance"])


def test_conjugacy_is_the_known_one(asarray):
    i, e = KNOWN[2]["inputs"], KNOWN[2]["expected"]
    prior = NIW(asarray(i["m0"]), i["l0"], asarray(i["V0"]), i["n0"])
    after = condition(prior, asarray(i["X"]))
    assert to_numpy(after.m0) == pytest.approx(np.array(e["m"]), abs=1e-14)
    assert to_numpy(after.V0) == pytest.approx(np.array(e["V"]), abs=1e-13)
    assert (after.l0, after.n0) == (e["l"], e["n"])
    assert float(log_evidence(prior, asarray(i["X"]))) == pytest.approx(
        e["log_evidence"], abs=1e-11
    )
    x = after.predictive().log_prob(asarray(i["x"]))
    assert float(x) == pytest.approx(e["log_predictive"], abs=1e-11)


def test_the_divergence_of_two_laws_is_the_known_one():
    q, p = (of(KNOWN[4]["inputs"][k]) for k in "qp")
    assert float(niw_kl(q, p)) == pytest.approx(KNOWN[4]["expected"], abs=1e-11)
    assert float(niw_kl(q, q)) == pytest.approx(0.0, abs=1e-13)


def test_the_divergence_of_two_laws_is_the_mean_log_ratio_of_draws(rng):
    q, p = law(), NIW(np.zeros(2), 1.0, np.eye(2), 5.0)

    def log_p(niw, mu, Sigma):
        return np.array(
            [
                stats.invwishart.logpdf(S, niw.n0, niw.V0)
                + stats.multivariate_normal.logpdf(m, niw.m0, S / niw.l0)
                for m, S in zip(mu, Sigma, strict=True)
            ]
        )

    mu, Sigma = q.sample(400, rng=rng)
    ratio = log_p(q, mu, Sigma) - log_p(p, mu, Sigma)
    # five standard errors
    assert abs(ratio.mean() - float(niw_kl(q, p))) < 5 * ratio.std() / np.sqrt(400)


def test_a_product_is_the_sum_of_one_dimensional_laws():
    q, p = law(d=3, product=True), NIW(np.zeros(3), 1.0, np.full(3, 2.0), 2.2)
    m, V = np.array([0.1, 0.2, -0.3]), np.array([0.5, 1.0, 2.0])

    def part(niw, i):
        return NIW(niw.m0[i : i + 1], niw.l0, niw.V0[i : i + 1, None], niw.n0)

    kls = [niw_kl(part(q, i), part(p, i)) for i in range(3)]
    assert float(niw_kl(q, p)) == pytest.approx(sum(map(float, kls)), rel=64 * EPS)
    local = [expected_kl(m[i : i + 1], V[i : i + 1, None], part(q, i)) for i in range(3)]
    assert float(expected_kl(m, V, q)) == pytest.approx(sum(map(float, local)), rel=64 * EPS)
    x = np.array([0.3, -0.2, 1.0])
    each = [part(q, i).predictive().log_prob(x[i : i + 1]) for i in range(3)]
    assert float(q.predictive().log_prob(x)) == pytest.approx(sum(map(float, each)), rel=64 * EPS)


@pytest.mark.parametrize("product", [False, True])
def test_rotating_or_scaling_the_parameters_changes_no_divergence(product):
    q, p = law(d=3, product=product), NIW(np.zeros(3), 1.0, np.eye(3), 6.0)
    p = NIW(np.zeros(3), 1.0, np.ones(3), 6.0) if product else p
    scale = np.array([2.0, 0.1, 30.0])

    def moved(niw):
        V = niw.V0 * scale**2 if product else scale[:, None] * niw.V0 * scale
        return NIW(niw.m0 * scale, niw.l0, V, niw.n0)

    assert float(niw_kl(moved(q), moved(p))) == pytest.approx(float(niw_kl(q, p)), rel=1e-11)


@pytest.mark.parametrize("product", [False, True])
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_draws_have_the_moments_of_the_law(product, kind):
    make = {"numpy": np.array, "torch": lambda x: torch.tensor(np.asarray(x))}[kind]
    rng = np.random.default_rng(3) if kind == "numpy" else torch.Generator().manual_seed(3)
    q, n = law(make, product=product), 20_000
    mu, Sigma = (to_numpy(v) for v in q.sample(n, rng=rng))
    assert mu.shape == (n, 2)
    P = 1 / Sigma if product else np.linalg.inv(Sigma)
    logs = np.log(Sigma).sum(-1) if product else np.linalg.slogdet(Sigma)[1]
    for found, expected in (
        (P, q.precision()),
        (mu, q.m0),
        (Sigma, q.covariance()),
        (logs, q.expected_logdet()),
    ):
        expected, error = to_numpy(expected), found.std(axis=0) / np.sqrt(n)
        assert np.all(np.abs(found.mean(axis=0) - expected) < 5.5 * error)


def test_wishart_draws_have_scipys_density(rng):
    # 1 / (a' Sigma^{-1} a) of an IW(V, n) is inverse gamma: a' Sigma^{-1} a / a' V^{-1} a ~ chi2_n
    q, a = law(d=3), np.array([1.0, -2.0, 0.5])
    _, Sigma = q.sample(4000, rng=rng)
    ratio = np.einsum("i,nij,j->n", a, np.linalg.inv(Sigma), a) / (a @ np.linalg.inv(q.V0) @ a)
    assert stats.kstest(ratio, stats.chi2(q.n0).cdf).pvalue > 1e-6


@pytest.mark.parametrize("d", [1, 2, 5])
def test_gamma_functions_are_scipys_and_each_others_derivative(d):
    from scipy.special import multigammaln

    assert log_multigamma(4.2, d) == pytest.approx(multigammaln(4.2, d), rel=1e-13)
    h = 1e-4
    slope = (log_multigamma(4.2 + h, d) - log_multigamma(4.2 - h, d)) / (2 * h)
    # h^2 / 6 times a third derivative of order d, and rounding over h
    assert multidigamma(4.2, d) == pytest.approx(slope, abs=d * (h**2 + 100 * EPS / h))


def test_students_density_is_scipys(asarray):
    S = np.array([[2.0, 0.5], [0.5, 1.0]])
    x = np.array([[0.1, 0.4], [3.0, -9.0], [1e8, 0.0]])
    found = Student(asarray([0.5, -1.0]), asarray(S), 3.5).log_prob(asarray(x))
    expected = stats.multivariate_t([0.5, -1.0], S, 3.5).logpdf(x)
    assert to_numpy(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("product", [False, True])
def test_students_draws_have_its_covariance(rng, product):
    S = np.array([2.0, 1.0]) if product else np.array([[2.0, 0.5], [0.5, 1.0]])
    t = Student(np.array([1.0, 2.0]), S, 9.0)
    x = t.sample(40_000, rng=rng)
    found, expected = np.cov(x.T), t.covariance()
    # fourth moments of t_9 are 2 (3 + 6/5) / 3 times the Gaussian's
    error = 5 * np.sqrt(2 * 1.5 / 40_000) * np.abs(expected).max()
    assert np.abs(found - (np.diag(expected) if product else expected)).max() < error


def test_an_observation_at_a_time_gives_the_same_law(rng):
    X = rng.standard_normal((7, 2))
    whole, one = condition(law(), X), law()
    for x in X:
        one = condition(one, x[None])
    assert one.V0 == pytest.approx(whole.V0, rel=1e-12)
    assert one.m0 == pytest.approx(whole.m0, rel=1e-12)
    steps = 0.0
    now = law()
    for x in X:
        steps += float(now.predictive().log_prob(x))
        now = condition(now, x[None])
    assert float(log_evidence(law(), X)) == pytest.approx(steps, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NIW(np.zeros(3), 1.0, np.eye(3), 2.0), r"NIW: n0 must be above d - 1 = 2"),
        (lambda: NIW(np.zeros(3), 1.0, np.ones(3), 0.0), r"NIW: n0 must be above d - 1 = 0"),
        (lambda: NIW(np.zeros(2), 0.0, np.eye(2), 4.0), "NIW: l0 must be"),
        (
            lambda: NIW(np.zeros(2), 1.0, np.array([[1.0, 2.0], [2.0, 1.0]]), 4.0),
            "V0 must be positi",
        ),
        (lambda: NIW(np.zeros(2), 1.0, np.array([[1.0, 0.5], [0.0, 1.0]]), 4.0), "V0 must be symm"),
        (lambda: NIW(np.zeros(2), 1.0, np.eye(3), 4.0), "NIW: V0 must be of shape"),
        (lambda: NIW(np.array([np.nan, 0.0]), 1.0, np.eye(2), 4.0), "NIW: m0 must be finite"),
        (lambda: NIW(np.array([0, 1]), 1.0, np.eye(2), 4.0), "m0 must be of a real floating"),
        (lambda: NIW(np.zeros(2), 1.0, np.eye(2), 3.0).covariance(), "n0 must be above d . 1 = 3"),
        (lambda: Student(np.zeros(1), np.eye(1), 1.0).mean(), "dof must be above 1 for a mean"),
        (lambda: Student(np.zeros(1), np.eye(1), 2.0).covariance(), "dof must be above 2"),
        (lambda: Student(np.zeros(1), np.eye(1), 0.0), "Student: dof must be"),
        (lambda: law().predictive().log_prob(np.zeros(3)), r"x must be of shape \(..., 2\)"),
        (lambda: law().sample(2, rng=0), "NIW.sample: rng must be a"),
        (lambda: expected_kl(np.zeros(3), np.eye(3), law()), "expected_kl: m must be of shape"),
        (lambda: expected_kl(np.zeros(2), np.ones(2), law()), "expected_kl: V must be of shape"),
        (lambda: niw_kl(law(), law(d=3)), "niw_kl: p must be"),
        (lambda: condition(law(), np.zeros((0, 2))), "condition: means must be of shape"),
        (lambda: condition(law(), np.zeros((3, 2)), np.zeros((3, 2))), "covs must be of shape"),
        (lambda: multidigamma(0.5, 2), "multidigamma: x must be above"),
        (lambda: log_multigamma(1.0, 0), "log_multigamma: d must be"),
    ],
)
def test_bad_arguments_are_named(own_checks, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
