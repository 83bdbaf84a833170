"""Pauses of an offered load. Benchmarks may wait for time, tests may not: so it has a name of its own."""

from __future__ import annotations

import asyncio


async def pause(seconds: float) -> None:
    """Go on after this long."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    handle = loop.call_later(seconds, over.set_result, None)
    try:
        await over
    finally:
        handle.cancel()


class Pace:
    """Keeps `rate` events a second; one that is late is not waited for, so the average holds."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next = asyncio.get_running_loop().time()

    async def tick(self) -> None:
        """Return when the next event is due."""
        self._next += self._interval
        left = self._next - asyncio.get_running_loop().time()
        if left > 0:
            await pause(left)
