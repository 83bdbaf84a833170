"""`ve demo`: six chunks on a small project, from inject to merge, in front of your eyes.

Everything is real but the model: a git repository, a daemon, worktrees, processes that write code, run
the project's tests and commit. Only the agent follows a script. The demo uses the same Python API that
you would.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from ve.demo_agent import Casting
    from ve.orchestrator import Orchestrator
    from ve.paths import Places
    from ve.views import UnitView

SLOTS = 3
PATIENCE_S = 5.0
LIMIT_S = 180.0
STOP_S = 30.0
PHASES = ("PLAN", "IMPLEMENT", "REBASE", "REVIEW", "COMPLETE")


def command(
    *,
    yes: Annotated[bool, Parameter(help="Answer the question at once instead of waiting for you.")] = False,
    keep: Annotated[bool, Parameter(help="Leave the folder with the repository and its history.")] = False,
    agent: Annotated[
        str | None, Parameter(help="A real client instead of the scripted agent: claude, codex or opencode.")
    ] = None,
    scripted: Annotated[
        bool, Parameter(help="With --agent: a scripted model on this machine, also where you are logged in.")
    ] = False,
) -> int:
    """Watch six chunks become merged commits: parallel agents, a question, a retry, a review, landings.

    Makes a git repository in a temporary folder and needs no network. Exit code 0 only if every unit is
    DONE and the tests of the merged repository pass. With --agent a real client does the work; it uses
    your account if it is logged in, else a scripted model on this machine, and says which.
    """
    folder = Path(tempfile.mkdtemp(prefix="ve-demo-"))
    repository = folder / "events"
    try:
        with ExitStack() as until_the_end:
            casting = None
            if agent:
                from ve.demo_agent import cast

                casting = until_the_end.enter_context(cast(agent, folder / "home", scripted=scripted))
            return asyncio.run(Demo(repository, yes=yes, keep=keep, casting=casting).run())
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted; everything that the demo started was ended", file=sys.stderr)
        return 130
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


class Demo:
    """One showing."""

    def __init__(self, repository: Path, *, yes: bool, keep: bool, casting: Casting | None = None) -> None:
        self._repository = repository
        self._casting = casting
        self._limit_s = casting.limit_s if casting else LIMIT_S
        self._patience = 0.0 if yes else PATIENCE_S
        self._keep = keep
        self._began = time.monotonic()
        self._shown: dict[str, str] = {}
        self._answers: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Set up, watch, report, clean up; the exit code."""
        from ve import config, demo_project, paths
        from ve.orchestrator import Orchestrator

        self._end_when_told()
        demo_project.create(self._repository)
        places = paths.find(self._repository)
        self._cast(places)
        config.set_value(places, "slots", str(SLOTS))
        print(f"repository  {self._repository}")
        # A future that no cancellation reaches: who is told to end while the daemon starts still ends it.
        start = partial(Orchestrator, self._repository, start=True)
        starting = asyncio.get_running_loop().run_in_executor(None, start)
        try:
            orch = await asyncio.shield(starting)
            print(f"board       {orch.client.post('/login-codes')['url']}")
            print(f"chunks      {', '.join(demo_project.CHUNKS)} in {SLOTS} slots\n")
            cursor = orch.client.get("/status")["cursor"]
            orch.inject(*demo_project.CHUNKS)
            units = await asyncio.wait_for(self._watch(orch, cursor), self._limit_s)
            self._report(orch, units)
        except TimeoutError:
            print(f"not done after {self._limit_s:.0f} s", file=sys.stderr)
            units = orch.all()
        finally:
            for task in self._answers:
                task.cancel()
            await asyncio.to_thread(stop_daemon, await starting)
        return self._verdict(units)

    def _cast(self, places: Places) -> None:
        """Who plays, where it is not the script agent that the project's own configuration names."""
        if self._casting:
            places.state_dir.mkdir(parents=True, exist_ok=True)
            places.config_file.write_text(self._casting.config)
            print("\n".join(self._casting.told))

    def _end_when_told(self) -> None:
        """Any of the usual signals ends the showing, once; a second one must not disturb the cleaning up."""
        loop, showing = asyncio.get_running_loop(), asyncio.current_task()
        told: list[signal.Signals] = []

        def end(number: signal.Signals) -> None:
            told.append(number)
            if showing is not None and len(told) == 1:
                showing.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, end, number)

    async def _watch(self, orch: Orchestrator, cursor: str) -> list[UnitView]:
        """Follow the feed until every unit has ended, a line for each change that a person cares for."""
        units: dict[str, UnitView] = {}
        async for step in orch.follow(since=cursor, durable=False):
            for unit in step.units if step.type == "resync" else filter(None, (step.unit,)):
                units[unit.id] = unit
                self._show(unit)
                if unit.attention_kind == "question":
                    self._answer_soon(orch, unit)
            if units and all(unit.status in ("DONE", "CANCELLED") for unit in units.values()):
                break
        return sorted(units.values(), key=lambda unit: unit.changed_at)

    def _show(self, unit: UnitView) -> None:
        line = describe(unit)
        passing = unit.stage == "rebasing" or (unit.status == "READY" and unit.id in self._shown)
        if self._shown.get(unit.id) != line and (not passing or unit.retry_at):
            self._shown[unit.id] = line
            print(f"{time.monotonic() - self._began:5.1f} s  {unit.chunk:12} {line}", flush=True)

    def _answer_soon(self, orch: Orchestrator, unit: UnitView) -> None:
        """The demo answers by itself, unless a person is quicker."""
        question = next((q for q in unit.questions if q.state == "open"), None)
        if question is None:
            return
        if self._patience:
            print(f"         answer it on the board, or it is answered in {self._patience:.0f} s:")
            for number, option in enumerate(question.options, 1):
                print(f"           {number}. {option}")

        async def later() -> None:
            from ve.errors import RefusedError

            await asyncio.sleep(self._patience)
            try:
                await asyncio.to_thread(orch.unit(unit.chunk).answer, option=1, question=question.id)
            except RefusedError:
                return  # a person was quicker

        self._answers.add(asyncio.create_task(later()))

    def _report(self, orch: Orchestrator, units: list[UnitView]) -> None:
        """What was merged, how long each phase took, and where to look further."""
        log = ["git", "log", "--graph", "--oneline", "--first-parent", "-12"]
        print("\nmerged into the repository:")
        print(indented(subprocess.run(log, cwd=self._repository, capture_output=True, text=True).stdout))
        print("seconds of work in each phase:")
        print(indented(phase_table(orch)))
        sql = "select chunk, command, why from transitions where attention_reason is not null"
        if self._keep:
            print(f'look further:\n  cd {self._repository} && {invoked_as()} history query "{sql}"')
        else:
            print(f'look further: run it with --keep, then\n  {invoked_as()} history query "{sql}"')

    def _verdict(self, units: list[UnitView]) -> int:
        open_units = [unit.chunk for unit in units if unit.status != "DONE"]
        if open_units or not units:
            print(f"\nnot DONE: {', '.join(open_units) or 'nothing was queued'}", file=sys.stderr)
            return 1
        tests = subprocess.run(
            [sys.executable, "-m", "unittest", "-q"], cwd=self._repository, capture_output=True, text=True
        )
        if tests.returncode != 0:
            print(f"\nthe merged repository's tests fail:\n{tests.stderr}", file=sys.stderr)
            return 1
        took = time.monotonic() - self._began
        print(f"\n{len(units)} of {len(units)} DONE in {took:.1f} s, and the merged repository's tests pass")
        return 0


def describe(unit: UnitView) -> str:
    """A unit's state in a few words."""
    if unit.status == "NEEDS_ATTENTION":
        reason = (unit.attention_reason or "").splitlines()[0]
        return f"{unit.phase:10} needs you ({unit.attention_kind}): {reason}"
    if unit.status == "BLOCKED":
        return f"{unit.phase:10} waits for {', '.join(unit.blocked_by)}"
    if unit.status == "DONE":
        return f"{'':10} DONE, merged as {(unit.merged_commit or '')[:10]}"
    if unit.status == "RUNNING" and (unit.stage or "").startswith("landing"):
        return f"{unit.phase:10} landing"
    if unit.status == "RUNNING" and unit.stage == "agent":
        return f"{unit.phase:10} running in slot {unit.slot}"
    if unit.retry_at:
        return f"{unit.phase:10} failed, will be tried again"
    return f"{unit.phase:10} {unit.stage or unit.status.lower()}"


def stop_daemon(orch: Orchestrator) -> None:
    """End what this demo started, and wait until it has gone."""
    from ve.daemon import running

    orch.close()
    orch.client.post("/stop", {"mode": "kill"})
    deadline = time.monotonic() + STOP_S
    while running(orch.places) is not None and time.monotonic() < deadline:
        time.sleep(0.05)


def phase_table(orch: Orchestrator) -> str:
    """Seconds by chunk and phase, with a run or git at work; what waited is in the last column."""
    sql = "select chunk, phase, running_seconds, waiting_seconds from cycle_time"
    rows = orch.client.post("/history/query", {"sql": sql})["rows"]
    work = {(chunk, phase): running for chunk, phase, running, _ in rows}
    chunks = list(dict.fromkeys(chunk for chunk, *_ in rows))
    lines = [f"{'chunk':12}" + "".join(f"{phase.lower():>10}" for phase in PHASES) + f"{'waited':>10}"]
    for chunk in chunks:
        cells = [f"{work[chunk, phase]:10.1f}" if (chunk, phase) in work else f"{'':10}" for phase in PHASES]
        waited = sum(row[3] for row in rows if row[0] == chunk)
        lines.append(f"{chunk:12}" + "".join(cells) + f"{waited:10.1f}")
    return "\n".join(lines)


def indented(text: str) -> str:
    """Each line two columns in."""
    return "\n".join(f"  {line}" for line in text.rstrip().splitlines())


def invoked_as() -> str:
    """The program that was called, so that the line can be copied."""
    program = Path(sys.argv[0])
    return str(program.resolve()) if program.name == "ve" else "ve"
