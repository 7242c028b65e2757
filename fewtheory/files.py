"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write_whole(file: str | os.PathLike[str], text: str) -> None:
    """Write a text file under a temporary name beside it, then rename it."""
    target = Path(file)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    stream = open(temporary, "x", encoding="utf-8")
    try:
        with stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
