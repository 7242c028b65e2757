"""Where a run runs: the caller's Accelerator, or one for this run alone.

accelerate keeps one device and one precision for a whole process; a library may not. So what is
made here is forgotten when the run ends, and the next may choose otherwise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from ..errors import fail, one_of

PRECISIONS = ("no", "bf16", "fp16")


@contextlib.contextmanager
def accelerating(
    precision: str, device: str | torch.device | None, given: Accelerator | None
) -> Iterator[Accelerator]:
    """An Accelerator of this precision and device; ValueError or TypeError by name."""
    kind = None if device is None else str(device)
    known = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    one_of("fit", "precision", precision, PRECISIONS)
    if kind is not None:
        one_of("fit", "device", kind, known)
    if precision == "fp16" and (kind == "cpu" or "cuda" not in known):
        raise fail("fit", "precision", "'no' or 'bf16' on a CPU", precision)
    if given is not None and not isinstance(given, Accelerator):
        raise TypeError(f"fit: accelerator must be an Accelerator, got {given!r}")
    fresh, alone = not AcceleratorState._shared_state, not PartialState._shared_state
    try:
        found = given or _made(precision, kind == "cpu")
        own = found.mixed_precision
        if precision not in ("no", own):
            raise fail("fit", "precision", f"{own!r}, the Accelerator's", precision)
        if kind not in (None, found.device.type):
            raise fail("fit", "device", f"{found.device.type!r}, the Accelerator's", kind)
        yield found
    finally:
        if given is None and fresh:
            AcceleratorState._reset_state(reset_partial_state=alone)


def _made(precision: str, on_cpu: bool) -> Accelerator:
    try:
        return Accelerator(mixed_precision=precision, cpu=on_cpu)
    except ValueError as error:
        raise ValueError(
            f"fit: precision={precision!r}, cpu={on_cpu} must be those of the Accelerator that is "
            f"in use in this process; give it as `accelerator` ({error})"
        ) from None
