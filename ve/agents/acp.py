"""Any agent that speaks the Agent Client Protocol, by its program: `opencode acp`, for example.

The protocol is spoken by a process of ours, `ve.agents.acp_client`, that starts the program, and says what
happens as the JSON lines of this file. Rule: the protocol's SDK is imported in that process only; it is an
extra, it takes half a second, and the daemon can do without.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import version
from typing import Any, ClassVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ve.agents.base import (
    TOOL_SERVER,
    UNREADABLE,
    Abilities,
    ErrorKind,
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
    tool_server,
)
from ve.agents.program import fitness, variables

START = "acp.json"
"""The file in the run's folder that says what `acp_client` starts."""


class Server(Struct, frozen=True):
    """The tool server for `session/new`."""

    name: str
    command: str
    args: tuple[str, ...]
    env: dict[str, str]


class Start(Struct, frozen=True):
    """What `acp_client` reads from START."""

    command: tuple[str, ...]
    model: str
    tools: Server


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of `acp_client`'s output; which fields count depends on `type`."""

    type: str
    """session, model, thought, tool, tool_result, permission, usage, limit or finished."""
    id: str = ""
    text: str = ""
    name: str = ""
    ok: bool = True
    message: str = ""
    kind: ErrorKind = ""
    input: int = 0
    output: int = 0
    cached: int = 0
    cost_usd: float = 0.0
    cumulative: bool = False
    until: str | None = None


_line = msgspec.json.Decoder(Line)


class Acp:
    """Adapter of whatever speaks ACP."""

    name: ClassVar[str] = "acp"
    title: ClassVar[str] = "The ACP agent"
    install: ClassVar[str] = "pip install 've-orch[acp]'"
    abilities: ClassVar[Abilities] = Abilities()

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def check(self) -> Fitness:
        """Whether SDK and program are there; the program is not started, that can take seconds."""
        if importlib.util.find_spec("acp") is None:
            return Fitness(
                ok=False,
                reason=f"the Python SDK of the Agent Client Protocol is not installed for {sys.executable}",
                hint=self.install,
            )
        found = fitness(self.name, self._settings.command, self._settings.env, "opencode acp")
        sdk = version("agent-client-protocol")
        return replace(found, version=f"{found.version}, SDK {sdk}") if found.ok else found

    def launch(self, job: Job) -> Launch:
        """The process of ours; what it starts stands in a file, where an operator can read it."""
        own = self._settings
        server = tool_server(job)
        start = Start(
            command=(*own.command, *own.args),
            model=own.model,
            tools=Server(TOOL_SERVER, server.command, server.args, server.env),
        )
        env, passes = variables(own.env)
        return Launch(
            argv=(sys.executable, "-I", "-m", "ve.agents.acp_client"),
            env=env,
            files={START: msgspec.json.format(msgspec.json.encode(start)).decode() + "\n"},
            passes=passes,
        )

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
        "thought": lambda: ModelEvent(said.text),
        "tool": lambda: ToolCall(said.id, said.name, said.text),
        "tool_result": lambda: ToolResult(said.id, said.ok, said.text),
        "usage": lambda: UsageEvent(
            tokens_in=said.input,
            tokens_out=said.output,
            tokens_cached=said.cached,
            cost_usd=said.cost_usd,
            cumulative=said.cumulative,
        ),
        "limit": lambda: LimitReached(said.until, said.message),
        "finished": lambda: Finished(said.ok, said.message, said.kind),
    }
    make = table.get(said.type)
    event: Event | None = make() if make is not None else None
    return event
