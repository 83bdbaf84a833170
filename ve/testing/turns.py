"""What a scripted model says: a turn, or a refusal. In words of no API; each API puts them into its own.

The same structs are the file of `python -m ve.testing --script`: a list of objects with these fields, where
an object with `status` is a refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct


class Usage(Struct, frozen=True, forbid_unknown_fields=True):
    """Tokens of one turn."""

    input: int = 100
    """All that was read, with `cached`."""
    output: int = 7
    """All that was written, with `reasoning`."""
    cached: int = 40
    reasoning: int = 0


class Use(Struct, frozen=True, forbid_unknown_fields=True):
    """The model calls a tool.

    Clients put a prefix before the tools of a server: where `name` is not offered but exactly one tool ends
    with `_name`, or is `name` in a namespace, that one is called. So "AskOperator" fits every client.
    """

    name: str
    input: dict[str, Any] = {}
    id: str = ""
    """Empty: a new one."""
    namespace: str = ""


class Turn(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One reply of the model: text, tool calls, or both."""

    text: str = ""
    uses: Sequence[Use] = ()
    stop: str = ""
    """Why the model stopped: "end", "tools", "length" or "refusal"; empty: as the content says."""
    usage: Usage = Usage()
    cut: bool = False
    """The connection ends after half of the reply."""
    stall_s: float = 0.0
    """Silence before the reply; with `cut`, between its half and the end. Ends when the server closes."""
    headers: dict[str, str] = {}
    """Further headers of the response."""
    stream_error: str = ""
    """The stream begins well (status 200), and then says this kind of error, such as "overloaded_error"."""


class Refusal(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The API answers with an error."""

    status: int
    message: str = "refused by the script"
    kind: str = ""
    """The API's class of error; empty: the usual one for the status. Also the `code` of OpenAI's errors."""
    headers: dict[str, str] = {}
    body: dict[str, Any] | None = None
    """In place of the API's usual body."""
    resets_in_s: float = 0.0
    """When the limit ends, in each API's own way (headers, and fields of the body); 0: it does not say."""
    stall_s: float = 0.0
    """Silence before it, as for a turn."""


def usage_limit(resets_in_s: float, message: str = "usage limit reached") -> Refusal:
    """The refusal with which a backend says that the account's limit is used up until then."""
    return Refusal(429, message, "usage_limit_reached", resets_in_s=resets_in_s)


def decode(text: bytes) -> list[Turn | Refusal]:
    """The turns of a script file. Raises msgspec.ValidationError that names entry and field."""
    turns: list[Turn | Refusal] = []
    for number, entry in enumerate(msgspec.json.decode(text, type=list[dict[str, Any]]), 1):
        kind: type[Turn] | type[Refusal] = Refusal if "status" in entry else Turn
        try:
            turns.append(msgspec.convert(entry, kind))
        except msgspec.ValidationError as error:
            raise msgspec.ValidationError(f"entry {number}: {error}") from error
    if not turns:
        raise msgspec.ValidationError("the list is empty: what shall the model say?")
    return turns
