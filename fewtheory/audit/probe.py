"""Recovering a sampler's rows from one run on one-hot carriers.

A sampler that is linear in the state, the model outputs and the noises acts on every entry of a
tensor alike. So give it a state with one entry for x_T, one for each model output and one for each
noise: start from the unit vector of x_T, answer the i-th call by the unit vector of the i-th
output, the k-th draw by that of the k-th noise. Each state handed to the network is then its own
row of the tableau. A run on random numbers, predicted from the rows, decides whether the sampler
is linear at all. Sheet `plan-algebra`, "Recovering a black box".
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import to_numpy
from .subject import Call, Subject, drive

SCALE = 3.0  # of the random entries: beyond the [-1, 1] to which samplers clip
ANOTHER = 7  # steps of the run that comes before, when a scheduler is used twice
RANDOM = 16  # how many entries are random
SUPERPOSITION = 1e-7  # of the sum of the terms' sizes: float64 with room for ill-conditioned rows


@dataclass(frozen=True, eq=False)
class Probe:
    """The rows of one run of n evaluations: u_i = a_i x_T + d_i + sum_j B_ij m_j + sum_k C_ik xi_k.

    a, d (n+1,), B (n+1, n), C (n+1, q); times, scales (n,): what the network is told and by what
    the state is multiplied before it sees it. `nonlinear_at`: None, or the first node at which a
    run on random numbers leaves the rows; `single`: the largest relative error of the same run in
    the sampler's own precision. `config_changes`: what the run changed in the sampler's config.
    """

    steps: int
    a: np.ndarray
    B: np.ndarray
    C: np.ndarray
    d: np.ndarray
    times: np.ndarray
    scales: np.ndarray
    nonlinear_at: int | None
    single: float
    init_noise_sigma: float | None
    config_changes: dict[str, tuple[Any, Any]]
    made: Any

    @property
    def nfe(self) -> int:
        """The number of network calls."""
        return self.times.size


def probe(judged: Subject, steps: int, single: bool = False) -> Probe:
    """Recover the rows of a run in `steps` steps. single: also run in the sampler's own precision.

    What the sampler itself raises is raised.
    """
    if judged.kind == "plan":
        return _of_plan(judged, steps)
    carriers = _Carriers(steps)
    run = _thorough_once(judged, carriers, steps)
    n, q, inputs = len(run.calls), run.noises, carriers.random
    with np.errstate(invalid="ignore"):  # infinities are what a check is for
        a, B, C, d = carriers.rows(run.states, n, q)
    with np.errstate(invalid="ignore", over="ignore"):
        predicted = _applied((a, B, C, d), inputs, n, q)
        size = _applied(tuple(np.abs(r) for r in (a, B, C, d)), np.abs(inputs), n, q).max(axis=1)
        off = np.abs(carriers.tail(run.states) - predicted).max(axis=1) / (size + 1e-300)
    bad = np.flatnonzero(~(off < SUPERPOSITION))
    if judged.notes["shared"] is not None:
        bad = np.array([min(judged.notes["shared"], n)])
    with np.errstate(invalid="ignore", divide="ignore"):
        scales = np.sum(run.shown * run.states[:-1], axis=1) / np.sum(run.states[:-1] ** 2, axis=1)
    error = 0.0
    if single:
        own = _Run(judged, steps, carriers, wide=False, thorough=True)
        same = own.states.shape == run.states.shape
        with np.errstate(invalid="ignore"):  # NaN is what the check is for
            off_single = np.abs(own.states[-1] - run.states[-1]).max() if same else np.inf
        error = float(off_single / size[-1])
    a, C, d = _from_first_state(a, C, d)
    return Probe(
        steps,
        a,
        B,
        C,
        d,
        np.array([c.time for c in run.calls]),
        scales,
        int(bad[0]) if bad.size else None,
        error,
        run.init_noise_sigma,
        run.config_changes,
        run.made,
    )


def after_another(judged: Subject, steps: int) -> np.ndarray:
    """(a, B) of a run in `steps` steps by a scheduler that has run in ANOTHER steps before."""
    first = _Run(judged, ANOTHER, _Carriers(ANOTHER), thorough=True)
    carriers = _Carriers(steps)
    run = _Run(judged, steps, carriers, thorough=True, made=first.made)
    a, B, _, _ = carriers.rows(run.states, len(run.calls), run.noises)
    return np.column_stack([a, B])


def _thorough_once(judged: Subject, carriers: _Carriers, steps: int) -> _Run:
    """The run; before a sampler's first it is found out whether the fast way misses nothing.

    And whether its steps depend on the size of the whole tensor, which entries side by side cannot
    show: with the random ones ten times as large the others must come out as before.
    """
    torch = judged.arrays == "torch"
    if "fast" not in judged.notes:
        slow = _Run(judged, steps, carriers, thorough=torch)
        fast = _Run(judged, steps, carriers) if torch else slow
        same = slow.states.shape == fast.states.shape
        same = same and np.array_equal(slow.states, fast.states, equal_nan=True)
        large = _Run(judged, steps, _Carriers(steps, 10 * SCALE), thorough=not same)
        heads = carriers.head(slow.states), carriers.head(large.states)
        rows = np.zeros(1, dtype=bool)  # another number of calls for other numbers
        if heads[0].shape == heads[1].shape:
            rows = np.isclose(*heads, 1e-9, 1e-9, equal_nan=True).all(axis=1)
        judged.notes["shared"] = None if rows.all() else int(np.argmin(rows))
        judged.notes["fast"] = same
        return slow
    return _Run(judged, steps, carriers, thorough=not judged.notes["fast"])


def _from_first_state(
    a: np.ndarray, C: np.ndarray, d: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows from the first state that the network sees, where that is not x_T itself.

    Some samplers scale what they are given, or churn it, before they call the network.
    """
    if a[0] == 0 or (a[0] == 1 and not np.any(C[0]) and d[0] == 0):
        return a, C, d
    share = a / a[0]
    return share, C - share[:, None] * C[0], d - share * d[0]


def _applied(rows: tuple[np.ndarray, ...], inputs: np.ndarray, n: int, q: int) -> np.ndarray:
    """The states (n+1, RANDOM) that rows (a, B, C, d) make of inputs in the carriers' order."""
    a, B, C, d = rows
    room = (len(inputs) - 1) // 2
    x, m, xi = inputs[:1], inputs[1 : 1 + n], inputs[1 + room : 1 + room + q]
    return a[:, None] * x + B @ m + C @ xi + d[:, None]


class _Carriers:
    """What x_T, the model outputs and the noises are set to: one entry each, zeros, random ones.

    Entries: x_T, `room` model outputs, `room` noises, one of zeros (it carries the constant), and
    RANDOM with random numbers, for which the rows must predict the run.
    """

    def __init__(self, steps: int, scale: float = SCALE):
        self.room = 4 * steps + 16  # evaluations, and draws: no sampler at hand needs more
        self.width = 2 * self.room + 2 + RANDOM
        rng = np.random.default_rng(0)
        self.random = scale * rng.standard_normal((1 + 2 * self.room, RANDOM))

    def __call__(self, kind: str, i: int) -> np.ndarray:
        """The carrier of x_T ("x"), of the i-th model output ("m") or noise ("xi"), (width,)."""
        if i >= self.room:
            raise RuntimeError(f"more than {self.room} of {kind!r} in one run")
        place = {"x": 0, "m": 1 + i, "xi": 1 + self.room + i}[kind]
        out = np.zeros(self.width)
        out[place] = 1.0
        out[-RANDOM:] = self.random[place]
        return out

    def rows(self, states: np.ndarray, n: int, q: int) -> tuple[np.ndarray, ...]:
        """(a, B, C, d) of states (n+1, width)."""
        d = states[:, 2 * self.room + 1]
        linear = states - d[:, None]
        noises = slice(1 + self.room, 1 + self.room + q)
        return linear[:, 0], linear[:, 1 : n + 1], linear[:, noises], d

    @staticmethod
    def head(states: np.ndarray) -> np.ndarray:
        """The other entries of the states."""
        return states[:, :-RANDOM]

    @staticmethod
    def tail(states: np.ndarray) -> np.ndarray:
        """The random entries of the states."""
        return states[:, -RANDOM:]


def _of_plan(judged: Subject, steps: int) -> Probe:
    """A plan needs no probing: its rows are its data."""
    plan = judged.make(steps)
    tab = plan.predicting("data").tableau()
    return Probe(
        steps,
        tab.a,
        tab.B,
        tab.C,
        tab.d,
        plan.t[:-1],
        np.ones(plan.nodes - 1),
        None,
        0.0,
        None,
        {},
        plan,
    )


class _Run:
    """One run on carriers: the calls, the states (the output last), the number of draws."""

    def __init__(
        self,
        judged: Subject,
        steps: int,
        carriers: _Carriers,
        wide: bool = True,
        thorough: bool = False,
        made: Any = None,
    ):
        self.calls: list[Call] = []
        self.noises = 0
        context: Any = contextlib.nullcontext()
        if judged.arrays == "torch":
            from ._torch import exact, tensor

            shape, convert = (1, -1, 1, 1), tensor
            context = exact(_modules(judged), lambda: noise(), wide, thorough)
        else:
            shape, convert = (1, -1), _array

        def carrier(kind: str, i: int) -> Any:
            return convert(carriers(kind, i).reshape(shape), wide)

        def noise() -> Any:
            self.noises += 1
            return carrier("xi", self.noises - 1)

        def network(i: int, call: Call) -> Any:
            self.calls.append(call)
            return carrier("m", i)

        with context, quiet():
            self.made = made
            if made is None and judged.kind == "scheduler":
                self.made = judged.fresh("double" if wide else "single")
            before = _config(self.made)
            out = drive(judged, self.made, steps, carrier("x", 0), network, _Generator(noise))
        after = _config(self.made)
        self.config_changes = {k: (v, after[k]) for k, v in before.items() if after.get(k) != v}
        init = getattr(self.made, "init_noise_sigma", None)
        self.init_noise_sigma = None if init is None else float(init)
        states = [*(c.state for c in self.calls), out]
        self.states = np.array([to_numpy(u).reshape(-1) for u in states], dtype=np.float64)
        shown = [to_numpy(c.shown).reshape(-1) for c in self.calls]
        self.shown = np.array(shown, dtype=np.float64)


def _array(value: np.ndarray, wide: bool) -> np.ndarray:
    return value.astype(np.float64 if wide else np.float32)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Other people's warnings and log lines are theirs: the audit says what is wrong itself."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


class _Generator(np.random.Generator):
    """A generator whose normal draws are carriers."""

    def __init__(self, draw: Callable[[], Any]):
        super().__init__(np.random.PCG64(0))
        self._draw = draw

    def standard_normal(self, *args: Any, **kwargs: Any) -> Any:
        """The next carrier, whatever shape is asked for."""
        return self._draw()

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, *args: Any, **kwargs: Any) -> Any:
        """loc + scale times the next carrier."""
        return loc + scale * self._draw()


def _modules(judged: Subject) -> list[str]:
    """Where the code stands that a run executes."""
    if judged.kind == "function":
        return [judged.make.__module__]
    maker = getattr(judged.make, "maker", None)
    kind = maker if isinstance(maker, type) else type(judged.make())
    return [c.__module__ for c in kind.__mro__]


def _config(made: Any) -> dict[str, Any]:
    return {k: v for k, v in dict(getattr(made, "config", {})).items() if not k.startswith("_")}
