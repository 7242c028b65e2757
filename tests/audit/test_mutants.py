"""Every mutant of a scheduler runs, ends finite and elsewhere, and breaks one method alone."""

from __future__ import annotations

import functools
import inspect
import itertools
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch

from fewtheory.audit.mutants import KINDS, LIBRARY, MUTANTS, Control, Settings, controls
from fewtheory.errors import MissingExtra

diffusers = pytest.importorskip("diffusers")
pytestmark = [
    pytest.mark.skipif(
        diffusers.__version__ != LIBRARY[1],
        reason=f"quotes expressions of diffusers {LIBRARY[1]}, not {diffusers.__version__}",
    ),
    pytest.mark.filterwarnings("ignore:__array__ implementation"),  # of diffusers, on NumPy 2
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept"),  # so too
    pytest.mark.filterwarnings("ignore:.*algorithm_type dpmsolver is deprecated:FutureWarning"),
    pytest.mark.usefixtures("one_thread"),
]
STEPS, SHAPE = 12, (2, 3, 4, 4)
NAMES = [f"{i}-{m.scheduler}-{m.method}-{m.kind}" for i, m in enumerate(MUTANTS)]
every_mutant = pytest.mark.parametrize("mutant", MUTANTS, ids=NAMES)
every_control = pytest.mark.parametrize("control", controls(), ids=lambda c: c.scheduler)


def drawn(seed):
    """A fixed standard normal tensor of the run's shape."""
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def network(scheduler, x, t):
    """Exact for data from N(mu, 1), with mu drawn anew at each timestep.

    So whatever moves a timestep is seen, as what moves a level is.
    """
    mu = drawn(1000 + round(1000 * float(t)))
    if isinstance(scheduler, diffusers.FlowMatchEulerDiscreteScheduler):
        sigma = float(t) / scheduler.config.num_train_timesteps
        alpha = 1 - sigma
        variance = alpha**2 + sigma**2
        return (sigma - alpha) / variance * x - sigma / variance * mu  # E[eps - x_0]
    table = scheduler.alphas_cumprod.numpy()
    square = float(np.interp(float(t), np.arange(table.size), table))
    alpha, sigma = square**0.5, (1 - square) ** 0.5
    if scheduler.config.prediction_type == "v_prediction":
        return -sigma * mu
    return sigma * (x - alpha * mu)


@functools.cache
def built(one):
    """The class of a mutant or a control, made once."""
    return one.build()


@functools.cache
def output(one):
    """What a mutant or a control returns after a run, from the same start with the same noise."""
    scheduler = built(one)(**one.settings)
    scheduler.set_timesteps(STEPS)
    draws = "generator" in inspect.signature(scheduler.step).parameters
    drawing = {"generator": torch.Generator().manual_seed(1)} if draws else {}
    shown = getattr(scheduler, "scale_model_input", lambda x, t: x)
    x = getattr(scheduler, "init_noise_sigma", 1.0) * drawn(0)
    for t in scheduler.timesteps:
        x = scheduler.step(network(scheduler, shown(x, t), t), t, x, **drawing).prev_sample
    return x


def difference(one, other):
    """The distance of two outputs, over the size of the other."""
    x, y = output(one), output(other)
    return float(torch.linalg.vector_norm(x - y) / torch.linalg.vector_norm(y))


# the same formula in another order of sums: 23 steps of ten roundings of 6e-8 each make 1.4e-5
VISIBLE = 1e-3
# a step from sigma_0 to clean data moves a state of N(mu, 1) by sigma_0^2 (mu - x), where
# sigma_0^2 is the first beta, 1e-4: half of that still is above the roundings
SMALL = {("DDIMScheduler", "__init__"): 0.5e-4}


@every_mutant
def test_a_mutant_ends_finite_and_elsewhere(mutant):
    assert torch.all(torch.isfinite(output(mutant)))
    least = SMALL.get((mutant.scheduler, mutant.method), VISIBLE)
    assert difference(mutant, mutant.control) > least


@every_control
def test_a_control_ends_finite_and_repeats_itself(control):
    assert torch.all(torch.isfinite(output(control)))
    assert torch.equal(output(control), output.__wrapped__(control))


@every_control
def test_no_two_mutants_of_a_control_do_the_same(control):
    mine = [m for m in MUTANTS if m.control == control]
    for one, other in itertools.combinations(mine, 2):
        assert difference(one, other) > VISIBLE, (one.why, other.why)


@every_mutant
def test_one_method_of_a_subclass_is_another(mutant):
    kind, parent = built(mutant), getattr(diffusers, mutant.scheduler)
    assert issubclass(kind, parent)
    assert (kind.__name__, kind.__module__) == (parent.__name__, parent.__module__)
    between = kind.__mro__[: kind.__mro__.index(parent)]
    own = {name for c in between for name in vars(c)} - {"__module__", "__doc__"}
    assert own == {mutant.method, *(["step"] if mutant.step else [])}


@every_mutant
def test_the_librarys_source_is_still_there_to_be_shown(mutant):
    built(mutant)
    original = mutant.original()
    assert f"def {mutant.method}(" in inspect.getsource(original)
    assert original is inspect.unwrap(vars(getattr(diffusers, mutant.scheduler))[mutant.method])


@every_mutant
def test_a_mutant_is_made_from_a_config_as_its_class_is(mutant):
    kind = built(mutant)
    config = built(mutant.control)(**mutant.settings).config
    for given in (config, kind(**mutant.settings).config):
        made = kind.from_config(given)
        assert type(made) is kind
        assert {k: made.config[k] for k in mutant.settings} == dict(mutant.settings)


def test_what_replaces_a_name_of_the_module_reaches_a_mutant(monkeypatch):
    (mutant, *_) = (m for m in MUTANTS if m.step)
    module, drew = import_module(built(mutant).__module__), []
    monkeypatch.setattr(module, "randn_tensor", lambda shape, **_: drew.append(1) or drawn(0))
    output.__wrapped__(mutant)
    assert len(drew) == STEPS


def test_keywords_of_a_step_are_defaults():
    control = Control("DDIMScheduler", Settings(clip_sample=False), Settings(eta=1.0))
    scheduler, plain = control.build()(clip_sample=False), diffusers.DDIMScheduler
    scheduler.set_timesteps(STEPS)
    m, t, x = drawn(1), scheduler.timesteps[3], drawn(2)
    given = {"variance_noise": drawn(3)}
    assert torch.equal(
        scheduler.step(m, t, x, **given).prev_sample,
        plain.step(scheduler, m, t, x, eta=1.0, **given).prev_sample,
    )
    assert torch.equal(
        scheduler.step(m, t, x, eta=0.0).prev_sample,
        plain.step(scheduler, m, t, x).prev_sample,
    )


# the catalogue


def test_all_kinds_of_mistake_are_there():
    assert {m.kind for m in MUTANTS} == set(KINDS)


def test_there_are_many_and_most_are_of_the_most_used_solver():
    count = Counter(m.scheduler for m in MUTANTS)
    assert sum(count.values()) >= 30
    assert count["DPMSolverMultistepScheduler"] > sum(count.values()) / 2
    assert len(count) == 9  # and DDIM, DDPM, Euler, its ancestral form, Heun, UniPC, DEIS, flow


def test_no_mutant_stands_twice():
    places = Counter((m.control, m.method, m.old, m.new) for m in MUTANTS)
    assert max(places.values()) == 1


def test_controls_are_those_of_the_mutants_each_once_and_in_order():
    assert len(set(controls())) == len(controls())
    firsts = [[m.control for m in MUTANTS].index(c) for c in controls()]
    assert firsts == sorted(firsts)
    assert {m.control for m in MUTANTS} == set(controls())


def test_the_catalogue_loads_neither_torch_nor_diffusers():
    asked = "print(*({'torch', 'diffusers'} & {*sys.modules}))"
    script = f"import sys, fewtheory.audit.mutants; {asked}"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


# settings


def test_settings_are_a_key_whatever_their_order():
    one, other = Settings(solver_order=1, steps=2), Settings(steps=2, solver_order=1)
    assert one == other
    assert hash(one) == hash(other)
    assert one != Settings(solver_order=2, steps=2)
    assert repr(one) == "Settings(solver_order=1, steps=2)"


# refusals

GOOD = MUTANTS[0]


def test_another_version_of_the_library_is_refused(monkeypatch):
    monkeypatch.setattr(diffusers, "__version__", "0.1.0")
    wanted = r"Mutant: diffusers.__version__ must be '?0\.42\.1, .*, got '0\.1\.0'"
    with pytest.raises(ValueError, match=wanted):
        GOOD.build()
    with pytest.raises(ValueError, match=wanted):
        GOOD.control.build()


def test_the_extra_is_named_where_the_library_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtra, match=r"fewtheory\.audit\.mutants needs the extra 'models'"):
        GOOD.build()


@pytest.mark.parametrize("name", ["NoScheduler", "ConfigMixin", "schedulers"])
def test_what_is_no_scheduler_of_the_library_is_refused(name):
    allowed = f"Mutant: scheduler must be the name of a scheduler of diffusers, got '{name}'"
    with pytest.raises(ValueError, match=allowed):
        replace(GOOD, scheduler=name).build()


@pytest.mark.parametrize("method", ["no_method", "order", "step_index"])
def test_what_is_no_method_is_refused(method):
    allowed = f"method must be a method of DPMSolverMultistepScheduler, got '{method}'"
    with pytest.raises(ValueError, match=allowed):
        replace(GOOD, method=method).build()


@pytest.mark.parametrize(("old", "count"), [("lambda_u", 0), ("sigma_s", 4)])
def test_an_expression_that_is_not_there_exactly_once_is_refused(old, count):
    found = f"'{old}' must occur exactly once in .*first_order_update, found {count}"
    with pytest.raises(ValueError, match=found):
        replace(GOOD, old=old).build()


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"Mutant: kind must be one of 'sign', .*, got 'typo'"):
        replace(GOOD, kind="typo")


@pytest.mark.parametrize("text", ["a sign\n- a\n+ b", "sign: s\n+ b\n- a", "sign: s\n- a"])
def test_lines_that_do_not_say_what_becomes_what_are_refused(text):
    wanted = f"Control.mutants: text must be .*, got '{text.splitlines()[0]}'"
    with pytest.raises(ValueError, match=wanted):
        Control("DDIMScheduler").mutants(f"in step\n{text}")
