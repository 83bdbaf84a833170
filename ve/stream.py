"""The one way in which state changes: every unit's state is a BehaviorSubject, all of them are one stream.

THE INVARIANT. A work unit's state changes only through `Stream.submit`, and whoever has to know of a
change subscribes. Saving it, sending it to the dashboard, scheduling, worktrees and agents are all
subscribers of the one merged observable. There is no call to remember: nobody can forget to save a
change or to tell a client, because there is no place where one could.

THE PATTERN for a new transition (and all that there is to do):

    class Park(Verb):                                    # ve/commands.py: the verb, in a sentence
        '''Put the unit aside until somebody unparks it.'''

    Row(c.Park, (Ready,), (Blocked,), park, "by hand")   # ve/transitions.py: from, to, and its rule

    stream.submit(Park(unit=id), actor="operator:me")    # whoever wants it

It is now in the history, on every socket, and acted on. If you find yourself writing "and also
broadcast" or "and also save", stop: make the code that wants to know a subscriber instead.

How it works. `submit` appends to one queue and drains it on the event loop's thread. `decide` runs
when the previous transition has been delivered to everyone, so all subscribers see one order and
nobody sees a value before its event. A subscriber has two moments: `on_emit` (at once; may only buffer
or submit) and `on_commit` (the transition is durable; may act outside). What happens off the loop comes
back as a command. Replies resolve when the transition is durable: acknowledged means durable.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import reactivex
from msgspec.structs import replace
from reactivex import operators as ops
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.subject import BehaviorSubject, Subject

from ve import commands as c
from ve.index import Index
from ve.rules.base import Refused
from ve.transitions import decide, decide_board
from ve.unit import Board, Frozen, WorkUnit, status_name, utcnow
from ve.views import Transition

log = logging.getLogger(__name__)

REMEMBERED_KEYS = 10_000  # older ones are looked up in the history


class Accepted(Frozen, frozen=True, kw_only=True):
    """The command took effect, durably; `cursor` is where, `units` are the states after it."""

    cursor: str
    units: tuple[WorkUnit, ...]


class Unavailable(Frozen, frozen=True, kw_only=True):
    """The history cannot be written. `uncertain` where the command may still come to effect."""

    reason: str
    uncertain: bool = False


Reply = Accepted | Refused | Unavailable


class KeyReused(Frozen, frozen=True, kw_only=True):
    """An idempotency key came again with another body."""

    key: str


class Spine(Subject[Transition]):
    """A Subject that is never re-entered, and whose subscribers cannot take each other down.

    The stock Subject calls its observers depth first (a nested emission reaches later observers before
    the outer one) and skips the rest when one raises; both would break the one order that all rely on.
    """

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        super().__init__()
        self._on_failure = on_failure
        self._emitting = False

    def on_next(self, value: Transition) -> None:
        # In place of the stock one, whose lock and checks serve many threads and a subject that may end;
        # this one has one thread (`submit` sees to it) and never ends.
        if self._emitting:
            raise RuntimeError("the stream was re-entered: a subscriber may submit, never emit")
        self._emitting = True
        try:
            for observer in self.observers:
                try:
                    observer.on_next(value)
                except Exception as error:  # fence: a broken subscriber must not silence its neighbours
                    self._on_failure(error)
        finally:
            self._emitting = False


class View(reactivex.Observable[Transition]):
    """A spine to subscribe to, and nothing else; no operator in between, each would cost every transition."""

    def __init__(self, spine: Spine) -> None:
        super().__init__()
        self._spine = spine

    def _subscribe_core(
        self, observer: ObserverBase[Transition], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        return self._spine._subscribe_core(observer, scheduler)


class _Request(NamedTuple):
    commands: tuple[c.Command, ...]
    actor: str
    key: str | None
    key_hash: str | None
    reply: asyncio.Future[Reply]


class _Pending(NamedTuple):
    """An emitted transition that is not durable yet, with what undoes it."""

    transition: Transition
    before: WorkUnit | None
    board_before: Board | None


class Stream:
    """All units and the board as one observable, and `submit` as the one way in. See the module's text."""

    def __init__(
        self,
        *,
        epoch: str,
        last_seq: int = 0,
        board: Board | None = None,
        units: Iterable[WorkUnit] = (),
        chunks: Iterable[Any] = (),
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        self.epoch = epoch
        self.seq = last_seq
        self.durable_seq = last_seq
        self.broken: list[str] = []
        self._clock = clock
        self._thread = threading.get_ident()
        self._loop = asyncio.get_running_loop()
        self._index = Index(board or Board(), units, chunks)
        self._queue: deque[_Request] = deque()
        self._draining = False
        self._unavailable: str | None = None
        self._uncommitted: deque[_Pending] = deque()
        self._waiting: deque[tuple[int, asyncio.Future[Reply], Accepted]] = deque()
        self._keys: dict[str, tuple[str | None, asyncio.Future[Reply]]] = {}
        self._emitted = Spine(self.broke)
        self._committed = Spine(self.broke)
        self._spring: Subject[reactivex.Observable[Transition]] = Subject()
        # One permanent subscription: a ref-counted merge that loses its last subscriber loses all units.
        self._spring.pipe(ops.merge_all()).subscribe(self._emitted)
        self._subjects: dict[str, BehaviorSubject[Transition]] = {}
        self._board_subject = self._join(self._restored(None))
        for unit in self._index.units.values():
            self._subjects[unit.id] = self._join(self._restored(unit))

    # ── Reading ────────────────────────────────────────────────────────────────────────────────────

    @property
    def emitted(self) -> reactivex.Observable[Transition]:
        """Every transition as it happens, in the one order; not all of them durable yet."""
        return View(self._emitted)

    @property
    def committed(self) -> reactivex.Observable[Transition]:
        """Every transition once it is durable, in the same order."""
        return View(self._committed)

    @property
    def index(self) -> Index:
        """Where everything stands; to be read between turns, never changed."""
        return self._index

    @property
    def board(self) -> Board:
        """The board as it is now."""
        return self._index.board

    @property
    def cursor(self) -> str:
        """Where the stream stands: `epoch.seq` of the newest transition."""
        return f"{self.epoch}.{self.seq}"

    @property
    def outage(self) -> str | None:
        """Why commands are answered with Unavailable, or None."""
        return self._unavailable

    def unit(self, unit_id: str) -> WorkUnit | None:
        """A unit as it is now."""
        return self._index.units.get(unit_id)

    # ── The way in ─────────────────────────────────────────────────────────────────────────────────

    def submit(
        self, command: c.Command, actor: str, *, key: str | None = None, key_hash: str | None = None
    ) -> asyncio.Future[Reply]:
        """Ask for one change. Never raises; the future resolves once the outcome is durable."""
        return self.submit_all((command,), actor, key=key, key_hash=key_hash)

    def submit_all(
        self,
        commands: Sequence[c.Command],
        actor: str,
        *,
        key: str | None = None,
        key_hash: str | None = None,
    ) -> asyncio.Future[Reply]:
        """Ask for several changes that are accepted, numbered and committed as one, or refused whole."""
        assert threading.get_ident() == self._thread, "submit belongs to the event loop's thread"
        reply: asyncio.Future[Reply] = self._loop.create_future()
        if key is not None:
            earlier = self._keys.get(key)
            if earlier is not None:
                return self._repeat(key, key_hash, *earlier)
            self._keys[key] = (key_hash, reply)
            if len(self._keys) > REMEMBERED_KEYS:
                del self._keys[next(iter(self._keys))]
        self._queue.append(_Request(tuple(commands), actor, key, key_hash, reply))
        if not self._draining:
            self._drain()
        return reply

    def _repeat(
        self, key: str, key_hash: str | None, known_hash: str | None, first: asyncio.Future[Reply]
    ) -> asyncio.Future[Reply]:
        """The first answer again, also while that is pending; another body is refused."""
        again: asyncio.Future[Reply] = self._loop.create_future()
        if known_hash != key_hash:
            again.set_result(Refused(why=f"the idempotency key {key} was used with another body"))
            return again

        def copy(done: asyncio.Future[Reply]) -> None:
            if not again.done() and not done.cancelled():
                again.set_result(done.result())

        first.add_done_callback(copy)
        return again

    def _drain(self) -> None:
        self._draining = True
        try:
            while self._queue:
                self._turn(self._queue.popleft())
        finally:
            self._draining = False

    def _turn(self, request: _Request) -> None:
        """Decide all commands of a request, then emit what they changed; or nothing."""
        if self._unavailable is not None:
            self._answer(request, Unavailable(reason=self._unavailable))
            return
        now = self._clock()
        changed: list[_Pending] = []
        current: list[WorkUnit] = []
        group = self.seq + 1
        for command in request.commands:
            outcome = self._decide(command, request, now, group + len(changed), group)
            if isinstance(outcome, Refused):
                for pending in reversed(changed):
                    self._undo(pending)
                self._answer(request, outcome)
                return
            if isinstance(outcome, WorkUnit):
                current.append(outcome)
            elif outcome is not None:
                changed.append(outcome)
                if outcome.transition.unit is not None:
                    current.append(outcome.transition.unit)
        if len(changed) > 1:
            for pending in reversed(changed):  # decided as one, but nobody sees a value before its event
                self._undo(pending)
        for pending in changed:
            if len(changed) > 1:
                self._redo(pending)
            self._emit(pending)
        # A command that changed nothing is acknowledged when the state that it found is durable.
        seq = changed[-1].transition.seq if changed else max((u.seq for u in current), default=self.seq)
        accepted = Accepted(cursor=f"{self.epoch}.{seq}", units=tuple(current))
        self._wait_for(seq, request.reply, accepted)

    def _decide(
        self, command: c.Command, request: _Request, now: datetime, seq: int, group: int
    ) -> _Pending | WorkUnit | Refused | None:
        """The transition of one command (applied to the index), or the unit that it left as it is."""
        index = self._index
        key, key_hash = request.key, request.key_hash
        if isinstance(command, c.BoardCommand):
            board = decide_board(index.board, command, index.facts(None, command, now))
            if isinstance(board, Refused):
                return board
            if board is index.board:
                return None
            before_board, index.board = index.board, replace(board, seq=seq)
            transition = Transition(
                epoch=self.epoch, seq=seq, at=now, command=type(command).__name__, actor=request.actor,
                why=command.why(), origin=None, detail=command, board=index.board,
                slots_used=index.slots_used, key=key, key_hash=key_hash, group=group,
            )  # fmt: skip
            return _Pending(transition, None, before_board)
        before = index.units.get(command.unit)
        outcome = decide(before, command, index.facts(before, command, now))
        if isinstance(outcome, Refused) or outcome is before:
            return outcome
        after = replace(outcome, seq=seq, changed_at=now)
        index.apply(before, after)
        transition = Transition(
            epoch=self.epoch, seq=seq, at=now, command=type(command).__name__, actor=request.actor,
            why=command.why(), origin=status_name(before.state) if before else None, detail=command,
            unit=after, slots_used=index.slots_used, key=key, key_hash=key_hash, group=group,
        )  # fmt: skip
        return _Pending(transition, before, None)

    def _redo(self, pending: _Pending) -> None:
        board = pending.transition.board
        if board is not None:
            self._index.board = board
        else:
            self._index.apply(pending.before, pending.transition.unit)

    def _undo(self, pending: _Pending) -> None:
        if pending.board_before is not None:
            self._index.board = pending.board_before
        else:
            self._index.apply(pending.transition.unit, pending.before)

    def _emit(self, pending: _Pending) -> None:
        """The only on_next on a unit's or the board's subject."""
        transition = pending.transition
        self.seq = transition.seq
        self._uncommitted.append(pending)
        if transition.unit is None:
            self._board_subject.on_next(transition)
            return
        subject = self._subjects.get(transition.unit.id)
        if subject is None:
            subject = BehaviorSubject(transition)
            self._subjects[transition.unit.id] = subject
            self._spring.on_next(subject)
        else:
            subject.on_next(transition)

    def _answer(self, request: _Request, reply: Reply) -> None:
        if request.key is not None:
            self._keys.pop(request.key, None)  # only acceptances are remembered
        if not request.reply.done():
            request.reply.set_result(reply)

    def _wait_for(self, seq: int, reply: asyncio.Future[Reply], accepted: Accepted) -> None:
        if seq <= self.durable_seq:
            if not reply.done():
                reply.set_result(accepted)
        else:
            # In order, so that a commit looks at the front only; a no-op may wait a little too long.
            newest = self._waiting[-1][0] if self._waiting else seq
            self._waiting.append((max(seq, newest), reply, accepted))

    # ── What the ledger tells ──────────────────────────────────────────────────────────────────────

    def durable(self, seq: int) -> None:
        """Everything up to `seq` is on disk: replies resolve, `on_commit` follows."""
        self.durable_seq = seq
        waiting = self._waiting
        while waiting and waiting[0][0] <= seq:
            _, reply, accepted = waiting.popleft()
            if not reply.done():
                reply.set_result(accepted)
        uncommitted = self._uncommitted
        while uncommitted and uncommitted[0].transition.seq <= seq:
            self._committed.on_next(uncommitted.popleft().transition)

    def suspend(self, reason: str, keep: int) -> None:
        """The history cannot be written: refuse commands, and forget what came after `keep`.

        The batch up to `keep` is being tried again; its outcome is uncertain until then.
        """
        self._unavailable = reason
        while self._uncommitted and self._uncommitted[-1].transition.seq > keep:
            pending = self._uncommitted.pop()
            self._undo(pending)
            self._rewind(pending)
        self.seq = keep
        for seq, reply, _ in self._waiting:
            if not reply.done():
                reply.set_result(Unavailable(reason=reason, uncertain=seq <= keep))
        self._waiting.clear()
        self._keys.clear()

    def _rewind(self, pending: _Pending) -> None:
        unit = pending.transition.unit
        if unit is None:
            self._board_subject.value = self._restored(None)
        elif pending.before is None:
            self._subjects.pop(unit.id)
        else:
            self._subjects[unit.id].value = self._restored(pending.before)

    def resume(self, epoch: str) -> None:
        """The history can be written again; numbers after the durable ones belong to a new epoch."""
        self.epoch = epoch
        self._unavailable = None

    def forget(self, unit_id: str) -> None:
        """Drop an ended unit from memory; the history keeps it."""
        unit = self._index.units.get(unit_id)
        if unit is None or unit.live or unit.cleaning:
            return
        del self._index.units[unit_id]
        # Completing frees the merge's subscription; it searches a list of the units that are in memory.
        self._subjects.pop(unit_id).on_completed()

    # ── Inside ─────────────────────────────────────────────────────────────────────────────────────

    def _join(self, first: Transition) -> BehaviorSubject[Transition]:
        """A restored subject in the merge; its replay is skipped, since restoring is no transition."""
        subject = BehaviorSubject(first)
        self._spring.on_next(subject.pipe(ops.skip(1)))
        return subject

    def _restored(self, unit: WorkUnit | None) -> Transition:
        return Transition(
            epoch=self.epoch,
            seq=unit.seq if unit else self._index.board.seq,
            at=unit.changed_at if unit else self._clock(),
            command="Restored",
            actor="daemon",
            why="",
            origin=None,
            detail=None,
            unit=unit,
            board=None if unit else self._index.board,
        )

    def broke(self, error: BaseException) -> None:
        """A subscriber failed: said in the log and in `status`; its neighbours go on."""
        log.error("a subscriber of the stream failed", exc_info=error)
        self.broken.append(f"{type(error).__name__}: {error}")
