"""Which characters of a document to replace by which, so that a field gets a value.

Rule: the fewest characters: a text in its quotes, an item's line, a whole field only where it changes
from one form to another. What cannot be said without guessing how it was meant is refused.
"""

from __future__ import annotations

import re
from collections import abc
from collections.abc import Iterable
from typing import NamedTuple

from ve.chunks import render
from ve.chunks.head import Head
from ve.chunks.nodes import Mapping, Node, Scalar, Sequence
from ve.chunks.render import Item, Plain, Value
from ve.errors import DocumentError

_COLON = re.compile(r"[ \t]*:")
_FLOW_TOP = re.compile(r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]*\{")
_DASH = re.compile(r" *- *")


class Span(NamedTuple):
    """The document between `start` and `end` becomes `text`."""

    start: int
    end: int
    text: str


def refused(head: Head, at: Node | None, what: str, hint: str = "") -> DocumentError:
    line, column = head.place(at.start) if at is not None else (1, 1)
    return DocumentError(what, where=f"{head.path}:{line}:{column}", hint=hint)


def odd_form(head: Head, name: str, at: Node) -> DocumentError:
    hint = f"Write it plainly on one line: {name}: value"
    return refused(head, at, f"`{name}` is written in a form that cannot be changed in place", hint)


def eol(head: Head) -> str:
    """The line end of the document's first line."""
    return "\r\n" if head.document[max(head.start - 2, 0) : head.start] == "\r\n" else "\n"


def line_start(head: Head, offset: int) -> int:
    return head.document.rfind("\n", 0, offset) + 1


def line_end(head: Head, offset: int) -> int:
    """Where the next line begins."""
    return head.document.find("\n", offset) + 1 or len(head.document)


def is_flow(head: Head) -> bool:
    """Whether the whole head is written in braces."""
    return _FLOW_TOP.match(head.document, head.start, head.end) is not None


def check_form(head: Head, name: str, key: Scalar, value: Node) -> int:
    """Where the colon ends; raises `DocumentError` for anchors, aliases, tags and `? name`."""
    colon = _COLON.match(head.document, key.end)
    if colon is None or colon.end() > value.start or head.document[value.start] in "&*!":
        raise odd_form(head, name, value)
    return colon.end()


def replaced(head: Head, name: str, key: Scalar, old: Node, value: Value | Plain, *, flow: bool) -> Span:
    """The value beside this key replaced; `flow` when the key stands in braces."""
    colon = check_form(head, name, key, old)
    document = head.document
    if flow and isinstance(value, list | tuple) and any(not isinstance(item, str) for item in value):
        raise odd_form(head, name, old)
    if value is None or isinstance(value, str | bool):
        quote = '"' if flow and isinstance(value, str) and not value.isalnum() else ""
        if isinstance(old, Scalar) and document[old.start : old.start + 1] in ("'", '"'):
            quote = document[old.start] if isinstance(value, str) else ""
        return _one_line(head, colon, old, render.scalar(value, quote))
    items = list(value)
    if isinstance(old, Sequence) and not old.flow and items:
        return _block(head, name, old, items)
    if all(isinstance(item, str) for item in items):
        return _one_line(head, colon, old, _inline(head, old, [str(item) for item in items]))
    lines = block_lines(head, items, indent_of(head, key.start) + "  ")
    tail = document[old.end : line_end(head, old.end)].rstrip("\r\n") if _beside(head, colon, old) else ""
    return Span(colon, line_end(head, old.end), tail.rstrip() + eol(head) + lines)


def block_lines(head: Head, items: Iterable[Item], indent: str, quote: str = "") -> str:
    return "".join(line + eol(head) for item in items for line in render.item_lines(item, indent, quote))


def field_lines(head: Head, name: str, value: Value, indent: str) -> str:
    """The lines of a field that is not there yet."""
    if value is None or isinstance(value, str | bool):
        return f"{indent}{name}: {render.scalar(value)}{eol(head)}"
    texts = [item for item in value if isinstance(item, str)]
    if len(texts) == len(value):
        return f"{indent}{name}: {render.inline(texts)}{eol(head)}"
    return f"{indent}{name}:{eol(head)}" + block_lines(head, value, indent + "  ")


def added_to_item(head: Head, name: str, item: Mapping, key: str, value: Plain, *, flow: bool) -> Span:
    """A field more for an item of a list."""
    if flow:
        if not item.entries:
            raise odd_form(head, name, item)
        at = item.entries[-1][1].end
        return Span(at, at, ", " + render.inline_item({key: value})[1:-1])
    at = line_end(head, item.end)
    line = render.item_lines({key: value}, "")[0].removeprefix("- ")
    return Span(at, at, indent_of(head, item.start) + line + eol(head))


def indent_of(head: Head, offset: int) -> str:
    """The spaces before a place, a dash counted as one."""
    return " " * (offset - line_start(head, offset))


def appended(head: Head, name: str, old: Sequence, item: Item) -> Span:
    """An item more at the end of a list that is not empty."""
    last = old.items[-1]
    if old.flow:
        text = ", " + render.inline_item(item, quote_of(head, old))
        return Span(last.end, last.end, text)
    indent = " " * (dash_of(head, name, old.items[0]) - line_start(head, old.items[0].start))
    at = line_end(head, last.end)
    return Span(at, at, block_lines(head, [item], indent, quote_of(head, old)))


def without(head: Head, name: str, old: Sequence, gone: int) -> Span:
    """One of several items taken out of a list."""
    item = old.items[gone]
    if not old.flow:
        dash = dash_of(head, name, item)
        return Span(line_start(head, dash), line_end(head, item.end), "")
    if gone:
        return Span(old.items[gone - 1].end, item.end, "")
    return Span(item.start, old.items[1].start, "")


def dash_of(head: Head, name: str, item: Node) -> int:
    """Where the dash of an item stands that has its line for itself."""
    start = line_start(head, item.start)
    found = _DASH.fullmatch(head.document, start, item.start)
    if found is None:
        raise odd_form(head, name, item)
    return start + found[0].index("-")


def quote_of(head: Head, old: Sequence) -> str:
    """The quote that the list's texts have; a list of none is written with double quotes."""
    for item in old.items:
        if isinstance(item, Scalar):
            mark = head.document[item.start : item.start + 1]
            return mark if mark in ("'", '"') else ""
    return '"' if old.flow else ""


def _beside(head: Head, colon: int, old: Node) -> bool:
    return "\n" not in head.document[colon : old.start]


def _one_line(head: Head, colon: int, old: Node, text: str) -> Span:
    document = head.document
    if _beside(head, colon, old):
        space = "" if document[old.start - 1] in " \t" else " "
        after = document[old.end : old.end + 1]
        gap = " " if old.start == old.end and after not in ("\r", "\n", " ", "\t", ",", "}") else ""
        return Span(old.start, old.end, space + text + gap)
    # The value stands below its name: its lines go, and a comment beside the name stays.
    end = line_end(head, colon)
    beside = document[colon:end].rstrip("\r\n").rstrip()
    return Span(colon, line_end(head, old.end), f" {text}{beside}{eol(head)}")


def _inline(head: Head, old: Node, items: list[str]) -> str:
    """A list in brackets; items that were in it keep their quotes."""
    written: dict[str, str] = {}
    quote = '"'
    if isinstance(old, Sequence) and old.items:
        quote = quote_of(head, old)
        for item in old.items:
            source = head.document[item.start : item.end]
            if isinstance(item, Scalar) and source[:1] not in ("&", "*", "!") and "\n" not in source:
                written.setdefault(item.text, source)
    return "[" + ", ".join(written.get(item) or render.scalar(item, quote) for item in items) + "]"


def _block(head: Head, name: str, old: Sequence, items: list[Item]) -> Span:
    """A list of lines with dashes; items that were in it keep their lines and comments."""
    starts = [line_start(head, dash_of(head, name, item)) for item in old.items]
    ends = [*starts[1:], line_end(head, old.items[-1].end)]
    dash = dash_of(head, name, old.items[0])
    indent = " " * (dash - starts[0])
    quote = quote_of(head, old)
    left = list(range(len(old.items)))
    text = ""
    for item in items:
        kept = next((at for at in left if equal(old.items[at], item)), None)
        if kept is None:
            text += block_lines(head, [item], indent, quote)
        else:
            left.remove(kept)
            text += head.document[starts[kept] : ends[kept]]
    return Span(starts[0], ends[-1], text)


def equal(node: Node, item: Item | Plain) -> bool:
    """Whether an item of a list, or a value in one, says this."""
    if isinstance(node, Scalar):
        return (
            node.text == item if isinstance(item, str) else isinstance(item, bool | None) and says(node, item)
        )
    if isinstance(node, Mapping):
        found = {key.text: value for key, value in node.entries}
        return (
            isinstance(item, abc.Mapping)
            and found.keys() == item.keys()
            and all(equal(found[name], value) for name, value in item.items())
        )
    return isinstance(item, list | tuple) and says(node, item)


def says(node: Node, value: Value | Plain) -> bool:
    """Whether a field's value is this; a text in quotes is never null or a truth value."""
    if isinstance(node, Scalar):
        if value is None:
            return node.is_null
        if isinstance(value, bool):
            return not node.quoted and node.text.lower() == render.scalar(value)
        return isinstance(value, str) and node.text == value and not node.is_null
    if not isinstance(node, Sequence) or value is None or isinstance(value, str | bool):
        return False
    return len(node.items) == len(value) and all(map(equal, node.items, value))


def holds(node: Node, item: Item) -> bool:
    """Whether an item of a list is this, or has all its names and values."""
    if isinstance(item, str) or not isinstance(node, Mapping):
        return equal(node, item)
    found = {key.text: value for key, value in node.entries}
    return all(name in found and equal(found[name], value) for name, value in item.items())
