"""Scaling laws from tables of runs: recovered where exact, covered as often as stated where not."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.regression.linear_model import OLS

from fewtheory.learning.ambient.scaling import scaling_law

LEVEL = 1e-6
CLEAN = [30, 70, 140, 290, 430, 720, 1440]
N1 = np.array([*CLEAN, 30, 144, 431, 30, 144, 30, 144, 431, 30, 144])
N2 = np.array([0] * 7 + [1407, 1293, 1006, 449, 335] * 2)
GROUP = [None] * 7 + ["low"] * 5 + ["high"] * 5
WORTH = {None: 0.0, "low": 0.8, "high": 0.3}
SIZE = N1 + np.array([WORTH[g] for g in GROUP]) * N2
ERROR = 0.02 + 3.0 * SIZE**-0.7


def test_a_table_without_scatter_gives_back_its_law():
    fit = scaling_law(N1, N2, ERROR, group=GROUP)
    found = [fit.amplitude, fit.exponent, fit.floor, *fit.worth.values()]
    # Gauss and Newton's last step is below 1e-8 and their convergence here quadratic
    assert found == pytest.approx([3.0, 0.7, 0.02, 0.8, 0.3], rel=1e-8)
    assert fit.freedom == 17 - 5
    assert fit.effective_size([30, 10], [1407, 0], "low") == pytest.approx([30 + 0.8 * 1407, 10])
    assert fit.predict([50], [60], "high").value == pytest.approx(0.02 + 3 * (50 + 18) ** -0.7)


def test_units_of_error_and_of_size_change_no_worth(rng):
    error = ERROR * np.exp(0.05 * rng.standard_normal(17))
    fit = scaling_law(N1, N2, error, group=GROUP)
    other = scaling_law(10 * N1, 10 * N2, 7 * error, group=GROUP)
    assert other.exponent == pytest.approx(fit.exponent, rel=1e-6)
    assert list(other.worth.values()) == pytest.approx(list(fit.worth.values()), rel=1e-6)
    assert other.floor == pytest.approx(7 * fit.floor, rel=1e-6)


def test_a_price_is_the_inverse_of_a_worth(rng):
    fit = scaling_law(N1, N2, ERROR * np.exp(0.05 * rng.standard_normal(17)), group=GROUP)
    worth, price = fit.interval("worth", "low"), fit.interval("price", "low")
    found = (price.value, price.low, price.high)
    assert found == pytest.approx((1 / worth.value, 1 / worth.high, 1 / worth.low))


def test_the_order_of_the_runs_changes_nothing(rng):
    error, order = ERROR * np.exp(0.05 * rng.standard_normal(17)), rng.permutation(17)
    fit = scaling_law(N1, N2, error, group=GROUP)
    other = scaling_law(N1[order], N2[order], error[order], group=[GROUP[i] for i in order])
    assert other.worth == pytest.approx(fit.worth, rel=1e-6)


def test_a_law_without_floor_and_noisy_samples_is_a_line_of_logarithms(rng):
    n = np.array(CLEAN * 2)
    error = 2.0 * n**-0.5 * np.exp(0.1 * rng.standard_normal(14))
    line = OLS(np.log(error), np.column_stack([np.ones(14), np.log(n)])).fit()
    fit = scaling_law(n, 0 * n, error, floor=0)
    assert fit.exponent == pytest.approx(-line.params[1], rel=1e-8)
    assert fit.scatter == pytest.approx(math.sqrt(line.scale), rel=1e-8)
    interval = fit.interval("exponent")
    # the crossing is found to 1e-4 of a half-width of less than 1
    assert [interval.low, interval.high] == pytest.approx(-line.conf_int()[1][::-1], abs=1e-4)
    predicted = fit.predict(1000, level=0.9)
    frame = line.get_prediction([[1, math.log(1000)]]).summary_frame(alpha=0.1)
    ends = [predicted.low[0], predicted.high[0], predicted.new_low[0], predicted.new_high[0]]
    names = ["mean_ci_lower", "mean_ci_upper", "obs_ci_lower", "obs_ci_upper"]
    assert ends == pytest.approx([math.exp(frame[c].iloc[0]) for c in names], rel=1e-7)


def test_intervals_cover_as_often_as_they_say():
    """Of 120 tables, at level 0.8, within what a binomial law allows at 1e-6."""
    rng, level, tables = np.random.default_rng(8), 0.8, 120
    keep = np.array([g != "high" for g in GROUP])
    n1, n2, clean = N1[keep], N2[keep], 3.0 * SIZE[keep] ** -0.7
    hits = {"worth": 0, "median": 0, "run": 0}
    for _ in range(tables):
        fit = scaling_law(n1, n2, clean * np.exp(0.1 * rng.standard_normal(12)), floor=0.0)
        worth = fit.interval("worth", level=level)
        hits["worth"] += worth.low <= 0.8 <= worth.high
        predicted = fit.predict(200, 800, level=level)
        truth = 3.0 * (200 + 0.8 * 800) ** -0.7
        hits["median"] += predicted.low[0] <= truth <= predicted.high[0]
        new = truth * math.exp(0.1 * rng.standard_normal())
        hits["run"] += predicted.new_low[0] <= new <= predicted.new_high[0]
    law = stats.binom(tables, level)
    for what, found in hits.items():
        assert law.ppf(LEVEL / 2) <= found <= law.ppf(1 - LEVEL / 2), what
    # half as wide they would cover half as often as they err less, and be found out
    half = stats.binom(tables, 2 * stats.norm.cdf(stats.norm.ppf(0.9) / 2) - 1)
    assert half.ppf(0.99) < law.ppf(LEVEL / 2)


def test_worthless_noisy_samples_leave_their_price_unbounded(rng):
    error = 3.0 * N1**-0.7 * np.exp(0.1 * rng.standard_normal(17))
    fit = scaling_law(N1, N2, error, floor=0.0)
    worth, price = fit.interval("worth"), fit.interval("price")
    assert worth.low == 0.0
    assert price.high == math.inf
    assert price.low == pytest.approx(1 / worth.high)


def test_a_floor_in_the_data_is_found_and_its_absence_leaves_zero_in_the_interval(rng):
    noise = np.exp(0.03 * rng.standard_normal(17))
    with_floor = scaling_law(N1, N2, ERROR * noise, group=GROUP).interval("floor", level=0.999)
    assert 0 < with_floor.low <= 0.02 <= with_floor.high
    without = scaling_law(N1, N2, (ERROR - 0.02) * noise, group=GROUP)
    assert without.interval("floor", level=0.999).low == 0.0


FIT = scaling_law(N1, N2, ERROR, group=GROUP, floor=0.02)
BAD = {
    "error must be positive": lambda: scaling_law(N1, N2, -ERROR),
    "error must be finite": lambda: scaling_law(N1, N2, ERROR * np.nan),
    "error must be of more runs than the 4 parameters, got 3": lambda: scaling_law(
        N1[-3:], N2[-3:], ERROR[-3:]
    ),
    "n_clean must be not negative, of shape": lambda: scaling_law(N1[:3], N2, ERROR),
    "n_noisy must be not negative": lambda: scaling_law(N1, -N2, ERROR),
    "n_clean must be with n_noisy at least one": lambda: scaling_law(0 * N1, N2, ERROR),
    "n_clean must be positive in some run": lambda: scaling_law(0 * N1, N2 + 1, ERROR),
    "group must be of 17 labels": lambda: scaling_law(N1, N2, ERROR, group=["low"]),
    "floor must be below the least error": lambda: scaling_law(N1, N2, ERROR, floor=1.0),
    "floor must be finite in": lambda: scaling_law(N1, N2, ERROR, floor=-1.0),
    "interval: level must be in": lambda: FIT.interval("exponent", level=1.0),
    "interval: what must be 'exponent'": lambda: FIT.interval("slope"),
    "interval: what must be of what was fitted": lambda: FIT.interval("floor"),
    "interval: group must be one of .'low', 'high'., got 'mid'": lambda: FIT.interval(
        "worth", "mid"
    ),
    "predict: group must be one of": lambda: FIT.predict(10, 10, "mid"),
    "predict: n_clean must be sizes": lambda: FIT.predict(0, 0),
    "predict: level must be in": lambda: FIT.predict(10, 0, level=0.0),
    "effective_size: group must be one of": lambda: FIT.effective_size(10, 10),
}


@pytest.mark.parametrize("named", BAD)
@pytest.mark.usefixtures("own_checks")
def test_bad_input_is_named(named):
    with pytest.raises((ValueError, TypeError), match=named):
        BAD[named]()
