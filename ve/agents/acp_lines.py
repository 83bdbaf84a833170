"""What an ACP agent says, as the lines of `ve.agents.lines`. Part of `ve.agents.acp_client`'s process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from acp import schema

from ve.agents.lines import say

SHOWN = 4000  # characters of a tool's output in one line
TELLING = ("command", "question", "filepath", "path", "pattern", "query", "url")
"""Fields of a tool's input that tell a person most, the best first; small letters, no `_`."""


def fields(raw_input: object) -> dict[str, object]:
    """A tool's input by the names of its fields: `file_path`, `filePath` and `filepath` are one."""
    named = raw_input if isinstance(raw_input, dict) else {}
    return {str(name).lower().replace("_", ""): value for name, value in named.items()}


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


class Teller:
    """Says the agent's updates as lines, once `live` is set. Text comes in pieces, and is said in lines."""

    def __init__(self) -> None:
        self.live = False
        self.cost: float | None = None
        self.refused = ""
        """The permission that was refused, as long as the agent has done nothing since."""
        self._spoke = False
        self._kind = ""
        self._text = ""
        self._calls: dict[str, _Call] = {}

    def update(self, update: Any) -> None:
        """One `session/update`."""
        if not self.live:
            return
        if isinstance(update, schema.AgentMessageChunk | schema.AgentThoughtChunk):
            self._chunk(
                "model" if isinstance(update, schema.AgentMessageChunk) else "thought", update.content
            )
            return
        if isinstance(update, schema.UsageUpdate):
            if update.cost is not None and update.cost.currency == "USD":
                self.cost = update.cost.amount
            return
        if isinstance(update, schema.ToolCallStart | schema.ToolCallProgress):
            self._first()
            self.flush()
            self._tool(update)

    def _first(self) -> None:
        """At once: it proves that the prompt has arrived."""
        if not self._spoke:
            self._spoke = True
            say(type="model")

    def _chunk(self, kind: str, content: object) -> None:
        text = content.text if isinstance(content, schema.TextContentBlock) else ""
        if not text:
            return
        self._first()
        self.refused = ""
        if kind != self._kind:
            self.flush()
        self._kind = kind
        whole, newline, self._text = (self._text + text).rpartition("\n")
        if newline and whole.strip():
            say(type=kind, text=whole)

    def flush(self) -> None:
        """Say what is left of a text."""
        if self._text.strip():
            say(type=self._kind, text=self._text)
        self._text = ""

    def _tool(self, update: schema.ToolCallStart | schema.ToolCallProgress) -> None:
        """A call is told once its input is known, its end once."""
        if isinstance(update, schema.ToolCallStart):
            self.refused = ""
        call = self._calls.setdefault(update.tool_call_id, _Call(update.title or "tool"))
        telling, call.summary = summary(update.raw_input, call.summary)
        ended = update.status in ("completed", "failed")
        if not call.told and (telling or ended or update.status == "in_progress"):
            call.told = True
            say(type="tool", id=update.tool_call_id, name=call.title, text=call.summary)
        if ended and not call.ended:
            call.ended = True
            ok = update.status == "completed"
            say(type="tool_result", id=update.tool_call_id, ok=ok, text=_content(update))


class _Call:
    """What was told of a tool call."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.summary = ""
        self.told = False
        self.ended = False


def summary(raw_input: object, before: str = "") -> tuple[bool, str]:
    """One line for a person, and whether it tells what the call is about."""
    known = fields(raw_input)
    for name in TELLING:
        if text := " ".join(texts(known.get(name))).strip():
            return True, text[:SHOWN]
    return False, (" ".join(texts(raw_input)).strip() or before)[:SHOWN]


def _content(update: schema.ToolCallStart | schema.ToolCallProgress) -> str:
    blocks = (
        part.content for part in update.content or () if isinstance(part, schema.ContentToolCallContent)
    )
    text = "\n".join(block.text for block in blocks if isinstance(block, schema.TextContentBlock))
    return text.strip()[:SHOWN]
