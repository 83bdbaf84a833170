"""A repository's documents: where each one is, found and read when somebody asks.

Rule: looking creates nothing, and a folder that is missing is an empty one. A list of chunks needs two
fields of each; types and YAML are loaded by what needs more than that.
"""

from __future__ import annotations

import os
import re
from errno import EINVAL
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Final

from ve.errors import NotFound

if TYPE_CHECKING:
    from ve.chunks.kinds import Kind
    from ve.chunks.problems import Problem
    from ve.chunks.typed import Read

PLACES: Final = {
    "chunk": ("docs/chunks", "GOAL.md"),
    "narrative": ("docs/narratives", "OVERVIEW.md"),
    "investigation": ("docs/investigations", "OVERVIEW.md"),
    "subsystem": ("docs/subsystems", "OVERVIEW.md"),
    "friction": ("docs/trunk", "FRICTION.md"),
}
"""Folder and file of each kind; the friction log is one file."""
FRICTION_NAME: Final = "FRICTION"
_HEAD_BYTES: Final = 8192
_Bytes = bytes  # within the class the name means its method


class Documents:
    """The documents below a repository's root, as they are on disk when they are first asked for.

    A kind is given as itself or by its name. Paths are relative to the root, `/` between folders.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = os.fspath(root)
        self._names: dict[str, tuple[str, ...]] = {}
        self._read: dict[tuple[str, str], Read] = {}
        self._bytes: dict[tuple[str, str], bytes | None] = {}

    def names(self, kind: Kind | str) -> tuple[str, ...]:
        """The folders of a kind, sorted, also those without their document; FRICTION for the log."""
        key = _key(kind)
        if key not in self._names:
            folder, document = PLACES[key]
            if key == "friction":
                there = os.path.lexists(f"{self._root}/{folder}/{document}")
                self._names[key] = (FRICTION_NAME,) if there else ()
            else:
                self._names[key] = _folders(f"{self._root}/{folder}")
        return self._names[key]

    def path(self, kind: Kind | str, name: str) -> str:
        """Where the document is, or would be."""
        folder, document = PLACES[_key(kind)]
        return f"{folder}/{document}" if _key(kind) == "friction" else f"{folder}/{name}/{document}"

    def has(self, kind: Kind | str, name: str) -> bool:
        """Whether there is such a folder, or the log."""
        return name in self.names(kind)

    def named(self, kind: Kind | str, words: str) -> str:
        """The name that a command line means, also by a path. Raises `NotFound`, with a near name."""
        key = _key(kind)
        name = bare_name(words, key)
        if not self.has(key, name):
            from ve.chunks.problems import nearest

            near = nearest(name, self.names(key))
            raise NotFound(
                f"there is no {key} {name!r} here",
                where=self.path(key, name),
                hint=f"Did you mean {near}?" if near else _how_to_list(key),
            )
        return name

    def bytes(self, kind: Kind | str, name: str) -> _Bytes:
        """The document as it is; raises `NotFound` if it is missing or no file that can be read."""
        key = _key(kind), name
        if key not in self._bytes:
            self._bytes[key] = self.file(self.path(*key))
        found = self._bytes[key]
        if found is None:
            raise NotFound(
                f"there is no {key[0]} {name!r} here", where=self.path(*key), hint=_how_to_list(key[0])
            )
        return found

    def plan(self, name: str) -> _Bytes | None:
        """A chunk's PLAN.md; None without one."""
        return self.file(f"{PLACES['chunk'][0]}/{name}/PLAN.md")

    def file(self, path: str) -> _Bytes | None:
        """The bytes of any file of the repository; None if it is missing or no file that can be read."""
        try:
            return _bytes_of(f"{self._root}/{path}")
        except (OSError, ValueError):
            return None

    def read(self, kind: Kind | str, name: str) -> Read:
        """The document with its types and its problems; one that is missing is a problem, too."""
        key = _key(kind), name
        if key not in self._read:
            from ve.chunks.kinds import KINDS
            from ve.chunks.typed import read

            try:
                text = self.bytes(*key)
            except NotFound:
                self._read[key] = self._missing(*key)
            else:
                self._read[key] = read(text, self.path(*key), KINDS[key[0]])
        return self._read[key]

    def order(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Each chunk's status and created_after; the status is empty where it cannot be read."""
        from ve.chunks.quick import quick

        found = {}
        for name in self.names("chunk"):
            key = ("chunk", name)
            try:
                head = self._bytes[key] if key in self._bytes else self._beginning(*key)
            except (OSError, ValueError):
                head = None
            plain = None if head is None else quick(_plainly(head))
            found[name] = plain if plain is not None else self._slowly(name)
        return found

    def current(self) -> tuple[str, ...]:
        """The chunks that are being worked on in this worktree: one, unless something is wrong."""
        return tuple(name for name, (status, _) in self.order().items() if status == "IMPLEMENTING")

    def friction_ids(self) -> dict[str, int]:
        """The entries of the friction log, each with its line."""
        text = self.file(self.path("friction", ""))
        if text is None:
            return {}
        from ve.chunks.links import friction

        return {entry.id: entry.line for entry in friction(text)}

    def _beginning(self, kind: str, name: str) -> _Bytes:
        return _bytes_of(f"{self._root}/{self.path(kind, name)}", _HEAD_BYTES)

    def _slowly(self, name: str) -> tuple[str, tuple[str, ...]]:
        value = self.read("chunk", name).value
        if value is None:
            return "", ()
        return getattr(value, "status", ""), getattr(value, "created_after", ())

    def _missing(self, kind: str, name: str) -> Read:
        from ve.chunks.head import parse
        from ve.chunks.typed import Read

        path = self.path(kind, name)
        return Read(parse(b"---\n---\n", path), None, [self._why_missing(path)])

    def _why_missing(self, path: str) -> Problem:
        from ve.chunks.problems import Problem

        file, (folder, _, document) = self.root / path, path.rpartition("/")
        what = f"there is no {document} in {folder}"
        hint = "Write it, or take the folder away if it is no document's"
        if file.is_symlink() and not file.exists():
            what = f"{path} is a link that leads nowhere"
        elif file.is_dir():
            what = f"{path} is a folder where a file belongs"
        elif os.path.lexists(file):
            what, hint = f"{path} cannot be read", f"See: ls -l {path}"
        return Problem(path=path, rule="missing-document", message=what, hint=hint)


def root_of(start: Path) -> Path:
    """The root of the worktree that `start` is in. Raises `NotFound` outside of every one."""
    here = start.resolve()
    for folder in (here, *here.parents):
        entry = folder / ".git"
        if entry.is_file() or os.path.lexists(entry / "HEAD"):  # an empty `.git` is none to git, either
            return folder
    raise NotFound(
        "is not in a git repository", where=str(start), hint="Make it one with: git init, then: ve init"
    )


def bare_name(words: str, kind: str = "chunk") -> str:
    """A name from a command line: itself, or the last part of a path below the kind's folder."""
    folder, document = PLACES[kind]
    match = re.fullmatch(rf"(?:.*/)?{folder}/([^/]+)(?:/(?:{document}|PLAN\.md)?)?", words)
    return match[1] if match else words.removesuffix("/")


def _key(kind: Kind | str) -> str:
    return kind if isinstance(kind, str) else kind.name


def _folders(path: str) -> tuple[str, ...]:
    try:
        with os.scandir(path) as entries:
            return tuple(
                sorted(entry.name for entry in entries if entry.name[0] != "." and _is_folder(entry))
            )
    except OSError:
        return ()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself must not hide all the others
        return False


def _bytes_of(path: str, limit: int = -1) -> bytes:
    # A named pipe has to be no reason to wait for a writer, nor a link to /dev/zero to read for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(EINVAL, "is no file", path)
    if limit < 0:
        with os.fdopen(descriptor, "rb") as file:
            return file.read()
    try:
        found = os.read(descriptor, limit)
    finally:
        os.close(descriptor)
    return found if len(found) < limit or _has_end(found) else _bytes_of(path)


def _plainly(head: bytes) -> bytes:
    """The head without what editors on other systems add: it changes neither of the two fields."""
    return head.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")


def _has_end(beginning: bytes) -> bool:
    return beginning.find(b"\n---", 3) > 0


def _how_to_list(kind: str) -> str:
    return "See which there are: ve chunk list" if kind == "chunk" else f"See which there are: ve {kind} list"
