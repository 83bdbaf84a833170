"""Which agents can be used here: asked off the loop, remembered until the configuration changes.

Rule: asking may take seconds (it starts the client), so nobody on the event loop waits for it; whoever
needs to know is called once it is known.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable

from ve import agents
from ve.agents.base import Adapter, Fitness, Settings
from ve.configfields import Config
from ve.errors import ConfigError


def make(config: Config, name: str) -> Adapter:
    """The adapter that the section `[agents.NAME]` describes, or the one of that name. Raises ConfigError."""
    section = config.agents.get(name)
    if section is None:
        return agents.adapter(name)
    settings = Settings(
        command=tuple(shlex.split(section.command or "")),
        model=section.model or "",
        args=tuple(section.args),
        env=dict(section.env),
        base_url=section.base_url or "",
        max_turns=section.max_turns,
        budget_usd=section.budget_usd,
        repo_config=section.repo_config,
    )
    return agents.adapter(section.adapter or name, settings)


def names(config: Config) -> tuple[str, ...]:
    """Every agent that can be chosen: the kinds there are, then the sections with names of their own."""
    return (*agents.ADAPTERS, *(name for name in config.agents if name not in agents.ADAPTERS))


def check(config: Config, name: str) -> Fitness:
    """Whether it can be used here. Blocks for up to 10 seconds; never raises."""
    try:
        return make(config, name).check()
    except ConfigError as error:
        return Fitness(ok=False, reason=error.what, hint=error.hint)


class Clients:
    """What is known of the agents' fitness. Used on the event loop."""

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config
        self._known: dict[str, Fitness] = {}
        self._asked: dict[str, asyncio.Task[None]] = {}

    def known(self, name: str, then: Callable[[], None]) -> Fitness | None:
        """What is known of it. None: it is being asked, and `then` is called once it has answered."""
        found = self._known.get(name)
        if found is None and name not in self._asked:
            self._asked[name] = asyncio.create_task(self._ask(name, then))
        return found

    async def _ask(self, name: str, then: Callable[[], None]) -> None:
        asked = self._config()
        found = await asyncio.to_thread(check, asked, name)
        del self._asked[name]
        if self._config() is asked:
            self._known[name] = found
        then()

    def forget(self, name: str | None = None) -> None:
        """Ask again the next time: this one, or all."""
        if name is None:
            self._known.clear()
        else:
            self._known.pop(name, None)

    async def close(self) -> None:
        """Let go of whoever is being asked."""
        for task in tuple(self._asked.values()):
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)
