"""The history file: opened, migrated, restored.

Rule: a file that does not open is never moved, rewritten or deleted; the error says which file, why,
and what to do. Only the daemon opens it for writing; while it does, no other process can read it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import duckdb
import msgspec

from ve.errors import HistoryError
from ve.store.columns import SELECT_TEXT
from ve.store.migrate import applied, create_views, migrate, migrations, queries
from ve.store.rows import ChunkRow, Restored

# The whole machine's memory by default, and this file lives inside the daemon.
MEMORY_LIMIT: Final = "1GB"
THREADS: Final = 2
# A checkpoint stalls the commit that starts it: the writer says when, DuckDB never does by itself.
_NEVER: Final = "1TB"
_REPAIR: Final = "Copy what can be read into a new file: ve history repair --to COPY"


class History:
    """An open history file. Methods may be called from any thread; each uses a cursor of its own."""

    def __init__(self, path: Path, config: dict[str, str], *, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._config = config
        self._root = _connect(path, config, read_only=read_only)

    @classmethod
    def open(cls, path: Path, *, version: str, memory_limit: str = MEMORY_LIMIT) -> History:
        """Opens or creates the file and brings it to this version's form.

        `version` is that of `ve`, kept with each epoch. `memory_limit` bounds all queries together.
        Raises HistoryError: damaged, not writable, open elsewhere, written by a later `ve`.
        """
        _refuse_stray_wal(path)
        if path.exists():
            _keep_a_copy(path, _probe(path, memory_limit))
        else:
            _create(path)
        history = cls(path, _settings(memory_limit), read_only=False)
        history.version = version
        try:
            with history._reading():
                migrate(history._root)
                create_views(history._root)
                history._lock()
        except BaseException:
            history.close()
            raise
        return history

    version: str = ""

    @classmethod
    def open_readonly(cls, path: Path, *, memory_limit: str = MEMORY_LIMIT) -> History:
        """Opens an existing file for reading only; creates and changes nothing. Raises HistoryError."""
        if not path.exists():
            raise HistoryError(
                "there is no history yet", where=str(path), hint="The first start makes one: ve orch start"
            )
        history = cls(path, _settings(memory_limit), read_only=True)
        with history._reading():
            history._lock()
        return history

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of one's own to the open file, for one thread; close it after use."""
        try:
            return self._root.cursor()
        except duckdb.Error as error:
            raise HistoryError(str(error), where=str(self.path), hint=_REPAIR) from error

    def restore(self) -> Restored:
        """What a start needs. Its cost depends on units, not on how many transitions there are."""
        text = queries()
        with self._reading() as cursor:
            units = [state.encode() for (state,) in cursor.execute(text["restore_units"]).fetchall()]
            board = cursor.execute(text["restore_board"]).fetchone()
            chunks = [ChunkRow(*row) for row in cursor.execute(text["restore_chunks"]).fetchall()]
            return Restored(
                units=units,
                board=board[0].encode() if board and board[0] else None,
                last_seq=_last_seq(cursor),
                chunks=chunks,
            )

    def last_seq(self) -> int:
        """The highest durable seq, 0 in an empty history."""
        with self._reading() as cursor:
            return _last_seq(cursor)

    def begin_epoch(self, epoch: str, started_at: datetime | None = None) -> None:
        """Records a start of the daemon; durable when this returns. Raises HistoryError."""
        at = (started_at or datetime.now(UTC)).astimezone(UTC).replace(tzinfo=None)
        with self._reading() as cursor:
            first = _last_seq(cursor) + 1
            cursor.execute(queries()["begin_epoch"], [epoch, first, at, self.version])

    def epoch_end(self, epoch: str) -> int | None:
        """The last durable seq of an epoch (the one before its first if it wrote none); None if unknown."""
        with self._reading() as cursor:
            row = cursor.execute(queries()["epoch_end"], [epoch, _last_seq(cursor)]).fetchone()
            return int(row[0]) if row else None

    def transitions_since(self, seq: int, limit: int) -> list[bytes]:
        """The JSON texts of up to `limit` transitions after `seq`, in order, as the feed had them."""
        with self._reading() as cursor:
            return [text.encode() for (text,) in cursor.execute(SELECT_TEXT, [seq, limit]).fetchall()]

    def find_key(self, key: str) -> tuple[str | None, int, str | None] | None:
        """(key_hash, seq, unit id) of the last transition made under an idempotency key, or None."""
        found = self.find_group(key)
        return found[-1] if found else None

    def find_group(self, key: str) -> list[tuple[str | None, int, str | None]]:
        """The same for every transition of the group that one command made, in order."""
        with self._reading() as cursor:
            encoded = msgspec.json.encode(key).decode()
            rows: list[tuple[str | None, int, str | None]]
            rows = cursor.execute(queries()["find_key"], [key, encoded]).fetchall()
            return rows

    def log_bytes(self) -> int:
        """The size of the write-ahead log, which the next start would replay."""
        try:
            return self.path.with_name(self.path.name + ".wal").stat().st_size
        except FileNotFoundError:
            return 0

    def find_unit(self, chunk: str, unit: str | None = None) -> bytes | None:
        """The state of a unit by its id, else of the latest unit of a chunk, as JSON; None if unknown."""
        with self._reading() as cursor:
            row = cursor.execute(queries()["find_unit"], [chunk, unit]).fetchone()
            return row[0].encode() if row else None

    def reopen(self) -> None:
        """Closes and opens again, for the writer alone: after some failed writes DuckDB wants it so."""
        self.close()
        self._root = _connect(self.path, self._config, read_only=self.read_only)
        with self._reading():
            self._lock()

    def close(self) -> None:
        """Lets the file go. What is durable stays so; moving the log into the file is the writer's part."""
        try:
            self._root.close()
        except duckdb.Error as error:
            raise HistoryError(str(error), where=str(self.path)) from error

    def _lock(self) -> None:
        # Or a query could name a variable of the daemon as its table.
        self._root.execute("set global python_enable_replacements = false")
        self._root.execute("set enable_external_access = false")
        self._root.execute("set lock_configuration = true")

    @contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = self.cursor()
        try:
            yield cursor
        except duckdb.Error as error:
            raise HistoryError(_first_line(error), where=str(self.path), hint=_REPAIR) from error
        finally:
            cursor.close()


def _settings(memory_limit: str) -> dict[str, str]:
    return {
        "threads": str(THREADS),
        "memory_limit": memory_limit,
        "wal_autocheckpoint": _NEVER,
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }


def _connect(path: Path, config: dict[str, str], *, read_only: bool) -> duckdb.DuckDBPyConnection:
    try:
        connection = duckdb.connect(str(path), read_only=read_only, config=dict(config))
        # Or closing would write, also into a file that was just found to be damaged.
        connection.execute("pragma disable_checkpoint_on_shutdown")
        return connection
    except (duckdb.Error, OSError) as error:
        raise _why_not(path, error, read_only=read_only) from error


def _why_not(path: Path, error: Exception, *, read_only: bool) -> HistoryError:
    text = _first_line(error)
    where = str(path)
    holder = re.search(r"PID (\d+)", text)
    if "lock" in text and holder:
        return HistoryError(
            f"the history is open in process {holder[1]}",
            where=where,
            hint="Ask the daemon instead, or stop it first: ve orch stop",
        )
    if not read_only and not _writable(path):
        return HistoryError(
            "the history is not writable",
            where=where,
            hint="Make the file and its folder writable, then: ve orch start",
        )
    return HistoryError(f"the history does not open: {text}", where=where, hint=_REPAIR)


def _writable(path: Path) -> bool:
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def _refuse_stray_wal(path: Path) -> None:
    """DuckDB would start an empty history beside a log that holds someone's only copy."""
    wal = path.with_name(path.name + ".wal")
    empty = not path.exists() or path.stat().st_size == 0
    if empty and wal.exists() and wal.stat().st_size > 0:
        raise HistoryError(
            "the history is gone but its write-ahead log is there",
            where=str(wal),
            hint=f"Put {path.name} back beside it, or move the log away, then: ve orch start",
        )


def _check_form(path: Path, connection: duckdb.DuckDBPyConnection) -> int:
    number = applied(connection)
    if number is None:
        raise HistoryError(
            "this is a DuckDB file, but not a history of ve",
            where=str(path),
            hint="Move it away, then: ve orch start",
        )
    newest = migrations()[-1].number
    if number > newest:
        raise HistoryError(
            f"the history has form {number}, this version knows forms up to {newest}",
            where=str(path),
            hint="Install the version of ve that wrote it, or a later one: ve --version",
        )
    return number


def _create(path: Path) -> None:
    """Makes a new file under another name first: half a file must never stand where a history belongs."""
    part = path.with_name(path.name + ".new")
    try:
        for leftover in (part, part.with_name(part.name + ".wal")):
            leftover.unlink(missing_ok=True)
        connection = _connect(part, _settings(MEMORY_LIMIT), read_only=False)
        try:
            migrate(connection)
            create_views(connection)
            connection.execute("checkpoint")
        finally:
            connection.close()
        part.replace(path)
    except (duckdb.Error, OSError) as error:
        raise HistoryError(
            f"the history cannot be created: {_first_line(error)}",
            where=str(path),
            hint="Make room or make the folder writable, then: ve orch start",
        ) from error


def _probe(path: Path, memory_limit: str) -> int:
    """Reads what a start will read, before the first open that could write; returns the file's form."""
    history = History(path, _settings(memory_limit), read_only=True)
    try:
        with history._reading() as cursor:
            form = _check_form(path, cursor)
            if form:
                # Both ends of the log: a file that was cut off has lost the one that was written last.
                cursor.execute("from transition_log order by seq desc limit 1").fetchall()
                cursor.execute("from transition_log order by seq limit 1").fetchall()
        if form == migrations()[-1].number:
            history.restore()
        return form
    finally:
        history.close()


def _keep_a_copy(path: Path, form: int) -> None:
    """Keeps the file, with its log, as it was before a migration. Call while it is closed: a second open
    and close of it in this process would drop DuckDB's lock.
    """
    if form in (0, migrations()[-1].number):
        return
    copy = path.with_name(f"{path.name}.form-{form:04d}")
    try:
        for suffix in (".wal", ""):
            source = path.with_name(path.name + suffix)
            if source.exists():
                _copy_durably(source, copy.with_name(copy.name + suffix))
    except OSError as error:
        raise HistoryError(
            f"no copy could be made before a migration: {error.strerror}",
            where=str(copy),
            hint="Make room or make the folder writable, then: ve orch start",
        ) from error


def _copy_durably(source: Path, target: Path) -> None:
    part = target.with_name(target.name + ".part")
    shutil.copy2(source, part)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)


def _last_seq(cursor: duckdb.DuckDBPyConnection) -> int:
    row = cursor.execute(queries()["last_seq"]).fetchone()
    return int(row[0]) if row else 0


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
