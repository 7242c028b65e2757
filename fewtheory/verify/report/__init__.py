"""Reports of a run: the terminal, JSON, JUnit XML, and one static HTML page."""

from __future__ import annotations

from .files import listing, read_json, write_json, write_junit, write_record
from .html import write_html
from .terminal import Terminal

__all__ = [
    "Terminal",
    "listing",
    "read_json",
    "write_html",
    "write_json",
    "write_junit",
    "write_record",
]
