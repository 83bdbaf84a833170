"""Starts, follows, adopts and ends the runs: one agent process for one phase of one attempt.

A run outlives the daemon: its supervisor writes what happens to the run's folder, and this file only
reads it. Rule: a run's files are read to their end before its end is told, so that a question there
wins over the exit. What a run is at a start is judged by its folder: alive (adopted), ended (its record
is read), lost (what is left of it is killed first), or never begun (its start is made again).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ve import commands as c
from ve import faults, prompts
from ve.agents.base import AnsweredQuestion, Job
from ve.agents.base import ReviewIssue as JobIssue
from ve.chunks.document import folder_of
from ve.chunks.frontmatter import reopen
from ve.configfields import PhaseConfig
from ve.errors import NotFound, RefusedError, VeError
from ve.proc import runfolder, stop, watch
from ve.proc.env import environment
from ve.proc.spare import Supervisors
from ve.rules.base import Refused
from ve.stream import Unavailable
from ve.subscribers import Subscriber, effects
from ve.subscribers.runfiles import RunFiles
from ve.unit import Frozen, Running, WorkUnit
from ve.views import Transition

if TYPE_CHECKING:
    from ve.core import Core

log = logging.getLogger(__name__)

ASK_GRACE_S = 15.0  # an agent that asked is told to end its turn; after this it is stopped
LOOK_AGAIN_S = 5.0  # a run is read when it nudges; this is for a nudge that did not come through
LOG_CHUNK = 256 * 1024


class RunLog(Frozen, frozen=True, kw_only=True):
    """A piece of a run's output: whole lines from `offset` on, and where to go on."""

    data: bytes
    offset: int
    ended: bool


class Run:
    """A run that this daemon follows."""

    def __init__(self, files: RunFiles, token: str) -> None:
        self.files = files
        self.token = token
        self.reading = asyncio.Lock()
        self.grew = asyncio.Event()
        self.stop_timer: asyncio.TimerHandle | None = None


class Runs(Subscriber):
    """Sends RunStarted, SessionKnown, Ask, Delivered, ReviewDecided, Disposed and RunEnded."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._active: dict[str, Run] = {}
        self._none_left = asyncio.Event()
        self._supervisors = Supervisors(core.places.state_dir / "supervisors.log")

    async def on_start(self) -> None:
        self._supervisors.warm()
        for unit in tuple(self.core.stream.index.live()):
            if unit.run in self._active:
                await self._read_again(unit, unit.run)
            elif unit.run is not None:
                await self._take_up(unit, unit.run)
        await self._end_strangers()
        self._note_end()

    def on_commit(self, transition: Transition) -> None:
        unit = transition.unit
        if unit is None:
            return
        run = unit.run
        if run is None:
            if not self._none_left.is_set():
                self._note_end()
            return
        now = self.core.stream.unit(unit.id)
        if now is None or now.run != run:
            return  # it has ended since: what was read at its end is durable only now
        state = unit.state
        wanted = isinstance(state, Running) and not state.stop
        if wanted and unit.worktree is not None and run not in self._active:
            self.start_task(f"run:{run}", self._begin(unit, run))
        elif not wanted and run in self._active:
            self._stop_soon(unit, run)
        elif not wanted and unit.worktree is not None:
            self.start_task(f"never:{run}", self._never_began(unit, run))

    def folder(self, run: str) -> Path:
        """Where a run's files are."""
        return self.core.places.runs_dir / run

    # ── The beginning ──────────────────────────────────────────────────────────────────────────────

    async def _take_up(self, unit: WorkUnit, run: str) -> None:
        """After a start: adopt what lives, read what ended, begin again what never began."""
        folder = self.folder(run)
        state = await asyncio.to_thread(watch.state, folder)
        began = await asyncio.to_thread(runfolder.read_agent, folder) is not None
        if isinstance(state, watch.Alive | watch.Ended) or (isinstance(state, watch.Lost) and began):
            self._follow(unit, run)
            if not isinstance(unit.state, Running) or unit.state.stop:
                self._stop_soon(unit, run)
            if isinstance(state, watch.Alive):
                await self._read(run)
            return
        if isinstance(state, watch.Lost):
            await asyncio.to_thread(stop.kill_remains, run)
            await asyncio.to_thread((folder / "lock").unlink, missing_ok=True)
        if isinstance(unit.state, Running) and not unit.state.stop:
            if unit.worktree is not None:
                self.start_task(f"run:{run}", self._begin(unit, run))
        elif unit.worktree is not None or not isinstance(unit.state, Running):
            self.start_task(f"never:{run}", self._never_began(unit, run))

    async def _begin(self, unit: WorkUnit, run: str) -> None:
        """Write the run's folder and hand it to a supervisor."""
        folder = self.folder(run)
        # A supervisor that an earlier daemon gave this order may read the folder as it was: same token.
        spec = await asyncio.to_thread(runfolder.read_spec, folder)
        token = spec.nudge.token if spec and spec.nudge else secrets.token_urlsafe(24)
        try:
            async with self.core.in_tree(unit.id):
                await self.core.git(self._reopen_document, unit)
                await asyncio.to_thread(self._write_folder, unit, run, token)
            faults.at("run-folder-written")
            await self._supervisors.start(folder)
            faults.at("run-claimed")
        except (VeError, OSError) as error:
            if isinstance(watch.state(folder), watch.Unclaimed):
                await self._could_not_begin(unit, run, str(error))
                return
        self._follow(unit, run)
        now = self.core.stream.unit(unit.id)
        if now is not None and (now.run != run or not isinstance(now.state, Running) or now.state.stop):
            self._stop_soon(now, run)

    def _reopen_document(self, unit: WorkUnit) -> None:
        """A unit that came back from landing: its document says IMPLEMENTING again."""
        goal = Path(unit.worktree or "") / folder_of(unit.chunk) / "GOAL.md"
        if goal.is_file():
            text = goal.read_bytes()
            changed = reopen(text, str(goal))
            if changed != text:
                goal.write_bytes(changed)

    def _write_folder(self, unit: WorkUnit, run: str, token: str) -> None:
        """In a thread: what the agent is asked, and how it is started."""
        assert unit.worktree is not None
        folder = self.folder(run)
        answers = tuple(
            AnsweredQuestion(id=q.id, text=q.text, answer=q.answer)
            for q in unit.questions
            if q.answer is not None and q.state in ("answered", "delivered")
        )
        issues = tuple(
            JobIssue(id=i.id, place=i.place, concern=i.concern, suggestion=i.suggestion)
            for i in unit.issues
            if i.disposition is None
        )
        backend = self.core.backend_of(unit)
        adapter = self.core.adapter(backend)
        session = unit.session if adapter.abilities.resume else None
        resume = session is not None
        prompt = prompts.render(
            chunk=unit.chunk, phase=unit.phase.value, worktree=unit.worktree, cause=unit.cause,
            answers=answers, issues=issues, settled=[i for i in unit.issues if i.disposition], resume=resume,
        )  # fmt: skip
        job = Job(
            run=run, unit=unit.id, chunk=unit.chunk, attempt=unit.attempt, phase=unit.phase.value,
            visit=getattr(unit.visits, unit.phase.lower()), worktree=unit.worktree, run_dir=str(folder),
            prompt=prompt, session=session, resume=resume, answers=answers, cause=unit.cause,
            issues=issues, agent=backend,
        )  # fmt: skip
        launch = adapter.launch(job)
        own = {"VE_RUN_ID": run, "VE_RUN_DIR": str(folder), "VE_RUN_TOKEN": token}
        limits, phase = self.core.config.limits, self.core.config.phase.get(unit.phase.value, PhaseConfig())
        spec = runfolder.Spec(
            run=run,
            argv=launch.argv,
            env={**environment(launch.env, passes=launch.passes), **own},
            cwd=unit.worktree,
            stdin=launch.stdin,
            limits=runfolder.Limits(
                wall_s=phase.wall_s or limits.wall_s, idle_s=phase.idle_s or limits.idle_s
            ),
            nudge=runfolder.NudgeTo(socket=str(self.core.places.socket), token=token),
        )
        runfolder.create(folder, job, prompt, spec, launch.files)

    async def _could_not_begin(self, unit: WorkUnit, run: str, reason: str) -> None:
        log.warning("run %s could not begin: %s", run, reason)
        failure = c.Failed(kind="setup", reason=f"the run could not begin: {reason}", retry=False)
        reply = await self.core.stream.submit(
            c.Fail(unit=unit.id, run=run, alive=False, failure=failure), f"run:{run}"
        )
        if isinstance(reply, Refused):
            await self._submit_end(c.RunEnded(unit=unit.id, run=run, exit=failure))

    async def _never_began(self, unit: WorkUnit, run: str) -> None:
        """A run that was called off before anything of it was started."""
        if f"run:{run}" in self._tasks or run in self._active:
            return
        if isinstance(await asyncio.to_thread(watch.state, self.folder(run)), watch.Unclaimed):
            ended = c.Failed(reason="it was called off before it began", retry=False)
            await self._submit_end(c.RunEnded(unit=unit.id, run=run, exit=ended))

    # ── While it lives ─────────────────────────────────────────────────────────────────────────────

    def _follow(self, unit: WorkUnit, run: str) -> None:
        if run in self._active:
            return
        folder = self.folder(run)
        spec = runfolder.read_spec(folder)
        self._active[run] = Run(self._files(unit, run), spec.nudge.token if spec and spec.nudge else "")
        self._none_left.clear()
        self.start_task(f"watch:{run}", self._watch(run))

    def _files(self, unit: WorkUnit, run: str) -> RunFiles:
        """Read with the agent that the run was started with, whatever the configuration says by now."""
        backend = runfolder.read_agent_name(self.folder(run)) or self.core.backend_of(unit)
        return RunFiles(self.folder(run), unit, backend, self.core.adapter(backend))

    async def nudge(self, run_id: str, token: str) -> None:
        """A run says that there is something to read. Raises NotFound, RefusedError."""
        run = self._active.get(run_id)
        if run is None:
            raise NotFound(f"{run_id} is not running")
        if not run.token or not hmac.compare_digest(run.token, token):
            raise RefusedError("this token is not of that run")
        await self._read(run_id)

    async def _read(self, run_id: str) -> None:
        run = self._active.get(run_id)
        if run is None:
            return
        async with run.reading:
            await self._read_new(run)
        run.grew.set()
        run.grew = asyncio.Event()

    async def _read_new(self, run: Run) -> None:
        for command in await asyncio.to_thread(run.files.read_new):
            self.core.stream.submit(command, f"run:{run.files.run}")

    async def _read_again(self, unit: WorkUnit, run_id: str) -> None:
        """After an outage of the history: what was read meanwhile was refused or undone."""
        run = self._active[run_id]
        async with run.reading:
            run.files = self._files(unit, run_id)
            await self._read_new(run)
        if not isinstance(unit.state, Running) or unit.state.stop:
            self._stop_soon(unit, run_id)

    def grew(self, run_id: str) -> asyncio.Event | None:
        """Set when the run's output has grown; None where it has ended."""
        run = self._active.get(run_id)
        return run.grew if run else None

    def _stop_soon(self, unit: WorkUnit, run_id: str) -> None:
        """An agent that asked may end its turn by itself; any other is stopped at once."""
        run = self._active.get(run_id)
        if run is None:
            return
        asked = unit.closing is None and any(q.run == run_id for q in unit.questions)
        if run.stop_timer is None or not asked:
            if run.stop_timer:
                run.stop_timer.cancel()
            delay = ASK_GRACE_S if asked else 0.0
            run.stop_timer = asyncio.get_running_loop().call_later(delay, self._request_stop, run_id)

    def _request_stop(self, run_id: str) -> None:
        stop.request_stop(self.folder(run_id))

    # ── The end ────────────────────────────────────────────────────────────────────────────────────

    async def _exit(self, run_id: str) -> watch.State:
        """Wait for the end; a nudge that was lost meanwhile delays what a run tells, no more."""
        ended = asyncio.ensure_future(watch.wait_exit(self.folder(run_id)))
        try:
            while not ended.done():
                await asyncio.wait({ended}, timeout=LOOK_AGAIN_S)
                if not ended.done():
                    await self._read(run_id)
            return ended.result()
        finally:
            ended.cancel()

    async def _watch(self, run_id: str) -> None:
        """Wait for the end of a run's supervisor, then tell what it came to."""
        state = await self._exit(run_id)
        if isinstance(state, watch.Lost):
            await asyncio.to_thread(stop.kill_remains, run_id)
        faults.at("exit-record")
        run = self._active[run_id]
        assert isinstance(state, watch.Ended | watch.Lost)
        async with run.reading:
            await self._read_new(run)
            command = await asyncio.to_thread(run.files.ended, state)
        command = await self._with_effect(command, run.files)
        if run.stop_timer:
            run.stop_timer.cancel()
        del self._active[run_id]
        run.grew.set()
        await self._submit_end(command, run.files.backend)

    async def _with_effect(self, command: c.RunEnded, files: RunFiles) -> c.RunEnded:
        """A clean end counts only with what its phase must have changed."""
        unit = self.core.stream.unit(command.unit)
        running = unit is not None and isinstance(unit.state, Running) and unit.run == command.run
        if unit is None or not running or not isinstance(command.exit, c.Clean) or not files.effect_required:
            return command
        try:
            why = await self.core.git(effects.missing, unit)
        except VeError as error:
            why = str(error)
        return replace(command, exit=files.without_effect(why)) if why else command

    async def _submit_end(self, command: c.RunEnded, backend: str = "") -> None:
        """A usage limit closes the backend's lane in the same breath."""
        commands: list[c.Command] = [command]
        if isinstance(command.exit, c.Limited) and backend:
            commands.insert(
                0, c.LaneClosed(backend=backend, until=command.exit.until, reason=command.exit.reason)
            )
        reply = await self.core.stream.submit_all(commands, f"run:{command.run}")
        if isinstance(reply, Refused) and not reply.stale:
            log.error("the end of %s was refused: %s", command.run, reply.why)
        if isinstance(reply, Unavailable):
            log.warning("the end of %s is told again once the history can be written", command.run)
        self._note_end()

    async def _end_strangers(self) -> None:
        """Runs that the history does not know: a crash undid their dispatch. Nothing of them may live."""
        known = {unit.run for unit in self.core.stream.index.live() if unit.run}
        for folder in sorted(self.core.places.runs_dir.glob("*")):
            if folder.name in known or folder.name in self._active:
                continue
            if isinstance(await asyncio.to_thread(watch.state, folder), watch.Alive | watch.Lost):
                log.warning("run %s is not in the history, so it is ended", folder.name)
                await asyncio.to_thread(stop.kill, folder)
                await asyncio.to_thread(stop.kill_remains, folder.name)

    async def stop_all(self) -> None:
        """Ask every run to end."""
        for run_id in tuple(self._active):
            self._request_stop(run_id)

    def _note_end(self) -> None:
        if self.core.stream.index.slots_used == 0:
            self._none_left.set()
        else:
            self._none_left.clear()

    async def all_ended(self) -> None:
        """Return when no run is left."""
        self._note_end()
        await self._none_left.wait()

    def log(self, run_id: str, offset: int = 0) -> RunLog:
        """What a run printed. Raises NotFound."""
        folder = self.folder(run_id)
        if "/" in run_id or run_id.startswith(".") or len(run_id) > 200 or not folder.is_dir():
            raise NotFound(
                f"there is no run {run_id}", hint="See a unit's runs: ve orch work-unit show CHUNK"
            )
        ended = run_id not in self._active and f"run:{run_id}" not in self._tasks
        data = b""
        with contextlib.suppress(FileNotFoundError), (folder / "output").open("rb") as file:
            file.seek(offset)
            data = file.read(LOG_CHUNK)
        at_end = ended and len(data) < LOG_CHUNK
        whole = data[: data.rfind(b"\n") + 1]
        if at_end or (not whole and len(data) == LOG_CHUNK):
            whole = data  # the rest, or a piece of a line that is longer than a piece
        return RunLog(data=whole, offset=offset + len(whole), ended=at_end)

    async def close(self) -> None:
        """Runs go on without us; the warm spare ends."""
        await super().close()
        await self._supervisors.close()
