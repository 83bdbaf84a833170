"""The agent that does what a file says: for the demo, the tests, and users without a model.

It is a real process with the same tools as every other agent (`ve.agents.script_agent`), so what is shown
or tested with it goes the whole way.
"""

from __future__ import annotations

import platform
import sys
from typing import Any, ClassVar

import msgspec

from ve.agents.base import (
    UNREADABLE,
    Abilities,
    Event,
    Finished,
    Fitness,
    Job,
    Launch,
    LimitReached,
    ModelEvent,
    SessionStarted,
    Settings,
    ToolCall,
    ToolResult,
    UsageEvent,
)


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the script agent's output; which fields count depends on `type`."""

    type: str
    id: str = ""
    text: str = ""
    name: str = ""
    ok: bool = True
    message: str = ""
    input: int = 0
    output: int = 0
    cost_usd: float = 0.0
    until: str | None = None


_line = msgspec.json.Decoder(Line)


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
        """The events of one line; unknown lines are none."""
        try:
            said = _line.decode(line)
        except UNREADABLE:
            return ()
        return tuple(event for event in (_event(said),) if event is not None)


def _event(said: Line) -> Event | None:
    table: dict[str, Any] = {
        "session": lambda: SessionStarted(said.id),
        "model": lambda: ModelEvent(said.text),
        "text": lambda: ModelEvent(said.text),
        "tool": lambda: ToolCall(said.id, said.name, said.text),
        "tool_result": lambda: ToolResult(said.id, said.ok, said.text),
        "usage": lambda: UsageEvent(
            tokens_in=said.input, tokens_out=said.output, cost_usd=said.cost_usd, estimated=False
        ),
        "limit": lambda: LimitReached(said.until, said.message),
        "finished": lambda: Finished(said.ok, said.message, "" if said.ok else "agent"),
    }
    make = table.get(said.type)
    event: Event | None = make() if make is not None else None
    return event
