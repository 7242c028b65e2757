"""What theory says before a run: linear students, mode seeking, time scales, faults, guidance."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtheory import distill as d
from fewtheory import paths
from fewtheory.distill.theory import mode_seeking
from fewtheory.distill.theory.normaliser import mean_gradient
from fewtheory.testbeds import Gaussian, GaussianMixture, mixture_1d

KNOWN = json.loads((Path(__file__).parents[1] / "data" / "dmd-base.json").read_text())
RF, VE = paths.RectifiedFlow(), paths.EDM(1e-9, 1e9)
TWO = mixture_1d([0.5, 0.5], [-2.0, 2.0], [0.5, 0.5])
COORDINATE = mixture_1d([0.7, 0.3], [-1.0, 1.5], [0.5, 0.5])


def test_the_linear_world_is_known():
    given_, expected = KNOWN[0]["inputs"], KNOWN[0]["expected"]
    found = d.linear_kl(given_["A"], given_["b"], Gaussian(given_["m"], given_["C"]), RF, 0.3)
    assert found.value == pytest.approx(expected["kl"], rel=1e-14)
    assert found.grad_A == pytest.approx(np.array(expected["grad_A"]), rel=1e-13)
    assert found.grad_b == pytest.approx(np.array(expected["grad_b"]), rel=1e-13)


def test_a_diagonal_teacher_is_a_full_one_with_zeros():
    A, b = [[0.8, 0.1], [0.2, 0.4]], [0.2, 0.1]
    one = d.linear_kl(A, b, Gaussian([1.0, -1.0], [1.0, 0.5]), RF, 0.4)
    two = d.linear_kl(A, b, Gaussian([1.0, -1.0], np.diag([1.0, 0.5])), RF, 0.4)
    assert one.value == pytest.approx(two.value, rel=1e-14)
    assert one.grad_A == pytest.approx(two.grad_A, rel=1e-13)


def test_paths_at_one_ratio_of_noise_to_signal_have_one_divergence():
    A, b, teacher = [[0.8, 0.1], [0.2, 0.4]], [0.2, 0.1], Gaussian([1.0, -1.0], [1.0, 0.5])
    lam = float(RF.lam(0.3))
    values = [
        d.linear_kl(A, b, teacher, path, float(path.t_at(lam))).value
        for path in (RF, VE, paths.VPLinear(), paths.Trigonometric())
    ]
    assert values == pytest.approx([values[0]] * 4, rel=1e-12)


def test_the_fisher_divergence_is_known_and_vanishes_at_the_teacher():
    A, b = np.array(KNOWN[1]["inputs"]["A"]), KNOWN[1]["inputs"]["b"]
    teacher = Gaussian(KNOWN[1]["inputs"]["m"], KNOWN[1]["inputs"]["C"])
    found = d.fisher_divergence(Gaussian(b, A @ A.T), teacher, VE, 0.8)
    assert found == pytest.approx(KNOWN[1]["expected"]["fisher"], rel=1e-13)
    assert d.fisher_divergence(teacher, teacher, VE, 0.8) < 1e-28


# two time scales


@pytest.mark.parametrize("known", [KNOWN[2], KNOWN[3]])
def test_two_time_scales_are_known(known):
    g, f, n = (known["inputs"][k] for k in "gfn")
    found, expected = d.two_time_scale(g, f, n), known["expected"]
    assert found.radius == pytest.approx(expected["spectral_radius"], rel=1e-12)
    assert found.rings == expected["oscillates"]
    assert d.monotone_step(f, n) == pytest.approx(expected["monotone_bound_on_g"], rel=1e-12)


RATES = st.floats(0.01, 0.95)


@given(RATES, RATES, st.integers(1, 12), st.floats(0.05, 1.0), st.sampled_from(["fresh", "stale"]))
def test_a_run_falls_by_the_radius_and_rings_where_eigenvalues_say(g, f, n, ema, order):
    found = d.two_time_scale(g, f, n, ema=ema, order=order)
    eigenvalues = np.linalg.eigvals(found.matrix)
    # a double eigenvalue is known to the square root of a rounding
    assert found.radius == pytest.approx(np.abs(eigenvalues).max(), rel=1e-6, abs=1e-6)
    assert found.run(np.ones(2), 3)[-1] == pytest.approx(
        np.linalg.matrix_power(found.matrix, 3) @ np.ones(2), rel=1e-12, abs=1e-14
    )


@given(RATES, RATES, st.floats(0.3, 1.0))
def test_the_smallest_number_of_fake_steps_is_that_of_the_eigenvalues(g, f, ema):
    n = d.fake_steps(g, f, ema=ema)
    edge = abs(g - d.monotone_step(f, n, ema=ema)) < 1e-9
    assert edge or not d.two_time_scale(g, f, n, ema=ema).rings
    if n > 1 and abs(g - d.monotone_step(f, n - 1, ema=ema)) > 1e-9:
        assert d.two_time_scale(g, f, n - 1, ema=ema).rings


def test_a_pull_towards_the_generator_is_worth_fake_steps():
    # ema = (1 - f)^k is k further steps
    pulled = d.two_time_scale(0.1, 0.1, 2, ema=0.9**3)
    assert pulled.matrix == pytest.approx(d.two_time_scale(0.1, 0.1, 5).matrix, rel=1e-13)


def test_cycles_to_a_tenth_follow_from_the_radius():
    found = d.two_time_scale(0.1, 0.1, 5)
    assert found.radius**found.cycles == pytest.approx(0.1, rel=1e-12)
    assert d.two_time_scale(1.0, 0.01, 1).cycles > 100


# mode seeking


def test_gradient_and_hessian_are_the_derivatives_of_the_divergence():
    p = mode_seeking._blurred("test", COORDINATE, 0.4)
    y, h = np.array([0.3, -0.2]), 1e-5
    _, gradient, hessian = mode_seeking._reverse_kl(p, y)
    for k in range(2):
        step = h * np.eye(2)[k]
        up, down = mode_seeking._reverse_kl(p, y + step), mode_seeking._reverse_kl(p, y - step)
        # second order in h = 1e-5: 1e-10, and rounding of 1e-16 / h
        assert (up[0] - down[0]) / (2 * h) == pytest.approx(gradient[k], abs=1e-9)
        assert (up[1] - down[1]) / (2 * h) == pytest.approx(hessian[k], abs=1e-9)


def test_twice_the_nodes_change_nothing(monkeypatch):
    before = d.reverse_kl_fit(TWO, 0.3, (0.0, 2.0))
    monkeypatch.setattr(mode_seeking, "NODES", 2 * mode_seeking.NODES - 1)
    after = d.reverse_kl_fit(TWO, 0.3, (0.0, 2.0))
    assert before.kl == pytest.approx(after.kl, rel=1e-13)
    assert before.std == pytest.approx(after.std, rel=1e-12)


def test_a_single_gaussian_is_fitted_exactly():
    found = d.reverse_kl_fit(mixture_1d([1.0], [0.7], [0.4]), 0.2, (0.0, 1.0))
    assert (found.mean, found.std) == pytest.approx((0.7, 0.4), rel=1e-9)
    assert found.kl < 1e-14
    assert found.stable


def test_the_transition_is_known():
    found, expected = d.mode_transition(TWO), KNOWN[4]["expected"]
    assert found.rho_cross == pytest.approx(expected["rho_cross"], rel=1e-10)
    assert found.rho_fold == pytest.approx(expected["rho_fold"], rel=1e-10)
    assert found.mean_at_fold == pytest.approx(expected["b_at_fold"], rel=1e-9)


# faults, guidance, the normaliser


def test_a_weak_fake_score_is_known():
    given_, expected = KNOWN[8]["inputs"], KNOWN[8]["expected"]
    v = d.shrunk_variance(given_["c2"], RF, given_["t"], given_["kappa"])
    assert v == pytest.approx(expected["variance"], rel=1e-13)
    edge = d.collapse_kappa(given_["c2"], RF, given_["t"])
    assert edge == pytest.approx(expected["kappa_collapse"], rel=1e-13)
    assert d.shrunk_variance(1.0, RF, 0.6, edge) == pytest.approx(0.0, abs=1e-15)
    assert d.shrunk_variance(1.0, RF, 0.6, 0.5) == 0.0


def test_a_full_covariance_is_shifted_as_its_spectrum_is():
    full = Gaussian([1.0, -1.0], [[1.0, 0.3], [0.3, 0.5]])
    assert full.basis is not None
    turned = Gaussian(full.basis.T @ full.mean, full.spectrum)
    e = np.array([0.05, -0.02])
    found = d.shifted_mean(full, RF, 0.6, e)
    assert full.basis.T @ found == pytest.approx(d.shifted_mean(turned, RF, 0.6, full.basis.T @ e))


def test_guidance_is_known_and_its_edge_is_where_the_variance_vanishes():
    given_, expected = KNOWN[5]["inputs"], KNOWN[5]["expected"]
    v = d.guided_variance(given_["vu"], given_["vc"], given_["w"], given_["rho"])
    assert v == pytest.approx(expected["clean_variance"], rel=1e-12)
    assert v + given_["rho"] ** 2 == pytest.approx(expected["level_variance"], rel=1e-12)
    edge = d.largest_noise(1.5, 0.5, 4.5)
    assert edge == pytest.approx(expected["critical_rho"], rel=1e-14)
    assert d.guided_variance(0.5, 1.5, 4.0, 0.1) == math.inf  # of no law: the precision is negative


def test_without_noise_of_the_dimension_the_normalised_field_is_the_plain_one():
    far = mean_gradient(COORDINATE, 1.5, 100_000, 0.2, 0.9)
    scale = mean_gradient(COORDINATE, 1.5, None, 0.2, 0.9)
    # both divided by the mean distance in the limit: the ratio of the entries is the same
    assert far[0] / far[1] == pytest.approx(scale[0] / scale[1], rel=1e-4)


def test_the_normalised_field_is_that_of_many_samples(rng):
    d_, n = 4, 200_000
    z, eps = rng.standard_normal((2, n, d_))
    x0 = 0.2 + 0.9 * z
    x = (x0 + 1.5 * eps).reshape(-1, 1)
    real = COORDINATE.means_at(x, 1.0, 1.5)[0].reshape(n, d_)
    fake = Gaussian([0.2], 0.81).means_at(x, 1.0, 1.5)[0].reshape(n, d_)
    g = (fake - real) / np.abs(real - x0).mean(1, keepdims=True)
    for sampled, k in ((g.mean(1), 0), ((g * z).mean(1), 1)):
        expected = mean_gradient(COORDINATE, 1.5, d_, 0.2, 0.9)[k]
        assert abs(sampled.mean() - expected) < 5 * sampled.std() / math.sqrt(n)


LAW = Gaussian([0.0], 1.0)


@pytest.mark.usefixtures("own_checks")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: d.linear_kl([1.0], [0.0], LAW, RF, 0.5),
            r"linear_kl: A must be of shape \(1, k\)",
        ),
        (lambda: d.linear_kl([[1.0]], [0.0, 1.0], LAW, RF, 0.5), r"b must be of shape \(1,\)"),
        (lambda: d.linear_kl([[1.0]], [0.0], LAW, RF, 1.5), "linear_kl: t must be in"),
        (
            lambda: d.fisher_divergence(Gaussian([0.0, 0.0], 1.0), LAW, RF, 0.5),
            "fisher_divergence: student must be of dimension 1",
        ),
        (lambda: d.kl_from_fisher(lambda r: r, 2.0, 1.0), "kl_from_fisher: low must be above 0"),
        (lambda: d.two_time_scale(0.0, 0.1, 1), "two_time_scale: g must be above 0, got 0.0"),
        (lambda: d.two_time_scale(0.1, 1.5, 1), "two_time_scale: f must be finite in"),
        (lambda: d.two_time_scale(0.1, 0.1, 0), "two_time_scale: n must be at least 1, got 0"),
        (lambda: d.two_time_scale(0.1, 0.1, 1, ema=2.0), "two_time_scale: ema must be"),
        (lambda: d.two_time_scale(0.1, 0.1, 1, order="late"), "two_time_scale: order must be one"),
        (lambda: d.fake_steps(1.0, 0.1), "fake_steps: g must be under 1"),
        (lambda: d.monotone_step(0.1, 0), "monotone_step: n must be at least 1"),
        (
            lambda: d.reverse_kl_fit(GaussianMixture([1.0], [[0.0]], [1.0]), 0.1, (0.0, 1.0)),
            "reverse_kl_fit: teacher must be a mixture in one dimension",
        ),
        (lambda: d.reverse_kl_fit(TWO, -0.1, (0.0, 1.0)), "reverse_kl_fit: rho must be finite in"),
        (lambda: d.reverse_kl_fit(TWO, 0.0, (0.0, 0.0)), "reverse_kl_fit: start must be of a pos"),
        (
            lambda: d.shifted_mean(LAW, RF, 0.5, np.zeros(2)),
            r"shifted_mean: error must be of shape",
        ),
        (lambda: d.shrunk_variance(0.0, RF, 0.5, 0.1), "shrunk_variance: c must be above 0"),
        (lambda: d.shrunk_variance(1.0, RF, 0.5, 1.1), "shrunk_variance: kappa must be finite in"),
        (
            lambda: d.collapse_kappa(1.0, RF, 1.0),
            "collapse_kappa: t must be where alpha is above 0",
        ),
        (lambda: d.guided_variance(0.0, 1.0, 2.0, 0.1), "guided_variance: v_u must be above 0"),
        (lambda: d.guided_variance(1.0, 1.0, 2.0, -1.0), "guided_variance: rho must be"),
        (lambda: d.largest_noise(1.0, 0.0, 2.0), "largest_noise: v_c must be above 0"),
        (
            lambda: d.normalised_fixed_point(COORDINATE, 1.5, 1),
            "normalised_fixed_point: d must be at least 2, got 1",
        ),
        (
            lambda: d.normalised_fixed_point(COORDINATE, 0.0, 2),
            "normalised_fixed_point: rho must be above 0",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
