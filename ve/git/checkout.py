"""Worktrees of a repository: made, listed and removed.

Rule: what exists is never destroyed. A branch or folder that is not this attempt's own refuses the
attempt; a finished worktree is returned as it is, with whatever an agent has left in it; one that is
removed must be clean and its commits reachable. Every function can be called again after a kill -9
at any point and brings the work to its end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from dulwich.refs import Ref
from dulwich.repo import Repo

from ve.errors import GitError
from ve.git import admin as admins
from ve.git import attributes, content, index
from ve.git.admin import Record
from ve.git.attributes import Conversion
from ve.git.commit import edited_tree, write_commit
from ve.git.refs import delete_ref, swap_ref
from ve.git.repo import commit_of, full_ref, git_dir, head_ref, identity, now, opened, reaches
from ve.git.run import git, git_bytes
from ve.git.salvage import snapshot_tree

CHECKOUT_TIMEOUT_S = 1800.0


class Tree(msgspec.Struct, frozen=True):
    """A linked worktree: where it is, the full ref of its branch, the commit it was begun from, and
    the commit it is at now. `finished` is False while its files are not all there."""

    path: Path
    branch: str
    base_commit: str
    head: str
    admin_id: str = ""
    finished: bool = True


def _silent(_step: str) -> None:
    """Take no notice of a step."""


def ensure_root(worktrees_root: Path) -> None:
    """Make the folder for worktrees, and have git ignore it: with all of `.ve` where it is in there."""
    worktrees_root.mkdir(parents=True, exist_ok=True)
    above = worktrees_root.parent
    own = above if above.name == ".ve" or above.name.startswith(".ve-") else worktrees_root
    ignore = own / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


def add(
    repo: Path,
    path: Path,
    branch: str,
    admin_id: str,
    base_commit: str,
    *,
    edits: Mapping[str, bytes] | None = None,
    message: str = "",
    copy_from: Path | None = None,
    progress: Callable[[str], None] = _silent,
) -> Tree:
    """Make a linked worktree at `path` on a new branch that starts at `base_commit`, and return it.

    With `edits` (path → whole content) the branch starts with one commit `message` on top of the base
    that has these files instead. `copy_from` names a worktree to copy unchanged files from, which is
    faster than the object store. `progress` is told each step before it is taken.

    Called again it finishes or redoes what a kill left, and returns a finished worktree untouched.
    Raises GitError when the branch, the id or the folder exists and is not this attempt's own, or the
    commit is not there; nothing of theirs is changed.
    """
    repo, path, ref = repo.resolve(), _place(path), full_ref(branch)
    with admins.exclusive(repo), opened(repo) as opened_repo:
        admin = admins.admin_dir(repo, admin_id)
        record = _own_record(admin, path, ref)
        if record is not None and not admins.unfinished(admin) and _stands(path, admin):
            head = head_of(path)
            return Tree(path, ref, record.base, head, admin_id)
        _refuse_foreign_folder(path, admin if record is not None else None)
        if record is None:
            record = _begin(opened_repo, repo, admin_id, path, ref, base_commit, edits, message, progress)
        else:
            record = _resume(opened_repo, admin, ref, record, base_commit, edits, message)
        progress("branch")
        _make_branch(opened_repo, ref, record)
        progress("folder")
        _make_folder(path, admin)
        _fill(opened_repo, repo, path, admin, record.head, copy_from, progress)
        progress("finish")
        admins.mark_finished(admin)
    admins.empty_trash(path.parent)
    return Tree(path, ref, record.base, record.head, admin_id)


def _place(path: Path) -> Path:
    """Return where a folder really is, without following it should it be a symlink itself."""
    return path.parent.resolve() / path.name


def _own_record(admin: Path, path: Path, ref: str) -> Record | None:
    """Return the record of this attempt, None when it was never begun; GitError when it is another's."""
    if not admin.exists():
        return None
    record = admins.read_record(admin)
    there = admins.worktree_of(admin)
    if (
        record is None
        or there is None
        or os.path.realpath(there) != os.path.realpath(path)
        or record.branch != ref
    ):
        raise GitError(
            f"git has another worktree with the id {admin.name}",
            where=str(there or admin),
            hint="List them with: git worktree list",
        )
    return record


def _stands(path: Path, admin: Path) -> bool:
    try:
        return os.path.realpath(git_dir(path)) == os.path.realpath(admin) and (admin / "index").exists()
    except GitError:
        return False


def _refuse_foreign_folder(path: Path, admin: Path | None) -> None:
    """Refuse a folder with something in it, unless its `.git` says that we began to make it."""
    if not path.exists() and not path.is_symlink():
        return
    ours = admin is not None and (path / ".git").is_file() and git_dir(path) == admin
    empty = path.is_dir() and not path.is_symlink() and not any(path.iterdir())
    if not ours and not empty:
        raise GitError(
            "something is there already that is not this worktree",
            where=str(path),
            hint=f"Look at it, then move it away: mv {path} {path}.old",
        )


def _begin(
    opened_repo: Repo,
    repo: Path,
    admin_id: str,
    path: Path,
    ref: str,
    base: str,
    edits: Mapping[str, bytes] | None,
    message: str,
    progress: Callable[[str], None],
) -> Record:
    if Ref(os.fsencode(ref)) in opened_repo.refs:
        raise GitError(
            f"the branch {ref.removeprefix('refs/heads/')} exists already",
            where=str(repo),
            hint=f"Look at it with: git log {ref.removeprefix('refs/heads/')} --",
        )
    record = Record(ref, base, _first_commit(opened_repo, base, edits, message))
    progress("admin")
    admins.create(repo, admin_id, path, record)
    return record


def _resume(
    opened_repo: Repo,
    admin: Path,
    ref: str,
    record: Record,
    base: str,
    edits: Mapping[str, bytes] | None,
    message: str,
) -> Record:
    tip = opened_repo.refs.read_ref(Ref(os.fsencode(ref)))
    if not admins.unfinished(admin):
        # It was whole once and its folder is gone: what is left of the work is the branch.
        head = record.head if tip is None else tip.decode()
        admins.mark_unfinished(admin)
        return Record(ref, record.base, head)
    if tip is not None and tip.decode() == record.head and record.base == base:
        return record
    if tip is not None and tip.decode() != record.head:
        raise GitError(
            f"the branch {ref.removeprefix('refs/heads/')} is not where this worktree left it",
            where=str(admin),
            hint=f"Look at it with: git log {ref.removeprefix('refs/heads/')} --",
        )
    new = Record(ref, base, _first_commit(opened_repo, base, edits, message))
    if tip is not None and not swap_ref(opened_repo, ref, record.head, new.head, "branch: moved by ve"):
        raise GitError(f"the branch {ref} moved while its worktree was made", where=str(admin))
    admins.rewrite_record(admin, new)
    return new


def _first_commit(repo: Repo, base: str, edits: Mapping[str, bytes] | None, message: str) -> str:
    start = commit_of(repo, base)
    if not edits:
        return start.id.decode()
    tree = edited_tree(repo, base, edits)
    if tree == start.tree:
        return start.id.decode()
    return write_commit(repo, tree, [base], message).decode()


def _make_branch(repo: Repo, ref: str, record: Record) -> None:
    if not swap_ref(repo, ref, None, record.head, f"branch: Created from {record.base}"):
        raise GitError(
            f"somebody else has just made the branch {ref.removeprefix('refs/heads/')}",
            where=repo.path,
            hint="Choose another name, or delete that branch: git branch --delete NAME",
        )


def _make_folder(path: Path, admin: Path) -> None:
    """Make the worktree's folder with nothing but its `.git` in it; what we half filled goes to the trash."""
    if path.exists() and any(path.iterdir()):
        admins.to_trash(path)
    path.mkdir(parents=True, exist_ok=True)
    with (path / ".git").open("xb") as file:
        file.write(b"gitdir: " + os.fsencode(admin) + b"\n")
    for left in ("index", "index.lock"):
        (admin / left).unlink(missing_ok=True)


def _fill(
    opened_repo: Repo,
    repo: Path,
    path: Path,
    admin: Path,
    head: str,
    copy_from: Path | None,
    progress: Callable[[str], None],
) -> None:
    conversion = attributes.of_repository(opened_repo, repo)
    if index.count(repo / "index") >= content.MANY:
        conversion = Conversion.ON_CHECKOUT
    if conversion < Conversion.ON_CHECKOUT:
        listing = content.Listing(opened_repo.object_store, commit_of(opened_repo, head).tree)
        if listing.too_many:
            conversion = Conversion.ON_CHECKOUT
        else:
            conversion = max(conversion, attributes.of_files(listing.attribute_files()))
    if conversion == Conversion.ON_CHECKOUT:
        progress("files")
        parallel = ["-c", "checkout.workers=0", "-c", "checkout.thresholdForParallelism=1000"]
        git([*parallel, "read-tree", "-u", "--reset", head], path, timeout_s=CHECKOUT_TIMEOUT_S)
        progress("index")
    else:
        copies = None
        if copy_from is not None and conversion == Conversion.NONE:
            copies = content.Copies(copy_from, git_dir(copy_from) / "index")
        content.write(
            opened_repo.object_store, listing, path, admin / "index", copies=copies, progress=progress
        )
    _first_log(opened_repo, admin, head)


def _first_log(repo: Repo, admin: Path, head: str) -> None:
    """Begin HEAD's reflog, so that an agent can find its way back with git reflog."""
    seconds, zone = now()
    sign, minutes = "-" if zone < 0 else "+", abs(zone) // 60
    stamp = f" {seconds} {sign}{minutes // 60:02}{minutes % 60:02}\n"
    logs = admin / "logs"
    logs.mkdir(exist_ok=True)
    (logs / "HEAD").write_bytes(f"{'0' * len(head)} {head} ".encode() + identity(repo) + stamp.encode())


def remove(
    repo: Path,
    path: Path,
    admin_id: str,
    branch: str,
    *,
    merged_into: str | None = None,
    salvaged: str | None = None,
) -> None:
    """Remove a worktree with its branch. Both must be safe: reachable from commit `merged_into`, or
    saved in `salvaged` (the ref that `salvage` returned, or its commit), which may also hold what is
    not committed.

    Ignored files are not kept. Raises GitError, with nothing removed, when something would be lost or
    the worktree is another's or locked. What is gone already is passed over, so it can be repeated.
    """
    repo, path, ref = repo.resolve(), _place(path), full_ref(branch)
    with admins.exclusive(repo), opened(repo) as opened_repo:
        admin = admins.admin_dir(repo, admin_id)
        record = _own_record(admin, path, ref)
        if record is not None and admins.locked_by_operator(admin):
            raise GitError(
                "the worktree is locked by hand", where=str(path), hint=f"git worktree unlock {path}"
            )
        if salvaged is not None and salvaged.startswith("refs/"):
            salvaged = opened_repo.refs[Ref(os.fsencode(salvaged))].decode()
        safe = [commit for commit in (merged_into, salvaged) if commit is not None]
        tip = opened_repo.refs.read_ref(Ref(os.fsencode(ref)))
        begun = record is not None and admins.unfinished(admin)
        if tip is not None and not (begun and record is not None and tip.decode() == record.head):
            _require_reachable(opened_repo, path, tip.decode(), safe, f"the branch {branch}")
        if record is not None and _stands(path, admin) and not begun:
            _require_reachable(opened_repo, path, head_of(path), safe, "its HEAD")
            _require_saved(opened_repo, path, salvaged)
        if record is not None and (path / ".git").is_file() and git_dir(path) == admin:
            admins.to_trash(path)
        if tip is not None and not delete_ref(repo, ref, tip.decode()):
            raise GitError(
                f"the branch {branch} moved while it was removed", where=str(path), hint="Try again."
            )
        if record is not None:
            admins.discard(repo, admin)
    admins.empty_trash(path.parent)


def _require_reachable(repo: Repo, path: Path, commit: str, safe: list[str], what: str) -> None:
    if not any(reaches(repo, commit, kept) for kept in safe):
        raise GitError(
            f"{what} holds commits that are neither merged nor salvaged",
            where=str(path),
            hint=f"See them with: git log {commit[:12]}",
        )


def _require_saved(repo: Repo, path: Path, salvaged: str | None) -> None:
    if is_clean(path):
        return
    if salvaged is not None and snapshot_tree(path) == commit_of(repo, salvaged).tree.decode():
        return
    raise GitError(
        "the worktree holds changes that are not committed",
        where=str(path),
        hint=f"See them with: git -C {path} status",
    )


def list_trees(repo: Path, root: Path) -> list[Tree]:
    """Return the worktrees that ve made below `root`, by id; also those whose folder is gone."""
    found: list[Tree] = []
    folder = repo / "worktrees"
    real_root = os.path.realpath(root)
    with opened(repo) as opened_repo:
        for admin in sorted(folder.iterdir()) if folder.is_dir() else []:
            record, path = admins.read_record(admin), admins.worktree_of(admin)
            if record is None or path is None or not os.path.realpath(path).startswith(real_root + os.sep):
                continue
            tip = opened_repo.refs.read_ref(Ref(os.fsencode(record.branch)))
            head = record.head if tip is None else tip.decode()
            finished = not admins.unfinished(admin) and _stands(path, admin)
            found.append(Tree(path, record.branch, record.base, head, admin.name, finished))
    return found


def is_clean(path: Path) -> bool:
    """Whether a worktree holds nothing but its HEAD commit: nothing changed, staged or untracked."""
    return not git_bytes(["status", "--porcelain=v1", "-z", "--untracked-files=normal"], path)


def head_of(path: Path) -> str:
    """Return the commit that a worktree is at, on a branch or detached; GitError if it has none."""
    admin = git_dir(path)
    ref = head_ref(admin)
    if ref is None:
        return (admin / "HEAD").read_text().strip()
    with opened(admin if not (admin / "commondir").exists() else admin.parent.parent) as repo:
        tip = repo.refs.read_ref(Ref(os.fsencode(ref)))
    if tip is None:
        raise GitError(f"the branch {ref} of this worktree is gone", where=str(path), hint="git branch --all")
    return tip.decode()
