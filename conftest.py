"""Shapes are checked at run time in every test, and suites are collected: `pytest verification`."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker a core: threads of several would wait for one
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # another, and so would those of their kernels

from jaxtyping import install_import_hook

install_import_hook("fewtheory", "beartype.beartype")  # before the plugin imports the package

pytest_plugins = ["fewtheory.verify.pytest_plugin"]
