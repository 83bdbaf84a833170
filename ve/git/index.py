"""The index file of a worktree, as far as a fresh checkout needs it: read one, write a new one.

Only version 2 is written, with the stat data that lets git trust it and the cache-tree that makes
the first `git status` fast. An index that somebody else made is changed by git alone (`landing`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
from binascii import hexlify, unhexlify
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_ENTRY = struct.Struct(">LLLLLLLLLL20sH")
_PADDING = tuple(b"\0" * count for count in range(9))
_GIGA = 10**9
_NAME_MAX = 0xFFF
_FLAG_VALID, _FLAG_EXTENDED, _STAGE = 0x8000, 0x4000, 0x3000


class Item(NamedTuple):
    """A file of a tree: its path, git's mode, and its blob's hex name."""

    path: bytes
    mode: int
    sha: bytes


class Known(NamedTuple):
    """What an index says of a file that it holds to be unchanged; times in nanoseconds."""

    sha: bytes
    mode: int
    ctime_ns: int
    mtime_ns: int
    inode: int
    size: int


def write(path: Path, entries: Iterable[tuple[Item, os.stat_result]], trees: bytes) -> None:
    """Write an index in one go: `entries` in path order with each file's stat; `trees`: the cache-tree."""
    parts = [b""]
    add, pack = parts.append, _ENTRY.pack
    total = 0
    for (name, mode, sha), st in entries:
        ctime, mtime, length = st.st_ctime_ns, st.st_mtime_ns, len(name)
        add(
            pack(
                ctime // _GIGA & 0xFFFFFFFF,
                ctime % _GIGA,
                mtime // _GIGA & 0xFFFFFFFF,
                mtime % _GIGA,
                st.st_dev & 0xFFFFFFFF,
                st.st_ino & 0xFFFFFFFF,
                mode,
                st.st_uid,
                st.st_gid,
                # Git keeps no size of a submodule's folder.
                0 if mode == 0o160000 else st.st_size & 0xFFFFFFFF,
                unhexlify(sha),
                length if length < _NAME_MAX else _NAME_MAX,
            )
        )
        add(name)
        add(_PADDING[8 - (62 + length) % 8])
        total += 1
    parts[0] = struct.pack(">4sLL", b"DIRC", 2, total)
    add(b"TREE" + struct.pack(">L", len(trees)) + trees)
    content = b"".join(parts)
    temporary = path.with_name("index.lock")
    with temporary.open("xb") as file:
        file.write(content)
        file.write(hashlib.sha1(content, usedforsecurity=False).digest())
    temporary.rename(path)


def cache_tree(name: bytes, sha: bytes, entries: int, subtrees: int) -> bytes:
    """Return one node of the cache-tree; its subtrees' nodes follow it."""
    return b"%s\0%d %d\n%s" % (name, entries, subtrees, unhexlify(sha))


def copy(source: Path, target: Path) -> None:
    """Copy an index for git to work on, with its time.

    Git compares a file's time with the index's own: with a newer one it would take a file that was
    edited right after the index was written, at the same size, for unchanged.
    """
    shutil.copy2(source, target)


def count(path: Path) -> int:
    """Return how many entries an index has, 0 if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return 0
    return int.from_bytes(head[8:12], "big") if head[:4] == b"DIRC" else 0


def read_clean(path: Path) -> dict[bytes, Known]:
    """Return what an index says of the files that it is sure of.

    Left out are entries in conflict, marked "assume unchanged", with extended flags, and those written
    so late that their file may have changed since within one tick of the clock. Empty when the file is
    missing, of another version than 2, or split.
    """
    try:
        with path.open("rb") as file:
            content = file.read()
            written_ns = os.fstat(file.fileno()).st_mtime_ns
    except OSError:
        return {}
    known: dict[bytes, Known] = {}
    if len(content) < 32 or content[:4] != b"DIRC":
        return known
    version, total = struct.unpack_from(">LL", content, 4)
    if version != 2:
        return known
    at, unpack = 12, _ENTRY.unpack_from
    for _ in range(total):
        cs, cn, ms, mn, _dev, inode, mode, _uid, _gid, size, sha, flags = unpack(content, at)
        length = flags & _NAME_MAX
        end = at + 62 + length if length < _NAME_MAX else content.index(b"\0", at + 62)
        mtime = ms * _GIGA + mn
        if not flags & (_FLAG_VALID | _FLAG_EXTENDED | _STAGE) and mtime < written_ns:
            known[content[at + 62 : end]] = Known(hexlify(sha), mode, cs * _GIGA + cn, mtime, inode, size)
        at = end + 8 - (end - at) % 8
    # A split index keeps most of its entries elsewhere, and some here are replaced.
    return {} if content[at : at + 4] == b"link" else known
