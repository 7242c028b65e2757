"""What needs an extra says which."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import fewtheory as ft
{use}
"""


@pytest.mark.parametrize(
    ("absent", "use", "needed_for"),
    [
        ({"accelerate"}, "ft.train.fit", "fewtheory.train"),
        ({"accelerate"}, "ft.zoo", "fewtheory.train"),
        ({"diffusers"}, "ft.adapters.diffusers", "fewtheory.adapters.diffusers"),
        ({"torch"}, "ft.adapters.transformers", "fewtheory.adapters.transformers"),
    ],
)
def test_a_room_without_its_libraries_names_the_extra(absent, use, needed_for):
    script = WITHOUT.format(absent=absent, use=use)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    message = f"{needed_for} needs the extra 'models': pip install 'fewtheory[models]'"
    assert message in done.stderr.splitlines()[-1]
