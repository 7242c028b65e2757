"""Plans in files: exact to the bit, whole or not at all, and never code."""

import json
import math
import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fewtheory import paths, samplers
from fewtheory.plan import Hook, Plan, Trace, grids, load

VP = paths.VPLinear()
ARRAYS = ("P", "B", "C", "d", "lam", "alpha", "sigma", "t")
any_finite = st.floats(allow_nan=False, allow_infinity=False)


def elementwise():
    grid = grids.at_lams(VP, [-1.0, 0.0, 1.0])
    trace = Trace(samplers.ddim, VP, grid)
    x, m = trace.evaluate(trace.start, grid[0])
    return trace.plan(np.array([0.1, 1 / 3]) * x + m + np.array([0.2, -0.7]))


PLANS = {
    "deterministic": lambda: samplers.unipc(VP, grids.log_snr(VP, 5), 3),
    "stochastic": lambda: samplers.dpm_solver_pp(VP, grids.log_snr(VP, 5), 2, eta=0.5),
    "to clean data, with a hook": lambda: samplers.dpm_solver_pp(
        VP, grids.log_snr(VP, 5), 2, denoise_to_zero=True, thresholding=True
    ),
    "from pure noise": lambda: samplers.ddim(
        paths.RectifiedFlow(), grids.at_lams(paths.RectifiedFlow(), [-math.inf, 0.0, math.inf])
    ),
    "elementwise": elementwise,
}


def bits(plan):
    return {name: (getattr(plan, name).shape, getattr(plan, name).tobytes()) for name in ARRAYS}


@pytest.fixture
def file(tmp_path):
    """A saved plan of three evaluations."""
    target = tmp_path / "plan.json"
    samplers.dpm_solver_pp(VP, grids.log_snr(VP, 3), 2, eta=1.0).save(target)
    return target


def edited(file, **changes):
    record = json.loads(file.read_text())
    record.update(changes)
    file.write_text(json.dumps(record))
    return file


@pytest.mark.parametrize("make", list(PLANS.values()), ids=list(PLANS))
def test_a_loaded_plan_is_the_saved_one_to_the_bit(make, tmp_path):
    plan = make()
    plan.save(tmp_path / "plan.json")
    loaded = load(tmp_path / "plan.json")
    assert bits(loaded) == bits(plan)
    assert (loaded.name, loaded.prediction) == (plan.name, plan.prediction)
    assert [(h.name, dict(h.settings)) for h in loaded.hooks] == [
        (h.name, dict(h.settings)) for h in plan.hooks
    ]


@given(
    arrays(np.float64, (3, 2), elements=any_finite),
    arrays(np.float64, (3,), elements=any_finite),
    arrays(np.float64, (3, 2), elements=any_finite),
)
@settings(deadline=None, max_examples=40)
def test_every_float_survives(tmp_path_factory, B, d, C):
    lam = np.array([-1.0, 0.0, math.inf])
    plan = Plan(np.zeros((3, 3)), np.tril(B, -1), C, d, lam, np.ones(3), np.exp(-lam), np.exp(-lam))
    target = tmp_path_factory.getbasetemp() / f"floats-{os.getpid()}.json"
    plan.save(target)
    assert bits(load(target)) == bits(plan)


def test_settings_survive_as_json(tmp_path):
    plan = samplers.dpm_solver_pp(
        VP, grids.log_snr(VP, 3), 3, method="singlestep", orders=(3, 2, 1)
    )
    plan.save(tmp_path / "plan.json")
    loaded = load(tmp_path / "plan.json")
    assert loaded.settings["orders"] == [3, 2, 1]
    assert loaded.settings["method"] == "singlestep"
    assert loaded.settings["lower_order_final"] == "auto"


@pytest.mark.parametrize(
    "value", [np.int64(3), np.float64(0.5), np.array([1.0, 2.0]), math.inf, VP]
)
def test_a_setting_of_any_kind_can_be_saved(tmp_path, value):
    trace = Trace(samplers.ddim, VP, grids.log_snr(VP, 2), {"odd": value})
    x, m = trace.evaluate(trace.start, trace.grid[0])
    trace.plan(x + m).save(tmp_path / "plan.json")
    assert "odd" in load(tmp_path / "plan.json").settings


def test_a_loaded_plan_runs_to_the_same_sample(bimodal, file, rng):
    plan = samplers.dpm_solver_pp(VP, grids.log_snr(VP, 3), 2, eta=1.0)
    x, seeds = rng.standard_normal((4, 1)), [np.random.default_rng(1) for _ in range(2)]
    model = bimodal.model(VP)
    assert np.array_equal(load(file).run(model, x, seeds[0]), plan.run(model, x, seeds[1]))


def test_a_loaded_plan_has_no_family(file):
    with pytest.raises(ValueError, match="family must be given"):
        load(file).order()


def test_saving_over_a_file_replaces_it_whole(file):
    plan = samplers.ddim(VP, grids.log_snr(VP, 2))
    plan.save(file)
    assert bits(load(file)) == bits(plan)
    assert os.listdir(file.parent) == ["plan.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(file, monkeypatch, step):
    before = file.read_bytes()

    def full(*_):
        raise OSError("no space left on device")

    plan = samplers.ddim(VP, grids.log_snr(VP, 2))
    with monkeypatch.context() as m:
        m.setattr(os, step, full)
        with pytest.raises(OSError, match="no space left"):
            plan.save(file)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == ["plan.json"]


def test_a_write_that_fails_leaves_no_new_file(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    plan = samplers.ddim(VP, grids.log_snr(VP, 2))
    with monkeypatch.context() as m:
        m.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            plan.save(tmp_path / "plan.json")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("length", [0, 1, 40, -2])
def test_a_truncated_file_is_named(file, length):
    text = file.read_text()
    file.write_text(text[:length])
    with pytest.raises(ValueError, match=r"load: .*plan.json: not a plan file"):
        load(file)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n", b"\xff\xfe\x00", b"hello", b"[" * 100_000])
def test_a_file_of_another_kind_is_named(file, content):
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"load: .*plan.json: not a plan file"):
        load(file)


@pytest.mark.parametrize("content", ["[]", "3", "null", '"plan"', "{}", '{"format": "gguf"}'])
def test_json_of_another_kind_is_named(file, content):
    file.write_text(content)
    with pytest.raises(
        ValueError, match=r"load: .*plan.json: field 'format' must be 'fewtheory-plan'"
    ):
        load(file)


def test_a_file_of_a_later_version_is_named(file):
    with pytest.raises(ValueError, match=r"plan.json: field 'version' must be 1, got 2"):
        load(edited(file, version=2))


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(
    "entry",
    [
        None,
        [1.0, 2.0],
        {"shape": [2], "values": [1.0]},
        {"shape": [1], "values": ["one"]},
        {"shape": [1], "values": [None]},
        {"shape": ["x"], "values": [1.0]},
        {"shape": [1], "values": [10**400]},
        {"values": [1.0]},
    ],
)
def test_a_field_that_is_no_array_is_named(file, name, entry):
    with pytest.raises(ValueError, match=rf"load: .*plan.json: field '{name}' is not an array"):
        load(edited(file, **{name: entry}))


@pytest.mark.parametrize("name", ARRAYS)
def test_a_missing_array_is_named(file, name):
    record = json.loads(file.read_text())
    del record[name]
    file.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=rf"load: .*plan.json: field '{name}'"):
        load(file)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.usefixtures("own_checks")
def test_an_array_that_does_not_fit_names_file_and_field(file, name):
    # one row more than the others have
    record = json.loads(file.read_text())[name]
    shape = [record["shape"][0] + 1, *record["shape"][1:]]
    entry = {"shape": shape, "values": [0.0] * int(np.prod(shape))}
    with pytest.raises(ValueError, match=r"load: .*plan.json: .*must be"):
        load(edited(file, **{name: entry}))


@pytest.mark.parametrize("name", ["P", "B", "C", "d", "alpha", "sigma", "lam", "t"])
def test_a_number_that_is_none_names_file_and_field(file, name):
    entry = json.loads(file.read_text())[name]
    entry["values"][-1] = "nan"
    with pytest.raises(ValueError, match=rf"load: .*plan.json: Plan: {name} must be "):
        load(edited(file, **{name: entry}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 3),
        ("prediction", None),
        ("prediction", "x0"),
        ("hooks", 3),
        ("hooks", ["static_threshold"]),
        ("hooks", [{"name": "static_threshold"}]),
        ("hooks", [{"name": "eval", "settings": {}}]),
        ("hooks", [{"name": ["a"], "settings": {}}]),
        ("hooks", [{"name": "static_threshold", "settings": [1]}]),
        ("hooks", [{"name": "static_threshold", "settings": {"max_value": "x"}}]),
        ("hooks", None),
        ("settings", [1]),
        ("settings", None),
    ],
)
@pytest.mark.usefixtures("own_checks")
def test_a_field_of_the_wrong_kind_names_file_and_field(file, field, value):
    with pytest.raises(ValueError, match=rf"load: .*plan.json: .*{field}"):
        load(edited(file, **{field: value}))


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def test_loading_a_pickle_does_not_run_it(file, tmp_path):
    marker = str(tmp_path / "executed")
    file.write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(ValueError, match="not a plan file"):
        load(file)
    assert not os.path.exists(marker)


def test_text_in_a_field_stays_text(file, tmp_path):
    marker = tmp_path / "executed"
    code = f"__import__('os').mkdir({str(marker)!r})"
    loaded = load(edited(file, name=code, settings={"order": code}))
    assert (loaded.name, loaded.settings["order"]) == (code, code)
    assert not marker.exists()


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.json")


def test_a_hook_with_its_settings_survives(tmp_path):
    hook = Hook("dynamic_threshold", {"ratio": 0.9, "max_value": 2.0})
    samplers.dpm_solver_pp(VP, grids.log_snr(VP, 2), thresholding=hook).save(tmp_path / "plan.json")
    assert load(tmp_path / "plan.json").hooks == (hook,)
