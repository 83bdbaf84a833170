"""The Python API: a repository's daemon as an object, its units as things to wait for and to watch.

    orch = ve.Orchestrator(".", start=True)
    parser, usage = orch.inject("parser", "usage")
    await parser.done()
    async for step in orch.follow():
        print(step.at, step["command"], step.unit and step.unit.chunk)
    orch.units.subscribe(print)          # the units now, then each change
    orch.history.lead_time().show()
    orch.board()                         # in a notebook: a table that keeps up

Rule: attached, never inside: all of this goes through the daemon like the command line does, so what is
refused there is refused here, with the same classes. Verbs block for some milliseconds; waiting is async.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import msgspec
import reactivex
from reactivex import Observable
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.scheduler import NewThreadScheduler

from ve.attention import ClosedLane, Group, UnitResult
from ve.client import Client, unit_path
from ve.errors import NoDaemon, RefusedError
from ve.following import Connection, Frame, feed_path, follow
from ve.frames import ResyncFrame, TransitionFrame
from ve.notebook import Board
from ve.paths import find
from ve.views import BoardView, UnitView

if TYPE_CHECKING:
    from ve.history import HistoryReader
    from ve.store.query import QueryResult

START_TIMEOUT_S = 30.0


class Transition(TransitionFrame, frozen=True, kw_only=True):
    """One thing that happened: command, actor, why, from which status, and the unit after it.

    Fields are attributes and keys alike: `step.command`, `step["command"]`; `step["from"]` is `step.origin`.
    """

    def __getitem__(self, name: str) -> Any:
        return getattr(self, "origin" if name == "from" else name)


class Resync(ResyncFrame, frozen=True, kw_only=True):
    """The thread was lost (`reason`): what happened in between is not told, but this is how it is now."""

    cursor: str
    units: tuple[UnitView, ...]
    board: BoardView


class Orchestrator:
    """A repository's daemon. Raises NotFound where there is no repository, NoDaemon where none answers."""

    def __init__(self, repo: str | Path = ".", *, start: bool = False) -> None:
        """Attach; with `start`, start the daemon first unless one runs."""
        self.places = find(Path(repo))
        self.client = Client(self.places)
        self._history: HistoryReader | None = None
        if start:
            from ve.daemon import start_daemon

            start_daemon(self.places, START_TIMEOUT_S)
        self.client.get("/status")

    def inject(
        self,
        *chunks: str,
        priority: int = 0,
        depends_on: Sequence[str] | None = None,
        all_future: bool = False,
        key: str | None = None,
    ) -> list[Unit]:
        """Queue chunks: all of them, or none; the units in the order of the chunks given.

        With `all_future` then also every FUTURE chunk that can be queued.
        Raises DocumentError, RefusedError, InvalidInput, UnavailableError.
        """
        wanted = None if depends_on is None else list(depends_on)
        body = {"chunks": list(chunks), "priority": priority, "depends_on": wanted, "all_future": all_future}
        views = _views(self.client.post("/work-units", body, key=key)["units"])
        by_chunk = {view.chunk: Unit(self, view) for view in views}
        return [by_chunk[chunk] for chunk in dict.fromkeys((*chunks, *by_chunk))]

    def unit(self, chunk: str, unit: str | None = None) -> Unit:
        """A chunk's live unit, else its latest; or that one by its id. Raises NotFound."""
        return Unit(self, _view(self.client.get(unit_path(chunk), unit=unit)["unit"]))

    def all(self) -> list[UnitView]:
        """The live units and those that ended last, oldest first."""
        return _views(self.client.get("/work-units")["units"])

    def attention(self) -> list[Group]:
        """What needs a person, by cause: what most work waits for first, then the oldest."""
        return msgspec.convert(self.client.get("/attention")["groups"], list[Group])

    def closed_lanes(self) -> list[ClosedLane]:
        """The backends that take nothing at the moment (a usage limit), and who waits for each."""
        return msgspec.convert(self.client.get("/attention")["lanes"], list[ClosedLane])

    def act(self, group: Group, verb: str, **fields: Any) -> list[UnitResult]:
        """A verb for those units of a group that `attention` showed; each takes it or says why not.

        Raises RefusedError for a verb that makes no sense for a group, NotFound where nothing of it is left.
        """
        body = {"units": [unit.id for unit in group.units], **fields}
        reply = self.client.post(f"/attention/{group.fingerprint}/{quote(verb, safe='')}", body)
        return msgspec.convert(reply["results"], list[UnitResult])

    @property
    def cursor(self) -> str:
        """Where the one order of transitions stands, on disk; `follow(since=…)` goes on from there."""
        return str(self.client.get("/status")["durable_cursor"])

    def pause(self) -> None:
        """Dispatch and land nothing; runs end their phase."""
        self.client.post("/board/pause")

    def unpause(self) -> None:
        """Dispatch and land again."""
        self.client.post("/board/unpause")

    @property
    def units(self) -> Observable[UnitView]:
        """The units as they are, then each change: one view an item, on a thread of the subscription's own.

        Each subscription has its own connection and its own snapshot, so it misses nothing. It completes
        when the daemon ends.
        """

        def begin(_: Any) -> Observable[UnitView]:
            feed = Connection(self.client, feed_path())
            seen = reactivex.from_iterable(_changes(feed.frames()), NewThreadScheduler())
            return reactivex.using(lambda: Disposable(feed.close), lambda _: seen)

        return reactivex.defer(begin)

    async def follow(
        self, since: str | None = None, *, durable: bool = True
    ) -> AsyncGenerator[Transition | Resync, None]:
        """Every transition after a cursor, without `since` from now on; for ever.

        Only what is on disk, unless `durable` is False (some milliseconds earlier, and a crash can undo it).
        When the daemon goes it is waited for. A Resync says that something was missed.
        """
        lost: str | None = None
        told_snapshot = since is not None
        async with aclosing(follow(self.client, since=since, durable=durable)) as frames:
            async for frame in frames:
                if frame["type"] == "transition":
                    yield msgspec.convert(frame, Transition)
                elif frame["type"] == "resync":
                    lost = frame["reason"]
                elif frame["type"] == "snapshot":
                    if lost is not None or told_snapshot:
                        yield msgspec.convert(
                            {**frame, "type": "resync", "reason": lost or "connected again"}, Resync
                        )
                    lost, told_snapshot = None, True

    @property
    def history(self) -> HistoryReader:
        """What happened, as typed questions: through the daemon while it runs, else from the file."""
        if self._history is None:
            from ve.history import HistoryReader

            try:
                self.client.get("/status")
                self._history = HistoryReader(self._query)
            except NoDaemon:
                self._history = HistoryReader(self.places.history)
        return self._history

    def _query(self, sql: str) -> QueryResult:
        from ve.store.query import QueryResult

        return msgspec.convert(self.client.post("/history/query", {"sql": sql}), QueryResult)

    def board(self) -> Board:
        """A table of the units for a notebook; it keeps up with what happens."""
        return Board(self.all, self.units)

    def close(self) -> None:
        """Let go of what was opened; the daemon goes on."""
        if self._history is not None:
            self._history.close()
            self._history = None

    def __enter__(self) -> Orchestrator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Orchestrator({str(self.places.main_worktree or self.places.common_dir)!r})"


class Unit:
    """One unit of work. Verbs return it with the state after them; refused ones raise RefusedError."""

    def __init__(self, orchestrator: Orchestrator, view: UnitView) -> None:
        self._orchestrator = orchestrator
        self._client = orchestrator.client
        self._known = view
        self.id = view.id
        self.chunk = view.chunk

    @property
    def view(self) -> UnitView:
        """The unit as it is now, asked of the daemon."""
        self._known = _view(self._client.get(unit_path(self.chunk), unit=self.id)["unit"])
        return self._known

    @property
    def changes(self) -> Observable[UnitView]:
        """The unit as it is, then each change of it; completes when it has ended."""

        def mine(view: UnitView) -> bool:
            return view.id == self.id

        def goes_on(view: UnitView) -> bool:
            return not _ended(view)

        return self._orchestrator.units.pipe(ops.filter(mine), ops.take_while(goes_on, inclusive=True))

    async def done(self) -> UnitView:
        """Wait for the merge. Raises RefusedError if the unit is cancelled."""
        async with aclosing(follow(self._client, since=None, durable=True)) as frames:
            async for frame in frames:
                view = self._in(frame)
                if view is not None and _ended(view):
                    break
        assert view is not None, "the feed never ends by itself"
        if view.status == "CANCELLED":
            again = f"Queue it again: ve orch inject {self.chunk}"
            raise RefusedError(f"{self.chunk} was cancelled", where=self.id, hint=again)
        return view

    def _in(self, frame: Frame) -> UnitView | None:
        if frame["type"] == "transition":
            unit = frame["unit"]
            return _view(unit) if unit and unit["id"] == self.id else None
        if frame["type"] == "snapshot":
            here = next((unit for unit in frame["units"] if unit["id"] == self.id), None)
            # A unit that ended long ago is in the history only.
            return _view(here) if here else self.view
        return None

    def answer(
        self, text: str | None = None, *, option: int | None = None, question: str | None = None
    ) -> Unit:
        """Answer the open question, by text or by an option's number (1 is the first)."""
        return self._verb("answer", text=text, option=option, question=question)

    def retry(self, *, fresh: bool = False) -> Unit:
        """Go on where the unit stopped; `fresh` starts a new attempt from the base."""
        return self._verb("retry", fresh=fresh or None)

    def resolve(
        self, choice: Literal["serialize", "approve", "feedback", "drop"], text: str | None = None
    ) -> Unit:
        """Decide a conflict, a review, or a dependency that is gone."""
        return self._verb("resolve", choice=choice, text=text)

    def approve(self, hash: str | None = None) -> Unit:
        """Say yes to a merge, or to a setup or check command; with `hash`, only if that is what waits."""
        return self._verb("approve", hash=hash)

    def prioritize(self, priority: int) -> Unit:
        """Higher goes first."""
        return self._verb("prioritize", priority=priority)

    def pause(self) -> Unit:
        """Do not dispatch or land it; a run that has it ends its phase."""
        return self._verb("pause")

    def unpause(self) -> Unit:
        """Dispatch and land it again."""
        return self._verb("unpause")

    def cancel(self, reason: str | None = None) -> Unit:
        """End it without a merge; its work goes under a salvage ref."""
        return self._verb("cancel", reason=reason)

    def merged(self, commit: str | None = None, *, reason: str | None = None) -> Unit:
        """Declare the work done by hand: the commit is in the base already."""
        return self._verb("merged", commit=commit, reason=reason)

    def why(self) -> str:
        """Why it does not run at the moment."""
        return str(self._client.get(f"/why/{self.id}")["why"])

    def _verb(self, verb: str, **body: Any) -> Unit:
        reply = self._client.post(f"{unit_path(self.chunk, verb)}?unit={self.id}", body)
        self._known = _view(reply["unit"])
        return self

    def __repr__(self) -> str:
        return f"Unit({self.chunk!r}, {self._known.status} in {self._known.phase})"


def _view(unit: dict[str, Any]) -> UnitView:
    return msgspec.convert(unit, UnitView)


def _views(units: list[dict[str, Any]]) -> list[UnitView]:
    return [_view(unit) for unit in units]


def _ended(view: UnitView) -> bool:
    return view.status in ("DONE", "CANCELLED")


def _changes(frames: Iterator[Frame]) -> Iterator[UnitView]:
    for frame in frames:
        if frame["type"] == "snapshot":
            yield from _views(frame["units"])
        elif frame["type"] == "transition" and frame["unit"]:
            yield _view(frame["unit"])
