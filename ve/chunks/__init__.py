"""Chunk documents: their names, their frontmatter, what they say. No work units here.

Rule: accept every era of the format, write today's, explain what is wrong with file, line and
column. Files are given as bytes or through a reader, so that the caller decides at which commit
they are read.

The names below are loaded when they are asked for: a list of chunks needs none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ve.chunks.document import ChunkDocument, InitialPhase, find_cycle, folder_of, has_text, load
    from ve.chunks.frontmatter import TERMINAL, TRANSITIONS, BugType, Frontmatter, Status, read, set_status
    from ve.chunks.names import check_name

__all__ = [
    "TERMINAL",
    "TRANSITIONS",
    "BugType",
    "ChunkDocument",
    "Frontmatter",
    "InitialPhase",
    "Status",
    "check_name",
    "find_cycle",
    "folder_of",
    "has_text",
    "load",
    "read",
    "set_status",
]

_DOCUMENT = ("ChunkDocument", "InitialPhase", "find_cycle", "folder_of", "has_text", "load")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "document" if name in _DOCUMENT else "names" if name == "check_name" else "frontmatter"
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
