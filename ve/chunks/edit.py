"""One field of a document's head changed, and nothing else.

Rule: quotes, comments, order, line ends, byte order mark and bytes that are not UTF-8 stay as they
are. Whatever was made is read again before it is returned: if the field does not have the value, or
any other field changed, the document is refused instead.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from ve.chunks import spans
from ve.chunks.head import Head, parse
from ve.chunks.kinds import Kind, kind_of
from ve.chunks.nodes import Mapping, Node, Scalar, Sequence, same
from ve.chunks.render import Item, Plain, Value
from ve.chunks.spans import Span
from ve.errors import DocumentError

Text = TypeVar("Text", str, bytes)
_COMMENT_BLOCK = re.compile(r"\s*<!--")
_COMMENT_END = re.compile(r"-->[ \t]*(?:\r?\n(?:[ \t]*\r?\n)*)?")
_BETWEEN = re.compile(r"[ \t]*:[ \t]*")


def set_field(
    text: Text, name: str, value: Value, path: str = "GOAL.md", *, kind: Kind | None = None
) -> Text:
    """The document with this field set to `value`; unchanged if it has that value already.

    An absent field is added where the order of the kind's fields puts it; the kind is told by the
    path if it is not given. Raises `DocumentError` if it cannot be changed in place.
    """
    head = _head(text, name, path)
    field = head.fields.get(name)
    if field is not None:
        if spans.says(field.value, value):
            return text
        flow = spans.is_flow(head)
        changes = iter((spans.replaced(head, name, field.key, field.value, value, flow=flow),))
    else:
        changes = _added(head, name, value, kind or kind_of(path))
    return _first_good(text, head, name, changes, lambda now: spans.says(now, value))


def append_item(
    text: Text, name: str, item: Item, path: str = "GOAL.md", *, kind: Kind | None = None
) -> Text:
    """The document with an item more at the end of this list; unchanged if the item is in it."""
    head = _head(text, name, path)
    field = head.fields.get(name)
    old = field.value if field else None
    if field is None or (isinstance(old, Scalar) and old.is_null):
        return set_field(text, name, [item], path, kind=kind)
    old = _list(head, name)
    if any(spans.holds(each, item) for each in old.items):
        return text
    if not old.items:
        return set_field(text, name, [item], path, kind=kind)
    spans.check_form(head, name, field.key, old)
    items = old.items

    def good(now: Node) -> bool:
        return isinstance(now, Sequence) and _same_items(items, now, 1) and spans.holds(now.items[-1], item)

    return _first_good(text, head, name, iter((spans.appended(head, name, old, item),)), good)


def remove_item(text: Text, name: str, item: Item, path: str = "GOAL.md") -> Text:
    """The document without the items that are `item`, or that have all its names and values."""
    found = _at(text, name, item, path)
    while found is not None:
        head: Head = found[0]
        old: Sequence = found[1]
        gone: int = found[2]
        if len(old.items) == 1:
            return set_field(text, name, [], path)
        spans.check_form(head, name, head.fields[name].key, old)
        kept = (*old.items[:gone], *old.items[gone + 1 :])
        change = spans.without(head, name, old, gone)
        text = _first_good(text, head, name, iter((change,)), partial(_same_items, kept))
        found = _at(text, name, item, path)
    return text


def set_in_item(text: Text, name: str, index: int, key: str, value: Plain, path: str = "GOAL.md") -> Text:
    """The document with one field of one item of a list changed; the item's other fields stay.

    Raises `DocumentError` also when there is no such item.
    """
    head = _head(text, name, path)
    old = _list(head, name)
    item = old.items[index] if 0 <= index < len(old.items) else None
    if not isinstance(item, Mapping):
        raise spans.refused(head, item or old, f"`{name}` has no item {index} with fields of its own")
    spans.check_form(head, name, head.fields[name].key, old)
    found = next(((word, value) for word, value in item.entries if word.text == key), None)
    if found is not None and spans.says(found[1], value):
        return text
    full = f"{name}[{index}].{key}"
    flow = head.document[item.start] == "{" or spans.is_flow(head)
    if found is not None:
        change = spans.replaced(head, full, found[0], found[1], value, flow=flow)
    else:
        change = spans.added_to_item(head, full, item, key, value, flow=flow)

    def good(now: Node) -> bool:
        changed = now.items[index] if isinstance(now, Sequence) and len(now.items) == len(old.items) else None
        if not isinstance(now, Sequence) or not isinstance(changed, Mapping):
            return False
        values = {word.text: each for word, each in changed.entries}
        return (
            all(at == index or same(a, b) for at, (a, b) in enumerate(zip(old.items, now.items, strict=True)))
            and all(
                word.text == key or same(values.get(word.text, word), each) for word, each in item.entries
            )
            and key in values
            and spans.says(values[key], value)
        )

    return _first_good(text, head, name, iter((change,)), good)


def drop_comment_block(text: Text) -> Text:
    """The document without the comment that stands right after its head, if one does.

    One empty line is left between the head and what follows.
    """
    head = parse(text, "")
    opened = _COMMENT_BLOCK.match(head.document, head.body) if head.body else None
    closed = head.document.find("-->", opened.end()) if opened else -1
    if closed < 0:
        return text
    after = _COMMENT_END.match(head.document, closed)
    assert after is not None
    rest = head.document[after.end() :]
    return _as(text, head.document[: head.body] + (spans.eol(head) + rest if rest else ""))


def stands_plainly(head: Head, name: str) -> bool:
    """Whether a field is a text on its name's line, in quotes or not, with nothing of YAML's about it."""
    key, value = head.fields[name]
    if not isinstance(value, Scalar) or not _BETWEEN.fullmatch(head.document, key.end, value.start):
        return False
    written = head.document[value.start : value.end]
    return written in (value.text, f'"{value.text}"', f"'{value.text}'")


def error_of(head: Head, field: str = "") -> DocumentError | None:
    """The first of the head's own problems that concerns the whole of it, or this field."""
    for problem in head.problems:
        whole = not problem.field and problem.level == "error"
        if (whole and not head.fields) or (problem.field == field and field):
            return DocumentError(problem.message, where=problem.where, hint=problem.hint)
    return None


def _head(text: str | bytes, name: str, path: str) -> Head:
    head = parse(text, path)
    error = error_of(head, name)
    if error:
        raise error
    return head


def _at(text: str | bytes, name: str, item: Item, path: str) -> tuple[Head, Sequence, int] | None:
    """The list and where the first such item is in it."""
    head = _head(text, name, path)
    field = head.fields.get(name)
    if field is None or (isinstance(field.value, Scalar) and field.value.is_null):
        return None
    old = _list(head, name)
    at = next((at for at, each in enumerate(old.items) if spans.holds(each, item)), None)
    return None if at is None else (head, old, at)


def _list(head: Head, name: str) -> Sequence:
    node = head.fields[name].value if name in head.fields else None
    if isinstance(node, Sequence):
        return node
    raise spans.refused(head, node, f"`{name}` is not a list", f"Write it as: {name}: []")


def _added(head: Head, name: str, value: Value, kind: Kind) -> Iterator[Span]:
    """A line for a field that is not there yet: after what comes before it in the kind's order."""
    if spans.is_flow(head):
        raise spans.refused(
            head, None, f"a head in braces has no lines for `{name}`", "Write one field a line."
        )
    order = [field.name for field in kind.fields]
    place = order.index(name) if name in order else len(order)
    present = list(head.fields.values())
    before = [head.fields[each] for each in order[:place] if each in head.fields]
    after = [head.fields[each] for each in order[place + 1 :] if each in head.fields]
    indent = spans.indent_of(head, present[0].key.start) if present else ""
    line = spans.field_lines(head, name, value, indent)
    if before:
        last = max(before, key=lambda field: field.key.start)
        yield Span(*(2 * (spans.line_end(head, last.value.end),)), line)
        later = [field.key.start for field in present if field.key.start > last.key.start]
        if later:
            yield Span(*(2 * (spans.line_start(head, min(later)),)), line)
    elif after:
        yield Span(*(2 * (spans.line_start(head, min(field.key.start for field in after)),)), line)
    yield Span(head.end, head.end, line)
    yield Span(head.start, head.start, line)


def _first_good(
    text: Text, head: Head, name: str, changes: Iterator[Span], good: Callable[[Node], bool]
) -> Text:
    """The document after the first change that does what was meant and nothing else."""
    before = Counter((problem.rule, problem.field) for problem in head.problems)
    for start, end, new in changes:
        document = head.document[:start] + new + head.document[end:]
        now = parse(document, head.path)
        worse = Counter((problem.rule, problem.field) for problem in now.problems) - before
        if worse or name not in now.fields or not good(now.fields[name].value):
            continue
        if now.document[now.body :] != head.document[head.body :]:
            continue
        others = head.fields.keys() - {name}
        if now.fields.keys() - {name} == others and all(
            same(head.fields[each].value, now.fields[each].value) for each in others
        ):
            return _as(text, document)
    at = head.fields[name].value if name in head.fields else None
    raise spans.refused(
        head, at, f"`{name}` cannot be changed without changing more than it", "Change it by hand."
    )


def _same_items(before: tuple[Node, ...], now: Node, more: int = 0) -> bool:
    return (
        isinstance(now, Sequence)
        and len(now.items) == len(before) + more
        and all(same(a, b) for a, b in zip(before, now.items, strict=False))
    )


def _as(text: Text, document: str) -> Text:
    if isinstance(text, bytes):
        return document.encode("utf-8", "surrogateescape")
    return document
