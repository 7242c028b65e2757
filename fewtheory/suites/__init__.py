"""The suites under one importable name, `fewtheory.suites.SLUG`.

In a checkout and an editable install the files stand in `verification/` beside the package; a wheel
carries them in this folder.
"""

from __future__ import annotations

from pathlib import Path

_root = Path(__file__).resolve().parents[2]
if (_root / "pyproject.toml").is_file() and (_root / "verification").is_dir():
    __path__.append(str(_root / "verification"))
