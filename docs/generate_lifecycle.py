"""Write docs/lifecycle.md: the life of a work unit, from the table in ve/transitions.py.

    python docs/generate_lifecycle.py

The page says what the code says: sentences are the docstrings of states and commands, the table and
the diagram are `TABLE`. A test compares the committed page with what this makes.
"""

from __future__ import annotations

import inspect
import typing
from pathlib import Path

from ve import commands as c
from ve import unit as u
from ve.transitions import TABLE, WHILE_CLOSING, Row

PAGE = Path(__file__).parent / "lifecycle.md"
STATES: tuple[type[u.Frozen], ...] = typing.get_args(u.State)
INTRODUCTION = """\
# The life of a work unit

<!-- Made by docs/generate_lifecycle.py from the code. Do not edit. -->

A work unit takes one chunk to a merge. It changes only by a command, and every command that changes it is
a numbered line of the history. This page lists the states, the commands, and which command leads where.
The board shows REBASING and LANDING as RUNNING, with a `stage` that tells them apart.

A unit runs through phases: {phases}.
GOAL only when the chunk's goal has no text yet; REBASE is done by `ve` itself, by an agent only when
there is a conflict.
"""
ORDER = """\
## Before the table

Four things are looked at before a row is, in this order:

1. A unit that has ended changes no more; only its tree is still cleaned up.
2. A command of a run that is neither the unit's current run nor ending is refused as stale.
3. While a unit is being stopped or renewed, all is refused but {closing}.
4. A command that no row has for the state is refused, with the reason and the verbs that are legal now.

A command that would change nothing is accepted and is no transition. A run that no longer decides anything
but still lives is *ending*: it keeps its slot until it is gone, whatever the state of its unit.
"""


def sentence(kind: type) -> str:
    """The first paragraph of a docstring on one line, fit for a cell of a table."""
    text = (inspect.getdoc(kind) or "").split("\n\n")[0]
    return " ".join(text.split()).replace("|", "\\|")


def name(state: type[u.Frozen] | None) -> str:
    return "–" if state is None else str(state.__struct_config__.tag)


def commands() -> list[type[c.Command]]:
    """Those of the table, each once, in its order."""
    return list(dict.fromkeys(row.command for row in TABLE))


def names(states: tuple[type[u.Frozen] | None, ...]) -> str:
    return ", ".join(name(state) for state in states)


def line(row: Row) -> str:
    to = names(row.to) if row.to else "the same"
    return f"| {names(row.origin)} | `{row.command.__name__}` | {to} | {row.note} |"


def arrows() -> list[str]:
    """An arrow for each pair of states, with the commands that lead from one to the other."""
    labels: dict[tuple[str, str], list[str]] = {}
    for row in TABLE:
        for origin in row.origin:
            for to in row.to:
                if to is not origin:
                    start = "[*]" if origin is None else name(origin)
                    label = labels.setdefault((start, name(to)), [])
                    if row.command.__name__ not in label:
                        label.append(row.command.__name__)
    found = [f"    {start} --> {to}: {', '.join(label)}" for (start, to), label in labels.items()]
    ended = [f"    {name(state)} --> [*]" for state in STATES if issubclass(state, u.TERMINAL)]
    return [*found, *ended]


def page() -> str:
    """The whole page."""
    closing = ", ".join(f"`{kind.__name__}`" for kind in WHILE_CLOSING)
    parts = [
        INTRODUCTION.format(phases=", ".join(u.Phase)),
        "## States\n\n| state | what it means |\n|---|---|",
        *(f"| {name(state)} | {sentence(state)} |" for state in STATES),
        "\n## Commands\n\n| command | who sends it | what it says |\n|---|---|---|",
        *(f"| `{kind.__name__}` | {', '.join(kind.sent_by)} | {sentence(kind)} |" for kind in commands()),
        "\n" + ORDER.format(closing=closing),
        "## The table\n\n| in | command | leads to | note |\n|---|---|---|---|",
        *map(line, TABLE),
        "\n## The diagram\n\n```mermaid\nstateDiagram-v2",
        *arrows(),
        "```",
    ]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
