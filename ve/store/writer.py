"""Writes batches of transitions: one transaction each.

Rule: no hole and nothing twice. A batch that failed is given again first and whole; one that was
written after all (the answer of its commit was lost) is then recognized and passed over.

A commit appends to one narrow table, the journal. Folding turns the journal into columns; it moves
what is durable already, so it can fail, or never happen, without losing anything.
"""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Final

import duckdb

from ve.errors import HistoryError
from ve.store.columns import FOLD_TRANSITIONS
from ve.store.file import History
from ve.store.migrate import queries
from ve.store.rows import Batch

# Bursts up to this many transitions are never interrupted; past it the writer folds all of them, some
# 2 s, between two batches. Until then every view reads the journal as text, at some 5 us a row.
_FOLD_AT: Final = 100_000
_SLICE: Final = 2_000
# How much log a start would have to replay (1 s). Not left to DuckDB: it would checkpoint in the middle
# of a commit and compress a journal that is about to be emptied (measured: 3 s and more).
_LOG_LIMIT: Final = 256 * 2**20
_JOURNAL: Final = ["seq", "kind", "text", "id", "chunk", "attempt", "status", "live"]


class Writer:
    """The one writer of a history. Use it from one thread only."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._cursor = history.cursor()
        self._last: int | None = None
        self._first_in_journal: int | None = None

    def write(self, batch: Batch) -> None:
        """Writes the batch in one transaction; it is durable when this returns.

        Raises HistoryError: nothing of the batch is written, or (the commit's answer was lost) all of
        it. Either way give the same batch again. A batch that leaves a hole is refused for good.
        """
        try:
            if self._is_written(batch):
                return
            self._fold_if_long()
            self._commit(_rows(batch))
        except (duckdb.Error, OSError) as error:
            self._forget(error)
            raise self._failed(error) from error
        self._last = batch.last_seq

    @property
    def pending(self) -> int:
        """How many transitions wait in the journal to be folded (0 before the first write)."""
        if self._first_in_journal is None or self._last is None:
            return 0
        return self._last + 1 - self._first_in_journal

    def fold_some(self) -> bool:
        """Folds up to 2,000 transitions, some 40 ms; returns whether more are left.

        Call it when no batch waits and `pending` is 1,000 or more, and when idle for a second, so that
        the journal stays short. Raises HistoryError; everything that was durable still is.
        """
        try:
            first, last = self._know_journal(), self._last or 0
            if first <= last:
                self._fold(min(first + _SLICE - 1, last))
            return self.pending > 0
        except (duckdb.Error, OSError) as error:
            self._forget(error)
            raise self._failed(error) from error

    def checkpoint(self) -> None:
        """Folds all of the journal and moves the write-ahead log into the file; at a stop, or when idle.

        Raises HistoryError; everything that was durable still is.
        """
        try:
            first, last = self._know_journal(), self._last or 0
            if first <= last:
                self._fold(last)
            self._cursor.execute("checkpoint")
        except (duckdb.Error, OSError) as error:
            self._forget(error)
            raise self._failed(error) from error

    def close(self) -> None:
        """Checkpoints and lets go of the cursor; the history stays open. Raises HistoryError."""
        try:
            self.checkpoint()
        finally:
            self._cursor.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_written(self, batch: Batch) -> bool:
        count = batch.last_seq - batch.first_seq + 1
        if len(batch.entries) != count or count < 1:
            raise HistoryError(
                f"a batch of {len(batch.entries)} entries claims seq {batch.first_seq} to {batch.last_seq}"
            )
        if self._last is None:
            self._last = self._history.last_seq()
        if self._last >= batch.last_seq:
            return True
        if batch.first_seq != self._last + 1:
            raise HistoryError(
                f"a batch begins at seq {batch.first_seq}, but the history ends at {self._last}",
                where=str(self._history.path),
                hint="Read the history again by a new start: ve orch stop, then ve orch start",
            )
        return False

    def _commit(self, rows: list[tuple[object, ...]]) -> None:
        self._cursor.begin()
        with self._cursor.appender("journal", columns=_JOURNAL) as appender:
            appender.append_rows(rows)
        self._cursor.commit()

    def _know_journal(self) -> int:
        """The first seq that is not folded yet; the next one where all are."""
        if self._last is None:
            self._last = self._history.last_seq()
        if self._first_in_journal is None:
            row = self._cursor.execute(queries()["journal_start"]).fetchone()
            first = row[0] if row else None
            self._first_in_journal = int(first) if first is not None else self._last + 1
        return self._first_in_journal

    def _fold_if_long(self) -> None:
        self._know_journal()
        if self.pending >= _FOLD_AT:
            # What the journal holds is safe there; `fold_some` and `checkpoint` tell that folding fails.
            with suppress(duckdb.Error):
                self._fold(self._last or 0)

    def _fold(self, upto: int) -> None:
        """Moves what the journal holds up to a seq into columns, in one transaction."""
        self._cursor.begin()
        try:
            for statement in (FOLD_TRANSITIONS, *_FOLDS):
                self._cursor.execute(statement, [upto])
            self._cursor.commit()
        except duckdb.Error:
            with suppress(duckdb.Error):
                self._cursor.rollback()
            raise
        self._first_in_journal = upto + 1
        if not self.pending and self._history.log_bytes() > _LOG_LIMIT:
            self._cursor.execute("checkpoint")

    def _forget(self, error: Exception) -> None:
        """Back to a state from which the same batch can be tried again."""
        self._last = self._first_in_journal = None
        with suppress(duckdb.Error):  # a failed COMMIT has ended the transaction already
            self._cursor.rollback()
        if isinstance(error, duckdb.FatalException | duckdb.ConnectionException | duckdb.InternalException):
            self._reopen()

    def _reopen(self) -> None:
        self._cursor.close()
        self._history.reopen()
        self._cursor = self._history.cursor()

    def _failed(self, error: Exception) -> HistoryError:
        return HistoryError(
            f"the history cannot be written: {str(error).strip().splitlines()[0]}",
            where=str(self._history.path),
            hint="Make room or make the file writable; writing resumes by itself. See: ve orch status",
        )


_FOLDS: Final = [queries()[name] for name in ("fold_units", "fold_board", "empty_journal")]


def _rows(batch: Batch) -> list[tuple[object, ...]]:
    """The batch as rows of the journal."""
    rows: list[tuple[object, ...]]
    rows = [
        (seq, "transition", entry.text.decode(), None, None, None, None, None)
        for seq, entry in enumerate(batch.entries, batch.first_seq)
    ]
    rows += [
        (unit.seq, "unit", unit.text.decode(), unit.id, unit.chunk, unit.attempt, unit.status, unit.live)
        for unit in batch.units
    ]
    if batch.board:
        rows.append((batch.board.seq, "board", batch.board.text.decode(), None, None, None, None, None))
    return rows
