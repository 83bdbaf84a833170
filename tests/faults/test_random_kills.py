"""`kill -9` at any moment under load: what was acknowledged is there, once, and everybody comes home.

The quick form kills 10 times; `SOAK=1` (`just soak`) 50 times. The seed is shown, and may be given: SEED=7.
"""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time

import pytest

from tests.faults.driver import Died, Ground, Life

KILLS, UNITS = (50, 9) if os.environ.get("SOAK") else (10, 3)
SEED = int(os.environ.get("SEED") or random.randrange(10**6))


class Writer(threading.Thread):
    """Changes units as fast as it can, and remembers what was acknowledged."""

    def __init__(self, ground: Ground, number: int, chunks: list[str]) -> None:
        super().__init__(name=f"writer-{number}")
        self.ground = ground
        self.number = number
        self.chunks = chunks
        self.count = 0
        self.acknowledged: dict[str, str] = {}
        self.pending: tuple[str, str, dict[str, int]] | None = None
        self.over = threading.Event()
        self.life: Life | None = None
        self.alive = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.over.is_set():
                if self.alive.wait(0.2) and self.life is not None:
                    self.write(self.life)
        except BaseException as error:  # told by the test
            self.failure = error

    def write(self, life: Life) -> None:
        """One command; after a kill the same one again, with the same key."""
        if self.pending is None:
            self.count += 1
            chunk = self.chunks[self.count % len(self.chunks)]
            key = f"w{self.number}-{self.count}"
            # A new value each time, so that every one of them is a transition.
            body = {"priority": self.count * 10 + self.number}
            self.pending = (key, f"/work-units/{chunk}/prioritize", body)
        key, path, body = self.pending
        try:
            answer = life.post(path, body, key)
        except Died:
            self.alive.clear()
            return
        assert answer is not None
        self.acknowledged[key] = answer["cursor"]
        self.pending = None


@pytest.mark.timeout(600)
def test_killed_at_any_moment_under_load(ground: Ground) -> None:
    chance = random.Random(SEED)
    print(f"SEED={SEED}")
    waiting = [ground.chunk(f"w{n}") for n in range(UNITS)]
    working = [ground.chunk(f"c{n}", asks=n % 3 == 0) for n in range(UNITS)]
    life = ground.start()
    life.client.post("/board/pause")
    life.client.post("/work-units", {"chunks": waiting})
    for name in waiting:
        life.client.post(f"/work-units/{name}/pause")
    life.client.post("/work-units", {"chunks": working})
    life.client.post("/board/unpause")
    writers = [Writer(ground, n, waiting[n::3]) for n in range(3)]
    for writer in writers:
        writer.start()
    for _ in range(KILLS):
        for writer in writers:
            writer.life = life
            writer.alive.set()
        drive(life, chance.uniform(0.02, 0.8), working)
        life.kill()
        ground.kills += 1
        life = ground.start()
        assert life.ready, life.error
    for writer in writers:
        writer.life = life
        writer.alive.set()
    life.done(*working)
    for writer in writers:
        writer.over.set()
        writer.join(30)
        assert writer.failure is None, writer.failure
    for name in waiting:
        life.client.post(f"/work-units/{name}/unpause")
    life.done(*waiting)
    acknowledged = {key: cursor for writer in writers for key, cursor in writer.acknowledged.items()}
    print(f"{ground.kills} kills, {len(acknowledged)} acknowledged commands")
    assert len(acknowledged) > KILLS
    ground.judge(
        life, {name: 2 if name in working and int(name[1:]) % 3 == 0 else 1 for name in waiting + working},
        acknowledged,
    )  # fmt: skip
    life.stop()


def drive(life: Life, seconds: float, chunks: list[str]) -> None:
    """Answer questions for a while, beside the writers."""
    end = time.monotonic() + seconds
    try:
        life.read()
        while (left := end - time.monotonic()) > 0:
            life._all_done(tuple(chunks))
            life.read(left)
    except TimeoutError:
        pass
    with_time = max(0.0, end - time.monotonic())
    try:
        life.process.wait(with_time)
    except subprocess.TimeoutExpired:
        return
    raise AssertionError("the daemon ended by itself")
