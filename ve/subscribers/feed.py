"""Sends every transition to whoever watches: sockets, `--follow`, notebooks; all with one cursor.

A client is a position in one shared log. It first gets a snapshot at a cursor (or, with `since`, what
it missed), then every frame after it, or a `resync` with a new snapshot where it fell behind or the
numbers it knows were undone. No timer: what arrives while a client's send is awaited is its next
message. With many clients the wake-ups are spaced, since messages cost, not transitions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from ve.frames import DurableFrame, ResyncFrame, SnapshotFrame, encoder, frame, join, parse_cursor
from ve.subscribers import Subscriber
from ve.views import Transition, board_view, view

if TYPE_CHECKING:
    from ve.core import Core

MAX_BEHIND = 20_000  # frames that the shared log keeps; who is further behind is resynced
REPLAY_LIMIT = 10_000  # transitions that `since` may ask for; beyond that a snapshot is cheaper
PACE_S = 0.00006  # between two wake-ups, a client


class Feed(Subscriber):
    """The shared log of frames, and its readers."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self.clients: set[Client] = set()
        self._log: list[bytes] = []
        self._first = 0  # the position of _log[0]
        self._undurable: deque[tuple[int, bytes]] = deque()
        self._joined: tuple[int, int, bytes] = (0, 0, b"")
        self._woken_at = 0.0
        self._wake_handle: asyncio.TimerHandle | None = None
        self._durable_due = False

    async def on_start(self) -> None:
        self.resync("the history was restored")

    def on_emit(self, transition: Transition) -> None:
        text = frame(transition)
        self._undurable.append((transition.seq, text))
        if self.clients:
            self._append(text)

    def on_commit(self, transition: Transition) -> None:
        while self._undurable and self._undurable[0][0] <= transition.seq:
            self._undurable.popleft()
        if self.clients and not self._durable_due:
            self._durable_due = True
            asyncio.get_running_loop().call_soon(self._tell_durable)

    def _tell_durable(self) -> None:
        """One frame for a whole commit."""
        self._durable_due = False
        stream = self.core.stream
        self._append(encoder.encode(DurableFrame(cursor=f"{stream.epoch}.{stream.durable_seq}")))

    def _append(self, text: bytes) -> None:
        self._log.append(text)
        if len(self._log) > 2 * MAX_BEHIND:
            drop = len(self._log) - MAX_BEHIND
            del self._log[:drop]
            self._first += drop
        if self._wake_handle is None:
            self._plan_wake()

    def _plan_wake(self) -> None:
        loop = asyncio.get_running_loop()
        due = self._woken_at + PACE_S * len(self.clients)
        if due <= loop.time():
            self._wake()  # they read in their own turns, so also what this one still brings
        else:
            self._wake_handle = loop.call_at(due, self._wake)

    def _wake(self) -> None:
        self._wake_handle = None
        self._woken_at = asyncio.get_running_loop().time()
        for client in self.clients:
            client.wake()

    @property
    def end(self) -> int:
        """The position after the newest frame."""
        return self._first + len(self._log)

    def read(self, position: int) -> bytes | None:
        """Everything from a position on as one message, None where the log no longer reaches back."""
        if position < self._first:
            return None
        end = self.end
        if self._joined[:2] != (position, end):
            self._joined = (position, end, join(self._log[position - self._first :]))
        return self._joined[2]

    def snapshot(self) -> bytes:
        """Everything as it is now, at the stream's cursor."""
        stream = self.core.stream
        index = stream.index
        units = tuple(view(unit) for unit in index.units.values())
        board = board_view(stream.board, index.slots_used)
        return encoder.encode(SnapshotFrame(cursor=stream.cursor, units=units, board=board))

    def resync(self, reason: str) -> None:
        """What clients hold is not true any more: all of them start again from a snapshot."""
        self._undurable.clear()
        for client in self.clients:
            client.lose(reason)

    async def open(self, since: str | None = None) -> Client:
        """A new reader, at a snapshot or after a cursor. Raises InvalidInput where `since` is no cursor."""
        wanted = parse_cursor(since) if since else None
        client = Client(self)
        self.clients.add(client)  # subscribe first, read the past second: no gap between the two
        if wanted is None:
            client.begin(self.snapshot())
            return client
        stream = self.core.stream
        upto = stream.durable_seq
        tail = [text for seq, text in self._undurable if seq > max(wanted[1], upto)]
        try:
            missed = await self._missed(*wanted, upto)
        except BaseException:
            self.clients.discard(client)
            raise
        if client.lost:
            pass  # the history was interrupted while it was read; a resync is there already
        elif missed is None:
            client.lose("the cursor is of another history, or too far back")
        else:
            client.begin(*missed, *tail)
        return client

    async def _missed(self, epoch: str, seq: int, upto: int) -> list[bytes] | None:
        """The durable transitions after a cursor; None where it names nothing that was ever durable."""
        stream = self.core.stream
        if epoch == stream.epoch:
            if seq > stream.seq:
                return None
        else:
            end = await self.core.read_history(self.core.history.epoch_end, epoch)
            if end is None or seq > end:
                return None
        if seq >= upto:
            return []
        if upto - seq > REPLAY_LIMIT:
            return None
        texts = await self.core.read_history(self.core.history.transitions_since, seq, upto - seq)
        return list(texts)

    async def close(self) -> None:
        if self._wake_handle:
            self._wake_handle.cancel()
        await super().close()


class Client:
    """One reader: a position in the shared log, and what it gets before that."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._position = feed.end
        self._first: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self.lost = False

    def begin(self, *frames: bytes) -> None:
        """What the client gets first."""
        self._first = list(frames)
        self.wake()

    def lose(self, reason: str) -> None:
        """Start again: a resync and a snapshot, then what follows it."""
        self.lost = True
        self._first = [encoder.encode(ResyncFrame(reason=reason)), self._feed.snapshot()]
        self._position = self._feed.end
        self.wake()

    def wake(self) -> None:
        """There is something to read."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> bytes:
        """The next message, a JSON array of frames; waits until there is one."""
        feed = self._feed
        while not self._first and self._position >= feed.end:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._first:
            first, self._first = self._first, []
            return join(first)
        message = feed.read(self._position)
        if message is None:
            self.lose("this client fell too far behind")
            return await self.next()
        self._position = feed.end
        return message

    def close(self) -> None:
        """Stop reading."""
        self._feed.clients.discard(self)
