"""One chunk from inject to DONE with nothing but real parts: the skeleton that every change keeps walking."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.given import ME, Board, Gate, Orch, Project, carriers, writes

LIFE = [
    "Inject", "Dispatch", "WorktreeReady", "RunStarted", "RunEnded",  # IMPLEMENT
    "Rebased",
    "Dispatch", "RunStarted", "ReviewDecided", "RunEnded",  # REVIEW
    "Dispatch", "RunStarted", "RunEnded",  # COMPLETE
    *["LandingStep"] * 6, "Landed", "Cleaned",
]  # fmt: skip


async def test_a_chunk_is_planned_made_reviewed_merged_and_cleaned_up(project: Project, orch: Orch) -> None:
    project.chunk("a", '[[PLAN]]\nwrite = "docs/chunks/a/PLAN.md"\ntext = "Write it down at once.\\n"\n'
                       '[[IMPLEMENT]]\nwrite = "work/a.txt"\ntext = "a\\n"\n', plan=False)  # fmt: skip
    before = project.head

    injected = await orch.inject("a")
    assert [(u.chunk, u.status, u.phase) for u in injected.units] == [("a", "READY", "PLAN")]
    await orch.done("a")

    unit = orch.unit("a")
    assert unit.merged_commit == project.head
    assert project.git("rev-list", "--parents", "-n1", "HEAD").split()[1] == before
    assert len(project.git("rev-list", "--parents", "-n1", "HEAD").split()) == 3, "a merge commit"
    assert (project.root / "work" / "a.txt").read_text() == "a\n"
    assert "status: ACTIVE" in (project.root / "docs/chunks/a/GOAL.md").read_text()
    assert "Write it down" in (project.root / "docs/chunks/a/PLAN.md").read_text()
    assert project.trees() == []
    assert not list((project.root / ".ve" / "worktrees").glob("a-*"))
    assert project.git("branch", "--list", "ve/*") == ""
    project.judged_sound()


async def test_every_transition_is_in_the_history_and_on_the_feed_once_and_in_order(
    project: Project, orch: Orch
) -> None:
    project.chunk("a")
    board = await Board(orch.core).open()
    await board.read()
    began = orch.core.stream.seq

    await orch.inject("a")
    await orch.done("a")
    await board.catch_up()

    told_beside = {"Delivered", "SessionKnown"}  # read from the output, whenever that is
    assert [name for name in orch.commands("a") if name not in told_beside] == LIFE
    happened = [(t.seq, t.command) for t in orch.seen if t.seq > began]
    assert [(f["seq"], f["command"]) for f in board.transitions()] == happened
    rows = await orch.sql(f"select seq, command from transitions where seq > {began} order by seq")
    assert [tuple(row) for row in rows] == happened
    assert [seq for seq, _ in happened] == list(range(began + 1, began + 1 + len(happened)))
    assert board.units[orch.unit("a").id]["status"] == "DONE"


async def test_several_chunks_run_side_by_side_and_land_one_after_the_other(
    project: Project, orch: Orch
) -> None:
    for name in ("a", "b", "c"):
        project.chunk(name)
    await orch.inject("a", "b", "c")
    await orch.done("a", "b", "c")
    assert sorted(path.name for path in (project.root / "work").iterdir()) == ["a.txt", "b.txt", "c.txt"]
    commits = [orch.unit(name).merged_commit for name in ("a", "b", "c")]
    assert sorted(project.git("rev-list", "--first-parent", "-n3", "HEAD").split()) == sorted(commits)
    project.judged_sound()


async def test_a_second_start_knows_what_the_first_one_did(project: Project, orch: Orch) -> None:
    project.chunk("a")
    await orch.inject("a")
    await orch.done("a")
    told = await orch.sql("select seq, command, unit_id from transitions order by seq")
    await orch.stop()

    await orch.start()

    assert (await orch.sql("select seq, command, unit_id from transitions order by seq"))[: len(told)] == told
    assert (await orch.ops.find("a")).status == "DONE"
    assert (await orch.ops.why("a")).why == "it has ended"


async def test_a_start_goes_on_with_whatever_the_units_were_at(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    """One asks, one is blocked, one is paused in the queue, one runs and outlives the first core."""
    gate = Gate(tmp_path / "gate")
    project.chunk("asks", '[[IMPLEMENT]]\nask = "Which?"\n' + writes("asks"))
    project.chunk("runs", gate.step + writes("runs"))
    project.chunk("waits", depends_on=["asks"])
    project.chunk("paused")
    await orch.ops.board("pause", actor=ME)
    await orch.inject("asks", "runs", "waits", "paused")
    await orch.verb("paused", "pause")
    await orch.ops.board("unpause", actor=ME)
    await orch.status("asks", "NEEDS_ATTENTION", "question")
    await gate.reached()
    before = standing(orch)
    run = str(orch.unit("runs").run_id)
    await orch.detach()
    assert carriers([run]), "the run goes on without us"

    await orch.start()

    assert standing(orch) == before
    assert orch.unit("runs").run_id == run
    gate.open()
    await orch.done("runs")
    assert orch.commands("runs").count("Dispatch") == 3, "one a phase: IMPLEMENT was adopted"
    await orch.verb("asks", "answer", text="this")
    await orch.verb("paused", "unpause")
    await orch.done("asks", "runs", "waits", "paused")
    project.judged_sound()


def standing(orch: Orch) -> dict[str, tuple[object, ...]]:
    """What does not change by itself."""
    return {
        u.chunk: (u.id, u.status, u.phase, u.attention_reason, u.blocked_by, u.paused, u.worktree, u.attempt)
        for u in orch.ops.units()
    }
