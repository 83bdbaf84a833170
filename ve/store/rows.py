"""What is written: the values that cross from a subscriber into the store. They know no units.

Rule: an `Entry` is one transition, encoded once, and the bytes are shared with the feed; a batch is
written whole or not at all.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class Entry(Protocol):
    """One transition."""

    @property
    def text(self) -> bytes:
        """The JSON object of the transition, on one line, UTF-8."""
        ...


class JsonEntry(Struct, frozen=True):
    """An entry that is nothing but its text."""

    text: bytes


class UnitRow(Struct, frozen=True):
    """The whole state of a unit after `seq`; `text` is the JSON from which a start restores it.

    `live` is true as long as a start has to know the unit: it has not ended, or not been cleaned up.
    """

    id: str
    chunk: str
    attempt: int
    status: str
    live: bool
    seq: int
    text: bytes


class BoardRow(Struct, frozen=True):
    """The whole state of the board after `seq`, as JSON."""

    seq: int
    text: bytes


class Batch(Struct, frozen=True):
    """What one commit writes: entries `first_seq`..`last_seq` without a hole, and the latest state of
    each unit that they changed (one row a unit: the caller coalesces) and of the board, if it changed.
    """

    entries: list[Entry]
    units: list[UnitRow]
    board: BoardRow | None
    first_seq: int
    last_seq: int


class ChunkRow(Struct, frozen=True):
    """What a start knows of a chunk: the highest attempt so far (numbered over its whole history),
    whether its latest ended unit was merged, and whether one of its units has not ended.
    """

    chunk: str
    attempts: int
    merged: bool
    live: bool


class Restored(Struct, frozen=True):
    """What a start reads: the texts of live units, the board's text, the last durable seq, the chunks."""

    units: list[bytes]
    board: bytes | None
    last_seq: int
    chunks: list[ChunkRow]
