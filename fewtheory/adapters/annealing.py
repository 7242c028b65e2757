"""Step annealing inside somebody else's model: its diffusion head gets a number of steps per token.

An autoregressive model calls `head.sample(z, ...)` once for each step of the sequence. The method
is wrapped on that one object: calls are counted, and the i-th of an image is given the i-th number
of steps. Nothing else of the model is touched, and `remove()` gives the method back.

    with anneal(model.diffloss, hi=50, lo=5, within=model.sample_tokens) as annealing:
        images = model.sample_tokens(bsz, num_iter=64, labels=y)
    annealing.used                                         # (50, 49, 48, 47, 47, ..)

Zhao et al. (2025), arXiv 2505.20297; sheet `disa`, "Real models".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import fail, integer
from ..samplers.annealing import annealed_steps

WHERE = "adapters.annealing.anneal"
ABSENT = object()


class Annealing:
    """A head under annealing: made by `anneal`, undone by `remove()` or at the end of a `with`.

    steps: the schedule of the image that is being made, () before it is known; used: the numbers
    of steps that its head was given so far.
    """

    def __init__(self, schedule: Callable[[int], tuple[int, ...]], n: int | None) -> None:
        self._schedule, self._undo = schedule, []
        self.steps: tuple[int, ...] = () if n is None else schedule(n)
        self.used: tuple[int, ...] = ()

    def restart(self, n: int | None = None) -> None:
        """The next call of the head is the first of an image, of n steps if that is another n."""
        if n is not None and n != len(self.steps):
            self.steps = self._schedule(n)
        self.used = ()

    def _next(self, wraps: bool) -> int:
        if wraps and self.used and len(self.used) == len(self.steps):
            self.used = ()
        if len(self.used) >= len(self.steps):
            n = len(self.steps)
            raise ValueError(f"{WHERE}: n must be the calls of the head in an image, got {n}")
        self.used = (*self.used, self.steps[len(self.used)])
        return self.used[-1]

    def _replace(self, owner: Any, name: str, function: Callable[..., Any]) -> None:
        before = vars(owner).get(name, ABSENT)
        setattr(owner, name, function)

        def undo() -> None:
            delattr(owner, name) if before is ABSENT else setattr(owner, name, before)

        self._undo.append(undo)

    def remove(self) -> None:
        """Give the methods back; a second time does nothing."""
        while self._undo:
            self._undo.pop()()

    def __enter__(self) -> Annealing:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()


def anneal(
    head: Any,
    *,
    hi: int = 50,
    lo: int = 5,
    kind: str = "linear",
    steps: Any = None,
    n: int | None = None,
    method: str = "sample",
    given: str | Callable[[int], Mapping[str, Any]] | None = "num_steps",
    before: Callable[[int], Any] | None = None,
    within: Callable[..., Any] | None = None,
    iterations: str = "num_iter",
) -> Annealing:
    """Wrap head.method so that its i-th call in an image takes annealed_steps(n, hi, lo, kind)[i].

    steps: (n,) integers in place of hi, lo and kind, as from `optimal_allocation`. How the head is
    told: `given`, the name of a keyword of the method, or a function of the number of steps that
    returns keywords ({"sigmas": ..}, {"grid": ..}), or None; `before`, called with the number of
    steps before each sample, for heads that hold it as a state. within: the model's own sampling
    method, bound: each call of it begins an image, whose n is its argument `iterations` where it
    has one. Without it an image is n calls. What the arguments of the method say of given keywords
    is overridden. Raises ValueError or TypeError by name; and while sampling, where the head is
    called more often than n says. Source: sheet `disa`, "Real models".

    >>> class Head:
    ...     def sample(self, z, num_steps=100):
    ...         return num_steps
    >>> head = Head()
    >>> with anneal(head, hi=25, lo=15, n=5):
    ...     print([head.sample(0.0) for _ in range(5)], head.sample(0.0))
    [25, 22, 20, 17, 15] 25
    >>> head.sample(0.0)
    100
    """
    if within is not None and not inspect.ismethod(within):
        raise TypeError(f"{WHERE}: within must be a bound method, got {within!r}")
    annealing = Annealing(_schedule(hi, lo, kind, steps), _length(n, steps, within, iterations))
    sample = getattr(head, method, None)
    if not callable(sample):
        raise TypeError(f"{WHERE}: head must have a method {method!r}, got {head!r}")
    names = inspect.signature(sample).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in names.values())
    if isinstance(given, str) and given not in names and not takes_any:
        raise fail(WHERE, "given", f"a keyword of {method}{inspect.signature(sample)}", given)
    if given is None and before is None:
        raise fail(WHERE, "given", "a keyword or a function where before is None", None)

    def annealed(*args: Any, **kwargs: Any) -> Any:
        count = annealing._next(wraps=within is None)
        if before is not None:
            before(count)
        told = {given: count} if isinstance(given, str) else given(count) if given else {}
        return _call(sample, args, kwargs, told)

    annealing._replace(head, method, annealed)
    if inspect.ismethod(within):

        def image(*args: Any, **kwargs: Any) -> Any:
            bound = inspect.signature(within).bind(*args, **kwargs)
            bound.apply_defaults()
            annealing.restart(bound.arguments.get(iterations) if n is None else None)
            return within(*args, **kwargs)

        annealing._replace(within.__self__, within.__name__, image)
    return annealing


def _schedule(hi: int, lo: int, kind: str, steps: Any) -> Callable[[int], tuple[int, ...]]:
    """The schedule for n, checked now."""
    if steps is None:
        annealed_steps(1, hi, lo, kind)
        return lambda n: tuple(annealed_steps(n, hi, lo, kind).tolist())
    fixed = tuple(integer(WHERE, "steps", v, 1) for v in np.asarray(steps).ravel())

    def schedule(n: int) -> tuple[int, ...]:
        if n != len(fixed):
            raise fail(WHERE, "steps", f"{n} integers, one a step of the sequence", len(fixed))
        return fixed

    return schedule


def _length(n: int | None, steps: Any, within: Any, iterations: str) -> int | None:
    """How many steps an image has, where it is known before the model is called."""
    if n is not None:
        return integer(WHERE, "n", n, 1)
    if steps is not None:
        return np.size(steps)
    if within is None:
        raise fail(WHERE, "n", "given where within is None", None)
    if iterations not in inspect.signature(within).parameters:
        raise fail(WHERE, "n", f"given where within has no argument {iterations!r}", None)
    return None


def _call(function: Callable[..., Any], args: Any, kwargs: Any, told: Mapping[str, Any]) -> Any:
    """function(*args, **kwargs), but with what is told, also where it came by position."""
    signature = inspect.signature(function)
    bound = signature.bind_partial(*args, **kwargs)
    more = {key: value for key, value in told.items() if key not in signature.parameters}
    bound.arguments.update({key: told[key] for key in told if key not in more})
    return function(*bound.args, **{**bound.kwargs, **more})
