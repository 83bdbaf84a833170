"""Heads that only a whole YAML reader understands, through the events of PyYAML.

Rule: events are put together here, without recursion and to a limited depth, because the library's
own composing recurses and because only what a head can hold is wanted: texts, lists, mappings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.reader import ReaderError

from ve.chunks.nodes import Entries, Mapping, Node, Scalar, Sequence

_DEPTH = 64
_BRACKETS = re.compile(r"[\[\]{}]")


class YamlProblem(Exception):
    """YAML refused; `index` is where in the document."""

    def __init__(self, what: str, index: int) -> None:
        super().__init__(what)
        self.what = what
        self.index = index


def read_yaml(document: str, start: int, end: int) -> Entries:
    """The top fields between `start` and `end`; raises `YamlProblem` and nothing else."""
    text = document[start:end]
    _check_depth(text, start)
    try:
        node = _Builder(start, text).build()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = str(error.problem or error.context or "it is not YAML")
        begun = error.context_mark
        if mark and begun and begun.index < len(text.rstrip()) <= mark.index:
            # What never ends is shown where it begins.
            what, mark = f"what begins with {text[begun.index]!r} does not end", begun
        raise YamlProblem(what, start + (mark.index if mark else 0)) from error
    except ReaderError as error:
        raise YamlProblem("a character that YAML does not allow", start + error.position) from error
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError) as error:
        # PyYAML lets through what chr() and int() say to escapes and version numbers out of range.
        raise YamlProblem("an escape or a number out of range", start) from error
    if node is None:
        return []
    if not isinstance(node, Mapping):
        raise YamlProblem("fields of the form `name: value` belong here", node.start)
    return list(node.entries)


def _check_depth(text: str, start: int) -> None:
    """Brackets alone can make the library's time grow with their square, long before any event."""
    if text.count("[") + text.count("{") <= _DEPTH:
        return
    depth = 0
    for found in _BRACKETS.finditer(text):
        depth = depth + 1 if found[0] in "[{" else max(0, depth - 1)
        if depth > 4 * _DEPTH:
            raise YamlProblem("it is nested too deeply", start + found.start())


class _Open:
    """A list or a mapping whose end has not come yet."""

    def __init__(self, event: Any, is_mapping: bool) -> None:
        self.event = event
        self.is_mapping = is_mapping
        self.nodes: list[Node] = []


class _Builder:
    """The one node of a text, from the library's events."""

    def __init__(self, offset: int, text: str) -> None:
        self._offset = offset
        self._text = text
        self._anchors: dict[str, Node] = {}
        self._open: list[_Open] = []

    def build(self) -> Node | None:
        root: Node | None = None
        for event in self._events():
            node = self._node(event)
            if node is None:
                continue
            if self._open:
                self._open[-1].nodes.append(node)
            elif root is None:
                root = node
            else:
                raise YamlProblem("a second document begins here", node.start)
        return root

    def _events(self) -> Iterator[Any]:
        loader: Any = yaml.SafeLoader(self._text)
        try:
            while loader.check_event():
                yield loader.get_event()
        finally:
            loader.dispose()

    def _node(self, event: Any) -> Node | None:
        """The node that is whole with this event, if one is."""
        if isinstance(event, yaml.ScalarEvent):
            return self._named(event, self._scalar(event))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if isinstance(event, yaml.CollectionStartEvent):
            if len(self._open) >= _DEPTH:
                at = event.start_mark.index if event.start_mark else 0
                raise YamlProblem("it is nested too deeply", self._offset + at)
            self._open.append(_Open(event, isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self._open.pop()
            return self._named(done.event, self._collection(done, event))
        return None

    def _scalar(self, event: Any) -> Scalar:
        start, end = event.start_mark.index, event.end_mark.index
        text = str(event.value)
        if event.style in ("|", ">"):
            end = start + len(self._text[start:end].rstrip("\r\n\x85\u2028\u2029 \t"))
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise YamlProblem("half of a character, written as an escape", self._offset + start)
        return Scalar(text, self._offset + start, self._offset + end, not event.implicit[0])

    def _collection(self, done: _Open, event: Any) -> Node:
        start = self._offset + done.event.start_mark.index
        nodes = done.nodes
        flow = bool(done.event.flow_style)
        end = nodes[-1].end if nodes and not flow else self._offset + event.end_mark.index
        if done.is_mapping:
            pairs = zip(nodes[::2], nodes[1::2], strict=True)
            return Mapping(tuple((_key(key), value) for key, value in pairs), start, end)
        return Sequence(tuple(nodes), start, end, flow)

    def _named(self, event: Any, node: Node) -> Node:
        if event.anchor is not None:
            if event.anchor in self._anchors:
                at = self._offset + event.start_mark.index
                raise YamlProblem(f"&{event.anchor} names a second value", at)
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any) -> Node:
        start, end = self._offset + event.start_mark.index, self._offset + event.end_mark.index
        named = self._anchors.get(event.anchor)
        if named is None:
            raise YamlProblem(f"*{event.anchor} stands for nothing that was named before it", start)
        # The place is the alias's, so that a problem is shown where it can be repaired.
        return named._replace(start=start, end=end)


def _key(node: Node) -> Scalar:
    if not isinstance(node, Scalar):
        raise YamlProblem("a name is a text, not a list or a mapping", node.start)
    return node
