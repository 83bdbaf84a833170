"""The files by which two commits differ, and a checkout of the one brought to the other, file by file.

A file is touched only when its content is known: that of the old commit, that of the new one, or
nothing at all. Whatever else lies there is the operator's and stays. Files are replaced by rename,
so that a kill leaves each of them old or new, never half.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from dulwich.diff_tree import tree_changes
from dulwich.repo import Repo

from ve.git import attributes, content
from ve.git.attributes import Conversion
from ve.git.repo import commit_of
from ve.git.run import git, git_bytes

_TEMPORARY = b".ve-landing-"
_LINK, _SUBMODULE = 0o120000, 0o160000


class Side(msgspec.Struct, frozen=True):
    """A file in one of the commits: git's mode and the blob's hex name."""

    mode: int
    sha: str


class Change(msgspec.Struct, frozen=True):
    """A path that differs; a side is None where the path is not there."""

    path: str
    old: Side | None
    new: Side | None


class State(enum.Enum):
    """What lies at a path of a checkout."""

    OLD = "old"
    NEW = "new"
    ABSENT = "absent"
    OTHER = "other"


def between(repo: Repo, old: str, new: str) -> tuple[Change, ...]:
    """Return the changes from one commit to another, in path order; renames are two changes."""
    found = []
    for change in tree_changes(repo.object_store, commit_of(repo, old).tree, commit_of(repo, new).tree):
        sides = [
            None
            if entry is None or entry.path is None or entry.mode is None or entry.sha is None
            else (entry.path, Side(entry.mode, entry.sha.decode()))
            for entry in (change.old, change.new)
        ]
        path = next(side[0] for side in sides if side is not None)
        was, becomes = (None if side is None else side[1] for side in sides)
        found.append(Change(os.fsdecode(path), was, becomes))
    return tuple(sorted(found, key=lambda change: os.fsencode(change.path)))


def states(checkout: Path, changes: Sequence[Change]) -> dict[str, State]:
    """Say for each change what lies at its path now. Content decides, never the index's stat data."""
    found: dict[str, State] = {}
    unsure: list[Change] = []
    for change in changes:
        raw = _raw(checkout, change.path)
        # A folder in a file's place: `in_the_way` says whether it will be empty.
        if raw is None or (raw.mode == _SUBMODULE and not _is_submodule(change)):
            found[change.path] = State.ABSENT
        elif raw == change.old:
            found[change.path] = State.OLD
        elif raw == change.new:
            found[change.path] = State.NEW
        else:
            found[change.path] = State.OTHER
            if raw.mode not in (_LINK, _SUBMODULE) and not _is_submodule(change):
                unsure.append(change)
    # A file may differ from its blob by a filter or line ends and be unchanged all the same.
    for change, sha in zip(unsure, _filtered(checkout, unsure), strict=True):
        raw = _raw(checkout, change.path)
        for side, state in ((change.new, State.NEW), (change.old, State.OLD)):
            if raw is not None and side is not None and side.sha == sha and raw.mode == side.mode:
                found[change.path] = state
    return found


def in_the_way(checkout: Path, changes: Sequence[Change]) -> list[str]:
    """Return the paths that cannot be written because something else is in their place.

    A folder where a file is to be, unless all in it goes; a file or symlink where a folder is to be,
    unless it goes itself. Symlinks are never followed.
    """
    going = {change.path for change in changes if change.new is None}
    found: list[str] = []
    for change in changes:
        if change.new is None:
            continue
        parents = Path(change.path).parents
        for parent in list(parents)[:-1]:
            place = checkout / parent
            if str(parent) not in going and (place.is_symlink() or (place.exists() and not place.is_dir())):
                found.append(change.path)
                break
        place = checkout / change.path
        submodule = change.new.mode == _SUBMODULE
        if (
            place.is_dir()
            and not place.is_symlink()
            and not submodule
            and not _empties(checkout, place, going)
        ):
            found.append(change.path)
    return found


def _empties(checkout: Path, folder: Path, going: set[str]) -> bool:
    for place, _folders, files in os.walk(folder):
        links = [name for name in _folders if (Path(place) / name).is_symlink()]
        for name in [*files, *links]:
            if str((Path(place) / name).relative_to(checkout)) not in going:
                return False
    return True


def _raw(checkout: Path, path: str) -> Side | None:
    """Return what lies at a path as git would name it without filters; a folder counts as a submodule.

    A path below a symlink is not there: git sees a symlink in place of the folder.
    """
    place = checkout / path
    if any((checkout / parent).is_symlink() for parent in list(Path(path).parents)[:-1]):
        return None
    try:
        st = place.lstat()
        if stat.S_ISLNK(st.st_mode):
            return Side(_LINK, _blob_name(os.fsencode(place.readlink())))
        if stat.S_ISREG(st.st_mode):
            mode = 0o100755 if st.st_mode & stat.S_IXUSR else 0o100644
            return Side(mode, _blob_name(place.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Side(_SUBMODULE, "")


def _blob_name(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _filtered(checkout: Path, changes: Sequence[Change]) -> list[str]:
    """Return the names that git would give the files' contents, after its filters."""
    if not changes:
        return []
    if any("\n" in change.path for change in changes):
        return [git(["hash-object", "--", change.path], checkout).strip() for change in changes]
    names = b"".join(os.fsencode(change.path) + b"\n" for change in changes)
    return git(["hash-object", "--stdin-paths"], checkout, input=names).split()


def apply(
    repo: Repo, checkout: Path, changes: Sequence[Change], *, skip: Iterable[str] = ()
) -> tuple[str, ...]:
    """Bring the files of `changes` from old to new; return the paths left alone since they are neither.

    `skip` names paths that a sparse checkout leaves out.
    """
    skipped = set(skip)
    wanted = [change for change in changes if change.path not in skipped]
    _sweep(checkout, wanted)
    now = states(checkout, wanted)
    kept = {change.path for change in wanted if not _may_touch(change, now[change.path])}
    kept.update(in_the_way(checkout, [change for change in wanted if change.path not in kept]))
    todo = [change for change in wanted if change.path not in kept and now[change.path] is not State.NEW]
    for change in todo:
        if change.new is None and now[change.path] is State.OLD:
            _delete(checkout, change)
    converted = _conversion(repo, checkout) == Conversion.ON_CHECKOUT
    # Attribute files first: they say how the others are to be written.
    for change in sorted(todo, key=lambda change: Path(change.path).name != ".gitattributes"):
        if change.new is not None:
            _write(repo, checkout, change.path, change.new, converted=converted)
            converted = converted or Path(change.path).name == ".gitattributes"
    return tuple(sorted(kept))


def _may_touch(change: Change, state: State) -> bool:
    return state is not State.OTHER or _is_submodule(change)


def _is_submodule(change: Change) -> bool:
    return any(side is not None and side.mode == _SUBMODULE for side in (change.old, change.new))


def _conversion(repo: Repo, checkout: Path) -> Conversion:
    """Return whether git has to write this checkout's files, by the attribute files that lie there."""
    found = attributes.of_repository(repo, Path(repo.commondir()))
    out = git_bytes(
        ["ls-files", "-z", "--", ":(glob)**/.gitattributes"], checkout, env={"GIT_LITERAL_PATHSPECS": "0"}
    )
    contents = []
    for name in out.split(b"\0"):
        with contextlib.suppress(OSError):
            contents.append((checkout / os.fsdecode(name)).read_bytes())
    return max(found, attributes.of_files(contents))


def _delete(checkout: Path, change: Change) -> None:
    place = checkout / change.path
    if change.old is not None and change.old.mode == _SUBMODULE:
        # Only an empty one: what is checked out in a submodule is not ours.
        with contextlib.suppress(OSError):
            place.rmdir()
    else:
        place.unlink(missing_ok=True)
    for parent in list(Path(change.path).parents)[:-1]:
        try:
            (checkout / parent).rmdir()
        except OSError:
            return


def _write(repo: Repo, checkout: Path, path: str, side: Side, *, converted: bool) -> None:
    place = checkout / path
    if side.mode == _SUBMODULE:
        place.mkdir(parents=True, exist_ok=True)
        return
    if place.is_dir() and not place.is_symlink():
        _remove_empty(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(os.fsdecode(_TEMPORARY) + secrets.token_hex(6))
    if side.mode == _LINK:
        temporary.symlink_to(os.fsdecode(content.Blobs(repo.object_store).read(side.sha.encode())))
    else:
        data = (
            git_bytes(["cat-file", "--filters", f"--path={path}", side.sha], checkout)
            if converted
            else content.Blobs(repo.object_store).read(side.sha.encode())
        )
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o777 if side.mode & 0o100 else 0o666), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    temporary.rename(place)


def _remove_empty(folder: Path) -> None:
    for place, _folders, _files in os.walk(folder, topdown=False):
        Path(place).rmdir()


def _sweep(checkout: Path, changes: Sequence[Change]) -> None:
    """Remove the temporary files that a killed run left beside the files it was to write."""
    for folder in {checkout / Path(change.path).parent for change in changes}:
        if folder.is_dir() and not folder.is_symlink():
            for entry in folder.iterdir():
                if entry.name.startswith(os.fsdecode(_TEMPORARY)):
                    entry.unlink(missing_ok=True)
