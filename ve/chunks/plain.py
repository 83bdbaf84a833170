"""Heads as people and tools mostly write them, read with one pattern a line.

Rule: what this returns is exactly what the YAML library would; whatever is not certain is declined
(None) and goes to the library, which takes thirty times as long and must be loaded first.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ve.chunks.nodes import Entries, Mapping, Node, Scalar, Sequence

_DEPTH = 8
# Characters that YAML refuses, or takes for white space or a line's end where people do not.
_ODD = re.compile(
    "[^\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]|\r(?!\n)"
)
# One line: indent, dash, key, value, comment. A value is a text (no `: `, no ` #`), a text in quotes
# without escapes, a list in brackets or an empty mapping.
_LINE = re.compile(
    r"""
    (\ *)
    (?:(-)(?=[\ \r\n])\ *)?
    (?:([A-Za-z_][A-Za-z0-9_-]{0,99}):(?=[\ \r\n])\ *)?
    (?:
      ((?:[^\s\-?:,\[\]{}\#&*!|>'"%@`]|-(?=[^\s\-]))[^\r\n\#:]*(?:(?::(?=\S)|(?<=\S)\#)[^\r\n\#:]*)*)
    | ("[^"\\\r\n]*"|'[^'\r\n]*')
    | (\[[^\[\]{}\r\n]*\])
    | (\{\ *\})
    )?
    \ *
    (?:(?<![^\ \n])(\#)[^\n]*)?
    \r?\n
    """,
    re.VERBOSE | re.ASCII,
)
_TEXT, _QUOTED, _LIST, _EMPTY = 4, 5, 6, 7
_ITEM = re.compile(
    r""" *(?:([A-Za-z0-9_./][A-Za-z0-9_./#:+-]*)(?<!:)|("[^"\\]*"|'[^']*')) *(?:,|(?=\])) *""", re.ASCII
)


class _Line(NamedTuple):
    indent: int
    dash: bool
    column: int
    """Where the key stands, or the dash if there is no key."""
    key: Scalar | None
    value: Node | None
    null_at: int
    """Where a value that is not there is said to be."""


class _Declined(Exception):
    """Not certain what YAML makes of this."""


def read_plain(document: str, start: int, end: int) -> Entries | None:
    """The top fields between `start` (a line's begin) and `end`; None: ask the YAML library."""
    if _ODD.search(document, start, end):
        return None
    lines = _lines(document, start, end)
    if lines is None:
        return None
    if not lines:
        return []
    if lines[0].key is None or lines[0].dash:
        return None
    try:
        top, after = _mapping(lines, 0, lines[0].indent, 1)
    except _Declined:
        return None
    return list(top.entries) if after == len(lines) else None


def _lines(document: str, start: int, end: int) -> list[_Line] | None:
    lines: list[_Line] = []
    match = _LINE.match
    position = start
    open_text = False  # whether the last line's text may go on in the next
    while position < end:
        found = match(document, position, end)
        if found is None:
            return None
        position = found.end()
        spaces, dash, key, text, quoted, inline, empty, comment = found.groups()
        indent = len(spaces)
        value: Node | None = None
        if text is not None:
            if not key and not dash:
                if not open_text or indent <= lines[-1].column:
                    return None
                lines[-1] = _longer(lines[-1], text, found.start(_TEXT))
                open_text = comment is None
                continue
            first = found.start(_TEXT)
            if text[-1] == " ":
                text = text.rstrip(" ")
            value = Scalar(text, first, first + len(text), False)
        elif quoted is not None:
            first = found.start(_QUOTED)
            value = Scalar(quoted[1:-1], first, first + len(quoted), True)
        elif inline is not None:
            value = _inline(document, found.start(_LIST), found.end(_LIST))
            if value is None:
                return None
        elif empty is not None:
            value = Mapping((), found.start(_EMPTY), found.end(_EMPTY))
        elif not key and not dash:
            open_text = False
            continue
        open_text = text is not None and comment is None
        line_start = found.start()
        if key:
            first = found.start(3)
            name, null_at = Scalar(key, first, first + len(key), False), first + len(key) + 1
            lines.append(_Line(indent, dash is not None, first - line_start, name, value, null_at))
        elif dash:
            lines.append(_Line(indent, True, indent, None, value, line_start + indent + 1))
        else:
            return None
    return lines


def _longer(line: _Line, text: str, start: int) -> _Line:
    """The line with its text continued."""
    text = text.rstrip(" ")
    assert isinstance(line.value, Scalar)
    value = Scalar(f"{line.value.text} {text}", line.value.start, start + len(text), False)
    return line._replace(value=value)


def _inline(document: str, start: int, end: int) -> Sequence | None:
    items: list[Node] = []
    position = start + 1
    while document[position] == " ":
        position += 1
    while position < end - 1:
        found = _ITEM.match(document, position, end)
        if found is None:
            return None
        plain, quoted = found.groups()
        if plain is not None:
            items.append(Scalar(plain, found.start(1), found.end(1), False))
        else:
            items.append(Scalar(quoted[1:-1], found.start(2), found.end(2), True))
        position = found.end()
    return Sequence(tuple(items), start, end, True)


def _mapping(lines: list[_Line], at: int, column: int, depth: int) -> tuple[Mapping, int]:
    if depth > _DEPTH:
        raise _Declined
    entries: Entries = []
    count = len(lines)
    start = at
    while True:
        line = lines[at]
        if line.key is None or line.column != column or (line.dash and at > start):
            raise _Declined
        at += 1
        value = line.value
        following = lines[at].indent if at < count else -1
        if value is not None:
            if following > column:
                raise _Declined
        elif following > column:
            value, at = _block(lines, at, following, depth)
        elif following == column and lines[at].dash:
            value, at = _sequence(lines, at, column, depth, beside_keys=True)
        else:
            value = Scalar("", line.null_at, line.null_at, False)
        entries.append((line.key, value))
        if at >= count or lines[at].indent < column:
            return Mapping(tuple(entries), entries[0][0].start, value.end), at


def _block(lines: list[_Line], at: int, column: int, depth: int) -> tuple[Node, int]:
    if lines[at].dash:
        return _sequence(lines, at, column, depth, beside_keys=False)
    return _mapping(lines, at, column, depth + 1)


def _sequence(
    lines: list[_Line], at: int, column: int, depth: int, *, beside_keys: bool
) -> tuple[Sequence, int]:
    """A list of lines that begin with dashes; it may stand at the column of the key above it."""
    if depth > _DEPTH:
        raise _Declined
    items: list[Node] = []
    count = len(lines)
    start = -1
    while at < count and lines[at].indent == column and lines[at].dash:
        line = lines[at]
        if line.key is not None:
            # `- name: value` opens a mapping at the name's column.
            item: Node
            if start < 0:
                start = _dash_offset(line)
            item, at = _mapping(lines, at, line.column, depth + 1)
        else:
            if start < 0:
                start = line.null_at - 1
            at += 1
            deeper = at < count and lines[at].indent > column
            if line.value is not None:
                item = line.value
            elif deeper:
                item, at = _block(lines, at, lines[at].indent, depth + 1)
            else:
                item = Scalar("", line.null_at, line.null_at, False)
        items.append(item)
        if at < count and lines[at].indent > column:
            raise _Declined
    if at < count and lines[at].indent == column and not beside_keys:
        raise _Declined
    return Sequence(tuple(items), start, items[-1].end, False), at


def _dash_offset(line: _Line) -> int:
    assert line.key is not None
    return line.key.start - line.column + line.indent
