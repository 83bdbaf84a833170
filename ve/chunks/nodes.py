"""What the head of a document is read into: texts, lists and mappings, each with its place.

Rule: a value is its text as written; nothing is guessed from it. Offsets count characters of the
document. A block's end is the end of its last item, so comments after it do not belong to it.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

NULLS = frozenset(("", "~", "null", "Null", "NULL"))


class Scalar(NamedTuple):
    """A text; `quoted` also when a tag or a block form says that it is one."""

    text: str
    start: int
    end: int
    quoted: bool

    @property
    def is_null(self) -> bool:
        """Whether nothing is said: no value, `~` or `null`."""
        return not self.quoted and self.text in NULLS


class Sequence(NamedTuple):
    """A list; `flow` when it is written in brackets."""

    items: tuple[Node, ...]
    start: int
    end: int
    flow: bool


class Mapping(NamedTuple):
    """Names and values in the order written; a name can be there twice."""

    entries: tuple[tuple[Scalar, Node], ...]
    start: int
    end: int


Node: TypeAlias = Scalar | Sequence | Mapping
Entries: TypeAlias = list[tuple[Scalar, Node]]


def same(first: Node, second: Node) -> bool:
    """Whether two nodes say the same; a part that aliases repeat is compared once."""
    seen: set[tuple[int, int]] = set()
    pending: list[tuple[Node, Node]] = [(first, second)]
    while pending:
        a, b = pending.pop()
        if (id(a), id(b)) in seen:
            continue
        seen.add((id(a), id(b)))
        if isinstance(a, Scalar) and isinstance(b, Scalar):
            if a.text != b.text or a.is_null != b.is_null:
                return False
        elif isinstance(a, Sequence) and isinstance(b, Sequence) and len(a.items) == len(b.items):
            pending += zip(a.items, b.items, strict=True)
        elif isinstance(a, Mapping) and isinstance(b, Mapping):
            if [key.text for key, _ in a.entries] != [key.text for key, _ in b.entries]:
                return False
            pending += zip((value for _, value in a.entries), (value for _, value in b.entries), strict=True)
        else:
            return False
    return True
