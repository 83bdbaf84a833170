"""What every rule gets, may answer, and shares with the others. Pure: no clock, no disk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from ve import commands as c
from ve.unit import (
    PAST_THE_SWAP,
    AttentionKind,
    Blocked,
    Board,
    Cancelled,
    Counters,
    Ending,
    Evidence,
    Frozen,
    Landing,
    NeedsAttention,
    Phase,
    Question,
    Ready,
    Rebasing,
    ReviewDecision,
    Running,
    State,
    Visits,
    WorkUnit,
)


class Facts(Frozen, frozen=True, kw_only=True):
    """What a decision needs from elsewhere, read by the stream in the same turn."""

    now: datetime
    board: Board
    waits: tuple[str, ...] = ()  # chunks that the unit waits for
    gone: tuple[str, ...] = ()  # dependencies that nothing will satisfy
    free_slots: tuple[int, ...] = ()
    live_unit: str | None = None  # the live unit of the chunk to inject
    attempts: int = 0  # attempts of the chunk so far, over its whole history
    cycle: tuple[str, ...] = ()  # the cycle that an inject would close
    collides: str | None = None  # a live chunk whose name differs in case only


class Refused(Frozen, frozen=True, kw_only=True):
    """Why not, what to do instead, and the operator's verbs that are legal now."""

    why: str
    hint: str = ""
    legal: tuple[str, ...] = ()
    stale: bool = False


Outcome = WorkUnit | Refused
Rule = Callable[[Any, Any, Facts], Outcome]


BEFORE = "\n\nBefore that: "


def interrupted(unit: WorkUnit, why: str) -> str:
    """The cause of a run that goes on after an interruption: `why`, then what was asked of it before."""
    before = unit.cause.partition(BEFORE)[2] or unit.cause
    return f"{why}{BEFORE}{before}" if before else why


def queue(unit: WorkUnit, facts: Facts, **changes: Any) -> WorkUnit:
    """READY, or BLOCKED where the attempt has not begun and something is still waited for."""
    state: State = Blocked(by=facts.waits) if unit.worktree is None and facts.waits else Ready()
    return replace(unit, state=state, **changes)


def attention(
    unit: WorkUnit,
    kind: AttentionKind,
    reason: str,
    resume_at: Phase,
    *,
    options: tuple[str, ...] = (),
    evidence: Evidence | None = None,
    landing: Landing | None = None,
    retry_at: datetime | None = None,
    approve_hash: str | None = None,
    **changes: Any,
) -> WorkUnit:
    """NEEDS_ATTENTION with its reason, never an empty one; the reason must let a person act."""
    state = NeedsAttention(
        kind=kind,
        reason=reason if reason.strip() else f"no reason was given ({kind})",
        resume_at=resume_at,
        options=options,
        evidence=evidence,
        landing=landing,
        retry_at=retry_at,
        approve_hash=approve_hash,
    )
    return replace(unit, state=state, **changes)


def withdraw(questions: tuple[Question, ...]) -> tuple[Question, ...]:
    """Open questions become withdrawn; answered ones stay as they are."""
    return tuple(replace(q, state="withdrawn") if q.state == "open" else q for q in questions)


def unbind(questions: tuple[Question, ...]) -> tuple[Question, ...]:
    """Answers that no run delivered are pending again."""
    return tuple(replace(q, bound=None) if q.state == "answered" and q.bound else q for q in questions)


def question_reason(questions: tuple[Question, ...]) -> str:
    """The text of what is asked; several questions are numbered."""
    texts = [q.text.strip() or f"question {q.id} has no text" for q in questions if q.state == "open"]
    return texts[0] if len(texts) == 1 else "\n".join(f"{i}. {t}" for i, t in enumerate(texts, 1))


def question_options(questions: tuple[Question, ...]) -> tuple[str, ...]:
    """The options where exactly one question is open."""
    opened = [q for q in questions if q.state == "open"]
    return opened[0].options if len(opened) == 1 else ()


def resumes_in_git(state: NeedsAttention) -> bool:
    """Whether a retry starts git in the unit's tree, which must not happen under a living run."""
    rebases = state.resume_at is Phase.REBASE and state.kind in ("conflict", "error")
    return rebases or state.landing is not None


def resume(unit: WorkUnit, facts: Facts) -> WorkUnit:
    """On from NEEDS_ATTENTION, at the place that it recorded."""
    state = unit.state
    assert isinstance(state, NeedsAttention)
    if state.landing is not None:
        return replace(unit, state=state.landing)
    if resumes_in_git(state):
        return replace(unit, phase=Phase.REBASE, state=Rebasing())
    return queue(unit, facts, phase=state.resume_at)


def past_the_swap(state: State) -> bool:
    """Whether the base holds the merge, or may hold it: from `swapping` on."""
    landing = state.landing if isinstance(state, NeedsAttention) else state
    return isinstance(landing, Landing) and isinstance(landing.step, PAST_THE_SWAP)


def after_closing_run(unit: WorkUnit, facts: Facts) -> WorkUnit:
    """No run is left. With a tree, its salvage comes first; without, the end or the next attempt."""
    if unit.worktree is not None:
        return replace(unit, state=Ready())
    return closed(unit, None, facts)


def closed(unit: WorkUnit, ref: str | None, facts: Facts) -> WorkUnit:
    if unit.closing == "cancel":
        return replace(unit, state=Cancelled(salvage=ref), closing=None, worktree=None)
    state: State = Blocked(by=facts.waits) if facts.waits else Ready()
    return replace(
        unit, state=state, closing=None, attempt=unit.attempt + 1, phase=unit.first_phase,
        worktree=None, branch=None, base_commit=None, session=None, ending=None, issues=(), decision=None,
        cause="", counters=Counters(), visits=Visits(), runs=0,
    )  # fmt: skip


def conflict_text(cmd: c.ConflictFound) -> str:
    return f"conflict in {', '.join(cmd.files)}" + (f"\n{cmd.text}" if cmd.text else "")


def ending_of(unit: WorkUnit, alive: bool) -> Ending | None:
    assert isinstance(unit.state, Running)
    return Ending(run=unit.state.run, slot=unit.state.slot) if alive else None


def stop_run(unit: WorkUnit) -> WorkUnit:
    assert isinstance(unit.state, Running)
    return unit if unit.state.stop else replace(unit, state=replace(unit.state, stop=True))


def apply_decision(unit: WorkUnit, decision: ReviewDecision, facts: Facts) -> WorkUnit:
    counters = replace(unit.counters, error=0, stalled=0, lost=0, reminders=0)
    unit = replace(unit, counters=counters, decision=None)
    if decision.decision == "approve":
        counters = replace(counters, review_rounds=0)
        return replace(unit, phase=Phase.COMPLETE, state=Ready(), issues=(), counters=counters, cause="")
    if decision.decision == "escalate":
        reason = decision.reason or "the reviewer wants a person to decide"
        unit = replace(unit, issues=decision.issues or unit.issues)
        return attention(unit, "review", reason, Phase.REVIEW, options=("approve", "feedback"))
    rounds = unit.counters.review_rounds + 1
    unit = replace(
        unit,
        phase=Phase.IMPLEMENT,
        issues=decision.issues,
        counters=replace(counters, review_rounds=rounds),
        cause=decision.reason or "the reviewer wants changes",
    )
    limit = facts.board.config.limits.review_rounds
    if rounds > limit:
        reason = f"the reviewer asked for changes {rounds} times, the limit is {limit}"
        return attention(unit, "limit", reason, Phase.IMPLEMENT)
    return replace(unit, state=Ready())
