"""Runs with real supervisors. An agent here is a line of shell or Python in a folder of its own."""

# These tests are one task each: a short blocking call delays nobody.
# ruff: noqa: ASYNC109, ASYNC110

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from ve.proc import runfolder, stop, watch
from ve.proc.env import environment
from ve.proc.runfolder import Limits, NudgeTo, Spec
from ve.proc.spare import Supervisors


class NoJob(msgspec.Struct):
    """The supervisor does not read job.json; any struct will do."""

    phase: str = "IMPLEMENT"


async def until(condition: Callable[[], object], timeout: float = 20.0) -> None:
    """Wait for a condition of the world outside; fails the test when it does not come true."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Bench:
    """Makes run folders, starts them, and leaves no process behind."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.supervisors = Supervisors(root / "supervisors.log")
        self.runs: list[Path] = []

    def folder(
        self,
        *argv: str,
        limits: Limits | None = None,
        nudge: NudgeTo | None = None,
        cwd: str | None = None,
        stdin: str | None = None,
        env: dict[str, str] | None = None,
    ) -> Path:
        name = f"run-{secrets.token_hex(4)}"
        run_dir = self.root / "runs" / name
        extra = {"VE_RUN_ID": name, "VE_RUN_DIR": str(run_dir), **(env or {})}
        spec = Spec(
            run=name, argv=argv, env=environment(extra), cwd=cwd or str(self.root), stdin=stdin,
            limits=limits or Limits(), nudge=nudge,
        )  # fmt: skip
        runfolder.create(run_dir, NoJob(), "the prompt", spec)
        self.runs.append(run_dir)
        return run_dir

    def shell(self, script: str, **options: object) -> Path:
        return self.folder("/bin/sh", "-c", script, **options)  # type: ignore[arg-type]

    def python(self, program: str, **options: object) -> Path:
        return self.folder(sys.executable, "-I", "-S", "-c", program, **options)  # type: ignore[arg-type]

    async def start(self, run_dir: Path) -> int:
        return (await self.supervisors.start(run_dir)).pid

    async def end(self, run_dir: Path, timeout: float = 30.0) -> runfolder.Exit:
        """Wait for the end of a run that must have an exit record."""
        async with asyncio.timeout(timeout):
            state = await watch.wait_exit(run_dir)
        assert isinstance(state, watch.Ended), state
        return state.exit

    async def run(self, run_dir: Path) -> runfolder.Exit:
        await self.start(run_dir)
        return await self.end(run_dir)

    async def clean(self) -> None:
        await self.supervisors.close()
        for run_dir in self.runs:
            if stop.kill(run_dir):
                await watch.wait_exit(run_dir)
            stop.kill_remains(run_dir.name)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.clean()


@pytest.fixture
def kill_at_end() -> AsyncIterator[list[int]]:
    """Pids that the test started itself."""
    pids: list[int] = []
    yield pids  # type: ignore[misc]
    for pid in pids:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
