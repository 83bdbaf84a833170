"""The files of a commit, written into an empty folder in one pass, and the index that goes with them.

A file is copied from another worktree of the same repository when that one's index is sure that it
is the same blob, unchanged; else it comes from the object store. Each is created exclusively, so
nothing that lies in the way, a symlink above all, is ever followed or overwritten.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from dulwich.errors import NotTreeError
from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID, parse_tree
from dulwich.pack import PackFileDisappeared

from ve.errors import GitError
from ve.git import index
from ve.git.index import Item, Known

_CHUNK = 512
MANY = 4_000
"""From so many files on git's parallel checkout is faster than one Python thread, which it leaves free
(measured at 10,000 files: 0.75 times `git worktree add`, against 1.1 to 1.4 for files written here)."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_TREE, _LINK, _SUBMODULE = 0o040000, 0o120000, 0o160000


class Listing:
    """All of a commit's tree: `items` in index order, `folders` parents first, the index's cache-tree.

    Reading stops at MANY files, since git will write those.
    """

    def __init__(self, store: DiskObjectStore, tree: bytes) -> None:
        self.items: list[Item] = []
        self.folders: list[bytes] = []
        self._blobs = Blobs(store)
        self.cache_tree = self._read(tree, b"", b"")[0]

    def _read(self, tree: bytes, name: bytes, prefix: bytes) -> tuple[bytes, int]:
        start, below, subtrees = len(self.items), [b""], 0
        for entry, mode, sha in parse_tree(self._blobs.read(tree), 20):
            if len(self.items) >= MANY:
                break
            _check_name(entry, prefix)
            if mode == _TREE:
                self.folders.append(prefix + entry)
                below.append(self._read(sha, entry, prefix + entry + b"/")[0])
                subtrees += 1
            else:
                self.items.append(Item(prefix + entry, _plain_mode(mode), sha))
        count = len(self.items) - start
        below[0] = index.cache_tree(name, tree, count, subtrees)
        return b"".join(below), count

    @property
    def too_many(self) -> bool:
        """Whether the tree has so many files that it was not read to its end."""
        return len(self.items) >= MANY

    def attribute_files(self) -> list[bytes]:
        """Return the contents of every `.gitattributes` in the tree."""
        return [
            self._blobs.read(item.sha)
            for item in self.items
            if item.path.endswith(b".gitattributes") and item.path.rpartition(b"/")[2] == b".gitattributes"
        ]


class Blobs:
    """Objects by hex name, without dulwich's bookkeeping for each: the hot loop of a checkout."""

    def __init__(self, store: DiskObjectStore) -> None:
        self._store = store
        self._packs = list(store.packs)

    def read(self, sha: bytes) -> bytes:
        """Return an object's content; GitError when the repository lacks it."""
        name = ObjectID(sha)
        for at, pack in enumerate(self._packs):
            try:
                content = pack.get_raw(name)[1]
            except (KeyError, PackFileDisappeared):
                continue
            if at:
                self._packs.insert(0, self._packs.pop(at))
            return content
        try:
            return self._store.get_raw(name)[1]
        except (KeyError, NotTreeError) as error:
            raise GitError(
                f"object {sha.decode()} is missing from the repository", hint="Check it with: git fsck"
            ) from error


class Copies:
    """Files of another worktree of the same repository that are known to be a blob, unchanged."""

    def __init__(self, worktree: Path, index_path: Path) -> None:
        self._root = os.fsencode(worktree) + b"/"
        self._known: dict[bytes, Known] = index.read_clean(index_path)

    def read(self, item: Item) -> bytes | None:
        """Return the content if that worktree has this very blob there, else None."""
        known = self._known.get(item.path)
        if known is None or known.sha != item.sha or known.mode != item.mode:
            return None
        try:
            fd = os.open(self._root + item.path, _OLD)
        except OSError:
            return None
        try:
            content = os.read(fd, known.size + 1)
            # Judged after the read: a change before or during it shows in the times.
            st = os.fstat(fd)
        finally:
            os.close(fd)
        unchanged = (
            st.st_mtime_ns == known.mtime_ns
            and st.st_ctime_ns == known.ctime_ns
            and st.st_ino & 0xFFFFFFFF == known.inode
            and st.st_size == known.size == len(content)
        )
        return content if unchanged else None


def write(
    store: DiskObjectStore,
    listing: Listing,
    root: Path,
    index_path: Path,
    *,
    copies: Copies | None,
    progress: Callable[[str], None],
) -> None:
    """Write all files of `listing` under `root` and then the index; the folder holds nothing but `.git`."""
    base = os.fsencode(root) + b"/"
    for folder in listing.folders:
        os.mkdir(base + folder)  # noqa: PTH102 - names are bytes, and this is the hot loop
    blobs = Blobs(store)

    def chunk(items: Sequence[Item]) -> list[os.stat_result]:
        progress("files")
        return [_put(base + item.path, item, blobs, copies) for item in items]

    chunks = [listing.items[at : at + _CHUNK] for at in range(0, len(listing.items), _CHUNK)]
    stats = [st for items in chunks for st in chunk(items)]
    progress("index")
    index.write(index_path, zip(listing.items, stats, strict=True), listing.cache_tree)


def _put(path: bytes, item: Item, blobs: Blobs, copies: Copies | None) -> os.stat_result:
    mode = item.mode
    if mode == _SUBMODULE:
        os.mkdir(path)  # noqa: PTH102 - as above
        return os.lstat(path)
    if mode == _LINK:
        os.symlink(blobs.read(item.sha), path)  # noqa: PTH211 - as above
        return os.lstat(path)
    content = copies.read(item) if copies is not None else None
    if content is None:
        content = blobs.read(item.sha)
    fd = os.open(path, _NEW, 0o777 if mode & 0o100 else 0o666)
    try:
        written = os.write(fd, content)
        while written < len(content):
            written += os.write(fd, memoryview(content)[written:])
        return os.fstat(fd)
    finally:
        os.close(fd)


def _plain_mode(mode: int) -> int:
    """Return the mode as an index has it: old repositories have files of mode 664."""
    if mode & 0o170000 == 0o100000:
        return 0o100755 if mode & 0o100 else 0o100644
    return mode


def _check_name(name: bytes, prefix: bytes) -> None:
    """Refuse what git refuses: a tree whose names lead out of the worktree or into `.git`."""
    if name in (b"", b".", b"..") or b"/" in name or name.lower() in (b".git", b"git~1"):
        raise GitError(
            f"the commit holds a file named {os.fsdecode(prefix + name)!r}, which no worktree may have",
            hint="Check the repository with: git fsck",
        )
