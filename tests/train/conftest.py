"""Training on one thread, whose sums are the same in every run; equality of what runs leave."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread):
    """Every test here."""


def _same(a, b):
    """Whether two states are equal to the last bit, the log's seconds aside."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a if k != "seconds")
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(_same(p, q) for p, q in zip(a, b, strict=True))
    return a == b


@pytest.fixture(scope="session")
def same():
    """Whether two states are equal to the last bit, the log's seconds aside."""
    return _same
