"""The agent that does what a file says: for the demo, the tests, and users without a model.

It is a real process with the same tools as every other agent (`ve.agents.script_agent`), so what is shown
or tested with it goes the whole way.
"""

from __future__ import annotations

import platform
import sys
from typing import ClassVar

from ve.agents import lines
from ve.agents.base import Abilities, Event, Fitness, Job, Launch, Settings


class Script:
    """Adapter of the script agent."""

    name: ClassVar[str] = "script"
    title: ClassVar[str] = "The script agent"
    install: ClassVar[str] = ""
    abilities: ClassVar[Abilities] = Abilities(resume=False, own_tools=True, effect=False)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def check(self) -> Fitness:
        """It needs nothing but this Python."""
        return Fitness(ok=True, version=f"Python {platform.python_version()}", login="not needed")

    def launch(self, job: Job) -> Launch:
        """The process reads the job from the run's folder and the steps from the worktree."""
        command = self._settings.command or (sys.executable, "-I", "-m", "ve.agents.script_agent")
        return Launch(argv=(*command, *self._settings.args), env=dict(self._settings.env))

    def parse(self, line: bytes) -> tuple[Event, ...]:
        """The events of one line; unknown lines are none. What it spends is nothing, and known to be."""
        return lines.parse(line, unnamed="agent", estimated=False)
