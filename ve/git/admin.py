"""The administrative files of a linked worktree, `<common dir>/worktrees/<id>/`, made as git makes them.

The folder appears by one rename, complete, so that a kill leaves either none or one that says whose
it is: its `ve.json` names the branch and commits it was made for, and `locked` holds our mark for as
long as the files are not all there. A worktree that an operator locked has other words in `locked`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from dulwich.config import ConfigFile

from ve.errors import GitError
from ve.git.repo import full_ref

_MARK = "ve is making this worktree"
_RECORD = "ve.json"
_WORKSHOP = "worktrees.tmp"
TRASH = ".ve-trash-"


class Record(msgspec.Struct, frozen=True):
    """What a worktree was made for: the branch's full ref, the base and the branch's first commit."""

    branch: str
    base: str
    head: str


@contextlib.contextmanager
def exclusive(common_dir: Path) -> Iterator[None]:
    """Hold the right to make or remove worktrees of a repository, against threads and processes.

    One at a time is also the fastest: many checkouts in threads slow each other down several times.
    """
    folder = common_dir / "ve"
    folder.mkdir(exist_ok=True)
    with (folder / "worktrees.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # What is in there while nobody holds the lock was left by a kill.
        delete(folder / _WORKSHOP)
        yield


def admin_dir(common_dir: Path, admin_id: str) -> Path:
    """Return the administrative folder of that id; GitError if the id is no plain name."""
    if not admin_id or admin_id in (".", "..") or any(c in admin_id for c in "/\0\n"):
        raise GitError(f"{admin_id!r} cannot name a worktree")
    return common_dir / "worktrees" / admin_id


def create(common_dir: Path, admin_id: str, path: Path, record: Record) -> Path:
    """Make the administrative folder of a worktree at `path`; GitError when the id is taken."""
    target = admin_dir(common_dir, admin_id)
    target.parent.mkdir(exist_ok=True)
    making = _workshop(common_dir) / admin_id
    making.mkdir()
    (making / "locked").write_text(f"{_MARK}\n")
    (making / "gitdir").write_bytes(os.fsencode(path / ".git") + b"\n")
    (making / "commondir").write_text("../..\n")
    (making / "HEAD").write_bytes(b"ref: " + os.fsencode(full_ref(record.branch)) + b"\n")
    (making / _RECORD).write_bytes(msgspec.json.encode(record))
    _sparse(common_dir, making)
    try:
        making.rename(target)
    except OSError as error:
        shutil.rmtree(making, ignore_errors=True)
        raise GitError(
            f"git has a worktree with the id {admin_id} already",
            where=str(target),
            hint="List them with: git worktree list. Forget those whose folder is gone: git worktree prune",
        ) from error
    return target


def discard(common_dir: Path, admin: Path) -> None:
    """Remove an administrative folder: out of git's sight in one step, so that it never sees half of one."""
    delete(admin.rename(_workshop(common_dir) / admin.name))


def _workshop(common_dir: Path) -> Path:
    folder = common_dir / "ve" / _WORKSHOP
    folder.mkdir(exist_ok=True)
    return folder


def read_record(admin: Path) -> Record | None:
    """Return what ve made this worktree for, or None when it was not ve."""
    try:
        return msgspec.json.decode((admin / _RECORD).read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None


def rewrite_record(admin: Path, record: Record) -> None:
    """Replace the record of a worktree that is still being made."""
    temporary = admin / f"{_RECORD}.new"
    temporary.write_bytes(msgspec.json.encode(record))
    temporary.rename(admin / _RECORD)


def worktree_of(admin: Path) -> Path | None:
    """Return the folder that an administrative folder names, whether it is there or not."""
    try:
        return Path(os.fsdecode((admin / "gitdir").read_bytes().rstrip(b"\r\n"))).parent
    except OSError:
        return None


def unfinished(admin: Path) -> bool:
    """Whether ve began to make this worktree and did not come to the end."""
    return _locked(admin).startswith(_MARK)


def locked_by_operator(admin: Path) -> bool:
    """Whether somebody said `git worktree lock`."""
    return (admin / "locked").exists() and not unfinished(admin)


def mark_unfinished(admin: Path) -> None:
    """Say that the files are not all there, before they are made anew."""
    (admin / "locked").write_text(f"{_MARK}\n")


def mark_finished(admin: Path) -> None:
    """Say that the worktree is whole."""
    (admin / "locked").unlink(missing_ok=True)


def _locked(admin: Path) -> str:
    try:
        return (admin / "locked").read_text(errors="replace")
    except OSError:
        return ""


def _sparse(common_dir: Path, admin: Path) -> None:
    """Give the new worktree the main one's sparse checkout, as `git worktree add` does."""
    source = common_dir / "config.worktree"
    if not source.exists():
        return
    config = ConfigFile.from_path(str(source))
    for name in (b"bare", b"worktree"):
        with contextlib.suppress(KeyError):
            del config[(b"core",)][name]
    config.write_to_path(str(admin / "config.worktree"))
    patterns = common_dir / "info" / "sparse-checkout"
    if patterns.exists():
        (admin / "info").mkdir()
        shutil.copyfile(patterns, admin / "info" / "sparse-checkout")


def to_trash(path: Path) -> Path:
    """Move a worktree's folder out of the way in one step and return where it is now."""
    target = path.with_name(f"{TRASH}{path.name}-{secrets.token_hex(4)}")
    path.rename(target)
    return target


def empty_trash(root: Path) -> None:
    """Delete what `to_trash` put below `root`, also what an earlier kill left; read-only folders too."""
    for entry in root.iterdir() if root.is_dir() else []:
        if entry.name.startswith(TRASH):
            delete(entry)


def delete(folder: Path) -> None:
    """Delete a folder, also where an agent's tools made parts of it read-only (module caches)."""

    def again(function: Callable[..., object], name: str, _error: object) -> None:
        for target in (Path(name).parent, Path(name)):
            if not target.is_symlink():
                with contextlib.suppress(OSError):
                    target.chmod(target.stat().st_mode | stat.S_IRWXU)
        with contextlib.suppress(OSError):
            function(name)

    if not folder.exists():
        return
    for _ in range(2):
        # Once more: a folder that could not be listed was left with what is in it.
        shutil.rmtree(folder, onerror=again)
        if not folder.exists():
            return
