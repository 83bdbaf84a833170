"""Keeps `config.toml` in step with what an operator set; the setting itself is a transition."""

from __future__ import annotations

import asyncio
import logging

from ve import config
from ve.commands import ConfigSet
from ve.errors import VeError
from ve.subscribers import Subscriber
from ve.views import Transition

log = logging.getLogger(__name__)


class Configuration(Subscriber):
    """Writes one key at a time, in the order in which they were set."""

    def on_commit(self, transition: Transition) -> None:
        command = transition.detail
        if isinstance(command, ConfigSet):
            self.core.forget_fitness()
            if command.key:
                self.start_task(f"config:{transition.seq}", self._write(command.key, command.value))

    async def _write(self, key: str, value: str) -> None:
        try:
            await asyncio.to_thread(config.set_value, self.core.places, key, value or None)
        except VeError as error:
            log.error("config.toml could not be written: %s", error)
