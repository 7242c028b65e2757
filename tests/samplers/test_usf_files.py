"""USF's files: what they say, as a plan; nothing in them is executed."""

import math

import pytest
import torch

from fewtheory import paths
from fewtheory.plan import grids
from fewtheory.samplers import ModelStatistics, solver_schedule
from fewtheory.samplers.solver_decisions import Decision, Taylor, known_schedule
from fewtheory.samplers.usf_files import from_usf, load_usf, read_usf

VP = paths.VPLinear()
TIMES = [1.0, 0.6, 0.3, 0.001]


def derivative(points, relaxation=None, **more):
    return {
        "estimate": f"Difference_{len(points)}",
        "active_points": points,
        "relaxation": relaxation,
        **more,
    }


def corrector(kind="no_corrector", start=None, order=None, derivatives=None):
    return {
        "type": kind,
        "start_point": start,
        "taylor_order": order,
        "derivative_type": derivatives,
    }


def held(**changes):
    """A file of three steps: 1, 2 with a pseudo corrector and linear relaxation, 3 in noise."""
    new = derivative([-3, -1])
    return {
        "timesteps": torch.tensor(TIMES),
        "orders": [1, 2, 3],
        "prediction_types": ["data_prediction", "data_prediction", "noise_prediction"],
        "start_points": [-1, -1, -1],
        "derivative_types": [
            [derivative([])],
            [derivative([-2], "linear", relaxation_coefficient=0.25)],
            [derivative([-2]), derivative([-2, -3], None)],
        ],
        "corrector_types": [corrector(), corrector("pseudo", -2, 3, [new, new]), corrector()],
        "afs": "no_afs",
        "skip_coefficients": torch.ones(15),
        **changes,
    }


WANTED = [
    Decision("data", 1),
    Decision("data", 2, ((-2,),), 0.25, -1, "pseudo", Taylor(3, ((-3, -1), (-3, -1)))),
    Decision("noise", 3, ((-2,), (-2, -3))),
]


@pytest.fixture
def file(tmp_path):
    def write(content):
        torch.save(content, tmp_path / "schedule.pth")
        return tmp_path / "schedule.pth"

    return write


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: [d, 12.5]], ids=["dict", "with a score"])
def test_a_file_is_the_plan_of_its_decisions(file, wrap):
    found = load_usf(file(wrap(held())), VP)
    times = torch.tensor(TIMES).tolist()  # in float32, as the file has them
    assert found.distance(solver_schedule(VP, times, WANTED)) == 0.0


def test_what_a_file_says_is_read_whole(file):
    found = read_usf(file(held(afs="average_x0")))
    assert (found.decisions, found.afs) == (WANTED, "mean")
    assert found.times == pytest.approx(TIMES, rel=1e-7)
    assert found.skip_coefficients == [1.0] * 15


def test_the_repositorys_2m_is_the_known_schedule():
    two = [derivative([-2], "dpmsolver-2")]
    given = held(
        orders=[1, 2, 2],
        prediction_types=["data_prediction"] * 3,
        derivative_types=[[], two, two],
        corrector_types=[corrector()] * 3,
    )
    grid = grids.at_times(VP, torch.tensor(TIMES).tolist())
    one = solver_schedule(VP, grid, from_usf(given).decisions)
    assert one.distance(solver_schedule(VP, grid, known_schedule("2m-midpoint", 3))) == 0.0


def test_nodes_that_are_not_named_are_the_newest():
    entry = {"estimate": "Difference_1", "active_points": None, "relaxation": "no_relaxation"}
    given = held(derivative_types=[[], [entry], [entry, derivative([-2, -3])]])
    assert [d.estimates[:1] for d in from_usf(given).decisions] == [(), (1,), (1,)]


def test_an_implicit_corrector_runs_as_the_repository_runs_it_unless_asked(file):
    new = derivative([-1])
    given = held()
    given["corrector_types"][0] = corrector("implicit", -2, 2, [new])
    assert from_usf(given).decisions[0].corrector == "pseudo"
    assert read_usf(file(given), implicit="implicit").decisions[0].corrector == "implicit"


def test_version_three_takes_statistics(file):
    kinds = ["dpmsolver_v3_prediction"] * 3
    given = file(held(prediction_types=kinds, afs="zero_x0"))
    plan = load_usf(given, VP, statistics=ModelStatistics.constant(0.6, 0.0, 0.1))
    assert plan.nfe == 2
    with pytest.raises(ValueError, match="statistics must be a ModelStatistics"):
        load_usf(given, VP)


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


def test_code_in_a_file_is_not_executed(file):
    with pytest.raises(ValueError, match=r"schedule.pth: not a file of tensors and plain data"):
        load_usf(file({"timesteps": Bomb()}), VP)


def test_a_file_that_is_not_there_or_is_none_is_named(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_usf(tmp_path / "none.pth", VP)
    (tmp_path / "text.pth").write_text("not a schedule")
    with pytest.raises(ValueError, match=r"read_usf: .*text.pth: not a file"):
        load_usf(tmp_path / "text.pth", VP)


def test_skip_coefficients_are_no_part_of_a_plan(file):
    given = file(held(skip_coefficients=torch.full((15,), 0.97)))
    with pytest.raises(ValueError, match="skip_coefficients must be 1 for a plan"):
        load_usf(given, VP)
    assert read_usf(given).skip_coefficients == pytest.approx([0.97] * 15, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"orders": [1, 2]}, "orders must be 3 entries"),
        ({"orders": ["1", 2, 3]}, "derivative_types must be an order and a list"),
        ({"orders": [1, 2, 7]}, "derivative_types must be 6 derivatives"),
        ({"timesteps": [1.0, math.nan]}, "timesteps must be finite"),
        ({"prediction_types": ["x0"] * 3}, "prediction_types must be one of"),
        ({"afs": "first"}, "afs must be one of"),
        ({"corrector_types": [None] * 3}, "corrector_types must be a dict"),
        ({"corrector_types": [corrector("magic")] * 3}, "corrector_types must be one of"),
        ({"corrector_types": [corrector("pseudo", -1, 2, [])] * 3}, "from start_point -2"),
        ({"derivative_types": [[], [1], []]}, "derivative_types must be dicts"),
        (
            {"derivative_types": [[], [derivative([-2], "half")], []]},
            "derivative_types must be one",
        ),
        (
            {"derivative_types": [[], [{**derivative([-2]), "estimate": "Difference_2"}], []]},
            "'Difference_n' of n active_points",
        ),
    ],
)
def test_a_bad_file_names_its_key(change, message):
    with pytest.raises(ValueError, match=message):
        from_usf(held(**change))


def test_a_missing_key_and_another_content_are_named():
    given = held()
    del given["orders"]
    with pytest.raises(ValueError, match="content must be a dict with 'orders'"):
        from_usf(given)
    with pytest.raises(ValueError, match="content must be a dict, or a list"):
        from_usf(3.0)
    with pytest.raises(ValueError, match="implicit must be 'pseudo' or 'implicit'"):
        read_usf("none.pth", implicit="real")
