"""What one document says of another, kept true on both sides: texts in, texts out, nothing is read here.

    a chunk names               and the other side says
    ──────────────────────────  ───────────────────────────────────────────────────────────────
    narrative, investigation    an entry of its list with `chunk_directory: <the chunk>`
    subsystems (implements)     an entry of `chunks` with `chunk_id: <the chunk>`
    friction_entries            a line under the entry: `**Resolved by**: <the chunk>` for scope
                                full, `**Partly resolved by**: <the chunk>` for scope partial

Rule: saying it twice changes nothing, so what was interrupted can be repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from ve.chunks.edit import append_item, set_in_item
from ve.chunks.head import Head, parse
from ve.chunks.nodes import Mapping, Node, Scalar
from ve.chunks.nodes import Sequence as ListNode
from ve.errors import DocumentError, InvalidInput

LISTS = ("proposed_chunks", "chunks")
"""What narratives call their list, today's name first."""
RESOLVED, PARTLY = "**Resolved by**:", "**Partly resolved by**:"
_ENTRY = re.compile(r" {0,3}###[ \t]+(F\d+)\b[ \t]*:?[ \t]*(.*?)[ \t]*$")
_HEADING = re.compile(r" {0,3}#{1,3}[ \t]")
_FENCE = re.compile(r" {0,3}(?:`{3,}|~{3,})")
_NUMBERED = re.compile(r"\d{4}-(?=.)")


# ── Narratives and investigations ──────────────────────────────────────────────────────────────────


def take_up(text: bytes, path: str, chunk: str, *, entry: int | None = None, prompt: str = "") -> bytes:
    """The document with `chunk` in its list.

    Where it stands there already nothing changes. Else it is given to entry number `entry` (1 is the
    first), or to the free entry whose prompt names it, or a new entry is added. Raises DocumentError if
    the list cannot be changed in place, InvalidInput if there is no such entry or it is another's.
    """
    head = parse(text, path)
    name = list_name(head)
    items = _items(head, name)
    taken = [_text(item, "chunk_directory") for item in items]
    if chunk in taken and (entry is None or taken[entry - 1 : entry] == [chunk]):
        return text
    if entry is not None:
        if not 1 <= entry <= len(items):
            raise InvalidInput(f"there is no entry {entry} in `{name}`; there are {len(items)}", where=path)
        if taken[entry - 1]:
            raise InvalidInput(f"entry {entry} of `{name}` is {taken[entry - 1]} already", where=path)
        return set_in_item(text, name, entry - 1, "chunk_directory", chunk, path)
    for number, item in enumerate(items):
        if not taken[number] and _names(_text(item, "prompt") or "", chunk):
            return set_in_item(text, name, number, "chunk_directory", chunk, path)
    added = {"prompt": prompt or chunk.replace("_", " ").replace("-", " "), "chunk_directory": chunk}
    return append_item(text, name, added, path)


def list_name(head: Head) -> str:
    """What this document calls its list of chunks."""
    there = [name for name in LISTS if name in head.fields]
    filled = [name for name in there if _items(head, name)]
    return (filled or there or list(LISTS))[0]


def directories(text: bytes, path: str) -> list[str | None]:
    """The chunks of a narrative's or an investigation's list, None for those that nobody made yet."""
    head = parse(text, path)
    return [_text(item, "chunk_directory") for item in _items(head, list_name(head))]


def _names(prompt: str, chunk: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(chunk)}(?![\w-])", prompt) is not None


# ── Subsystems ─────────────────────────────────────────────────────────────────────────────────────


def same_subsystem(name: str, other: str) -> bool:
    """Whether two ids mean one subsystem; an earlier era wrote a number before the name."""
    return _NUMBERED.sub("", name, count=1) == _NUMBERED.sub("", other, count=1)


def subsystem_of(wanted: str, names: Iterable[str]) -> str | None:
    """The folder that an id means: the same name, else the one that differs in its number only."""
    near = [name for name in names if same_subsystem(wanted, name)]
    return wanted if wanted in near else near[0] if len(near) == 1 else None


def implement(text: bytes, path: str, chunk: str) -> bytes:
    """The subsystem with `chunk` among those that implement it."""
    head = parse(text, path)
    for item in _items(head, "chunks"):
        if _text(item, "chunk_id") == chunk and _text(item, "relationship") == "implements":
            return text
    return append_item(text, "chunks", {"chunk_id": chunk, "relationship": "implements"}, path)


# ── Friction ───────────────────────────────────────────────────────────────────────────────────────


class FrictionEntry(NamedTuple):
    """An entry of the friction log; `state` is open until a chunk resolved it, in part or in full."""

    id: str
    title: str
    line: int
    resolved_by: tuple[str, ...]
    partly_by: tuple[str, ...]
    text: str

    @property
    def state(self) -> Literal["open", "partly", "resolved"]:
        return "resolved" if self.resolved_by else "partly" if self.partly_by else "open"


def friction(text: bytes) -> list[FrictionEntry]:
    """The entries of a friction log, in its order."""
    lines = _decoded(text).splitlines(keepends=True)
    starts = [(number, match) for number, match in _headings(lines) if match.re is _ENTRY]
    stops = [number for number, _ in _headings(lines)] + [len(lines)]
    found = []
    for number, match in starts:
        end = next(stop for stop in stops if stop > number)
        body = lines[number + 1 : end]
        found.append(
            FrictionEntry(
                match[1], match[2], number + 1, _marked(body, RESOLVED), _marked(body, PARTLY),
                "".join(body).strip(),
            )
        )  # fmt: skip
    return found


def resolve_friction(text: bytes, path: str, entry: str, chunk: str, scope: str) -> bytes:
    """The log with an entry marked as resolved by `chunk`. Raises DocumentError if there is none."""
    mark = PARTLY if scope == "partial" else RESOLVED
    known = {one.id: one for one in friction(text)}
    if entry not in known:
        raise DocumentError(
            f"there is no entry {entry}; there are: {', '.join(known) or 'none'}", where=path,
            hint="Add it with: ve friction add TITLE",
        )  # fmt: skip
    found = known[entry]
    if chunk in (found.partly_by if scope == "partial" else found.resolved_by):
        return text
    lines = _decoded(text).splitlines(keepends=True)
    at = found.line - 1
    heading = lines[at]
    end = "\r\n" if heading.endswith("\r\n") else "\n"
    for number in range(at + 1, min(len(lines), at + 1 + found.text.count("\n") + 8)):
        if _HEADING.match(lines[number]):
            break
        if lines[number].strip().startswith(mark):
            bare = lines[number].rstrip("\r\n")
            lines[number] = f"{bare.rstrip()}, {chunk}{lines[number][len(bare) :]}"
            return _encoded("".join(lines))
    if not heading.endswith("\n"):
        lines[at] = heading + end
    follows = lines[at + 1] if at + 1 < len(lines) else ""
    lines.insert(at + 1, f"{end}{mark} {chunk}{end}" + (end if follows.strip() else ""))
    return _encoded("".join(lines))


def add_friction(text: bytes, title: str, theme: str | None, words: str) -> tuple[bytes, str]:
    """The log with a new entry at its end, and the entry's id: one more than the highest there is.

    Raises InvalidInput if what was there or what is added would hide an entry or pass for another one.
    """
    ids = [one.id for one in friction(text)]
    number = max((int(one[1:]) for one in ids), default=0) + 1
    name = f"F{number:03}"
    document = _decoded(text)
    end = "\r\n" if "\r\n" in document else "\n"
    parts = [f"### {name}: {title}"]
    parts += [f"**Theme**: {theme}"] if theme else []
    parts += [words.strip()] if words.strip() else []
    added = "\n\n".join(parts).replace("\r\n", "\n").replace("\n", end)
    whole = _encoded(document.rstrip() + end * 2 + added + end)
    for said, expected in ((whole, [*ids, name]), (whole + b"\n### F0: next\n", [*ids, name, "F0"])):
        if [one.id for one in friction(said)] != expected:
            raise InvalidInput(
                f"{name} could not be told from what is around it: a comment or a code block begins and does "
                "not end, in the entry or in the log, or the entry has a heading such as `### F001` in it",
                hint="Close it, or take it out; nothing was written.",
            )
    return whole, name


def _headings(lines: Sequence[str]) -> Iterator[tuple[int, re.Match[str]]]:
    """Headings down to the third level, outside of comments and code."""
    commented = fenced = False
    for number, line in enumerate(lines):
        if not commented and _FENCE.match(line):
            fenced = not fenced
        if not fenced:
            was = commented
            opened, closed = line.rfind("<!--"), line.rfind("-->")
            if opened >= 0 or closed >= 0:
                commented = opened > closed
            if was or opened >= 0:
                continue
            match = _ENTRY.match(line.rstrip("\r\n")) or _HEADING.match(line)
            if match:
                yield number, match


def _marked(lines: Iterable[str], mark: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for line in lines:
        if line.strip().startswith(mark):
            names = line.strip().removeprefix(mark).split(",")
            found.update(dict.fromkeys(name.strip() for name in names if name.strip()))
    return tuple(found)


# ── Nodes and texts ────────────────────────────────────────────────────────────────────────────────


def _items(head: Head, name: str) -> tuple[Node, ...]:
    field = head.fields.get(name)
    return field.value.items if field is not None and isinstance(field.value, ListNode) else ()


def _text(item: Node, key: str) -> str | None:
    """A scalar of an entry; None where it is absent or null."""
    if isinstance(item, Mapping):
        for name, value in item.entries:
            if name.text == key and isinstance(value, Scalar) and not value.is_null:
                return value.text
    return None


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _encoded(document: str) -> bytes:
    return document.encode("utf-8", "surrogateescape")
