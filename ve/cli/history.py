"""Commands on the history: ask it in SQL, a report, repair."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ve.cli.common import FROM_STDIN, AsJson, client, places
from ve.cli.output import narrate, say, say_json, span, table
from ve.errors import HistoryError, NoDaemon, UsageError

Ask = Callable[[str], dict[str, Any]]
MAX_ROWS = 100_000


def query(
    sql: Annotated[str, FROM_STDIN, Parameter(help="One SELECT; - reads it from stdin.")],
    /,
    *,
    as_json: AsJson = False,
    as_csv: Annotated[bool, Parameter(name="--csv", help="Comma separated, with a header.")] = False,
) -> None:
    """Ask in SQL; through the daemon while it runs, else the file itself."""
    if as_json and as_csv:
        raise UsageError("--json and --csv are two forms; one of them is enough")
    found = asking()(sys.stdin.read() if sql == "-" else sql)
    if as_json:
        say_json(found)
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(found["columns"])
        writer.writerows(found["rows"])
    elif found["columns"]:
        for line in table(
            found["columns"],
            [[_cell(value) for value in row] for row in found["rows"]],
            shrink=_widest(found),
        ):
            say(line)
    if found["truncated"]:
        narrate(f"only the first {len(found['rows'])} rows; there are more")


def asking() -> Ask:
    """How to ask: through the daemon, else of the file. Raises HistoryError where there is none yet."""
    daemon = client()

    def ask(sql: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = daemon.post("/history/query", {"sql": sql})
            return found
        except NoDaemon:
            return _ask_file(daemon.places.history, sql)

    return ask


def _ask_file(path: Path, sql: str) -> dict[str, Any]:
    import msgspec

    from ve.store.file import History
    from ve.store.query import run_query

    if not path.exists():
        raise HistoryError("there is no history yet", where=str(path), hint="It begins with: ve orch start")
    history = History.open_readonly(path)
    try:
        found: dict[str, Any] = msgspec.to_builtins(run_query(history, sql, max_rows=MAX_ROWS))
        return found
    finally:
        history.close()


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _widest(found: dict[str, Any]) -> list[int]:
    """The columns in the order in which they give way."""
    sizes = [
        max([len(name), *(len(_cell(row[place])) for row in found["rows"][:1000])])
        for place, name in enumerate(found["columns"])
    ]
    return sorted(range(len(sizes)), key=lambda place: -sizes[place])


_REPORT = (
    ("Units", "select status, count(*) as units from work_units group by status order by status"),
    (
        "Lead time of merged units, from inject to merge",
        "select count(*) as units, median(seconds) as median_seconds,"
        " quantile_cont(seconds, 0.9) as p90_seconds, median(queue_seconds) as queue_seconds"
        " from lead_time where status = 'DONE'",
    ),
    (
        "Time by phase",
        "select phase, count(*) as units, sum(running_seconds) as running_seconds, sum(waiting_seconds) as"
        " waiting_seconds from cycle_time group by phase order by min(first_entered_at)",
    ),
    (
        "Waiting for a person",
        "select kind, count(*) as times, sum(seconds) as wait_seconds, max(seconds) as"
        " longest_seconds from attention_wait group by kind order by wait_seconds desc",
    ),
    (
        "Done again",
        "select coalesce(sum(runs), 0) as runs, coalesce(sum(retries), 0) as retries,"
        " coalesce(sum(feedback), 0) as sent_back, coalesce(sum(conflicts), 0) as conflicts,"
        " coalesce(sum(base_moves), 0) as base_moves from rework",
    ),
    (
        "Cost",
        "select count(*) as runs, sum(input_tokens) as input_tokens, sum(output_tokens) as output_tokens,"
        " sum(cost_usd) as cost_usd from usage",
    ),
)


def report(*, as_json: AsJson = False) -> None:
    """Lead times, waits, rework and cost at a glance; each is a query of the documented views."""
    ask = asking()
    if as_json:
        say_json({title: ask(sql) for title, sql in _REPORT})
        return
    for number, (title, sql) in enumerate(_REPORT):
        if number:
            say()
        found = ask(sql)
        say(title)
        headers = [
            name.removesuffix("_seconds").replace("seconds", "time").replace("_", " ")
            for name in found["columns"]
        ]
        rows = [
            [_in_words(name, value) for name, value in zip(found["columns"], row, strict=True)]
            for row in found["rows"]
        ]
        for line in table(headers, rows):
            say(f"  {line}")


def _in_words(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("seconds"):
        return f"{value:.1f}s" if value < 60 else span(value)
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def repair(*, to: Annotated[Path, Parameter(help="The new file.")], as_json: AsJson = False) -> None:
    """Copy what can be read of a damaged history into a new file; the old one stays as it is."""
    import msgspec

    from ve.store.repair import repair as copy

    found = copy(places().history, to.absolute())
    if as_json:
        say_json(msgspec.to_builtins(found, enc_hook=str))
        return
    for name, rows in found.copied.items():
        say(f"{rows:>10} rows of {name}")
    for note in found.notes:
        narrate(note)
    if found.missing:
        narrate(f"{found.missing} transitions could not be read")
    say(f"copied to {found.path}")
