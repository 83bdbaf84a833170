"""What a run is at the moment, and waiting for its end.

Rule: judged by the folder and the kernel only, so it is the same for a supervisor that this daemon
started and for one that an earlier daemon left behind.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TypeAlias

import msgspec

from ve.errors import RunError
from ve.proc.identity import HAS_PIDFD, lives, pidfd
from ve.proc.runfolder import Exit, read_exit, read_lock

POLL_S = 0.25  # only where there is no pidfd (macOS): a process that is no child cannot be waited for


class Unclaimed(msgspec.Struct, frozen=True):
    """No supervisor took the folder: nothing of the run was ever started."""


class Alive(msgspec.Struct, frozen=True):
    """Its supervisor runs."""

    pid: int


class Ended(msgspec.Struct, frozen=True):
    """The exit record is there; nothing of the run is left."""

    exit: Exit


class Lost(msgspec.Struct, frozen=True):
    """The supervisor died without an exit record; kill what remains before it counts as ended."""


State: TypeAlias = Unclaimed | Alive | Ended | Lost


def state(run_dir: Path) -> State:
    """What the run is now. Blocks for some file reads."""
    lock = read_lock(run_dir)
    if lock is None:
        return Unclaimed()
    alive = lives(run_dir, lock)
    # Read after the question of life: a supervisor that has just gone has left its record before.
    exit = read_exit(run_dir)
    if exit is not None:
        return Ended(exit)
    return Alive(lock.pid) if alive else Lost()


async def wait_exit(run_dir: Path) -> State:
    """Return when the supervisor of the run is gone, with what the run is then: Ended or Lost.

    Reaps it when it is our child. Raises RunError when nobody claimed the folder.
    """
    lock = read_lock(run_dir)
    if lock is None:
        raise RunError("no supervisor has claimed this run", where=str(run_dir))
    if not HAS_PIDFD:
        while lives(run_dir, lock):
            reap(lock.pid)
            await asyncio.sleep(POLL_S)
    else:
        with pidfd(lock.pid) as fd:
            if fd is not None and lives(run_dir, lock):
                await readable(fd)
    reap(lock.pid)
    return state(run_dir)


async def wait_pid(pid: int) -> None:
    """Return when this child of ours is gone, and reap it."""
    if not HAS_PIDFD:
        while not reap(pid):  # noqa: ASYNC110 - nothing tells of the end of a process there
            await asyncio.sleep(POLL_S)
        return
    with pidfd(pid) as fd:
        if fd is not None:
            await readable(fd)
    reap(pid)


def reap(pid: int) -> bool:
    """Collect a child of ours that ended. False: it still runs. Not our child counts as collected."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


async def readable(fd: int) -> None:
    """Return when the descriptor can be read, or its other end is gone."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(fd, wake)
    try:
        await ready
    finally:
        loop.remove_reader(fd)
