"""The lines of our own agent processes: `script_agent` and `acp_client` say them, their adapters read them.

Rule: what is said here is typed already, so an adapter only adds what its agent never says of itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from ve.agents.base import (
    UNREADABLE,
    ErrorKind,
    Event,
    Finished,
    LimitReached,
    ModelEvent,
    SessionStarted,
    ToolCall,
    ToolResult,
    UsageEvent,
)


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line; which fields count depends on `type`."""

    type: str
    """session, model, text, thought, tool, tool_result, permission, usage, limit or finished."""
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


def say(**fields: Any) -> None:
    """Print one line."""
    sys.stdout.buffer.write(msgspec.json.encode(Line(**fields)) + b"\n")
    sys.stdout.buffer.flush()


def parse(line: bytes, *, unnamed: ErrorKind = "", estimated: bool = True) -> tuple[Event, ...]:
    """The events of one line; unknown lines are none.

    `unnamed` is the class of a failure whose line names none, `estimated` goes into every usage.
    """
    try:
        said = _line.decode(line)
    except UNREADABLE:
        return ()
    table: dict[str, Callable[[], Event]] = {
        "session": lambda: SessionStarted(said.id),
        "model": lambda: ModelEvent(said.text),
        "text": lambda: ModelEvent(said.text),
        "thought": lambda: ModelEvent(said.text),
        "tool": lambda: ToolCall(said.id, said.name, said.text),
        "tool_result": lambda: ToolResult(said.id, said.ok, said.text),
        "usage": lambda: UsageEvent(
            tokens_in=said.input,
            tokens_out=said.output,
            tokens_cached=said.cached,
            cost_usd=said.cost_usd,
            estimated=estimated,
            cumulative=said.cumulative,
        ),
        "limit": lambda: LimitReached(said.until, said.message),
        "finished": lambda: Finished(said.ok, said.message, said.kind or ("" if said.ok else unnamed)),
    }
    make = table.get(said.type)
    return () if make is None else (make(),)
