"""Copies what can be read of a damaged history into a new file.

Rule: the original is never touched. It is read through a copy, since opening a file replays its log
into it.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

import duckdb
from msgspec import Struct

from ve.errors import HistoryError, UsageError
from ve.store.migrate import create_views, migrate, queries

_TABLES: Final = ("transition_log", "journal", "unit_state", "board_state", "epochs")
# A row group: what one damaged block can take with it, so smaller steps would find nothing more.
_STEP: Final = 122_880
_SMALL_STEP: Final = 2_048


class Repaired(Struct, frozen=True):
    """What came out: rows copied by table, rows of `transitions` known to be missing, and notes on
    what could not be read, for people.
    """

    path: Path
    copied: dict[str, int]
    missing: int
    notes: list[str]


def repair(path: Path, to: Path) -> Repaired:
    """Copies what can be read of `path` into the new file `to`.

    Raises UsageError if `to` exists, HistoryError if nothing can be read. `path` and its log are
    only read.
    """
    if to.exists():
        raise UsageError(
            "the copy exists already", where=str(to), hint="Name a new file: ve history repair --to COPY"
        )
    if not path.exists():
        raise HistoryError(
            "there is no such file", where=str(path), hint="See where it should be: ve orch status"
        )
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix=".ve-repair-", dir=to.parent) as folder:
        source, copied = _open_copy(path, Path(folder), notes), {}
        try:
            target = duckdb.connect(str(to))
            try:
                migrate(target)
                target.execute("delete from board_state")
                for table in _TABLES:
                    copied[table] = _copy_table(source, target, table, notes)
                create_views(target)
                missing = _make_consistent(target, notes)
                target.execute("checkpoint")
            finally:
                target.close()
        except duckdb.Error as error:
            to.unlink(missing_ok=True)
            raise HistoryError(f"the copy cannot be written: {error}", where=str(to)) from error
        finally:
            source.close()
    return Repaired(path=to, copied=copied, missing=missing, notes=notes)


def _open_copy(path: Path, folder: Path, notes: list[str]) -> duckdb.DuckDBPyConnection:
    """Opens a copy of the file with its log, or, where the log is what is damaged, without it."""
    wal = path.with_name(path.name + ".wal")
    why = ""
    for with_log in (True, False) if wal.exists() else (False,):
        place = folder / f"source-{int(with_log)}.duckdb"
        shutil.copyfile(path, place)
        if with_log:
            shutil.copyfile(wal, place.with_name(place.name + ".wal"))
        try:
            connection = duckdb.connect(str(place))
        except (duckdb.Error, OSError) as error:
            why = str(error).strip().split("\n")[0]
            if with_log:
                notes.append(f"the write-ahead log could not be read and was left out: {why}")
            continue
        return connection
    raise HistoryError(
        f"nothing of it can be read: {why}",
        where=str(path),
        hint="Put a backup in its place, or move it away; then: ve orch start",
    )


def _copy_table(
    source: duckdb.DuckDBPyConnection, target: duckdb.DuckDBPyConnection, table: str, notes: list[str]
) -> int:
    have = _columns(source, table)
    columns = ", ".join(f'"{name}"' for name in _columns(target, table) if name in have)
    if not columns:
        notes.append(f"{table}: not found")
        return 0
    try:
        end = _number(source, f"select coalesce(max(rowid), -1) + 1 from {table}")
    except duckdb.Error as error:
        notes.append(f"{table}: not readable: {str(error).splitlines()[0]}")
        return 0
    before = 0
    for start in range(0, end, _STEP):
        before += _copy_range(source, target, table, columns, start, min(end, start + _STEP), notes)
    return before


def _copy_range(
    source: duckdb.DuckDBPyConnection,
    target: duckdb.DuckDBPyConnection,
    table: str,
    columns: str,
    start: int,
    end: int,
    notes: list[str],
) -> int:
    """Copies the rows from `start` up to `end`, halving a range that cannot be read down to 2,048 rows."""
    select = f"select {columns} from {table} where rowid >= {start} and rowid < {end}"
    try:
        rows = source.execute(select).fetchall()
    except duckdb.Error as error:
        if end - start <= _SMALL_STEP:
            notes.append(f"{table}: rows {start} to {end - 1} not readable: {str(error).splitlines()[0]}")
            return 0
        middle = (start + end) // 2
        return sum(
            _copy_range(source, target, table, columns, a, b, notes)
            for a, b in ((start, middle), (middle, end))
        )
    if rows:
        names = [name.strip('"') for name in columns.split(", ")]
        with target.appender(table, columns=names) as appender:
            appender.append_rows(rows)
    return len(rows)


def _make_consistent(target: duckdb.DuckDBPyConnection, notes: list[str]) -> int:
    """The new file's states must not be ahead of its log, or newer ones would be taken for older."""
    target.execute("insert into board_state select 0, null where not exists (from board_state)")
    last = _number(target, queries()["last_seq"])
    for table in ("unit_state", "board_state"):
        ahead = _number(target, f"select count(*) from {table} where seq > {last}")
        if ahead:
            notes.append(f"{table}: {ahead} states are newer than the last transition that could be read")
            target.execute(f"update {table} set seq = {last} where seq > {last}")
    missing = _number(target, "select coalesce(max(seq) - count(*), 0) from transitions")
    if missing:
        notes.append(f"transitions: {missing} are missing")
    return missing


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    rows = connection.execute(
        "select column_name from duckdb_columns() where table_name = ? order by column_index", [table]
    ).fetchall()
    return [str(name) for (name,) in rows]


def _number(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = connection.execute(sql).fetchone()
    return int(row[0]) if row else 0
