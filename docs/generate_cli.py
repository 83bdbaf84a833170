"""Writes docs/reference/cli.md from the `--help` pages. Run: python docs/generate_cli.py

A test compares the page with what this makes, so every command that is registered is documented.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from cyclopts import App
from rich.console import Console

from ve.cli.app import app

PAGE = Path(__file__).parent / "reference" / "cli.md"
NOTE = "<!-- Made by docs/generate_cli.py from the --help pages: change them there, then run it. -->"
INTRODUCTION = """\
Commands work from any folder of the repository, also inside a unit's worktree. stdout is the answer,
stderr the narration and the errors. `--json` prints what the HTTP API answers. Without a terminal, answers
are 100 columns wide unless `COLUMNS` says otherwise; colours are for terminals only, and never with
`NO_COLOR`.

| exit code | meaning |
| ---: | --- |
| 0 | done |
| 1 | refused or failed |
| 2 | usage: the words of the call, a key or a value |
| 3 | no daemon runs for this repository |
| 130 | interrupted |
"""


def commands(here: App, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group of commands that is registered, as the words that call it."""
    yield words
    for name in here:
        if not name.startswith("-"):
            yield from commands(here[name], (*words, name))


def help_page(words: tuple[str, ...]) -> str:
    """What `--help` shows, in 100 columns."""
    said = StringIO()
    app.help_print(
        list(words), console=Console(file=said, width=100, force_terminal=False, color_system=None)
    )
    return "\n".join(line.rstrip() for line in said.getvalue().strip().splitlines())


def cli_page() -> str:
    """The whole page."""
    parts = ["# Command line", "", NOTE, "", INTRODUCTION]
    for words in commands(app):
        parts += [f"## `{' '.join(('ve', *words))}`", "", "```text", help_page(words), "```", ""]
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(cli_page(), encoding="utf-8")
    print(PAGE)
