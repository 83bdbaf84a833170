"""Any commands, in any order, also nonsense: no sequence breaks a law of `laws.py`.

Half of the steps lead a unit on, so that long lives are reached and not only refusals; others change it
in some way, and some say anything, also of runs, questions, merges and hashes that do not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.core import laws
from tests.core.given import LATER, NOW, board
from ve import commands as c
from ve import unit as u
from ve.rules.base import Facts, Refused
from ve.transitions import decide
from ve.unit import Phase

FAILURES = (
    c.Failed(reason="exit 3"),
    c.Failed(reason="", retry=False),
    c.Failed(reason="no client", kind="setup"),
    c.Failed(reason="too many turns", kind="limit"),
)
EXITS = (c.Clean(), c.Clean(), c.Clean(), *FAILURES, c.Stalled(reason="silent"), c.Limited(until=LATER),
         c.Lost(reason="gone"))  # fmt: skip
DECISIONS = (
    u.ReviewDecision(decision="approve"),
    u.ReviewDecision(decision="feedback", issues=(u.ReviewIssue(id="i1"), u.ReviewIssue(id="i2"))),
    u.ReviewDecision(decision="escalate", reason="unsure"),
)


def of_run(run: str, asked: int) -> list[c.Command]:
    """Everything that a run, or the daemon on its behalf, can say."""
    ids = (f"q{asked}", f"q{asked + 1}", f"q{asked + 1}")
    return [
        c.WorktreeReady(run=run, worktree="/w", branch="b", base_commit="b0"),
        c.RunStarted(run=run),
        c.SessionKnown(run=run, session="s1"),
        c.Delivered(run=run),
        c.Ask(run=run, questions=(c.Asked(id=ids[0], text="tabs?", options=("yes", "no")),)),
        c.Ask(run=run, questions=tuple(c.Asked(id=i, text="") for i in ids)),
        *(c.ReviewDecided(run=run, decision=decision) for decision in DECISIONS),
        *(c.Disposed(run=run, issue=i, disposition="fixed") for i in ("i1", "i2", "operator", "no")),
        *(c.RunEnded(run=run, exit=ended) for ended in EXITS),
        *(c.Fail(run=run, failure=f, alive=alive) for f in FAILURES for alive in (True, False)),
        c.Stall(run=run, reason="silent"),
        c.LimitHit(run=run, until=LATER),
        c.ConflictFound(files=("x.py",), run=run),
    ]


def of_git(step: u.Step | None) -> list[c.Command]:
    """Everything that rebasing and landing can say, with the commits of the step that stands."""
    base, merge = getattr(step, "base", "b0"), getattr(step, "merge", "m1")
    old, new = getattr(step, "old", base), getattr(step, "new", merge)
    steps: list[Any] = [
        u.Committed(commit="c1"),
        u.Integrated(commit="c1", base="b0", merge="m1"),
        u.Checked(commit="c1", base=base, merge=merge),
        u.Swapping(old=base, new=merge),
        u.Swapping(old="no", new="no"),
        u.BaseMoved(old=old, new=new),
        u.CheckoutUpdated(new=new),
    ]
    return [
        *(c.LandingStep(step=step) for step in steps),
        *(c.Landed(commit=commit) for commit in (new, new, "no")),
        c.Rebased(commit="c1", base="b1"),
        c.RebaseConflict(files=("x.py",), text="<<<<<<<"),
        c.RebaseFailed(reason="no space"),
        c.ConflictFound(files=("x.py",)),
        c.BaseChanged(tip="b1"),
        c.ApprovalNeeded(merge=merge),
        c.CheckFailed(output="1 failed"),
        c.LandingRefused(reason=""),
        c.Salvaged(ref="refs/ve/salvage/a-1"),
        c.Cleaned(kept=True),
        c.Cleaned(),
    ]


def of_queue(number: int) -> list[c.Command]:
    dispatches = [c.Dispatch(run=f"run{number}", slot=slot, backend="script") for slot in (1, 2)]
    return [
        c.Inject(unit="u1", chunk="a", base_ref="main", phase=Phase.GOAL, depends_on=("b", "d")),
        *dispatches,
        c.Block(),
        c.Unblock(),
        c.DependencyGone(gone=("b",)),
        c.Unfit(reason="no client"),
        c.Unfit(reason="setup", approve_hash="h1"),
    ]


def of_operator(unit: u.WorkUnit | None) -> list[c.Command]:
    asked = [question.id for question in unit.open_questions] if unit else []
    state = unit.state if unit else None
    shown = state.approve_hash if isinstance(state, u.NeedsAttention) else None
    return [
        *(c.Answer(question=ident, text="tabs") for ident in asked),
        *(c.Answer(option=option) for option in (0, 1, 9)),
        c.Answer(question="no", text="tabs"),
        c.Retry(),
        c.Retry(),
        c.Retry(fresh=True),
        *(c.Resolve(choice=x, text="why") for x in ("serialize", "approve", "feedback", "drop")),
        c.Resolve(choice="feedback"),
        c.Approve(hash=shown or "no"),
        *(c.MarkMerged(commit="c7", in_base=in_base) for in_base in (True, False)),
        c.Prioritize(priority=1),
        c.Pause(),
        c.Unpause(),
        c.Unpause(),
        c.Cancel(),
    ]


def commands(unit: u.WorkUnit | None, number: int) -> list[c.Command]:
    """Everything that anyone may say now, sense and nonsense."""
    asked = len(unit.questions) if unit else 0
    step = unit.state.step if unit and isinstance(unit.state, u.Landing) else None
    return [
        *of_run((unit.run if unit else None) or "none", asked),
        *of_run("stale", asked),
        *of_git(step),
        *of_queue(number),
        *of_operator(unit),
    ]


def sensible(unit: u.WorkUnit, number: int, facts: Facts, ends: bool) -> list[list[c.Command]]:
    """The commands that change the unit, those of a kind together; only some of the lives end early."""
    found: dict[type[c.Command], list[c.Command]] = {}
    for command in commands(unit, number):
        outcome = decide(unit, command, facts)
        if isinstance(outcome, Refused) or outcome is unit:
            continue
        if ends or (outcome.live and outcome.closing == unit.closing):
            found.setdefault(type(command), []).append(command)
    return list(found.values())


BOARDS = (
    *[board()] * 5,
    board(land="approve"),
    board(paused=True),
    board(lanes=(u.Lane(backend="script", until=LATER),)),
)
WAITS = ((), (), (), (), ("b",), ("b", "d"))
GONE = ((), (), (), (), (), ("d",))
SLOTS = ((1, 2), (1, 2), (1, 2), (2,), ())


CLEAN = c.Clean()
ONWARD = (
    c.Unblock, c.Dispatch, c.WorktreeReady, c.RunEnded, c.ReviewDecided, c.Rebased, c.LandingStep, c.Landed,
    c.Answer, c.Retry, c.Approve, c.Unpause, c.Salvaged,
)  # fmt: skip


class Life:
    """One unit under the commands that `chance` picks; every outcome is judged."""

    def __init__(self, chance: Random, *, saved: bool, told: Callable[[str], None] = lambda _: None) -> None:
        self.chance, self.saved, self.told = chance, saved, told
        phase = chance.choice(list(Phase))
        first = c.Inject(unit="u1", chunk="a", base_ref="main", phase=phase, depends_on=("b", "d"))
        self.unit: u.WorkUnit | None = None
        self.apply(first, Facts(now=NOW, board=board()))

    def step(self, number: int) -> None:
        assert self.unit is not None
        pick = self.chance
        facts = Facts(
            now=NOW + timedelta(hours=pick.randrange(3)), board=pick.choice(BOARDS), waits=pick.choice(WAITS),
            gone=pick.choice(GONE), free_slots=pick.choice(SLOTS),
        )  # fmt: skip
        ends = pick.randrange(12) == 0 or self.unit.closing is not None
        some = sensible(self.unit, number, facts, ends)
        changing = [command for group in some for command in group]
        onward = [x for x in changing if type(x) in ONWARD and getattr(x, "exit", CLEAN) == CLEAN]
        kind = pick.randrange(8)
        if kind < 4 and onward:
            self.apply(pick.choice(onward), facts)
        elif kind < 7 and some:
            self.apply(pick.choice(pick.choice(some)), facts)
        else:
            self.apply(pick.choice(commands(self.unit, number)), facts)

    def apply(self, command: c.Command, facts: Facts) -> None:
        before = self.unit
        self.told(f"{command}")
        outcome = decide(before, command, facts)
        laws.check(before, command, outcome, facts)
        if isinstance(command, c.RunCommand) and command.run == "stale":
            assert isinstance(outcome, Refused) and outcome.stale
        if isinstance(outcome, Refused):
            return
        self.unit = outcome
        if self.saved:
            self.unit = msgspec.json.decode(msgspec.json.encode(outcome), type=u.WorkUnit)
            assert self.unit == outcome
        met.add((type(before.state) if before else None, type(command)))


met: set[tuple[type[u.Frozen] | None, type[c.Command]]] = set()


@settings(max_examples=150, deadline=None, database=None)
@given(chance=st.randoms(use_true_random=True), steps=st.integers(1, 150))
def live(chance: Random, steps: int, *, saved: bool) -> None:
    life = Life(chance, saved=saved, told=note)
    for number in range(steps):
        life.step(number)


def test_no_sequence_of_commands_breaks_a_law() -> None:
    live(saved=False)


def test_the_sequences_reach_every_row_of_the_table() -> None:
    """Laws that hold where nothing happens prove nothing."""
    seed = 0
    while laws.rows_without(met) and seed < 400:
        life = Life(Random(seed), saved=False)
        for number in range(120):
            life.step(number)
        seed += 1
    assert not laws.rows_without(met)


def test_a_unit_that_is_saved_and_read_again_goes_on_as_if_nothing_had_happened() -> None:
    live(saved=True)
