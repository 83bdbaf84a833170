"""Blocks and unblocks: BLOCKED is derived from the dependencies' states, never edited.

Level-triggered: each time a chunk gains or loses its live unit, every unit that names it is looked at
as it is; and once over all units at a start. So no order of events can leave one blocked for ever.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ve.commands import Block, Command, DependencyGone, Unblock
from ve.subscribers import Subscriber
from ve.unit import Blocked, Ready, WorkUnit
from ve.views import Transition

if TYPE_CHECKING:
    from ve.core import Core

ACTOR = "daemon"
QUEUED = (Ready, Blocked)


class Readiness(Subscriber):
    """Sends Block, Unblock and DependencyGone."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._dependents: defaultdict[str, set[str]] = defaultdict(set)

    async def on_start(self) -> None:
        self._dependents.clear()
        units = list(self.core.stream.index.live())
        for unit in units:
            self._remember(unit)
        for unit in units:
            self._check(unit.id)

    def on_emit(self, transition: Transition) -> None:
        unit = transition.unit
        if unit is None:
            return
        if transition.origin is None:
            self._remember(unit)
        if unit.chunk.lower() in self._dependents and (transition.origin is None or not unit.live):
            for dependent in tuple(self._dependents.get(unit.chunk.lower(), ())):
                self._check(dependent)
        if not (unit.depends_on or unit.created_after or isinstance(unit.state, Blocked)):
            return  # it can wait for nothing, and does not
        if not unit.live:
            self._forget(unit)
        elif isinstance(unit.state, QUEUED) and unit.worktree is None:
            self._check(unit.id)

    def _remember(self, unit: WorkUnit) -> None:
        for name in (*unit.depends_on, *unit.created_after):
            self._dependents[name.lower()].add(unit.id)

    def _forget(self, unit: WorkUnit) -> None:
        for name in (*unit.depends_on, *unit.created_after):
            self._dependents[name.lower()].discard(unit.id)

    def _check(self, unit_id: str) -> None:
        unit = self.core.stream.unit(unit_id)
        command = self._due(unit) if unit is not None else None
        if command is not None:
            self.core.stream.submit(command, ACTOR)

    def _due(self, unit: WorkUnit) -> Command | None:
        """What the dependencies' states ask for, if it is not so already."""
        state = unit.state
        if not isinstance(state, QUEUED) or unit.worktree is not None or unit.closing:
            return None
        waits, gone = self.core.stream.index.waits_and_gone(unit)
        if gone:
            return DependencyGone(unit=unit.id, gone=gone)
        if isinstance(state, Blocked):
            if not waits:
                return Unblock(unit=unit.id)
            return Block(unit=unit.id) if waits != state.by else None
        return Block(unit=unit.id) if waits and unit.runs == 0 and unit.ending is None else None
