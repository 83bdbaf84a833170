"""`ve demo` as a newcomer runs it: it ends well, tells what happened, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.given import git
from tests.faces.conftest import wait_gone
from tests.faces.terminal import Terminal, lines_until

WALL_S = 60.0
VE = str(Path(sys.executable).parent / "ve")
LAST = r"6 of 6 DONE in \d+\.\d s, and the merged repository's tests pass"


class Stage:
    """A machine of its own for one showing: where temporary folders and sockets go."""

    def __init__(self, root: Path) -> None:
        self.temporary = root / "tmp"
        self.sockets = root / "run"
        for folder in (self.temporary, self.sockets):
            folder.mkdir()
        self.env = os.environ | {
            "TMPDIR": str(self.temporary),
            "XDG_RUNTIME_DIR": str(self.sockets),
            "PYTHONUNBUFFERED": "1",
        }

    @contextlib.contextmanager
    def showing(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """The demo while it runs; ended by its pid if it does not end by itself."""
        process = subprocess.Popen(
            [VE, "demo", *words],
            env=self.env,
            cwd=self.temporary.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate(timeout=WALL_S)
            for pipe in (process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()

    @property
    def repository(self) -> Path:
        """The one that the demo made."""
        return next(self.temporary.glob("ve-demo-*")) / "events"

    def processes(self) -> list[int]:
        """Whatever works on anything here: daemons, supervisors, agents, tools."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                # VE_RUN_DIR, which goes with VE_RUN_ID, is in the environment of all that a run starts.
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                stat = (entry / "stat").read_bytes().rpartition(b")")[2].split()[0]
            except OSError:
                continue
            if os.fsencode(self.temporary) + b"/ve-demo-" in told and stat != b"Z":
                found.append(int(entry.name))
        return found

    def assert_empty(self) -> None:
        """No folder, no process, no socket."""
        assert self.processes() == []
        assert list(self.temporary.iterdir()) == []
        assert list(self.sockets.rglob("*.sock")) == []


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """After a failed test whatever is left is ended, each by its pid."""
    made = Stage(tmp_path)
    yield made
    for pid in made.processes():
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)


def test_all_six_chunks_are_merged_within_a_minute_and_nothing_is_left(stage: Stage) -> None:
    with stage.showing("--yes") as showing:
        said, complaints = showing.communicate(timeout=WALL_S)
    assert (showing.returncode, complaints) == (0, "")

    lines = said.rstrip().splitlines()
    assert re.fullmatch(LAST, lines[-1])
    chunks = {"parser", "formatter", "config_file", "errors", "cli", "usage"}
    merged, worked = map(lines.index, ("merged into the repository:", "seconds of work in each phase:"))
    log, table = lines[merged + 1 : worked], lines[worked + 1 :]
    assert {line.split()[-1] for line in log if " Merge " in line} == chunks
    assert table[0].split() == ["chunk", "plan", "implement", "rebase", "review", "complete", "waited"]
    assert {line.split()[0] for line in table[1:7]} == chunks
    assert all(re.fullmatch(r"[\d.]+", cell) for line in table[1:7] for cell in line.split()[1:])
    assert any(re.search(r've history query "select .+"$', line) for line in lines)
    # One of each: a question, a failure that was tried again, a wait for others.
    assert re.search(r"formatter +IMPLEMENT +needs you \(question\): How should dates", said)
    assert re.search(r"config_file +IMPLEMENT +failed, will be tried again", said)
    assert re.search(r"cli +IMPLEMENT +waits for", said)

    stage.assert_empty()


def test_a_person_may_answer_before_the_demo_does_and_keep_the_repository(stage: Stage) -> None:
    """With --keep: the line to copy works, and the repository is sound and complete."""
    with stage.showing("--keep") as showing:
        lines_until(showing.stdout, r"formatter +IMPLEMENT +needs you \(question\)")
        person = Terminal(stage.repository)
        person.env |= stage.env
        person.said("orch", "answer", "formatter", "--option", "2")
        said, complaints = showing.communicate(timeout=WALL_S)
    assert (showing.returncode, complaints) == (0, "")
    assert re.fullmatch(LAST, said.rstrip().splitlines()[-1])
    repository = stage.repository
    assert stage.processes() == []
    assert list(stage.sockets.rglob("*.sock")) == []

    copied = next(line for line in said.splitlines() if "history query" in line).strip()
    assert copied.startswith(f"cd {repository} && ")
    run = subprocess.run(
        ["/bin/sh", "-c", copied], env=stage.env, capture_output=True, text=True, check=False, timeout=WALL_S
    )
    assert run.returncode == 0, run.stderr
    assert re.search(r"^formatter +Ask ", run.stdout, re.MULTILINE)
    answered = "select actor from transitions where command = 'Answer'"
    assert "operator:ada" in person.said("history", "query", answered, "--csv").splitlines()
    assert 'DATE_FORMAT = r"""%d.%m.%Y"""' in (repository / "events" / "formatter.py").read_text()

    git(repository, "fsck", "--strict", "--no-dangling")
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "worktree", "list").count("\n") == 0
    tests = [sys.executable, "-m", "unittest", "-q"]
    subprocess.run(tests, cwd=repository, check=True, capture_output=True, timeout=WALL_S)
    shutil.rmtree(repository.parent)
    stage.assert_empty()


MOMENTS = {
    "before-the-daemon": r"^repository ",
    "while-the-daemon-starts": None,
    "while-agents-work": r"running in slot",
    "while-a-question-waits": r"needs you \(question\)",
}
SIGNALS = (
    ("before-the-daemon", signal.SIGHUP),
    ("while-the-daemon-starts", signal.SIGTERM),
    ("while-agents-work", signal.SIGINT),
    ("while-a-question-waits", signal.SIGTERM),
)


def daemon_starts(stage: Stage, showing: subprocess.Popen[str]) -> None:
    """Return once the daemon's process is there, which is before it serves."""
    assert showing.stdout is not None
    lines_until(showing.stdout, MOMENTS["before-the-daemon"] or "")
    said = b""
    while not set(stage.processes()) - {showing.pid}:
        if select.select([showing.stdout], [], [], 0.01)[0]:
            said += os.read(showing.stdout.fileno(), 65536)
        assert b"board" not in said, "it serves already"
        assert showing.poll() is None


@pytest.mark.parametrize(("moment", "number"), SIGNALS, ids=lambda value: getattr(value, "name", value))
def test_a_demo_that_is_told_to_end_leaves_no_daemon_and_no_folder(
    stage: Stage, moment: str, number: signal.Signals
) -> None:
    with stage.showing() as showing:
        if line := MOMENTS[moment]:
            lines_until(showing.stdout, line)
        else:
            daemon_starts(stage, showing)
        showing.send_signal(number)
        _, complaints = showing.communicate(timeout=WALL_S)
    assert complaints == "interrupted; everything that the demo started was ended\n"
    assert showing.returncode == 130
    stage.assert_empty()


def test_somebody_who_presses_ctrl_c_twice_disturbs_nothing(stage: Stage) -> None:
    with stage.showing() as showing:
        lines_until(showing.stdout, r"running in slot")
        for _ in range(3):
            showing.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                showing.wait(0.05)
        _, complaints = showing.communicate(timeout=WALL_S)
    assert complaints == "interrupted; everything that the demo started was ended\n"
    assert showing.returncode == 130
    stage.assert_empty()
