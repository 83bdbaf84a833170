"""Salvage: before a tree or branch goes, what only it holds is kept under `refs/ve/salvage/NAME`.

Kept are: the commits of its HEAD and of its branch, what is staged, and every changed or untracked
file that is not ignored. Neither the worktree, its index nor its branch is touched. A second salvage
under one name contains the first, so nothing that was ever salvaged can be lost by a retry.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dulwich.objects import ObjectID
from dulwich.refs import Ref
from dulwich.repo import Repo

from ve.errors import GitError
from ve.git.commit import write_commit
from ve.git.index import copy
from ve.git.refs import swap_ref
from ve.git.repo import commit_of, full_ref, git_dir, hexname, opened, reaches
from ve.git.run import git, git_bytes, run

PREFIX = "refs/ve/salvage/"


def salvage(
    repo: Path, worktree: Path | None, name: str, *, branch: str | None = None, keep: Sequence[str] = ()
) -> str | None:
    """Save what a worktree and a branch hold beyond the commits of `keep`, and return the ref.

    None when they hold nothing more. A worktree that is not there is passed over. Safe to repeat.
    Raises GitError, with nothing changed, when a repository nested in the tree could not be saved.
    """
    with opened(repo) as opened_repo:
        tips: list[ObjectID] = []
        if worktree is not None and (worktree / ".git").exists():
            tips.append(_snapshot(opened_repo, worktree))
        if branch is not None and Ref(os.fsencode(full_ref(branch))) in opened_repo.refs:
            tips.append(opened_repo.refs[Ref(os.fsencode(full_ref(branch)))])
        ref = PREFIX + name
        found = opened_repo.refs.read_ref(Ref(os.fsencode(ref)))
        old = None if found is None else hexname(found)
        new = [tip for tip in dict.fromkeys(tips) if not _held(opened_repo, tip, keep)]
        new = [
            tip for tip in new if not any(other != tip and reaches(opened_repo, tip, other) for other in new)
        ]
        if old is not None:
            new = [tip for tip in new if not reaches(opened_repo, tip, old)]
        if not new:
            return ref if old is not None else None
        parents = [*new, *([old] if old is not None else [])]
        if len(parents) > 1:
            tree = commit_of(opened_repo, new[0]).tree
            parents = [write_commit(opened_repo, tree, parents, f"Salvage of {name}")]
        expected = None if old is None else old.decode()
        if not swap_ref(opened_repo, ref, expected, parents[0].decode(), "salvage by ve"):
            raise GitError("two salvages under one name ran at once", where=ref, hint="Try again.")
        return ref


def snapshot_tree(worktree: Path) -> str:
    """Write everything in a worktree as a tree and return its name; the worktree and index stay as they are.

    Raises GitError when a repository nested in it, which a tree cannot hold, would be left out.
    """
    admin = git_dir(worktree)
    with tempfile.TemporaryDirectory(prefix="ve-salvage-") as folder:
        index = Path(folder) / "index"
        if (admin / "index").exists():
            copy(admin / "index", index)
        env = {"GIT_INDEX_FILE": str(index)}
        plain = ["-c", "core.splitIndex=false"]
        git([*plain, "add", "--all", "--", "."], worktree, env=env)
        _refuse_nested(worktree, env)
        return git(["write-tree"], worktree, env=env).strip()


def _snapshot(repo: Repo, worktree: Path) -> ObjectID:
    """Return a commit that holds all of a worktree: HEAD itself when there is nothing more.

    It bears HEAD's time, so the same content is the same commit however often it is saved.
    """
    head = hexname(git(["rev-parse", "--verify", "HEAD^{commit}"], worktree).strip())
    tree = hexname(snapshot_tree(worktree))
    parents: list[ObjectID] = [head]
    tip = commit_of(repo, head)
    at = (tip.commit_time, tip.commit_timezone)
    staged = _staged_tree(worktree)
    if staged is not None and staged not in (tree, tip.tree):
        parents.append(write_commit(repo, staged, [head], "What was staged, and changed again after", at=at))
    merge_head = git_dir(worktree) / "MERGE_HEAD"
    if merge_head.exists():
        parents += [hexname(line) for line in merge_head.read_text().split()]
    if len(parents) == 1 and tree == tip.tree:
        return head
    return write_commit(repo, tree, parents, "Uncommitted work, saved by ve", at=at)


def _staged_tree(worktree: Path) -> ObjectID | None:
    """Return the index as a tree, or None where it cannot be one, as in a conflict."""
    with tempfile.TemporaryDirectory(prefix="ve-salvage-") as folder:
        source, index = git_dir(worktree) / "index", Path(folder) / "index"
        if not source.exists():
            return None
        copy(source, index)
        status, out = run(["write-tree"], worktree, env={"GIT_INDEX_FILE": str(index)}, ok=(0, 128))
    return hexname(out.decode().strip()) if status == 0 else None


def _refuse_nested(worktree: Path, env: dict[str, str]) -> None:
    out = git_bytes(
        ["diff", "--cached", "--raw", "--no-renames", "-z", "--abbrev=40", "HEAD"], worktree, env=env
    )
    fields = out.split(b"\0")
    for about, path in zip(fields[::2], fields[1::2], strict=False):
        if about.split(b" ")[1] == b"160000" and (worktree / os.fsdecode(path) / ".git").exists():
            raise GitError(
                f"{os.fsdecode(path)} is a repository of its own, which cannot be saved with the rest",
                where=str(worktree),
                hint=f"Move it elsewhere, or remove it: {worktree / os.fsdecode(path)}",
            )


def _held(repo: Repo, tip: ObjectID, keep: Sequence[str | bytes]) -> bool:
    return any(reaches(repo, tip, kept) for kept in keep)
