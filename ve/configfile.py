"""A TOML file as lines: where each key stands, and one key changed without touching the others.

Rule: this knows TOML and no key of `ve`. An edit is checked by reading its result back: it must
be the old document with that one value, or the edit is refused.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from ve.errors import ConfigError


class Statement(NamedTuple):
    """A table header or a `key = value`, on lines `first` to `last` (from 0, inclusive)."""

    path: tuple[str, ...]
    first: int
    last: int
    header: tuple[str, ...]
    """The table it is in; its own path if it is a header."""
    is_header: bool


def read_text(path: Path) -> str | None:
    """The file's text, line ends kept; None if there is none. Raises `ConfigError`."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError("is not UTF-8 text", where=f"{path}:{line}") from error
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error


def parse(text: str, where: str) -> dict[str, Any]:
    """The document; raises `ConfigError` with the line of the first mistake."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+), column (\d+)\)$", str(error))
        place = f"{where}:{at[1]}:{at[2]}" if at else f"{where}:{text.count(chr(10)) + 1}"
        what = str(error).partition(" (at ")[0]
        raise ConfigError(f"is not valid TOML: {what[:1].lower()}{what[1:]}", where=place) from error
    except (RecursionError, ValueError) as error:  # depth, or a number of too many digits
        raise ConfigError(f"cannot be read: {error}", where=where) from error


def statements(text: str) -> list[Statement]:
    """Where each table and key of a valid document stands."""
    lines = _lines(text)
    found: list[Statement] = []
    header: tuple[str, ...] = ()
    at = 0
    while at < len(lines):
        stripped = lines[at].strip()
        if not stripped or stripped.startswith("#"):
            at += 1
            continue
        last, table = _extent(lines, at)
        path = _first_path(table, is_header=stripped.startswith("["))
        if stripped.startswith("["):
            header = path
            found.append(Statement(path, at, last, path, True))
        else:
            found.append(Statement((*header, *path), at, last, header, False))
        at = last + 1
    return found


def line_of(found: list[Statement], path: tuple[str, ...]) -> int:
    """The line, from 1, of the statement that gives `path`, or of what holds it."""
    best = max(found, key=lambda item: _shared(item.path, path), default=None)
    return best.first + 1 if best else 1


def edit(text: str, path: tuple[str, ...], value: Any, where: str) -> str:
    """`text` with `path` set to `value`, or without it if None; all other lines as they were.

    Raises `ConfigError` if `text` is not valid, or where no safe edit is known.
    """
    before = parse(text, where)
    expected = _with_value(before, path, value)
    if expected == before:
        return text
    for candidate in _candidates(text, before, path, value):
        try:
            if tomllib.loads(candidate) == expected:
                return candidate
        except tomllib.TOMLDecodeError:
            continue
    raise ConfigError(
        f"`{'.'.join(path)}` cannot be changed here without rewriting other lines",
        where=where,
        hint="Change the file by hand, then check it with: ve orch config",
    )


def replace(path: Path, text: str) -> None:
    """Write the file so that a reader, or a crash, sees the old text or the new one. Raises `ConfigError`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(path)) from error


def encode(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for DEL; what JSON leaves as it is, so does TOML.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        inner = ", ".join(f"{_encode_key(name)} = {encode(item)}" for name, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(encode(item) for item in value)}]"
    return str(value)


def _encode_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else encode(name)


def _lines(text: str) -> list[str]:
    """Lines with their ends; only LF ends a line in TOML."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _extent(lines: list[str], first: int) -> tuple[int, dict[str, Any]]:
    """The last line of the statement at `first`, found by reading until it is whole."""
    for last in range(first, len(lines)):
        try:
            return last, tomllib.loads("".join(lines[first : last + 1]))
        except tomllib.TOMLDecodeError:
            continue
    raise ConfigError("ends in the middle of a value")


def _first_path(table: dict[str, Any], *, is_header: bool) -> tuple[str, ...]:
    """The key that one statement names: dotted parts are tables with one entry."""
    path: list[str] = []
    node: Any = table
    while isinstance(node, dict) and len(node) == 1:
        name, node = next(iter(node.items()))
        path.append(name)
        if is_header and isinstance(node, list):
            node = node[0]
    return tuple(path)


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count


def _with_value(document: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    result = deepcopy(document)
    table = result
    for name in path[:-1]:
        if value is None and name not in table:
            return result
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            return {}
    if value is None:
        table.pop(path[-1], None)
    else:
        table[path[-1]] = value
    return result


def _candidates(text: str, before: dict[str, Any], path: tuple[str, ...], value: Any) -> Iterator[str]:
    """Edits to try, the least surprising first."""
    lines = _lines(text)
    found = statements(text)
    end = "\r\n" if any(line.endswith("\r\n") for line in lines) else "\n"
    for item in found:
        if not item.is_header and item.path == path:
            yield "".join(_replaced(lines, item, path, value))
    without = _without(lines, found, path)
    if value is None:
        yield "".join(without)
    else:
        yield from _inserted(without, path, encode(value), end)
    for item in found:
        # An inline table on the way: its whole statement is written anew.
        if not item.is_header and item.path == path[: len(item.path)] and len(item.path) < len(path):
            whole = _with_value(before, path, value)
            for name in item.path:
                whole = whole[name]
            yield "".join(_replaced(lines, item, item.path, whole))


def _replaced(lines: list[str], item: Statement, path: tuple[str, ...], value: Any) -> list[str]:
    if value is None:
        return [*lines[: item.first], *lines[item.last + 1 :]]
    last = lines[item.last]
    name = ".".join(_encode_key(part) for part in path[len(item.header) :])
    indent = lines[item.first][: len(lines[item.first]) - len(lines[item.first].lstrip())]
    comment = _comment(last) if item.first == item.last else ""
    ending = last[len(last.rstrip("\r\n")) :]
    return [
        *lines[: item.first],
        f"{indent}{name} = {encode(value)}{comment}{ending}",
        *lines[item.last + 1 :],
    ]


def _comment(line: str) -> str:
    """The comment at the end of a one-line statement, with the space before it."""
    whole = tomllib.loads(line)
    for at in (match.start() for match in re.finditer("#", line)):
        try:
            if tomllib.loads(line[:at]) == whole:
                return line[len(line[:at].rstrip()) :].rstrip("\r\n")
        except tomllib.TOMLDecodeError:
            continue
    return ""


def _without(lines: list[str], found: list[Statement], path: tuple[str, ...]) -> list[str]:
    """The lines without any statement at or under `path`, its own table's header among them."""
    gone: set[int] = set()
    for item in found:
        if item.path[: len(path)] == path:
            gone.update(range(item.first, item.last + 1))
    return [line for number, line in enumerate(lines) if number not in gone]


def _inserted(lines: list[str], path: tuple[str, ...], value: str, end: str) -> Iterator[str]:
    """The new line in the table that is closest to it, in a new table, or among the top keys."""
    if lines and not lines[-1].endswith("\n"):
        lines = [*lines[:-1], lines[-1] + end]
    found = statements("".join(lines))
    keys = [_encode_key(part) for part in path]
    headers = sorted(
        (item.path for item in found if item.is_header and item.path == path[: len(item.path)]),
        key=len,
        reverse=True,
    )
    for header in headers:
        at = max(item.last for item in found if item.header == header) + 1
        line = f"{'.'.join(keys[len(header) :])} = {value}{end}"
        yield "".join([*lines[:at], line, *lines[at:]])
    if len(path) > 1:
        gap = end if lines and lines[-1].strip() else ""
        yield "".join([*lines, f"{gap}[{'.'.join(keys[:-1])}]{end}", f"{keys[-1]} = {value}{end}"])
    top = [item.last + 1 for item in found if not item.header]
    at = max(top) if top else _before_first_header(lines, found)
    rest = lines[at:]
    gap = end if rest and rest[0].strip() and not top else ""
    line = f"{'.'.join(keys)} = {value}{end}{gap}"
    yield "".join([*lines[:at], line, *rest])


def _before_first_header(lines: list[str], found: list[Statement]) -> int:
    """Above the first table and the comment that belongs to it; with no table, the end."""
    at = min((item.first for item in found), default=len(lines))
    if at == len(lines):
        return at
    while at > 0 and lines[at - 1].lstrip().startswith("#"):
        at -= 1
    return at
