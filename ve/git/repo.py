"""Opening a repository with dulwich, and what every module here needs of it.

Rule: a repository is opened for one operation and closed after it. Repositories are not shared
between threads, and a long-lived one would hold packs that a repack has replaced.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from dulwich.errors import NotGitRepository
from dulwich.objects import Commit, ObjectID, Tag, Tree
from dulwich.repo import (
    InvalidWorktreeConfiguration,
    Repo,
    UnsupportedExtension,
    UnsupportedVersion,
)

from ve.errors import GitError
from ve.git.objects import write_without_locks
from ve.git.run import run

_FALLBACK_IDENTITY = b"ve <ve@localhost>"


@contextlib.contextmanager
def opened(common_dir: Path) -> Iterator[Repo]:
    """Open the repository whose common directory this is; GitError if it is none that ve can use."""
    try:
        if not (common_dir / "objects").is_dir():
            raise NotGitRepository(str(common_dir))
        repo = Repo(str(common_dir), bare=True)
    except NotGitRepository as error:
        raise GitError(
            "not a git repository's common directory",
            where=str(common_dir),
            hint="Run ve inside a repository, or make one with: git init",
        ) from error
    except (UnsupportedExtension, UnsupportedVersion, InvalidWorktreeConfiguration) as error:
        raise GitError(f"ve cannot work in this repository: {error}", where=str(common_dir)) from error
    try:
        if (common_dir / "reftable").is_dir():
            raise GitError(
                "the repository keeps its refs in reftable format, which ve cannot write safely",
                where=str(common_dir),
                hint="Convert it with: git refs migrate --ref-format=files",
            )
        if repo.object_format.oid_length != 20:
            raise GitError(
                "the repository names its objects by SHA-256, which ve does not support",
                where=str(common_dir),
                hint="Make a repository with SHA-1 names: git init --object-format=sha1",
            )
        write_without_locks(repo)
        yield repo
    finally:
        repo.close()


def hexname(commit: str | bytes) -> ObjectID:
    """Return a full hex object name as dulwich wants it; GitError for anything else."""
    text = commit.encode() if isinstance(commit, str) else commit
    if len(text) not in (40, 64) or not all(c in b"0123456789abcdef" for c in text):
        raise GitError(f"{os.fsdecode(text)!r} is not the full name of a commit")
    return ObjectID(text)


def commit_of(repo: Repo, name: str | bytes) -> Commit:
    """Return the commit of that hex name (a tag of a commit counts); GitError if it is not there."""
    try:
        found = repo.object_store[hexname(name)]
        while isinstance(found, Tag):
            found = repo.object_store[found.object[1]]
    except KeyError as error:
        raise GitError(f"commit {os.fsdecode(name)} is not in this repository", where=repo.path) from error
    if not isinstance(found, Commit):
        raise GitError(f"{os.fsdecode(name)} is not a commit", where=repo.path)
    return found


def tree_of(repo: Repo, name: str | bytes) -> Tree:
    """Return the root tree of a commit."""
    tree = repo.object_store[commit_of(repo, name).tree]
    assert isinstance(tree, Tree)
    return tree


def reaches(repo: Repo, commit: str | bytes, of: str | bytes) -> bool:
    """Whether `of` contains `commit`. Git answers: see `merge_bases`."""
    wanted, tip = hexname(commit), hexname(of)
    if wanted == tip:
        return True
    commit_of(repo, wanted), commit_of(repo, tip)
    asked = ["merge-base", "--is-ancestor", wanted.decode(), tip.decode()]
    return run(asked, Path(os.fsdecode(repo.commondir())), ok=(0, 1))[0] == 0


def merge_bases(repo: Repo, one: ObjectID, other: ObjectID) -> list[ObjectID]:
    """All merge bases of two commits, as git finds them.

    dulwich orders its search by commit times alone and misses a base among commits of one second.
    """
    asked = ["merge-base", "--all", one.decode(), other.decode()]
    found = run(asked, Path(os.fsdecode(repo.commondir())), ok=(0, 1))[1]
    return [ObjectID(line) for line in found.split()]


def identity(repo: Repo) -> bytes:
    """Return `Name <mail>` from the configuration, or that of ve itself. Never asks, never fails."""
    stack = repo.get_config_stack()
    try:
        name, mail = stack.get((b"user",), b"name"), stack.get((b"user",), b"email")
    except KeyError:
        return _FALLBACK_IDENTITY
    clean = [bytes(c for c in part if c not in b"<>\n\0").strip() for part in (name, mail)]
    return b"%s <%s>" % (clean[0], clean[1]) if all(clean) else _FALLBACK_IDENTITY


def now() -> tuple[int, int]:
    """Return the time for a commit: seconds since the epoch, and the zone's offset in seconds."""
    seconds = int(time.time())
    return seconds, time.localtime(seconds).tm_gmtoff // 60 * 60


def full_ref(name: str) -> str:
    """Return a branch's ref; a full ref stays as it is."""
    return name if name.startswith("refs/") else f"refs/heads/{name}"


def git_dir(worktree: Path) -> Path:
    """Return the folder with the HEAD and index of a worktree (main or linked); GitError if it is none."""
    dot = worktree / ".git"
    if dot.is_dir():
        return dot
    try:
        text = dot.read_bytes()
    except OSError as error:
        raise GitError("not a worktree: it has no readable .git", where=str(worktree)) from error
    if not text.startswith(b"gitdir: "):
        raise GitError("not a worktree: its .git is not git's", where=str(worktree))
    return Path(os.path.normpath(worktree / os.fsdecode(text[8:].rstrip(b"\r\n"))))


def common_dir(worktree: Path) -> Path:
    """Return the common directory of the repository that a worktree belongs to."""
    admin = git_dir(worktree)
    try:
        rest = os.fsdecode((admin / "commondir").read_bytes().rstrip(b"\r\n"))
    except FileNotFoundError:
        return admin
    return Path(os.path.normpath(admin / rest))


def head_ref(admin: Path) -> str | None:
    """Return the ref that a HEAD names, or None when it is detached."""
    try:
        text = (admin / "HEAD").read_bytes().strip()
    except OSError:
        return None
    return os.fsdecode(text[5:].strip()) if text.startswith(b"ref: ") else None
