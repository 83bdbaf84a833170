"""Acknowledged means durable, and a history that cannot be written stops everything but reading."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from tests.e2e.given import ME, WAIT_S, Board, Gate, Orch, Project, writes
from ve import commands as c
from ve.errors import HistoryError, RefusedError, UnavailableError
from ve.store.rows import Batch
from ve.stream import Accepted, Unavailable
from ve.subscribers.ledger import cut
from ve.views import Transition


class Held:
    """Stands between ledger and writer: each batch waits until the test lets it through, or fails."""

    def __init__(self, orch: Orch) -> None:
        self.arrived, self.go = threading.Event(), threading.Event()
        self.fail = False
        self._write: Callable[[Batch], None] = orch.core.ledger._writer.write
        orch.core.ledger._writer.write = self.write  # type: ignore[method-assign]

    def write(self, batch: Batch) -> None:
        self.arrived.set()
        assert self.go.wait(WAIT_S)
        if self.fail:
            raise HistoryError("the history cannot be written: no room")
        self._write(batch)

    async def has_one(self) -> None:
        assert await asyncio.to_thread(self.arrived.wait, WAIT_S)


async def queued(project: Project, orch: Orch, *names: str) -> None:
    for name in names:
        project.chunk(name)
    await orch.ops.board("pause", actor=ME)
    await orch.inject(*names)


async def test_nothing_is_acknowledged_nor_acted_on_before_its_commit(project: Project, orch: Orch) -> None:
    await queued(project, orch, "a")
    held = Held(orch)
    committed: list[Transition] = []
    orch.core.stream.committed.subscribe(committed.append)
    reply = orch.core.stream.submit(c.BoardUnpaused(), ME)
    await held.has_one()
    await orch.until(lambda: orch.unit("a").status == "RUNNING")  # dispatched, on the board
    assert not reply.done() and not committed
    assert project.trees() == [], "but nothing is done outside before that is durable"
    held.go.set()
    await reply
    await orch.done("a")


async def test_an_answer_is_the_same_also_after_a_new_start(project: Project, orch: Orch) -> None:
    project.chunk("a")
    await orch.ops.board("pause", actor=ME)
    first = await orch.inject("a", key="k1", key_hash="body")
    await orch.stop()
    await orch.start()
    again = await orch.inject("a", key="k1", key_hash="body")
    assert [u.id for u in again.units] == [u.id for u in first.units]
    assert again.cursor.rpartition(".")[2] == first.cursor.rpartition(".")[2]
    try:
        await orch.inject("a", key="k1", key_hash="another body")
    except RefusedError as error:
        assert "another body" in error.what
    else:
        raise AssertionError("the key was taken for another body")


async def test_while_the_history_cannot_be_written_commands_are_refused_and_clients_resynced(
    project: Project, orch: Orch
) -> None:
    await queued(project, orch, "a")
    board = await Board(orch.core).open()
    await board.read()
    held = Held(orch)
    tried = orch.core.stream.submit(c.Prioritize(unit=orch.unit("a").id, priority=1), ME)
    await held.has_one()
    after = orch.core.stream.submit(c.Prioritize(unit=orch.unit("a").id, priority=2), ME)
    held.fail = True
    held.go.set()

    failed, lost = await asyncio.wait_for(tried, WAIT_S), await asyncio.wait_for(after, WAIT_S)
    assert isinstance(failed, Unavailable) and failed.uncertain
    assert isinstance(lost, Unavailable) and not lost.uncertain
    assert "no room" in (orch.ops.status().outage or "")
    try:
        await orch.verb("a", "pause")
    except UnavailableError as error:
        assert "nothing was done" in error.what
    else:
        raise AssertionError("accepted while nothing can be written")

    held.fail = False
    resumed = asyncio.get_running_loop().create_future()
    orch.core.stream.committed.subscribe(lambda t: resumed.done() or resumed.set_result(t))
    assert (await asyncio.wait_for(resumed, WAIT_S)).unit.priority == 1, "tried again first and whole"
    while orch.core.stream.outage:
        await board.read()
    reply = await orch.core.stream.submit(c.Prioritize(unit=orch.unit("a").id, priority=3), ME)
    assert isinstance(reply, Accepted)
    await board.catch_up()
    assert "resync" in [f["type"] for f in board.frames]
    assert board.units[orch.unit("a").id]["priority"] == 3
    rows = await orch.sql("select priority from transitions where command = 'Prioritize' order by seq")
    assert rows == [[1], [3]]
    epochs = {t.epoch for t in orch.seen}
    assert len(epochs) == 2, "the numbers that were undone are not used again under the same epoch"


async def test_a_question_that_was_asked_while_nothing_could_be_written_is_not_lost(
    project: Project, orch: Orch
) -> None:
    """And the unit goes on with its answer once the file can be written again."""
    project.chunk("a", '[[IMPLEMENT]]\nask = "Which?"\n' + writes("a"))
    held = Held(orch)
    held.go.set()
    board = await Board(orch.core).open()

    def look(transition: Transition) -> None:
        held.fail = held.fail or transition.command == "Ask"

    listening = orch.core.stream.emitted.subscribe(look)
    await orch.inject("a")
    while not any(frame["type"] == "resync" for frame in board.frames):
        await board.read()
    assert orch.core.stream.outage
    listening.dispose()
    held.fail = False
    await orch.status("a", "NEEDS_ATTENTION", "question")
    while orch.core.stream.outage:
        await board.read()
    await orch.until(lambda: orch.unit("a").run_id is None)
    await orch.verb("a", "answer", text="this")
    await orch.done("a")
    assert [q.text for q in orch.unit("a").questions] == ["Which?"]


async def test_a_run_that_lives_through_an_outage_is_read_again_from_its_beginning(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    project.chunk("a", gate.step + '[[IMPLEMENT]]\nask = "Which?"\n' + writes("a"))
    await orch.inject("a")
    await gate.reached()
    run = str(orch.unit("a").run_id)
    held = Held(orch)
    held.fail = True
    held.go.set()
    broken = await orch.core.stream.submit(c.Prioritize(unit=orch.unit("a").id, priority=1), ME)
    assert isinstance(broken, Unavailable)
    await orch.core.runs._read(run)  # what a nudge does: session and start are read, and refused
    assert orch.unit("a").session_id is None
    held.fail = False
    await orch.until(lambda: orch.unit("a").session_id)
    gate.open()
    await orch.status("a", "NEEDS_ATTENTION", "question")


class Unwritable(c.Verb, frozen=True, kw_only=True):
    """A verb that cannot be encoded: its field is a thread's lock."""

    thing: object


async def test_what_cannot_be_written_down_stops_the_ledger_and_is_never_acknowledged(
    project: Project, orch: Orch
) -> None:
    from ve import transitions
    from ve.rules.operator import pause
    from ve.unit import Ready

    await queued(project, orch, "a")
    transitions.BY_STATE[Ready, Unwritable] = transitions.Row(Unwritable, (Ready,), (), pause, "")
    try:
        bad = orch.core.stream.submit(Unwritable(unit=orch.unit("a").id, thing=threading.Lock()), ME)
        reply = await asyncio.wait_for(bad, WAIT_S)
    finally:
        del transitions.BY_STATE[Ready, Unwritable]
    assert isinstance(reply, Unavailable)
    assert not orch.unit("a").paused
    assert "start again" in (orch.ops.status().outage or "")
    assert orch.ops.status().broken
    orch.core.stream.broken.clear()


def test_a_batch_is_never_cut_through_a_group() -> None:
    def entry(seq: int, group: int) -> tuple[Transition, bytes]:
        from ve.unit import utcnow

        made = Transition(
            epoch="e", seq=seq, at=utcnow(), command="X", actor="me", why="", origin=None, detail=None,
            group=group,
        )  # fmt: skip
        return made, b""

    alone = [entry(seq, seq) for seq in range(1, 1998)]
    together = [entry(seq, 1998) for seq in range(1998, 3001)]
    taken, left = cut([*alone, *together, entry(3001, 3001)])
    assert (len(taken), len(left)) == (3000, 1)
    taken, left = cut([entry(seq, seq) for seq in range(1, 5001)])
    assert (len(taken), len(left)) == (2000, 3000)
