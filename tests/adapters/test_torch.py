"""Any torch module as a Model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import fewtheory as ft
from fewtheory.adapters.torch import model

EPS32, EPS16 = torch.finfo(torch.float32).eps, torch.finfo(torch.bfloat16).eps
PATH = ft.paths.RectifiedFlow()


class Recorder(torch.nn.Module):
    """Returns w x and remembers with what it was called."""

    def __init__(self, dtype=torch.float32):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(0.5, dtype=dtype))
        self.seen = {}

    def forward(self, x, t, **cond):
        self.seen = {"x": x, "t": t, **cond}
        return self.w * x


@pytest.fixture
def x():
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_module_is_called_in_its_own_dtype_and_answers_in_the_states(x):
    module = Recorder()
    out = model(module, PATH)(x, 0.5)
    assert module.seen["x"].dtype == torch.float32
    assert out.dtype == torch.float64
    assert torch.all((out - x / 2).abs() <= EPS32 * x.abs())


def test_times_come_one_a_row_and_in_the_modules_units(x):
    module = Recorder()
    adapted = model(module, PATH, timestep=lambda t: 1000 * t)
    adapted(x, 0.25)
    assert torch.equal(module.seen["t"], torch.full((4,), 250.0))
    adapted(x, torch.tensor([0.0, 0.25, 0.5, 1.0]))
    assert torch.equal(module.seen["t"], torch.tensor([0.0, 250.0, 500.0, 1000.0]))


def test_times_of_a_half_precision_module_keep_the_digits_of_a_table_of_1000(x):
    module = Recorder(torch.bfloat16)
    model(module, PATH, timestep=lambda t: 1000 * t)(x, 0.999)
    assert module.seen["t"].dtype == torch.float32
    assert float(module.seen["t"][0]) == 999.0  # bfloat16 would make it 1000


def test_a_condition_that_is_one_number_stands_for_all_rows(x):
    module = Recorder()
    model(module, PATH, class_labels=3, scale=0.5)(x, 0.5)
    assert torch.equal(module.seen["class_labels"], torch.full((4,), 3))
    assert module.seen["scale"].is_floating_point()


def test_conditions_may_be_numpy_arrays_as_the_state_may():
    module = Recorder()
    model(module, PATH)(np.ones((4, 3)), 0.5, class_labels=np.arange(4))
    assert torch.equal(module.seen["class_labels"], torch.arange(4))


def test_conditions_of_a_call_override_those_of_the_model(x):
    module, labels = Recorder(), torch.tensor([0, 1, 2, 3])
    model(module, PATH, class_labels=3)(x, 0.5, class_labels=labels)
    assert torch.equal(module.seen["class_labels"], labels)


@pytest.mark.parametrize("wrap", [lambda y: (y, None), lambda y: type("Out", (), {"sample": y})()])
def test_tuples_and_records_are_opened(x, wrap):
    assert torch.equal(model(lambda x, t: wrap(2 * x), PATH)(x, 0.5), 2 * x)


def test_guidance_is_the_affine_combination_of_two_calls_in_one(x):
    calls = []

    def module(x, t, label):
        calls.append(x.shape[0])
        return x * (1 + label[:, None])

    labels = torch.tensor([0, 1, 2, 3])
    adapted = model(module, PATH, guidance=2.5, null={"label": -1})
    without, with_label = torch.zeros_like(x), x * (1 + labels[:, None])
    expected = without + 2.5 * (with_label - without)
    assert torch.equal(adapted(x, torch.full((4,), 0.5, dtype=x.dtype), label=labels), expected)
    assert calls == [8]


def test_guidance_is_combined_in_the_states_dtype(x):
    """The two outputs are a bfloat16's; their combination, seven times their difference, is not."""

    class Labelled(Recorder):
        def forward(self, x, t, label):
            return self.w * x * (1 + label[:, None])

    adapted = model(Labelled(torch.bfloat16), PATH, guidance=7.0, null={"label": 0}, label=2)
    half = (x.to(torch.bfloat16) / 2).double()
    with torch.no_grad():
        found = adapted(x, 0.5)
    three = (half.to(torch.bfloat16) * 3).double()
    assert torch.equal(found, half + 7 * (three - half))


def test_guidance_equals_guided_of_two_models(x):
    def module(x, t, label):
        return x.sin() * (label[:, None] + t[:, None])

    one = model(module, PATH, guidance=3.0, null={"label": 0}, label=2)
    plain = model(module, PATH)
    two = ft.guided(plain.given(label=0), plain.given(label=2), 3.0)
    assert torch.equal(one(x, 0.3), two(x, 0.3))


def test_shared_arguments_are_passed_as_they_are_and_never_repeated(x):
    shapes = []

    def module(x, t, label, places):
        shapes.append((tuple(x.shape), tuple(label.shape), tuple(places.shape)))
        return x * label[:, None] + places

    places = torch.arange(x.shape[1], dtype=x.dtype)
    adapted = model(module, PATH, guidance=2.0, null={"label": 0}, shared={"places": places})
    without, with_label = 0 * x + places, 3 * x + places
    assert torch.equal(adapted(x, 0.5, label=3), without + 2 * (with_label - without))
    assert shapes == [((8, 3), (8,), (3,))]


def test_an_error_of_the_module_tells_which_conditions_there_were(x):
    with pytest.raises(TypeError) as caught:
        model(lambda x, t, label: x, PATH, other=1)(x, 0.5)
    assert caught.value.__notes__ == ["adapters.torch.model: called with the conditions ['other']"]


def test_a_numpy_state_gives_a_numpy_result_and_no_gradient():
    out = model(Recorder(), PATH)(np.ones((2, 3)), 0.5)
    assert isinstance(out, np.ndarray)
    assert out.dtype == np.float64
    assert np.all(out == 0.5)


def test_gradients_reach_the_weights_and_the_state(x):
    module, seen = Recorder(), x.clone().requires_grad_(True)
    model(module, PATH)(seen, 0.5).sum().backward()
    assert torch.allclose(seen.grad, torch.full_like(x, 0.5), rtol=0, atol=0)
    assert float(module.w.grad) == pytest.approx(float(x.float().sum()), abs=12 * EPS32 * 4)


def test_preconditioning_is_done_in_the_states_dtype(x):
    """EDM's: the network sees c_in x, its output F means c_skip x + c_out F."""
    module, s = Recorder(torch.bfloat16), 0.5
    path = ft.paths.EDM()

    def scale(x, t):
        return x / (t**2 + s**2) ** 0.5

    def read(out, x, t):
        return s**2 / (t**2 + s**2) * x + t * s / (t**2 + s**2) ** 0.5 * out

    t = 0.01  # c_skip is nearly one: in bfloat16 the state itself would be rounded
    out = model(module, path, "data", scale_input=scale, read_output=read)(x, t)
    shown = scale(x, t)
    assert module.seen["x"].dtype == torch.bfloat16
    c_out = t * s / (t**2 + s**2) ** 0.5  # two roundings to 8 bits, of c_in x and of F
    assert torch.all((out - read(0.5 * shown, x, t)).abs() <= c_out * EPS16 * shown.abs())


def test_every_plan_runs_on_an_exact_testbed_behind_a_module(bimodal, x):
    path = ft.paths.VPLinear()
    exact = bimodal.model(path, "noise")
    adapted = model(lambda x, t: exact(x, t), path)
    plan = ft.samplers.dpm_solver_pp(path, ft.plan.grids.log_snr(path, steps=6), order=2)
    start = x[:, :1]
    difference = plan.run(adapted, start) - plan.run(exact, start)
    assert float(difference.abs().max()) <= 1e-13  # times by row and as numbers: roundings alone


def test_half_precision_stays_within_its_roundings_of_float64(x):
    """A denoiser D = x / 2 in bfloat16 (8 bits): the state is rounded once, its half is exact.

    Euler with data prediction is u <- r u + (1 - r) D, r = sigma' / sigma < 1: each output's error,
    at most eps/2 of |D|, enters with 1 - r and is never amplified after.
    """
    path = ft.paths.EDM()
    half = model(Recorder(torch.bfloat16), path, "data")
    exact = model(lambda x, t: x / 2, path, "data")
    grid = ft.plan.grids.karras(path, 10, start=10.0, end=0.1)
    plan, states = ft.samplers.euler(path, grid), []
    plan.run(exact, 10 * x, callback=lambda i, u: states.append(float(u.abs().max())))
    sigma = path.sigma(grid.t)
    enters = 1 - sigma[1:] / sigma[:-1]
    bound = float(np.sum(enters * np.array(states[:-1]) / 2 * EPS16 / 2))
    with torch.no_grad():
        error = float((plan.run(half, 10 * x) - plan.run(exact, 10 * x)).abs().max())
    assert bound / 100 < error <= 1.1 * bound  # the perturbed states are a little larger


def test_guidance_without_null_is_an_error():
    with pytest.raises(ValueError, match="null must name the conditions that stand for none"):
        model(Recorder(), PATH, guidance=2.0)


def test_a_guided_call_without_its_condition_is_an_error(x):
    adapted = model(lambda x, t, label: x * label[:, None], PATH, guidance=2.0, null={"label": 0})
    with pytest.raises(ValueError, match=r"the conditions must be with \['label'\], to guide by"):
        adapted(x, 0.5)
    assert torch.equal(adapted(x, 0.5, label=3), 6 * x)  # 0 + 2 (3 - 0)


def test_what_is_no_module_is_an_error(own_checks):
    with pytest.raises(TypeError, match="module must be callable, got 3"):
        model(3, PATH)


def test_an_output_that_is_no_tensor_is_an_error(x):
    with pytest.raises(TypeError, match="output must be a tensor, a tuple or a record"):
        model(lambda x, t: "no", PATH)(x, 0.5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_module_on_cuda_serves_states_there():
    module = Recorder().cuda()
    state = torch.ones(4, 3, device="cuda")
    out = model(module, PATH, timestep=lambda t: 1000 * t, class_labels=1)(state, 0.5)
    assert out.device == state.device
    assert module.seen["t"].device == state.device
    assert module.seen["class_labels"].device == state.device
    assert torch.equal(out, state / 2)
