"""Starting runs: one supervisor is kept warm, because a cold start costs some 20 ms and a run should not.

Rule: a supervisor owes nothing to the daemon after it said `claimed`: own session, no pipe of ours. One
that has claimed nothing dies with the daemon, because its stdin ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from ve.errors import RunError
from ve.proc import watch
from ve.proc.env import environment

PROGRAM = Path(__file__).resolve().parent.parent / "supervise.py"
CLAIM_S = 10.0


class Started(msgspec.Struct, frozen=True):
    """The supervisor that claimed the run."""

    pid: int


class _Spare:
    """A supervisor that waits for a folder, and our ends of its two pipes."""

    def __init__(self, log: Path) -> None:
        in_r, self.to = os.pipe()
        self.back, out_w = os.pipe()
        log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        duplicate = os.POSIX_SPAWN_DUP2
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", str(PROGRAM)],
                environment(),
                file_actions=[(duplicate, in_r, 0), (duplicate, out_w, 1), (duplicate, log_fd, 2)],
                setsigmask=[],
                setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD],
            )
        except OSError:
            self.close()
            raise
        finally:
            for fd in (in_r, out_w, log_fd):
                os.close(fd)

    def close(self) -> None:
        """Let go of the pipes: one that has claimed nothing ends."""
        for fd in (self.to, self.back):
            if fd >= 0:
                os.close(fd)
        self.to = self.back = -1

    async def claim(self, run_dir: Path) -> str:
        """Hand it the folder; returns its answer, empty when it died before one."""
        try:
            os.write(self.to, _order(run_dir))
        except BrokenPipeError:
            return ""
        answer = b""
        while not answer.endswith(b"\n"):
            await watch.readable(self.back)
            piece = os.read(self.back, 512)
            if not piece:
                break
            answer += piece
        return answer.decode("utf-8", "replace").strip()


def _order(run_dir: Path) -> bytes:
    return os.fsencode(run_dir.absolute()) + b"\n"


class Supervisors:
    """Starts the supervisors of runs. One object a daemon, used on its event loop."""

    def __init__(self, log: Path) -> None:
        """`log` gets what supervisors say on stderr: only what they can write nowhere else."""
        self._log = log
        self._spare: _Spare | None = None
        self._closed = False

    def warm(self) -> None:
        """Have a spare ready before the first run; `start` does so after each."""
        if self._spare is None and not self._closed:
            self._spare = self._make()

    async def start(self, run_dir: Path) -> Started:
        """Have a supervisor claim the folder; returns once its `lock` stands.

        The agent itself starts right after; see agent.json and exit.json. Raises RunError when the folder
        is claimed already or cannot be claimed.
        """
        for _ in range(2):
            spare, self._spare = self._spare or self._make(), None
            try:
                answer = await asyncio.wait_for(spare.claim(run_dir), CLAIM_S)
            except TimeoutError:
                os.kill(spare.pid, signal.SIGKILL)
                answer = ""
            finally:
                spare.close()
                asyncio.get_running_loop().call_soon(self.warm)
            word, _, detail = answer.partition(" ")
            if word == "claimed":
                return Started(int(detail))
            await watch.wait_pid(spare.pid)
            if word == "refused":
                raise RunError(f"the run cannot be claimed: {detail}", where=str(run_dir))
            if not isinstance(watch.state(run_dir), watch.Unclaimed):
                break
        raise RunError(
            "the run's supervisor died before it answered", where=str(run_dir), hint=f"Read {self._log}."
        )

    async def close(self) -> None:
        """End the spare. Runs that were started go on."""
        self._closed = True
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.close()
            await watch.wait_pid(spare.pid)

    def _make(self) -> _Spare:
        try:
            return _Spare(self._log)
        except OSError as error:
            raise RunError(
                f"a supervisor cannot be started: {error.strerror}",
                where=str(self._log.parent),
                hint="See the limits of processes and open files with `ulimit -a`.",
            ) from error
