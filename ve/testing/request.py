"""A request to a model as a typed value, the same whichever API it came over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from ve.testing.turns import Use

ApiName: TypeAlias = Literal["messages", "responses", "chat"]


class Tool(Struct, frozen=True):
    """A tool that the client offers."""

    name: str
    schema: dict[str, Any] = {}
    """JSON schema of its input."""
    namespace: str = ""
    """Set where the client groups tools (Responses only)."""
    kind: str = "function"
    """"function"; in Responses also "custom", "local_shell" or a tool that the backend itself runs."""


class Said(Struct, frozen=True):
    """Text of a user, the model, or the client's instructions."""

    role: Literal["system", "user", "assistant"]
    text: str


class Called(Struct, frozen=True):
    """The model called a tool."""

    id: str
    name: str
    input: Any


class Returned(Struct, frozen=True):
    """What the tool gave back. `failed` only where the API has a field for it (Messages)."""

    id: str
    text: str
    failed: bool = False


Item: TypeAlias = Said | Called | Returned


class Request(Struct, frozen=True):
    """What the client asks of the model."""

    api: ApiName
    model: str = ""
    stream: bool = False
    tools: tuple[Tool, ...] = ()
    items: tuple[Item, ...] = ()
    """The conversation, oldest first."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """The user's texts, oldest first."""
        return tuple(item.text for item in self.items if isinstance(item, Said) and item.role == "user")

    def tool(self, name: str, namespace: str = "") -> Tool | None:
        """The offered tool of that name, or the only one whose name ends so behind a client's prefix."""
        for tool in self.tools:
            if tool.name == name and tool.namespace == namespace:
                return tool
        near = [tool for tool in self.tools if tool.name == name or tool.name.endswith(f"_{name}")]
        return near[0] if len(near) == 1 else None

    def resolve(self, use: Use) -> tuple[Use, Tool]:
        """The call as this client names it; a tool that is not offered is called as it was written."""
        tool = self.tool(use.name, use.namespace)
        if tool is None:
            return use, Tool(use.name, namespace=use.namespace)
        return Use(tool.name, use.input, use.id, tool.namespace), tool


def text_of(content: Any) -> str:
    """The text of a content field: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    return "\n".join(_texts(content))


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            yield from _texts(part)
    elif isinstance(content, dict):
        for key in ("text", "content", "output"):
            if key in content:
                yield from _texts(content[key])
                return


def role_of(name: Any) -> Literal["system", "user", "assistant"]:
    """The role as we name it; what is neither user nor assistant instructs."""
    if name == "user":
        return "user"
    return "assistant" if name == "assistant" else "system"


def pieces(text: str, count: int = 3) -> list[str]:
    """A text in a few parts, as a stream sends it."""
    size = max(1, -(-len(text) // count))
    return [text[start : start + size] for start in range(0, len(text), size)]
