"""Brings a unit's branch together with the base: the rebase before review, and the landing at the end.

One landing at a time for each base, step by step; each step is recorded before the next one begins, and
can be repeated. Nothing of the operator's is touched before the ref moves, and then only files that are
clean. What landing does, and where it stands after a kill, is the table in docs/design/landing.md.
"""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ve import faults
from ve.commands import (
    ApprovalNeeded,
    BaseChanged,
    CheckFailed,
    Command,
    ConflictFound,
    Landed,
    LandingRefused,
    LandingStep,
    RebaseConflict,
    Rebased,
    RebaseFailed,
)
from ve.errors import GitError, VeError
from ve.git import base as git
from ve.git import checkout, commit, landing, merge, refs
from ve.proc.env import environment
from ve.rules.base import Refused, past_the_swap
from ve.subscribers import Subscriber, chunkdocs
from ve.subscribers.worktrees import branch_name, merge_ref
from ve.unit import (
    BaseMoved,
    Checked,
    CheckoutUpdated,
    Committed,
    Integrated,
    Landing,
    Queued,
    Rebasing,
    Swapping,
    WorkUnit,
)
from ve.views import Transition

if TYPE_CHECKING:
    from ve.core import Core

log = logging.getLogger(__name__)
CHECK_TIMEOUT_S = 3600
OUTPUT_CHARS = 8000


class Landings(Subscriber):
    """Sends Rebased, LandingStep, Landed, and what stands in their way."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._landing: dict[str, WorkUnit] = {}  # durably in Landing, by id
        self._held: dict[str, WorkUnit] = {}  # their next step was refused, as on a paused board

    async def on_start(self) -> None:
        self._landing.clear()
        self._follow_all()
        self._land_next()

    def on_commit(self, transition: Transition) -> None:
        if transition.unit is not None:
            self._follow(transition.unit)
        else:
            self._follow_all()  # a pause of the board may be over
        self._land_next()

    def _follow_all(self) -> None:
        """Every unit whose present state is durable."""
        for unit in tuple(self.core.stream.index.live()):
            if unit.seq <= self.core.stream.durable_seq:
                self._follow(unit)

    def _follow(self, unit: WorkUnit) -> None:
        self._held.pop(unit.id, None)
        if isinstance(unit.state, Landing) and not unit.closing:
            self._landing[unit.id] = unit
        else:
            self._landing.pop(unit.id, None)
        if isinstance(unit.state, Rebasing):
            self.start_task(f"rebase:{unit.id}:{unit.seq}", self._send(unit, self._rebase))

    def _land_next(self) -> None:
        """For each base: go on with the landing under way, else begin the next one."""
        if not self._landing:
            return
        for base in {unit.base_ref for unit in self._landing.values()}:
            unit = self._next(base)
            if unit is not None:
                self.start_task(f"land:{base}", self._send(unit, self._step))

    def _next(self, base: str) -> WorkUnit | None:
        """What is under way goes first; a pause holds everything whose base ref is not about to move."""
        queue = [unit for unit in self._landing.values() if unit.base_ref == base]
        free = [u for u in queue if past_the_swap(u.state) or not (u.paused or self.core.stream.board.paused)]
        return min(free, key=lambda u: (is_queued(u), -u.priority, u.seq), default=None)

    async def _send(self, unit: WorkUnit, work: object) -> None:
        """Do one step off the loop; its result, or what stands in its way, is a command."""
        board = self.core.stream.board.seq
        async with self.core.in_tree(unit.id):
            now = self.core.stream.unit(unit.id)
            if now is None or now.state != unit.state or now.closing:
                self._landing.pop(unit.id, None)  # done already, or called off, while this one waited
                return
            command = await self._done(unit, work)
        self._landing.pop(unit.id, None)
        reply = await self.core.stream.submit(command, "daemon")
        now = self.core.stream.unit(unit.id)
        if isinstance(reply, Refused) and now is not None and now.state == unit.state and not now.closing:
            log.info("%s: %s", unit.chunk, reply.why)
            if isinstance(unit.state, Landing):
                # Held until the board changes; at once again where it has changed during the step.
                changed = board < self.core.stream.board.seq <= self.core.stream.durable_seq
                (self._landing if changed else self._held)[unit.id] = now

    async def _done(self, unit: WorkUnit, work: object) -> Command:
        """What came of a step: its result, or the reason why a person has to look."""
        try:
            return await self.core.git(work, unit)  # type: ignore[arg-type]
        except (VeError, OSError, subprocess.SubprocessError) as error:
            log.warning("%s: %s", unit.chunk, error)
            reason = str(error)
        except Exception as error:  # fence: whatever it was, a unit whose step vanishes would wait for ever
            log.exception("%s: git work failed", unit.chunk)
            reason = f"{type(error).__name__}: {error}; the daemon's log has the details"
        failed = RebaseFailed if isinstance(unit.state, Rebasing) else LandingRefused
        return failed(unit=unit.id, reason=reason)

    def _ended(self, key: str, task: object) -> None:
        super()._ended(key, task)  # type: ignore[arg-type]
        if key.startswith("land:"):
            self._land_next()

    # ── Rebase: in a thread ────────────────────────────────────────────────────────────────────────

    def _rebase(self, unit: WorkUnit) -> Command:
        """Merge the base into the branch; a conflict goes to an agent first, then to a person."""
        assert isinstance(unit.state, Rebasing)
        tree = self._tree(unit)
        left = merge.unmerged(tree)
        if left and unit.state.again:
            return ConflictFound(unit=unit.id, files=tuple(left), text=both_sides(tree, left))
        if left:
            return RebaseConflict(unit=unit.id, files=tuple(left), text=both_sides(tree, left))
        chunkdocs.restore(self.core.places.common_dir, tree, unit)
        self._commit_leftovers(unit, tree, "what the phase left")
        base = git.resolve(self.core.places.common_dir, unit.base_ref)
        head = checkout.head_of(tree)
        merged = merge.merge(
            self.core.places.common_dir,
            head,
            base,
            message=f"Merge {unit.base_ref} into {branch_name(unit)}\n",
        )
        if isinstance(merged, merge.Merged):
            landing.fast_forward_worktree(tree, merged.commit)
            if chunkdocs.set_aside(self.core.places.common_dir, tree, merged.commit, unit.chunk):
                self._commit_leftovers(unit, tree, "set other chunks aside")
            return Rebased(unit=unit.id, commit=checkout.head_of(tree), base=base)
        files = tuple(file.path for file in merged.files)
        text = conflict_text(merged, "branch", "base")
        if unit.state.again:
            return ConflictFound(unit=unit.id, files=files, text=text)
        merge.merge_into_worktree(tree, base)
        return RebaseConflict(unit=unit.id, files=files, text=text)

    # ── Landing: in a thread ───────────────────────────────────────────────────────────────────────

    def _step(self, unit: WorkUnit) -> Command:
        """The step after the recorded one."""
        assert isinstance(unit.state, Landing)
        step = unit.state.step
        if isinstance(step, Queued):
            return self._commit(unit)
        if isinstance(step, Committed):
            return self._integrate(unit, step)
        if isinstance(step, Integrated):
            return self._check(unit, step)
        if isinstance(step, Checked):
            return self._announce(unit, step)
        if isinstance(step, Swapping):
            return self._swap(unit, step)
        if isinstance(step, BaseMoved):
            return self._bring_checkout(unit, step)
        assert isinstance(step, CheckoutUpdated)
        faults.at("landing-checkout-updated")
        refs.delete_ref(self.core.places.common_dir, merge_ref(unit), step.new)
        return Landed(unit=unit.id, commit=step.new)

    def _commit(self, unit: WorkUnit) -> Command:
        """Commit what the phases left, with the documents as completion leaves them."""
        tree = self._tree(unit)
        chunkdocs.restore(self.core.places.common_dir, tree, unit)
        chunkdocs.complete(tree, unit.chunk)
        self._commit_leftovers(unit, tree, "complete")
        faults.at("landing-committed")
        return LandingStep(unit=unit.id, step=Committed(commit=checkout.head_of(tree)))

    def _integrate(self, unit: WorkUnit, step: Committed) -> Command:
        """Merge branch and base in the object store, under a ref of its own."""
        repo = self.core.places.common_dir
        base = git.resolve(repo, unit.base_ref)
        message = f"Merge {unit.chunk}\n\nBranch {branch_name(unit)}, unit {unit.id}.\n"
        merged = merge.integrate(repo, base, step.commit, message=message)
        if isinstance(merged, merge.Conflict):
            files = tuple(file.path for file in merged.files)
            return ConflictFound(unit=unit.id, files=files, text=conflict_text(merged, "base", "branch"))
        point(repo, merge_ref(unit), merged.commit)
        faults.at("landing-integrated")
        return LandingStep(unit=unit.id, step=Integrated(commit=step.commit, base=base, merge=merged.commit))

    def _check(self, unit: WorkUnit, step: Integrated) -> Command:
        """Run the check command on the merged tree, in the unit's own worktree."""
        command = self.core.config.landing.check
        if command:
            tree = self._tree(unit)
            landing.fast_forward_worktree(tree, step.merge)
            ended = subprocess.run(
                ["/bin/sh", "-c", command], cwd=tree, env=environment({}), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=CHECK_TIMEOUT_S, check=False,
            )  # fmt: skip
            if ended.returncode != 0:
                output = ended.stdout.decode(errors="replace")[-OUTPUT_CHARS:]
                return CheckFailed(unit=unit.id, output=f"exit code {ended.returncode}\n{output}")
        faults.at("landing-checked")
        return LandingStep(unit=unit.id, step=Checked(commit=step.commit, base=step.base, merge=step.merge))

    def _announce(self, unit: WorkUnit, step: Checked) -> Command:
        """Say what is about to move, so that recovery can judge it; or ask for approval first."""
        if self.core.config.land == "approve" and not step.approved:
            return ApprovalNeeded(unit=unit.id, merge=step.merge)
        tip = git.resolve(self.core.places.common_dir, unit.base_ref)
        if tip != step.base:
            return BaseChanged(unit=unit.id, tip=tip)
        places = git.checkouts_of(self.core.places.common_dir, unit.base_ref)
        checkout_path = str(places[0]) if places else None
        return LandingStep(
            unit=unit.id,
            step=Swapping(commit=step.commit, old=step.base, new=step.merge, checkout=checkout_path),
        )

    def _swap(self, unit: WorkUnit, step: Swapping) -> Command:
        """Move the base ref, with every checkout of it held still and judged clean before."""
        repo = self.core.places.common_dir
        faults.at("landing-swapping")
        if git.is_ancestor(repo, step.new, git.resolve(repo, unit.base_ref)):
            return LandingStep(
                unit=unit.id, step=BaseMoved(old=step.old, new=step.new, checkout=step.checkout)
            )
        ready = landing.prepare(
            repo, unit.base_ref, step.old, step.new, git.checkouts_of(repo, unit.base_ref)
        )
        if isinstance(ready, landing.Refused):
            return LandingRefused(unit=unit.id, reason=refusal(unit, ready))
        if isinstance(ready, landing.BaseMoved):
            return BaseChanged(unit=unit.id, tip=ready.tip or "")
        faults.at("landing-locked")
        moved = landing.move_base(repo, unit.base_ref, step.old, step.new, message=f"ve: merge {unit.chunk}")
        if isinstance(moved, landing.BaseMoved):
            landing.release(git.checkouts_of(repo, unit.base_ref), step.old, step.new)
            return BaseChanged(unit=unit.id, tip=moved.tip or "")
        faults.at("landing-moved")
        return LandingStep(unit=unit.id, step=BaseMoved(old=step.old, new=step.new, checkout=step.checkout))

    def _bring_checkout(self, unit: WorkUnit, step: BaseMoved) -> Command:
        """Write the changed files, and only those, where the base is checked out."""
        repo = self.core.places.common_dir
        faults.at("landing-base-moved")
        for place in git.checkouts_of(repo, unit.base_ref):
            kept = landing.update_checkout(place, step.old, step.new, message=f"ve: merge {unit.chunk}")
            if kept:
                log.warning(
                    "%s: changed meanwhile and left alone in %s: %s", unit.chunk, place, ", ".join(kept)
                )
        return LandingStep(unit=unit.id, step=CheckoutUpdated(new=step.new))

    # ── Shared ─────────────────────────────────────────────────────────────────────────────────────

    def _tree(self, unit: WorkUnit) -> Path:
        if unit.worktree is None or not Path(unit.worktree).is_dir():
            raise GitError(
                f"the worktree of {unit.chunk} is gone", where=unit.worktree or "",
                hint=f"Begin again from the base: ve orch retry {unit.chunk} --fresh",
            )  # fmt: skip
        return Path(unit.worktree)

    def _commit_leftovers(self, unit: WorkUnit, tree: Path, what: str) -> None:
        copied = self.core.config.worktree.copy
        commit.commit_all(tree, f"{unit.chunk}: {what}\n", exclude=copied, break_lock=True)


def is_queued(unit: WorkUnit) -> bool:
    """Whether its landing has not begun."""
    return isinstance(unit.state, Landing) and isinstance(unit.state.step, Queued)


def point(repo: Path, ref: str, target: str) -> None:
    """Set one of our own refs, whatever it held."""
    for _ in range(5):
        old = git.tip(repo, ref)
        if old == target or refs.compare_and_swap(repo, ref, old, target, "ve: merge to land"):
            return
    raise GitError("the ref keeps moving", where=ref, hint="Another process of ve may be landing; try again.")


def refusal(unit: WorkUnit, refused: landing.Refused) -> str:
    """Why the operator's checkout does not allow it, and what to do."""
    files = f": {', '.join(refused.paths[:10])}" if refused.paths else ""
    return (
        f"{refused.reason}{files}\nnothing was touched; commit or put these aside, "
        f"it is tried again every minute, or at once with: ve orch retry {unit.chunk}"
    )


def conflict_text(conflict: merge.Conflict, ours: str, theirs: str) -> str:
    """Both sides of each file in conflict, each under its name."""
    return "\n".join(
        f"--- {file.path}\n<<<<<<< {ours}\n{shown(file.ours)}\n"
        f"=======\n{shown(file.theirs)}\n>>>>>>> {theirs}"
        for file in conflict.files
    )


def shown(side: bytes | None) -> str:
    """One side as text, at most a screenful."""
    return "(not there)" if side is None else side.decode(errors="replace")[:1500]


def both_sides(tree: Path, files: list[str]) -> str:
    """The files as the merge left them, with their markers."""
    texts = []
    for name in files[:10]:
        path = tree / name
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        texts.append(f"--- {name}\n{shown(content)}")
    return "\n".join(texts)
