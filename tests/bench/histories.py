"""Long histories, written as the ledger writes them: real rows, in batches, by the store's own writer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import uvloop
from ground import progress

from ve.commands import BoardPaused, Inject
from ve.configfields import Config
from ve.core import Core
from ve.documents import new_unit_id
from ve.frames import encoder, frame
from ve.paths import Places
from ve.store.file import History
from ve.store.rows import Batch, JsonEntry, UnitRow
from ve.store.writer import Writer
from ve.subscribers.ledger import MAX_ROWS, new_epoch
from ve.unit import Done, Phase, Running, WorkUnit
from ve.views import Transition

LIFE = 20
"""Transitions of a unit from its start to DONE; with a life of 20, a million of them are 50,000 units."""
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def with_live_units(places: Places, count: int) -> None:
    """A paused board with units that wait on it, as `inject` leaves them."""

    async def fill() -> None:
        core = Core(places, Config(), version="bench")
        await core.start()
        await core.stream.submit(BoardPaused(), "bench")
        for at in range(0, count, 500):
            await core.stream.submit_all(
                [
                    Inject(
                        unit=new_unit_id(),
                        chunk=f"live_{number}",
                        base_ref="refs/heads/main",
                        phase=Phase.PLAN,
                    )
                    for number in range(at, min(at + 500, count))
                ],
                "bench",
            )
        await core.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(fill())


def _finished(number: int) -> tuple[WorkUnit, WorkUnit]:
    """A unit while it ran, and the same one merged."""
    name = f"chunk_{number}"
    running = WorkUnit(
        id=f"u{number:012d}", chunk=name, attempt=1, phase=Phase.IMPLEMENT, first_phase=Phase.PLAN,
        state=Running(run=f"u{number:012d}-1-implement-2-abcdef", slot=1, started=True),
        base_ref="refs/heads/main", created_at=BEGIN, changed_at=BEGIN, branch=f"ve/{name}-1",
        worktree=f"/home/someone/project/.ve/worktrees/{name}-1", base_commit="c0ffee" * 6 + "c0ff", runs=5,
    )  # fmt: skip
    merged = Done(commit="decade" * 6 + "deca")
    return running, WorkUnit(
        id=running.id, chunk=name, attempt=1, phase=Phase.COMPLETE, first_phase=Phase.PLAN, state=merged,
        base_ref=running.base_ref, created_at=BEGIN, changed_at=BEGIN, branch=running.branch, runs=5,
    )  # fmt: skip


def _batch(epoch: str, first: int, count: int) -> Batch:
    """`count` transitions (whole lives) from `first` on."""
    entries, units = [], []
    for seq in range(first, first + count, LIFE):
        running, done = _finished(seq // LIFE)
        at = BEGIN + timedelta(seconds=seq)
        for place in range(LIFE):
            transition = Transition(
                epoch=epoch, seq=seq + place, at=at, command="Landed" if place == LIFE - 1 else "RunStarted",
                actor="daemon", why="", origin="RUNNING", detail=None,
                unit=done if place == LIFE - 1 else running,
            )  # fmt: skip
            entries.append(JsonEntry(frame(transition)))
        last = seq + LIFE - 1
        units.append(UnitRow(done.id, done.chunk, 1, "DONE", live=False, seq=last, text=encoder.encode(done)))
    return Batch(entries=list(entries), units=units, board=None, first_seq=first, last_seq=first + count - 1)


def lengthen(places: Places, count: int) -> None:
    """Add `count` transitions of units that have ended."""
    history = History.open(places.history, version="bench")
    epoch = new_epoch()
    history.begin_epoch(epoch)
    first = history.last_seq() + 1
    with Writer(history) as writer:
        for done, batch in _batches(epoch, first, count):
            writer.write(batch)
            if done % 250_000 == 0:
                progress(f"{done:,} transitions written")
    history.close()


def _batches(epoch: str, first: int, count: int) -> Iterator[tuple[int, Batch]]:
    for done in range(0, count, MAX_ROWS):
        size = min(MAX_ROWS, count - done)
        yield done + size, _batch(epoch, first + done, size)
