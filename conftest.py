"""Shapes are checked at run time in every test, and suites are collected: `pytest verification`."""

from jaxtyping import install_import_hook

install_import_hook("fewtheory", "beartype.beartype")  # before the plugin imports the package

pytest_plugins = ["fewtheory.verify.pytest_plugin"]
