"""What a repository says: branches, commits, files at a commit, what is not committed. Reads only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from dulwich.errors import NotTreeError
from dulwich.object_store import BaseObjectStore, tree_lookup_path
from dulwich.objects import Blob, ShaFile, SubmoduleEncountered, Tree
from dulwich.refs import Ref

from ve.errors import GitError
from ve.git.repo import commit_of, common_dir, full_ref, git_dir, head_ref, hexname, opened, reaches, tree_of
from ve.git.run import git, git_bytes, z_paths


def current_branch(repo_dir: Path) -> str:
    """Return the full ref of the branch checked out in a worktree or, for a bare one, in its HEAD.

    Raises GitError on a detached HEAD and in a repository without commits.
    """
    admin = git_dir(repo_dir) if (repo_dir / ".git").exists() else repo_dir
    ref = head_ref(admin)
    if ref is None:
        raise GitError(
            "HEAD is detached, so there is no branch to work from or to merge into",
            where=str(repo_dir),
            hint='Check out a branch: git switch BRANCH. Or name one in the configuration: base = "main"',
        )
    common = common_dir(repo_dir) if (repo_dir / ".git").exists() else repo_dir
    with opened(common) as repo:
        if Ref(os.fsencode(ref)) not in repo.refs:
            raise GitError(
                f"the branch {short(ref)} has no commit yet",
                where=str(repo_dir),
                hint='Make the first one: git add -A && git commit -m "Start"',
            )
    return ref


def short(ref: str) -> str:
    """Return the name of a branch as people write it."""
    return ref.removeprefix("refs/heads/")


def resolve(repo: Path, ref: str) -> str:
    """Return the full hex name of the commit that a ref, a branch or a full hex name stands for.

    Raises GitError if there is none. Abbreviations and expressions like `HEAD~2` are not read.
    """
    with opened(repo) as opened_repo:
        for candidate in dict.fromkeys((ref, full_ref(ref))):
            if candidate != "HEAD" and not candidate.startswith("refs/"):
                continue
            try:
                value = opened_repo.refs[Ref(os.fsencode(candidate))]
            except (KeyError, ValueError):
                continue
            return commit_of(opened_repo, value).id.decode()
        try:
            return commit_of(opened_repo, hexname(ref)).id.decode()
        except GitError:
            raise GitError(
                f"there is no branch or commit {short(ref)!r}",
                where=str(repo),
                hint="List the branches with: git branch --all",
            ) from None


def tip(repo: Path, ref: str) -> str | None:
    """Return the commit of a branch or ref, or None when the ref does not exist."""
    with opened(repo) as opened_repo:
        try:
            return opened_repo.refs[Ref(os.fsencode(full_ref(ref)))].decode()
        except KeyError:
            return None


def is_ancestor(repo: Path, commit: str, of: str) -> bool:
    """Whether commit `of` contains commit `commit`; a commit contains itself."""
    with opened(repo) as opened_repo:
        return reaches(opened_repo, commit, of)


def read_file(repo: Path, commit: str, path: str) -> bytes | None:
    """Return a file's content as committed, or None when the commit has no such file."""
    with opened(repo) as opened_repo:
        found = _lookup(opened_repo.object_store, tree_of(opened_repo, commit), path)
        return found.data if isinstance(found, Blob) else None


def list_dir(repo: Path, commit: str, path: str) -> list[str]:
    """Return the names in a folder at a commit, sorted; none when there is no such folder."""
    with opened(repo) as opened_repo:
        tree: ShaFile | None = tree_of(opened_repo, commit)
        assert isinstance(tree, Tree)
        if path.strip("/"):
            tree = _lookup(opened_repo.object_store, tree, path)
        return sorted(os.fsdecode(name) for name in tree) if isinstance(tree, Tree) else []


def _lookup(store: BaseObjectStore, tree: Tree, path: str) -> ShaFile | None:
    try:
        mode, sha = tree_lookup_path(store.__getitem__, tree.id, os.fsencode(path.strip("/")))
    except (KeyError, NotTreeError, SubmoduleEncountered):
        return None
    # A submodule's commit lives in another repository.
    return None if mode == 0o160000 else store[sha]


def touched(worktree: Path, since: str) -> list[str]:
    """Paths that differ between a commit and the worktree as it is, ignored ones left out."""
    changed = git_bytes(["diff", "--name-only", "--no-renames", "-z", since, "--"], worktree)
    fresh = git_bytes(["ls-files", "--others", "--exclude-standard", "-z"], worktree)
    return [*z_paths(changed), *z_paths(fresh)]


def grep_files(repo: Path, commit: str, pattern: str, folder: str) -> list[str]:
    """Paths of the files below a folder that have, at a commit, a line with this extended pattern."""
    flags = ["--name-only", "-z", "--no-color", "--full-name", "-a", "-E", "-e", pattern]
    out = git_bytes(["grep", *flags, hexname(commit).decode(), "--", folder], repo, ok=(0, 1))
    return [os.fsdecode(found).partition(":")[2] for found in out.split(b"\0") if found]


def uncommitted(worktree: Path, paths: Sequence[str]) -> list[str]:
    """Return those of `paths` that hold, or are, something that HEAD does not have.

    A folder counts when anything below it is changed, staged, deleted or untracked, an ignored file
    when it is named itself. A path that neither exists nor is in HEAD is not listed.
    """
    if not paths:
        return []
    flags = ["--porcelain=v1", "-z", "--no-renames", "--untracked-files=all", "--ignored=matching"]
    changed = z_paths(git_bytes(["status", *flags, "--", *paths], worktree))
    return [path for path in paths if any(_covers(path.strip("/"), entry) for entry in changed)]


def _covers(asked: str, entry: str) -> bool:
    kind, changed = entry[:2], entry[3:].rstrip("/")
    inside = asked == changed or asked.startswith(changed + "/")
    return inside or (kind != "!!" and changed.startswith(asked + "/"))


def worktrees(repo: Path) -> list[tuple[Path, Path]]:
    """Return (worktree, its git dir) of every checkout, the main one first when there is one.

    Linked worktrees whose folder is gone are left out.
    """
    found: list[tuple[Path, Path]] = []
    with opened(repo) as opened_repo:
        config = opened_repo.get_config()
        bare = config.get_boolean((b"core",), b"bare", False)
        try:
            main = Path(os.path.normpath(repo / os.fsdecode(config.get((b"core",), b"worktree"))))
        except KeyError:
            main = repo.parent
            bare = bare or repo.name != ".git"
    if not bare:
        found.append((main, repo))
    admins = repo / "worktrees"
    for admin in sorted(admins.iterdir()) if admins.is_dir() else []:
        try:
            dot = os.fsdecode((admin / "gitdir").read_bytes().rstrip(b"\r\n"))
        except OSError:
            continue
        path = Path(os.path.normpath(admin / dot)).parent
        if path.is_dir():
            found.append((path, admin))
    return found


def checkouts_of(repo: Path, ref: str) -> list[Path]:
    """Return the worktrees, the main one included, that have `ref` checked out or are rebasing it."""
    wanted = full_ref(ref)
    return [
        path for path, admin in worktrees(repo) if head_ref(admin) == wanted or _rebasing(admin) == wanted
    ]


def _rebasing(admin: Path) -> str | None:
    for folder in ("rebase-merge", "rebase-apply"):
        try:
            return os.fsdecode((admin / folder / "head-name").read_bytes().strip())
        except OSError:
            continue
    return None


class FileStat(msgspec.Struct, frozen=True):
    """How much of a file differs: lines added and deleted, None for both where it is binary."""

    path: str
    added: int | None
    deleted: int | None


def diffstat(repo: Path, old: str, new: str) -> tuple[FileStat, ...]:
    """Return the files that differ between two commits, in path order; a rename is two files."""
    flags = ["-r", "--numstat", "-z", "--no-renames", "--no-ext-diff", "--no-textconv"]
    out = git(["diff-tree", *flags, hexname(old).decode(), hexname(new).decode()], repo)
    fields = [line.split("\t", 2) for line in out.split("\0") if line]
    return tuple(
        FileStat(path, None if added == "-" else int(added), None if deleted == "-" else int(deleted))
        for added, deleted, path in fields
    )
