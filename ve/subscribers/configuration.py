"""Keeps `config.toml` in step with what an operator set; the setting itself is a transition."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from ve import config
from ve.commands import ConfigSet
from ve.errors import VeError
from ve.subscribers import Subscriber
from ve.views import Transition

if TYPE_CHECKING:
    from ve.core import Core

log = logging.getLogger(__name__)


class Configuration(Subscriber):
    """Writes one key at a time, in the order in which they were set."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._due: deque[tuple[str, str]] = deque()

    def on_commit(self, transition: Transition) -> None:
        command = transition.detail
        if isinstance(command, ConfigSet):
            self.core.clients.forget()
            if command.key:
                self._due.append((command.key, command.value))
                self.start_task("write", self._write())

    async def _write(self) -> None:
        while self._due:
            key, value = self._due.popleft()
            try:
                await asyncio.to_thread(config.set_value, self.core.places, key, value or None)
            except VeError as error:
                log.error("config.toml could not be written: %s", error)

    async def close(self) -> None:
        """What was acknowledged is in the file before the daemon ends."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
