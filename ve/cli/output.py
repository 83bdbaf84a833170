"""How answers look: columns, colours, ages; and what may reach a terminal at all.

Rule: text of agents and files passes `clean` on its way to a person, so nothing in it can move the
cursor, change colours or reorder what is read. Colours only on a terminal, never with NO_COLOR.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from ve.errors import InvalidInput, VeError

WIDTH_WITHOUT_TERMINAL: Final = 100
GAP: Final = "  "
_COLOURS: Final = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "cyan": "36",
    "dim": "2",
    "bold": "1",
}
OF_STATUS: Final = {
    "RUNNING": "cyan",
    "NEEDS_ATTENTION": "yellow",
    "DONE": "green",
    "CANCELLED": "dim",
    "BLOCKED": "dim",
}
# Escape sequences whole, then every other control character, and the marks that reorder text.
_HARMFUL: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|.)?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)


def say(text: str = "") -> None:
    """A line of the answer."""
    print(text)


def narrate(text: str) -> None:
    """A line of narration, on stderr; after what was said before, also where both are one file."""
    sys.stdout.flush()
    print(f"ve: {text}", file=sys.stderr, flush=True)


def say_json(value: Any) -> None:
    """The answer for a script."""
    print(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def complain(error: VeError) -> None:
    """An error: what and where, then what to do next, on stderr."""
    lines = [f"ve: {f'{error.where}: ' if error.where else ''}{error.what}"]
    if isinstance(error, InvalidInput):
        lines += [f"  {field}: {message}" for field, message in error.errors if message not in error.what]
    lines += error.hint.splitlines()
    sys.stdout.flush()
    with contextlib.suppress(OSError):  # an answer that cannot be written does not hide the error
        sys.stdout.flush()
    print(clean("\n".join(lines)), file=sys.stderr)


def clean(text: str) -> str:
    """The text without anything that a terminal would obey; line ends and tabs stay."""
    return text if text.isascii() and text.isprintable() else _HARMFUL.sub("", text)


def one_line(text: str) -> str:
    """The text cleaned, on one line."""
    return " ".join(clean(text).split())


def colour(text: str, name: str, stream: TextIO | None = None) -> str:
    """The text in a colour, where the stream shows colours."""
    return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m" if name and coloured(stream) else text


def coloured(stream: TextIO | None = None) -> bool:
    """Whether colours may be used: on a terminal, and nobody said NO_COLOR."""
    return (
        (stream or sys.stdout).isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )


def terminal_width() -> int:
    """Columns to use: COLUMNS, else the terminal's, else 100."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or WIDTH_WITHOUT_TERMINAL
    except (OSError, ValueError):
        return WIDTH_WITHOUT_TERMINAL


def width(text: str) -> int:
    """Columns that a terminal needs for the text."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if character < "\u0300":
        return 1
    import unicodedata

    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, columns: int) -> str:
    """The text, cut with an ellipsis where it needs more than `columns`."""
    if width(text) <= columns:
        return text
    kept, used = [], 1
    for character in text:
        used += _columns(character)
        if used > columns:
            break
        kept.append(character)
    return "".join(kept).rstrip() + "…" if columns > 0 else ""


def pad(text: str, columns: int) -> str:
    """The text with spaces after it up to `columns`."""
    return text + " " * (columns - width(text))


def table(
    headers: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    shrink: Sequence[int] = (-1,),
    colour_of: dict[str, str] | None = None,
) -> list[str]:
    """Lines of aligned columns no wider than the terminal.

    Where room is short the columns of `shrink` give way, in that order, each down to 12. A cell whose
    first word is in `colour_of` is shown in that colour.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(headers, *cells, strict=True)]
    over = sum(widths) + len(GAP) * (len(widths) - 1) - terminal_width()
    for place in shrink:
        give = max(0, min(over, widths[place] - 12))
        widths[place] -= give
        over -= give
    lines = [fit(GAP.join(map(pad, headers, widths)).rstrip(), terminal_width())]
    for row in cells:
        shown = [pad(fit(cell, size), size) for cell, size in zip(row, widths, strict=True)]
        line = fit(GAP.join(shown).rstrip(), terminal_width())
        if colour_of and coloured():
            line = _with_colours(line, row, colour_of)
        lines.append(line)
    return lines


def _with_colours(line: str, row: Sequence[str], colour_of: dict[str, str]) -> str:
    for cell in row:
        word = cell.partition(" ")[0]
        if word in colour_of and f" {word}" in line:
            return line.replace(f" {word}", " " + colour(word, colour_of[word]), 1)
    return line


def moment(text: str | None) -> datetime | None:
    """The time that a face wrote."""
    return datetime.fromisoformat(text) if text else None


def since(text: str | None) -> str:
    """How long ago a time was, in words."""
    then = moment(text)
    return span((datetime.now(UTC) - then).total_seconds()) if then else ""


def span(seconds: float) -> str:
    """A stretch of time in its two largest units: 42s, 3m 05s, 2h 10m, 4d 3h."""
    total = max(0, int(seconds))
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m {total % 60:02}s"
    if total < 86_400:
        return f"{total // 3600}h {total // 60 % 60:02}m"
    return f"{total // 86_400}d {total // 3600 % 24}h"


def indented(text: str, by: str = "  ") -> str:
    """The text cleaned, each of its lines set in."""
    return "\n".join(by + line if line else "" for line in clean(text).expandtabs(4).splitlines())
