"""Any agent that speaks the Agent Client Protocol, by its program: `opencode acp`, for example.

The protocol is spoken by a process of ours, `ve.agents.acp_client`, that starts the program, and says what
happens as the lines of `ve.agents.lines`. Rule: the protocol's SDK is imported in that process only; it is an
extra, it takes half a second, and the daemon can do without.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import version
from typing import ClassVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ve.agents import lines
from ve.agents.base import (
    TOOL_SERVER,
    Abilities,
    Event,
    Fitness,
    Job,
    Launch,
    Settings,
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
        return lines.parse(line)
