"""The peer of the core: BehaviorSubjects into one ordered stream into DuckDB, and nothing else.

No reducer, no replies, six small columns; the most that this stack can do on this machine at this
moment. What `ve` adds to it is the price of its contracts.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import msgspec
import reactivex
from reactivex import operators as ops
from reactivex.subject import BehaviorSubject, Subject


class Event(msgspec.Struct, frozen=True):
    """A small row."""

    seq: int
    at: float
    unit: str
    origin: str
    status: str
    payload: str


class Ordered(Subject[Event]):
    """Emissions one after the other, also when one causes another."""

    def __init__(self) -> None:
        super().__init__()
        self._queue: deque[Event] = deque()
        self._busy = False

    def _on_next_core(self, value: Event) -> None:
        self._queue.append(value)
        if self._busy:
            return
        self._busy = True
        while self._queue:
            event = self._queue.popleft()
            for observer in self.observers:
                observer.on_next(event)
        self._busy = False


class Writer:
    """Whatever arrived during the last commit is the next batch."""

    def __init__(self, path: Path) -> None:
        self.connection = duckdb.connect(str(path))
        self.connection.execute(
            "create table events(seq bigint, moment double, unit varchar, origin varchar, status varchar,"
            " payload json);"
            "create table states(unit varchar primary key, status varchar, seq bigint, moment double)"
        )
        self.buffer: list[Event] = []
        self.wake = asyncio.Event()
        self.latencies: list[float] = []
        self._thread = ThreadPoolExecutor(1)

    def on_next(self, event: Event) -> None:
        self.buffer.append(event)
        self.wake.set()

    def commit(self, batch: list[Event]) -> None:
        connection = self.connection
        connection.begin()
        with connection.appender("events") as rows:
            rows.append_rows([(e.seq, e.at, e.unit, e.origin, e.status, e.payload) for e in batch])
        last = {e.unit: e for e in batch}.values()
        with connection.appender("states", action="upsert") as rows:
            rows.append_rows([(e.unit, e.status, e.seq, e.at) for e in last])
        connection.commit()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self.wake.wait()
            self.wake.clear()
            batch, self.buffer = self.buffer, []
            if batch:
                await loop.run_in_executor(self._thread, self.commit, batch)
                now = time.perf_counter()
                self.latencies.extend(now - event.at for event in batch)


async def run(folder: Path, count: int, rate: float, units: int = 10_000) -> tuple[float, list[float]]:
    """(durable per second, latencies in seconds) of `count` events at `rate` a second (0: at once)."""
    outer: Subject[reactivex.Observable[Event]] = Subject()
    bus = Ordered()
    outer.pipe(ops.merge_all(), ops.filter(lambda event: event is not None)).subscribe(bus)
    subjects: list[BehaviorSubject[Event]] = [BehaviorSubject(None) for _ in range(units)]  # type: ignore[arg-type]
    for subject in subjects:
        outer.on_next(subject)
    writer = Writer(folder / f"raw-{count}-{rate}.duckdb")
    encoder = msgspec.json.Encoder()
    bus.subscribe(writer.on_next)
    bus.subscribe(encoder.encode)
    task = asyncio.create_task(writer.run())
    begin = time.perf_counter()
    for seq in range(count):
        which = random.randrange(units)
        payload = '{"attempt":1,"agent":"codex"}'
        subjects[which].on_next(Event(seq, time.perf_counter(), f"u{which}", "READY", "RUNNING", payload))
        if rate and (left := begin + (seq + 1) / rate - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        elif seq % 100 == 0:
            await asyncio.sleep(0)
    while len(writer.latencies) < count:  # noqa: ASYNC110 - an event a commit would cost the peer more
        await asyncio.sleep(0.001)
    total = time.perf_counter() - begin
    task.cancel()
    writer.connection.close()
    return count / total, writer.latencies
