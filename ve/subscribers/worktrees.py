"""Makes a unit's worktree when it is dispatched for the first time, and takes it away at the end.

None is made before: not at inject, not for a unit that waits. So the tree always has what the base had
at that moment, with everything that the unit waited for. A unit between two phases, or waiting for its
operator, keeps its tree. Nothing is removed that is neither merged nor under a salvage ref.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ve import faults
from ve.chunks.frontmatter import read
from ve.commands import Cleaned, Command, Fail, Failed, RunEnded, Salvaged, WorktreeReady
from ve.documents import Base, chunk_files, chunk_hash
from ve.errors import RefusedError, VeError
from ve.git import base as git
from ve.git import checkout, refs, salvage
from ve.proc.env import environment
from ve.rules.base import Refused
from ve.subscribers import Subscriber, chunkdocs
from ve.unit import Done, Running, WorkUnit
from ve.views import Transition

if TYPE_CHECKING:
    from ve.core import Core

log = logging.getLogger(__name__)
SETUP_TIMEOUT_S = 900
SALVAGE_RETRY_S = 30.0


class Unapproved(RefusedError):
    """Background work that is not as a person approved it."""


def tree_name(unit: WorkUnit) -> str:
    """Unique for tree, branch and git's own id: `<chunk>-<attempt>`."""
    return f"{unit.chunk}-{unit.attempt}"


def branch_name(unit: WorkUnit) -> str:
    """The branch of an attempt."""
    return f"ve/{tree_name(unit)}"


def merge_ref(unit: WorkUnit) -> str:
    """Keeps a merge alive that is not in the base yet."""
    return f"refs/ve/landing/{tree_name(unit)}"


class Worktrees(Subscriber):
    """Sends WorktreeReady, Fail, Salvaged and Cleaned."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        # Never two checkouts at once: in threads they only slow each other down.
        self._one = asyncio.Lock()

    async def on_start(self) -> None:
        for unit in tuple(self.core.stream.index.units.values()):
            self._act(unit)

    def on_commit(self, transition: Transition) -> None:
        if transition.unit is not None:
            self._act(transition.unit)

    def _act(self, unit: WorkUnit) -> None:
        """Whatever is due by the unit's state; each under way at most once."""
        if isinstance(unit.state, Running) and unit.worktree is None:
            # Also where it is being stopped: half a tree may stand, and one way leads out of here.
            self.start_task(f"make:{unit.state.run}", self._make(unit, unit.state.run))
        elif unit.closing and unit.run is None and unit.worktree is not None:
            self.start_task(f"salvage:{unit.id}:{unit.attempt}", self._salvage(unit))
        elif unit.cleaning:
            self.start_task(f"clean:{unit.id}", self._clean(unit))

    def root(self) -> Path:
        """Where worktrees go: as configured, else beside the main worktree's files."""
        places, wanted = self.core.places, self.core.config.worktree.root
        if not wanted:
            return places.worktrees_root
        return (places.main_worktree or places.common_dir.parent) / Path(wanted).expanduser()

    # ── The beginning ──────────────────────────────────────────────────────────────────────────────

    async def _make(self, unit: WorkUnit, run: str) -> None:
        async with self._one:
            command: Command
            try:
                tree = await self.core.git(self._add, unit)
                faults.at("tree-made")
                command = WorktreeReady(
                    unit=unit.id, run=run, worktree=str(tree.path), branch=branch_name(unit),
                    base_commit=tree.base_commit,
                )  # fmt: skip
            except (VeError, OSError, subprocess.SubprocessError) as error:
                log.warning("no worktree for %s: %s", unit.chunk, error)
                command = self._failed(unit, run, str(error), retry=not isinstance(error, Unapproved))
            except Exception as error:  # fence: a unit whose tree vanishes would keep its slot for ever
                log.exception("no worktree for %s", unit.chunk)
                command = self._failed(unit, run, f"{type(error).__name__}: {error}")
        reply = await self.core.stream.submit(command, "daemon")
        if isinstance(reply, Refused) and isinstance(command, Fail):
            # It is being stopped: that its run is over is all that is still wanted.
            self.core.stream.submit(RunEnded(unit=unit.id, run=run, exit=command.failure), "daemon")

    def _failed(self, unit: WorkUnit, run: str, reason: str, *, retry: bool = True) -> Fail:
        failure = Failed(reason=f"the worktree could not be made: {reason}", retry=retry)
        return Fail(unit=unit.id, run=run, alive=False, failure=failure)

    def _add(self, unit: WorkUnit) -> checkout.Tree:
        """In a thread: the base as it is now, with the chunk, and no other, at IMPLEMENTING."""
        repo, root = self.core.places.common_dir, self.root()
        checkout.ensure_root(root)
        base = git.resolve(repo, unit.base_ref)
        self._refuse_unapproved(Base(repo, unit.base_ref, base, None), unit.chunk)
        edits = chunkdocs.begin(repo, base, unit.chunk)
        main = self.core.places.main_worktree
        tree = checkout.add(
            repo, root / tree_name(unit), branch_name(unit), tree_name(unit), base,
            edits=edits, message=f"{unit.chunk}: begin\n\nDocument status IMPLEMENTING.\n", copy_from=main,
        )  # fmt: skip
        self._set_up(tree.path)
        return tree

    def _refuse_unapproved(self, base: Base, chunk: str) -> None:
        """Background work is as a person approved it also where it changed after it was queued."""
        text = base.read(chunkdocs.goal_of(chunk))
        if text is None or not read(text, chunkdocs.goal_of(chunk)).background:
            return
        if chunk_hash(chunk_files(base, chunk)) not in self.core.stream.board.approved:
            raise Unapproved(
                f"{chunk} is background work that was changed after it was approved; "
                f"read it: ve chunk approve {chunk}; then: ve orch retry {chunk}"
            )

    def _set_up(self, tree: Path) -> None:
        """Copy what git does not have, and run the setup command, which was approved before dispatch."""
        main, config = self.core.places.main_worktree, self.core.config.worktree
        for name in config.copy if main else ():
            assert main is not None
            source, target = main / name, tree / name
            if source.is_file() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        if config.setup:
            subprocess.run(
                ["/bin/sh", "-c", config.setup], cwd=tree, env=environment({}), check=True,
                stdin=subprocess.DEVNULL, capture_output=True, timeout=SETUP_TIMEOUT_S,
            )  # fmt: skip

    # ── The end ────────────────────────────────────────────────────────────────────────────────────

    async def _salvage(self, unit: WorkUnit) -> None:
        """A cancelled or renewed attempt: keep what it had under a ref, then take the tree away.

        Where that fails the unit stays as it is, since its end would say that nothing was lost."""
        while True:
            async with self.core.in_tree(unit.id):
                try:
                    ref = await self.core.git(self._save_and_remove, unit)
                    break
                except (VeError, OSError) as error:
                    log.error("%s could not be salvaged, it is tried again: %s", unit.chunk, error)
            await asyncio.sleep(SALVAGE_RETRY_S)
        self.core.stream.submit(Salvaged(unit=unit.id, ref=ref), "daemon")

    def _save_and_remove(self, unit: WorkUnit) -> str | None:
        assert unit.worktree is not None and unit.branch is not None
        repo, path = self.core.places.common_dir, Path(unit.worktree)
        keep = [git.resolve(repo, unit.base_ref)]
        ref = salvage.salvage(repo, path, tree_name(unit), branch=unit.branch, keep=keep)
        checkout.remove(repo, path, tree_name(unit), unit.branch, merged_into=keep[0], salvaged=ref)
        prepared = git.tip(repo, merge_ref(unit))
        if prepared is not None:
            refs.delete_ref(repo, merge_ref(unit), prepared)
        return ref

    async def _clean(self, unit: WorkUnit) -> None:
        """A merged unit: its tree goes, unless it is to be kept; what the base lacks is salvaged."""
        kept = self.core.config.worktree.retain
        if not kept and isinstance(unit.state, Done):
            async with self.core.in_tree(unit.id):
                try:
                    await self.core.git(self._save_and_remove, unit)
                except (VeError, OSError) as error:
                    log.warning("the worktree of %s stays: %s", unit.chunk, error)
                    kept = True
        self.core.stream.submit(Cleaned(unit=unit.id, kept=kept), "daemon")
