"""Streams: merge-and-reduce coresets and online leverage."""

import mpmath
import numpy as np
import pytest
import torch

from fewtheory.arrays import to_numpy
from fewtheory.subsets import (
    OnlineLeverage,
    StreamingCoreset,
    leverage_scores,
    online_coreset,
    online_leverage,
)
from fewtheory.subsets.rows._online_kernel import online_scores


def heavy(rng, n, d=3):
    """Gaussian rows times exp(N(0,1))."""
    return rng.standard_normal((n, d)) * np.exp(rng.standard_normal(n))[:, None]


@pytest.mark.parametrize("draw", ["bernoulli", "fixed"])
def test_norms_keep_their_mean_through_three_heights(rng, draw):
    A, x, p, found = heavy(rng, 32, 2), np.array([1.0, -0.3]), 1.5, []
    for _ in range(150):
        stream = StreamingCoreset(p, 4, leaf=8, draw=draw, scores="leverage", rng=rng)
        for batch in np.split(A, 4):
            stream.push(batch)
        C = stream.result()
        assert C.n == 32
        found.append(np.sum(np.abs(C.rows(A) @ x) ** p))
    truth = np.sum(np.abs(A @ x) ** p)
    assert abs(np.mean(found) - truth) < 5 * np.std(found) / np.sqrt(150)


def test_memory_is_a_few_coresets(rng):
    stream = StreamingCoreset(1, 20, draw="fixed", rng=rng)
    for k in range(100):
        stream.push(heavy(rng, 37))
        held = sum(len(h.index) for h in stream._heights if h is not None)
        assert held <= 20 * (1 + np.log2(1 + 37 * (k + 1) / 40))
        assert len(stream._pending.index) < 40
    assert stream.result().n == 3700


def test_a_short_stream_is_kept_as_it_is(rng):
    A = heavy(rng, 15)
    stream = StreamingCoreset(2, 20, rng=rng)
    stream.push(A)
    C = stream.result()
    assert C.index.tolist() == list(range(15))
    assert C.weight.tolist() == [1.0] * 15
    assert stream.rows() == pytest.approx(A)


def test_the_distortion_of_a_stream_is_a_few_times_that_of_one_draw(rng):
    A = heavy(rng, 5000, 2)
    stream = StreamingCoreset(2, 400, rng=rng)
    for batch in np.array_split(A, 13):
        stream.push(batch)
    # log2(5000 / 800) + 1 = 4 draws and a last one, each about sqrt(2 / 400)
    assert stream.result().distortion(A).lower < 5 * 3 * np.sqrt(2 / 400)


def test_batches_of_torch_stay_torch(rng):
    stream = StreamingCoreset(1, 10, draw="fixed", rng=torch.Generator().manual_seed(0))
    for batch in np.split(heavy(rng, 60), 3):
        stream.push(torch.tensor(batch))
    stream.result()
    assert isinstance(stream.rows(), torch.Tensor)
    assert stream.rows().shape == (10, 3)


def test_a_batch_of_zeros_is_no_news(rng):
    stream = StreamingCoreset(1, 5, rng=rng)
    stream.push(np.zeros((50, 3)))
    stream.push(heavy(rng, 50))
    assert np.all(stream.result().index >= 50)


def test_online_scores_are_those_of_fifty_digits(rng):
    A = heavy(rng, 40, 5) * np.exp(3 * rng.standard_normal(40))[:, None]
    for lam in (0.3, 1e-12, 1e-30):
        found = online_leverage(A, lam)
        with mpmath.workdps(80):
            M, truth = mpmath.eye(5) * mpmath.mpf(lam), []
            for row in A:
                a = mpmath.matrix([mpmath.mpf(float(v)) for v in row])
                truth.append(float((a.T * mpmath.lu_solve(M, a))[0]))
                M += a * a.T
        # each row is five rotations of a backward stable update: forty times five roundings
        assert np.max(np.abs(found / truth - 1)) < 200 * np.finfo(float).eps


def test_the_logarithms_add_up_to_the_determinant(rng, asarray):
    A = heavy(rng, 40, 5)
    found = to_numpy(online_leverage(asarray(A), 0.3))
    truth = np.linalg.slogdet(np.eye(5) + A.T @ A / 0.3)[1]
    assert np.log1p(found).sum() == pytest.approx(truth, rel=1e-13)


def test_batches_do_not_change_online_scores(rng):
    A = heavy(rng, 50)
    online = OnlineLeverage(3, 0.1)
    parts = [online.push(batch) for batch in np.array_split(A, 7)]
    assert np.concatenate(parts).tolist() == online_leverage(A, 0.1).tolist()


def test_the_kernel_is_its_plain_twin(rng):
    A, ends = heavy(rng, 20), []
    for function in (online_scores, online_scores.py_func):
        R, out = np.eye(3), np.empty(20)
        function(A, R, out)
        ends.append((R, out))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-13)
    assert ends[0][1] == pytest.approx(ends[1][1], rel=1e-13)


def test_online_scores_are_at_least_those_of_the_whole_matrix(rng):
    A = heavy(rng, 60)
    assert np.all(online_leverage(A, 1e-9) >= leverage_scores(A) * (1 - 1e-6))


def test_an_online_coreset_keeps_rows_as_often_as_they_score(rng):
    A, counts = heavy(rng, 30), np.zeros(30)
    expected = np.minimum(1, 0.7 * online_leverage(A, 0.5))
    for _ in range(2000):
        index, q = online_coreset(A, 0.7, 0.5, rng=rng)
        assert q == pytest.approx(expected[index])
        counts[index] += 1
    spread = np.sqrt(2000 * expected * (1 - expected))
    assert np.all(np.abs(counts - 2000 * expected) <= 5 * spread + 1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: StreamingCoreset(0.5, 5, rng=r), "StreamingCoreset: p must be at least 1"),
        (lambda r: StreamingCoreset(1, 0, rng=r), "StreamingCoreset: m must be at least 1"),
        (lambda r: StreamingCoreset(1, 5, leaf=5, rng=r), "leaf must be at least 6"),
        (lambda r: StreamingCoreset(1, 5, scores="x", rng=r), "family must be one of"),
        (lambda r: StreamingCoreset(1, 5, draw="replacement", rng=r), "draw must be one of"),
        (lambda r: StreamingCoreset(1, 5, rng=1), "StreamingCoreset: rng must be a"),
        (lambda r: StreamingCoreset(1, 5, rng=r).result(), "batch must have been pushed"),
        (lambda r: StreamingCoreset(1, 5, rng=r).push(np.ones((2, 6))), "at most m = 5 columns"),
        (lambda r: StreamingCoreset(1, 5, rng=r).push(np.array([[np.nan]])), "batch must be fin"),
        (lambda r: OnlineLeverage(2, 0), "OnlineLeverage: lam must be"),
        (lambda r: OnlineLeverage(2, 1).push(np.ones((2, 3))), "batch must be of 2 columns"),
        (lambda r: OnlineLeverage(1, 1).push(np.array([[np.inf]])), "batch must be finite"),
        (lambda r: online_coreset(np.eye(2), 0, 1, rng=r), "online_coreset: c must be"),
    ],
)
def test_bad_arguments_are_named(own_checks, rng, call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call(rng)


def test_a_batch_of_another_width_is_refused(own_checks, rng):
    stream = StreamingCoreset(1, 5, rng=rng)
    stream.push(np.ones((2, 2)))
    with pytest.raises(ValueError, match="batch must be of 2 columns"):
        stream.push(np.ones((2, 3)))
