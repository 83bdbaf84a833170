"""A unit's worktree beside `git worktree add`, in turn, on the folder for temporary files.

The files have 2 KB; the repository is packed, as a clone is; its main worktree is clean. Nothing is
removed before the end: for half a minute ext4 searches past inodes that have just been freed, and
whoever creates files then pays for whoever removed some.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from figures import Figure, paired
from ground import git, many_files, progress, repository

from ve.git import checkout
from ve.paths import Places

PAIRS = {1_000: 9, 10_000: 3}


class Pair:
    """Both ways to make a worktree, a new one at each call."""

    def __init__(self, places: Places) -> None:
        assert places.main_worktree is not None
        self.repo = places.common_dir
        self.main = places.main_worktree
        self.root = places.worktrees_root
        self.base = git(self.main, "rev-parse", "HEAD").strip()
        self._number = itertools.count()
        checkout.ensure_root(self.root)

    def ours(self, copy_from: Path | None) -> Callable[[], object]:
        """`ve`'s own, with or without a worktree to copy from."""

        def act() -> None:
            name = f"ours-{next(self._number)}"
            checkout.add(self.repo, self.root / name, f"ve/{name}", name, self.base, copy_from=copy_from)

        return act

    def gits(self) -> None:
        """Git's, as a person would call it."""
        name = f"theirs-{next(self._number)}"
        git(self.main, "worktree", "add", "-q", "-b", name, str(self.root / name), self.base)


def measure() -> Iterator[Figure]:
    """1,000 and 10,000 files, from the object store and with a main worktree to copy from."""
    for count, pairs in PAIRS.items():
        with TemporaryDirectory() as folder:
            places = repository(Path(folder) / "repository", many_files(count))
            pair = Pair(places)
            pair.gits()  # reads the pack into memory for all that follow
            for source, target in ((None, 1.1), (pair.main, 0.8)):
                how = "a clean main worktree beside it" if source else "from the object store"
                progress(f"worktree: {count:,} files, {how}")
                os.sync()
                mine, peer, ratio = paired(pair.ours(source), pair.gits, pairs)
                yield Figure(
                    f"worktree of {count:,} files, {how}",
                    mine * 1000,
                    "ms",
                    peer * 1000,
                    ratio,
                    f"≤ {target}",
                    ratio <= target,
                )
