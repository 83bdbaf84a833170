"""What needs a person, and what happens once that person has acted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.given import Gate, Orch, Project
from ve.errors import RefusedError

ASKS = """
[[IMPLEMENT]]
ask = "Which colour?"
options = ["red", "blue"]

[[IMPLEMENT]]
write = "work/colour.txt"
text = "{answer}\\n"
"""


async def test_a_question_waits_for_its_answer_and_the_agent_goes_on_with_it(
    project: Project, orch: Orch
) -> None:
    project.chunk("a", ASKS)
    await orch.inject("a")
    asking = await orch.status("a", "NEEDS_ATTENTION", "question")
    assert asking.attention_reason == "Which colour?"
    assert asking.options == ("red", "blue")
    assert [group.units[0].chunk for group in orch.ops.attention().groups] == ["a"]

    await orch.verb("a", "answer", option=2)
    await orch.done("a")

    assert (project.root / "work" / "colour.txt").read_text() == "blue\n"
    question = orch.unit("a").questions[0]
    assert (question.state, question.answer, question.answered_by) == ("delivered", "blue", "operator:me")


async def test_a_reviewers_issue_goes_back_to_the_implementer_who_disposes_of_it(
    project: Project, orch: Orch
) -> None:
    project.chunk(
        "a",
        """
[[IMPLEMENT]]
visit = 1
write = "work/a.txt"
text = "wrong\\n"

[[IMPLEMENT]]
visit = 2
write = "work/a.txt"
text = "right\\n"

[[IMPLEMENT]]
visit = 2
dispose = "i1"
disposition = "fixed"
reason = "it is right now"

[[REVIEW]]
visit = 1
decide = "feedback"
issues = [{ id = "i1", place = "work/a.txt", concern = "it is wrong" }]

[[REVIEW]]
visit = 2
decide = "approve"
""",
    )
    await orch.inject("a")
    await orch.done("a")
    assert (project.root / "work" / "a.txt").read_text() == "right\n"
    decisions = [t.why for t in orch.seen if t.command == "ReviewDecided"]
    assert decisions == ["feedback", "approve"]
    disposed = [t for t in orch.seen if t.command == "Disposed"]
    assert [(t.unit.issues[0].id, t.unit.issues[0].disposition) for t in disposed if t.unit] == [
        ("i1", "fixed")
    ]


async def test_a_run_that_fails_is_tried_again_and_told_why(project: Project, orch: Orch) -> None:
    project.chunk(
        "a",
        """
[[IMPLEMENT]]
visit = 1
fail = "the compiler is missing"

[[IMPLEMENT]]
write = "work/a.txt"
text = "a\\n"
""",
    )
    await orch.inject("a")
    await orch.done("a")
    failed = next(t for t in orch.seen if t.command == "RunEnded")
    assert "the compiler is missing" in failed.why
    second = [t.unit for t in orch.seen if t.command == "Dispatch" and t.unit][1]
    assert second.phase == "IMPLEMENT"
    assert "the compiler is missing" in second.cause


async def test_a_run_that_keeps_failing_ends_with_a_person_who_may_retry(
    project: Project, orch: Orch
) -> None:
    project.chunk("a", '[[IMPLEMENT]]\nfail = "no luck"\nexit = 7\n')
    await orch.inject("a")
    stuck = await orch.status("a", "NEEDS_ATTENTION", "error")
    assert "no luck" in (stuck.attention_reason or "")
    assert orch.commands("a").count("Dispatch") == 3, "once, and two retries"
    assert stuck.evidence is not None and stuck.evidence.run

    await orch.verb("a", "retry")
    await orch.until(lambda: orch.commands("a").count("Dispatch") == 4)
    await orch.status("a", "NEEDS_ATTENTION", "error")


CLASH = """
[[IMPLEMENT]]
run = "sed -i s/two/{word}/ notes.txt"

[[REBASE]]
visit = 1
run = "true"

[[REBASE]]
visit = 2
run = "sed -i -e '/^<<<<<<</d' -e '/^=======/d' -e '/^>>>>>>>/d' notes.txt && git add -A"
"""


async def test_a_conflict_shows_both_sides_and_lands_once_it_is_resolved(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    project.chunk("a", CLASH.replace("{word}", "from_a"))
    project.chunk("b", gate.step + CLASH.replace("{word}", "from_b"))
    await orch.inject("b")
    await gate.reached()
    await orch.inject("a")
    await orch.done("a")
    gate.open()

    clash = await orch.status("b", "NEEDS_ATTENTION", "conflict")
    assert "notes.txt" in (clash.attention_reason or "")
    assert "from_a" in (clash.attention_reason or "")
    assert "from_b" in (clash.attention_reason or "")
    assert clash.options == ("serialize",)
    assert "from_a" in (project.root / "notes.txt").read_text()
    project.judged_sound()

    tree = Path(clash.worktree or "")
    (tree / "notes.txt").write_text("one\nfrom_a and from_b\nthree\n")
    project.git("-C", str(tree), "add", "notes.txt")
    await orch.verb("b", "resolve", choice="serialize")
    await orch.done("b")
    assert (project.root / "notes.txt").read_text() == "one\nfrom_a and from_b\nthree\n"
    project.judged_sound()


async def test_an_agent_may_resolve_a_conflict_so_that_no_person_is_needed(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    resolves = CLASH.replace(
        'visit = 1\nrun = "true"', "visit = 1\nrun = \"printf 'both\\\\n' > notes.txt && git add -A\""
    )
    project.chunk("a", CLASH.replace("{word}", "from_a"))
    project.chunk("b", gate.step + resolves.replace("{word}", "from_b"))
    await orch.inject("b")
    await gate.reached()
    await orch.inject("a")
    await orch.done("a")
    gate.open()
    await orch.done("b")
    assert (project.root / "notes.txt").read_text() == "both\n"
    assert "RebaseConflict" in orch.commands("b")
    project.judged_sound()


async def test_cancelling_keeps_the_unfinished_work_under_a_salvage_ref(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    project.chunk("a", '[[IMPLEMENT]]\nwrite = "half.txt"\ntext = "half done\\n"\n' + gate.step)
    await orch.inject("a")
    await gate.reached()

    await orch.verb("a", "cancel", reason="not needed")
    await orch.status("a", "CANCELLED")
    gate.close()

    ref = project.git("for-each-ref", "--format=%(refname)", "refs/ve/salvage/")
    assert project.git("show", f"{ref}:half.txt") == "half done"
    assert project.trees() == []
    assert not orch.core.stream.index.slots_used
    project.judged_sound()


async def test_cancelling_before_the_first_run_ends_the_unit_at_once(project: Project, orch: Orch) -> None:
    project.chunk("a")
    await orch.ops.board("pause", actor="operator:me")
    await orch.inject("a")
    unit = await orch.verb("a", "cancel")
    assert unit.status == "CANCELLED"
    with pytest.raises(RefusedError, match="has ended"):
        await orch.verb("a", "retry")
    again = await orch.inject("a")
    assert [u.attempt for u in again.units] == [2]


async def test_a_fresh_retry_begins_the_next_attempt_from_the_base_of_now(
    project: Project, orch: Orch
) -> None:
    project.chunk("a", '[[IMPLEMENT]]\nwrite = "half.txt"\ntext = "half\\n"\n[[IMPLEMENT]]\nfail = "no"\n')
    await orch.inject("a")
    stuck = await orch.status("a", "NEEDS_ATTENTION", "error")
    assert stuck.worktree is not None and stuck.worktree.endswith("a-1")
    project.commit({"docs/chunks/a/script.toml": '[[IMPLEMENT]]\nwrite = "whole.txt"\ntext = "whole\\n"\n'})

    await orch.verb("a", "retry", fresh=True)
    await orch.done("a")

    assert orch.unit("a").attempt == 2
    assert (project.root / "whole.txt").exists()
    assert not (project.root / "half.txt").exists()
    ref = project.git("for-each-ref", "--format=%(refname)", "refs/ve/salvage/")
    assert "half.txt" in project.git("ls-tree", "--name-only", ref)
    project.judged_sound()


async def test_work_that_was_merged_by_hand_is_marked_so_and_unblocks_its_dependents(
    project: Project, orch: Orch
) -> None:
    project.chunk("a", '[[IMPLEMENT]]\nwrite = "a.txt"\ntext = "a\\n"\n[[IMPLEMENT]]\nfail = "no"\n')
    project.chunk("b", depends_on=["a"])
    await orch.inject("a", "b")
    stuck = await orch.status("a", "NEEDS_ATTENTION", "error")
    with pytest.raises(RefusedError, match="is not in"):
        await orch.verb("a", "merged")

    project.git("-C", stuck.worktree or "", "add", "-A")
    project.git("-C", stuck.worktree or "", "commit", "-qm", "by hand")
    project.git("merge", "-q", "--no-ff", "-m", "by hand", stuck.branch or "")
    await orch.verb("a", "merged")
    await orch.done("a", "b")
    assert (project.root / "work" / "b.txt").exists()
    project.judged_sound()


async def test_landing_waits_for_approval_where_it_is_configured_so(project: Project, orch: Orch) -> None:
    await orch.ops.set_config("land", "approve", actor="operator:me")
    project.chunk("a")
    before = project.head
    await orch.inject("a")
    waiting = await orch.status("a", "NEEDS_ATTENTION", "approval")
    assert project.head == before
    assert waiting.approve_hash is not None
    with pytest.raises(RefusedError, match="hash"):
        await orch.verb("a", "approve", hash="0" * 40)

    await orch.verb("a", "approve", hash=waiting.approve_hash)
    await orch.done("a")
    assert project.head == waiting.approve_hash


async def test_a_check_that_fails_on_the_merged_tree_sends_the_unit_back_to_implement(
    project: Project, orch: Orch
) -> None:
    check = "test -e wanted.txt || { echo wanted is missing; exit 3; }"
    await orch.ops.set_config("landing.check", check, actor="operator:me")
    project.chunk("a", '[[IMPLEMENT]]\nvisit = 2\nwrite = "wanted.txt"\ntext = "here\\n"\n')
    before = project.head
    await orch.inject("a")
    unapproved = await orch.status("a", "NEEDS_ATTENTION", "setup")
    assert unapproved.worktree is None, "nothing runs before its approval"
    await orch.verb("a", "approve", hash=unapproved.approve_hash)

    failed = await orch.status("a", "NEEDS_ATTENTION", "landing")
    assert "wanted is missing" in (failed.attention_reason or "")
    assert failed.resume_at == "IMPLEMENT"
    assert project.head == before

    await orch.verb("a", "retry")
    await orch.done("a")
    assert (project.root / "wanted.txt").exists()
    project.judged_sound()


async def test_a_paused_board_holds_landings_back_and_goes_on_when_it_is_unpaused(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    """Also a landing that was past its first steps when the board was paused."""
    await orch.ops.set_config("landing.check", f"cat {tmp_path / 'gate'}", actor="operator:me")
    gate = Gate(tmp_path / "gate")
    project.chunk("a")
    await orch.inject("a")
    unapproved = await orch.status("a", "NEEDS_ATTENTION", "setup")
    await orch.verb("a", "approve", hash=unapproved.approve_hash)
    await gate.reached()
    await orch.ops.board("pause", actor="operator:me")
    before = project.head
    gate.open()
    await orch.until(lambda: orch.unit("a").stage == "landing:checked" and orch.durable("a"))
    await orch.effects("land:")
    assert project.head == before
    assert orch.unit("a").stage == "landing:checked"
    await orch.ops.board("unpause", actor="operator:me")
    await orch.done("a")
