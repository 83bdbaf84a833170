"""What the orchestrator needs of a GOAL.md's head, and the one way in which a status changes.

Rule: only the fields in `VALIDATED` can make a document unreadable here; any other mistake is a
sentence among the warnings. A status changes through `set_status` and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn, TypeVar, get_args

from msgspec import Struct

from ve.chunks.edit import set_field, stands_plainly
from ve.chunks.head import parse, split
from ve.chunks.kinds import KINDS, BugType, Chunk
from ve.chunks.kinds import ChunkStatus as Status
from ve.chunks.problems import Problem
from ve.chunks.typed import read as read_typed
from ve.errors import DocumentError, RefusedError

__all__ = [
    "BUG_TYPES",
    "FIELDS",
    "STATUSES",
    "TERMINAL",
    "TRANSITIONS",
    "VALIDATED",
    "BugType",
    "Frontmatter",
    "Status",
    "read",
    "reopen",
    "set_status",
    "split",
    "without_status",
]

STATUSES: tuple[str, ...] = get_args(Status)
BUG_TYPES: tuple[str, ...] = get_args(BugType)

TRANSITIONS: Mapping[str, tuple[str, ...]] = {
    "FUTURE": ("IMPLEMENTING", "HISTORICAL"),
    "IMPLEMENTING": ("ACTIVE", "HISTORICAL", "FUTURE"),
    "ACTIVE": ("SUPERSEDED", "HISTORICAL"),
    "SUPERSEDED": ("HISTORICAL",),
    "HISTORICAL": (),
    "COMPOSITE": (),  # met in later files; nothing is known of where it leads
}
TERMINAL = tuple(status for status, onward in TRANSITIONS.items() if not onward)

FIELDS = tuple(field.name for field in KINDS["chunk"].fields)
VALIDATED = ("status", "depends_on", "created_after", "bug_type")
Text = TypeVar("Text", str, bytes)


class Frontmatter(Struct, frozen=True, kw_only=True):
    """What the orchestrator needs of a GOAL.md's head."""

    status: Status
    depends_on: tuple[str, ...] | None = None
    """None: not said, so dependencies are unknown. Empty: said to be independent."""
    created_after: tuple[str, ...] = ()
    bug_type: BugType | None = None
    code_paths: tuple[str, ...] = ()
    """Files that the plan expects to touch, as far as they can be read."""
    background: bool = False
    """Whether a person has to approve it before it can be queued."""
    warnings: tuple[str, ...] = ()
    """Sentences about what was passed over: unknown keys, fields that are not YAML."""


def read(text: str | bytes, where: str = "GOAL.md") -> Frontmatter:
    """The frontmatter of a document; raises `DocumentError` with `where:line:column`."""
    _, chunk, problems = read_typed(text, where, KINDS["chunk"])
    for problem in problems:
        field = _field(problem)
        if problem.level == "error" and (field in VALIDATED or (chunk is None and not field)):
            _refuse(problem)
    assert isinstance(chunk, Chunk), "a chunk without a value has a problem that says why"
    return Frontmatter(
        status=chunk.status,
        depends_on=chunk.depends_on,
        created_after=chunk.created_after,
        bug_type=chunk.bug_type,
        code_paths=chunk.code_paths,
        background=chunk.background,
        warnings=tuple(f"line {problem.line}: {problem.message}" for problem in problems),
    )


def set_status(text: Text, new: str, where: str = "GOAL.md") -> Text:
    """The document with its status changed to `new`: one line differs, in its value alone.

    The same status again is no change. Raises `RefusedError` if the change is not one of
    `TRANSITIONS`, `DocumentError` if the document cannot be read or its status stands in a form
    that cannot be changed in place.
    """
    old = read(text, where).status
    if new == old:
        return text
    if new not in TRANSITIONS[old]:
        legal = TRANSITIONS[old]
        raise RefusedError(
            f"a chunk that is {old} cannot become {new}",
            where=where,
            hint=f"From {old} it can become: {', '.join(legal) or 'nothing else, this is final'}",
            legal=legal,
        )
    return _with_status(text, new, where)


def reopen(text: Text, where: str = "GOAL.md") -> Text:
    """Undo the final status that landing wrote, for a unit that goes back to work: IMPLEMENTING again.

    A document with any other status stays as it is. Raises `DocumentError` as `set_status` does.
    """
    if read(text, where).status not in ("ACTIVE", "HISTORICAL"):
        return text
    return _with_status(text, "IMPLEMENTING", where)


def without_status(text: bytes, where: str = "GOAL.md") -> bytes:
    """The document as if it said FUTURE, so that what a person approved does not depend on its status."""
    try:
        return _with_status(text, "FUTURE", where)
    except DocumentError:
        return text


def _with_status(text: Text, new: str, where: str) -> Text:
    head = parse(text, where)
    if "status" in head.fields and not stands_plainly(head, "status"):
        _refuse(
            head.problem(
                "wrong-value", "`status` is written in a form that cannot be changed in place",
                head.fields["status"].value, hint="Write it plainly on one line, as: status: FUTURE",
            )
        )  # fmt: skip
    return set_field(text, "status", new, where, kind=KINDS["chunk"])


def _refuse(problem: Problem) -> NoReturn:
    raise DocumentError(problem.message, where=problem.where, hint=problem.hint)


def _field(problem: Problem) -> str:
    return re.split(r"[.\[]", problem.field, maxsplit=1)[0]
