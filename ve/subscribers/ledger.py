"""Saves every transition, in order, in groups, and says which are durable.

No timer: whatever arrived while the last commit was under way is the next batch. A batch that failed
is tried again first and whole, never the next one, so the history has no hole; meanwhile the stream
refuses commands.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ve import faults
from ve.errors import HistoryError
from ve.frames import encoder, frame
from ve.store.rows import Batch, BoardRow, JsonEntry, UnitRow
from ve.store.writer import Writer
from ve.subscribers import Subscriber
from ve.unit import status_name
from ve.views import Transition

if TYPE_CHECKING:
    from ve.core import Core

log = logging.getLogger(__name__)

MAX_ROWS = 2000
IDLE_S = 1.0
RETRY_S = 1.0
FOLD_AT = 1000  # transitions that wait to be put into columns before a pause is used for it


def new_epoch() -> str:
    """A random name for the numbers that one start of the daemon gives."""
    return secrets.token_hex(4)


class Ledger(Subscriber):
    """The one writer of the history."""

    def __init__(self, core: Core, writer: Writer) -> None:
        super().__init__(core)
        self._writer = writer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._buffer: list[tuple[Transition, bytes]] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._dirty = False
        self._broken = False
        self._sent = 0  # the newest transition that a commit was begun with

    def on_emit(self, transition: Transition) -> None:
        try:
            text = frame(transition)
        except Exception as error:
            # What cannot be written down must not be acknowledged, nor anything after it.
            asyncio.get_running_loop().call_soon(self._stop, f"{transition.command}: {error}")
            raise
        self._buffer.append((transition, text))
        self._wake.set()

    def _stop(self, reason: str) -> None:
        """For good: a new start reads what is durable."""
        self._broken = True
        self._buffer.clear()
        log.error("the ledger failed, commands are refused until a new start: %s", reason)
        self.core.suspended(f"the ledger failed, start again: {reason}", keep=self._sent)

    @property
    def behind(self) -> int:
        """Durable transitions that wait for a pause to be put into columns."""
        return self._writer.pending

    def begin(self) -> None:
        """Start writing."""
        self._sent = self.core.stream.durable_seq
        self._task = asyncio.get_running_loop().create_task(self._run(), name="ledger")
        self._task.add_done_callback(self._ended_early)

    def _ended_early(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("the ledger ended", exc_info=task.exception())
            self._stop(str(task.exception()))

    async def close(self) -> None:
        """Write what is left, fold the write-ahead log into the file, end the thread."""
        self._closing = True
        self._wake.set()
        if self._task:
            await asyncio.gather(self._task, return_exceptions=True)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._writer.close)
        except HistoryError as error:
            log.warning("the last checkpoint failed, the next start does it: %s", error)
        self._thread.shutdown()

    async def _run(self) -> None:
        while True:
            if self._buffer:
                taken, self._buffer = cut(self._buffer)
                await self._write(taken)
            elif self._closing:
                return
            elif not (self._writer.pending >= FOLD_AT and await self._tidy(self._writer.fold_some)):
                await self._wait()

    async def _wait(self) -> None:
        """Until there is something to write; after a second of rest, tidy up."""
        self._wake.clear()
        if self._buffer or self._closing:
            return
        try:
            await asyncio.wait_for(self._wake.wait(), IDLE_S if self._dirty else None)
        except TimeoutError:
            if not await self._tidy(self._writer.fold_some):
                self._dirty = False
                await self._tidy(self._writer.checkpoint)
                self.core.rest()

    async def _tidy(self, work: Callable[[], bool | None]) -> bool:
        """A step that makes reading quicker and loses nothing where it fails; whether more is left."""
        try:
            return bool(await asyncio.get_running_loop().run_in_executor(self._thread, work))
        except HistoryError as error:
            log.warning("the history could not be tidied up, later it may be: %s", error)
            return False

    async def _write(self, taken: list[tuple[Transition, bytes]]) -> None:
        loop = asyncio.get_running_loop()
        last = self._sent = taken[-1][0].seq
        failed = False
        while True:
            try:
                await loop.run_in_executor(self._thread, self._commit, taken)
                break
            except HistoryError as error:
                if not failed:
                    failed = True
                    self._buffer.clear()
                    self.core.suspended(str(error), keep=last)
                    log.error("the history cannot be written, commands are refused: %s", error)
                if self._closing:
                    return
                await asyncio.sleep(RETRY_S)
        self._dirty = True
        self.core.stream.durable(last)
        if failed and not self._broken:
            epoch = new_epoch()
            await loop.run_in_executor(self._thread, self.core.history.begin_epoch, epoch)
            await self.core.resumed(epoch)

    def _commit(self, taken: list[tuple[Transition, bytes]]) -> None:
        """In the writer's thread."""
        batch = to_batch(taken)
        faults.at("before-commit")
        self._writer.write(batch)
        faults.at("after-commit")


def cut(
    buffer: list[tuple[Transition, bytes]],
) -> tuple[list[tuple[Transition, bytes]], list[tuple[Transition, bytes]]]:
    """At most MAX_ROWS, and never through a group: its transitions commit together."""
    if len(buffer) <= MAX_ROWS:
        return buffer, []
    at = MAX_ROWS
    while at < len(buffer) and buffer[at][0].group == buffer[at - 1][0].group:
        at += 1
    return buffer[:at], buffer[at:]


def to_batch(taken: list[tuple[Transition, bytes]]) -> Batch:
    """One row a unit: the latest, since a duplicate in one upsert silently keeps the first."""
    units = {t.unit.id: t.unit for t, _ in taken if t.unit is not None}
    board = next((t.board for t, _ in reversed(taken) if t.board is not None), None)
    return Batch(
        entries=[JsonEntry(text) for _, text in taken],
        units=[
            UnitRow(
                id=unit.id,
                chunk=unit.chunk,
                attempt=unit.attempt,
                status=status_name(unit.state),
                live=unit.live or unit.cleaning,
                seq=unit.seq,
                text=encoder.encode(unit),
            )
            for unit in units.values()
        ],
        board=BoardRow(seq=board.seq, text=encoder.encode(board)) if board else None,
        first_seq=taken[0][0].seq,
        last_seq=taken[-1][0].seq,
    )
