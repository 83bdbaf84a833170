"""Locks of refs that can be told to be ours, also after a kill.

Git locks a ref by a file beside it, and whoever finds that file cannot tell whose it is. So ours is a hard
link to a draft in `<common dir>/ve/locks/` that is named after our process. A lock that is the very file of
a draft whose process is gone is what a kill left of ours, and is removed when it stands in the way.

Rule: no other lock is ever removed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

from dulwich.file import FileLocked

_judging = threading.Lock()


@contextlib.contextmanager
def held(common_dir: Path, ref_path: Path, content: bytes) -> Iterator[Path]:
    """Hold the lock of the ref at `ref_path`; yields the lock file, which has `content`, durable.

    Renaming it to `ref_path` sets the ref. What is not renamed is removed. Raises FileLocked.
    """
    lock = ref_path.with_name(ref_path.name + ".lock")
    folder = common_dir / "ve" / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock.parent.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{os.getpid()}-{_start_time(os.getpid())}-{secrets.token_hex(6)}"
    try:
        _write(draft, content)
        _take(lock, draft, folder)
        try:
            yield lock
        finally:
            if _same(lock, draft):
                lock.unlink()
    finally:
        draft.unlink(missing_ok=True)


def _take(lock: Path, draft: Path, folder: Path) -> None:
    try:
        lock.hardlink_to(draft)
    except FileExistsError:
        _remove_leftover(lock, folder)
        try:
            lock.hardlink_to(draft)
        except FileExistsError:
            raise FileLocked(os.fsencode(lock.with_suffix("")), os.fsencode(lock)) from None


def _remove_leftover(lock: Path, folder: Path) -> None:
    with _judging:  # or one thread would remove what another has just taken
        for draft in folder.iterdir():
            if _same(lock, draft) and not _lives(draft.name):
                lock.unlink()
                draft.unlink()
                return


def _write(draft: Path, content: bytes) -> None:
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False


def _lives(name: str) -> bool:
    """Whether the process that a draft is named after is still there."""
    pid, _, rest = name.partition("-")
    start_time = rest.partition("-")[0]
    if not pid.isdecimal() or not start_time.isdecimal():
        return True  # not one of ours: hands off
    if start_time != "0":
        return _start_time(int(pid)) == int(start_time)
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat, which with the pid names a process; 0 where there is none."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
    except OSError:
        return 0
