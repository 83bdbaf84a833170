"""The supervisor of one run: a small process that outlives the daemon and survives its agent.

    python -I -S supervise.py        then one line on stdin: the path of a run folder

It waits for that line as a warm spare, claims the folder by its `lock`, answers `claimed PID` or
`refused REASON` on stdout, and from then on needs nothing of whoever started it. It starts the agent of
`spec.json`, writes what it says to `output` and `stderr`, ends it at its limits, kills everything that
it left behind, and writes `exit.json`.

Rules of this file
  - Standard library only, few imports, one thread: fifty of these run at once.
  - `agent.json` is durable before the agent's program starts; `exit.json` is the last file written, when
    nothing of the run is left. A run with a lock, without an exit record and without this process is lost.
  - The agent never waits for us: its pipes are always read, also when the disk is full.
  - Only own descendants are signalled. They all are: this process is their subreaper on Linux. Elsewhere
    (macOS) the agent's process group and the descendants that `ps` still shows are.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import select
import signal
import sys
import time

if __name__ == "__main__":  # started by path, without site: the package is two folders up
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120

from ve.proc.children import PR_SET_CHILD_SUBREAPER, Agent, boot_id, prctl, send, start_time
from ve.proc.nudge import Nudge
from ve.proc.outfile import Record, Sink, now, reserve, write_all, write_durably

DRAIN_S = 1.0  # how long the pipes are read after the last process of the run is gone


def claim(folder: str) -> int:
    """Take the folder for this process, or raise FileExistsError. Returns the lock's open descriptor.

    The lock appears with its content (a link to a complete file), so no reader sees an empty one. It is
    also held by flock as long as this process lives: what tells life from death where there is no /proc.
    """
    path = os.path.join(folder, "lock")  # noqa: PTH118
    own = f"{path}.{os.getpid()}"
    exclusive = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    record = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "boot_id": boot_id()}
    fd = os.open(own, os.O_RDWR | exclusive, 0o600)
    try:
        # Not synced: after a power loss no process of this boot is alive, and what never began begins again.
        write_all(fd, json.dumps(record).encode() + b"\n")
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            os.link(own, path)
            os.unlink(own)  # noqa: PTH108
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            os.close(os.open(path, os.O_WRONLY | exclusive, 0o600))  # a file system without links
            os.replace(own, path)  # noqa: PTH105
    except OSError:
        os.close(fd)
        os.unlink(own)  # noqa: PTH108
        raise
    return fd


class Run:
    """One claimed folder, from its spec to its exit record."""

    def __init__(self, folder: str, spec: Record, wake: int) -> None:
        self.folder = folder
        self.spec = spec
        self.wake = wake
        limits = spec["limits"]
        assert isinstance(limits, dict)
        self.wall_s = float(limits.get("wall_s") or 0)
        self.idle_s = float(limits.get("idle_s") or 0)
        self.grace_s = float(limits.get("grace_s") or 0)
        self.cap = int(limits.get("output_bytes") or 64 * 1024 * 1024)
        self.poll = select.poll()
        self.nudge = Nudge(str(spec["run"]), spec.get("nudge"), self.poll)
        self.agent = Agent()
        self.pipes: dict[int, Sink] = {}
        self.poll.register(wake, select.POLLIN)
        self.how = ""
        self.why = ""
        self.kill_at: float | None = None
        self.started = self.active = time.monotonic()

    def go(self) -> Record:
        """Run to the end; returns the exit record."""
        began = now()
        outcome: Record
        try:
            self._open()
        except OSError as error:
            left = self.agent.sweep()
            why = str(error)
            outcome = {"how": "start_failed", "code": None, "signal": None, "message": why}
        else:
            self.nudge.want()
            while self.agent.status is None:
                self._turn(self._next())
            self.nudge.close()
            left = self.agent.sweep()
            self._drain()
            outcome = self._outcome(left[1])
        for sink in self.pipes.values():
            sink.close()
        return {
            **outcome,
            "started_at": began,
            "ended_at": now(),
            "cpu_s": round(self.agent.cpu_s, 3),
            "max_rss_kb": self.agent.max_rss_kb,
            "leftover_killed": left[0],
        }

    def _open(self) -> None:
        out = Sink(os.path.join(self.folder, "output"), self.cap)  # noqa: PTH118
        err = Sink(os.path.join(self.folder, "stderr"), self.cap)  # noqa: PTH118
        for fd, sink in zip(self.agent.start(self.folder, self.spec), (out, err), strict=True):
            self.pipes[fd] = sink
            self.poll.register(fd, select.POLLIN)

    def _next(self) -> float | None:
        """When something is due although nothing happens."""
        moments = [self.kill_at, self.nudge.next()]
        if not self.how:
            moments.append(self.started + self.wall_s if self.wall_s else None)
            moments.append(self.active + self.idle_s if self.idle_s else None)
        return min((moment for moment in moments if moment is not None), default=None)

    def _turn(self, until: float | None) -> bool:
        """Wait for one round of events and handle them; True when a pipe had something."""
        wait = None if until is None else max(0, int((until - time.monotonic()) * 1000) + 1)
        spoke = False
        for fd, _ in self.poll.poll(wait):
            if fd == self.wake:
                os.read(fd, 512)
            elif self.nudge.owns(fd):
                self.nudge.close()
            else:
                spoke = self._read(fd) or spoke
        if spoke:
            self.active = time.monotonic()
            self.nudge.want()
        self.agent.reap()
        self._limits()
        self.nudge.step()
        return spoke

    def _read(self, fd: int) -> bool:
        data = os.read(fd, 65536)
        if data:
            self.pipes[fd].write(data)
        else:
            self.poll.unregister(fd)
            os.close(fd)
        return bool(data)

    def _limits(self) -> None:
        moment = time.monotonic()
        if _stop_asked:
            self._end("stopped", "a stop was asked for")
        if self.kill_at is not None and moment >= self.kill_at:
            send(self.agent.pid, signal.SIGKILL, group=True)
            send(self.agent.pid, signal.SIGKILL)
            self.kill_at = None
        if self.wall_s and moment >= self.started + self.wall_s:
            self._end("wall_limit", f"it ran longer than the limit of {self.wall_s:g} s")
        if self.idle_s and moment >= self.active + self.idle_s:
            self._end("idle_limit", f"no output for {self.idle_s:g} s")

    def _end(self, how: str, why: str) -> None:
        """Ask the agent to end, once; the first reason stands."""
        if self.how or self.agent.status is not None:
            return
        self.how, self.why = how, why
        self.kill_at = time.monotonic() + self.grace_s
        send(self.agent.pid, signal.SIGTERM, group=True)

    def _drain(self) -> None:
        """Read what the pipes still hold. Who else kept them open cannot make us wait."""
        deadline = time.monotonic() + DRAIN_S
        while time.monotonic() < deadline:
            ready = [fd for fd, _ in self.poll.poll(0) if fd in self.pipes]
            if not ready or sum(map(self._read, ready)) == 0:
                return

    def _outcome(self, unkillable: int) -> Record:
        status = self.agent.status or 0
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        how = self.how or ("signalled" if number is not None else "exited")
        message = self.why or (f"signal {number}" if number is not None else f"exit code {code}")
        if unkillable:
            message += f"; {unkillable} processes of it could not be killed"
        return {"how": how, "code": code, "signal": number, "message": message}


def supervise(folder: str, wake: int) -> None:
    """Run what the claimed folder asks for and leave its exit record."""
    began = now()
    run = None
    reserve(folder)
    try:
        with open(os.path.join(folder, "spec.json"), "rb") as file:  # noqa: PTH118, PTH123
            run = Run(folder, json.load(file), wake)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        record: Record = {
            "how": "start_failed", "code": None, "signal": None, "message": f"spec.json: {error!r}",
            "started_at": began, "ended_at": now(), "cpu_s": 0.0, "max_rss_kb": 0, "leftover_killed": 0,
        }  # fmt: skip
    else:
        record = run.go()
    pause = 0.1
    while True:
        try:
            write_durably(folder, "exit.json", record)
            break
        except FileNotFoundError:
            _say(f"{folder} is gone; the end of its run was {record}")
            sys.exit(1)
        except OSError as error:
            _say(f"{folder}: exit.json cannot be written: {error}; tried again")
            time.sleep(pause)
            pause = min(pause * 2, 5.0)
    if run is not None:
        run.nudge.last()


def _say(text: str) -> None:
    """A line for the log of all supervisors; the disk that is full may be the log's, too."""
    try:
        os.write(2, f"{now()} {text}\n".encode())
    except OSError:
        return


def _answer(text: str) -> None:
    """To whoever gave the order; if it was killed meanwhile, the next one finds the lock."""
    try:
        os.write(1, text.encode())
    except BrokenPipeError:
        return


def main() -> None:
    """Wait as a spare, claim, run."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    os.closerange(3, 65536)
    os.chdir("/")
    wake, wake_w = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wake_w, False)
    signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _noted)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        return
    signal.signal(signal.SIGTERM, _noted)
    folder = os.fsdecode(line[:-1])
    try:
        claim(folder)
    except OSError as error:
        _answer(f"refused {error.strerror}\n")
        return
    _answer(f"claimed {os.getpid()}\n")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    supervise(folder, wake)


def _noted(number: int, frame: object) -> None:
    """The loop acts; the wake-up descriptor has told it that there is something."""
    global _stop_asked
    _stop_asked = _stop_asked or number == signal.SIGTERM


_stop_asked = False

if __name__ == "__main__":
    main()
