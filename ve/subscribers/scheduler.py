"""Gives free slots to units: asks `choose`, sends Dispatch. Wakes on the stream and one timer."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from datetime import datetime
from typing import TYPE_CHECKING

from ve.agents.base import Fitness
from ve.choose import choose
from ve.commands import Command, Dispatch, LaneOpened, Retry, Unfit
from ve.subscribers import Subscriber
from ve.unit import NeedsAttention, Ready, WorkUnit, utcnow
from ve.views import Transition

if TYPE_CHECKING:
    from ve.core import Core

log = logging.getLogger(__name__)
ACTOR = "scheduler"
TIMED = (Ready, NeedsAttention)


def content_hash(text: str) -> str:
    """What a setup or check command is approved by."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def new_run_id(unit: WorkUnit) -> str:
    """`<unit>-<attempt>-<phase>-<n>-<random>`: the run's id and its folder's name."""
    return f"{unit.id}-{unit.attempt}-{unit.phase.lower()}-{unit.runs + 1}-{secrets.token_hex(3)}"


class Scheduler(Subscriber):
    """Sends Dispatch, Unfit, LaneOpened, and Retry for refused landings."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self.draining = False
        # Kept in step with the stream, so that a look costs what is ready, not what there is.
        self._ready: dict[str, None] = {}  # in the order in which they became so
        self._timed: dict[str, datetime] = {}
        self._planned = False
        self._timer: asyncio.TimerHandle | None = None

    async def on_start(self) -> None:
        self._ready.clear()
        self._timed.clear()
        for unit in self.core.stream.index.live():
            self._note(unit)
        self._plan()

    def on_emit(self, transition: Transition) -> None:
        unit = transition.unit
        if unit is not None:
            self._note(unit)
            # Only a unit that may run, or a slot that may be free, gives a reason to look.
            if unit.slot is not None and unit.id not in self._timed:
                return
        self._plan()

    def _note(self, unit: WorkUnit) -> None:
        state = unit.state
        if isinstance(state, Ready):
            self._ready.setdefault(unit.id)
        else:
            self._ready.pop(unit.id, None)
        retry_at = state.retry_at if isinstance(state, TIMED) else None
        if retry_at is not None:
            self._timed[unit.id] = retry_at
        else:
            self._timed.pop(unit.id, None)

    def _plan(self) -> None:
        """Look once the present turn is over, however many transitions it has."""
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._planned = False
        stream = self.core.stream
        if self.draining or stream.outage:
            return
        now = utcnow()
        for lane in stream.board.lanes:
            if lane.until <= now:
                stream.submit(LaneOpened(backend=lane.backend), ACTOR)
        self._retry_landings(now)
        if not stream.board.paused and stream.index.free_slots():
            self._fill(now)
        wakes = [*self._timed.values(), *(lane.until for lane in stream.board.lanes)]
        self._wake_at(min(wakes, default=None), now)

    def _fill(self, now: datetime) -> None:
        stream = self.core.stream
        ready = [unit for unit in map(stream.unit, self._ready) if unit is not None]
        choice = choose(stream.index, self.core.backend_of, now, candidates=ready)
        clients, unfit = self.core.clients, set[str]()
        for unit_id in choice.dispatch:
            unit = stream.unit(unit_id)
            free = stream.index.free_slots()
            if unit is None or not free:
                continue
            backend = self.core.backend_of(unit)
            fitness = clients.known(backend, self._plan)
            if fitness is None:
                continue
            if not fitness.ok:
                unfit.add(backend)
            stream.submit(self._unfit(unit, fitness) or self._dispatch(unit, free[0]), ACTOR)
        for backend in unfit:  # whoever comes next, or is tried again, finds what has changed
            clients.forget(backend)

    def _retry_landings(self, now: datetime) -> None:
        for unit_id in [unit_id for unit_id, at in self._timed.items() if at <= now]:
            unit = self.core.stream.unit(unit_id)
            if unit is not None and isinstance(unit.state, NeedsAttention):
                self.core.stream.submit(Retry(unit=unit_id), ACTOR)
            elif unit is not None:
                del self._timed[unit_id]  # READY again, and among those to choose from

    def _dispatch(self, unit: WorkUnit, slot: int) -> Command:
        return Dispatch(unit=unit.id, run=new_run_id(unit), slot=slot, backend=self.core.backend_of(unit))

    def _unfit(self, unit: WorkUnit, fitness: Fitness) -> Command | None:
        """A unit whose agent is missing, or whose repository wants to run what nobody approved."""
        if not fitness.ok:
            said = ". ".join(
                part.strip().rstrip(".") for part in (fitness.reason, fitness.hint) if part.strip()
            )
            return Unfit(unit=unit.id, reason=f"{said}. Then: ve orch retry {unit.chunk}")
        config = self.core.stream.board.config
        for what, command in (("setup", config.worktree.setup), ("check", config.landing.check)):
            digest = content_hash(command) if command else None
            if digest and digest not in self.core.stream.board.approved:
                reason = (
                    f"the repository's {what} command was not approved yet:\n{command}\n"
                    f"approve it once for all units: ve orch approve {unit.chunk} --hash {digest}"
                )
                return Unfit(unit=unit.id, reason=reason, approve_hash=digest)
        return None

    def _wake_at(self, at: datetime | None, now: datetime) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if at is not None:
            delay = max((at - now).total_seconds(), 0) + 0.001
            self._timer = asyncio.get_running_loop().call_later(delay, self._plan)

    async def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        await super().close()
