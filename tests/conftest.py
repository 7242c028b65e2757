"""Fixtures: every test can run on every array backend. The root conftest checks the shapes."""

from __future__ import annotations

import os
import warnings

import array_api_strict
import hypothesis
import numpy as np
import pytest
from jaxtyping import config

from fewtheory import paths, testbeds

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch
    import torch._decomp.decompositions_for_jvp  # forward mode loads it, and it warns once


# nothing here is timed; in CI the same examples in every run, by hand new ones
hypothesis.settings.register_profile("own", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("own")


def read_only(x):
    """A NumPy array that refuses to be written to."""
    out = np.array(x)
    out.setflags(write=False)
    return out


BACKENDS = {
    "numpy": np.array,
    "read-only numpy": read_only,
    "torch": lambda x: torch.tensor(np.asarray(x)),
    "array-api-strict": lambda x: array_api_strict.asarray(np.asarray(x)),
}


@pytest.fixture(params=list(BACKENDS))
def asarray(request):
    """Makes an array of each backend from anything that NumPy takes."""
    return BACKENDS[request.param]


@pytest.fixture
def rng():
    """A generator of the test's own."""
    return np.random.default_rng(20261122)


@pytest.fixture
def one_thread():
    """One thread of torch, and what there was before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def own_checks():
    """Lets bad arguments through to the package's own checks: the type checker would be first."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2  # Stable Diffusion's
PATHS = {
    "vp-linear": paths.VPLinear(),
    "vp-cosine": paths.VPCosine(),
    "table": paths.Table(np.cumprod(1 - BETAS)),
    "edm": paths.EDM(),
    "rectified-flow": paths.RectifiedFlow(),
    "trigonometric": paths.Trigonometric(),
}


@pytest.fixture(params=list(PATHS))
def path(request):
    """Each of the named paths."""
    return PATHS[request.param]


@pytest.fixture(scope="session")
def all_paths():
    """The named paths, in a list."""
    return list(PATHS.values())


@pytest.fixture(scope="session")
def lams():
    """Eight unequal levels that lie inside the range of every named path."""
    return np.array([-2.5, -2.0, -1.2, -0.7, 0.2, 0.6, 1.3, 2.0])


@pytest.fixture(scope="session")
def bimodal():
    """The sheets' bimodal mixture: weights 0.4 and 0.6, means -1 and 1.5, stds 0.5 and 0.3."""
    return testbeds.mixture_1d([0.4, 0.6], [-1.0, 1.5], [0.5, 0.3])


@pytest.fixture(scope="session")
def rotated():
    """A rotated product of three mixtures in three dimensions, one row padded with weight zero."""
    q, _ = np.linalg.qr(np.random.default_rng(7).standard_normal((3, 3)))
    return testbeds.ProductMixture(
        [[0.3, 0.7, 0.0], [0.2, 0.3, 0.5], [0.5, 0.25, 0.25]],
        [[-1.0, 1.5, 0.0], [-2.0, 0.1, 0.8], [0.0, 1.0, -1.0]],
        [[0.5, 0.3, 1.0], [0.2, 0.4, 0.3], [0.6, 0.2, 0.3]],
        q,
    )
