"""Commits: of what a worktree holds, and of a tree alone.

A worktree's commit is made by git (filters, ignore rules, a merge in progress), with hooks and
signing off; a tree's commit is made of objects only. Both work without user.name.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from dulwich.errors import NotTreeError
from dulwich.object_store import commit_tree_changes
from dulwich.objects import Blob, Commit, ObjectID, Tree
from dulwich.repo import Repo

from ve.errors import GitError
from ve.git.repo import common_dir, git_dir, head_ref, hexname, identity, now, opened, tree_of
from ve.git.run import git, git_bytes, run, z_paths

LOCK_WAIT_S = 5.0


def commit_all(
    worktree: Path, message: str, *, exclude: Sequence[str] = (), break_lock: bool = False
) -> str | None:
    """Commit everything in a worktree on its branch: changed, deleted, and untracked unless ignored.

    Returns the new commit, or None when there was nothing to commit. `exclude` names paths (files or
    folders) that stay out of it, staged or not. A merge in progress is concluded. `break_lock` says
    that nobody works in this tree any more, so that an index.lock that stays for LOCK_WAIT_S is what
    a killed process left. Conflict markers are committed like any text: ask `merge.unmerged` first.
    Raises GitError when HEAD is detached or the index stays locked.
    """
    admin = git_dir(worktree)
    if head_ref(admin) is None:
        raise GitError(
            "HEAD is detached there, so a commit would belong to no branch",
            where=str(worktree),
            hint=f"See what goes on: git -C {worktree} status",
        )
    wait_for_index(admin, break_lock=break_lock)
    _stage(worktree, exclude)
    merging = (admin / "MERGE_HEAD").exists()
    if not merging and run(["diff", "--cached", "--quiet", "--no-ext-diff"], worktree, ok=(0, 1))[0] == 0:
        return None
    who = _author(worktree)
    settings = ["-c", f"user.name={who[0]}", "-c", f"user.email={who[1]}"]
    flags = ["--quiet", "--no-verify", "--allow-empty", "--cleanup=verbatim", "--file=-"]
    git([*settings, "commit", *flags], worktree, input=_text(message))
    return git(["rev-parse", "HEAD"], worktree).strip()


def commit_tree(repo: Path, tree: str, parents: Sequence[str], message: str) -> str:
    """Write a commit object for a tree and return its name. No ref points at it yet: set one soon."""
    with opened(repo) as opened_repo:
        return write_commit(opened_repo, hexname(tree), parents, message).decode()


def write_commit(
    repo: Repo,
    tree: ObjectID,
    parents: Sequence[str | bytes],
    message: str,
    *,
    at: tuple[int, int] | None = None,
) -> ObjectID:
    """As `commit_tree`, in a repository that is open; `at` is (seconds since the epoch, zone offset)."""
    commit = Commit()
    commit.tree = tree
    commit.parents = [hexname(parent) for parent in parents]
    commit.author = commit.committer = identity(repo)
    commit.commit_time, commit.commit_timezone = commit.author_time, commit.author_timezone = at or now()
    commit.encoding = b"UTF-8"
    commit.message = _text(message)
    repo.object_store.add_object(commit)
    return commit.id


def edited_tree(repo: Repo, commit: str, edits: Mapping[str, bytes]) -> ObjectID:
    """Write the tree of `commit` with the blobs of `edits` in place of, or added to, its own.

    A file that was executable stays so. The bytes are stored as they are, no filter runs.
    """
    tree = tree_of(repo, commit)
    changes: list[tuple[bytes, int | None, ObjectID | None]] = []
    for path, content in edits.items():
        name = os.fsencode(path)
        blob = Blob.from_string(content)
        repo.object_store.add_object(blob)
        changes.append((name, _mode(repo, tree, name), blob.id))
    return commit_tree_changes(repo.object_store, tree, changes) if changes else tree.id


def _mode(repo: Repo, tree: Tree, path: bytes) -> int:
    try:
        mode, _ = tree.lookup_path(repo.object_store.__getitem__, path)
    except (KeyError, NotTreeError):
        return 0o100644
    return mode if mode in (0o100644, 0o100755) else 0o100644


def wait_for_index(admin: Path, *, break_lock: bool) -> None:
    """Wait until nobody holds a worktree's index; remove a lock nobody can hold, if told so."""
    lock = admin / "index.lock"
    deadline = time.monotonic() + LOCK_WAIT_S
    held = _inode(lock)
    while held is not None:
        if time.monotonic() > deadline:
            if not break_lock or _inode(lock) != held:
                raise GitError(
                    "another git command holds this worktree's index",
                    where=str(lock),
                    hint=f"If no git command runs there, remove the file: rm {lock}",
                )
            with contextlib.suppress(FileNotFoundError):
                lock.unlink()
            return
        time.sleep(0.02)
        if _inode(lock) != held:
            held = _inode(lock)
            deadline = time.monotonic() + LOCK_WAIT_S


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _stage(worktree: Path, exclude: Sequence[str]) -> None:
    specs = [f":(exclude,literal,top){path.strip('/')}" for path in exclude]
    magic = {"GIT_LITERAL_PATHSPECS": "0"}
    git(["add", "--all", "--", ":(top)", *specs], worktree, env=magic)
    if exclude:
        paths = [path.strip("/") for path in exclude]
        flags = ["--cached", "--name-only", "--no-renames", "-z"]
        staged = z_paths(git_bytes(["diff", *flags, "HEAD", "--", *paths], worktree))
        if staged:
            names = b"".join(os.fsencode(path) + b"\0" for path in staged)
            git(["reset", "--quiet", "--pathspec-from-file=-", "--pathspec-file-nul"], worktree, input=names)


def _author(worktree: Path) -> tuple[str, str]:
    with opened(common_dir(worktree)) as repo:
        name, _, rest = identity(repo).decode(errors="replace").partition(" <")
    return name, rest.rstrip(">")


def _text(message: str) -> bytes:
    return message.strip().encode("utf-8", "surrogateescape") + b"\n"
