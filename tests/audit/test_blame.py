"""A wrong number leads to the line: the states' statements, and the edits that make it right."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
import types

import numpy as np
import pytest

from fewtheory.audit import blame
from fewtheory.audit.blame import formed_at, order_is, suspects
from fewtheory.audit.edits import alike, candidates
from fewtheory.audit.method import methods
from fewtheory.audit.moments import ratios
from fewtheory.audit.mutants import LIBRARY, MUTANTS
from fewtheory.audit.probe import probe
from fewtheory.audit.recovered import network_of, recover
from fewtheory.audit.subject import subject

diffusers = pytest.importorskip("diffusers")
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation"),  # of diffusers, on NumPy 2
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept"),  # so too
    pytest.mark.usefixtures("one_thread"),
]
pinned = pytest.mark.skipif(diffusers.__version__ != LIBRARY[1], reason=f"lines of {LIBRARY}")
DPM, HEUN = diffusers.DPMSolverMultistepScheduler, diffusers.HeunDiscreteScheduler
LONG = 60.0  # seconds: on a busy machine, for what takes one

WRITTEN = '''
import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin


class TwoStep(SchedulerMixin, ConfigMixin):
    """DPM-Solver++(2M) on steps that are long and short in turn."""

    order = 1

    @register_to_config
    def __init__(self, num_train_timesteps=1000, prediction_type="epsilon"):
        self.betas = torch.linspace(1e-4, 0.02, num_train_timesteps, dtype=torch.float64)
        self.alphas_cumprod = torch.cumprod(1 - self.betas, dim=0)
        self.init_noise_sigma = 1.0

    def set_timesteps(self, num_inference_steps, device=None):
        k = np.arange(num_inference_steps)
        share = (k + 0.3 * (k % 2)) / num_inference_steps
        last = self.config.num_train_timesteps - 1
        self.timesteps = torch.from_numpy(np.round(last * (1 - share)).astype(np.int64))
        self.index, self.old = 0, None

    def scale_model_input(self, sample, timestep=None):
        return sample

    def level(self, index):
        times = [*self.timesteps.tolist(), 0]
        square = self.alphas_cumprod[times[index]]
        return square**0.5, (1 - square) ** 0.5

    def lam(self, index):
        alpha, sigma = self.level(index)
        return torch.log(alpha / sigma)

    def step(self, model_output, timestep, sample, return_dict=True):
        alpha_s, sigma_s = self.level(self.index)
        data = (sample - sigma_s * model_output) / alpha_s
        prev_sample = self.update(data, sample)
        self.old, self.index = data, self.index + 1
        return (prev_sample.to(model_output.dtype),)

    def update(self, data, sample):
        (alpha_t, sigma_t), (_, sigma_s) = self.level(self.index + 1), self.level(self.index)
        h = self.lam(self.index + 1) - self.lam(self.index)
        slope = torch.zeros_like(data)
        if self.old is not None:
            h_0 = self.lam(self.index) - self.lam(self.index - 1)
            r = h_0 / h
            slope = (data - self.old) / r
        weight = alpha_t * (1 - torch.exp(-h))
        return (
            (sigma_t / sigma_s) * sample
            + weight * data
            + 0.5 * weight * slope
        )
'''


@pytest.fixture
def scheduler_file(tmp_path):
    """Writes a module and imports it: (the class of this name, the text's lines)."""
    made = []

    def written(text, kind="TwoStep"):
        name = f"a_scheduler_of_{tmp_path.name}_{len(made)}"
        path = tmp_path / f"{name}.py"
        path.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        made.append(name)
        spec.loader.exec_module(module)
        return getattr(module, kind), text.splitlines()

    yield written
    for name in made:
        del sys.modules[name]


def lines_with(lines, text):
    """The numbers of the lines that contain this, from 1."""
    return [i for i, line in enumerate(lines, start=1) if text in line]


@pytest.fixture
def counted(monkeypatch):
    """A question of which each asking takes a second of `suspects`: the same on every machine."""
    asked = []
    monkeypatch.setattr(blame, "time", types.SimpleNamespace(monotonic=lambda: len(asked)))

    def question(good):
        return lambda judged: asked.append(judged) or good(judged)

    return question


# a class in somebody's own file


def test_the_scheduler_is_right_as_written(scheduler_file):
    judged = subject(scheduler_file(WRITTEN)[0])
    assert order_is(2)(judged)
    assert suspects(judged, lambda judged: True) == []  # nothing to repair


def tells_the_truth(judged):
    """Whether the network is called where the sampler believes to stand, in a run of 6 steps."""
    return np.max(np.abs(recover(judged, 6, network_of(judged)[0]).off)) < 1e-6


def weighs_the_slope(judged):
    """Whether each step but the first has the midpoint rule's weight on the slope.

    It is h (1 - e^-h) / 2, of which a step needs h - 1 + e^-h; nine digits are left of sixteen
    after the rows of 12 steps are taken apart.
    """
    run = recover(judged, 12, network_of(judged)[0])
    h = np.diff(run.believed.lam)[1:]
    midpoint = -h * np.expm1(-h) / (2 * (h + np.expm1(-h)))
    return np.allclose(ratios(run, 2)[2:, 1], midpoint, rtol=1e-7, atol=0)


MISTAKES = {  # with a question that they answer with no, and after how many tries the search ends
    "ratio": ("r = h_0 / h", "r = h / h_0", weighs_the_slope, 90),
    "weight": ("+ 0.5 * weight * slope", "+ 0.25 * weight * slope", order_is(2), 3),
    "sign": ("(1 - torch.exp(-h))", "(1 - torch.exp(h))", tells_the_truth, 60),
    "conversion": ("(sample - sigma_s * model", "(sample + sigma_s * model", tells_the_truth, 145),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_edit_stands_on_the_wrong_line(scheduler_file, counted, mistake):
    old, new, good, tries = MISTAKES[mistake]
    kind, lines = scheduler_file(WRITTEN.replace(old, new))
    judged = subject(kind)
    with np.errstate(all="ignore"):
        assert not good(judged)
    found = suspects(judged, counted(good), tries)
    (wrong,) = lines_with(lines, new)
    assert wrong in [e.place.line for e in found], found
    assert {e.place.file for e in found} == {inspect.getsourcefile(kind).rpartition("/")[2]}


def test_a_state_is_formed_where_its_arithmetic_stands_not_where_it_is_cast(scheduler_file):
    kind, lines = scheduler_file(WRITTEN)
    place = formed_at(subject(kind), 6, 3)
    assert [place.line] == lines_with(lines, "return (")[-1:]
    assert place.method == "TwoStep.update"
    assert place.source.splitlines()[0] == "return ("  # whole, and no longer indented
    assert place.source.splitlines()[-1] == ")"
    assert "/" not in place.file


def test_a_class_whose_source_is_gone_still_names_the_method():
    module = types.ModuleType("a_scheduler_without_a_file")
    sys.modules[module.__name__] = module
    try:
        exec(WRITTEN, vars(module))
        judged = subject(module.TwoStep)
        place = formed_at(judged, 4, 2)
        assert (place.method, place.source) == ("TwoStep.update", "")
        assert suspects(judged, lambda judged: False) == []  # nothing to edit
    finally:
        del sys.modules[module.__name__]


# diffusers


@pinned
def test_the_published_factor_of_the_third_order_is_found(counted):
    """The weight on the second difference is half of what the step needs: plan-algebra, (1)."""
    judged = subject(DPM, {"solver_order": 3})
    (edit,) = suspects(judged, counted(order_is(3)), 1)
    source = inspect.getsource(sys.modules[DPM.__module__]).splitlines()
    assert source[edit.place.line - 1].endswith("/ h**2 - 0.5)) * D2")
    assert edit.place.method == f"{DPM.__name__}.multistep_dpm_solver_third_order_update"
    assert edit.place.source.startswith("x_t = (\n    (sigma_t / sigma_s0) * sample\n")
    assert edit.new == f"2 * ({edit.old})"


@pinned
def test_the_nodes_of_a_run_are_formed_by_the_rules_of_first_second_and_third_order():
    judged = subject(DPM, {"solver_order": 3})
    named = [formed_at(judged, 6, i).method.rpartition("solver_")[2] for i in range(1, 7)]
    rules = [f"{k}_order_update" for k in ("first", "second", "third")]
    assert named == [rules[k] for k in (0, 1, 2, 2, 1, 0)]  # warm-up, and few steps at the end


def test_what_is_handed_in_is_formed_nowhere():
    assert formed_at(subject(DPM), 4, 0) is None


def test_both_stages_of_heun_are_formed_in_one_statement():
    places = {formed_at(subject(HEUN), 4, node) for node in (1, 2)}
    assert [p.source for p in places] == ["prev_sample = sample + derivative * dt"]


@pinned
@pytest.mark.parametrize("index", [16, 31, 38], ids=lambda i: MUTANTS[i].why)
def test_a_mutant_of_a_scheduler_leads_to_its_method(index):
    mutant = MUTANTS[index]
    place = formed_at(subject(mutant.build(), mutant.settings), 8, 4)
    assert place.method.rpartition(".")[2] == mutant.method


# order_is

RIGHT = [
    (diffusers.DDIMScheduler, {"clip_sample": False}, 1),
    (diffusers.EulerDiscreteScheduler, {"use_karras_sigmas": True}, 1),  # rounded timesteps
    (diffusers.FlowMatchEulerDiscreteScheduler, {"stochastic_sampling": True}, 1),
    (DPM, {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"}, 2),
    (HEUN, {}, 2),  # 5/6 h, the largest of those known
    (diffusers.DEISMultistepScheduler, {}, 2),
]


@pytest.mark.parametrize(("kind", "settings", "order"), RIGHT)
def test_rules_have_the_order_that_they_are_known_for(kind, settings, order):
    assert order_is(order)(subject(kind, settings))
    if order == 1:
        assert not order_is(2)(subject(kind, settings))


def test_the_third_order_of_one_that_is_of_second_is_not_granted():
    assert not order_is(3)(subject(DPM, {"solver_order": 2}))


def test_clipping_has_no_order():
    assert not order_is(1)(subject(diffusers.DDIMScheduler, {"clip_sample": True}))


# which edits


def others(expression, known=()):
    """What may stand for parts of it, each as the whole expression."""
    statement = ast.parse(f"y = {expression}").body[0]
    found = set()
    for slot, new, _ in candidates(statement, known):
        old = slot.node
        slot.put(new)
        found.add(ast.unparse(statement.value))
        slot.put(old)
    return found


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("a - b", "a + b"),
        ("a - b", "b - a"),
        ("a / b", "b / a"),
        ("a * b", "a / b"),
        ("a * b", "2 * (a * b)"),
        ("a * b + c", "-(a * b) + c"),
        ("0.5 * a", "1.0 * a"),
        ("0.5 * a", "0.25 * a"),
        ("exp(-h)", "exp(h)"),
        ("torch.expm1(h)", "torch.expm1(-h)"),
        ("exp(-h)", "exp(2 * -h)"),
        ("torch.sqrt(1 - a)", "1 - a"),
        ("(1 - a) * b", "(1 - a) ** 0.5 * b"),
        ("m[-1]", "m[-2]"),
        ("m[i + 1]", "m[i]"),
        ("lambda_s0 - lambda_s1", "lambda_t - lambda_s1"),
        ("c1 * m1 + c2 * m0", "c1 * m0 + c2 * m1"),
        ("(m[0], m[1])", "(m[1], m[0])"),
        ("f(x, g(a - b)).to(c)", "f(x, g(a + b)).to(c)"),
    ],
)
def test_a_common_mistake_is_undone_by_one_edit(wrong, right):
    known = ("lambda_t", "lambda_s0", "lambda_s1", "m0", "m1")
    assert ast.unparse(ast.parse(right, mode="eval")) in others(wrong, known)


def test_no_edit_leaves_an_expression_as_it_is():
    expression = "a * (b - 1) / torch.exp(-h) ** 2 + m[i - 1]"
    assert expression not in others(expression, ("a", "b", "h", "h_0"))


def test_names_of_one_kind_are_alike():
    for one, other in [("lambda_s0", "lambda_t"), ("h", "h_0"), ("D1_0", "D1_1"), ("D1", "D2")]:
        assert alike(one, other)
    assert not alike("sigma_t", "alpha_t")
    assert not alike("h", "h")


# a method with an edit


class Parent:
    """What an edit has to keep: decorators, defaults, super() and private names."""

    def __init__(self):
        self.__start = 1

    def start(self):
        return self.__start


class Child(Parent):
    """See Parent."""

    def start(self, more=0):
        return super().start() + more + 1

    @staticmethod
    def twice(x):
        return 2 * x


def first_edit(kind, method, new):
    """The class with the first edit of this method after which the source reads so."""
    function = inspect.unwrap(getattr(kind, method))
    (found,) = methods(kind, {function.__code__}).values()
    for candidate in candidates(found.statements[-1], ()):
        if ast.unparse(candidate.new) == new:
            return found.edited(candidate)
    raise AssertionError(f"no edit {new}")


def test_an_edited_class_is_the_same_but_for_the_edit():
    edited = first_edit(Child, "start", "super().start() + more")  # without + 1
    assert (edited.__name__, edited.__module__) == ("Child", Child.__module__)
    assert (edited().start(), edited().start(more=5)) == (1, 6)
    assert (Child().start(), Child().start(more=5)) == (2, 7)
    assert first_edit(Child, "twice", "4").twice(1) == 4
    assert Child.twice(1) == 2


def test_private_names_keep_their_class():
    (found,) = methods(Child, {Child.__init__.__code__}).values()
    (candidate,) = [c for c in candidates(found.statements[0], ()) if ast.unparse(c.new) == "-1"]
    assert found.edited(candidate)().start() == 0  # -1 + 1


def test_an_edit_of_a_decorated_constructor_keeps_its_config(scheduler_file):
    kind, _ = scheduler_file(WRITTEN)
    edited = first_edit(kind, "__init__", "2.0")(num_train_timesteps=100)
    assert edited.init_noise_sigma == 2.0
    assert edited.config.num_train_timesteps == 100
    assert kind().init_noise_sigma == 1.0


def test_a_method_that_a_subclass_replaces_is_not_edited():
    assert methods(Child, {Parent.start.__code__}) == {}


# suspects


def test_what_raises_is_no_repair_and_time_is_kept(scheduler_file):
    judged, seen = subject(scheduler_file(WRITTEN)[0]), []

    def good(judged):
        seen.append(judged)
        raise ZeroDivisionError

    assert suspects(judged, good, 1e-3) == []
    assert len(seen) == 1  # the sampler itself
    assert suspects(judged, good, LONG) == []
    assert len(seen) > 100  # one for each edit


def test_a_run_near_the_data_is_no_repair(scheduler_file):
    judged, starts = subject(scheduler_file(WRITTEN)[0]), []

    def near(judged):
        made = judged.make()
        made.set_timesteps(4)
        starts.append(int(made.timesteps[0]))
        return starts[-1] < 700

    assert suspects(judged, near, LONG) == []
    assert min(starts) < 700  # it was tried


def test_an_edit_that_takes_the_noise_away_is_no_repair(counted):
    noisy = []

    def still(judged):
        noisy.append(bool(np.any(probe(judged, 4).C)))
        return not noisy[-1]

    judged = subject(diffusers.EulerAncestralDiscreteScheduler)
    assert suspects(judged, counted(still), 60) == []
    assert False in noisy  # it was tried


# refusals


def test_what_is_no_scheduler_of_a_class_is_refused():
    made = subject(DPM())
    with pytest.raises(ValueError, match="formed_at: judged must be a scheduler made from its cla"):
        formed_at(made, 4, 1)
    with pytest.raises(ValueError, match="suspects: judged must be a scheduler made from its clas"):
        suspects(made, order_is(1))


@pytest.mark.parametrize("node", [-1, 5])
def test_a_node_that_the_run_lacks_is_refused(node):
    with pytest.raises(ValueError, match=f"formed_at: node must be .*, got {node}"):
        formed_at(subject(DPM), 4, node)


@pytest.mark.parametrize("named", [0, 4])
def test_an_order_that_cannot_be_judged_is_refused(named):
    with pytest.raises(ValueError, match=rf"order_is: named must be in \[1, 3\], got {named}"):
        order_is(named)


def test_negative_seconds_are_refused():
    with pytest.raises(ValueError, match=r"suspects: seconds must be finite in \[0, inf\], got -1"):
        suspects(subject(DPM), order_is(1), -1)
