"""Migrations: from every earlier form to this one, with a copy made first, and the tables as documented."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from ve.errors import HistoryError
from ve.store.file import History
from ve.store.migrate import applied, migrate, migrations, schema_sql
from ve.store.query import run_query


def _shape(connection: duckdb.DuckDBPyConnection) -> list[tuple[object, ...]]:
    columns = connection.execute(
        "select table_name, column_index, column_name, data_type, is_nullable, column_default"
        " from duckdb_columns() where not internal order by all"
    ).fetchall()
    keys = connection.execute(
        "select table_name, constraint_type, constraint_column_names from duckdb_constraints() order by all"
    ).fetchall()
    return columns + keys


def test_all_migrations_applied_give_the_documented_schema() -> None:
    migrated, documented = duckdb.connect(), duckdb.connect()
    migrate(migrated)
    documented.execute(schema_sql())
    assert _shape(migrated) == _shape(documented)


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [m.number for m in migrations()] == list(range(1, len(migrations()) + 1))


def test_the_second_migration_adds_the_attention_reason() -> None:
    connection = duckdb.connect()
    migrate(connection, upto=1)
    had = {name for _, _, name, *_ in _shape(connection) if isinstance(name, str)}
    migrate(connection)
    has = {name for _, _, name, *_ in _shape(connection) if isinstance(name, str)}
    assert has - had == {"attention_kind", "attention_reason"}


@pytest.mark.parametrize("form", [m.number for m in migrations()][:-1])
def test_an_earlier_file_is_brought_up_with_its_rows_and_copied_first(path: Path, form: int) -> None:
    old = duckdb.connect(str(path))
    migrate(old, upto=form)
    old.execute(
        "insert into transition_log (seq, epoch, occurred_at, command, actor)"
        " values (1, 'e1', '2026-03-01', 'Pause', 'operator:ann')"
    )
    old.close()

    history = History.open(path, version="0.1.0")
    rows = run_query(history, "select command, attention_reason from transitions").rows
    history.close()
    assert rows == [["Pause", None]]

    copy = duckdb.connect(str(path.with_name(f"{path.name}.form-{form:04d}")), read_only=True)
    assert applied(copy) == form
    assert copy.execute("select command from transition_log").fetchall() == [("Pause",)]
    copy.close()


def test_a_file_of_a_later_version_is_left_alone(history: History, path: Path) -> None:
    history.close()
    later = duckdb.connect(str(path))
    later.execute("insert into schema_migrations values (99, 'from_the_future', '2030-01-01')")
    later.close()
    before = path.read_bytes()
    with pytest.raises(HistoryError, match="has form 99"):
        History.open(path, version="0.1.0")
    assert path.read_bytes() == before


def test_another_duckdb_file_is_not_taken_for_a_history(path: Path) -> None:
    other = duckdb.connect(str(path))
    other.execute("create table recipes (name varchar)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(HistoryError, match="not a history of ve"):
        History.open(path, version="0.1.0")
    assert path.read_bytes() == before


def test_a_migration_that_fails_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = migrations()[:2]
    broken = second._replace(sql=f"{second.sql}; select no_such_column from board_state")
    monkeypatch.setattr("ve.store.migrate.migrations", lambda: (first, broken))
    connection = duckdb.connect(str(path))
    with pytest.raises(duckdb.Error):
        migrate(connection)
    assert applied(connection) == 1
    assert not connection.execute(
        "select * from duckdb_columns() where column_name = 'attention_reason'"
    ).fetchall()
    connection.close()
