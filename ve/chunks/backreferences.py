"""References from code back to documents: `# Chunk: docs/chunks/NAME - why`, also after `//` and the like.

Rule: a comment that begins its line counts, at any indent. Fast enough for every file of a
repository: one search for a plain text decides for most of them.
"""

from __future__ import annotations

import re

_KINDS = {
    b"chunks": "chunk",
    b"narratives": "narrative",
    b"investigations": "investigation",
    b"subsystems": "subsystem",
}
_COMMENT = re.compile(
    rb"^[ \t]*(?:#+|//+[/!]?|/?\*+!?|--+|;+|%+|<!--)[ \t]*"
    rb"(?:Chunk|Narrative|Investigation|Subsystem):[ \t]*"
    rb"docs/(chunks|narratives|investigations|subsystems)/([^\s/]+)",
    re.MULTILINE,
)
_PYTHON = (".py", ".pyi", ".pyw")
# What Python reads as one token, so that a comment's look within a text is told from a comment.
_TOKEN = re.compile(
    rb"\"\"\"(?:\\.|.)*?(?:\"\"\"|\Z)|'''(?:\\.|.)*?(?:'''|\Z)"
    rb"|\"(?:\\.|[^\"\\\n])*\"?|'(?:\\.|[^'\\\n])*'?|#[^\n]*",
    re.DOTALL,
)


def back_references(path: str, source: bytes) -> list[tuple[int, str, str]]:
    """Each comment of `source` that names a document: its line from 1, the kind, the name.

    The kind is the one of the folder. In Python, what stands in a text of several lines is no comment.
    """
    if b"docs/" not in source:
        return []
    found = list(_COMMENT.finditer(source))
    if found and path.lower().endswith(_PYTHON) and (b'"""' in source or b"'''" in source):
        texts = _texts(source)
        found = [match for match in found if not any(start < match.start(1) < end for start, end in texts)]
    references = []
    line, counted = 1, 0
    for match in found:
        line += source.count(b"\n", counted, match.start(1))
        counted = match.start(1)
        name = match[2].decode("utf-8", "replace").rstrip(".,;:)*")
        references.append((line, _KINDS[match[1]], name.removesuffix("--")))
    return [reference for reference in references if reference[2]]


def _texts(source: bytes) -> list[tuple[int, int]]:
    """Where texts in three quotes begin and end."""
    return [match.span() for match in _TOKEN.finditer(source) if match[0][:3] in (b'"""', b"'''")]
