"""References from documents to code: `[org/repo::]path[#symbol[::nested]]`, and back from code.

Rule: nothing outside of the repository is ever read, a reference that cannot be checked is not
called wrong, and one that is wrong comes with the likely new place where there is one.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from posixpath import splitext
from typing import NamedTuple

from ve.chunks.backreferences import back_references
from ve.chunks.symbols import Outline, grammar_missing, language_of, outline
from ve.errors import InvalidInput

__all__ = ["Code", "Reference", "Resolution", "back_references", "parse_reference", "resolve"]

LARGEST = 2_000_000
"""Bytes; a larger file is not parsed."""

FORM = "[org/repo::]path[#symbol[::nested]], as in src/segment/writer.rs#SegmentWriter::fsync"
_REPO = re.compile(r"[\w.-]+/[\w.-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udc7f]")
_LINES = re.compile(r"L?\d+(?:-L?\d+)?")
_SKIPPED = frozenset((".git", ".ve", ".venv", "node_modules", "__pycache__"))
_MOST_WALKED = 100_000


class Reference(NamedTuple):
    repo: str  # "" is this repository
    path: str
    symbol: tuple[str, ...]

    def __str__(self) -> str:
        repo = f"{self.repo}::" if self.repo else ""
        symbol = f"#{'::'.join(self.symbol)}" if self.symbol else ""
        return f"{repo}{self.path}{symbol}"


class Resolution(NamedTuple):
    """`checked` False: it may be right, but nothing here can tell; `reason` says why, "" if all is well."""

    ok: bool
    reason: str = ""
    suggestion: str = ""
    checked: bool = True


def parse_reference(text: str) -> Reference:
    """The parts of a reference; raises `InvalidInput`, which says what is wrong and what is right."""
    place, mark, symbol = text.partition("#")
    repo, colons, path = place.rpartition("::")
    reference = Reference(repo, path, tuple(symbol.split("::")) if mark else ())
    if wrong := _wrong(text, reference, bool(colons)):
        what = f"{text!a} is not a reference to code: {wrong}"
        raise InvalidInput(what, hint=f"Write {FORM}", errors=(("ref", what),))
    return reference


def _wrong(text: str, reference: Reference, has_repo: bool) -> str:
    """What is wrong with the form; "" for nothing."""
    repo, path, symbol = reference
    if not text.strip():
        return "it is empty"
    if _CONTROL.search(text):
        return "it has a character that cannot be printed"
    if text != text.strip() or path != path.strip():
        return "it begins or ends with a space, or has one before `#`"
    if has_repo and not _REPO.fullmatch(repo):
        return "before `::` stands a repository as `org/repo`; a symbol comes after `#`"
    if not path:
        return "the path is empty"
    if "\\" in path:
        return "folders are separated with `/`, not with a backslash"
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        return "the path is absolute; it begins at the repository's root"
    parts = path.removesuffix("/").split("/")
    if ".." in parts:
        return "`..` is not allowed: the path begins at the repository's root and stays in it"
    if "." in parts or "" in parts:
        return "the path has an empty part or a `.` between its slashes"
    if parts[0] == ".git":
        return "`.git` is git's own folder"
    if not all(part.strip() for part in symbol):
        return "a part of the symbol is empty; parts are separated with `::`"
    return ""


class Code:
    """The files of a repository's work tree: what they define, each read and parsed at most once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real = os.path.realpath(root)
        self._files: tuple[str, ...] | None = None
        self._outlines: dict[str, Outline | str] = {}
        self._kinds: dict[str, str] = {}
        self._resolved: dict[str, Resolution] = {}

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that git knows or would add; without git, every file in a folder that is not hidden."""
        if self._files is None:
            listed = _listed(self.root)
            self._files = tuple(sorted(_walked(self.root) if listed is None else listed))
        return self._files

    def kind(self, path: str) -> str:
        """ "file", "folder", "outside" (a symbolic link leaves the repository), "other", or "" if missing."""
        if path not in self._kinds:
            self._kinds[path] = self._kind(path)
        return self._kinds[path]

    def _kind(self, path: str) -> str:
        try:
            real = os.path.realpath(f"{self._real}/{path}")
            mode = Path(real).stat().st_mode
        except (OSError, ValueError):
            return ""
        if real != self._real and not real.startswith(self._real.rstrip("/") + "/"):
            return "outside"
        if stat.S_ISDIR(mode):
            return "folder"
        return "file" if stat.S_ISREG(mode) and not path.endswith("/") else "other"

    def read(self, path: str) -> bytes | str:
        """The file's bytes, or why it is not read. Only for a path whose kind is "file"."""
        if self.kind(path) != "file":
            return "is not a file of this repository"
        try:
            with Path(self._real, path).open("rb") as file:
                data = file.read(LARGEST + 1)
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        if len(data) > LARGEST:
            return f"is larger than {LARGEST // 1_000_000} MB, so it is not looked into"
        if b"\0" in data[:8000]:
            return "is not text, so it is not looked into"
        return data

    def outline(self, path: str) -> Outline | str:
        """What the file defines, or why that is not known."""
        if path not in self._outlines:
            self._outlines[path] = self._outline(path)
        return self._outlines[path]

    def _outline(self, path: str) -> Outline | str:
        data = self.read(path)
        if isinstance(data, str):
            return data
        found = outline(path, data)
        if found is not None:
            return found
        if extra := grammar_missing(path, data):
            return (
                f"is {language_of(path, data)}, whose grammar is not installed: "
                f"pip install 've-orch[{extra}]'"
            )
        suffix = splitext(path)[1]
        return f"is of a kind ({suffix or 'no suffix'}) whose symbols are not known here"

    def resolve(self, reference: str) -> Resolution:
        """As the function `resolve`; a reference that comes again costs nothing."""
        if reference not in self._resolved:
            self._resolved[reference] = _resolve(reference, self)
        return self._resolved[reference]


def resolve(reference: str, code: Code) -> Resolution:
    """Whether the reference points at something. Never raises, and never reads outside of the root."""
    return code.resolve(reference)


def _resolve(text: str, code: Code) -> Resolution:
    try:
        reference = parse_reference(text)
    except InvalidInput as error:
        from ve.chunks import suggestions  # here and below: only a wrong reference needs the search

        return Resolution(False, f"{error.what}; write {FORM}", suggestions.for_form(text, code))
    if reference.repo:
        if code.kind(reference.repo) == "file":  # src/a.py::run, as test runners write it
            meant = Reference("", reference.repo, (*reference.path.split("::"), *reference.symbol))
            return Resolution(False, f"{reference.repo} is a file: a symbol comes after `#`", str(meant))
        return Resolution(True, f"{reference.repo} is another repository, not looked into", checked=False)
    kind = code.kind(reference.path)
    if kind == "outside":
        return Resolution(False, f"{reference.path} leaves the repository through a symbolic link")
    if kind == "other":
        return Resolution(False, f"{reference.path} is neither a file nor a folder")
    if not kind:
        from ve.chunks import suggestions

        return _with(f"{reference.path} does not exist", suggestions.for_path(reference, code))
    if not reference.symbol:
        return Resolution(True)
    if kind == "folder":
        return Resolution(False, f"{reference.path} is a folder, which has no symbols", reference.path)
    return _symbol(reference, code)


def _symbol(reference: Reference, code: Code) -> Resolution:
    found = code.outline(reference.path)
    if isinstance(found, str):
        return Resolution(True, f"{reference.path} {found}", checked=False)
    name = "::".join(reference.symbol)
    if name in found.names:
        return Resolution(True, f"{reference.path} {found.problem}" if found.problem else "")
    if found.problem.startswith(("is nested too", "takes too")):
        return Resolution(True, f"{reference.path} {found.problem}", checked=False)
    reason = f"{reference.path} has no {name}"
    if _LINES.fullmatch(name):
        reason += "; a reference names a symbol, not lines"
    if found.problem:
        reason += f"; the file {found.problem}"
    from ve.chunks import suggestions

    return _with(reason, suggestions.for_symbol(reference, found.names, code))


def _with(reason: str, found: tuple[str, str]) -> Resolution:
    suggestion, why = found
    return Resolution(False, f"{reason}; {why}" if why else reason, suggestion)


def _listed(root: Path) -> list[str] | None:
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    return [os.fsdecode(name) for name in dict.fromkeys(done.stdout.split(b"\0")) if name]


def _walked(root: Path) -> Iterator[str]:
    count = 0
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _SKIPPED and not name.startswith("."))
        inner = os.path.relpath(folder, root)
        for name in files:
            count += 1
            if count > _MOST_WALKED:
                return
            yield name if inner == "." else f"{inner}/{name}"


def source_files(code: Code, suffixes: frozenset[str]) -> list[str]:
    """The files with one of the suffixes, of those that git knows."""
    return [path for path in code.files if splitext(path)[1].lower() in suffixes]
