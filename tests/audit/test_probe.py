"""Rows from one run on carriers: exactly those that the sampler was written with."""

import itertools
import logging
import types
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewtheory import paths
from fewtheory.audit.probe import probe
from fewtheory.audit.subject import subject

EPS = np.finfo(np.float64).eps
EDM = paths.EDM()
pytestmark = pytest.mark.usefixtures("one_thread")


def linear(P, B, C, d):
    """The sampler with these step-form rows, as a function; its noises are drawn by NumPy."""

    def sample(model, x, steps, rng):
        xi = [rng.standard_normal(x.shape) for _ in range(C.shape[1])]
        u, m = [x], []
        for i in range(1, len(P)):
            m.append(model(u[-1], float(len(P) - i)))
            new = d[i] + 0 * x
            for c, v in (*zip(P[i], u, strict=False), *zip(B[i], m, strict=False)):
                new = new + c * v
            u.append(new + sum(c * v for c, v in zip(C[i], xi, strict=True)))
        return u[-1]

    return sample


def from_the_start(P, B, C, d):
    """Rows from x_T by forward substitution, (n+1, 1 + n + q + 1)."""
    rows = np.column_stack([np.zeros(len(P)), B, C, d])
    rows[0, 0] = 1.0
    for i in range(1, len(P)):
        rows[i] += P[i, :i] @ rows[:i]
    return rows


@st.composite
def step_forms(draw):
    """Strictly lower triangular P and B, noises C and a constant d, entries in [-2, 2]."""
    n, q = draw(st.integers(1, 6)), draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    P, B = (
        np.tril(rng.uniform(-2, 2, (n + 1, n + 1)), -1),
        np.tril(rng.uniform(-2, 2, (n + 1, n)), -1),
    )
    C, d = rng.uniform(-2, 2, (n + 1, q)), rng.uniform(-2, 2, n + 1)
    C[0], d[0] = 0.0, 0.0
    return P, B, C, d


@given(form=step_forms())
@settings(deadline=None, max_examples=40)
def test_any_linear_sampler_gives_its_rows(form):
    found = probe(subject(linear(*form), path=EDM), steps=len(form[0]) - 1)
    rows = np.column_stack([found.a, found.B, found.C, found.d])
    # a sum of n + q + 1 terms a row, n rows, and the constant taken away
    size = from_the_start(*map(np.abs, form)).sum(axis=1).max()
    assert np.abs(rows - from_the_start(*form)).max() <= 2 * rows.size * EPS * size
    assert found.nonlinear_at is None
    assert found.nfe == len(form[0]) - 1


def test_times_and_scales_are_those_of_the_calls():
    def sample(model, x, steps):
        for i in range(steps):
            x = x - model(x, 8.0 / (i + 1))
        return x

    found = probe(subject(sample, path=EDM), 3)
    assert np.array_equal(found.times, [8.0, 4.0, 8.0 / 3])
    assert np.array_equal(found.scales, np.ones(3))


def test_evaluations_are_counted_and_not_the_steps():
    def twice_but_once_at_the_end(model, x, steps):
        for i in range(2 * steps - 1):
            x = x - model(x, float(2 * steps - i))
        return x

    found = probe(subject(twice_but_once_at_the_end, path=EDM), 5)
    assert (found.steps, found.nfe) == (5, 9)
    assert found.B.shape == (10, 9)


def test_rows_begin_at_the_first_state_that_the_network_sees():
    def sample(model, x, steps):
        x = 80.0 * x
        return x + (0.5 - 80.0) * model(x, 80.0)

    found = probe(subject(sample, path=EDM), 1)
    assert np.array_equal(found.a, [1.0, 1.0])
    assert np.array_equal(found.B, [[0.0], [-79.5]])


def test_a_normal_draw_of_numpy_has_its_mean_and_its_size():
    def sample(model, x, steps, rng):
        x = x - model(x, 1.0) + rng.normal(3.0, 0.5, x.shape)
        return x + 2.0 * rng.standard_normal(x.shape)

    found = probe(subject(sample, path=EDM), 1)
    assert np.array_equal(found.C, [[0.0, 0.0], [0.5, 2.0]])
    assert np.array_equal(found.d, [0.0, 3.0])


# not linear


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_clip_is_seen_at_the_node_that_it_makes(at):
    def sample(model, x, steps):
        for i in range(steps):
            x = x - 0.5 * model(x, float(steps - i))
            if i + 1 == at:
                x = np.clip(x, -1.0, 1.0)
        return x

    assert probe(subject(sample, path=EDM), 4).nonlinear_at == at


def test_a_scale_that_the_state_decides_is_not_linear():
    def sample(model, x, steps):
        x = x - model(x, 2.0)
        return x / np.maximum(1.0, np.abs(x).max())

    assert probe(subject(sample, path=EDM), 1).nonlinear_at == 1


@pytest.mark.parametrize(
    "value",
    [
        np.nan,
        np.inf,
    ],
)
def test_a_row_that_is_not_finite_is_reported_as_it_is(value):
    def sample(model, x, steps):
        return x - model(x, 1.0) + value

    assert not np.any(np.isfinite(probe(subject(sample, path=EDM), 1).a[-1]))


def test_a_run_without_end_is_stopped():
    def sample(model, x, steps):
        while True:
            x = x - model(x, 1.0)

    with pytest.raises(RuntimeError, match="more than 20 of 'm' in one run"):
        probe(subject(sample, path=EDM), 1)  # 4 a step and 16 more


# torch


def in_float32(model, x, steps):
    """Euler's method that casts to single precision wherever it can, and draws a noise a step."""
    sigma = torch.linspace(4.0, 1.0, steps + 1, dtype=torch.float32)
    for s, t in itertools.pairwise(sigma):
        x = x.to(torch.float32)
        third = torch.tensor(1.0, dtype=torch.float32) / 3
        x = x + (t - s) * model(x, float(s)).float() + third * torch.randn(x.shape)
        x = x + torch.as_tensor(np.asarray(1 / 7, dtype=np.float32)) * torch.randn_like(x)
    return x


def test_single_precision_inside_is_widened():
    found = probe(subject(in_float32, path=EDM, arrays="torch"), 4)
    assert np.abs(found.B[-1] + 0.75).max() <= 8 * EPS  # steps of 3/4 and four sums
    assert np.abs(found.C[-1].reshape(4, 2) - [1 / 3, 1 / 7]).max() <= 8 * EPS
    assert found.nonlinear_at is None


def test_the_run_in_its_own_precision_errs_by_its_roundings():
    found = probe(subject(in_float32, path=EDM, arrays="torch"), 4, single=True)
    # per step one product and three sums, each rounded to 2^-24 of the sum of the terms' sizes
    assert 0 < found.single <= 4 * 4 * 2.0**-24
    assert probe(subject(in_float32, path=EDM, arrays="torch"), 4).single == 0.0


DRAWS = {
    "randn": lambda x: torch.randn(x.shape),
    "randn_like": torch.randn_like,
    "normal": lambda x: torch.normal(torch.zeros_like(x), torch.ones_like(x)),
    "normal_": lambda x: torch.empty_like(x).normal_(),
    "randn of a dtype": lambda x: torch.randn(x.shape, dtype=torch.float16),
}


@pytest.mark.parametrize("name", DRAWS)
def test_each_way_to_draw_in_torch_gives_a_carrier(name):
    def sample(model, x, steps):
        for i in range(steps):
            x = x - model(x, float(steps - i)) + 0.25 * DRAWS[name](x)
        return x

    judged = subject(sample, path=EDM, arrays="torch")
    wanted = np.vstack([np.zeros(3), 0.25 * np.tri(3)])
    for _ in range(2):  # the first run compares the fast way with the thorough one
        assert np.array_equal(probe(judged, 3).C, wanted)


def test_a_draw_into_a_tensor_fills_it():
    def sample(model, x, steps):
        z = torch.zeros_like(x)
        z.normal_()
        return x - model(x, 1.0) + z

    found = probe(subject(sample, path=EDM, arrays="torch"), 1)
    assert np.array_equal(found.C, [[0.0], [1.0]])


def test_a_draw_of_torch_has_its_mean_and_its_size():
    def sample(model, x, steps):
        return x - model(x, 1.0) + torch.normal(torch.full_like(x, 3.0), 0.5)

    found = probe(subject(sample, path=EDM, arrays="torch"), 1)
    assert np.array_equal(found.C[-1], [0.5])
    assert found.d[-1] == 3.0


# nothing stays


def state_of_the_process():
    """What a run changes while it lasts."""
    return (
        np is NUMPY and torch is TORCH,
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        logging.root.manager.disable,
        warnings.filters[:],
    )


NUMPY, TORCH = np, torch


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_remains_patched_after_a_run(fails):
    inside = []

    def sample(model, x, steps):
        inside.append(state_of_the_process())
        warnings.warn("anything", stacklevel=1)  # which the audit keeps to itself
        x = x - model(x, 1.0)
        if fails:
            raise KeyError("its own")
        return x

    before, judged = state_of_the_process(), subject(sample, path=EDM, arrays="torch")
    if fails:
        with pytest.raises(KeyError, match="its own"):
            probe(judged, 1)
    else:
        probe(judged, 1)
    assert state_of_the_process() == before
    assert len(inside) >= 1
    assert all(a != b for a, b in zip(inside[0], before, strict=True))  # it was otherwise inside


# schedulers


class Scaled:
    """Euler's method in sigma as diffusers writes it: the network sees x / sqrt(sigma^2 + 1)."""

    init_noise_sigma = 8.0

    def __init__(self, spoils=False):
        self.config = {"spoils": spoils, "order": 2}

    def set_timesteps(self, num_inference_steps):
        self.timesteps = torch.linspace(8.0, 1.0, num_inference_steps)
        self.sigmas = torch.cat([self.timesteps, torch.zeros(1)])
        self.i = 0
        if self.config["spoils"]:
            self.config["order"] = 1

    def scale_model_input(self, sample, timestep):
        return sample / (timestep**2 + 1) ** 0.5

    def step(self, model_output, timestep, sample):
        s, t = self.sigmas[self.i : self.i + 2]
        self.i += 1
        return types.SimpleNamespace(prev_sample=sample + (t - s) * model_output)


def test_what_is_shown_to_the_network_is_a_scale_and_not_the_state():
    found = probe(subject(Scaled, path=EDM, prediction="noise"), 8)
    assert np.abs(found.scales * np.hypot(found.times, 1) - 1).max() <= 8 * EPS
    assert np.abs(found.a - 1).max() == 0
    assert found.init_noise_sigma == 8.0


def test_what_a_run_changes_in_the_config_is_told():
    assert probe(subject(Scaled), 3).config_changes == {}
    assert probe(subject(Scaled, {"spoils": True}), 3).config_changes == {"order": (2, 1)}


def test_rows_have_a_node_more_than_there_are_calls():
    found = probe(subject(Scaled), 4)
    n, q = found.nfe, found.C.shape[1]
    assert (n, q) == (4, 0)
    assert found.a.shape == found.d.shape == (n + 1,)
    assert found.B.shape == (n + 1, n)
    assert np.array_equal(np.triu(found.B), np.zeros_like(found.B))
