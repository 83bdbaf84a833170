"""One question in SQL, from a person, under limits.

Rule: whatever the text says, it reads. The transaction is read-only (a `WITH … DELETE … RETURNING`
counts as a SELECT, and only the transaction refuses it), external access is off and the
configuration locked for the whole file; the memory limit is the file's as well.
"""

from __future__ import annotations

import re
import threading
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Final, Protocol
from uuid import UUID

import duckdb
from msgspec import Struct

from ve.errors import InvalidInput

_EXAMPLE: Final = "List what can be asked: ve history query 'show all tables'"
# Table functions that reach past reading even here: they stall the writer or take addresses in memory.
_FORBIDDEN: Final = re.compile(
    r'\b"?(checkpoint|force_checkpoint|\w*external_resource|pandas_scan|arrow_scan\w*|python_\w+)"?\s*\(',
    re.IGNORECASE,
)
_ZONED: Final = "TIMESTAMP WITH TIME ZONE"
_CHUNK: Final = 1000
_SAFE_INTEGER: Final = 2**63


class QueryResult(Struct, frozen=True):
    """The answer: names, DuckDB's types, rows of JSON-able values; `truncated` if rows were left off.

    Times are RFC 3339 with Z, intervals seconds, blobs hexadecimal, decimals and integers past 64 bits text.
    """

    columns: list[str]
    types: list[str]
    rows: list[list[object]]
    truncated: bool = False


class Source(Protocol):
    """What can be asked: an open history."""

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of one's own."""
        ...


def run_query(source: Source, sql: str, *, timeout_s: float = 30.0, max_rows: int = 100_000) -> QueryResult:
    """Runs one SELECT and returns at most `max_rows` rows.

    Raises InvalidInput, with DuckDB's message, for SQL that is wrong, not one SELECT, not reading
    only, or not done after `timeout_s` seconds.
    """
    cursor = source.cursor()
    late = threading.Event()

    def interrupt() -> None:
        late.set()
        cursor.interrupt()

    timer = threading.Timer(timeout_s, interrupt)
    timer.daemon = True
    try:
        statement = one_select(cursor, sql)
        timer.start()
        cursor.execute("begin transaction read only")
        return _read(cursor, statement, max_rows)
    except (duckdb.Error, RuntimeError) as error:
        if late.is_set():
            raise InvalidInput(
                f"the query took longer than {timeout_s:g} s and was stopped",
                where="sql",
                hint="Ask for less, or stop the daemon and ask the file: ve orch stop",
            ) from error
        raise InvalidInput(_said(error), where="sql", hint=_EXAMPLE) from error
    finally:
        timer.cancel()
        cursor.close()


def one_select(cursor: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The text, if it is exactly one SELECT that only reads; raises InvalidInput or duckdb.Error."""
    statements = cursor.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise InvalidInput("exactly one SELECT statement is allowed", where="sql", hint=_EXAMPLE)
    forbidden = _FORBIDDEN.search(sql)
    if forbidden:
        raise InvalidInput(f"{forbidden[1]} is not allowed here", where="sql", hint=_EXAMPLE)
    return str(statements[0].query).strip().rstrip(";")


def _said(error: Exception) -> str:
    if "pytz" in str(error):
        return "a time with a zone inside a list or struct cannot be shown; cast it to TIMESTAMP"
    return str(error).strip()


def _read(cursor: duckdb.DuckDBPyConnection, sql: str, max_rows: int) -> QueryResult:
    cursor.execute(sql)
    columns = [str(column[0]) for column in cursor.description or []]
    types = [str(column[1]) for column in cursor.description or []]
    if _ZONED in types:
        # Its values need a package that is not installed; UTC says the same. Results stream, so the
        # first execution has cost next to nothing.
        cursor.execute(f"select {_in_utc(types)} from (\n{sql}\n)")
    rows: list[list[object]] = []
    while len(rows) <= max_rows:
        some = cursor.fetchmany(min(_CHUNK, max_rows + 1 - len(rows)))
        if not some:
            break
        rows += [[_plain(value) for value in row] for row in some]
    return QueryResult(columns=columns, types=types, rows=rows[:max_rows], truncated=len(rows) > max_rows)


def _in_utc(types: list[str]) -> str:
    places = enumerate(types, 1)
    return ", ".join(f"#{i} at time zone 'UTC' as c{i}" if kind == _ZONED else f"#{i}" for i, kind in places)


def _plain(value: object) -> object:
    """The value as JSON can say it."""
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return value if -_SAFE_INTEGER <= value < _SAFE_INTEGER else str(value)
    if isinstance(value, datetime):
        return _rfc3339(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(inner) for inner in value]
    if isinstance(value, Decimal | UUID):
        return str(value)
    return str(value)


def _rfc3339(value: datetime) -> str:
    utc = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
    return utc.isoformat(timespec="microseconds") + "Z"
