"""The README's examples run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_examples_run_and_print_an_order_and_an_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, *others = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.S)
    names: dict = {}
    runs = ("GaussianMixture", "S, grid", "ft.subsets")
    for block in (first, *(b for b in others if any(mark in b for mark in runs))):
        exec(compile(block, "README.md", "exec"), names)
    order, error, kl = capsys.readouterr().out.split()
    assert order == "2"
    assert 0 < float(error) < 1
    assert 0 < float(kl) < 0.1
    assert (tmp_path / "plan.json").is_file()
