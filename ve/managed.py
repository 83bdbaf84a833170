"""What `ve` keeps up to date inside files that belong to the user: a block between markers, or a sealed file.

    <!-- ve:begin NAME … -->     a block: what is between its markers is ours, all else is the user's
    <!-- ve:end NAME -->
    <!-- ve:sealed DIGEST … -->  the last line of a whole file of ours: as long as the digest fits, nobody
                                 changed the file, and a newer one may take its place

Rule: never a guess. Text outside a block stays byte for byte. Markers that do not pair up are refused with
their lines, since whatever was chosen instead could lose what somebody wrote.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from ve.errors import DocumentError

SealState = Literal["ours", "edited"]

_MARKER = re.compile(r"<!-- ve:(begin|end) ([a-z][a-z0-9-]*)( [^<>]*)?-->")
# Whatever looks as if it had been a marker; what running text quotes, `like this`, is none.
_TRACE = re.compile(r"(?<!\w)ve:(?:begin|end)\b")
_QUOTED = re.compile(r"`[^`]+`")
_BLANK = " \t\r"
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_SEAL = re.compile(rb"<!-- ve:sealed ([0-9a-f]{16}) [^<>\n]*-->\s*\Z")


class _Line(NamedTuple):
    number: int
    start: int
    end: int
    text: str
    newline: str


class _Mark(NamedTuple):
    kind: str
    name: str
    line: _Line


class Block(NamedTuple):
    """Where a block stands: bytes from the begin marker to after the end marker, its line end left out."""

    start: int
    end: int
    newline: str


def find_block(data: bytes, name: str, path: str) -> Block | None:
    """The block of that name, None if there is none. Raises DocumentError if any marker is damaged."""
    marks, _ = _read(data, path)
    found: Block | None = None
    while marks:
        first = marks.pop(0)
        if first.kind == "end":
            raise _damaged(path, first.line.number, f"`ve:end {first.name}` without a `ve:begin` before it")
        if not marks or marks[0].kind == "begin":
            said = f"`ve:begin {first.name}` has no `ve:end` after it"
            if marks:
                said += f" before the next `ve:begin` in line {marks[0].line.number}"
            raise _damaged(path, first.line.number, said)
        last = marks.pop(0)
        if last.name != first.name:
            said = f"`ve:end {last.name}` ends `ve:begin {first.name}` of line {first.line.number}"
            raise _damaged(path, last.line.number, said)
        if first.name == name:
            if found is not None:
                line = data.count(b"\n", 0, found.start) + 1
                said = f"a second `ve:begin {name}`; the first is in line {line}"
                raise _damaged(path, first.line.number, said)
            indent = len(first.line.text) - len(first.line.text.lstrip(_BLANK))
            tail = len(last.line.text) - len(last.line.text.rstrip(_BLANK))
            found = Block(first.line.start + indent, last.line.end - tail, first.line.newline)
    return found


def put_block(data: bytes, name: str, body: str, path: str, note: str = "") -> bytes:
    """The file with the block in it: replaced where it stands, else added at the end.

    Line ends are those of the block, or those that the file mostly has. Raises DocumentError for damaged
    markers, and for a file that is no text or ends inside a code block.
    """
    if b"\0" in data:
        raise DocumentError("is no UTF-8 text", where=path, hint="Save it as UTF-8, then: ve init")
    block = find_block(data, name, path)
    newline = block.newline if block else _newline(data)
    said = f"<!-- ve:begin {name}{f' ({note})' if note else ''} -->\n{body.strip()}\n<!-- ve:end {name} -->"
    whole = said.replace("\n", newline).encode()
    if block:
        return data[: block.start] + whole + data[block.end :]
    _, unclosed = _read(data, path)
    if unclosed:
        raise DocumentError(
            "this code block is never closed, so whatever is added to the file would be code",
            where=f"{path}:{unclosed}",
            hint="Close it, then: ve init",
        )
    gap = b"" if not data.strip(b"\xef\xbb\xbf") else newline.encode()
    if gap and not data.endswith(b"\n"):
        gap *= 2
    return data + gap + whole + newline.encode()


def seal(text: str, note: str) -> bytes:
    """The whole of a file of ours: the text, and the line that tells whether anyone changed it."""
    body = text.rstrip() + "\n\n"
    return f"{body}<!-- ve:sealed {_digest(body.encode())} {note} -->\n".encode()


def seal_state(data: bytes) -> SealState:
    """Whether a file is as some version of ours wrote it; line ends may have been changed by git."""
    plain = data.replace(b"\r\n", b"\n")
    found = _SEAL.search(plain)
    fits = found is not None and found[1].decode() == _digest(plain[: found.start()])
    return "ours" if fits else "edited"


def same_text(one: bytes, other: bytes) -> bool:
    """Whether two files differ in nothing but their line ends."""
    return one.replace(b"\r\n", b"\n") == other.replace(b"\r\n", b"\n")


def with_newlines_of(old: bytes, new: bytes) -> bytes:
    """`new`, whose lines end in LF, with the line ends that `old` has."""
    return new.replace(b"\n", _newline(old).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _newline(data: bytes) -> str:
    crlf = data.count(b"\r\n")
    return "\r\n" if crlf * 2 > data.count(b"\n") else "\n"


def _read(data: bytes, path: str) -> tuple[list[_Mark], int]:
    """Every marker in order, and the line of a code block that is never closed, else 0.

    Raises DocumentError at the first thing that looks like a marker and is none.
    """
    marks: list[_Mark] = []
    fence, opened_in = "", 0
    for line in _lines(data):
        text = line.text.strip(_BLANK)
        opened = _FENCE.match(line.text)
        if fence:
            if text.startswith(fence) and not text.strip(fence[0]):
                fence, opened_in = "", 0
                continue
        elif opened:
            fence, opened_in = opened[1], line.number
            continue
        if not _TRACE.search(_QUOTED.sub("", line.text)):
            continue
        if fence:
            said = f"one stands in the code block that begins in line {opened_in}: {_shown(text)}"
            raise _damaged(path, line.number, said)
        marker = _MARKER.fullmatch(text)
        if marker is None:
            raise _damaged(path, line.number, f"this is no whole marker any more: {_shown(text)}")
        marks.append(_Mark(marker[1], marker[2], line))
    return marks, opened_in


def _lines(data: bytes) -> Iterator[_Line]:
    at = 0
    for number, raw in enumerate(data.split(b"\n"), start=1):
        last = at + len(raw) == len(data)
        ending = "" if last else "\r\n" if raw.endswith(b"\r") else "\n"
        kept = raw[:-1] if ending == "\r\n" else raw
        skip = len(b"\xef\xbb\xbf") if number == 1 and kept.startswith(b"\xef\xbb\xbf") else 0
        text = kept[skip:].decode("utf-8", "surrogateescape")
        yield _Line(number, at + skip, at + len(kept), text, ending or _newline(data))
        at += len(raw) + 1


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def _damaged(path: str, line: int, what: str) -> DocumentError:
    return DocumentError(
        f"the markers of the managed block are damaged: {what}",
        where=f"{path}:{line}",
        hint="Put the markers right, or delete the block with both of them; then: ve init",
    )
