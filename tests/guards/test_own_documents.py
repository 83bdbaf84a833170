"""This project's own work is described in chunks, and they pass the check that it ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from ve.chunks.document import has_text
from ve.chunks.kinds import Chunk
from ve.chunks.references import Code
from ve.chunks.tree import Documents
from ve.chunks.validate import validate

ROOT = Path(__file__).parents[2]
DOCUMENTS = Documents(ROOT)
CHUNKS = DOCUMENTS.names("chunk")


def test_the_check_finds_nothing_in_this_repository() -> None:
    """Neither an error nor a warning, in any document, in any reference, in any comment that leads to one."""
    found = validate(DOCUMENTS, Code(ROOT))
    assert not [f"{one.where}: {one.message}" for one in found if one.level != "note"]


def test_the_main_areas_are_described() -> None:
    assert {"one_stream", "durable_ledger", "worktrees_on_running", "real_agents", "chunk_documents"} <= {
        *CHUNKS
    }
    assert {"stream", "runs", "agents", "documents"} <= set(DOCUMENTS.names("subsystem"))


@pytest.mark.parametrize("name", CHUNKS)
def test_each_chunk_has_a_goal_a_plan_and_places_in_the_code(name: str) -> None:
    chunk = DOCUMENTS.read("chunk", name).value
    assert isinstance(chunk, Chunk)
    assert has_text(DOCUMENTS.bytes("chunk", name)) and has_text(DOCUMENTS.plan(name) or b"")
    assert chunk.code_references or chunk.status in ("FUTURE", "IMPLEMENTING", "HISTORICAL")
    assert all(reference.implements for reference in chunk.code_references)


def test_the_check_is_a_part_of_just_check() -> None:
    recipe = (ROOT / "justfile").read_text(encoding="utf-8").partition("\ncheck:\n")[2].partition("\n\n")[0]
    assert "ve chunk validate --all --strict" in recipe
