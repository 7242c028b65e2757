"""Rows in parts: every row once, whatever the threads, and BLAS as it was found."""

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from fewtheory.testbeds import GaussianMixture
from fewtheory.tiles import in_parts

BED = GaussianMixture(
    np.full(20, 0.05), np.random.default_rng(0).standard_normal((20, 16)), np.ones(20)
)
X = BED.sample(4000, rng=np.random.default_rng(1))


def blas_threads():
    return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"]


@pytest.mark.parametrize("n", [0, 1, 7, 1000])
@pytest.mark.parametrize("operations", [0, 10**9])
def test_every_row_is_worked_on_once(n, operations):
    seen = np.zeros(n, dtype=int)

    def work(start, stop):
        seen[start:stop] += 1

    in_parts(n, operations, work)
    assert np.all(seen == 1)


def test_one_thread_gives_the_same_numbers():
    with threadpool_limits(1):
        alone = BED.log_prob(X)
    np.testing.assert_allclose(BED.log_prob(X), alone, rtol=1e-13)


def test_calls_from_several_threads_leave_blas_as_it_was():
    before, exact = blas_threads(), BED.log_prob(X)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: BED.log_prob(X), range(16)))
    assert blas_threads() == before
    for one in found:
        np.testing.assert_allclose(one, exact, rtol=1e-13)


def test_an_error_in_a_part_reaches_the_caller_and_leaves_blas_as_it_was():
    before = blas_threads()

    def work(start, stop):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        in_parts(100, 10**9, work)
    assert blas_threads() == before


def log_probs(_):
    return BED.log_prob(X)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # it forks with threads
def test_a_forked_process_makes_threads_of_its_own():
    exact = BED.log_prob(X)  # the threads of this process are awake
    with multiprocessing.get_context("fork").Pool(1) as pool:
        found = pool.map_async(log_probs, [0]).get(timeout=60)[0]
    np.testing.assert_allclose(found, exact, rtol=1e-13)
