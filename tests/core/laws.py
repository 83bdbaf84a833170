"""What no transition may break, whoever sends which command in which state.

`check` is called for each outcome by the random tests and by the model, so both judge by one text.
"""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import asdict

from ve import commands as c
from ve import unit as u
from ve.rules.base import Facts, Outcome, Refused
from ve.rules.landing import INTEGRATIONS
from ve.rules.runs import REMINDERS
from ve.transitions import BY_STATE, TABLE
from ve.views import view

QUESTION_MAY = {
    "open": {"open", "answered", "withdrawn"},
    "answered": {"answered", "delivered"},
    "delivered": {"delivered"},
    "withdrawn": {"withdrawn"},
}


def check(before: u.WorkUnit | None, command: c.Command, outcome: Outcome, facts: Facts) -> None:
    """Fails if the outcome breaks a law."""
    if isinstance(outcome, Refused):
        assert outcome.why.strip(), "a refusal says why"
        assert set(outcome.legal) <= set(c.OPERATOR_VERBS)
        return
    if outcome is before:
        return
    assert outcome != before, "a unit that did not change is the same object, else clients hear of nothing"
    moved_by_the_table(before, command, outcome)
    if before is not None:
        keeps_its_identity(before, outcome)
        keeps_questions(before, command, outcome)
        keeps_the_decision(before, command, outcome)
        frees_a_slot_only_when_the_run_is_gone(before, command, outcome)
        stays_ended(before, outcome)
    is_legal(outcome, facts)
    is_shown(outcome)


def moved_by_the_table(before: u.WorkUnit | None, command: c.Command, after: u.WorkUnit) -> None:
    row = BY_STATE[(type(before.state) if before else None, type(command))]
    allowed = row.to or (type(before.state),) if before else row.to
    assert type(after.state) in allowed, f"{row.note}: {type(after.state).__name__} is not in the row"


def keeps_its_identity(before: u.WorkUnit, after: u.WorkUnit) -> None:
    """The stream alone writes `seq` and `changed_at`."""
    fixed = ("id", "chunk", "base_ref", "first_phase", "created_at", "seq", "changed_at", "created_after")
    assert all(getattr(before, name) == getattr(after, name) for name in fixed)
    renewed = before.closing == "fresh" and after.closing is None
    renewed = renewed or (before.worktree is None and after.attempt == before.attempt + 1)
    assert after.attempt == before.attempt + (1 if renewed else 0)


def keeps_questions(before: u.WorkUnit, command: c.Command, after: u.WorkUnit) -> None:
    """A question never disappears, an answer never changes, and it is delivered once, by its run."""
    assert len(after.questions) >= len(before.questions)
    for old, new in zip(before.questions, after.questions, strict=False):
        for name in ("id", "run", "text", "options", "context", "asked_at"):
            assert getattr(old, name) == getattr(new, name)
        assert new.state in QUESTION_MAY[old.state], f"{old.state} -> {new.state}"
        if old.state == "answered":
            assert (new.answer, new.answered_by, new.answered_at) == (
                old.answer, old.answered_by, old.answered_at,
            )  # fmt: skip
        if old.state != new.state and new.state == "answered":
            assert isinstance(command, c.Answer)
        if old.state != new.state and new.state == "delivered":
            assert isinstance(command, c.Delivered) and old.bound == command.run
    if len(after.questions) > len(before.questions):
        assert isinstance(command, c.Ask)


def keeps_the_decision(before: u.WorkUnit, command: c.Command, after: u.WorkUnit) -> None:
    """A recorded decision goes by being applied, by a question of its run, or with its attempt."""
    if before.decision is None or after.decision == before.decision:
        return
    assert after.decision is None, "the first decision stands"
    if isinstance(command, c.Ask) or before.closing or after.attempt > before.attempt:
        return
    assert isinstance(command, c.RunEnded | c.Fail), f"{type(command).__name__} dropped a decision"
    if before.decision.decision == "approve":
        assert after.phase is u.Phase.COMPLETE
    elif before.decision.decision == "feedback":
        assert after.phase is u.Phase.IMPLEMENT and after.issues == before.decision.issues
    else:
        assert isinstance(after.state, u.NeedsAttention) and after.state.kind == "review"


def frees_a_slot_only_when_the_run_is_gone(before: u.WorkUnit, command: c.Command, after: u.WorkUnit) -> None:
    if before.run == after.run:
        assert before.slot == after.slot
    elif before.run is None:
        assert isinstance(command, c.Dispatch)
    else:
        gone = isinstance(command, c.RunEnded) or (isinstance(command, c.Fail) and not command.alive)
        assert gone and after.run is None


def stays_ended(before: u.WorkUnit, after: u.WorkUnit) -> None:
    assert before.live or before.state == after.state


def is_legal(unit: u.WorkUnit, facts: Facts) -> None:
    state = unit.state
    assert (unit.run is None) == (unit.slot is None)
    if isinstance(state, u.Running):
        assert state.run and state.slot and unit.ending is None
    if isinstance(state, u.NeedsAttention):
        assert state.reason.strip() and state.kind
        assert state.resume_at is unit.phase
        assert state.landing is None or unit.phase is u.Phase.COMPLETE
    if isinstance(state, u.Rebasing | u.Landing) or not unit.live:
        assert unit.run is None, "git works in a tree only when no run does"
    asks = isinstance(state, u.NeedsAttention) and state.kind == "question"
    assert bool(unit.open_questions) == asks
    if unit.closing:
        stopping = isinstance(state, u.Running) and state.stop
        assert stopping or isinstance(state, u.Ready)
    for question in unit.questions:
        assert (question.answer is not None) == (question.state in ("answered", "delivered"))
        assert question.bound is None or question.state in ("answered", "delivered")
        if question.state == "answered" and question.bound:
            assert question.bound == unit.run, "an answer is bound to a run that can still deliver it"
    in_review = unit.phase is u.Phase.REVIEW and unit.run is not None
    assert unit.decision is None or in_review or unit.closing or not unit.live
    within_limits(unit, facts)


def within_limits(unit: u.WorkUnit, facts: Facts) -> None:
    limits, counters = facts.board.config.limits, unit.counters
    assert all(value >= 0 for value in asdict(counters).values())
    assert max(counters.error, counters.stalled, counters.lost) <= limits.retries
    assert counters.review_rounds <= limits.review_rounds + 1
    assert counters.reminders <= REMINDERS
    assert counters.integrations <= INTEGRATIONS + 1


def is_shown(unit: u.WorkUnit) -> None:
    """Each unit has a flat view, and a reason shows only where there is one."""
    shown = view(unit)
    attention = shown.status == "NEEDS_ATTENTION"
    assert (shown.attention_kind is not None) == (shown.attention_reason is not None) == attention
    assert (shown.status == "BLOCKED") == bool(shown.blocked_by)
    assert (shown.status == "DONE") == (shown.merged_commit is not None)
    assert isinstance(shown.created_at, datetime)


def rows_without(cases: set[tuple[type[u.Frozen] | None, type[c.Command]]]) -> list[str]:
    """The rows of the table that none of the cases, each a state and a command, belongs to."""
    return [
        f"{row.command.__name__} from {'/'.join(o.__name__ if o else 'nothing' for o in row.origin)}"
        for row in TABLE
        if not any((origin, row.command) in cases for origin in row.origin)
    ]
