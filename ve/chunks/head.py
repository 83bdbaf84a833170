"""The YAML block at the head of a document, as values with their places.

Rule: reading never raises. What is wrong is a problem with its place, and a mistake in one field
spoils no other: when the block as a whole is not YAML, each top field is tried on its own.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ve.chunks.nodes import Entries, Mapping, Node, Scalar, Sequence
from ve.chunks.plain import read_plain
from ve.chunks.problems import Level, Problem

__all__ = ["MAX_HEAD", "Field", "Head", "Mapping", "Node", "Scalar", "Sequence", "decoded", "parse", "split"]

MAX_HEAD = 256 * 1024
"""The longest head that is read, in characters."""
_MAX_FIELDS = 500

_OPENING = re.compile(r"\ufeff?---[ \t]*\r?\n")
_CLOSING = re.compile(r"\n(?:---|\.\.\.)[ \t]*\r?(?=\n|\Z)")
_TOP_FIELD = re.compile(r"^([A-Za-z_][\w-]*|\"[^\"\n]*\"|'[^'\n]*')[ \t]*:(?=\s)", re.MULTILINE)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Field(NamedTuple):
    """A top field: its name and its value."""

    key: Scalar
    value: Node


class Head:
    """What `parse` found. `fields` holds the first of each name, in the order written."""

    __slots__ = ("body", "document", "end", "fields", "path", "problems", "start")

    def __init__(self, path: str, document: str) -> None:
        self.path = path
        self.document = document
        self.start = 0
        """Where the YAML begins."""
        self.end = 0
        """Where the line that closes it begins."""
        self.body = 0
        """Where the text after the head begins; 0 when there is no head."""
        self.fields: dict[str, Field] = {}
        self.problems: list[Problem] = []

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column from 1, as editors count them: only a line feed ends a line."""
        document = self.document
        return document.count("\n", 0, offset) + 1, offset - document.rfind("\n", 0, offset)

    def problem(
        self,
        rule: str,
        message: str,
        at: Node | None,
        field: str = "",
        hint: str = "",
        level: Level = "error",
    ) -> Problem:
        """A problem at the place of a value, or at the document's begin."""
        line, column = self.place(at.start) if at is not None else (1, 1)
        return Problem(
            path=self.path, line=line, column=column, field=field, rule=rule, message=message, hint=hint,
            level=level,
        )  # fmt: skip


def decoded(text: bytes | str) -> str:
    """The text of a document; bytes that are not UTF-8 come through and go back unchanged."""
    return text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")


def split(document: str) -> tuple[int, int, int] | None:
    """Where the YAML begins and ends and where the body begins; None without a whole head."""
    opening = _OPENING.match(document)
    if opening is None:
        return None
    start = opening.end()
    closing = _CLOSING.search(document, start - 1)
    if closing is None:
        return None
    return start, closing.start() + 1, min(closing.end() + 1, len(document))


def parse(text: bytes | str, path: str) -> Head:
    """The head of a document; never raises. Every mistake is among its `problems`."""
    document = decoded(text)
    head = Head(path, document)
    bounds = split(document)
    if bounds is None:
        head.problems.append(_no_head(head))
        return head
    head.start, head.end, head.body = bounds
    _check_utf8(head)
    if head.end - head.start > MAX_HEAD:
        size, most = (head.end - head.start) // 1024, MAX_HEAD // 1024
        what = f"has a frontmatter of {size} KiB; allowed are {most} KiB"
        head.problems.append(
            head.problem("head-too-long", what, None, hint="Move text below the line `---`.")
        )
        return head
    plain = read_plain(document, head.start, head.end)
    _collect(head, _composed(head) if plain is None else plain)
    return head


def _no_head(head: Head) -> Problem:
    document = head.document
    if _OPENING.match(document):
        return head.problem(
            "head-not-closed", "has a frontmatter that does not end", None,
            hint="Put a line `---` after the last field.",
        )  # fmt: skip
    hint = "Begin with a line `---`, the fields, and a line `---`."
    if "\0" in document[:8]:
        hint = "The file seems to be UTF-16; save it as UTF-8."
    elif document.lstrip("\ufeff \t\r\n").startswith("---"):
        hint = "The first line must be exactly `---`, with nothing before it."
    return head.problem("no-head", "has no frontmatter", None, hint=hint)


def _check_utf8(head: Head) -> None:
    document = head.document
    try:
        document.encode()
    except UnicodeEncodeError as error:
        found = Scalar("", error.start, error.start, False)
        what = f"the byte 0x{ord(document[error.start]) & 0xFF:02x} is not UTF-8"
        head.problems.append(
            head.problem("not-utf-8", what, found, hint="Save the file as UTF-8.", level="warning")
        )


def _composed(head: Head) -> Entries:
    from ve.chunks.composed import YamlProblem, read_yaml  # loads PyYAML: only for heads that need it

    try:
        return read_yaml(head.document, head.start, head.end)
    except YamlProblem as whole:
        blocks = list(_TOP_FIELD.finditer(head.document, head.start, head.end))
        if not blocks or len(blocks) > _MAX_FIELDS:
            head.problems.append(_yaml_problem(head, "", whole.what, whole.index))
            return []
    entries: Entries = []
    if blocks[0].start() > head.start:
        # What stands before the first field belongs to none; it is looked at for its mistakes alone.
        _try(head, "", head.start, blocks[0].start(), entries)
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        until = following.start() if following else head.end
        _try(head, block[1].strip("\"'"), block.start(), until, entries)
    return entries


def _try(head: Head, name: str, start: int, end: int, entries: Entries) -> None:
    from ve.chunks.composed import YamlProblem, read_yaml

    plain = read_plain(head.document, start, end)
    try:
        entries += read_yaml(head.document, start, end) if plain is None else plain
    except YamlProblem as broken:
        head.problems.append(_yaml_problem(head, name, broken.what, broken.index))


def _yaml_problem(head: Head, name: str, what: str, index: int) -> Problem:
    at = Scalar("", index, index, False)
    message = f"`{name}` is not YAML: {what}" if name else f"the head is not YAML: {what}"
    hint = (
        f"Put the value of `{name}` in quotes, or repair it." if name else "Write one `name: value` a line."
    )
    return head.problem("yaml", message, at, field=name, hint=hint)


def _collect(head: Head, entries: Entries) -> None:
    for key, value in entries:
        first = head.fields.setdefault(key.text, Field(key, value))
        if first.key is not key:
            lines = f"{head.place(first.key.start)[0]} and {head.place(key.start)[0]}"
            head.problems.append(
                head.problem(
                    "duplicate-field", f"`{key.text}` is there twice, on lines {lines}", key,
                    field=key.text, hint="Keep one of them.",
                )
            )  # fmt: skip
