"""Clips of T frames of which a judge sees k: a bandit that can be listed, and digits in motion.

In the clip bandit a frame is a row of evidence and a clip's scores are the softmax of the mean
evidence of its frames, so every set's scores are known and any expectation over sets is a sum. The
moving digits are short clips made of real handwritten digits, most of whose frames show nothing, or
mislead: what a choice of frames is worth there has to be learned, and is measured on clips of
digits that were not trained on. Sheet `ocsampler`, "Setting".
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache
from typing import Any

import array_api_compat
import numpy as np

from ..arrays import Array, Rng, as_like, check_rng, namespace, to_numpy
from ..errors import fail, finite_array, integer, number, one_of
from ..shapes import Float, Int


@dataclass(frozen=True, eq=False)
class ClipBandit:
    """T frames with evidence e_i in R^C: the clip S scores softmax(mean of e_i over S).

    evidence: (T, C), C at least 2; label: the right class. Raises ValueError or TypeError by name.

    >>> ClipBandit([[2.0, 0.0], [0.0, 1.0]], 0).scores(np.array([[0], [1]])).round(3).tolist()
    [[0.881, 0.119], [0.269, 0.731]]
    """

    evidence: Any
    label: int

    def __post_init__(self) -> None:
        e = finite_array("ClipBandit", "evidence", self.evidence)
        if e.ndim != 2 or e.shape[0] < 1 or e.shape[1] < 2:
            raise fail("ClipBandit", "evidence", "of shape (T, C), C at least 2", e.shape)
        object.__setattr__(self, "evidence", e)
        integer("ClipBandit", "label", self.label, 0, e.shape[1] - 1)

    @property
    def T(self) -> int:
        """The number of frames."""
        return self.evidence.shape[0]

    def sets(self, k: int) -> Int[np.ndarray, "M k"]:
        """All sets of k frames, in lexicographic order."""
        integer("ClipBandit.sets", "k", k, 1, self.T)
        return np.array(list(itertools.combinations(range(self.T), k)))

    def scores(self, chosen: Array) -> Float[Any, "... C"]:
        """The class probabilities of the clips chosen (..., k), in float64."""
        xp = namespace(chosen)
        if not hasattr(chosen, "dtype") or not xp.isdtype(chosen.dtype, "integral"):
            raise TypeError(f"ClipBandit.scores: chosen must hold integers, got {chosen!r}")
        inside = xp.all((chosen >= 0) & (chosen < self.T))
        if len(chosen.shape) < 1 or chosen.shape[-1] < 1 or not bool(inside):
            raise fail("ClipBandit.scores", "chosen", f"(..., k) within [0, {self.T - 1}]", chosen)
        device = array_api_compat.device(chosen)
        e = xp.asarray(np.array(self.evidence), dtype=xp.float64, device=device)
        flat = xp.take(e, xp.reshape(chosen, (-1,)), axis=0)
        mean = xp.mean(xp.reshape(flat, (*chosen.shape, e.shape[1])), axis=-2)
        z = xp.exp(mean - xp.max(mean, axis=-1, keepdims=True))
        return z / xp.sum(z, axis=-1, keepdims=True)


LOGITS = (0.3, -0.5, 1.1, 0.0, -1.2, 0.7)  # the sheet's policy in both worlds


def clip_bandit(name: str = "W") -> ClipBandit:
    """The sheet's worlds of six frames and three classes, label 0.

    "W": the base member. "B": frames that argue for class 1 with more force than any does for the
    label, so that the most confident clip is wrong.

    >>> clip_bandit("B").scores(np.array([[1, 3, 4]])).argmax()
    np.int64(1)
    """
    one_of("clip_bandit", "name", name, ("W", "B"))
    rows = {
        "W": [[2, 0, 0], [0, 2.2, 0], [1.5, 0, 0.2], [0, 0, 0], [0.2, 0, 2.6], [0.4, 0.9, 0.1]],
        "B": [[1.6, 0, 0], [0, 2.4, 0], [1.4, 0, 0.2], [0, 2.2, 0], [0, 2, 0.3], [1.2, 0.1, 0]],
    }
    return ClipBandit(rows[name], 0)


@dataclass(frozen=True, eq=False)
class Clips:
    """A batch of clips.

    frames: (n, T, side, side) in [0, 1]; label: (n,) the digit; kind: (n, T), the index of each
    frame's kind in `KINDS`; 0 is a clear view of the digit.
    """

    frames: Any
    label: Any
    kind: Any


KINDS = ("clear", "blank", "occluded", "noisy", "advert")


@cache
def _digits(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 8, 8) in [0, 1] and labels; every fifth one is held out."""
    from sklearn.datasets import load_digits

    loaded: Any = load_digits(return_X_y=True)
    x, label = loaded
    held = np.arange(len(x)) % 5 == 0
    rows = held if part == "held-out" else ~held
    return x[rows].reshape(-1, 8, 8) / 16, label[rows].astype(np.int64)


@dataclass(frozen=True)
class MovingDigits:
    """Clips of a real digit that moves over a canvas, most of whose frames are of no use.

    A clip shows one of scikit-learn's digits, which starts anywhere, keeps its velocity and bounces
    off the walls. Each frame is clear with probability `clear`, else, equally often: blank;
    occluded (a grey bar hides half of the digit); noisy (the digit at a fifth of its contrast under
    noise); or an advert: a digit of another class, in full contrast, inside a bright border. The
    border is what gives an advert away; a judge that was shown digits alone is sure of it, and
    wrong. At least one frame of a clip is clear. All frames carry noise of deviation `noise`.

    T: frames; side: of the canvas, at least 10; part: "train" or "held-out", disjoint digits.
    Everything is a function of rng. Needs scikit-learn. Raises ValueError or TypeError by name.

    >>> clips = MovingDigits(T=6).sample(3, rng=np.random.default_rng(0))
    >>> clips.frames.shape, clips.label.shape
    ((3, 6, 14, 14), (3,))
    """

    T: int = 10
    side: int = 14
    clear: float | int = 0.3
    noise: float | int = 0.1
    part: str = "train"

    def __post_init__(self) -> None:
        integer("MovingDigits", "T", self.T, 1)
        integer("MovingDigits", "side", self.side, 10)
        number("MovingDigits", "clear", self.clear, 0.0, 1.0)
        number("MovingDigits", "noise", self.noise, 0.0)
        one_of("MovingDigits", "part", self.part, ("train", "held-out"))

    def sample(self, n: int, *, rng: Rng, like: Array | None = None) -> Clips:
        """n clips; frames float64 NumPy unless `like` says otherwise. rng: either generator.

        Drawn on the host: a torch generator seeds a NumPy one.
        """
        integer("MovingDigits.sample", "n", n, 0)
        check_rng("MovingDigits.sample", rng)
        host = _host_rng(rng)
        images, labels = _digits(self.part)
        row, shape = host.integers(len(images), size=n), (n, self.T)
        poor = host.integers(1, len(KINDS), shape)
        kind = np.where(host.random(shape) < self.clear, 0, poor)
        kind[np.arange(n), host.integers(self.T, size=n)] = 0
        other = host.integers(
            len(images), size=shape
        )  # for adverts: moved on until its class is new
        while np.any(same := labels[other] == labels[row][:, None]):
            other = np.where(same, (other + 1) % len(images), other)
        shown = np.where((kind == 4)[..., None, None], images[other], images[row][:, None])
        frames = self._frames(shown, kind, self._paths(n, host), host)
        if like is None:
            return Clips(frames, labels[row], kind)
        xp, device = namespace(like), array_api_compat.device(like)
        whole = (xp.asarray(v, dtype=xp.int64, device=device) for v in (labels[row], kind))
        return Clips(as_like(frames, like), *whole)

    def _paths(self, n: int, host: np.random.Generator) -> Int[np.ndarray, "n T two"]:
        """Where the digit's corner is: a straight line, reflected at the walls."""
        room = self.side - 8
        start = host.random((n, 1, 2)) * 2 * room
        step = host.uniform(0.5, 2.0, (n, 1, 2)) * host.choice([-1.0, 1.0], (n, 1, 2))
        free = (start + step * np.arange(self.T)[:, None]) % (2 * room)
        return np.rint(np.minimum(free, 2 * room - free)).astype(np.int64)

    def _frames(
        self, shown: np.ndarray, kind: np.ndarray, at: np.ndarray, host: np.random.Generator
    ) -> np.ndarray:
        """(n, T, side, side): each digit shown (n, T, 8, 8) at its corner, as its kind has it."""
        blank, occluded, noisy, advert = (kind == i for i in range(1, len(KINDS)))
        lower = host.random(kind.shape) < 0.5
        bar = occluded[..., None] & ((np.arange(8) >= 4) == lower[..., None])  # (n, T, 8) rows
        shown = np.where(bar[..., None], 0.5, shown)
        contrast = np.where(blank, 0.0, np.where(noisy, 0.2, 1.0))
        canvas = np.zeros((*kind.shape, self.side, self.side))
        n, t = np.indices(kind.shape)[..., None, None]
        y, x = at[..., 0, None, None], at[..., 1, None, None]
        pixel = np.arange(8)
        canvas[n, t, y + pixel[:, None], x + pixel] = contrast[..., None, None] * shown
        canvas += np.where(noisy, 0.8, 0.0)[..., None, None] * host.random(canvas.shape)
        border = np.ones((self.side, self.side), dtype=bool)
        border[1:-1, 1:-1] = False
        canvas[advert[..., None, None] & border] = 1.0
        canvas += self.noise * host.standard_normal(canvas.shape)
        return np.clip(canvas, 0.0, 1.0)


def _host_rng(rng: Rng) -> np.random.Generator:
    """A NumPy generator: this one, or one seeded by a torch generator's next number."""
    if isinstance(rng, np.random.Generator):
        return rng
    import torch

    drawn = torch.randint(2**62, (), generator=rng, device=rng.device)
    return np.random.default_rng(int(to_numpy(drawn)))
