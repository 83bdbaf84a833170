"""Writes the pages of docs/reference that come from the code. Run: just docs

A test compares the pages with what this makes, so a page cannot fall behind the code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

from ve import errors
from ve.config import settings
from ve.configfile import encode

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Made by docs/build.py from the code: change it there, then run `just docs`. -->\n"


def config_page() -> str:
    """Every key of the configuration."""
    lines = [
        "# Configuration",
        "",
        NOTE,
        "Sources, later ones win: `ve.toml` in the repository's root (committed), `config.toml` in the",
        "state folder (what `ve orch config set` writes), environment variables. A key's variable is `VE_`",
        "and the key in capitals with `_` for `.`: `limits.idle_s` is `VE_LIMITS_IDLE_S`. `NAME` stands for",
        "a phase (GOAL, PLAN, IMPLEMENT, REBASE, REVIEW, COMPLETE) or an agent. A mistake in any source is",
        "an error that names file and line, and nothing of it is applied.",
        "",
        "| key | default | allowed | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for item in settings():
        default = "" if item.default is None else f"`{encode(item.default)}`"
        lines.append(f"| `{item.key}` | {default} | {item.allowed} | {item.description} |")
    return "\n".join(lines) + "\n"


def errors_page() -> str:
    """Every error with its HTTP status and exit code."""
    found = [
        item
        for _, item in inspect.getmembers(errors, inspect.isclass)
        if issubclass(item, errors.VeError) and item is not errors.VeError
    ]
    lines = ["# Errors", "", NOTE, "| error | meaning | HTTP | exit |", "| --- | --- | ---: | ---: |"]
    for item in sorted(found, key=lambda error: error.__name__):
        meaning = (inspect.getdoc(item) or "").splitlines()[0]
        lines.append(f"| `{item.__name__}` | {meaning} | {item.http_status} | {item.exit_code} |")
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {"config.md": config_page, "errors.md": errors_page}


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")
        print(f"docs/reference/{name}")


if __name__ == "__main__":
    main()
