"""A small real repository with scripted chunks, and the whole core on it, for tests to drive.

Nothing here is a stand-in: git, DuckDB, supervisors and the script agent's processes are the real ones.
Tests wait on the stream (`Orch.until`), never for time.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from ve import config, paths
from ve.core import Core
from ve.operations import Operations, Outcome
from ve.views import Transition, UnitView

T = TypeVar("T")
WAIT_S = 40.0
ME = "operator:me"
SETTINGS = "slots = 4\n[limits]\nretry_s = 0.02\n"
GOAL = """---
status: FUTURE
ticket: null
code_paths: []
code_references: []
depends_on: {depends_on}
created_after: {created_after}
---

# Chunk Goal

## Minor Goal

{name} is written down, so that whoever comes next can read it.
"""
PLAN = """# Implementation Plan

## Approach

Write {name} to a file of its own, in one step.
"""


def git(cwd: Path, *args: str, ok: bool = True) -> str:
    """Run git as a user would; its output without the last line end."""
    identity = ("-c", "user.name=Op", "-c", "user.email=op@example.org")
    run = subprocess.run(["git", *identity, *args], cwd=cwd, capture_output=True, check=False)
    if ok and run.returncode != 0:
        raise AssertionError(f"git {args}: {run.stderr.decode()}")
    return run.stdout.decode().rstrip("\n")


class Project:
    """A repository with a main worktree, for a test to change as an operator would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True)
        git(root, "init", "-q", "-b", "main")
        self.commit({"README.md": "A project.\n", "notes.txt": "one\ntwo\nthree\n", "ve.toml": SETTINGS})

    def git(self, *args: str, ok: bool = True) -> str:
        return git(self.root, *args, ok=ok)

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commit(self, files: dict[str, str], message: str = "change") -> str:
        self.write(files)
        self.git("add", "-A")
        self.git("commit", "-qm", message)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def chunk(
        self,
        name: str,
        script: str | None = None,
        *,
        depends_on: Iterable[str] | None = None,
        created_after: Iterable[str] = (),
        plan: bool = True,
        status: str = "FUTURE",
    ) -> str:
        """Commit a chunk whose agent does what `script` says; without one it writes work/<name>.txt."""
        goal = GOAL.format(
            name=name,
            depends_on="null" if depends_on is None else json.dumps(list(depends_on)),
            created_after=json.dumps(list(created_after)),
        ).replace("status: FUTURE", f"status: {status}")
        folder = f"docs/chunks/{name}"
        files = {
            f"{folder}/GOAL.md": goal,
            f"{folder}/script.toml": writes(name) if script is None else script,
        }
        files[f"{folder}/PLAN.md"] = PLAN.format(name=name) if plan else "# Implementation Plan\n"
        self.commit(files, f"chunk {name}")
        return name

    def trees(self) -> list[str]:
        """Names of the linked worktrees that git itself knows of."""
        listing = self.git("worktree", "list", "--porcelain").splitlines()
        places = [Path(line.split(" ", 1)[1]) for line in listing if line.startswith("worktree ")]
        return sorted(place.name for place in places if ".ve" in place.parts)

    def judged_sound(self) -> None:
        """What git says of the repository after all is done: whole, and the operator's tree clean."""
        assert self.git("status", "--porcelain") == ""
        self.git("fsck", "--strict", "--no-dangling")
        assert self.git("symbolic-ref", "HEAD") == "refs/heads/main"
        assert not list((self.root / ".git").glob("*.lock"))


def writes(name: str) -> str:
    return f'[[IMPLEMENT]]\nwrite = "work/{name}.txt"\ntext = "{name}\\n"\n'


class Gate:
    """A fifo at which a scripted run waits until the test lets it go on; closed again at each visit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        os.mkfifo(path)

    @property
    def step(self) -> str:
        """A step of a script that waits here."""
        return f'[[IMPLEMENT]]\nrun = "cat {self.path}"\n'

    async def reached(self) -> None:
        """Return once a run waits here: opening for writing blocks until somebody reads."""
        opening = asyncio.get_running_loop().run_in_executor(None, os.open, self.path, os.O_WRONLY)
        try:
            self._fd = await asyncio.wait_for(asyncio.shield(opening), WAIT_S)
        except TimeoutError:
            both = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
            os.close(await opening)
            os.close(both)
            raise AssertionError("no run came to the gate") from None

    def open(self) -> None:
        """Let go whoever waits, and whoever comes later."""
        assert self._fd is not None
        calm = self.path.with_suffix(".open")
        calm.write_text("")
        calm.replace(self.path)
        self.close()

    def close(self) -> None:
        """Let go whoever waits; the next visitor waits again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Orch:
    """A core in this process, on one repository."""

    def __init__(self, root: Path) -> None:
        self.places = paths.find(root)
        self.places.state_dir.mkdir(parents=True, exist_ok=True)
        self.seen: list[Transition] = []
        self.alive = False

    async def start(self) -> Orch:
        loaded = config.load(self.places, {})
        self.core = Core(self.places, loaded.config, version="0")
        self.core.stream.emitted.subscribe(self.seen.append)
        await self.core.start()
        self.ops = Operations(self.core, "0")
        self.alive = True
        return self

    async def stop(self) -> None:
        """End all runs, then the core."""
        if self.alive:
            self.alive = False
            await asyncio.wait_for(self.ops.stop("kill"), WAIT_S)
            await asyncio.wait_for(self.core.close(), WAIT_S)

    async def detach(self) -> None:
        """End the core and leave its runs alive."""
        self.alive = False
        await asyncio.wait_for(self.core.close(), WAIT_S)

    async def inject(self, *chunks: str, **options: Any) -> Outcome:
        return await self.ops.inject(chunks, actor=ME, **options)

    async def verb(self, chunk: str, verb: str, **body: Any) -> UnitView:
        out = await self.ops.verb(chunk, verb, body, actor=ME)
        return out.units[0]

    def unit(self, chunk: str) -> UnitView:
        """The chunk's live unit, else its latest."""
        same = [u for u in self.ops.units() if u.chunk == chunk]
        return max(same, key=lambda u: (u.status not in ("DONE", "CANCELLED"), u.created_at))

    async def until(self, predicate: Callable[[], T], within_s: float = WAIT_S) -> T:
        """The first true value of `predicate`, asked after each transition and each commit."""
        found = predicate()
        if found:
            return found
        reached: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def look(_: Transition) -> None:
            if not reached.done() and (value := predicate()):
                reached.set_result(value)

        stream = self.core.stream
        subscriptions = [stream.emitted.subscribe(look), stream.committed.subscribe(look)]
        try:
            return await asyncio.wait_for(reached, within_s)
        except TimeoutError:
            raise AssertionError(f"not reached in {within_s} s; {self.told()}") from None
        finally:
            for subscription in subscriptions:
                subscription.dispose()

    async def status(self, chunk: str, status: str, kind: str | None = None) -> UnitView:
        """The unit once it durably has this status (and this kind of attention)."""

        def there() -> UnitView | None:
            unit = self.unit(chunk)
            there = unit.status == status and unit.attention_kind == kind
            return unit if there and self.durable(chunk) else None

        return await self.until(there)

    def durable(self, chunk: str) -> bool:
        """Whether what the unit is now is on disk."""
        return self.unit(chunk).seq <= self.core.stream.durable_seq

    async def effects(self, prefix: str) -> None:
        """Return once no effect of that name is under way."""
        while found := [task for task in asyncio.all_tasks() if task.get_name().startswith(prefix)]:
            await asyncio.wait(found, timeout=WAIT_S)

    async def done(self, *chunks: str, within_s: float = WAIT_S) -> None:
        """Every one of these is merged and cleaned up, durably."""

        def ended() -> bool:
            units = [self.unit(chunk) for chunk in chunks]
            stuck = [u for u in units if u.status == "NEEDS_ATTENTION"]
            assert not stuck, self.told()
            return all(
                u.status == "DONE" and not u.worktree and u.seq <= self.core.stream.durable_seq for u in units
            )

        await self.until(ended, within_s)

    def commands(self, chunk: str) -> list[str]:
        """The names of all transitions of a chunk's units, in order."""
        return [t.command for t in self.seen if t.unit is not None and t.unit.chunk == chunk]

    def told(self) -> str:
        """What happened, for a failed assertion."""
        lines = [
            f"{t.seq} {t.command} {t.unit.chunk if t.unit else 'board'} -> "
            f"{type(t.unit.state).__name__ if t.unit else ''} {t.why[:300]}"
            for t in self.seen[-25:]
        ]
        units = [f"{u.chunk}: {u.status} {u.stage} {u.attention_reason}" for u in self.ops.units()]
        return "\n".join([*lines, *units, f"broken: {self.core.stream.broken}"])

    async def sql(self, text: str) -> list[list[Any]]:
        return [list(row) for row in (await self.ops.query(text)).rows]


class Board:
    """A client of the feed that puts its state together from frames, as the board's page does."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.units: dict[str, dict[str, Any]] = {}
        self.frames: list[dict[str, Any]] = []
        self.durable = 0

    async def open(self, since: str | None = None) -> Board:
        self.client = await self.core.feed.open(since)
        return self

    async def read(self) -> list[dict[str, Any]]:
        """One message, applied."""
        frames: list[dict[str, Any]] = json.loads(await asyncio.wait_for(self.client.next(), WAIT_S))
        for frame in frames:
            self.frames.append(frame)
            if frame["type"] == "snapshot":
                self.units = {unit["id"]: unit for unit in frame["units"]}
            elif frame["type"] == "transition" and frame["unit"]:
                self.units[frame["unit"]["id"]] = frame["unit"]
            elif frame["type"] == "durable":
                self.durable = int(frame["cursor"].rpartition(".")[2])
        return frames

    async def catch_up(self) -> None:
        """Read until everything that has happened is here and durable."""
        while self.durable < self.core.stream.seq:
            await self.read()

    def transitions(self) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == "transition"]


def carriers(runs: Iterable[str]) -> dict[int, str]:
    """Processes that carry the id of one of these runs in their environment, by pid."""
    wanted = set(runs)
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environ = (entry / "environ").read_bytes()
        except OSError:
            continue
        for word in environ.split(b"\0"):
            name, _, value = word.partition(b"=")
            if name == b"VE_RUN_ID" and value.decode() in wanted:
                found[int(entry.name)] = value.decode()
    return found
