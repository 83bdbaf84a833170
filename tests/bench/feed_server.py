"""The process whose feed bench_feed.py measures: a core with its server, which offers commands to itself.

    python feed_server.py REPOSITORY      then lines on stdin: `offer COUNT RATE`, `raw COUNT RATE`

It answers each line with one of JSON. `offer` submits Prioritize commands whose priority is the moment
in microseconds of the monotonic clock, which all processes of a machine share. `raw` writes the same
stamps in messages of the same size to a bare socket: what this machine takes at this moment at least.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import sys
import time
from pathlib import Path

import uvloop
from ground import cpu_seconds
from pace import Pace

from ve.commands import BoardPaused, Inject, Prioritize
from ve.configfields import Config
from ve.core import Core
from ve.daemon import ensure_token
from ve.documents import new_unit_id
from ve.paths import find
from ve.server import Server
from ve.unit import Phase

UNITS = 100
FRAME_BYTES = 1100


def moment() -> int:
    """Microseconds of the monotonic clock."""
    return time.monotonic_ns() // 1000


def loop_seconds() -> float:
    """Seconds of processor time of this thread, the event loop's."""
    used = resource.getrusage(resource.RUSAGE_THREAD)
    return used.ru_utime + used.ru_stime


async def offer(core: Core, ids: list[str], count: int, rate: float) -> None:
    """Submit at a rate; return when the last one is durable."""
    pace = Pace(rate)
    reply = None
    for number in range(count):
        await pace.tick()
        command = Prioritize(unit=ids[number % len(ids)], priority=moment())
        reply = core.stream.submit(command, "bench")
    if reply is not None:
        await reply


async def raw(writer: asyncio.StreamWriter, count: int, rate: float) -> None:
    """The bare socket: stamps in WebSocket messages, and nothing behind them."""
    pace = Pace(rate)
    for _ in range(count):
        await pace.tick()
        text = b'[{"detail":{"priority":%d}}]' % moment()
        text += b" " * (FRAME_BYTES - len(text))
        writer.write(b"\x81\x7e" + len(text).to_bytes(2, "big") + text)
    await writer.drain()


async def main(folder: Path) -> None:
    """Serve until stdin ends."""
    places = find(folder)
    core = Core(places, Config(), version="bench")
    await core.start()
    server = Server(core, version="bench", token=ensure_token(places), on_stop=lambda mode: None)
    await server.start()
    await core.stream.submit(BoardPaused(), "bench")
    ids = [new_unit_id() for _ in range(UNITS)]
    await core.stream.submit_all(
        [
            Inject(unit=unit, chunk=f"chunk_{at}", base_ref="refs/heads/main", phase=Phase.IMPLEMENT)
            for at, unit in enumerate(ids)
        ],
        "bench",
    )
    bare: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    listener = socket.create_server(("127.0.0.1", 0))
    await asyncio.start_server(lambda _, writer: bare.put_nowait(writer), sock=listener)
    print(json.dumps({"port": server.port, "raw": listener.getsockname()[1]}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        kind, count, rate = line.split()
        began, whole, loop = time.monotonic(), cpu_seconds(), loop_seconds()
        if kind == "raw":
            await raw(await bare.get(), int(count), float(rate))
        else:
            await offer(core, ids, int(count), float(rate))
        took = time.monotonic() - began
        spent = {"seconds": took, "cpu": cpu_seconds() - whole, "loop": loop_seconds() - loop}
        print(json.dumps(spent), flush=True)
    await server.close()
    await core.close()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
