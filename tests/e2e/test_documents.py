"""What a unit does to its chunk's GOAL.md, and what it leaves behind in the operator's repository."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.given import ME, Gate, Orch, Project

GOAL = "docs/chunks/a/GOAL.md"
REFERENCE = "  - ref: README.md\n    implements: what it is about"
MISSING = "test -e wanted.txt || { echo wanted is missing; exit 3; }"


def status_in(tree: Path | str) -> str:
    """The status that the document in a worktree states."""
    found = re.findall(r"^status:\s*(\w+)", (Path(tree) / GOAL).read_text(), re.MULTILINE)
    assert len(found) == 1
    return str(found[0])


def stated(project: Project, bug_type: str | None = None, line_end: str = "\n") -> str:
    """Have the chunk's document say more, as people write it; returns the commit that work begins from."""
    text = (project.root / GOAL).read_text()
    text = text.replace("status: FUTURE\n", "status: FUTURE  # not begun\n")
    if bug_type is not None:
        text = text.replace("ticket: null\n", f"ticket: null\nbug_type: {bug_type}\n")
    if bug_type == "semantic":
        text = text.replace("code_references: []", f"code_references:\n{REFERENCE}")
    (project.root / GOAL).write_bytes(text.replace("\n", line_end).encode())
    project.git("add", "-A")
    project.git("commit", "-qm", "say more")
    return project.head


async def approved(orch: Orch, chunk: str) -> None:
    """Allow the check command, as a person has to before anything of it runs."""
    unit = await orch.status(chunk, "NEEDS_ATTENTION", "setup")
    await orch.verb(chunk, "approve", hash=unit.approve_hash)


# ── The document ───────────────────────────────────────────────────────────────────────────────────


async def test_at_its_first_run_the_document_says_implementing_in_the_units_worktree_only(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    project.chunk("a", gate.step)
    await orch.inject("a")
    await gate.reached()

    tree = Path(orch.unit("a").worktree or "")
    assert status_in(tree) == "IMPLEMENTING"
    assert project.git("-C", str(tree), "status", "--porcelain") == "", "the agent begins with a clean tree"
    assert status_in(project.root) == "FUTURE"
    project.judged_sound()
    gate.open()
    await orch.done("a")


@pytest.mark.parametrize(
    ("bug_type", "final"),
    [(None, "ACTIVE"), ("null", "ACTIVE"), ("semantic", "ACTIVE"), ("implementation", "HISTORICAL")],
)
async def test_a_merged_chunk_is_active_and_one_that_mended_a_bug_of_the_code_historical(
    project: Project, orch: Orch, bug_type: str | None, final: str
) -> None:
    project.chunk("a")
    stated(project, bug_type)
    await orch.inject("a")
    await orch.done("a")
    assert status_in(project.root) == final
    project.judged_sound()


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
async def test_exactly_one_line_of_the_document_changes(project: Project, orch: Orch, line_end: str) -> None:
    project.chunk("a")
    begun = stated(project, line_end=line_end)
    before = (project.root / GOAL).read_bytes()
    await orch.inject("a")
    await orch.done("a")
    assert project.git("diff", "--numstat", begun, "HEAD", "--", GOAL) == f"1\t1\t{GOAL}"
    after = (project.root / GOAL).read_bytes()
    assert after == before.replace(b"status: FUTURE  # not begun", b"status: ACTIVE  # not begun")


async def test_a_unit_that_landing_sent_back_says_implementing_again_when_its_next_run_begins(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    await orch.ops.set_config("landing.check", MISSING, actor=ME)
    gate = Gate(tmp_path / "gate")
    again = gate.step.replace("run =", "visit = 2\nrun =")
    project.chunk("a", again + '[[IMPLEMENT]]\nvisit = 2\nwrite = "wanted.txt"\ntext = "here\\n"\n')
    begun = stated(project)
    await orch.inject("a")
    await approved(orch, "a")
    sent_back = await orch.status("a", "NEEDS_ATTENTION", "landing")
    tree = Path(sent_back.worktree or "")

    await orch.verb("a", "retry")
    await gate.reached()
    assert status_in(tree) == "IMPLEMENTING"
    gate.open()
    await orch.done("a")
    assert status_in(project.root) == "ACTIVE"
    assert project.git("diff", "--numstat", begun, "HEAD", "--", GOAL) == f"1\t1\t{GOAL}"
    project.judged_sound()


# ── Completion at landing ──────────────────────────────────────────────────────────────────────────


def linked(project: Project, references: str = "[]") -> None:
    """A chunk with a subsystem, a narrative and a friction entry, and with its comment block."""
    project.chunk("a")
    text = (project.root / GOAL).read_text()
    fields = (
        f"code_references: {references}\n"
        "narrative: big\n"
        "subsystems: [{subsystem_id: parser, relationship: implements}]\n"
        "friction_entries: [{entry_id: F001}]\n"
    )
    text = text.replace("code_references: []\n", fields).replace(
        "---\n\n#", "---\n\n<!-- STATUS: the schema. -->\n\n#"
    )
    narrative = "---\nstatus: ACTIVE\nproposed_chunks: [{prompt: do it, chunk_directory: a}]\n---\n"
    project.commit(
        {
            GOAL: text,
            "docs/narratives/big/OVERVIEW.md": narrative,
            "docs/subsystems/parser/OVERVIEW.md": "---\nstatus: STABLE\nchunks: []\n---\n",
            "docs/trunk/FRICTION.md": "---\nthemes: []\n---\n\n### F001: Slow\n",
        },
        "links",
    )


async def test_landing_keeps_in_step_whatever_the_chunk_names(project: Project, orch: Orch) -> None:
    linked(project)
    await orch.inject("a")
    await orch.done("a")
    assert status_in(project.root) == "ACTIVE"
    assert "schema" not in (project.root / GOAL).read_text()
    assert "chunk_id: a" in (project.root / "docs/subsystems/parser/OVERVIEW.md").read_text()
    assert "status: COMPLETED" in (project.root / "docs/narratives/big/OVERVIEW.md").read_text()
    assert "**Resolved by**: a" in (project.root / "docs/trunk/FRICTION.md").read_text()
    project.judged_sound()


async def test_a_reference_that_does_not_resolve_needs_a_person_and_lands_once_it_is_corrected(
    project: Project, orch: Orch
) -> None:
    linked(project, "[{ref: work/b.txt, implements: it}]")
    begun = project.head
    await orch.inject("a")
    stuck = await orch.status("a", "NEEDS_ATTENTION", "landing")
    assert "work/b.txt" in (stuck.attention_reason or "") and "ve orch retry a" in (
        stuck.attention_reason or ""
    )
    assert project.head == begun
    goal = Path(stuck.worktree or "") / GOAL
    goal.write_text(goal.read_text().replace("work/b.txt", "work/a.txt"))
    await orch.verb("a", "retry")
    await orch.done("a")
    assert status_in(project.root) == "ACTIVE"
    project.judged_sound()


async def test_what_the_operator_has_in_work_is_set_aside_in_the_units_tree_and_lands_as_it_was(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    late = gate.step.replace("IMPLEMENT", "COMPLETE")
    project.chunk("mine", status="IMPLEMENTING")
    project.chunk("a", '[[IMPLEMENT]]\nwrite = "work/a.txt"\ntext = "a"\n' + late)
    mine = "docs/chunks/mine/GOAL.md"
    before = (project.root / mine).read_bytes()
    await orch.inject("a")
    await gate.reached()
    tree = Path(orch.unit("a").worktree or "")
    assert "status: FUTURE" in (tree / mine).read_text(), "also after the base was merged for the review"
    assert status_in(tree) == "IMPLEMENTING"
    gate.open()
    await orch.done("a")
    assert (project.root / mine).read_bytes() == before
    project.judged_sound()


async def test_what_the_operator_completed_meanwhile_is_no_conflict(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    project.chunk("mine", status="IMPLEMENTING")
    project.chunk("a", gate.step + '[[IMPLEMENT]]\nwrite = "work/a.txt"\ntext = "a"\n')
    mine = "docs/chunks/mine/GOAL.md"
    await orch.inject("a")
    await gate.reached()
    text = (project.root / mine).read_text().replace("status: IMPLEMENTING", "status: ACTIVE")
    project.commit({mine: text}, "complete mine")
    gate.open()
    await orch.done("a")
    assert (project.root / mine).read_text() == text
    assert "RebaseConflict" not in orch.commands("a")
    project.judged_sound()


# ── What is left behind ────────────────────────────────────────────────────────────────────────────


async def test_a_worktree_that_is_to_be_retained_stays_after_the_merge(project: Project, orch: Orch) -> None:
    await orch.ops.set_config("worktree.retain", "true", actor=ME)
    project.chunk("a")
    await orch.inject("a")
    await orch.until(lambda: "Cleaned" in orch.commands("a"))
    unit = await orch.status("a", "DONE")
    assert project.trees() == ["a-1"]
    assert unit.worktree is not None
    assert (Path(unit.worktree) / "work" / "a.txt").read_text() == "a\n"
    assert project.git("-C", unit.worktree, "status", "--porcelain") == ""
    assert status_in(unit.worktree) == "ACTIVE"
    project.judged_sound()


def landing_refs(project: Project) -> str:
    """The refs that keep merges alive which are not in the base."""
    return project.git("for-each-ref", "--format=%(refname)", "refs/ve/landing/")


async def test_a_merge_that_was_called_off_during_its_check_leaves_no_ref(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    await orch.ops.set_config("landing.check", f"cat {gate.path}", actor=ME)
    project.chunk("a")
    before = project.head
    await orch.inject("a")
    await approved(orch, "a")
    await gate.reached()
    assert orch.unit("a").stage == "landing:integrated"
    assert landing_refs(project) == "refs/ve/landing/a-1"

    await orch.verb("a", "cancel")
    gate.open()
    await orch.status("a", "CANCELLED")
    assert landing_refs(project) == ""
    assert project.trees() == []
    assert project.head == before
    salvaged = project.git("for-each-ref", "--format=%(refname)", "refs/ve/salvage/")
    assert project.git("show", f"{salvaged}:work/a.txt") == "a"
    project.judged_sound()


async def test_a_merge_that_was_called_off_instead_of_approved_leaves_no_ref(
    project: Project, orch: Orch
) -> None:
    await orch.ops.set_config("land", "approve", actor=ME)
    project.chunk("a")
    await orch.inject("a")
    await orch.status("a", "NEEDS_ATTENTION", "approval")
    assert landing_refs(project) == "refs/ve/landing/a-1"
    await orch.verb("a", "cancel")
    await orch.status("a", "CANCELLED")
    assert landing_refs(project) == ""
    project.judged_sound()


@pytest.mark.parametrize("root", ["trees", "build/trees", ".vendor/trees"])
async def test_a_folder_for_worktrees_inside_the_repository_hides_none_of_the_operators_files(
    project: Project, orch: Orch, tmp_path: Path, root: str
) -> None:
    await orch.ops.set_config("worktree.root", root, actor=ME)
    gate = Gate(tmp_path / "gate")
    project.chunk("a", gate.step)
    beside = Path(root).parent / "mine.txt"
    project.write({"mine.txt": "not committed yet\n", str(beside): "nor this\n"})
    await orch.inject("a")
    await gate.reached()
    assert orch.unit("a").worktree == str(project.root / root / "a-1")
    untracked = project.git("status", "--porcelain", "--untracked-files=all").splitlines()
    assert untracked == sorted({"?? mine.txt", f"?? {beside}"})
    gate.open()
    await orch.done("a")
    assert (project.root / "mine.txt").exists()


# ── Conflicts ──────────────────────────────────────────────────────────────────────────────────────


def sides(text: str) -> dict[str, str]:
    """What each side of a conflict says, by its label."""
    parts = re.search(r"^<{7} (\w+)\n(.*)^={7}\n(.*)^>{7} (\w+)$", text, re.MULTILINE | re.DOTALL)
    assert parts is not None, text
    return {parts[1]: parts[2], parts[4]: parts[3]}


async def test_a_conflict_at_landing_says_which_side_is_the_branchs_and_which_the_bases(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    late = gate.step.replace("IMPLEMENT", "COMPLETE")
    project.chunk("a", '[[IMPLEMENT]]\nrun = "sed -i s/two/from_a/ notes.txt"\n' + late)
    await orch.inject("a")
    await gate.reached()
    project.commit({"notes.txt": "one\nfrom_operator\nthree\n"}, "the same line")
    gate.open()

    clash = await orch.status("a", "NEEDS_ATTENTION", "conflict")
    assert any(t.command == "ConflictFound" for t in orch.seen)
    found = sides(clash.attention_reason or "")
    assert "from_a" in found["branch"] and "from_operator" not in found["branch"]
    assert "from_operator" in found["base"] and "from_a" not in found["base"]
    project.judged_sound()


async def test_the_agent_that_is_to_resolve_a_conflict_is_told_the_sides_by_the_same_names(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    """A conflict that is met before review, where the base is merged into the branch, not the reverse."""
    gate = Gate(tmp_path / "gate")
    resolves = "[[REBASE]]\nrun = \"printf 'both\\\\n' > notes.txt && git add -A\"\n"
    project.chunk("a", '[[IMPLEMENT]]\nrun = "sed -i s/two/from_a/ notes.txt"\n' + gate.step + resolves)
    await orch.inject("a")
    await gate.reached()
    project.commit({"notes.txt": "one\nfrom_operator\nthree\n"}, "the same line")
    gate.open()
    await orch.done("a")
    met = next(t.unit for t in orch.seen if t.command == "RebaseConflict" and t.unit)
    found = sides(met.cause)
    assert "from_a" in found["branch"] and "from_operator" not in found["branch"]
    assert "from_operator" in found["base"] and "from_a" not in found["base"]
    assert (project.root / "notes.txt").read_text() == "both\n"
