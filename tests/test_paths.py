"""Paths against their definitions at 50 digits, their own inverses and torch's derivatives."""

import math

import mpmath as mp
import numpy as np
import pytest
import torch

from fewtheory import arrays, paths

EPS = np.finfo(np.float64).eps
LAMS = [-12.0, -6.0, -2.5, -0.3, 0.0, 0.4, 2.0, 5.0, 12.0]


def vp(g):
    """(alpha, sigma) from g = -log alpha."""
    return mp.exp(-g), mp.sqrt(-mp.expm1(-2 * g))


def cosine(t, s):
    a, b = (mp.pi / 2 * (u + s) / (1 + s) for u in (t, 0))
    alpha = mp.cos(a) / mp.cos(b)
    return alpha, mp.sqrt(1 - alpha**2)


EXACT = {
    "vp-linear": lambda p, t: vp(t * (p.beta_min / 2 + (p.beta_max - p.beta_min) * t / 4)),
    "vp-cosine": lambda p, t: cosine(t, mp.mpf(p.s)),
    "edm": lambda p, t: (mp.mpf(1), t),
    "rectified-flow": lambda p, t: (1 - t, t),
    "trigonometric": lambda p, t: (mp.cos(mp.pi * t / 2), mp.sin(mp.pi * t / 2)),
}


def inside(path, n=9):
    """Times strictly inside the range of a path, off the knots of a table."""
    return np.linspace(path.end, path.start, n + 2)[1:-1] + 1e-5 * (path.start - path.end)


def lam_slope(path, t):
    return path.dalpha(t) / path.alpha(t) - path.dsigma(t) / path.sigma(t)


@pytest.mark.parametrize("name", list(EXACT))
@pytest.mark.parametrize("t", [1e-6, 1e-3, 0.1, 0.4999, 0.5, 0.8, 0.99, 1 - 1e-6])
def test_alpha_sigma_and_lam_keep_their_digits_at_both_ends(name, t):
    path = paths.NAMED[name]()
    if name == "edm":
        t = 0.002 + 79 * t
    with mp.workdps(50):
        alpha, sigma = EXACT[name](path, mp.mpf(t))
        lam = mp.log(alpha / sigma)
        # a rounding of t, or of an intermediate of its size, moves alpha by cond eps
        cond = [
            float(abs(mp.diff(lambda u, i=i: mp.log(EXACT[name](path, u)[i]), t) * t))
            for i in (0, 1)
        ]
        errors = [
            float(abs(path.alpha(t) / alpha - 1)),
            float(abs(path.sigma(t) / sigma - 1)),
            float(abs(path.lam(t) - lam)),
        ]
    bounds = [8 * EPS * (1 + c) for c in cond]
    assert errors[0] <= bounds[0]
    assert errors[1] <= bounds[1]
    assert errors[2] <= sum(bounds) + 4 * EPS * abs(lam)


def test_lam_is_the_log_of_alpha_over_sigma(path):
    for t in inside(path).tolist():
        ratio = math.log(path.alpha(t) / path.sigma(t))
        # two relative errors of a few eps, amplified by the slope of log alpha where t rounds
        assert path.lam(t) == pytest.approx(ratio, abs=16 * EPS * (1 + abs(t * lam_slope(path, t))))


def test_lam_decreases_in_t(path):
    assert np.all(np.diff(path.lam(inside(path, 200))) < 0)


def test_t_at_inverts_lam(path):
    for t in inside(path).tolist():
        lam = path.lam(t)
        bound = 8 * EPS * (t + (1 + abs(lam)) / abs(lam_slope(path, t)))
        assert path.t_at(lam) == pytest.approx(t, abs=bound)


@pytest.mark.parametrize("lam", LAMS)
def test_the_level_of_lam_has_this_lam(path, lam):
    if path.name == "table":
        lam = np.clip(lam, -2.6, 3.5)
    alpha, sigma = path.level(float(lam))
    assert math.log(alpha / sigma) == pytest.approx(lam, abs=8 * EPS * (1 + abs(lam)))


def test_the_level_of_lam_lies_on_the_path(path, lams):
    for lam in lams.tolist():
        t = path.t_at(lam)
        bound = 16 * EPS * (1 + abs(t * lam_slope(path, t)))
        assert path.level(lam) == pytest.approx((path.alpha(t), path.sigma(t)), rel=bound)


@pytest.mark.parametrize(
    "kind", [paths.VPLinear, paths.VPCosine, paths.RectifiedFlow, paths.Trigonometric]
)
def test_infinite_lam_is_the_clean_and_the_noise_end(kind):
    assert kind().level(math.inf) == (1.0, 0.0)
    assert kind().level(-math.inf) == (0.0, 1.0)
    assert kind().t_at(math.inf) == 0.0


@pytest.mark.parametrize("path", [paths.VPLinear(beta_min=0.0), paths.VPCosine(s=0.0)], ids=repr)
def test_a_schedule_that_starts_flat_has_a_clean_end_too(path):
    assert path.t_at(math.inf) == 0.0
    assert path.alpha(0.0) == 1.0


def test_the_edm_path_ends_at_sigma_zero():
    assert paths.EDM().level(math.inf) == (1.0, 0.0)


def test_alpha_vanishes_where_the_cosine_path_ends():
    # cos(pi/2) in float64 is the rounding of pi/2
    assert abs(paths.VPCosine().alpha(1.0)) <= EPS


@pytest.mark.parametrize("which", ["alpha", "sigma"])
def test_derivatives_are_torchs(path, which):
    t = torch.tensor(inside(path), requires_grad=True)
    (grad,) = torch.autograd.grad((getattr(path, which)(t) + 0 * t).sum(), t)  # EDM: a constant
    stated = getattr(path, f"d{which}")(t.detach())
    # both are products of a few factors, each conditioned like the function itself
    scale = 32 * EPS * (1 + torch.abs(t.detach() * torch.tensor(lam_slope(path, inside(path)))))
    assert torch.all(torch.abs(stated - grad) <= scale * (1 + torch.abs(grad)))


def test_a_second_derivative_exists_on_torch(path):
    t = torch.tensor(inside(path), requires_grad=True)
    (first,) = torch.autograd.grad(path.lam(t).sum(), t, create_graph=True)
    assert torch.isfinite(first).all()
    np.testing.assert_allclose(first.detach(), lam_slope(path, inside(path)), rtol=1e-12)


@pytest.mark.parametrize("name", ["alpha", "sigma", "dalpha", "dsigma", "lam"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_array_of_times_keeps_its_kind_and_dtype(path, asarray, name, dtype):
    t = asarray(inside(path).astype(dtype))
    found = getattr(path, name)(t)
    assert type(found) is type(t)
    assert found.dtype == t.dtype
    assert found.shape == t.shape


def test_an_array_of_lams_gives_the_times_of_its_numbers(path, asarray, lams):
    found = arrays.to_numpy(path.t_at(asarray(lams)))
    np.testing.assert_allclose(found, [path.t_at(v) for v in lams.tolist()], rtol=64 * EPS)


@pytest.mark.parametrize("name", ["alpha", "sigma", "dalpha", "dsigma", "lam", "t_at"])
def test_a_number_gives_a_python_float(path, name):
    assert type(getattr(path, name)(0.5)) is float
    assert type(getattr(path, name)(np.float64(0.5))) is float


@pytest.mark.parametrize(
    "t", [-1e-6, 81.0, math.nan, np.array([0.5, 99.0]), np.array([0.5, math.nan])]
)
def test_a_time_outside_the_path_is_named_with_the_range(path, t):
    with pytest.raises(ValueError, match=r"here: when must be in \[.*\] on .*, got "):
        path.check_t("here", t, "when")


def test_a_time_outside_by_rounding_passes(path):
    path.check_t("here", path.t_max * (1 + EPS))
    path.check_t("here", path.t_min - EPS)


def test_no_times_at_all_are_fine(path):
    path.check_t("here", np.empty(0))


class TestTable:
    def test_it_meets_every_entry(self):
        table = np.array([0.9, 0.7, 0.4, 0.1])
        alpha = paths.Table(table).alpha(np.arange(1, 5) / 4)
        np.testing.assert_allclose(alpha**2, table, rtol=8 * EPS)

    def test_log_alpha_is_linear_between_entries(self):
        path = paths.Table(np.array([0.9, 0.7, 0.4, 0.1]))
        halfway = 0.5 * (math.log(path.alpha(0.5)) + math.log(path.alpha(0.75)))
        assert math.log(path.alpha(0.625)) == pytest.approx(halfway, rel=8 * EPS)

    def test_the_network_takes_the_index_of_the_entry(self):
        path = paths.Table(np.linspace(0.99, 0.01, 10))
        assert [round(path.timestep((i + 1) / 10), 12) for i in range(10)] == list(range(10))

    def test_clip_lam_drops_the_noisy_end(self):
        # lam of alpha^2 = 0.1 is log(1/9)/2 = -1.0986; that of 0 is minus infinity
        path = paths.Table(np.array([0.9, 0.4, 0.1, 0.0]), clip_lam=-1.2)
        assert (path.start, path.t_max) == (0.75, 0.75)

    @pytest.mark.parametrize(
        "table",
        [
            [0.9, 0.5, 0.0],
            [0.5, 0.9],
            [0.9, 0.9],
            [1.0, 0.5],
            [0.9, -0.1],
            [0.9],
            [[0.9, 0.5]],
            [0.9, math.nan],
        ],
    )
    def test_what_is_no_schedule_is_named(self, table):
        with pytest.raises(ValueError, match="Table: alphas_cumprod must be "):
            paths.Table(np.array(table))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: paths.VPLinear(beta_min=-1.0), "VPLinear: beta_min"),
        (lambda: paths.VPLinear(beta_max=0.05), "VPLinear: beta_max"),
        (lambda: paths.VPLinear(beta_max=math.inf), "VPLinear: beta_max"),
        (lambda: paths.VPCosine(s=-0.1), "VPCosine: s"),
        (lambda: paths.EDM(sigma_min=-1.0), "EDM: sigma_min"),
        (lambda: paths.EDM(sigma_min=2.0, sigma_max=1.0), "EDM: sigma_max"),
        (lambda: paths.EDM(sigma_max=math.nan), "EDM: sigma_max"),
    ],
)
def test_a_bad_parameter_is_named(make, named):
    with pytest.raises(ValueError, match=f"{named} must be "):
        make()


def test_a_path_without_a_name_of_its_own_is_no_path():
    with pytest.raises(TypeError, match="use one of the named paths"):
        paths.Path().alpha(0.5)


def test_a_table_may_be_linear_in_alpha_squared():
    # DEIS's convention: half way between two entries stands the mean of their alphas_cumprod
    values = np.array([0.95, 0.8, 0.5, 0.2])
    table = paths.Table(values, interpolation="linear")
    at = table.alpha(np.array([0.25, 0.375, 0.5, 0.875])) ** 2
    np.testing.assert_allclose(at, [0.95, 0.875, 0.8, 0.35], rtol=1e-14)
    t = np.linspace(0.26, 0.99, 7)
    np.testing.assert_allclose(table.t_at(table.lam(t)), t, rtol=1e-12)
    step = 1e-6
    slope = (table.alpha(0.6 + step) - table.alpha(0.6 - step)) / (2 * step)
    assert table.dalpha(0.6) == pytest.approx(slope, rel=1e-8)  # the error is O(step^2)


def test_an_unknown_interpolation_is_named():
    with pytest.raises(ValueError, match="Table: interpolation must be one of 'log', 'linear'"):
        paths.Table([0.9, 0.5], interpolation="cubic")
