"""Narratives, investigations, subsystems, the friction log: created, brought from one status to the next.

Rule: as in `lifecycle`: what is returned are edits, `write` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ve.chunks import edit, links, order, templates
from ve.chunks.kinds import Investigation, Kind, Narrative, Subsystem
from ve.chunks.lifecycle import FRICTION, TEMPLATES, Plan, refuse_names, statuses, text_of, value_of
from ve.chunks.tree import Documents
from ve.chunks.writing import Edit
from ve.errors import InvalidInput, RefusedError

ONWARD: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "narrative": {
        "DRAFTING": ("ACTIVE", "COMPLETED"),
        "ACTIVE": ("COMPLETED", "DRAFTING"),
        "COMPLETED": ("ACTIVE",),
    },
    "investigation": {
        "ONGOING": ("SOLVED", "NOTED", "DEFERRED"),
        "DEFERRED": ("ONGOING", "SOLVED", "NOTED"),
        "NOTED": ("ONGOING",),
        "SOLVED": ("ONGOING",),
    },
    "subsystem": {
        "DISCOVERING": ("DOCUMENTED", "DEPRECATED"),
        "DOCUMENTED": ("REFACTORING", "STABLE", "DEPRECATED"),
        "REFACTORING": ("STABLE", "DOCUMENTED", "DEPRECATED"),
        "STABLE": ("REFACTORING", "DOCUMENTED", "DEPRECATED"),
        "DEPRECATED": (),
    },
}
"""Where a status leads, for the kinds whose statuses people set."""


def create_other(documents: Documents, kind: Kind, names: Sequence[str]) -> list[Edit]:
    """New narratives, investigations or subsystems. Raises as `create`."""
    refuse_names(documents, kind, names)
    tips = list(order.tips(statuses(documents)))
    plan = Plan(documents)
    for name in names:
        path = kind.path(name)
        plan.make(path, edit.set_field(TEMPLATES[kind.name].encode(), "created_after", tips, path))
    return plan.edits


def set_other_status(documents: Documents, kind: Kind, name: str, status: str) -> list[Edit]:
    """Another status, where the table `ONWARD` leads there. Raises RefusedError, InvalidInput."""
    value = value_of(documents, kind, name, kind.type)
    assert isinstance(value, Narrative | Investigation | Subsystem)
    old, new = value.status, status.upper()
    onward = ONWARD[kind.name]
    if new not in onward:
        raise InvalidInput(f"{status} is no status of a {kind.name}", hint=f"There are: {', '.join(onward)}")
    if new != old and new not in onward[old]:
        raise RefusedError(
            f"this {kind.name} is {old} and cannot become {new}", where=kind.path(name),
            hint=f"From {old} it can become: {', '.join(onward[old]) or 'nothing else, this is final'}",
            legal=onward[old],
        )  # fmt: skip
    plan = Plan(documents)
    plan.change(kind, name, lambda text, where: edit.set_field(text, "status", new, where))
    return plan.edits


def add_friction(documents: Documents, title: str, theme: str | None, words: str) -> tuple[list[Edit], str]:
    """A new entry of the friction log, which is made where there is none; the edits and the entry's id."""
    title = " ".join(title.split())
    if not title:
        raise InvalidInput("an entry needs a title", errors=(("title", "a sentence"),))
    path = FRICTION.path()
    there = documents.root / path
    before = text_of(documents, FRICTION, "") if there.exists() else None
    text = before if before is not None else templates.FRICTION.encode()
    after, name = links.add_friction(text, title, theme, words)
    return [Edit(path, before, after)], name
