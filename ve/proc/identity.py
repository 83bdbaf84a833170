"""Which process is meant: a pid alone names another one tomorrow.

Rule: before a process that is not our child is signalled or waited for, its start time and the boot must
match what was recorded, and on Linux that is judged through a pidfd, which cannot change its meaning.
Where there is no /proc (macOS), a supervisor lives as long as the flock on its run's `lock` is held.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ve.proc.children import boot_id
from ve.proc.runfolder import Lock

HAS_PROC = Path("/proc/self/stat").exists()
HAS_PIDFD = hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal")


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None when the process is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def lives(run_dir: Path, lock: Lock) -> bool:
    """Whether the process that wrote this lock is alive."""
    if lock.pid <= 0 or lock.boot_id != boot_id():
        return False
    if HAS_PROC:
        return start_time(lock.pid) == lock.start_time
    return held(run_dir / "lock")


def held(path: Path) -> bool:
    """Whether some process holds an flock on the file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@contextmanager
def pidfd(pid: int) -> Iterator[int | None]:
    """A descriptor of the process, closed at the end; None when there is no such process."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def signal_supervisor(run_dir: Path, lock: Lock, number: signal.Signals) -> bool:
    """Signal the process of this lock if it is still that one; True when it was sent."""
    if not HAS_PIDFD:
        if lives(run_dir, lock):
            os.kill(lock.pid, number)
            return True
        return False
    with pidfd(lock.pid) as fd:
        if fd is None or not lives(run_dir, lock):
            return False
        try:
            signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            return False
    return True
