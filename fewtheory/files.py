"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def writing(file: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A binary stream to a temporary name beside the file, renamed when all went well."""
    target = Path(file)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    stream = open(temporary, "xb")
    try:
        with stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_whole(file: str | os.PathLike[str], text: str) -> None:
    """Write a text file under a temporary name beside it, then rename it."""
    with writing(file) as stream:
        stream.write(text.encode("utf-8"))
