"""Writes planned edits: all are checked before the first is written, and each file is replaced whole."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ve.errors import DocumentError, RefusedError

BESIDE = re.compile(r"\..+\.[0-9a-f]{8}")
"""What a file is called until it is whole."""


class Edit(NamedTuple):
    """A file before and after; None where it is not there."""

    path: str
    before: bytes | None
    after: bytes | None


def write(root: Path, edits: Iterable[Edit]) -> list[str]:
    """Write all edits, each file whole, and return their paths.

    Raises RefusedError before the first is written if a file is no more as it was read, or would be
    outside of the repository; DocumentError if the disk refuses one.
    """
    edits = list(edits)
    for one in edits:
        _refuse_changed(root, one)
    for one in edits:
        target = root / one.path
        try:
            if one.after is None:
                target.unlink()
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                _replace(target, one.after)
        except OSError as error:
            raise DocumentError(
                f"cannot be written: {error.strerror or error}", where=one.path,
                hint="What was written before it stands; the same command goes on from there.",
            ) from error  # fmt: skip
    return [one.path for one in edits]


def _refuse_changed(root: Path, one: Edit) -> None:
    target = root / one.path
    inside = root.resolve()
    if target.is_symlink() or not target.parent.resolve().is_relative_to(inside):
        raise RefusedError("is a link, or lies behind one that leads elsewhere", where=one.path)
    try:
        now: bytes | None = target.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        now = None
    except OSError as error:
        raise DocumentError(f"cannot be read: {error.strerror}", where=one.path) from error
    if now != one.before:
        what = "is there meanwhile" if one.before is None else "changed while this was planned"
        raise RefusedError(what, where=one.path, hint="Nothing was written; do it again.")


def _replace(target: Path, text: bytes) -> None:
    """The new content under the old name, with the old one's mode; never half of it."""
    beside = target.parent / f".{target.name}.{secrets.token_hex(4)}"
    try:
        # By its mode here and not by chmod, so that the umask counts.
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(text)
            file.flush()
            if target.exists():
                os.fchmod(file.fileno(), target.stat().st_mode & 0o777)
            os.fsync(file.fileno())
        beside.replace(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
        raise
