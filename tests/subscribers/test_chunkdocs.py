"""A unit's documents in its tree: what a phase must have left there, and what completion changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.given import Project
from ve.errors import RefusedError
from ve.git.base import grep_files
from ve.subscribers import chunkdocs, effects
from ve.unit import Phase, Ready, WorkUnit, utcnow

GOAL = "docs/chunks/a/GOAL.md"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "repo")


def completing(project: Project) -> WorkUnit:
    """A unit whose agent says that it has completed its documents, in the repository itself."""
    now = utcnow()
    return WorkUnit(
        id="u1", chunk="a", attempt=1, phase=Phase.COMPLETE, first_phase=Phase.PLAN, state=Ready(),
        base_ref="refs/heads/main", base_commit=project.head, worktree=str(project.root), created_at=now,
        changed_at=now,
    )  # fmt: skip


def test_an_agent_that_leaves_references_to_nothing_has_not_completed_its_documents(project: Project) -> None:
    project.chunk("a", status="IMPLEMENTING")
    unit = completing(project)
    assert effects.missing(unit) == ""
    goal = project.root / GOAL
    goal.write_text(
        goal.read_text().replace("references: []", "references: [{ref: notes.md, implements: it}]")
    )
    assert "notes.md" in effects.missing(unit)
    goal.write_text(goal.read_text().replace("notes.md", "notes.txt"))
    assert effects.missing(unit) == ""


def test_completion_that_is_refused_says_what_to_do_and_leaves_the_tree_as_it_is(project: Project) -> None:
    project.chunk("a", status="IMPLEMENTING")
    goal = project.root / GOAL
    goal.write_text(goal.read_text().replace("ticket: null", "ticket: null\nnarrative: gone"))
    before = goal.read_bytes()
    with pytest.raises(RefusedError, match="narrative gone") as caught:
        chunkdocs.complete(project.root, "a")
    assert "ve orch retry a" in caught.value.hint
    assert goal.read_bytes() == before


def test_completion_can_be_repeated_after_a_kill(project: Project) -> None:
    project.chunk("a", status="IMPLEMENTING")
    chunkdocs.complete(project.root, "a")
    once = (project.root / GOAL).read_bytes()
    chunkdocs.complete(project.root, "a")
    assert (project.root / GOAL).read_bytes() == once


def test_a_new_tree_has_one_chunk_in_work_whatever_the_base_has(project: Project) -> None:
    project.chunk("a")
    project.chunk("mine", status="IMPLEMENTING")
    project.chunk("quoted", status="'IMPLEMENTING'")
    project.chunk("done", status="ACTIVE")
    project.commit({"docs/chunks/broken/GOAL.md": "---\nstatus: IMPLEMENTING\nstatus: ACTIVE\n---\n"})
    edits = chunkdocs.begin(project.root / ".git", project.head, "a")
    assert sorted(edits) == [GOAL, "docs/chunks/mine/GOAL.md", "docs/chunks/quoted/GOAL.md"]
    assert b"status: IMPLEMENTING" in edits[GOAL]
    assert b"status: 'FUTURE'" in edits["docs/chunks/quoted/GOAL.md"]


def test_files_are_found_by_a_line_at_a_commit(project: Project) -> None:
    project.commit({"docs/a b/é.md": "x\nstatus: one\n", "docs/c.md": "my status: one\n"})
    assert grep_files(project.root / ".git", project.head, "^status:", "docs") == ["docs/a b/é.md"]
    assert grep_files(project.root / ".git", project.head, "^status:", "gone") == []
