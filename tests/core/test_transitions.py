"""The table, row by row: in this state, this command leads there.

Each case reads: given a unit, when the command comes, then the flat view (or the unit) shows this.
A row of the table without a case fails `test_every_row_of_the_table_has_a_case`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from msgspec import structs
from msgspec.structs import replace

from tests.core import laws
from tests.core.given import (
    APPROVED,
    BASE_MOVED,
    CHECKED,
    CHECKOUT_UPDATED,
    COMMITTED,
    ENDING,
    INTEGRATED,
    LATER,
    NOW,
    RUN,
    SWAPPING,
    TREE,
    WANTED,
    asking,
    attention,
    board,
    facts,
    landing,
    question,
    ready,
    rebasing,
    running,
    unit,
)
from ve import commands as c
from ve import unit as u
from ve.rules.base import Facts, Refused
from ve.transitions import TABLE, decide, legal_verbs
from ve.unit import Phase
from ve.views import view


class Case(NamedTuple):
    says: str
    given: u.WorkUnit | None
    when: c.Command
    then: dict[str, Any]
    facts: Facts = facts()


def same(given: u.WorkUnit) -> dict[str, Any]:
    return {"status": view(given).status}


INJECT = c.Inject(unit="u1", chunk="a", base_ref="refs/heads/main", phase=Phase.PLAN)
BACKGROUND = c.Inject(unit="u1", chunk="a", base_ref="refs/heads/main", phase=Phase.PLAN, approval="h1")
DISPATCH = c.Dispatch(run=RUN, slot=2, backend="script")
TREE_READY = c.WorktreeReady(run=RUN, worktree="/w", branch="ve/a-1", base_commit="b0")
CONFLICT = c.ConflictFound(files=("x.py",))
BROKEN = c.Failed(reason="exit 3")
ASK = c.Ask(run=RUN, questions=(c.Asked(id="q1", text="tabs?", options=("yes", "no")),))
BLOCKED = u.Blocked(by=("b",))
ANSWERED = question(state="answered", answer="yes", answered_by="me", answered_at=NOW)
BOUND = question(state="answered", answer="yes", answered_by="me", answered_at=NOW, bound=RUN, run="old")
ISSUE = u.ReviewIssue(id="i1", concern="no test")
WAITS_FOR_YES = attention(
    "approval", Phase.COMPLETE, detail={"landing": u.Landing(step=CHECKED), "approve_hash": "m1"}
)
HALF_LANDED = attention("landing", Phase.COMPLETE, detail={"landing": u.Landing(step=BASE_MOVED)})

CASES = (
    Case("a chunk without dependencies is READY at once", None, INJECT,
         {"status": "READY", "phase": "PLAN", "attempt": 1}),
    Case("a chunk that waits for another one is BLOCKED by it", None, INJECT,
         {"status": "BLOCKED", "blocked_by": ("b",)}, facts(waits=("b",))),
    Case("background work is queued as it was approved", None, BACKGROUND,
         {"status": "READY"}, facts(board=board(approved=("h1",)))),
    Case("a READY unit is blocked when its dependency is queued again", ready(), c.Block(),
         {"status": "BLOCKED", "blocked_by": ("b",)}, facts(waits=("b",))),
    Case("a BLOCKED unit shows what it waits for now", unit(BLOCKED), c.Block(),
         {"blocked_by": ("b", "d")}, facts(waits=("b", "d"))),
    Case("a BLOCKED unit is READY when nothing is waited for", unit(BLOCKED), c.Unblock(),
         {"status": "READY", "blocked_by": ()}),
    Case("a dependency that nothing will finish needs a person", unit(BLOCKED),
         c.DependencyGone(gone=("b",)),
         {"attention_kind": "dependency", "options": ("drop",)}, facts(gone=("b",))),
    Case("a unit that cannot run as things are needs a person", ready(),
         c.Unfit(reason="setup was not approved", approve_hash="h1"),
         {"attention_kind": "setup", "approve_hash": "h1", "attention_reason": "setup was not approved"}),
    Case("a conflict found before the start needs a person", ready(), CONFLICT,
         {"attention_kind": "conflict", "resume_at": "IMPLEMENT"}),
    Case("a dispatch gives run and slot", ready(), DISPATCH,
         {"status": "RUNNING", "stage": "agent", "run_id": RUN, "slot": 2, "runs": 1}),
    Case("the first run learns of its tree", running(worktree=None, branch=None, base_commit=None),
         TREE_READY, {"worktree": "/w", "branch": "ve/a-1", "base_commit": "b0", "status": "RUNNING"}),
    Case("the agent's process is alive", running(), c.RunStarted(run=RUN), {"stage": "agent"}),
    Case("the agent's conversation can be resumed", running(), c.SessionKnown(run=RUN, session="s9"),
         {"session_id": "s9", "status": "RUNNING"}),
    Case("the implementer fixed what the reviewer wanted", running(issues=(ISSUE,)),
         c.Disposed(run=RUN, issue="i1", disposition="fixed", reason="test added"),
         {"issues": (u.ReviewIssue(id="i1", concern="no test", disposition="fixed",
                                   disposition_reason="test added"),)}),
    Case("an answer is consumed when the agent went on", running(questions=(BOUND,)),
         c.Delivered(run=RUN), {"status": "RUNNING", "question_states": ["delivered"]}),
    Case("a question stops the unit, and the run keeps its slot until it is gone", running(), ASK,
         {"attention_kind": "question", "attention_reason": "tabs?", "options": ("yes", "no"),
          "run_id": RUN, "slot": 1, "resume_at": "IMPLEMENT"}),
    Case("a second question of the same run joins the first", asking(question("q0"), ending=ENDING), ASK,
         {"attention_kind": "question", "attention_reason": "1. q0?\n2. tabs?", "options": ()}),
    Case("a question of a run that is being stopped is kept, withdrawn",
         ready(closing="cancel", ending=ENDING, **TREE), ASK,
         {"status": "READY", "question_states": ["withdrawn"]}),
    Case("a decision waits for the end of its run", running(Phase.REVIEW),
         c.ReviewDecided(run=RUN, decision=APPROVED), {"status": "RUNNING", "decision": APPROVED}),
    Case("after PLAN comes IMPLEMENT", running(Phase.PLAN), c.RunEnded(run=RUN, exit=c.Clean()),
         {"status": "READY", "phase": "IMPLEMENT", "slot": None}),
    Case("after IMPLEMENT the base is merged into the branch", running(),
         c.RunEnded(run=RUN, exit=c.Clean()),
         {"status": "RUNNING", "stage": "rebasing", "phase": "REBASE", "run_id": None, "slot": None}),
    Case("after an agent's REBASE git tries again", running(Phase.REBASE),
         c.RunEnded(run=RUN, exit=c.Clean()), {"stage": "rebasing", "state": u.Rebasing(again=True)}),
    Case("an approved unit goes on to COMPLETE, whatever the exit", running(Phase.REVIEW, decision=APPROVED),
         c.RunEnded(run=RUN, exit=BROKEN), {"status": "READY", "phase": "COMPLETE", "decision": None}),
    Case("feedback goes back to IMPLEMENT with its issues", running(Phase.REVIEW, decision=WANTED),
         c.RunEnded(run=RUN, exit=c.Clean()),
         {"status": "READY", "phase": "IMPLEMENT", "issues": WANTED.issues}),
    Case("after COMPLETE the unit lands", running(Phase.COMPLETE), c.RunEnded(run=RUN, exit=c.Clean()),
         {"status": "RUNNING", "stage": "landing:queued", "slot": None}),
    Case("a run that was lost is tried again", running(), c.RunEnded(run=RUN, exit=c.Lost(reason="gone")),
         {"status": "READY", "retry_at": NOW + timedelta(seconds=1), "counters": u.Counters(lost=1)}),
    Case("a run that was waited for frees its slot and changes nothing else",
         asking(ending=ENDING), c.RunEnded(run=RUN, exit=c.Clean()),
         {"attention_kind": "question", "run_id": None, "slot": None}),
    Case("a BLOCKED unit that was waiting for a run's end waits on for its dependency",
         unit(BLOCKED, ending=ENDING), c.RunEnded(run=RUN, exit=BROKEN),
         {"status": "BLOCKED", "slot": None}, facts(waits=("b",))),
    Case("a decision counts also when the run had failed before its end",
         attention("stalled", Phase.REVIEW, ending=ENDING, decision=APPROVED),
         c.RunEnded(run=RUN, exit=BROKEN), {"status": "READY", "phase": "COMPLETE"}),
    Case("a cancelled unit without a tree ends with its run",
         ready(closing="cancel", ending=ENDING), c.RunEnded(run=RUN, exit=BROKEN), {"status": "CANCELLED"}),
    Case("a failure is tried again after a back-off", running(),
         c.Fail(run=RUN, failure=BROKEN, alive=False),
         {"status": "READY", "retry_at": NOW + timedelta(seconds=1), "run_id": None}),
    Case("when the tries are used up, a failure needs a person",
         running(counters=u.Counters(error=2)), c.Fail(run=RUN, failure=BROKEN, alive=True),
         {"attention_kind": "error", "attention_reason": "exit 3", "run_id": RUN}),
    Case("a failure after a decision only stops the run", running(Phase.REVIEW, decision=APPROVED),
         c.Fail(run=RUN, failure=BROKEN, alive=True), {"status": "RUNNING", "decision": APPROVED}),
    Case("a silent run is stopped and tried again", running(), c.Stall(run=RUN, reason="no output"),
         {"status": "READY", "counters": u.Counters(stalled=1), "run_id": RUN}),
    Case("a usage limit costs the unit nothing", running(session="s1"), c.LimitHit(run=RUN, until=LATER),
         {"status": "READY", "retry_at": None, "counters": u.Counters(), "session_id": "s1",
          "phase": "IMPLEMENT", "run_id": RUN}),
    Case("with the base merged, the review begins", rebasing(), c.Rebased(commit="c1", base="base1"),
         {"status": "READY", "phase": "REVIEW", "base_commit": "base1"}),
    Case("an agent resolves a conflict with the base", rebasing(), c.RebaseConflict(files=("x.py",)),
         {"status": "READY", "phase": "REBASE",
          "cause": "merging the base into this branch conflicts in x.py"}),
    Case("when git cannot merge at all, a person is needed", rebasing(), c.RebaseFailed(reason="no space"),
         {"attention_kind": "error", "resume_at": "REBASE"}),
    Case("a conflict that the agent left needs a person", rebasing(again=True), CONFLICT,
         {"attention_kind": "conflict", "resume_at": "REBASE"}),
    Case("an agent may say that a conflict needs a person", running(Phase.REBASE),
         c.ConflictFound(files=("x.py",), run=RUN),
         {"attention_kind": "conflict", "resume_at": "REBASE", "run_id": RUN}),
    Case("a conflict at landing goes back to REBASE", landing(COMMITTED), CONFLICT,
         {"attention_kind": "conflict", "phase": "REBASE", "resume_at": "REBASE"}),
    Case("landing goes one step on", landing(COMMITTED), c.LandingStep(step=INTEGRATED),
         {"stage": "landing:integrated"}),
    Case("a base that moved is integrated again", landing(CHECKED), c.BaseChanged(tip="base1"),
         {"stage": "landing:queued", "counters": u.Counters(integrations=1)}),
    Case("after five times a person is needed", landing(SWAPPING, counters=u.Counters(integrations=5)),
         c.BaseChanged(tip="base1"), {"attention_kind": "landing", "resume_at": "LANDING"}),
    Case("a merge can wait for a person's yes", landing(CHECKED), c.ApprovalNeeded(merge="m1"),
         {"attention_kind": "approval", "approve_hash": "m1", "resume_at": "LANDING"}),
    Case("a failed check goes back to IMPLEMENT with its output", landing(INTEGRATED),
         c.CheckFailed(output="1 failed"),
         {"attention_kind": "landing", "resume_at": "IMPLEMENT",
          "cause": "the check command failed on the merged tree:\n1 failed"}),
    Case("a refused landing is tried again by itself", landing(BASE_MOVED),
         c.LandingRefused(reason="x.py has changes"),
         {"attention_kind": "landing", "retry_at": NOW + timedelta(minutes=1), "resume_at": "LANDING"}),
    Case("DONE, once base and checkout hold the merge", landing(CHECKOUT_UPDATED), c.Landed(commit="m1"),
         {"status": "DONE", "merged_commit": "m1", "cleaning": True}),
    Case("the tree of an ended unit goes last", unit(u.Done(commit="m1"), cleaning=True, **TREE), c.Cleaned(),
         {"status": "DONE", "worktree": None, "cleaning": False}),
    Case("a cancelled unit ends when its work is safe", ready(closing="cancel", **TREE),
         c.Salvaged(ref="refs/ve/salvage/a-1"),
         {"status": "CANCELLED", "state": u.Cancelled(salvage="refs/ve/salvage/a-1"), "worktree": None}),
    Case("a renewed unit begins its next attempt when its work is safe", ready(closing="fresh", **TREE),
         c.Salvaged(ref="refs/ve/salvage/a-1"),
         {"status": "READY", "attempt": 2, "phase": "PLAN", "worktree": None, "runs": 0}),
    Case("the last answer lets the unit go on", asking(), c.Answer(option=2, by="me"),
         {"status": "READY", "phase": "IMPLEMENT", "question_states": ["answered"], "answers": ["no"]}),
    Case("other questions stay open", asking(question("q1"), question("q2")),
         c.Answer(question="q1", text="tabs"),
         {"attention_kind": "question", "attention_reason": "q2?", "question_states": ["answered", "open"]}),
    Case("a retry goes on where the unit stopped", attention("error", Phase.REVIEW), c.Retry(),
         {"status": "READY", "phase": "REVIEW"}),
    Case("a retry of a landing goes on at its step",
         HALF_LANDED, c.Retry(),
         {"stage": "landing:base_moved"}),
    Case("a retry does not wait for the back-off",
         unit(u.Ready(retry_at=LATER), counters=u.Counters(error=1, review_rounds=1), **TREE), c.Retry(),
         {"status": "READY", "retry_at": None, "counters": u.Counters(review_rounds=1)}),
    Case("a person can drop a dependency", attention("dependency", worktree=None, depends_on=("b", "d")),
         c.Resolve(choice="drop"), {"status": "READY", "depends_on": ("d",)}, facts(gone=("b",))),
    Case("a person can approve in the reviewer's place", attention("review", Phase.REVIEW),
         c.Resolve(choice="approve"), {"status": "READY", "phase": "COMPLETE"}),
    Case("a person can say yes to a setup command",
         attention("setup", worktree=None, detail={"approve_hash": "h1"}), c.Approve(hash="h1"),
         {"status": "READY", "phase": "IMPLEMENT"}),
    Case("a person can say yes to a merge",
         WAITS_FOR_YES,
         c.Approve(hash="m1"), {"stage": "landing:checked"}),
    Case("work that was merged by hand is DONE", asking(), c.MarkMerged(commit="c7", in_base=True),
         {"status": "DONE", "merged_commit": "c7", "question_states": ["withdrawn"]}),
    Case("the priority can change during a run", running(), c.Prioritize(priority=5),
         {"priority": 5, "status": "RUNNING"}),
    Case("a unit is paused without leaving its state", running(), c.Pause(),
         {"paused": True, "status": "RUNNING"}),
    Case("and unpaused", ready(paused=True), c.Unpause(), {"paused": False, "status": "READY"}),
    Case("a unit that never ran is cancelled at once", ready(), c.Cancel(), {"status": "CANCELLED"}),
    Case("a running unit is cancelled after its run", running(), c.Cancel(),
         {"status": "RUNNING", "stopping": True, "run_id": RUN}),
)  # fmt: skip


def shown(after: u.WorkUnit, name: str) -> Any:
    if name == "question_states":
        return [q.state for q in after.questions]
    if name == "answers":
        return [q.answer for q in after.questions]
    flat = view(after)
    return getattr(flat, name) if hasattr(flat, name) else getattr(after, name)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.says)
def test_a_command_leads_where_the_table_says(case: Case) -> None:
    outcome = decide(case.given, case.when, case.facts)
    assert not isinstance(outcome, Refused), outcome
    laws.check(case.given, case.when, outcome, case.facts)
    assert {name: shown(outcome, name) for name in case.then} == case.then


def test_every_row_of_the_table_has_a_case() -> None:
    cases = {(type(case.given.state) if case.given else None, type(case.when)) for case in CASES}
    assert not laws.rows_without(cases)


def test_a_state_and_a_command_belong_to_one_row() -> None:
    pairs = [(origin, row.command) for row in TABLE for origin in row.origin]
    assert len(pairs) == len(set(pairs))


def test_every_command_of_a_unit_is_in_the_table() -> None:
    bases = {c.RunCommand, c.Verb, c.BoardCommand}
    found, todo = set[type[c.Command]](), [c.Command]
    while todo:
        kind = todo.pop()
        todo.extend(kind.__subclasses__())
        own = kind.__module__ == c.__name__ and kind not in {c.Command, *bases}
        if own and not issubclass(kind, c.BoardCommand):
            found.add(kind)
    assert found == {row.command for row in TABLE}


# ── Refusals ───────────────────────────────────────────────────────────────────────────────────────

REFUSALS = (
    ("an ended unit never changes again", unit(u.Done(commit="m1")), c.Retry(), "has ended: DONE", facts()),
    ("what is stopping takes no verbs", running(closing="cancel"), c.Prioritize(priority=1),
     "is being stopped", facts()),
    ("what is renewing takes no verbs", ready(closing="fresh"), c.Cancel(), "is being renewed", facts()),
    ("a chunk is queued once", None, INJECT, "already queued as unit u0", facts(live_unit="u0")),
    ("names differ in more than case", None, INJECT, "differs from the queued chunk A in case only",
     facts(collides="A")),
    ("cycles are refused whole", None, INJECT, "a cycle of dependencies: a -> b -> a",
     facts(cycle=("a", "b", "a"))),
    ("background work needs a person's yes", None, BACKGROUND, "nobody approved as it is now", facts()),
    ("an edit asks again", None, BACKGROUND, "nobody approved as it is now",
     facts(board=board(approved=("h0",)))),
    ("a dependency must be known", None, INJECT, "inject z first", facts(gone=("z",))),
    ("a BLOCKED unit has no run", unit(BLOCKED), DISPATCH, "a is BLOCKED in IMPLEMENT", facts()),
    ("a paused unit is not dispatched", ready(paused=True), DISPATCH, "it is paused", facts()),
    ("a paused board dispatches nothing", ready(), DISPATCH, "the board is paused",
     facts(board=board(paused=True))),
    ("a closed lane takes nothing", ready(), DISPATCH, "script takes nothing until",
     facts(board=board(lanes=(u.Lane(backend="script", until=LATER),)))),
    ("back-off is kept", unit(u.Ready(retry_at=LATER)), DISPATCH, "tried again at 12:10:00", facts()),
    ("one slot, one run", ready(), DISPATCH, "slot 2 is not free", facts(free_slots=(1,))),
    ("a run that still ends keeps the next one out", ready(ending=ENDING), DISPATCH,
     f"its run {RUN} has not ended yet", facts()),
    ("dependencies come first", ready(), DISPATCH, "it waits for b", facts(waits=("b",))),
    ("a unit whose run began is not blocked again", ready(**TREE), c.Block(), "has begun",
     facts(waits=("b",))),
    ("a dependency that came back is not gone", ready(), c.DependencyGone(gone=("b",)),
     "every dependency is waited for or satisfied", facts()),
    ("a queue entry has nothing to retry", ready(), c.Retry(), "nothing failed", facts()),
    ("there must be a question to answer", attention("error"), c.Answer(text="yes"), "no question is open",
     facts()),
    ("one of several is named", asking(question("q1"), question("q2")), c.Answer(text="yes"),
     "name one: q1, q2", facts()),
    ("an option must exist", asking(), c.Answer(option=3), "there is no option 3; there are 2", facts()),
    ("an answer says something", asking(), c.Answer(text="  "), "needs a text", facts()),
    ("a choice fits its kind", attention("review", Phase.REVIEW), c.Resolve(choice="drop"),
     "choices: approve, feedback", facts()),
    ("feedback says what", attention("review", Phase.REVIEW), c.Resolve(choice="feedback"),
     "needs a text", facts()),
    ("what was shown is what is approved", WAITS_FOR_YES, c.Approve(hash="m0"), "has the hash m1", facts()),
    ("approval is not a retry", WAITS_FOR_YES, c.Retry(), "approved or cancelled, not retried", facts()),
    ("merged means in the base", ready(), c.MarkMerged(commit="c7", in_base=False), "c7 is not in", facts()),
    ("no end under a living run", asking(ending=ENDING), c.MarkMerged(commit="c7", in_base=True),
     "has not ended yet", facts()),
    ("git does not work under a living run", attention("conflict", Phase.REBASE, ending=ENDING), c.Retry(),
     "has not ended yet", facts()),
    ("no cancel from swapping on", landing(SWAPPING), c.Cancel(), "cannot be cancelled any more", facts()),
    ("no new attempt of what may be merged",
     HALF_LANDED, c.Retry(fresh=True),
     "retry without fresh", facts()),
    ("no conflict from swapping on", landing(SWAPPING), CONFLICT, "may already be in the base", facts()),
    ("landing keeps its order", landing(COMMITTED), c.LandingStep(step=CHECKED),
     "checked does not follow committed", facts()),
    ("only what was checked is swapped in", landing(CHECKED),
     c.LandingStep(step=u.Swapping(old="base0", new="m2")), "names other commits than checked", facts()),
    ("a landing does not approve itself", landing(INTEGRATED),
     c.LandingStep(step=u.Checked(commit="c1", base="base0", merge="m1", approved=True)),
     "names other commits", facts()),
    ("nothing lands without the yes that the configuration asks for", landing(CHECKED),
     c.LandingStep(step=SWAPPING), "has to approve", facts(board=board(land="approve"))),
    ("nothing lands while paused", landing(CHECKED, paused=True), c.LandingStep(step=SWAPPING),
     "it is paused", facts()),
    ("nothing lands while the board is paused", landing(CHECKED), c.LandingStep(step=SWAPPING),
     "the board is paused", facts(board=board(paused=True))),
    ("the merge that landed is the one recorded", landing(CHECKOUT_UPDATED), c.Landed(commit="m2"),
     "do not both hold that commit", facts()),
    ("a decision belongs to REVIEW", running(), c.ReviewDecided(run=RUN, decision=APPROVED),
     "belongs to REVIEW", facts()),
    ("a question makes a decision void", asking(phase=Phase.REVIEW, ending=ENDING),
     c.ReviewDecided(run=RUN, decision=APPROVED), "makes its decision void", facts()),
    ("also when it was answered meanwhile", unit(u.Ready(), Phase.REVIEW, questions=(ANSWERED,),
                                                 ending=ENDING, **TREE),
     c.ReviewDecided(run=RUN, decision=APPROVED), "makes its decision void", facts()),
    ("a disposition names an issue", running(issues=(ISSUE,)),
     c.Disposed(run=RUN, issue="i9", disposition="fixed"), "there is no review issue i9; there are: i1",
     facts()),
)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "when", "why", "around"), [r[1:] for r in REFUSALS], ids=[r[0] for r in REFUSALS]
)
def test_a_refusal_names_its_reason_and_what_is_legal(
    given: u.WorkUnit | None, when: c.Command, why: str, around: Facts
) -> None:
    outcome = decide(given, when, around)
    assert isinstance(outcome, Refused)
    assert why in outcome.why
    ended_or_ending = given is None or not given.live or given.closing is not None
    assert bool(outcome.legal) != ended_or_ending
    assert outcome.legal == legal_verbs(given)


LEGAL = (
    (asking(), {"answer", "retry", "prioritize", "pause", "unpause", "cancel", "merged"}),
    (attention("review", Phase.REVIEW),
     {"resolve", "retry", "prioritize", "pause", "unpause", "cancel", "merged"}),
    (WAITS_FOR_YES, {"approve", "prioritize", "pause", "unpause", "cancel", "merged"}),
    (running(), {"prioritize", "pause", "unpause", "cancel"}),
    (landing(SWAPPING), {"prioritize", "pause", "unpause"}),
)  # fmt: skip


@pytest.mark.parametrize(("given", "verbs"), LEGAL, ids=["question", "review", "approval", "run", "swap"])
def test_only_verbs_that_make_sense_are_offered(given: u.WorkUnit, verbs: set[str]) -> None:
    assert set(legal_verbs(given)) == verbs


# ── Runs that are no more ──────────────────────────────────────────────────────────────────────────

OF_A_RUN = (
    TREE_READY,
    c.RunStarted(run=RUN),
    c.SessionKnown(run=RUN, session="s"),
    c.Disposed(run=RUN, issue="i1", disposition="fixed"),
    c.Delivered(run=RUN),
    ASK,
    c.ReviewDecided(run=RUN, decision=APPROVED),
    c.RunEnded(run=RUN, exit=c.Clean()),
    c.Fail(run=RUN, failure=BROKEN, alive=True),
    c.Stall(run=RUN, reason="silent"),
    c.LimitHit(run=RUN, until=LATER),
)
OTHERS = (
    unit(u.Running(run="a-1-next", slot=1), **TREE),
    ready(**TREE),
    asking(),
    rebasing(),
    landing(COMMITTED),
    unit(u.Done(commit="m1")),
    unit(u.Cancelled()),
    unit(u.Running(run="a-1-next", slot=1, stop=True), closing="cancel", **TREE),
)


@pytest.mark.parametrize("when", OF_A_RUN, ids=lambda when: type(when).__name__)
def test_a_run_that_is_neither_current_nor_ending_changes_nothing(when: c.Command) -> None:
    for given in OTHERS:
        outcome = decide(given, when, facts())
        assert isinstance(outcome, Refused) and outcome.stale


def test_a_conflict_of_an_earlier_run_is_stale() -> None:
    given = running(Phase.REBASE)
    outcome = decide(given, c.ConflictFound(files=("x.py",), run="a-1-old"), facts())
    assert isinstance(outcome, Refused) and outcome.stale


# ── What changes nothing ───────────────────────────────────────────────────────────────────────────

NOTHING_NEW = (
    (running(), TREE_READY),
    (unit(u.Running(run=RUN, slot=1, started=True)), c.RunStarted(run=RUN)),
    (running(session="s1"), c.SessionKnown(run=RUN, session="s1")),
    (running(), c.Delivered(run=RUN)),
    (asking(ending=ENDING), ASK),
    (running(Phase.REVIEW, decision=APPROVED), c.ReviewDecided(run=RUN, decision=WANTED)),
    (unit(u.Running(run=RUN, slot=1, stop=True), Phase.REVIEW, decision=APPROVED),
     c.Stall(run=RUN, reason="silent")),
    (landing(COMMITTED), c.LandingStep(step=COMMITTED)),
    (ready(priority=3), c.Prioritize(priority=3)),
    (ready(paused=True), c.Pause()),
    (ready(), c.Unpause()),
    (unit(u.Done(commit="m1")), c.Cleaned()),
)  # fmt: skip


@pytest.mark.parametrize(("given", "when"), NOTHING_NEW, ids=[type(when).__name__ for _, when in NOTHING_NEW])
def test_what_changes_nothing_returns_the_same_unit(given: u.WorkUnit, when: c.Command) -> None:
    assert decide(given, when, facts()) is given


def test_the_list_of_blockers_stays_the_same_object_too() -> None:
    given = unit(BLOCKED)
    assert decide(given, c.Block(), facts(waits=("b",))) is given


# ── Clauses that a row alone does not show ─────────────────────────────────────────────────────────


def after(given: u.WorkUnit, *commands: c.Command, around: Facts | None = None) -> u.WorkUnit:
    """The unit after all of the commands, each of them accepted and lawful."""
    around = around or facts()
    for command in commands:
        outcome = decide(given, command, around)
        laws.check(given, command, outcome, around)
        assert not isinstance(outcome, Refused), outcome.why
        given = outcome
    return given


def test_an_answer_is_bound_to_the_next_run_and_pending_again_if_that_ends_before_it_is_delivered() -> None:
    answered = after(asking(), c.Answer(option=1))
    carried = after(answered, c.Dispatch(run="r2", slot=1, backend="script"))
    assert carried.questions[0].bound == "r2"
    lost = after(carried, c.RunEnded(run="r2", exit=c.Lost(reason="gone")))
    assert (lost.questions[0].state, lost.questions[0].bound) == ("answered", None)
    never_started = after(carried, c.Fail(run="r2", failure=BROKEN, alive=False))
    assert (never_started.questions[0].state, never_started.questions[0].bound) == ("answered", None)


def test_the_same_question_is_kept_once_and_the_same_id_of_another_run_is_another_question() -> None:
    twice = c.Ask(run=RUN, questions=(*ASK.questions, *ASK.questions))
    assert len(after(running(), twice, ASK).questions) == 1
    earlier = question("q1", run="a-1-old", state="delivered", answer="yes")
    assert len(after(running(questions=(earlier,)), ASK).questions) == 2


def test_a_question_without_a_text_still_gives_a_reason() -> None:
    asked = after(running(), c.Ask(run=RUN, questions=(c.Asked(id="q1", text=" "),)))
    assert view(asked).attention_reason == "question q1 has no text"


def test_a_void_decision_lets_the_review_run_again() -> None:
    asked = after(running(Phase.REVIEW), c.ReviewDecided(run=RUN, decision=APPROVED), ASK)
    assert asked.decision is None
    again = after(asked, c.Answer(option=1), c.RunEnded(run=RUN, exit=c.Clean()))
    assert (view(again).status, again.phase) == ("READY", Phase.REVIEW)


def test_an_interruption_does_not_hide_why_the_run_was_needed() -> None:
    given = running(cause="the check command failed on the merged tree:\n1 failed")
    limited = after(given, c.RunEnded(run=RUN, exit=c.Limited(until=LATER)))
    again = after(limited, c.Dispatch(run="r2", slot=1, backend="script"))
    lost = after(again, c.RunEnded(run="r2", exit=c.Lost(reason="gone")))
    assert lost.cause == "the last run failed: gone\n\nBefore that: " + given.cause


def test_a_conversation_that_is_gone_is_begun_afresh_at_once_and_is_no_failed_try_but_only_once() -> None:
    gone = c.RunEnded(run=RUN, exit=c.Failed(kind="error", reason="no such session", session_gone=True))
    afresh = after(running(session="s1"), gone, around=facts(board=board(retries=0)))
    assert (view(afresh).status, view(afresh).retry_at, afresh.session) == ("READY", None, None)
    again = after(
        afresh, c.Dispatch(run="r2", slot=1, backend="script"), around=facts(board=board(retries=0))
    )
    gone_again = structs.replace(gone, run="r2")
    stuck = after(again, gone_again, around=facts(board=board(retries=0)))
    assert view(stuck).attention_reason == "no such session"


def test_a_back_off_grows_to_an_hour_and_no_further() -> None:
    given = running(counters=u.Counters(error=99))
    failed = after(
        given, c.Fail(run=RUN, failure=BROKEN, alive=False), around=facts(board=board(retries=100))
    )
    assert view(failed).retry_at == NOW + timedelta(hours=1)


def test_what_a_reviewer_found_survives_escalation_and_the_operators_own_feedback() -> None:
    unsure = u.ReviewDecision(decision="escalate", issues=WANTED.issues, reason="is this intended?")
    given = after(
        running(Phase.REVIEW, decision=unsure),
        c.RunEnded(run=RUN, exit=c.Clean()),
        c.Resolve(choice="feedback", text="no, it is not"),
    )
    assert [issue.id for issue in given.issues] == ["i1", "operator"]


def test_a_review_ends_without_a_decision_once_then_a_person_decides() -> None:
    ended = c.RunEnded(run=RUN, exit=c.Clean())
    reminded = after(running(Phase.REVIEW), ended)
    assert view(reminded).status == "READY" and "ReviewDecision" in reminded.cause
    again = after(reminded, c.Dispatch(run=RUN, slot=1, backend="script"), ended)
    assert view(again).attention_kind == "review"


def test_an_implementer_has_to_say_what_became_of_each_issue() -> None:
    ended = c.RunEnded(run=RUN, exit=c.Clean())
    reminded = after(running(issues=(ISSUE,)), ended)
    assert reminded.phase is Phase.IMPLEMENT and "i1" in reminded.cause
    again = after(reminded, c.Dispatch(run=RUN, slot=1, backend="script"), ended)
    assert (view(again).attention_kind, view(again).resume_at) == ("review", "IMPLEMENT")
    waived = after(again, c.Resolve(choice="approve"))
    assert (view(waived).stage, waived.issues, waived.counters.reminders) == ("rebasing", (), 0)


def test_rounds_of_review_are_limited_and_a_retry_gives_new_ones() -> None:
    given = running(Phase.REVIEW, decision=WANTED, counters=u.Counters(review_rounds=2))
    limited = after(given, c.RunEnded(run=RUN, exit=c.Clean()))
    assert (view(limited).attention_kind, view(limited).resume_at) == ("limit", "IMPLEMENT")
    assert after(limited, c.Retry()).counters.review_rounds == 0


def test_a_retry_resets_the_counter_of_its_own_cause_only() -> None:
    spent = u.Counters(error=2, stalled=1, review_rounds=1, integrations=3)
    assert after(attention("stalled", counters=spent), c.Retry()).counters == replace(spent, stalled=0)
    assert after(attention("limit", counters=spent), c.Retry()).counters == spent
    refused = attention(
        "landing", Phase.COMPLETE, counters=spent, detail={"landing": u.Landing(step=u.Queued())}
    )
    assert after(refused, c.Retry()).counters == spent


def test_a_swap_that_is_known_to_have_failed_can_be_cancelled_again() -> None:
    refused = after(landing(SWAPPING), c.LandingRefused(reason="somebody holds index.lock"))
    assert after(refused, c.Cancel()).closing == "cancel"
    assert after(landing(SWAPPING), c.BaseChanged(tip="base1"), c.Cancel()).closing == "cancel"


def test_an_approved_merge_is_approved_again_only_if_the_base_moved() -> None:
    around = facts(board=board(land="approve"))
    approved = after(WAITS_FOR_YES, c.Approve(hash="m1"), around=around)
    assert decide(approved, c.ApprovalNeeded(merge="m1"), around) is approved
    assert view(after(approved, c.LandingStep(step=SWAPPING), around=around)).stage == "landing:swapping"
    moved = after(approved, c.BaseChanged(tip="base1"), around=around)
    assert view(moved).stage == "landing:queued"


def test_a_tree_that_was_made_while_its_unit_was_cancelled_is_not_forgotten() -> None:
    given = running(worktree=None, branch=None, base_commit=None)
    ended = after(given, c.Cancel(), TREE_READY, c.RunEnded(run=RUN, exit=BROKEN))
    assert view(ended).stopping and ended.worktree == "/w"
    assert view(after(ended, c.Salvaged(ref="refs/ve/salvage/a-1"))).status == "CANCELLED"


def test_a_fresh_attempt_keeps_answers_and_nothing_else_of_the_work() -> None:
    given = attention(
        "error", questions=(ANSWERED, question("q2")), session="s1", issues=(ISSUE,), priority=4
    )
    fresh = after(given, c.Retry(fresh=True), c.Salvaged(ref="refs/ve/salvage/a-1"))
    assert (fresh.attempt, fresh.session, fresh.issues, fresh.worktree, fresh.priority) == (
        2,
        None,
        (),
        None,
        4,
    )
    assert [q.state for q in fresh.questions] == ["answered", "withdrawn"]
