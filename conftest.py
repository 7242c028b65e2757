"""The suites under `verification/` are collected as tests: `pytest verification`."""

pytest_plugins = ["fewtheory.verify.pytest_plugin"]
