"""A repository with a chunk, and runs of the script agent in it under a real supervisor."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
from collections.abc import AsyncIterator, Sequence
from itertools import chain
from pathlib import Path

import msgspec
import pytest

from tests.proc.conftest import Bench
from ve.agents import adapter
from ve.agents.base import AnsweredQuestion, Event, Job, ReviewIssue
from ve.agents.judge import Outcome, Seen, judge
from ve.proc import runfolder
from ve.proc.env import environment
from ve.proc.runfolder import Limits, Spec, ToolRecord, ToolsReady
from ve.proc.tail import Tail


class Done(msgspec.Struct):
    """All that one run left."""

    run_dir: Path
    exit: runfolder.Exit
    lines: list[bytes]
    events: list[Event]
    tools: Sequence[ToolRecord]
    outcome: Outcome


class ScriptRuns:
    """Runs the script agent in a real git repository."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.tree = bench.root / "tree"
        self.chunk = self.tree / "docs" / "chunks" / "greeting"
        self.chunk.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-m", "first")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.tree, check=True, capture_output=True, text=True, timeout=20
        )
        return done.stdout

    async def run(
        self,
        script: str,
        phase: str = "IMPLEMENT",
        visit: int = 1,
        answers: tuple[AnsweredQuestion, ...] = (),
        issues: tuple[ReviewIssue, ...] = (),
        session: str | None = None,
        limits: Limits | None = None,
    ) -> Done:
        (self.chunk / "script.toml").write_text(script)
        name = f"u1-1-{phase.lower()}-{visit}-{secrets.token_hex(4)}"
        run_dir = self.bench.root / "runs" / name
        job = Job(
            run=name, unit="u1", chunk="greeting", attempt=1, phase=phase, visit=visit,
            worktree=str(self.tree), run_dir=str(run_dir), prompt="do it", session=session,
            resume=session is not None, answers=answers, issues=issues,
        )  # fmt: skip
        return await self.go(job, limits)

    async def go(self, job: Job, limits: Limits | None = None) -> Done:
        run_dir = Path(job.run_dir)
        script = adapter("script")
        launch = script.launch(job)
        env = {
            "VE_RUN_ID": job.run, "VE_RUN_DIR": job.run_dir, "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_SYSTEM": "/dev/null", **launch.env,
        }  # fmt: skip
        spec = Spec(
            run=job.run, argv=launch.argv, env=environment(env), cwd=job.worktree,
            limits=limits or Limits(wall_s=60),
        )  # fmt: skip
        await asyncio.to_thread(runfolder.create, run_dir, job, job.prompt, spec)
        self.bench.runs.append(run_dir)
        exit = await self.bench.run(run_dir)
        lines = Tail(run_dir / "output").read_new()
        events = list(chain.from_iterable(map(script.parse, lines)))
        tools, _ = runfolder.read_tools(run_dir)
        ready = any(isinstance(record, ToolsReady) for record in tools)
        tail = runfolder.stderr_tail(run_dir)
        outcome = judge(events, exit, ready, Seen(run=job.run, stderr_tail=tail))
        return Done(run_dir, exit, lines, events, tools, outcome)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.clean()


@pytest.fixture
def script_runs(bench: Bench) -> ScriptRuns:
    return ScriptRuns(bench)
