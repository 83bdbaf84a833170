"""What an inject takes from the chunks' documents: their dependencies, their order, their files on disk."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ve.chunks.document import ChunkDocument, find_cycle, load
from ve.errors import DocumentError, InvalidInput, RefusedError

FINISHED_DOCUMENTS = ("ACTIVE", "SUPERSEDED", "HISTORICAL", "COMPOSITE")


def new_unit_id() -> str:
    """`u` and 12 base32 characters."""
    return "u" + base64.b32encode(secrets.token_bytes(8)).decode().lower()[:12]


def files_of(main: Path, folder: str) -> list[str]:
    """A chunk's files as they are on disk, and the two that it must have."""
    there = [path for path in (main / folder).rglob("*") if path.is_file()]
    required = [f"{folder}/GOAL.md", f"{folder}/PLAN.md"]
    return sorted({*required, *(str(path.relative_to(main)) for path in there)})


def dependencies(document: ChunkDocument, override: Sequence[str] | None) -> tuple[str, ...]:
    """What a chunk depends on: as the operator said, else as its document says."""
    return tuple(override) if override is not None else (document.frontmatter.depends_on or ())


def is_finished(name: str, read: Any) -> bool:
    """Whether a chunk's document says that its work is in the base."""
    try:
        return load(name, read).frontmatter.status in FINISHED_DOCUMENTS
    except (DocumentError, InvalidInput):
        return False


def in_order(documents: Sequence[ChunkDocument], override: Sequence[str] | None) -> list[ChunkDocument]:
    """Dependencies before those that name them. Raises RefusedError naming a cycle."""
    names = {document.name: document for document in documents}
    wants = {
        document.name: [
            name
            for name in (*dependencies(document, override), *document.frontmatter.created_after)
            if name in names
        ]
        for document in documents
    }
    cycle = find_cycle(wants)
    if cycle:
        raise RefusedError(
            f"a cycle of dependencies: {' -> '.join(cycle)}", hint="Remove one of them from depends_on."
        )
    ordered: dict[str, ChunkDocument] = {}

    def place(name: str) -> None:
        if name not in ordered:
            for wanted in wants[name]:
                place(wanted)
            ordered[name] = names[name]

    for name in names:
        place(name)
    return list(ordered.values())
