"""The read side of the history, for people and notebooks: typed questions, each a DuckDB relation.

Rule: a question is answered by a documented view (store/sql/views.sql), never by SQL of its own here.
So the same answer comes from Python, `ve history query`, and the daemon.

    reader = HistoryReader(Path(".git/ve/history.duckdb"))    no daemon runs
    reader = HistoryReader(client.query)                      one does; rows travel
    reader.lead_time().show()
    reader.query("select chunk, seconds from lead_time").df()     with the extra [data]
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import TracebackType

import duckdb

from ve.errors import HistoryError, InvalidInput
from ve.store.file import History
from ve.store.query import QueryResult, one_select

Ask = Callable[[str], QueryResult]


class HistoryReader:
    """Questions to a history: to its file when no daemon runs, else through whoever holds the file.

    Every method returns a DuckDBPyRelation: `.show()`, `.fetchall()`, `.filter()`, and with the extra
    `[data]` `.df()`, `.pl()`, `.arrow()`. Times are UTC, durations seconds. From a file a relation is
    lazy and lives as long as the reader; through a daemon it is a local copy of the rows.
    """

    def __init__(self, source: Path | Ask) -> None:
        """Opens the file for reading only; raises HistoryError where it does not open."""
        self._file = History.open_readonly(source) if isinstance(source, Path) else None
        self._ask: Ask | None = None if isinstance(source, Path) else source
        self._local = self._file.cursor() if self._file else duckdb.connect()
        self._numbers = count(1)

    def query(self, sql: str) -> duckdb.DuckDBPyRelation:
        """Any one SELECT. Raises InvalidInput, with DuckDB's message, if it is wrong.

        Through a daemon: HistoryError if the daemon left rows off.
        """
        if self._ask is None:
            return self._from_file(sql)
        result = self._ask(sql)
        if result.truncated:
            raise HistoryError(
                f"the answer has more than {len(result.rows)} rows and was cut",
                hint="Ask for less, or stop the daemon and read the file: ve orch stop",
            )
        return self._from_rows(result)

    def lead_time(self) -> duckdb.DuckDBPyRelation:
        """Of each ended unit, seconds from inject to its end and to its first run."""
        return self.query("select * from lead_time")

    def cycle_time(self) -> duckdb.DuckDBPyRelation:
        """Of each unit and phase, seconds over all visits, running and waiting."""
        return self.query("select * from cycle_time")

    def time_in_status(self) -> duckdb.DuckDBPyRelation:
        """Of each unit and status, seconds over all visits."""
        return self.query("select * from time_in_status")

    def attention_wait(self) -> duckdb.DuckDBPyRelation:
        """Each time a unit needed a person: why, and seconds until someone acted."""
        return self.query("select * from attention_wait")

    def rework(self) -> duckdb.DuckDBPyRelation:
        """Of each unit, what was done again: attempts, runs, retries, review rounds, conflicts."""
        return self.query("select * from rework")

    def throughput(self) -> duckdb.DuckDBPyRelation:
        """Of each day (UTC), units injected, merged and cancelled."""
        return self.query("select * from throughput")

    def slot_use(self) -> duckdb.DuckDBPyRelation:
        """Of each hour (UTC) and slot, busy seconds and their share."""
        return self.query("select * from slot_use")

    def runs(self) -> duckdb.DuckDBPyRelation:
        """The runs, newest first: phase, times, exit, tokens, cost."""
        return self.query("select * from run_list")

    def questions(self) -> duckdb.DuckDBPyRelation:
        """Every question of an agent, with its answer and its state."""
        return self.query("select * from questions")

    def cost_per_merged_unit(self) -> duckdb.DuckDBPyRelation:
        """Of each merged unit, tokens and US dollars over all its runs."""
        return self.query("select * from cost_per_merged_unit")

    def board_at(self, moment: datetime | str) -> duckdb.DuckDBPyRelation:
        """Every unit as it was at that moment, the flat view. A time without a zone is UTC."""
        try:
            time = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        except ValueError as error:
            raise InvalidInput(
                f"not a time: {moment!r}", where="board_at", hint="Write it as 2026-01-31T09:30:00Z"
            ) from error
        utc = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
        return self.query(f"select * from board_at('{utc.isoformat()}')")

    def close(self) -> None:
        """Lets the file go; relations of this reader can no longer be read."""
        self._local.close()
        if self._file:
            self._file.close()

    def __enter__(self) -> HistoryReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _from_file(self, sql: str) -> duckdb.DuckDBPyRelation:
        try:
            return self._local.sql(one_select(self._local, sql))
        except duckdb.Error as error:
            raise InvalidInput(str(error).strip(), where="sql") from error

    def _from_rows(self, result: QueryResult) -> duckdb.DuckDBPyRelation:
        """The rows as a table of their own types in this process's memory."""
        name = f"answer_{next(self._numbers)}"
        columns = zip(_distinct(result.columns), result.types, strict=True)
        fields = ", ".join(f"{_typed(i, kind)} as {_quoted(c)}" for i, (c, kind) in enumerate(columns))
        spec = json.dumps({f"c{i}": _carrier(kind) for i, kind in enumerate(result.types)})
        lines = json.dumps([{f"c{i}": value for i, value in enumerate(row)} for row in result.rows])
        self._local.execute(
            f"create table {name} as select {fields} from (select unnest(from_json(?, '[{spec}]')) as r)",
            [lines],
        )
        return self._local.table(name)


def _carrier(kind: str) -> str:
    """As what a value is read from JSON before it is cast to its own type."""
    return "JSON" if _nested(kind) else "VARCHAR"


def _nested(kind: str) -> bool:
    return kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION"))


def _typed(place: int, kind: str) -> str:
    if kind == "BLOB":
        return f"unhex(r.c{place})"
    if kind.startswith("ENUM"):
        return f"r.c{place}"
    if kind == "INTERVAL":
        return f"to_seconds(r.c{place}::DOUBLE)"
    return f"r.c{place}::{'TIMESTAMP' if kind == 'TIMESTAMP WITH TIME ZONE' else kind}"


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _distinct(names: list[str]) -> list[str]:
    """Two columns of an answer may have one name, two columns of a table may not."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name.lower()] = seen.get(name.lower(), 0) + 1
        number = seen[name.lower()]
        distinct.append(name if number == 1 else f"{name}_{number}")
    return distinct
