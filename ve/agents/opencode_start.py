"""Starts OpenCode where an earlier one was killed: its locks are taken away first, then it is this process.

OpenCode holds a lock while it starts. One that is killed then leaves it behind, and whoever starts next
waits a minute for it to grow stale, with no output (measured with 1.18.33). A lock names the process that
holds it, so one whose process is gone can be taken away at once.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

NOT_FOUND = 127


class Holder(msgspec.Struct):
    """`meta.json` of a lock."""

    token: str
    pid: int
    hostname: str


def locks(environ: dict[str, str]) -> Path:
    """Where OpenCode keeps its locks."""
    state = environ.get("XDG_STATE_HOME") or str(Path(environ.get("HOME", "/")) / ".local" / "state")
    return Path(state) / "opencode" / "locks"


def release(folder: Path) -> None:
    """Take away every lock of this machine whose process is gone. Never raises for a lock."""
    for lock in folder.glob("*.lock"):
        holder = _holder(lock)
        if holder is None or holder.hostname != socket.gethostname() or _alive(holder.pid):
            continue
        aside = lock.with_name(f"{lock.name}.{os.getpid()}")
        try:
            lock.rename(aside)
        except OSError:
            continue  # another one was quicker
        if _holder(aside) == holder:
            shutil.rmtree(aside, ignore_errors=True)
        else:  # somebody took it between the look and the rename
            aside.rename(lock)


def _holder(lock: Path) -> Holder | None:
    try:
        return msgspec.json.decode((lock / "meta.json").read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def main(argv: Sequence[str]) -> int:
    """Become `argv`; 127 where there is no such program."""
    release(locks(dict(os.environ)))
    try:
        os.execvp(argv[0], list(argv))
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr)
    return NOT_FOUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
