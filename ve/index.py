"""Where every unit stands right now, indexed for the questions that decisions ask.

Used by the stream alone, inside one turn: `apply` follows each accepted transition and can be undone,
so that a group of commands is decided as if it were one. No clock, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from ve import commands as c
from ve.rules.base import Facts
from ve.unit import Board, Done, WorkUnit


class Chunk(NamedTuple):
    """What is known of a chunk: how many attempts it had, and what its latest ended unit came to."""

    name: str
    attempts: int = 0
    merged: bool | None = None  # None: no unit of it has ended
    live: str | None = None  # the id of its live unit


class Index:
    """Units by id, chunks by name (case ignored), slots in use."""

    def __init__(self, board: Board, units: Iterable[WorkUnit] = (), chunks: Iterable[Chunk] = ()) -> None:
        self.board = board
        self.units: dict[str, WorkUnit] = {}
        self._chunks: dict[str, Chunk] = {chunk.name.lower(): chunk for chunk in chunks}
        self._slots: dict[str, int] = {}
        for unit in units:
            self.apply(None, unit)

    def apply(self, before: WorkUnit | None, after: WorkUnit | None) -> None:
        """Follow a transition; `apply(after, before)` undoes it where only one was applied since."""
        unit = after or before
        assert unit is not None
        if after is None:
            del self.units[unit.id]
            self._slots.pop(unit.id, None)
        else:
            self.units[unit.id] = after
            slot = after.slot
            if slot is not None:
                self._slots[unit.id] = slot
            elif unit.id in self._slots:
                del self._slots[unit.id]
        if (
            before is None
            or after is None
            or type(before.state) is not type(after.state)
            or before.attempt != after.attempt
        ):
            self._follow_chunk(unit, after)

    def _follow_chunk(self, unit: WorkUnit, after: WorkUnit | None) -> None:
        key = unit.chunk.lower()
        known = self._chunks.get(key) or Chunk(name=unit.chunk)
        if after is None:
            known = known._replace(attempts=unit.attempt - 1, live=None)
        elif after.live:
            known = known._replace(
                name=after.chunk, attempts=max(known.attempts, after.attempt), live=after.id
            )
        elif known.live in (None, after.id):
            attempts = max(known.attempts, after.attempt)
            known = known._replace(attempts=attempts, live=None, merged=isinstance(after.state, Done))
        self._chunks[key] = known

    def chunk(self, name: str) -> Chunk:
        """What is known of a chunk, also when that is nothing."""
        return self._chunks.get(name.lower()) or Chunk(name=name)

    def live(self) -> Iterator[WorkUnit]:
        """All units that have not ended."""
        return (unit for unit in self.units.values() if unit.live)

    @property
    def slots_used(self) -> int:
        """Runs that have not ended, whatever their unit's status."""
        return len(self._slots)

    def free_slots(self) -> tuple[int, ...]:
        """The numbers of the free slots, from 1."""
        used = set(self._slots.values())
        return tuple(n for n in range(1, self.board.config.slots + 1) if n not in used)

    def dependencies(
        self, chunk: str, depends_on: Iterable[str], created_after: Iterable[str], satisfied: Iterable[str]
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(waited for, gone), level-triggered: read from the chunks as they are now."""
        waits: list[str] = []
        gone: list[str] = []
        satisfied = tuple(satisfied)
        for name in depends_on:
            known = self.chunk(name)
            if known.live:
                waits.append(name)
            elif not (known.merged or (known.merged is None and name in satisfied)):
                gone.append(name)
        for name in created_after:
            if self.chunk(name).live and name not in waits and name.lower() != chunk.lower():
                waits.append(name)
        return tuple(waits), tuple(gone)

    def waits_and_gone(self, unit: WorkUnit) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What a unit waits for, and which of its dependencies nothing will satisfy."""
        if not unit.depends_on and not unit.created_after:
            return (), ()
        return self.dependencies(unit.chunk, unit.depends_on, unit.created_after, unit.satisfied)

    def facts(self, unit: WorkUnit | None, command: c.Command, now: datetime) -> Facts:
        """What `decide` needs for this command, and no more."""
        if isinstance(command, c.Inject):
            return self._facts_of_inject(command, now)
        if unit is None:
            return Facts(now=now, board=self.board)
        waits, gone = self.waits_and_gone(unit)
        free = self.free_slots() if isinstance(command, c.Dispatch) else ()
        renews = isinstance(command, c.Retry) and command.fresh
        cycle = self._cycle(unit.chunk, unit.depends_on, unit.created_after) if renews else ()
        return Facts(now=now, board=self.board, waits=waits, gone=gone, free_slots=free, cycle=cycle)

    def _facts_of_inject(self, command: c.Inject, now: datetime) -> Facts:
        known = self.chunk(command.chunk)
        same = known.name == command.chunk
        waits, gone = self.dependencies(
            command.chunk, command.depends_on, command.created_after, command.satisfied
        )
        return Facts(
            now=now,
            board=self.board,
            waits=waits,
            gone=gone,
            live_unit=known.live if same else None,
            collides=known.name if known.live and not same else None,
            attempts=known.attempts,
            cycle=self._cycle(command.chunk, command.depends_on, command.created_after),
        )

    def _cycle(self, chunk: str, depends_on: Iterable[str], created_after: Iterable[str]) -> tuple[str, ...]:
        """The cycle that a unit of this chunk closes if it waits for these, or nothing."""
        target = chunk.lower()
        named = (*depends_on, *(name for name in created_after if name.lower() != target))
        seen: set[str] = set()
        stack: list[tuple[str, tuple[str, ...]]] = [(name, (chunk, name)) for name in named]
        while stack:
            name, path = stack.pop()
            if name.lower() == target:
                return path
            live = self.chunk(name).live
            if name.lower() in seen or live is None:
                continue
            seen.add(name.lower())
            unit = self.units[live]
            if unit.worktree is None:  # one that has begun waits for nobody
                stack.extend(
                    (further, (*path, further)) for further in (*unit.depends_on, *unit.created_after)
                )
        return ()
