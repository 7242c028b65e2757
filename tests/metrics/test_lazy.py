"""The metrics load on first use: the start of every plan needs two of their functions."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from fewtheory import metrics

ROOT = Path(metrics.__file__).parents[2]


def test_two_names_load_one_file_and_nothing_heavy():
    script = "import sys; from fewtheory.metrics import gaussian_kl_terms, gaussian_w2_terms\n"
    script += "print(*[m for m in sys.modules if m.startswith('fewtheory.metrics.')])\n"
    script += "print(*[m for m in ('scipy', 'torch', 'numba') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["fewtheory.metrics.gaussian", ""]


def test_type_checkers_see_what_loads():
    tree = ast.parse(Path(metrics.__file__).read_text(encoding="utf-8"))
    (block,) = [n for n in tree.body if isinstance(n, ast.If)]
    seen = {alias.asname: n.module for n in block.body for alias in n.names}
    assert seen == metrics.NAMES
    assert dir(metrics) == sorted(metrics.NAMES)


@pytest.mark.parametrize("name", metrics.NAMES)
def test_every_name_loads(name):
    assert getattr(metrics, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'fid'"):
        getattr(metrics, "fi" + "d")
