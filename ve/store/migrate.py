"""Brings a history to this version's form: numbered SQL files, then the views.

Rule: a migration file that was released is never changed; a change is the next number. Each runs in
one transaction together with its record in `schema_migrations`. Views hold no data: they are made
again whenever their text has changed.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from functools import cache
from importlib import resources
from typing import NamedTuple

import duckdb

from ve.store.columns import VIEW


class Migration(NamedTuple):
    """One numbered SQL file."""

    number: int
    name: str
    sql: str


_FOLDER = resources.files("ve.store") / "sql"
_RECORD = """
create table if not exists schema_migrations (
    number integer primary key, name varchar not null, applied_at timestamp not null)
"""


@cache
def migrations() -> tuple[Migration, ...]:
    """All migrations of this version, in order."""
    found = []
    for file in (_FOLDER / "migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text("utf-8")))
    return tuple(sorted(found))


@cache
def queries() -> dict[str, str]:
    """The statements of queries.sql by name."""
    text = (_FOLDER / "queries.sql").read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def views_sql() -> str:
    """The text of views.sql."""
    return (_FOLDER / "views.sql").read_text("utf-8")


def schema_sql() -> str:
    """The text of schema.sql: the tables as all migrations leave them."""
    return (_FOLDER / "schema.sql").read_text("utf-8")


def applied(connection: duckdb.DuckDBPyConnection) -> int | None:
    """The number of the last migration that a file has; 0 for an empty file, None if it is not ours."""
    tables = {name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()}
    if "schema_migrations" in tables:
        row = connection.execute("select coalesce(max(number), 0) from schema_migrations").fetchone()
        return int(row[0]) if row else 0
    return None if tables else 0


def migrate(connection: duckdb.DuckDBPyConnection, *, upto: int | None = None) -> None:
    """Applies what is missing, up to a number where one is given; raises duckdb.Error."""
    done = applied(connection) or 0
    for migration in migrations():
        if done < migration.number and (upto is None or migration.number <= upto):
            _apply(connection, migration)


def create_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes every view and macro anew, in one transaction, unless the file has these already.

    Raises duckdb.Error.
    """
    sql = f"{VIEW};\n{views_sql()}"
    digest = hashlib.sha256(sql.encode()).hexdigest()
    if connection.execute("select digest from schema_views").fetchone() == (digest,):
        return
    record = f"delete from schema_views; insert into schema_views values ('{digest}')"
    _in_one(connection, f"{sql};\n{record}")


def _apply(connection: duckdb.DuckDBPyConnection, migration: Migration) -> None:
    record = (
        f"{_RECORD}; insert into schema_migrations values "
        f"({migration.number}, '{migration.name}', now() at time zone 'UTC')"
    )
    _in_one(connection, f"{migration.sql};\n{record}")


def _in_one(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    connection.begin()
    try:
        connection.execute(sql)
        connection.commit()
    except duckdb.Error:
        with suppress(duckdb.Error):  # a failed COMMIT has ended the transaction already
            connection.rollback()
        raise
