"""The core under load: commands through reducer, stream, feed and ledger; a reply means durable."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import raw_pipeline
import uvloop
from figures import Figure, percentile
from ground import progress, repository

from ve.commands import BoardPaused, Inject, Prioritize
from ve.configfields import Config
from ve.core import Core
from ve.documents import new_unit_id
from ve.unit import Phase

UNITS = 10_000
TURNS = 3
BURST = 100_000
OFFERED = 40_000
REST_S = 3.0  # a daemon with so many units has been at rest before; so has this one


async def _core(folder: Path) -> tuple[Core, list[str]]:
    """A paused core with many live units."""
    places = repository(folder, {"README.md": "A repository.\n"})
    core = Core(places, Config(), version="bench")
    await core.start()
    await core.stream.submit(BoardPaused(), "bench")
    ids = [new_unit_id() for _ in range(UNITS)]
    for at in range(0, UNITS, 500):
        commands = [
            Inject(unit=unit, chunk=f"chunk_{at + i}", base_ref="refs/heads/main", phase=Phase.PLAN)
            for i, unit in enumerate(ids[at : at + 500])
        ]
        await core.stream.submit_all(commands, "bench")
    await asyncio.sleep(REST_S)
    return core, ids


async def _offer(core: Core, ids: list[str], count: int, rate: float) -> tuple[float, list[float], float]:
    """(durable per second, acknowledgement in seconds each, the loop's longest stall in seconds)."""
    latencies: list[float] = []
    stall = 0.0

    async def watch() -> None:
        nonlocal stall
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            stall = max(stall, time.perf_counter() - before - 0.001)

    watcher = asyncio.create_task(watch())
    done = asyncio.Event()
    begin = time.perf_counter()
    for number in range(count):
        sent = time.perf_counter()
        unit = ids[random.randrange(UNITS)]
        reply = core.stream.submit(Prioritize(unit=unit, priority=number + 1), "bench")

        def acknowledged(_: object, sent: float = sent) -> None:
            latencies.append(time.perf_counter() - sent)
            if len(latencies) == count:
                done.set()

        reply.add_done_callback(acknowledged)
        if rate and (left := begin + (number + 1) / rate - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        elif number % 100 == 0:
            await asyncio.sleep(0)
    await done.wait()
    total = time.perf_counter() - begin
    watcher.cancel()
    return count / total, latencies, stall


async def _all(folder: Path) -> list[Figure]:
    found = []
    core, ids = await _core(folder / "repository")
    bursts, raw = [], []
    for turn in range(TURNS):
        progress(f"core: burst {turn + 1} of {TURNS}, after the raw pipeline's")
        raw.append((await raw_pipeline.run(folder, BURST + turn, 0))[0])
        bursts.append(await _offer(core, ids, BURST, 0))
        while core.ledger.behind:  # noqa: ASYNC110 - a burst begins at rest, with everything folded
            await asyncio.sleep(0.2)
        await asyncio.sleep(REST_S)
    await core.close()
    mine, peer = statistics.median(rate for rate, _, _ in bursts), statistics.median(raw)
    ack = statistics.median(percentile(latencies, 0.99) for _, latencies, _ in bursts)
    stall = statistics.median(stall for _, _, stall in bursts)
    ratio = statistics.median(burst[0] / rate for burst, rate in zip(bursts, raw, strict=True))
    found.append(
        Figure(f"burst of {BURST:,}: transitions", mine, "/s", peer, ratio, "≥ 0.4, then 0.6", ratio >= 0.4)
    )
    found.append(Figure("  acknowledged, p99", ack * 1000, "ms", target="≤ 1000 ms", reached=ack <= 1))
    found.append(
        Figure("  longest stall of the loop", stall * 1000, "ms", target="≤ 50 ms", reached=stall <= 0.05)
    )
    core, ids = await _core(folder / "another")
    for rate in (1_000, 10_000):
        progress(f"core: {rate:,}/s")
        count = OFFERED // (10 if rate == 1_000 else 1)
        _, raw_latencies = await raw_pipeline.run(folder, count, rate)
        _, latencies, _ = await _offer(core, ids, count, rate)
        for share, name in ((0.5, "p50"), (0.99, "p99")):
            a, b = percentile(latencies, share) * 1000, percentile(raw_latencies, share) * 1000
            found.append(
                Figure(f"acknowledged at {rate:,}/s, {name}", a, "ms", b, a / b, "≤ 1.5", a / b <= 1.5)
            )
    await core.close()
    return found


def measure() -> Iterator[Figure]:
    """Burst, and two offered rates, each beside the raw pipeline."""
    with TemporaryDirectory() as folder:
        yield from uvloop.run(_all(Path(folder)))
