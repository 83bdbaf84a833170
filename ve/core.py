"""The daemon's inside: the stream, and the list of those who subscribe to it.

    operator, agents' tools, scheduler, runs, landing
                  │  submit(command)
                  ▼
               Stream ── emitted ──▶ ledger, feed, scheduler, readiness          (buffer, submit)
                  └──── committed ─▶ worktrees, runs, landing, configuration     (act outside)

A new concern is a new file in `ve/subscribers/` and one line in `SUBSCRIBERS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import msgspec

from ve import clients
from ve.agents.base import Adapter
from ve.clients import Clients
from ve.commands import ConfigSet
from ve.configfields import Config
from ve.errors import HistoryError
from ve.index import Chunk
from ve.paths import Places
from ve.store.file import History
from ve.store.writer import Writer
from ve.stream import Stream
from ve.subscribers import Subscriber
from ve.subscribers.configuration import Configuration
from ve.subscribers.feed import Feed
from ve.subscribers.landing import Landings
from ve.subscribers.ledger import Ledger, new_epoch
from ve.subscribers.readiness import Readiness
from ve.subscribers.retention import Retention
from ve.subscribers.runs import Runs
from ve.subscribers.scheduler import Scheduler
from ve.subscribers.worktrees import Worktrees
from ve.unit import Board, Lane, WorkUnit

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

REST_AFTER = 5_000  # transitions
GIT_THREADS = 4  # one may be busy with a long check command
QUESTION_THREADS = 2  # for people's own SQL: it may take long, and what commands read may not wait for it

# In the order in which each transition reaches them. Ledger and feed come first and are made apart.
SUBSCRIBERS: tuple[type[Subscriber], ...] = (
    Readiness,
    Scheduler,
    Worktrees,
    Runs,
    Landings,
    Configuration,
    Retention,
)


class _RestoredBoard(msgspec.Struct, frozen=True):
    """What a start takes of the recorded board; the configuration comes from the files."""

    paused: bool = False
    lanes: tuple[Lane, ...] = ()
    approved: tuple[str, ...] = ()
    seq: int = 0


class Core:
    """Everything that runs inside the daemon of one repository."""

    def __init__(self, places: Places, config: Config, *, version: str) -> None:
        """Opens the history and restores the stream. Raises HistoryError; needs a running loop."""
        self.places = places
        self.history = History.open(places.history, version=version)
        restored = self.history.restore()
        epoch = new_epoch()
        self.history.begin_epoch(epoch)
        units = [msgspec.json.decode(text, type=WorkUnit) for text in restored.units]
        kept = msgspec.json.decode(restored.board or b"{}", type=_RestoredBoard)
        self._configured = config
        self.stream = Stream(
            epoch=epoch,
            last_seq=restored.last_seq,
            board=Board(
                config=config, paused=kept.paused, lanes=kept.lanes, approved=kept.approved, seq=kept.seq
            ),
            units=units,
            chunks=[Chunk(name=x.chunk, attempts=x.attempts, merged=x.merged) for x in restored.chunks],
        )
        self._git = ThreadPoolExecutor(GIT_THREADS, thread_name_prefix="git")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._questions = ThreadPoolExecutor(QUESTION_THREADS, thread_name_prefix="question")
        self.clients = Clients(lambda: self.config)
        self._rested_at = 0
        self._in_tree: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.ledger = Ledger(self, Writer(self.history))
        self.feed = Feed(self)
        made = [kind(self) for kind in SUBSCRIBERS]
        self.subscribers: list[Subscriber] = [self.ledger, self.feed, *made]
        self.scheduler = next(s for s in made if isinstance(s, Scheduler))
        self.runs = next(s for s in made if isinstance(s, Runs))
        for subscriber in self.subscribers:
            # A moment that a subscriber does not override would cost a call for each transition.
            if type(subscriber).on_emit is not Subscriber.on_emit:
                self.stream.emitted.subscribe(subscriber.on_emit)
            if type(subscriber).on_commit is not Subscriber.on_commit:
                self.stream.committed.subscribe(subscriber.on_commit)

    async def start(self) -> None:
        """Take up what was under way; when this returns, commands of operators are welcome."""
        self.ledger.begin()
        self.stream.submit(ConfigSet(config=self._configured), "daemon")
        for subscriber in self.subscribers:
            await subscriber.on_start()
        # The writer's thread gets the interpreter sooner when a burst is under way.
        sys.setswitchinterval(0.0005)
        # A full collection stops everything for as long as it scans the units (0.3 s for 10,000 of them).
        gc.set_threshold(10_000, 5, 1_000)
        gc.freeze()

    def rest(self) -> None:
        """Nothing is going on: a time to collect garbage, and to take what lives out of later scans."""
        if self.stream.seq - self._rested_at >= REST_AFTER:
            self._rested_at = self.stream.seq
            gc.collect()
            gc.freeze()

    async def close(self) -> None:
        """Let go in the reverse order; the ledger last, so that everything that was decided is kept."""
        for subscriber in reversed(self.subscribers):
            with contextlib.suppress(asyncio.CancelledError):
                await subscriber.close()
        await self.clients.close()
        self._git.shutdown(wait=True)
        self._reader.shutdown(wait=True)
        self._questions.shutdown(wait=False, cancel_futures=True)  # one may take its 30 seconds
        try:
            self.history.close()
        except HistoryError as error:
            log.warning("%s", error)
        gc.unfreeze()

    def suspended(self, reason: str, keep: int) -> None:
        """The ledger cannot write: nothing after `keep` has happened."""
        self.stream.suspend(reason, keep)
        self.feed.resync("the history cannot be written")

    async def resumed(self, epoch: str) -> None:
        """The ledger writes again: the same recovery as at a start."""
        self.stream.resume(epoch)
        for subscriber in self.subscribers:
            try:
                await subscriber.on_start()
            except Exception as error:  # fence: the ledger waits for this, and must go on
                self.stream.broke(error)

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return self.stream.board.config

    def in_tree(self, unit_id: str) -> asyncio.Lock:
        """Held by whoever works in a unit's tree outside its run, so that no two do."""
        return self._in_tree[unit_id]

    async def git(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function that works on the repository off the loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._git, lambda: work(*args, **kwargs))

    async def read_history(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a function that reads the history off the loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, lambda: work(*args, **kwargs))

    async def ask_history(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The same for a question that may take long: nothing else waits for it."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._questions, lambda: work(*args, **kwargs))

    def backend_of(self, unit: WorkUnit) -> str:
        """The agent that takes the unit's present phase."""
        chunk = self.config.chunk.get(unit.chunk)
        phase = self.config.phase.get(unit.phase.value)
        return (chunk and chunk.agent) or (phase and phase.agent) or self.config.agent

    def adapter(self, backend: str) -> Adapter:
        """The adapter of an agent, with its part of the configuration. Raises ConfigError."""
        return clients.make(self.config, backend)
