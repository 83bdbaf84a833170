"""What the real clients have in common: how a run of one is recorded, and how what it printed is read again.

record_<client>.py says what is special to a client and which runs there are, and writes them anew;
test_<client>.py says what they mean. A client is started as `ve` starts it, against the scripted model.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec
import pytest

from tests.agents.clients import find
from tests.agents.exercise import AdapterExercise, Exited, parse
from ve.agents import adapter, judge
from ve.agents.base import Adapter, Event, Job, Launch, Settings
from ve.testing import Refusal, ScriptedModel, Seen, Turn

CLOSED = "http://127.0.0.1:9"
"""An address at which nobody listens."""


class Case(msgspec.Struct, frozen=True):
    """One run. What does not end is killed after `stop_s`, or once it printed `stop_at` lines."""

    turns: Sequence[Turn | Refusal]
    env: Mapping[str, str] = {}
    settings: Mapping[str, object] = {}
    resume: str = ""
    """The case whose conversation this one goes on with, or an id."""
    prompt: str = "Do it."
    stop_s: float = 60.0
    stop_at: int = 1000


class Ran(NamedTuple):
    """What a run left, and what the model was asked."""

    lines: list[bytes]
    code: int
    stderr: str
    asked: list[Seen]
    folder: Path
    tree: Path

    @property
    def requests(self) -> int:
        return len(self.asked)


class Recorder:
    """A client and its recorded runs. Subclasses say what is special to it."""

    name: ClassVar[str]
    """Of its program, of its adapter, and of the folder of its recordings."""
    cases: ClassVar[Mapping[str, Any]]
    session_field: ClassVar[str]
    """What its lines call the conversation's id."""
    settings: ClassVar[Mapping[str, object]] = {"model": "scripted"}

    def __init__(self) -> None:
        self.recorded = Path(__file__).parent / "recorded" / self.name

    # ── What differs ───────────────────────────────────────────────────────────────────────────────

    def prepare(self, tree: Path) -> None:
        """Make the worktree."""
        if not tree.exists():
            subprocess.run(["git", "init", "-q", str(tree)], check=True)

    def files(self, case: Any, launch: Launch) -> Mapping[str, str]:
        """What is written into the run's folder."""
        return launch.files

    def env(self, case: Any, launch: Launch, root: Path) -> Mapping[str, str]:
        """Its variables, besides PATH and HOME; an empty one is not set."""
        raise NotImplementedError

    # ── Recording ──────────────────────────────────────────────────────────────────────────────────

    def run(self, name: str, case: Any, root: Path, *, binary: Path | None = None) -> Ran:
        """Start the client as `ve` does, and wait for its end. All runs in `root` have one home and tree."""
        folder, tree = root / name, root / "tree"
        folder.mkdir()
        self.prepare(tree)
        with ScriptedModel(case.turns) as model:
            command = (str(binary or find(self.name)),)
            wanted = {"base_url": model.url, **self.settings, **case.settings, "command": command}
            session = self._session(case, root)
            job = Job(
                run=name, unit="u1", chunk="greeting", attempt=1, phase="IMPLEMENT", worktree=str(tree),
                run_dir=str(folder), prompt=case.prompt, session=session, resume=session is not None,
            )  # fmt: skip
            launch = adapter(self.name, msgspec.convert(wanted, Settings)).launch(job)
            _write(folder, job, self.files(case, launch))
            env = {"PATH": os.environ["PATH"], "HOME": str(root), **self.env(case, launch, root)}
            code = _go(launch.argv, {key: text for key, text in env.items() if text}, tree, folder, case)
        lines = (folder / "stdout").read_bytes().splitlines()
        return Ran(lines, code, (folder / "stderr").read_text(), model.asked, folder, tree)

    def session_of(self, lines: Sequence[bytes]) -> str:
        """The id of the conversation that these lines tell of."""
        return str(msgspec.json.decode(lines[0])[self.session_field])

    def record(self) -> None:
        """The cases that the command line names, or all, one after the other."""
        self.recorded.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="record-") as place:
            root = Path(place).resolve()
            for name in sys.argv[1:] or self.cases:
                began = time.monotonic()
                ran = self.run(name, self.cases[name], root)
                lines = ran.lines[: self.cases[name].stop_at]
                text = _nowhere("".join(line.decode() + "\n" for line in lines), root)
                (self.recorded / f"{name}.jsonl").write_text(text)
                if not ran.lines:
                    (self.recorded / f"{name}.stderr").write_text(_nowhere(ran.stderr, root))
                took = time.monotonic() - began
                print(f"{name}: exit code {ran.code}, {ran.requests} requests, {took:.1f} s", file=sys.stderr)
                print(ran.stderr[-600:], file=sys.stderr)

    def _session(self, case: Case, root: Path) -> str | None:
        if case.resume not in self.cases:
            return case.resume or None
        return self.session_of((root / case.resume / "stdout").read_bytes().splitlines())

    # ── Reading ────────────────────────────────────────────────────────────────────────────────────

    def lines(self, name: str) -> list[bytes]:
        """What it printed in that run."""
        return (self.recorded / f"{name}.jsonl").read_bytes().splitlines()

    def events(self, name: str, **settings: Any) -> list[Event]:
        """What its adapter makes of that run."""
        return parse(adapter(self.name, Settings(**settings)), self.lines(name))

    def outcome(self, name: str, code: int = 1) -> judge.Outcome:
        """How that run is judged, with this exit code."""
        made = adapter(self.name)
        seen = judge.Seen(agent=made.title, name=made.name, chunk="greeting")
        return judge.judge(self.events(name), Exited(code=code), True, seen, made.abilities)

    def failed(self, name: str) -> judge.Failed:
        """The same of a run that must have failed."""
        found = self.outcome(name)
        assert isinstance(found, judge.Failed), found
        return found


def _write(folder: Path, job: Job, files: Mapping[str, str]) -> None:
    (folder / "job.json").write_bytes(msgspec.json.encode(job))
    (folder / "prompt.md").write_text(job.prompt)
    for name, text in files.items():
        (folder / name).write_text(text)


def _go(argv: Sequence[str], env: Mapping[str, str], tree: Path, folder: Path, case: Case) -> int:
    """Its exit code."""
    with (
        (folder / "prompt.md").open() as prompt,
        (folder / "stdout").open("wb") as stdout,
        (folder / "stderr").open("wb") as stderr,
    ):
        process = subprocess.Popen(argv, cwd=tree, env=env, stdin=prompt, stdout=stdout, stderr=stderr)
        last = time.monotonic() + case.stop_s
        while time.monotonic() < last:
            try:
                return process.wait(0.2)
            except subprocess.TimeoutExpired:
                if (folder / "stdout").read_bytes().count(b"\n") >= case.stop_at:
                    break
        process.kill()
        return process.wait()


def _nowhere(text: str, root: Path) -> str:
    """Without the place where it was recorded; a client may name a folder after a path."""
    return text.replace(str(root), "/home/op").replace(str(root).replace("/", "-"), "-")


class RecordedExercise(AdapterExercise):
    """The claims of `AdapterExercise`, with lines of real runs."""

    client: ClassVar[Recorder]
    good: ClassVar[str]
    """The run that must be clean when it is whole, and only then."""
    well: ClassVar[Sequence[str]]
    """Runs that are no failures by what they printed alone."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        return adapter(self.client.name)

    @pytest.fixture
    def success(self) -> Sequence[bytes]:
        return self.client.lines(self.good)

    @pytest.fixture
    def failures(self) -> Mapping[str, Sequence[bytes]]:
        return {name: self.client.lines(name) for name in self.client.cases if name not in self.well}
