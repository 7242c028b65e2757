"""What is judged: each kind of sampler is taken as what it is, and bad ones are refused by name."""

import sys
import types

import diffusers
import numpy as np
import pytest
import torch

from fewtheory import paths, samplers
from fewtheory.audit.subject import Told, drive, imported, subject
from fewtheory.plan import grids

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation"),  # of diffusers, on NumPy 2
    pytest.mark.usefixtures("one_thread"),
]
EDM = paths.EDM()


class Halving:
    """A scheduler: each step halves the state and takes the output away."""

    def __init__(self, first=8, returns="tuple"):
        self.first, self.returns = first, returns

    def set_timesteps(self, num_inference_steps):
        self.timesteps = torch.arange(self.first, self.first - num_inference_steps, -1)

    def step(self, model_output, timestep, sample):
        out = 0.5 * sample - model_output
        if self.returns == "tuple":
            return (out, "beside it")
        return types.SimpleNamespace(prev_sample=out) if self.returns == "output" else out


class NoStep:
    """A scheduler that lacks its step."""

    def set_timesteps(self, num_inference_steps):
        """Nothing."""


class Neither:
    """No scheduler at all."""


def halve(model, x, steps, factor=0.5):
    """A sampler as a function."""
    for i in range(steps):
        x = factor * x - model(x, float(steps - i))
    return x


def ddim_plan(steps, eta=0.0):
    """A plan of so many steps."""
    return samplers.ddim(EDM, grids.log_snr(EDM, steps), eta=eta)


def makes_a_scheduler():
    """A function without arguments that returns a scheduler."""
    return Halving(first=16)


def unfinished():
    """A function that returns no scheduler."""
    return NoStep()


# kinds


def test_a_class_is_a_scheduler_and_made_with_its_settings():
    judged = subject(Halving, {"first": 5})
    assert (judged.name, judged.kind, judged.arrays) == ("Halving", "scheduler", "torch")
    assert judged.make().first == 5


def test_a_function_that_returns_a_scheduler_is_named_after_it():
    judged = subject(makes_a_scheduler)
    assert (judged.name, judged.kind) == ("Halving", "scheduler")
    assert judged.make().first == 16


def test_an_object_is_made_again_from_its_config():
    given = diffusers.DDIMScheduler(clip_sample=False, prediction_type="v_prediction")
    judged = subject(given, {"set_alpha_to_one": False})
    made = judged.make()
    assert judged.name == "DDIMScheduler"
    assert made is not given
    assert made.config["prediction_type"] == "v_prediction"
    assert (made.config["clip_sample"], made.config["set_alpha_to_one"]) == (False, False)


def test_a_function_of_a_model_is_a_function():
    judged = subject(halve, path=EDM, prediction="data", arrays="torch")
    assert (judged.name, judged.kind, judged.arrays) == ("halve", "function", "torch")
    assert judged.told == Told(EDM, "data")


def test_a_function_of_steps_is_a_plan():
    judged = subject(ddim_plan, {"eta": 1.0})
    assert judged.kind == "plan"
    assert judged.make(4).nfe == 4
    assert judged.make(4).stochastic


@pytest.mark.parametrize("name", ["ddim", "dpm_solver_pp", "heun", "unipc", "edm_stochastic"])
def test_a_sampler_of_the_package_is_a_plan_on_a_grid_equal_in_lam(name):
    judged = subject(samplers.SAMPLERS[name], path=EDM)
    plan = judged.make(5)
    wanted = samplers.SAMPLERS[name](EDM, grids.log_snr(EDM, 5))
    assert (judged.name, judged.kind) == (name, "plan")
    assert plan.distance(wanted) == 0.0


def test_a_sampler_of_the_package_is_taken_on_vp_where_no_path_is_given():
    plan = subject(samplers.dpm_solver_pp, {"order": 3}).make(6)
    wanted = samplers.dpm_solver_pp(paths.VPLinear(), grids.log_snr(paths.VPLinear(), 6), order=3)
    assert plan.distance(wanted) == 0.0


def test_the_title_is_a_call():
    assert subject(Halving, {"first": 5, "returns": "state"}).title == (
        "Halving(first=5, returns='state')"
    )
    assert subject(halve, path=EDM).title == "halve()"


def test_other_settings_are_added_to_those_there_are():
    judged = subject(Halving, {"first": 5}).with_settings(returns="state")
    assert judged.title == "Halving(first=5, returns='state')"
    assert (judged.make().first, judged.make().returns) == (5, "state")


def test_a_scheduler_is_made_once_for_each_precision_and_then_copied():
    made = []

    class Counted(Halving):
        def __init__(self):
            super().__init__()
            made.append(self)

    judged = subject(Counted)
    first, again = judged.fresh("double"), judged.fresh("double")
    assert len(made) == 1
    assert first is not again
    judged.fresh("single")
    assert len(made) == 2


# driving


@pytest.mark.parametrize("returns", ["tuple", "output", "state"])
def test_a_step_may_return_a_tuple_an_output_or_the_state(returns):
    judged = subject(Halving, {"returns": returns})
    out = drive(judged, judged.make(), 3, torch.ones(2), lambda i, call: 0 * call.state, None)
    assert torch.equal(out, torch.full((2,), 0.125))  # halved three times


def test_the_network_sees_the_calls_in_order_with_state_and_time():
    judged, seen = subject(Halving), []

    def network(i, call):
        seen.append((i, float(call.state[0]), float(call.shown[0]), call.time))
        return torch.ones(1)

    drive(judged, judged.make(), 2, torch.full((1,), 4.0), network, None)
    assert seen == [(0, 4.0, 4.0, 8.0), (1, 1.0, 1.0, 7.0)]  # 4 / 2 - 1 = 1


@pytest.mark.parametrize("time", [float, np.float32, lambda t: np.full(2, t), torch.tensor])
def test_a_functions_network_takes_a_number_or_an_array_as_time(time):
    def sample(model, x, steps):
        return model(x, time(2.5)) if steps else x

    times = []
    judged = subject(sample, path=EDM)

    def network(i, call):
        times.append(call.time)
        return call.state

    out = drive(judged, None, 1, np.ones((1, 3)), network, None)
    assert times == [2.5]
    assert np.array_equal(out, np.ones((1, 3)))


def test_the_settings_of_a_function_reach_it():
    judged = subject(halve, {"factor": 2.0}, path=EDM)
    out = drive(judged, None, 3, np.ones((1, 1)), lambda i, call: 0 * call.state, None)
    assert float(out[0, 0]) == 8.0


def test_a_told_network_takes_t_itself():
    assert Told.timestep(0.3) == 0.3


# bad input


def test_a_class_without_a_step_is_refused_by_name():
    with pytest.raises(TypeError, match=r"audit: NoStep must have the method step$"):
        subject(NoStep)


def test_a_class_that_lacks_both_methods_is_told_both():
    with pytest.raises(TypeError, match="Neither must have the method set_timesteps and step"):
        subject(Neither)


def test_a_function_that_returns_no_scheduler_is_refused():
    with pytest.raises(TypeError, match="what unfinished returns must have the method step"):
        subject(unfinished)


def test_a_class_that_cannot_be_made_with_its_settings_says_so():
    judged = subject(Halving, {"last": 5})
    with pytest.raises(TypeError, match=r"audit: Halving cannot be made: .*'last'"):
        judged.make()


def test_an_object_without_a_config_is_refused():
    with pytest.raises(TypeError, match="audit: Halving must have a config, or be given as"):
        subject(Halving())


def test_what_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match=r"audit: factory must be a scheduler.*got 'DDIM'"):
        subject("DDIM")


def test_an_unknown_prediction_is_refused():
    with pytest.raises(ValueError, match=r"audit: prediction must be one of .*got 'noises'"):
        subject(halve, path=EDM, prediction="noises")


def test_unknown_arrays_are_refused():
    with pytest.raises(ValueError, match="audit: arrays must be one of 'numpy', 'torch', got"):
        subject(halve, path=EDM, arrays="jax")


def test_a_function_needs_a_path():
    with pytest.raises(ValueError, match=r"audit: path must be given: .* network of halve expects"):
        subject(halve)


def test_a_function_is_not_made_with_other_settings():
    with pytest.raises(ValueError, match=r"audit: subject must be a class, .* got 'halve'"):
        subject(halve, path=EDM).with_settings(factor=1.0)


# targets


@pytest.fixture
def library(monkeypatch):
    """A module that holds one class, one name inside it, and a stand-in for what is missing."""
    module = types.ModuleType("a_library")
    module.Halving = Halving
    stand_in = type("DummyObject", (type,), {"_backends": ["onnx", "flax"]})
    module.Missing = stand_in("Missing", (), {"_backends": ["onnx", "flax"]})
    monkeypatch.setitem(sys.modules, "a_library", module)
    monkeypatch.setattr(sys, "path", [*sys.path])  # the working directory is added to it
    return module


@pytest.mark.usefixtures("library")
def test_a_target_names_an_object_of_a_package():
    assert imported("a_library:Halving") is Halving
    assert imported("a_library:Halving.step") is Halving.step


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("a_library", "must look like PACKAGE:OBJECT, got 'a_library'"),
        (":Halving", "must look like PACKAGE:OBJECT, got ':Halving'"),
        ("a_library:", "must look like PACKAGE:OBJECT, got 'a_library:'"),
        ("no_library:Halving", "'no_library:Halving': No module named 'no_library'"),
        ("a_library:Heun", "'a_library:Heun': a_library has no Heun"),
        ("a_library:Halving.halt", "'a_library:Halving.halt': a_library has no Halving.halt"),
        ("a_library:Missing", "'a_library:Missing' needs onnx, flax, not all of which"),
    ],
)
def test_a_target_that_is_not_there_is_told_by_its_missing_part(target, message):
    with pytest.raises(ValueError, match=message):
        imported(target)
