"""An offered load: so many events a second, whatever becomes of them."""

from __future__ import annotations

import asyncio


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
            await asyncio.sleep(left)
