"""Who else refers to the same code: the same symbol, one inside it or around it, the whole file."""

from __future__ import annotations

import posixpath
from typing import Final, Literal, NamedTuple

from ve.chunks.checks import entries, scalars
from ve.chunks.tree import Documents
from ve.errors import InvalidInput

How = Literal["same symbol", "inside it", "around it", "whole file"]
ORDER: Final[tuple[How, ...]] = ("same symbol", "inside it", "around it", "whole file")


class Place(NamedTuple):
    """A place in the code that a chunk is about."""

    repo: str
    path: str
    symbol: tuple[str, ...]

    def __str__(self) -> str:
        symbol = f"#{'::'.join(self.symbol)}" if self.symbol else ""
        return f"{self.repo}::{self.path}{symbol}" if self.repo else f"{self.path}{symbol}"


class Overlap(NamedTuple):
    """Another chunk, and how its place (`theirs`) lies to `mine`."""

    chunk: str
    status: str
    how: How
    mine: Place
    theirs: Place


def places(documents: Documents, name: str) -> tuple[Place, ...]:
    """What a chunk's references name; without any, the files that its plan names."""
    from ve.chunks.references import parse_reference

    head = documents.read("chunk", name).head
    found = []
    for _, node in entries(head, "code_references", "ref"):
        try:
            parsed = parse_reference(node.text)
        except InvalidInput:
            continue  # validation explains it
        found.append(Place(parsed.repo, posixpath.normpath(parsed.path), tuple(parsed.symbol)))
    if not found:
        found = [Place("", posixpath.normpath(node.text), ()) for node in scalars(head, "code_paths")]
    return tuple(dict.fromkeys(found))


def overlaps(documents: Documents, name: str) -> list[Overlap]:
    """The other chunks' places that touch those of `name`, the closest first."""
    mine: dict[tuple[str, str], list[Place]] = {}
    for place in places(documents, name):
        mine.setdefault((place.repo, place.path), []).append(place)
    status = {other: word for other, (word, _) in documents.order().items()}
    found = [
        Overlap(other, status[other], how, here, there)
        for other in documents.names("chunk")
        if other != name
        for there in places(documents, other)
        for here in mine.get((there.repo, there.path), ())
        if (how := _how(here.symbol, there.symbol)) is not None
    ]
    return sorted(found, key=lambda one: (ORDER.index(one.how), one.mine, one.chunk, one.theirs))


def _how(mine: tuple[str, ...], theirs: tuple[str, ...]) -> How | None:
    if not mine or not theirs:
        return "whole file"
    if mine == theirs:
        return "same symbol"
    if theirs[: len(mine)] == mine:
        return "inside it"
    return "around it" if mine[: len(theirs)] == theirs else None
