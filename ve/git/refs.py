"""Refs move by compare-and-swap, and nothing is deleted that holds the only copy.

Values are read and logged by dulwich. They are written here, since a kill between dulwich's lock and its
rename leaves a lock that nobody may remove (see reflock.py). A lock that somebody else holds, a few
milliseconds for a git command, is waited for. The expected old value is always named: None means "must
not exist", never "whatever it is".
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dulwich.file import FileLocked
from dulwich.refs import Ref
from dulwich.repo import Repo

from ve.errors import GitError
from ve.git import reflock
from ve.git.repo import commit_of, full_ref, hexname, identity, now, opened
from ve.git.run import git

LOCK_WAIT_S = 10.0
_T = TypeVar("_T")


def compare_and_swap(repo: Path, ref: str, old: str | None, new: str, message: str) -> bool:
    """Point `ref` at commit `new` if it is at `old` (None: if it does not exist); say if it was done.

    Also True when it is at `new` already. `message` goes into the reflog. Raises GitError when the
    commit is not there, the name is not possible, or the ref stays locked for LOCK_WAIT_S.
    """
    with opened(repo) as opened_repo:
        return swap_ref(opened_repo, ref, old, new, message)


def swap_ref(repo: Repo, ref: str, old: str | None, new: str, message: str) -> bool:
    """As `compare_and_swap`, in a repository that is open."""
    name, target = _name(ref), hexname(new)
    commit_of(repo, target)
    seconds, zone = now()
    who, why = identity(repo), message.encode()

    def attempt() -> bool:
        if repo.refs.read_ref(name) == target:
            return True
        real = _real_name(repo, name)
        _refuse_a_ref_above(repo, real)
        path = _path(repo, real)
        with reflock.held(Path(repo.commondir()), path, target + b"\n") as lock:
            before = repo.refs.read_ref(real)
            if before == target:
                return True
            if before != (None if old is None else hexname(old)):
                return False
            lock.replace(path)
        repo.refs._log(real, before, target, who, seconds, zone, why)
        return True

    return _patiently(attempt, ref)


def create_branch(repo: Path, branch: str, commit: str, message: str = "branch: created by ve") -> None:
    """Make a branch that does not exist; GitError if one of that name is elsewhere."""
    if not compare_and_swap(repo, full_ref(branch), None, commit, message):
        raise GitError(
            f"the branch {branch.removeprefix('refs/heads/')} exists already and is not at {commit[:12]}",
            where=str(repo),
            hint=f"Look at it with: git log {branch} --",
        )


def delete_ref(repo: Path, ref: str, expected: str) -> bool:
    """Delete `ref`, with its reflog, if it is at `expected`; True also when it was gone already."""
    name = _name(ref)
    with opened(repo) as opened_repo:

        def attempt() -> bool:
            if opened_repo.refs.read_ref(name) is None:
                return True
            return _remove(opened_repo, name, hexname(expected))

        done = _patiently(attempt, ref)
    if done:
        # git fsck and gc walk every reflog; one without its ref would keep its commits for ever.
        log = repo / "logs" / full_ref(ref)
        with contextlib.suppress(OSError):
            log.unlink()
        with contextlib.suppress(OSError):
            while log.parent.name not in ("heads", "logs"):
                log = log.parent
                log.rmdir()
    return done


def _remove(repo: Repo, name: Ref, expected: bytes) -> bool:
    common, path = Path(repo.commondir()), _path(repo, name)
    if name in repo.refs.get_packed_refs():
        # A child of ours outlives a kill, so that it leaves no lock of packed-refs either.
        if repo.refs.read_ref(name) != expected:
            return False
        git(["update-ref", "-d", os.fsdecode(name), expected.decode()], common)
        return True
    with reflock.held(common, path, b""):
        if repo.refs.read_ref(name) != expected:
            return False
        path.unlink()
    folder = path.parent
    with contextlib.suppress(OSError):  # one that is not empty stays
        while folder.parent.name != "refs" and folder.name != "refs":
            folder.rmdir()
            folder = folder.parent
    return True


def _path(repo: Repo, name: Ref) -> Path:
    return Path(os.fsdecode(repo.commondir())) / os.fsdecode(name)


def _real_name(repo: Repo, name: Ref) -> Ref:
    """The ref that a symbolic one stands for; any other is itself."""
    names, _ = repo.refs.follow(name)
    return names[-1] if names else name


def _refuse_a_ref_above(repo: Repo, name: Ref) -> None:
    """A packed ref has no file that would stand in the way of a folder of its name."""
    packed = repo.refs.get_packed_refs()
    above = name.rpartition(b"/")[0]
    while above:
        if above in packed:
            raise NotADirectoryError(os.fsdecode(above))
        above = above.rpartition(b"/")[0]


def _name(ref: str) -> Ref:
    return Ref(os.fsencode(full_ref(ref)))


def _patiently(attempt: Callable[[], _T], ref: str) -> _T:
    """Call `attempt` until nobody else holds the lock; git holds one for milliseconds."""
    deadline = time.monotonic() + LOCK_WAIT_S
    wait_s = 0.002
    while True:
        try:
            return attempt()
        except FileLocked as error:
            if time.monotonic() > deadline:
                lock = os.fsdecode(error.lockfilename)
                raise GitError(
                    f"the ref {ref} has been locked for {LOCK_WAIT_S:g} s",
                    where=lock,
                    hint=f"If no git command runs, remove that file: rm {lock}",
                ) from error
            time.sleep(wait_s * random.uniform(0.5, 1.5))
            wait_s = min(wait_s * 2, 0.1)
        except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
            raise GitError(
                f"a branch stands in the way of {ref}: git keeps refs as files in folders"
            ) from error
        except ValueError as error:
            raise GitError(f"{ref!r} is not a possible name for a ref") from error
        except FileNotFoundError as error:
            # Somebody removed the ref's folder, now empty, between our mkdir and our open.
            if time.monotonic() > deadline:
                raise GitError(f"the ref {ref} cannot be written: {error}") from error
