"""What HTTP requests carry and what they are answered with; a verb's body is made from the verb's fields."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from ve.attention import ClosedLane, Group
from ve.commands import Verb
from ve.documents import LeftOut
from ve.operations import NOT_FROM_BODY, Setting
from ve.views import UnitView


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of all bodies."""


class InjectBody(Body, kw_only=True):
    """Chunks to queue, all or none."""

    chunks: list[str]
    priority: int = 0
    depends_on: list[str] | None = None
    all_future: bool = False


class ApprovalBody(Body, kw_only=True):
    """What was read, by its hash."""

    hash: str


class QueryBody(Body, kw_only=True):
    """One SELECT."""

    sql: str


class ConfigBody(Body, kw_only=True):
    """One configuration key, its value as text."""

    key: str
    value: str


class StopBody(Body, kw_only=True):
    """How to come to rest."""

    mode: Literal["drain", "detach", "kill"] = "drain"


class CursorAnswer(Struct, kw_only=True):
    """Where in the one order the request took effect."""

    cursor: str


class UnitAnswer(CursorAnswer, kw_only=True):
    """The unit after a verb."""

    unit: UnitView


class UnitsAnswer(CursorAnswer, kw_only=True):
    """Several units, as they are at the cursor."""

    units: tuple[UnitView, ...]


class InjectAnswer(UnitsAnswer, kw_only=True):
    """The units that were queued, and the FUTURE chunks that were not."""

    left_out: tuple[LeftOut, ...] = ()


class AttentionAnswer(CursorAnswer, kw_only=True):
    """What needs a person, by cause, and which backends take nothing; as it is at the cursor."""

    groups: tuple[Group, ...]
    lanes: tuple[ClosedLane, ...]


class Settings(Struct, kw_only=True):
    """The configuration, key by key."""

    settings: list[Setting]


class Login(Struct, kw_only=True):
    """A one-time address of the board."""

    url: str


class Stopping(Struct, kw_only=True):
    """The stop was accepted; GET /status shows what it waits for."""

    mode: str
    running: int


class Sent(Struct, frozen=True, kw_only=True):
    """Who sent a request, and how it is told from its repetitions."""

    actor: str
    key: str | None = None
    key_hash: str | None = None


def verb_body(kind: type[Verb]) -> type[Struct]:
    """A verb's fields but those that are found out here; a commit and a hash may be found out as well."""
    fields: list[Any] = []
    for field in msgspec.structs.fields(kind):
        if field.name in NOT_FROM_BODY:
            continue
        if field.name in ("commit", "hash"):
            fields.append((field.name, field.type | None, None))
        elif field.required:
            fields.append((field.name, field.type))
        else:
            fields.append((field.name, field.type, field.default))
    return msgspec.defstruct(f"{kind.__name__}Body", fields, bases=(Body,), kw_only=True)
