"""Chunk documents: their names, their frontmatter, what they say. No work units here.

Rule: accept every era of the format, write today's, explain what is wrong with file, line and
column. Files are given as bytes or through a reader, so that the caller decides at which commit
they are read.
"""

from __future__ import annotations

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
