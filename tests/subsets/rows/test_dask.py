"""The same calls on arrays chunked by rows, on two workers, one of which dies."""

import os
import signal

import numpy as np
import pytest

da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

from fewtheory.subsets import (  # noqa: E402
    coreset,
    inclusion_probabilities,
    leverage_scores,
    lewis_weights,
    scores,
)
from fewtheory.subsets.rows import _dask  # noqa: E402

CHUNK = 700


def heavy(n=4000, d=4):
    """Gaussian rows times exp(N(0,1)), one of them zero."""
    rng = np.random.default_rng(5)
    A = rng.standard_normal((n, d)) * np.exp(rng.standard_normal(n))[:, None]
    A[7] = 0
    return A


A = heavy()


@pytest.fixture
def chunked():
    """The rows in six chunks, on dask's own threads."""
    return da.from_array(A, chunks=(CHUNK, 4))


@pytest.fixture(scope="module")
def cluster():
    """Two workers, each a process of one thread, that are started again when they die."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as local:
        yield local


@pytest.fixture
def client(cluster):
    """A client of the two workers."""
    with distributed.Client(cluster) as own:
        yield own


def test_scores_are_those_of_the_array_in_memory(chunked):
    found = leverage_scores(chunked)
    assert isinstance(found, da.Array)
    assert found.compute() == pytest.approx(leverage_scores(A), rel=1e-12)
    for family in ("uniform", "root-leverage", "lewis"):
        assert scores(chunked, 1, family).compute() == pytest.approx(scores(A, 1, family), rel=1e-9)


@pytest.mark.parametrize("p", [1, 3, 8])
def test_lewis_weights_are_those_of_the_array_in_memory(chunked, p):
    found, truth = lewis_weights(chunked, p), lewis_weights(A, p)
    assert found.iterations == truth.iterations
    assert found.weights.compute() == pytest.approx(truth.weights, rel=1e-10)


def test_sensitivities_are_relative_to_a_reference(chunked, rng):
    found = scores(chunked, 1.5, "augmented", reference=200, rng=rng).compute()
    assert found.shape == (4000,)
    assert np.all(found[np.arange(4000) != 7] > 0)
    with pytest.raises(ValueError, match="scores: reference must be a number of rows for dask"):
        scores(chunked, 1, "sensitivity")


@pytest.mark.parametrize("draw", ["bernoulli", "fixed", "replacement"])
def test_a_coreset_of_chunks_has_rows_weights_and_budget(chunked, draw):
    C = coreset(chunked, 1, 60, draw=draw, rng=np.random.default_rng(0))
    q = inclusion_probabilities(lewis_weights(A, 1, tolerance=1e-6).weights, 60)
    if draw != "replacement":
        assert C.probability == pytest.approx(q[C.index], rel=1e-9)
    assert C.rows(chunked) == pytest.approx(A[C.index] * C.weight[:, None])
    assert (len(C.index) == 60) if draw != "bernoulli" else (30 < len(C.index) < 100)


def test_dependent_columns_and_single_precision(chunked):
    wide = da.concatenate([chunked, chunked[:, :1]], axis=1).rechunk({1: -1})
    assert leverage_scores(wide).compute() == pytest.approx(leverage_scores(A), rel=1e-9)
    assert leverage_scores(chunked.astype(np.float32)).dtype == np.float32


def test_a_worker_that_dies_costs_time_and_not_the_result(client, chunked, monkeypatch):
    alive = coreset(chunked, 1, 60, rng=np.random.default_rng(0))
    workers, sweeps = client.run(os.getpid), []
    real = _dask.DaskRows.sweep

    def watched(self, *args, **kwargs):
        sweeps.append(1)
        if len(sweeps) == 6:  # in the middle of the Lewis iteration: its values are lost
            os.kill(next(iter(workers.values())), signal.SIGKILL)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(_dask.DaskRows, "sweep", watched)
    survived = coreset(chunked, 1, 60, rng=np.random.default_rng(0))
    assert len(sweeps) > 10
    assert set(client.run(os.getpid).values()) != set(workers.values())
    assert survived.index.tolist() == alive.index.tolist()
    # blocks may be read from other addresses, which moves a matrix product by a rounding
    assert survived.weight == pytest.approx(alive.weight, rel=1e-12)
    assert survived.probability == pytest.approx(
        inclusion_probabilities(lewis_weights(A, 1, tolerance=1e-6).weights, 60)[survived.index]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda D: D.rechunk((4000, 2)), r"A must be chunked by rows: A.rechunk\(\{1: -1\}\)"),
        (lambda D: D[D[:, 0] > 0], "A must be of known chunk sizes"),
        (lambda D: D[:, 0], "A must be a matrix of shape"),
        (lambda D: D[:0], "A must be a matrix of shape"),
        (lambda D: D.astype(int), "A must be of a real floating dtype"),
        (lambda D: da.where(D > 2, np.nan, D), "A must be finite"),
        (lambda D: 0 * D, "A must have a row that is not zero"),
    ],
)
def test_bad_arrays_are_named(own_checks, chunked, change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        leverage_scores(change(chunked))
