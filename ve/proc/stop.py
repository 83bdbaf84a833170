"""Ending runs: asking, killing, and sweeping up what a dead supervisor left.

Rule: a signal goes to a process only after it is proved to be the one meant: a supervisor by pid, start
time and boot; a remnant by the run's id in its own environment. Never by name, path or pid alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from ve.errors import RunError
from ve.proc.identity import HAS_PIDFD, HAS_PROC, pidfd, signal_supervisor
from ve.proc.runfolder import read_lock

REMAINS_S = 10.0


def request_stop(run_dir: Path) -> bool:
    """Ask the supervisor to end the run: SIGTERM to the agent, SIGKILL after the grace. False: it is gone."""
    return _signal(run_dir, signal.SIGTERM)


def kill(run_dir: Path) -> bool:
    """Kill the supervisor; the agent dies with it. Call `kill_remains` when it is gone. False: it is gone."""
    return _signal(run_dir, signal.SIGKILL)


def kill_remains(run_id: str) -> int:
    """Kill every process that has VE_RUN_ID=run_id in its environment; returns how many.

    Repeats until none is left; never this process. Run ids are random for this reason: one that is used
    twice names two runs. Blocks (reads all of /proc): call it off the loop.
    Raises RunError when some are still there after 10 s.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + REMAINS_S
    while True:
        left = [pid for pid in _carriers(run_id) if pid != os.getpid()]
        if not left:
            return len(killed)
        if time.monotonic() > deadline:
            raise RunError(
                f"processes {', '.join(map(str, left))} of run {run_id} cannot be killed",
                hint="They probably wait for a disk or network that hangs: look with `ps -o pid,stat,wchan`.",
            )
        for pid in left:
            if _kill_carrier(pid, run_id):
                killed.add(pid)
        time.sleep(0.01)


def _signal(run_dir: Path, number: signal.Signals) -> bool:
    lock = read_lock(run_dir)
    return lock is not None and signal_supervisor(run_dir, lock, number)


def _kill_carrier(pid: int, run_id: str) -> bool:
    try:
        if not HAS_PIDFD:
            os.kill(pid, signal.SIGKILL)
            return True
        with pidfd(pid) as fd:
            if fd is None or not _carries(pid, run_id):
                return False
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            return True
    except ProcessLookupError:
        return False


def _carriers(run_id: str) -> list[int]:
    if not HAS_PROC:
        return _carriers_by_ps(run_id)
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if _carries(pid, run_id)]


def _carries(pid: int, run_id: str) -> bool:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # gone, or another user's
        return False
    return f"VE_RUN_ID={run_id}".encode() in environ.split(b"\0")


def _carriers_by_ps(run_id: str) -> list[int]:
    """macOS: `ps -E` shows the environment of one's own processes."""
    listing = subprocess.run(
        ["ps", "-axEwwo", "pid=,command="], capture_output=True, text=True, timeout=10, check=False
    ).stdout
    rows = (line.split() for line in listing.splitlines())
    return [int(row[0]) for row in rows if row and f"VE_RUN_ID={run_id}" in row[1:]]
