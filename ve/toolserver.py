"""Tools for a client that speaks MCP, over stdio: the protocol, for whoever has tools to offer.

JSON-RPC 2.0, a message a line, answered in the order of the requests. The official SDK takes 0.6 s and 65 MB
to import, this next to nothing; the SDK's client judges it in the tests.

Rule: only the protocol is here. A bad line is answered and never ends the server; what a tool refuses is a
tool error, which the model reads, and no protocol error, which only the client sees.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import msgspec
from msgspec import Struct

PROTOCOLS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")


class ToolError(Exception):
    """The call was refused and changed nothing; the text tells the model why and what to do."""


Reply = str | tuple[str, ...]
"""The reply's text, or its several parts."""


class Tool(NamedTuple):
    """A tool as the client sees it, and its handler, which returns the reply or raises ToolError."""

    description: str
    arguments: type[Struct]
    call: Callable[[Any], Reply]
    schema: Mapping[str, Any]
    annotations: Mapping[str, Any] | None = None


class Request(Struct):
    """A JSON-RPC message of the client."""

    method: str = ""
    id: int | str | msgspec.UnsetType | None = msgspec.UNSET
    params: dict[str, Any] = {}


class Server:
    """Answers for a table of tools; what else happens around a call, a subclass adds."""

    def __init__(self, tools: Mapping[str, Tool], *, version: str = "1", instructions: str = "") -> None:
        self.tools = tools
        self.version = version
        self.instructions = instructions

    def listed(self) -> None:
        """The client asked which tools there are."""

    def called(self) -> None:
        """A call was not refused."""

    def replied(self) -> None:
        """A reply is written."""

    def answered(self) -> None:
        """A line is dealt with, and its reply, if there is one, written."""

    def unknown(self, name: str) -> str:
        """What is said of a tool that is not there."""
        return f"{name}: no such tool; there are {', '.join(self.tools)}"

    def serve(self, source: BinaryIO | None = None, sink: BinaryIO | None = None) -> None:
        """Until stdin ends."""
        source, sink = source or sys.stdin.buffer, sink or sys.stdout.buffer
        while line := source.readline():
            if not line.strip():
                continue
            reply = self.line(line)
            if reply is not None:
                sink.write(msgspec.json.encode(reply) + b"\n")
                sink.flush()
                self.replied()
            self.answered()

    def line(self, line: bytes) -> Any:
        """The reply to one line: a message, or a batch of them (2025-03-26)."""
        try:
            message = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            return _error(None, -32700, f"not JSON: {error}")
        if isinstance(message, list) and message:
            return [reply for reply in map(self.message, message) if reply is not None] or None
        return self.message(message)

    def message(self, message: Any) -> dict[str, Any] | None:
        """The reply to one message; None for a notification or a response."""
        try:
            request = msgspec.convert(message, Request)
        except msgspec.ValidationError as error:
            return _error(None, -32600, str(error))
        if request.id is msgspec.UNSET or not request.method:
            return None
        if request.method == "initialize":
            result = self.initialize(request.params)
        elif request.method == "ping":
            result = {}
        elif request.method == "tools/list":
            result = self.list()
        elif request.method == "tools/call":
            result = self.call(request.params)
        else:
            return _error(request.id, -32601, f"no such method: {request.method}")
        return {"jsonrpc": "2.0", "id": request.id, "result": result}

    def initialize(self, params: dict[str, Any]) -> dict[str, Any]:
        """The handshake: the client's version where we know it."""
        asked = params.get("protocolVersion")
        said: dict[str, Any] = {
            "protocolVersion": asked if asked in PROTOCOLS else PROTOCOLS[-1],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "ve", "version": self.version},
        }
        return said | ({"instructions": self.instructions} if self.instructions else {})

    def list(self) -> dict[str, Any]:
        """The tools."""
        self.listed()
        return {
            "tools": [
                {"name": name, "description": tool.description, "inputSchema": tool.schema}
                | ({"annotations": tool.annotations} if tool.annotations else {})
                for name, tool in self.tools.items()
            ]
        }

    def call(self, params: dict[str, Any]) -> dict[str, Any]:
        """One call and its reply, refused or not."""
        try:
            reply = self._call(str(params.get("name")), params.get("arguments") or {})
        except ToolError as error:
            return {"content": [{"type": "text", "text": f"error: {error}"}], "isError": True}
        self.called()
        parts = (reply,) if isinstance(reply, str) else reply
        return {"content": [{"type": "text", "text": part} for part in parts], "isError": False}

    def _call(self, name: str, arguments: Any) -> Reply:
        tool = self.tools.get(name)
        if tool is None:
            raise ToolError(self.unknown(name))
        try:
            given = msgspec.convert(arguments, tool.arguments)
        except msgspec.ValidationError as error:
            raise ToolError(f"{name}: {_field(error)}") from error
        return tool.call(given)


def _error(id: object, code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}


def _field(error: msgspec.ValidationError) -> str:
    """msgspec's message with the field first: "`issues[0].place`: Expected `str`, got `int`"."""
    what, _, place = str(error).partition(" - at `$.")
    return f"`{place.rstrip('`')}`: {what}" if place else what


def object_schema(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """A schema without references, which some clients do not follow."""
    return {
        "type": "object",
        "properties": properties,
        "required": [*required],
        "additionalProperties": False,
    }
