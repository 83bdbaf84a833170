"""The small world around the real `decide`: processes, trees, git and an operator, for the model.

A world is what a crash of the daemon leaves: the units as they are in the history, run folders with
what agents wrote, trees on disk, the base. The daemon's memory is one number a run: how far it has
read that run's files. A crash sets it back to zero, and what follows is the recovery procedure, because
each of the daemon's moves here is made from the durable state alone: adopted runs are read again from
the start, the dead ones' files are read before their end is told, effects go on from the recorded step.
A transition that was not durable at the crash is one that had not been made: nobody acted on it yet.

A move is free, or it costs one unit of `trouble` (an agent asks, fails, is lost; the base moves; an
operator cancels, pauses, starts afresh; the daemon crashes). Without further trouble every unit must
get to its merge. Times are abstract: a retry time has always passed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from tests.core import laws
from tests.core.given import LATER, NOW
from ve import commands as c
from ve import unit as u
from ve.rules.base import Facts, Refused
from ve.transitions import decide
from ve.unit import Phase

CONFLICT = c.ConflictFound(files=("x",))
FAILED = c.Failed(reason="failed")
EXITS: dict[str, c.Exit] = {
    "clean": c.Clean(),
    "failed": FAILED,
    "limited": c.Limited(until=NOW),
    "lost": c.Lost(reason="lost"),
    "killed": FAILED,
}
DECISIONS: dict[str, u.ReviewDecision] = {
    "approve": u.ReviewDecision(decision="approve"),
    "feedback": u.ReviewDecision(decision="feedback", issues=(u.ReviewIssue(id="i1"),)),
    "escalate": u.ReviewDecision(decision="escalate"),
}


class Run(NamedTuple):
    """A run's folder: what it wrote, how far the daemon has read, how it ended."""

    id: str
    phase: Phase
    wrote: tuple[str, ...] = ()
    read: int = 0
    exit: str | None = None  # None: its processes live

    @property
    def all_read(self) -> bool:
        return self.read == len(self.wrote)


class Place(NamedTuple):
    """One unit and what of it is outside of the history."""

    unit: u.WorkUnit
    runs: tuple[Run, ...] = ()
    tree: int = 0  # the attempt whose tree is on disk


class Around(NamedTuple):
    """What a unit sees of the rest, read as the stream does in the same turn."""

    board: u.Board
    base: tuple[str, ...]  # the commits of the base branch, oldest first
    waits: tuple[str, ...]
    gone: tuple[str, ...]
    free: tuple[int, ...]


class Move(NamedTuple):
    name: str
    to: Place
    trouble: int = 0
    base: tuple[str, ...] | None = None  # the base after it, where it changed


def merge_of(unit: u.WorkUnit) -> str:
    return f"merge:{unit.id}"


def abstract(unit: u.WorkUnit) -> u.WorkUnit:
    """The unit without what only a history needs, so that the number of states is finite."""
    state = unit.state
    if isinstance(state, u.NeedsAttention):
        state = replace(state, reason=state.kind, evidence=None)
    questions = tuple(
        replace(
            q,
            run=q.run if q.run == unit.run else "earlier",
            bound=q.bound if q.state == "answered" else None,
        )
        for q in unit.questions
    )
    runs = unit.runs if unit.runs < 3 else 1 + unit.runs % 2
    return replace(
        unit, state=state, questions=questions, runs=runs, visits=u.Visits(), cause="", base_commit=None
    )


class Actor:
    """All that can happen to one unit next. `moves` is pure: the model keeps what it returned."""

    def __init__(self, place: Place, around: Around) -> None:
        self.place, self.around = place, around
        self.unit, self.runs, self.tree = place
        self.facts = Facts(
            now=LATER, board=around.board, waits=around.waits, gone=around.gone, free_slots=around.free
        )

    def moves(self) -> Iterator[Move]:
        yield from self.scheduler()
        yield from self.worktrees()
        yield from self.agents()
        yield from self.watcher()
        yield from self.git()
        yield from self.operator()

    # ── How a command is sent ──────────────────────────────────────────────────────────────────────

    def sent(self, command: c.Command) -> u.WorkUnit | None:
        """The unit after the command; None if it was refused or changed nothing."""
        outcome = decide(self.unit, command, self.facts)
        laws.check(self.unit, command, outcome, self.facts)
        if isinstance(outcome, Refused) or outcome is self.unit:
            return None
        return abstract(outcome)

    def by(self, name: str, command: c.Command, trouble: int = 0) -> Iterator[Move]:
        after = self.sent(command)
        if after is not None:
            yield Move(name, self.place._replace(unit=after), trouble)

    # ── The daemon's subscribers ───────────────────────────────────────────────────────────────────

    def scheduler(self) -> Iterator[Move]:
        unit = self.unit
        run = f"{unit.chunk}{unit.attempt}.{unit.runs % 2}"
        for slot in self.around.free[:1]:
            yield from self.by("dispatch", c.Dispatch(run=run, slot=slot, backend="x"))
        yield from self.by("block", c.Block())
        yield from self.by("unblock", c.Unblock())
        yield from self.by("dependency gone", c.DependencyGone(gone=self.around.gone))
        yield from self.by("unfit", c.Unfit(reason="x", approve_hash="h"), trouble=1)
        if not unit.runs:
            yield from self.by("conflict before the start", CONFLICT, trouble=1)

    def worktrees(self) -> Iterator[Move]:
        """The tree is made on RUNNING, and removed once its work is safe and no run is in it."""
        unit, state = self.unit, self.unit.state
        if isinstance(state, u.Running) and not state.stop and not self.tree and unit.worktree is None:
            yield Move("tree made", self.place._replace(tree=unit.attempt))
        if unit.run and unit.worktree is None and self.tree:
            yield from self.by(
                "tree reported",
                c.WorktreeReady(run=unit.run, worktree=f"t{self.tree}", branch="b", base_commit="c"),
            )
        if unit.run is None and (unit.closing or unit.cleaning) and unit.worktree is not None:
            self.nobody_works_in_the_tree()
            if self.tree:
                yield Move("tree salvaged and removed", self.place._replace(tree=0))
            else:
                done = c.Salvaged(ref="s") if unit.closing else c.Cleaned()
                yield from self.by("tree reported as removed", done)

    def watcher(self) -> Iterator[Move]:
        """Starts, reads, watches and stops runs. Files are read to their end before an end is told."""
        unit, state = self.unit, self.unit.state
        started = any(run.id == unit.run for run in self.runs)
        if isinstance(state, u.Running) and not started:
            if state.stop and (unit.worktree is not None or not self.tree):
                yield from self.by("never started", c.RunEnded(run=state.run, exit=EXITS["lost"]))
            elif unit.worktree is not None and not state.stop:
                new = Run(state.run, unit.phase)
                yield Move("start", self.place._replace(runs=(*self.runs, new)))
            if not state.stop and (unit.worktree is not None or not self.tree):
                fail = c.Fail(run=state.run, failure=FAILED, alive=False)
                yield from self.by("start failed", fail, trouble=1)
        for run in self.runs:
            yield from self.watched(run)

    def watched(self, run: Run) -> Iterator[Move]:
        if not run.all_read:
            after = self.sent(self.told(run, run.wrote[run.read])) or self.unit
            place = self.changed(run, run._replace(read=run.read + 1))
            yield Move(f"read {run.wrote[run.read]}", place._replace(unit=after))
        elif run.exit is not None:
            after = self.sent(c.RunEnded(run=run.id, exit=EXITS[run.exit]))
            assert after is not None, "the end of a run is always heard, else its slot is lost"
            self.nothing_is_lost(run, after)
            rest = tuple(other for other in self.runs if other is not run)
            yield Move(f"{run.exit} run ended", self.place._replace(unit=after, runs=rest))
        else:
            state = self.unit.state
            stopping = isinstance(state, u.Running) and state.stop
            ending = self.unit.ending is not None and self.unit.ending.run == run.id
            if stopping or ending:
                yield Move("kill", self.changed(run, run._replace(exit="killed")))
            yield from self.by("stall", c.Stall(run=run.id, reason="x"), trouble=1)
            yield from self.by("limit hit", c.LimitHit(run=run.id, until=NOW), trouble=1)
            yield from self.by("fail alive", c.Fail(run=run.id, failure=FAILED, alive=True), trouble=1)
            if run.phase is Phase.REBASE:
                yield from self.by("conflict told", replace(CONFLICT, run=run.id), trouble=1)

    def told(self, run: Run, line: str) -> c.Command:
        kind, _, ident = line.partition(":")
        if kind == "ask":
            return c.Ask(run=run.id, questions=(c.Asked(id=ident, text=ident),))
        if kind == "event":
            return c.Delivered(run=run.id)
        if kind == "fixed":
            return c.Disposed(run=run.id, issue=ident, disposition="fixed")
        return c.ReviewDecided(run=run.id, decision=DECISIONS[kind])

    # ── The agents ─────────────────────────────────────────────────────────────────────────────────

    def agents(self) -> Iterator[Move]:
        for run in self.runs:
            if run.exit is None:
                yield from self.agent(run)
            if run.read:
                again = self.changed(run, run._replace(read=0))
                yield Move("the daemon crashes", again, trouble=1)

    def agent(self, run: Run) -> Iterator[Move]:
        unit = self.unit
        asked = any(line.startswith("ask:") for line in run.wrote)
        decided = any(line in DECISIONS for line in run.wrote)
        if any(q.bound == run.id and q.state == "answered" for q in unit.questions):
            yield from self.writes(run, "event")
        if not asked:
            yield from self.writes(run, f"ask:q{len(unit.questions) + 1}", trouble=1)
        if run.phase is Phase.REVIEW and not decided:
            for decision in DECISIONS:
                yield from self.writes(run, decision, trouble=int(decision != "approve"))
        todo = [f"fixed:{i.id}" for i in unit.issues if i.disposition is None]
        if run.phase is Phase.IMPLEMENT:
            for line in todo:
                yield from self.writes(run, line)
        unfinished = not decided if run.phase is Phase.REVIEW else bool(set(todo) - set(run.wrote))
        for ended in ("clean", "failed", "limited", "lost"):
            trouble = int(ended != "clean" or (unfinished and not asked))
            yield Move(f"exit {ended}", self.changed(run, run._replace(exit=ended)), trouble)

    def writes(self, run: Run, line: str, trouble: int = 0) -> Iterator[Move]:
        if line not in run.wrote:
            after = run._replace(wrote=(*run.wrote, line))
            yield Move(f"agent writes {line}", self.changed(run, after), trouble)

    def changed(self, run: Run, to: Run) -> Place:
        return self.place._replace(runs=tuple(to if other is run else other for other in self.runs))

    # ── Git ────────────────────────────────────────────────────────────────────────────────────────

    def git(self) -> Iterator[Move]:
        state = self.unit.state
        if isinstance(state, u.Rebasing):
            self.nobody_works_in_the_tree()
            yield from self.by("rebased", c.Rebased(commit="c", base="b"))
            conflict = CONFLICT if state.again else c.RebaseConflict(files=("x",))
            yield from self.by("rebase conflict", conflict, trouble=1)
            yield from self.by("rebase failed", c.RebaseFailed(reason="x"), trouble=1)
        if isinstance(state, u.Landing):
            self.nobody_works_in_the_tree()
            yield from self.landing(state.step)

    def landing(self, step: u.Step) -> Iterator[Move]:
        base, tip, merge = self.around.base, self.around.base[-1], merge_of(self.unit)
        if isinstance(step, u.Queued):
            yield from self.step(u.Committed(commit="c"))
        elif isinstance(step, u.Committed):
            yield from self.step(u.Integrated(commit="c", base=tip, merge=merge))
            yield from self.by("landing conflict", CONFLICT, trouble=1)
        elif isinstance(step, u.Integrated | u.Checked) and step.base != tip:
            yield from self.by("base changed", c.BaseChanged(tip=tip))
        elif isinstance(step, u.Integrated):
            yield from self.step(u.Checked(commit="c", base=step.base, merge=step.merge))
            yield from self.by("check failed", c.CheckFailed(output="x"), trouble=1)
        elif isinstance(step, u.Checked):
            if self.around.board.config.land == "approve":
                yield from self.by("approval needed", c.ApprovalNeeded(merge=step.merge))
            yield from self.step(u.Swapping(old=step.base, new=step.merge))
        elif isinstance(step, u.Swapping):
            if step.new in base:
                yield from self.step(u.BaseMoved(old=step.old, new=step.new))
            elif tip == step.old:
                yield Move("base swapped", self.place, base=(*base, step.new))
                yield from self.by("landing refused", c.LandingRefused(reason="x"), trouble=1)
            else:
                yield from self.by("swap failed", c.BaseChanged(tip=tip))
        elif isinstance(step, u.BaseMoved):
            yield from self.step(u.CheckoutUpdated(new=step.new))
            yield from self.by("checkout refused", c.LandingRefused(reason="x"), trouble=1)
        else:
            yield from self.by("landed", c.Landed(commit=step.new))

    def step(self, step: u.Step) -> Iterator[Move]:
        command = c.LandingStep(step=step)  # type: ignore[arg-type]
        yield from self.by(f"landing {command.why()}", command)

    # ── The operator, and the world at large ───────────────────────────────────────────────────────

    def operator(self) -> Iterator[Move]:
        unit, state, base = self.unit, self.unit.state, self.around.base
        by_hand = f"hand:{unit.id}"
        if unit.live:
            if by_hand not in base and merge_of(unit) not in base:
                yield Move("merged by hand", self.place, trouble=1, base=(*base, by_hand))
            yield from self.by("cancel", c.Cancel(), trouble=1)
            yield from self.by("pause", c.Pause(), trouble=1)
            yield from self.by("unpause", c.Unpause())
            yield from self.by("retry fresh", c.Retry(fresh=True), trouble=1)
            yield from self.by("mark merged", c.MarkMerged(commit=by_hand, in_base=by_hand in base))
        if isinstance(state, u.NeedsAttention):
            for question in unit.open_questions[:1]:
                yield from self.by("answer", c.Answer(question=question.id, text="yes"))
            for choice in ("serialize", "approve", "feedback", "drop"):
                resolve = c.Resolve(choice=choice, text="x")
                yield from self.by(f"resolve {choice}", resolve, trouble=int(choice == "feedback"))
            yield from self.by("approve", c.Approve(hash=state.approve_hash or ""))
        yield from self.by("retry", c.Retry())
        if isinstance(state, u.Cancelled) and not self.tree:
            inject = c.Inject(
                unit=f"{unit.id}'", chunk=unit.chunk, base_ref="main", phase=unit.first_phase,
                depends_on=unit.depends_on,
            )  # fmt: skip
            again = decide(None, inject, replace(self.facts, attempts=unit.attempt))
            if not isinstance(again, Refused):
                yield Move("injected again", Place(again), trouble=1)

    # ── What must hold at a move ───────────────────────────────────────────────────────────────────

    def nobody_works_in_the_tree(self) -> None:
        assert all(run.exit is not None for run in self.runs), "git works in a tree where a run lives"

    def nothing_is_lost(self, run: Run, after: u.WorkUnit) -> None:
        """At the end of a run: its questions are in the unit, its decision was applied or void."""
        asked = [line.partition(":")[2] for line in run.wrote if line.startswith("ask:")]
        assert {*asked} <= {question.id for question in after.questions}, "a question was lost"
        decided = next((line for line in run.wrote if line in DECISIONS), None)
        if decided is None or self.unit.closing:
            return
        if asked:
            assert after.phase is Phase.REVIEW, "a decision that a question made void was applied"
            return
        if decided == "approve":
            assert after.phase is Phase.COMPLETE, "a decision was lost"
        elif decided == "feedback":
            assert after.phase is Phase.IMPLEMENT and after.issues, "a decision was lost"
        else:
            assert isinstance(after.state, u.NeedsAttention) and after.state.kind == "review"
