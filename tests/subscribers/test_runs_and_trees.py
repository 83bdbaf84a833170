"""Runs and worktrees as subscribers: effects follow what is durable, and nothing of them is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.given import ME, WAIT_S, Gate, Orch, Project, carriers, writes
from ve import commands as c
from ve.proc.runfolder import read_lock
from ve.subscribers import runs
from ve.views import Transition


async def test_a_unit_that_is_cancelled_while_its_tree_is_being_made_ends_and_leaves_no_tree(
    project: Project, orch: Orch
) -> None:
    project.chunk("a")
    sent = asyncio.get_running_loop().create_future()

    def at_dispatch(transition: Transition) -> None:
        if transition.command == "Dispatch" and not sent.done():
            sent.set_result(orch.core.stream.submit(c.Cancel(unit=orch.unit("a").id), ME))

    orch.core.stream.emitted.subscribe(at_dispatch)
    await orch.inject("a")
    await orch.status("a", "CANCELLED")
    assert project.trees() == []
    assert project.git("branch", "--list", "ve/*") == ""
    assert not orch.core.stream.index.slots_used


async def test_a_unit_cancelled_just_before_a_crash_of_the_daemon_ends_after_the_next_start(
    project: Project, orch: Orch
) -> None:
    """Dispatch and cancel are durable, the tree was never made."""
    project.chunk("a")

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    def at_dispatch(transition: Transition) -> None:
        if transition.command == "Dispatch" and transition.unit:
            orch.core.git = never  # type: ignore[method-assign,assignment]
            orch.core.stream.submit(c.Cancel(unit=transition.unit.id), ME)

    orch.core.stream.emitted.subscribe(at_dispatch)
    await orch.inject("a")
    await orch.until(lambda: orch.unit("a").stopping and orch.durable("a"))
    await orch.detach()

    await orch.start()
    await orch.status("a", "CANCELLED")
    assert project.trees() == []
    assert not orch.core.stream.index.slots_used


async def test_a_branch_that_is_somebody_elses_is_left_alone_and_the_unit_says_so(
    project: Project, orch: Orch
) -> None:
    project.chunk("a")
    project.git("branch", "ve/a-1")
    before = project.head
    await orch.inject("a")
    stuck = await orch.status("a", "NEEDS_ATTENTION", "error")
    assert "the worktree could not be made" in (stuck.attention_reason or "")
    assert project.git("rev-parse", "ve/a-1") == before
    await orch.verb("a", "retry", fresh=True)
    await orch.done("a")
    assert orch.unit("a").attempt == 2


async def test_a_run_that_the_history_does_not_know_is_ended(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    """As after a crash that undid the dispatch."""
    gate = Gate(tmp_path / "gate")
    project.chunk("a", gate.step)
    await orch.inject("a")
    await gate.reached()
    run = str(orch.unit("a").run_id)
    assert carriers([run])
    await orch.detach()
    orch.places.history.unlink()
    for wal in orch.places.state_dir.glob("history.duckdb.wal"):
        wal.unlink()
    await orch.start()
    assert not carriers([run])


async def test_what_a_run_tells_is_read_also_where_its_nudge_does_not_come_through(
    project: Project, orch: Orch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server runs in this process, so no nudge ever arrives here."""
    monkeypatch.setattr(runs, "LOOK_AGAIN_S", 0.1)
    gate = Gate(tmp_path / "gate")
    project.chunk("a", gate.step)
    await orch.inject("a")
    await gate.reached()
    await orch.until(lambda: {"RunStarted", "SessionKnown"} <= set(orch.commands("a")))
    assert orch.unit("a").status == "RUNNING"
    gate.open()
    await orch.done("a")


async def test_a_run_whose_supervisor_is_killed_is_lost_and_nothing_of_it_is_left(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    project.chunk("a", gate.step + writes("a"))
    await orch.inject("a")
    await gate.reached()
    run = str(orch.unit("a").run_id)
    lock = read_lock(orch.core.runs.folder(run))
    assert lock is not None
    os.kill(lock.pid, signal.SIGKILL)
    await orch.until(lambda: "RunEnded" in orch.commands("a"))
    assert not carriers([run])
    ended = next(t for t in orch.seen if t.command == "RunEnded")
    assert isinstance(getattr(ended.detail, "exit", None), c.Lost)
    gate.open()
    await orch.done("a")


async def test_a_usage_limit_closes_the_lane_for_all_and_everybody_goes_on_after_it(
    project: Project, orch: Orch
) -> None:
    limited = '[[IMPLEMENT]]\nvisit = 1\nlimit = 3\nreason = "come back later"\n'
    project.chunk("a", limited + writes("a"))
    project.chunk("b")
    await orch.ops.board("pause", actor=ME)
    await orch.inject("a", "b")
    await orch.verb("b", "pause")
    await orch.ops.board("unpause", actor=ME)
    await orch.until(lambda: bool(orch.core.stream.board.lanes))
    await orch.verb("b", "unpause")
    assert "takes nothing until" in (await orch.ops.why("b")).why
    await orch.done("a", "b")
    opened = next(t.seq for t in orch.seen if t.command == "LaneOpened")
    began = min(t.seq for t in orch.seen if t.command == "Dispatch" and t.unit and t.unit.chunk == "b")
    assert opened < began
    assert orch.unit("a").attention_kind is None
    assert "Retry" not in orch.commands("a")


async def test_slots_are_never_more_than_there_are_and_a_change_counts_at_once(
    project: Project, orch: Orch
) -> None:
    await orch.ops.set_config("slots", "1", actor=ME)
    for name in ("a", "b"):
        project.chunk(name)
    used: list[int] = []
    orch.core.stream.emitted.subscribe(lambda t: used.append(orch.core.stream.index.slots_used))
    await orch.inject("a", "b")
    await orch.until(lambda: orch.commands("a").count("Dispatch") == 2)
    assert max(used) == 1
    await orch.ops.set_config("slots", "2", actor=ME)
    await orch.until(lambda: max(used) == 2)
    await orch.done("a", "b")
    assert max(used) == 2


async def test_draining_ends_what_runs_and_begins_nothing(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    project.chunk("a", gate.step)
    project.chunk("b")
    await orch.ops.set_config("slots", "1", actor=ME)
    await orch.inject("a")
    await gate.reached()
    await orch.inject("b")
    stopping = asyncio.ensure_future(orch.ops.stop("drain"))
    await asyncio.sleep(0)
    gate.open()
    await asyncio.wait_for(stopping, WAIT_S)
    assert orch.unit("b").status == "READY"
    assert not orch.core.stream.index.slots_used
