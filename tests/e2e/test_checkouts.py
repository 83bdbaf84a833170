"""The operator's own checkout: followed where it is clean, refused with the reason where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.given import Orch, Project, git, writes

EDITS_NOTES = '[[IMPLEMENT]]\nrun = "sed -i s/two/TWO/ notes.txt"\n'


@pytest.mark.parametrize("how", ["commit", "stash"])
async def test_an_uncommitted_edit_in_the_way_refuses_the_landing_until_it_is_put_aside(
    project: Project, orch: Orch, how: str
) -> None:
    project.chunk("a", EDITS_NOTES)
    (project.root / "notes.txt").write_text("one\ntwo\nthree\nmine\n")
    before = project.head
    await orch.inject("a")

    refused = await orch.status("a", "NEEDS_ATTENTION", "landing")
    assert "notes.txt" in (refused.attention_reason or "")
    assert refused.retry_at is not None, "it is tried again by itself"
    assert project.head == before
    assert (project.root / "notes.txt").read_text() == "one\ntwo\nthree\nmine\n"
    assert project.git("status", "--porcelain") == " M notes.txt"

    if how == "commit":
        project.commit({"other.txt": "and this\n"}, "mine")
    else:
        project.git("stash", "-q")
    await orch.verb("a", "retry")
    await orch.done("a")
    text = (project.root / "notes.txt").read_text()
    assert text == ("one\nTWO\nthree\nmine\n" if how == "commit" else "one\nTWO\nthree\n")
    project.judged_sound()


async def test_edits_to_other_files_stay_as_they_are_to_the_byte(project: Project, orch: Orch) -> None:
    project.chunk("a", EDITS_NOTES)
    (project.root / "README.md").write_bytes(b"half a \xff line")
    project.write({"new.txt": "untracked\n", "staged.txt": "staged\n"})
    project.git("add", "staged.txt")

    await orch.inject("a")
    await orch.done("a")

    assert (project.root / "notes.txt").read_text() == "one\nTWO\nthree\n"
    assert (project.root / "README.md").read_bytes() == b"half a \xff line"
    assert project.git("status", "--porcelain").splitlines() == [
        " M README.md",
        "A  staged.txt",
        "?? new.txt",
    ]


async def test_a_base_that_moves_under_the_units_is_integrated(project: Project, orch: Orch) -> None:
    project.chunk("a", writes("a") + '[[REVIEW]]\nask = "well?"\n[[REVIEW]]\ndecide = "approve"\n')
    await orch.inject("a")
    await orch.status("a", "NEEDS_ATTENTION", "question")
    mine = project.commit({"mine.txt": "mine\n"}, "meanwhile")
    await orch.verb("a", "answer", text="yes")
    await orch.done("a")
    assert project.git("merge-base", "--is-ancestor", mine, "HEAD") == ""
    assert (project.root / "mine.txt").exists()
    assert (project.root / "work" / "a.txt").exists()
    project.judged_sound()


async def test_a_bare_repository_is_landed_in_as_well(project: Project, tmp_path: Path) -> None:
    project.chunk("a")
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(project.root), str(bare))
    orch = await Orch(bare).start()
    try:
        await orch.inject("a")
        await orch.done("a")
    finally:
        await orch.stop()
    assert git(bare, "show", "main:work/a.txt") == "a"
    assert "status: ACTIVE" in git(bare, "show", "main:docs/chunks/a/GOAL.md")
    git(bare, "fsck", "--strict")


async def test_a_base_that_is_checked_out_in_a_linked_worktree_is_updated_there(
    project: Project, tmp_path: Path
) -> None:
    """The main worktree is on another branch; `main` is open in a linked one, and `ve` is started there."""
    project.chunk("a")
    project.git("switch", "-q", "-c", "elsewhere")
    linked = tmp_path / "linked"
    project.git("worktree", "add", "-q", str(linked), "main")
    project.commit({"ve.toml": 'base = "main"\nslots = 4\n'})
    orch = await Orch(linked).start()
    try:
        await orch.inject("a")
        await orch.done("a")
    finally:
        await orch.stop()
    assert (linked / "work" / "a.txt").read_text() == "a\n"
    assert git(linked, "status", "--porcelain") == ""
    assert not (project.root / "work").exists()
    assert project.git("status", "--porcelain") == ""
