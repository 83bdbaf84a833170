"""A document's head as a typed value, with every problem at once.

Rule: a mistake in one field or item costs that field or item alone; the value is None only where
there is no head or no valid status. Every era of the format is read; what is out of date is said,
with what to write instead.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from ve.chunks.head import Head, Mapping, Node, Scalar, Sequence, parse
from ve.chunks.kinds import CodeReference, Document, FieldDoc, Kind
from ve.chunks.names import check_name
from ve.chunks.problems import Level, Problem, nearest, shown
from ve.chunks.quick import quick
from ve.errors import InvalidInput

__all__ = ["Read", "quick", "read"]

_ENTRY = re.compile(r"F[0-9]{1,9}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_ABSENT: Any = object()
"""What a field without a usable value is read as: its default then holds."""


class Read(NamedTuple):
    """A document's head: with its places, as a value, and what is wrong with it by place."""

    head: Head
    value: Document | None
    problems: list[Problem]


def read(text: bytes | str, path: str, kind: Kind) -> Read:
    """Read the head of a document of this kind; never raises."""
    head = parse(text, path)
    if not head.body:
        return Read(head, None, head.problems)
    reader = _Reader(head)
    values = reader.fields(kind)
    value: Document | None = None
    if not kind.statuses or "status" in values:
        value = kind.type(**values)
    problems = [*head.problems, *reader.problems]
    problems.sort(key=lambda problem: (problem.line, problem.column))
    return Read(head, value, problems)


class _Reader:
    """One reading: collects values by the tables of `kinds` and problems on the way."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.problems: list[Problem] = []
        self._noted: set[str] = set()

    def fields(self, kind: Kind) -> dict[str, Any]:
        values: dict[str, Any] = {}
        found = self.head.fields
        broken = {problem.field for problem in self.head.problems}
        for field in kind.fields:
            if field.name in found:
                value = self.value(field, found[field.name].value, field.name)
                if value is not _ABSENT:
                    values[field.name] = value
            elif field.required and field.name not in broken and (found or "" not in broken):
                self._missing(field, found, kind)
        known = {field.name for field in kind.fields}
        for name, (key, _) in found.items():
            if name not in known:
                self._unknown(name, key, known - found.keys(), f"a {kind.name}")
        return values

    def value(self, field: FieldDoc, node: Node, name: str) -> Any:
        """The value of a field, or `_ABSENT` after saying why there is none."""
        if isinstance(node, Scalar) and node.is_null and not field.required:
            return _ABSENT
        if field.form in ("texts", "names", "items"):
            return self._list(field, node, name)
        if not isinstance(node, Scalar):
            met = "a list" if isinstance(node, Sequence) else "a mapping"
            self._say("wrong-type", f"`{name}` is {met}; allowed is {_allowed(field)}", node, name)
            return _ABSENT
        match field.form:
            case "word":
                return self._word(field, node, name)
            case "flag":
                return self._flag(field, node, name)
            case "name":
                return self._name(node, name)
            case "entry":
                return self._entry(node, name)
        return self._text(field, node, name)

    def _word(self, field: FieldDoc, node: Scalar, name: str) -> Any:
        if node.text in field.allowed:
            return node.text
        meant = nearest(node.text, field.allowed)
        what = f"`{name}` is {shown(node.text)}; allowed is {_allowed(field)}"
        self._say("wrong-value", what, node, name, hint=f"Did you mean {meant}?" if meant else "")
        return _ABSENT

    def _flag(self, field: FieldDoc, node: Scalar, name: str) -> Any:
        """A flag; what is not plainly false counts as set, since somebody meant something by it."""
        word = node.text.lower()
        if word not in ("true", "false"):
            what = f"`{name}` is {shown(node.text)}; allowed is {_allowed(field)}"
            self._say("wrong-value", what, node, name, hint=f"Write {name}: true, or leave it out.")
        return word not in ("false", "no", "off")

    def _entry(self, node: Scalar, name: str) -> Any:
        if _ENTRY.fullmatch(node.text):
            return node.text
        digits = re.sub(r"[^0-9]", "", node.text)[:9]
        hint = f"Did you mean F{int(digits):03d}?" if digits.isascii() and digits else ""
        what = f"`{name}` is {shown(node.text)}; allowed is F and digits, such as F001"
        self._say("wrong-value", what, node, name, hint=hint)
        return _ABSENT

    def _name(self, node: Scalar, name: str) -> Any:
        try:
            return check_name(node.text)
        except InvalidInput as error:
            hint = error.hint
            last = re.split(r"[/\\]", node.text.strip("/\\ "))[-1]
            if "/" in node.text and last not in (".", ".."):
                hint = f"Give the folder's name, not a path: {shown(last)[1:-1]}"
            self._say("wrong-name", f"`{name}`: {error.what}", node, name, hint=hint)
            return _ABSENT

    def _text(self, field: FieldDoc, node: Scalar, name: str) -> Any:
        odd = _CONTROL.search(node.text)
        if odd:
            what = f"`{name}` has the control character U+{ord(odd[0]):04X}; allowed is a text without"
            self._say("wrong-text", what, node, name)
            return _ABSENT
        if field.required and (node.is_null or not node.text.strip()):
            self._say("wrong-text", f"`{name}` is empty; needed is a text", node, name)
            return _ABSENT
        return node.text

    def _list(self, field: FieldDoc, node: Node, name: str) -> Any:
        if not isinstance(node, Sequence):
            hint = f"Write it as: {field.name}: {field.example.strip()}"
            if isinstance(node, Scalar) and field.form != "items":
                hint = f"Write it as: {field.name}: [{shown(node.text)[1:-1]}]"
            must = "a list of chunks" if field.form == "names" else f"a {field.type.removeprefix('a ')}"
            self._say("wrong-type", f"`{name}` must be {must}", node, name, hint=hint)
            return _ABSENT
        values: list[Any] = []
        for number, item in enumerate(node.items):
            values += self._item(field, item, f"{name}[{number}]")
        return tuple(dict.fromkeys(values)) if field.form == "names" else tuple(values)

    def _item(self, field: FieldDoc, item: Node, name: str) -> list[Any]:
        if field.form == "items":
            return self._record(field, item, name)
        if not isinstance(item, Scalar):
            must = "a list of chunks' names" if field.form == "names" else "a list of texts"
            self._say("wrong-type", f"`{field.name}` must be {must}", item, name)
            return []
        if field.form == "names":
            value = self._name(item, name)
        elif item.is_null or not item.text.strip():
            self._say("wrong-text", f"`{name}` is empty; needed is a text", item, name)
            return []
        else:
            value = self._text(field, item, name)
        return [] if value is _ABSENT else [value]

    def _record(self, field: FieldDoc, item: Node, name: str) -> list[Any]:
        """An item with fields of its own; items of earlier eras come out as today's."""
        assert field.make is not None
        references = field.make is CodeReference
        if isinstance(item, Scalar) and references and not item.is_null:
            text = self._text(field.parts[0], item, name)
            if text is _ABSENT:
                return []
            what = f"`{name}` is a text; allowed is an item with {_names_of(field)}"
            hint = (
                f"Write it as: - ref: {shown(item.text)[1:-1]}, and below it implements: what it does there"
            )
            self._say("wrong-type", what, item, name, hint=hint, level="warning")
            return [CodeReference(ref=text)]
        if not isinstance(item, Mapping):
            met = "a list" if isinstance(item, Sequence) else shown(item.text)
            what = f"`{name}` is {met}; allowed is an item with {_names_of(field)}"
            self._say("wrong-type", what, item, name, hint=f"Write it as:{field.example}")
            return []
        found = self._entries(item, name)
        if references and "file" in found and "ref" not in found:
            return self._old_reference(item, found, name)
        values: dict[str, Any] = {}
        known = {part.name for part in field.parts}
        for part in field.parts:
            if part.name in found:
                value = self.value(part, found[part.name][1], f"{name}.{part.name}")
                if value is not _ABSENT:
                    values[part.name] = value
                elif part.required:
                    values[""] = None
            elif part.required:
                what = f"`{name}` has no `{part.name}`; needed is {_allowed(part)}"
                near = nearest(part.name, found.keys() - known)
                hint = f"Is `{near}` meant to be `{part.name}`?" if near else ""
                self._say("missing-field", what, item, f"{name}.{part.name}", hint=hint)
                values[""] = None
        for key, (scalar, _) in found.items():
            if key not in known:
                self._unknown(key, scalar, known - found.keys(), f"an item of `{field.name}`", field.name)
        if references and "" not in values and not values.get("implements"):
            what = f"`{name}` does not say what {shown(values['ref'])} implements"
            self._say("missing-field", what, item, f"{name}.implements", level="warning")
        return [] if "" in values else [field.make(**values)]

    def _old_reference(
        self, item: Mapping, found: dict[str, tuple[Scalar, Node]], name: str
    ) -> list[CodeReference]:
        """A file with ranges of lines: it is read as the file, since lines move and names stay."""
        file = found["file"][1]
        if not isinstance(file, Scalar) or file.is_null or _CONTROL.search(file.text):
            what = f"`{name}.file` is no path; needed is a path, as `ref`"
            self._say("old-code-reference", what, file, f"{name}.file")
            return []
        ranges = found["ranges"][1] if "ranges" in found else None
        told = [
            value.text
            for part in (ranges.items if isinstance(ranges, Sequence) else ())
            if isinstance(part, Mapping)
            for key, value in part.entries
            if key.text == "implements" and isinstance(value, Scalar) and not _CONTROL.search(value.text)
        ]
        what = f"`{name}` names {shown(file.text)} by ranges of lines, the form of an earlier era"
        hint = (
            f"Write one item for each symbol in those lines: - ref: {shown(file.text)[1:-1]}#Name, "
            "and below it implements: what it does there"
        )
        self._say("old-code-reference", what, item, name, hint=hint, level="warning")
        return [CodeReference(ref=file.text, implements=each) for each in told or [""]]

    def _entries(self, item: Mapping, name: str) -> dict[str, tuple[Scalar, Node]]:
        found: dict[str, tuple[Scalar, Node]] = {}
        for key, value in item.entries:
            if key.text in found:
                what = f"`{key.text}` is there twice in `{name}`"
                self._say("duplicate-field", what, key, f"{name}.{key.text}", hint="Keep one of them.")
            else:
                found[key.text] = (key, value)
        return found

    def _missing(self, field: FieldDoc, found: dict[str, Any], kind: Kind) -> None:
        near = nearest(field.name, found.keys() - {each.name for each in kind.fields})
        hint = (
            f"Is `{near}` meant to be `{field.name}`?" if near else f"Add one of: {', '.join(field.allowed)}"
        )
        self._say("missing-field", f"has no `{field.name}`", None, field.name, hint=hint)

    def _unknown(self, name: str, key: Scalar, free: set[str], of: str, within: str = "") -> None:
        told = f"{within}.{name}"
        if told in self._noted:
            return
        self._noted.add(told)
        meant = nearest(name, free)
        hint = f"Did you mean `{meant}`?" if meant else ""
        what = f"`{shown(name)[1:-1]}` is not a field of {of}; it is kept"
        self._say("unknown-field", what, key, told.lstrip("."), hint=hint, level="note")

    def _say(
        self, rule: str, message: str, at: Node | None, field: str, hint: str = "", level: Level = "error"
    ) -> None:
        self.problems.append(self.head.problem(rule, message, at, field=field, hint=hint, level=level))


def _allowed(field: FieldDoc) -> str:
    return f"one of {', '.join(field.allowed)}" if field.allowed else field.type


def _names_of(field: FieldDoc) -> str:
    return " and ".join(part.name for part in field.parts[:2])
