"""Values as YAML text, in the manner of the documents: names plain, sentences in quotes.

Rule: what is written here is read back as the same text by any YAML reader, so whatever a reader
could take for a number, a date, a truth value or nothing is put in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Plain: TypeAlias = str | bool | Sequence[str] | None
Item: TypeAlias = str | Mapping[str, Plain]
Value: TypeAlias = str | bool | Sequence[Item] | None

_WORD = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_./#:+@-]*(?<!:)", re.ASCII)
_GUESSED = re.compile(
    r"y|n|yes|no|on|off|true|false|null|[-+]?[.0-9][0-9A-Fa-f_.:xoOXeE+-]*|\.+(?:nan|inf)?|[-+]?\.?inf",
    re.IGNORECASE,
)
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_ESCAPED = re.compile('[\\\\"\x00-\x1f\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]')


def scalar(value: str | bool | None, quote: str = "") -> str:
    """One text, truth value or null; `quote` is the quote to use, where it can be used."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if not quote and _WORD.fullmatch(value) and not _GUESSED.fullmatch(value):
        return value
    if quote == "'" and not _ESCAPED.search(value):
        return "'" + value.replace("'", "''") + "'"
    return '"' + _ESCAPED.sub(_escape, value) + '"'


def inline(items: Sequence[str], quote: str = '"') -> str:
    """A list in brackets."""
    return "[" + ", ".join(scalar(item, quote) for item in items) + "]"


def item_lines(item: Item, indent: str, quote: str = "") -> list[str]:
    """An item of a block list: a line with a dash, and a line for each further name."""
    if isinstance(item, str):
        return [f"{indent}- {scalar(item, quote)}"]
    lines = [f"{name}: {_part(value)}" for name, value in item.items()] or ["{}"]
    return [f"{indent}- {lines[0]}", *(f"{indent}  {line}" for line in lines[1:])]


def inline_item(item: Item, quote: str = '"') -> str:
    """An item of a list in brackets."""
    if isinstance(item, str):
        return scalar(item, quote)
    return "{" + ", ".join(f"{name}: {_part(value, flow=True)}" for name, value in item.items()) + "}"


def _part(value: Plain, *, flow: bool = False) -> str:
    if value is None or isinstance(value, bool | str):
        return scalar(value, '"' if flow and isinstance(value, str) else "")
    return inline(value)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
