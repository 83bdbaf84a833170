"""Who reacts to the stream: one concern a file, none knows another, the list is in `ve.core`.

A subscriber may override three moments:

    on_start()   the stream stands, nothing was emitted yet; also after an outage of the history. Take up
                 what the units say is due: a run to adopt, a landing to go on with.
    on_emit(t)   a transition has just happened. At once, on the loop's thread: buffer or submit, no more.
    on_commit(t) the same transition is durable. Now the outside world may be touched; the result comes
                 back as a command.

Every effect is idempotent and asks the unit's state, not its own memory, what is due: the same effect
may be due again after a crash, and a command that comes too late is refused by the reducer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from ve.views import Transition

if TYPE_CHECKING:
    from ve.core import Core

log = logging.getLogger(__name__)


class Subscriber:
    """Base of all subscribers; every moment is a no-op."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def on_start(self) -> None:
        """Take up what is due; called before any command is accepted, and after an outage."""

    def on_emit(self, transition: Transition) -> None:
        """React at once: buffer or submit, nothing else."""

    def on_commit(self, transition: Transition) -> None:
        """React once it is durable: act outside."""

    async def close(self) -> None:
        """Let go of everything; runs go on without us."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def start_task(self, key: str, work: Coroutine[Any, Any, None]) -> bool:
        """Run an effect beside the loop, once a key; False where it is already under way."""
        if key in self._tasks:
            work.close()
            return False
        task = asyncio.get_running_loop().create_task(work, name=key)
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))
        return True

    def _ended(self, key: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("an effect failed: %s", key, exc_info=task.exception())
