"""Reads the daemon's feed: the one order of transitions, from a snapshot or from a cursor on.

Rule: nothing is skipped in silence. A connection that breaks is made again at the cursor; where that is
not possible the daemon says `resync`, and so does whoever reads here. Who acts on what they read waits
until it is on disk: `Durably` holds transitions back until then.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ve.client import Answer, Client, problem_error
from ve.errors import NoDaemon, UnavailableError, VeError

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncConnection
    from websockets.sync.client import ClientConnection

Frame = dict[str, Any]

OPEN_TIMEOUT_S = 10.0
LOOK_AGAIN_S = 0.25
"""How long a transition may be held back before the daemon is asked what is on disk."""

RECONNECT_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""Pauses between attempts to get a broken connection back; the last one is repeated."""


def feed_path(since: str | None = None) -> str:
    """The feed, from a snapshot on, or after a cursor."""
    return f"/feed?since={quote(since, safe='')}" if since else "/feed"


class Connection:
    """A WebSocket of the daemon, for threads: messages as they come, until one side closes."""

    def __init__(self, client: Client, path: str) -> None:
        """Raises NoDaemon, or what the daemon answers instead (NotFound, InvalidInput)."""
        from websockets.exceptions import InvalidHandshake
        from websockets.sync.client import unix_connect

        client.connect(OPEN_TIMEOUT_S).close()
        try:
            self._link: ClientConnection = unix_connect(**_how(client, path)).__enter__()
        except (OSError, InvalidHandshake) as error:
            raise _refused(client, path, error) from error

    def messages(self) -> Iterator[str]:
        """Each message; ends when the connection does."""
        from websockets.exceptions import ConnectionClosed

        while True:
            try:
                yield str(self._link.recv())
            except ConnectionClosed:
                return

    def frames(self) -> Iterator[Frame]:
        """Each frame of each message of a feed."""
        for message in self.messages():
            yield from json.loads(message)

    def close(self) -> None:
        """End it, from any thread; whoever reads sees its end."""
        self._link.close()


def _how(client: Client, path: str) -> dict[str, Any]:
    return {
        "path": str(client.places.socket),
        "uri": f"ws://localhost{path}",
        "additional_headers": {"Authorization": f"Bearer {client.token()}"},
        "compression": None,
        "max_size": None,
        "open_timeout": OPEN_TIMEOUT_S,
        "close_timeout": 1.0,
    }


def _refused(client: Client, path: str, error: Exception) -> VeError:
    """Why there is no connection, as the daemon said it."""
    from websockets.exceptions import InvalidStatus

    if isinstance(error, InvalidStatus):
        response = error.response
        headers = {name.lower(): value for name, value in response.headers.raw_items()}
        return problem_error(Answer(response.status_code, headers, bytes(response.body or b"")))
    try:
        client.connect(OPEN_TIMEOUT_S).close()
    except NoDaemon as gone:
        return gone
    return UnavailableError(f"the daemon gave no connection: {error}", where=path, hint="See: ve orch status")


class Durably:
    """Lets a transition through once it is on disk, in the order of the feed."""

    def __init__(self) -> None:
        self._held: deque[Frame] = deque()

    @property
    def holding(self) -> bool:
        """Whether something waits to be on disk."""
        return bool(self._held)

    def passed(self, frame: Frame) -> list[Frame]:
        """What may go on now that this frame came."""
        if frame["type"] == "transition":
            self._held.append(frame)
            return []
        if frame["type"] == "durable":
            return self.on_disk(frame["cursor"])
        if frame["type"] == "resync":
            # What was held may never have happened; the snapshot that follows says what did.
            self._held.clear()
        return [frame]

    def on_disk(self, cursor: str) -> list[Frame]:
        """What may go on now that everything up to a cursor is on disk."""
        epoch, _, number = cursor.rpartition(".")
        ready = []
        while self._held and (self._held[0]["epoch"] != epoch or self._held[0]["seq"] <= int(number)):
            # Of an earlier epoch only durable ones are sent again.
            ready.append(self._held.popleft())
        return ready


async def follow(client: Client, *, since: str | None, durable: bool) -> AsyncGenerator[Frame, None]:
    """Snapshots, transitions and resyncs, for ever; connects again, at the cursor, when the link breaks.

    Raises NoDaemon if there is none at the beginning; later it is waited for.
    """
    cursor = since
    link = await _connected(client, cursor)
    while True:
        try:
            async with aclosing(_durable_frames(client, link) if durable else _frames(link)) as frames:
                async for frame in frames:
                    cursor = frame.get("cursor", cursor)
                    yield frame
        finally:
            try:
                await link.close()
            finally:
                link.transport.abort()  # also where this task is being cancelled
        link = await _again(client, cursor)


async def _connected(client: Client, since: str | None) -> AsyncConnection:
    from websockets.asyncio.client import unix_connect
    from websockets.exceptions import InvalidHandshake

    await asyncio.to_thread(lambda: client.connect(OPEN_TIMEOUT_S).close())
    path = feed_path(since)
    try:
        return await unix_connect(**_how(client, path))
    except (OSError, InvalidHandshake) as error:
        raise _refused(client, path, error) from error


async def _again(client: Client, since: str | None) -> AsyncConnection:
    attempt = 0
    while True:
        try:
            return await _connected(client, since)
        except (NoDaemon, UnavailableError):
            await asyncio.sleep(RECONNECT_S[min(attempt, len(RECONNECT_S) - 1)])
            attempt += 1


async def _frames(link: AsyncConnection) -> AsyncGenerator[Frame, None]:
    async for message in _messages(link):
        for frame in message:
            if frame["type"] != "durable":
                yield frame


async def _durable_frames(client: Client, link: AsyncConnection) -> AsyncGenerator[Frame, None]:
    """As `_frames`, but each transition only once it is on disk.

    What the daemon replays after a cursor may be on disk already, and then no frame says so; hence the
    question after a moment in which something is held back.
    """
    gate = Durably()
    messages = _messages(link)
    coming = asyncio.ensure_future(anext(messages, None))
    try:
        while True:
            done, _ = await asyncio.wait((coming,), timeout=LOOK_AGAIN_S if gate.holding else None)
            if not done:
                cursor = await _durable_cursor(client)
                for frame in gate.on_disk(cursor) if cursor else ():
                    yield frame
                continue
            message = coming.result()
            if message is None:
                return
            coming = asyncio.ensure_future(anext(messages, None))
            for frame in message:
                for ready in gate.passed(frame):
                    yield ready
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def _durable_cursor(client: Client) -> str | None:
    try:
        return str((await asyncio.to_thread(client.get, "/status"))["durable_cursor"])
    except VeError:
        return None


async def _messages(link: AsyncConnection) -> AsyncGenerator[list[Frame], None]:
    from websockets.exceptions import ConnectionClosed

    while True:
        try:
            yield json.loads(await link.recv())
        except ConnectionClosed:
            return
