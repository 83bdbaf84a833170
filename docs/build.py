"""Writes the pages of docs/reference that come from the code, and the figures of docs/design/benchmarks.md.

Run: just docs

A test compares the pages with what this makes, so a page cannot fall behind the code.
"""

from __future__ import annotations

import inspect
import json
import re
import runpy
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb

from ve import errors
from ve.config import settings
from ve.configfile import encode
from ve.store.migrate import create_views, migrate, views_sql

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


VIEWS_INTRODUCTION = """\
What can be asked in SQL: `ve history query`, `orch.history.query`, `POST /history/query`. One SELECT,
read-only, at most 30 s and 100,000 rows. Every view but `units` and `board`, which a start reads, is made
from the log of transitions, so no answer can disagree with it. Times are UTC timestamps without a zone; in
answers they are RFC 3339 with `Z`. Durations are seconds; a state that lasts counts up to now. A column that
holds JSON is text: take it apart with `json_extract_string`.

The tables behind the views (`transition_log`, `journal`, `unit_state`, `board_state`) may change with any
version; the views do not without a line in the [news](../news/README.md). `epochs` has one row a start of
the daemon: `epoch`, `first_seq`, `started_at`, `version`.
"""


def views_page() -> str:
    """Every view of the history: its sentence from views.sql, its columns from DuckDB."""
    database = duckdb.connect()
    migrate(database)
    create_views(database)
    lines = ["# Views of the history", "", NOTE, VIEWS_INTRODUCTION]
    for title, found in view_comments(views_sql()):
        lines += [f"## {title}", ""]
        for name, sentence in found:
            call = name.replace("(t)", "('2026-01-31T09:30:00Z')")
            columns = database.execute(f"describe select * from {call}").fetchall()
            named = ", ".join(f"`{column[0]}` {str(column[1]).lower()}" for column in columns)
            said = sentence[0].upper() + sentence[1:]
            lines += [f"### `{name}`", "", wrapped(said), "", wrapped(f"Columns: {named}."), ""]
    return "\n".join(lines).rstrip() + "\n"


def wrapped(text: str) -> str:
    """A paragraph in lines that an editor shows whole."""
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def view_comments(sql: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """(section, [(view, its sentence)]) of views.sql: a comment `-- name: sentence` before each view."""
    parts = re.split(r"^-- ── (.+?) ─+$", sql, flags=re.MULTILINE)
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        blocks = re.findall(r"^-- ([a-z_]+(?:\(t\))?): (.+(?:\n--.*)*)", text, re.MULTILINE)
        yield title, [(name, re.sub(r"\n-- ?", " ", said)) for name, said in blocks]


BENCHMARKS = Path(__file__).parent / "design" / "benchmarks.md"
FIGURES = re.compile(r"(<!-- figures -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def benchmarks_page() -> str:
    """The page with the figures that `just bench --json docs/design/benchmarks.json` has left."""
    page = BENCHMARKS.read_text(encoding="utf-8")
    measured = BENCHMARKS.with_suffix(".json")
    if not measured.exists():
        return page
    told = json.loads(measured.read_text(encoding="utf-8"))
    at = told["circumstances"]
    module = runpy.run_path(str(BENCHMARKS.parents[2] / "tests" / "bench" / "figures.py"))
    rows = [module["Figure"](**figure).row() for figure in told["figures"]]
    where = (
        f"Taken {at['taken_at']} on {at['cores']} cores, {at['memory_gib']} GiB, {at['system']}, Python "
        f"{at['python']}; load {at['load_before']} before, {at['load_after']} after.\n"
    )
    table = "\n".join([wrapped(where), "", module["HEAD"], *rows]) + "\n"
    return FIGURES.sub(lambda found: found[1] + table + found[2], page)


PAGES: dict[str, Callable[[], str]] = {
    "config.md": config_page,
    "errors.md": errors_page,
    "views.md": views_page,
}


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")
        print(f"docs/reference/{name}")
    BENCHMARKS.write_text(benchmarks_page(), encoding="utf-8")
    print("docs/design/benchmarks.md")


if __name__ == "__main__":
    main()
