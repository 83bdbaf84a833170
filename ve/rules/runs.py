"""What a run tells: its tree, its questions, its decision, its end."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from ve import commands as c
from ve.rules.base import (
    Facts,
    Outcome,
    Refused,
    after_closing_run,
    apply_decision,
    attention,
    conflict_text,
    ending_of,
    interrupted,
    question_options,
    question_reason,
    stop_run,
    unbind,
)
from ve.unit import (
    AttentionKind,
    Ending,
    Evidence,
    Landing,
    Phase,
    Question,
    QuestionState,
    Queued,
    Ready,
    Rebasing,
    Running,
    WorkUnit,
)

REMINDERS = 1
SESSION_GONE = "the conversation with the agent was gone"
LONGEST_WAIT_S = 3600.0  # between two retries, unless the first wait is configured to be longer


def worktree_ready(unit: WorkUnit, cmd: c.WorktreeReady, _: Facts) -> Outcome:
    if unit.worktree is not None:
        return unit
    return replace(unit, worktree=cmd.worktree, branch=cmd.branch, base_commit=cmd.base_commit)


def run_started(unit: WorkUnit, _: c.RunStarted, __: Facts) -> Outcome:
    return unit if unit.state.started else replace(unit, state=replace(unit.state, started=True))  # type: ignore[union-attr]


def session_known(unit: WorkUnit, cmd: c.SessionKnown, _: Facts) -> Outcome:
    return unit if unit.session == cmd.session else replace(unit, session=cmd.session)


def disposed(unit: WorkUnit, cmd: c.Disposed, _: Facts) -> Outcome:
    if not any(issue.id == cmd.issue for issue in unit.issues):
        known = ", ".join(issue.id for issue in unit.issues) or "none"
        return Refused(why=f"there is no review issue {cmd.issue}; there are: {known}")
    issues = tuple(
        replace(i, disposition=cmd.disposition, disposition_reason=cmd.reason) if i.id == cmd.issue else i
        for i in unit.issues
    )
    return unit if issues == unit.issues else replace(unit, issues=issues)


def delivered(unit: WorkUnit, cmd: c.Delivered, _: Facts) -> Outcome:
    questions = tuple(
        replace(q, state="delivered") if q.state == "answered" and q.bound == cmd.run else q
        for q in unit.questions
    )
    return unit if questions == unit.questions else replace(unit, questions=questions)


def ask(unit: WorkUnit, cmd: c.Ask, facts: Facts) -> Outcome:
    known = {(question.run, question.id) for question in unit.questions}
    asked = {question.id: question for question in cmd.questions}  # the same one twice counts once
    state: QuestionState = "withdrawn" if unit.closing else "open"
    new = tuple(
        Question(
            id=q.id, run=cmd.run, text=q.text, options=q.options, context=q.context,
            asked_at=facts.now, state=state,
        )
        for q in asked.values()
        if (cmd.run, q.id) not in known
    )  # fmt: skip
    if not new:
        return unit
    questions = unit.questions + new
    if unit.closing:
        return replace(unit, questions=questions)
    ending = unit.ending
    if isinstance(unit.state, Running):
        ending = Ending(run=unit.state.run, slot=unit.state.slot)
    return attention(
        unit, "question", question_reason(questions), unit.phase,
        options=question_options(questions), evidence=Evidence(run=cmd.run),
        questions=questions, ending=ending, decision=None,
    )  # fmt: skip


def review_decided(unit: WorkUnit, cmd: c.ReviewDecided, _: Facts) -> Outcome:
    if unit.phase is not Phase.REVIEW:
        return Refused(why=f"a review decision belongs to REVIEW, not to {unit.phase}")
    if any(question.run == cmd.run for question in unit.questions):
        return Refused(why=f"{cmd.run} asked a question, which makes its decision void; REVIEW runs again")
    if unit.decision is not None:
        return unit  # the first one stands
    return replace(unit, decision=cmd.decision)


def run_ended(unit: WorkUnit, cmd: c.RunEnded, facts: Facts) -> Outcome:
    """The slot is free; what follows depends on whether the run still decided anything."""
    unit = replace(unit, questions=unbind(unit.questions), meter=cmd.meter or unit.meter)
    if unit.closing:
        return after_closing_run(replace(unit, state=Ready(), ending=None), facts)
    if isinstance(unit.state, Running):
        if unit.phase is Phase.REVIEW and unit.decision:
            return apply_decision(unit, unit.decision, facts)
        return apply_exit(unit, cmd.exit, facts)
    unit = replace(unit, ending=None)
    if unit.phase is Phase.REVIEW and unit.decision:
        return apply_decision(unit, unit.decision, facts)
    return unit


def apply_exit(unit: WorkUnit, ended: c.Exit, facts: Facts) -> WorkUnit:
    if isinstance(ended, c.Clean):
        return remind(unit, facts) if unit.phase is Phase.REVIEW else advance(unit, facts)
    if isinstance(ended, c.Limited):
        return limited(unit, None)
    if isinstance(ended, c.Stalled):
        return failed(unit, "stalled", ended.reason, ended.evidence, facts)
    if isinstance(ended, c.Lost):
        return failed(unit, "lost", ended.reason, ended.evidence, facts)
    if ended.session_gone:
        return begun_afresh(unit, ended, facts)
    return failed(unit, ended.kind, ended.reason, ended.evidence, facts, retry=ended.retry)


def begun_afresh(unit: WorkUnit, ended: c.Failed, facts: Facts) -> WorkUnit:
    """A conversation that is gone is no failed try, once: the next run is told everything again."""
    told_before = SESSION_GONE in unit.cause
    cause = interrupted(unit, SESSION_GONE)
    unit = replace(unit, session=None)
    if told_before:
        return failed(unit, ended.kind, ended.reason, ended.evidence, facts, retry=ended.retry)
    return replace(unit, state=Ready(), ending=None, cause=cause)


def failed(
    unit: WorkUnit,
    kind: AttentionKind,
    reason: str,
    evidence: Evidence | None,
    facts: Facts,
    *,
    retry: bool = True,
    ending: Ending | None = None,
) -> WorkUnit:
    """READY after a back-off while the cause's own counter allows it, else a person."""
    counter = kind if kind in ("error", "stalled", "lost") else None
    limits = facts.board.config.limits
    unit = replace(unit, ending=ending, cause=interrupted(unit, f"the last run failed: {reason}"))
    count = getattr(unit.counters, counter) if counter else 0
    if retry and counter and count < limits.retries:
        wait = min(limits.retry_s * 2**count, max(limits.retry_s, LONGEST_WAIT_S))
        return replace(
            unit,
            state=Ready(retry_at=facts.now + timedelta(seconds=wait)),
            counters=replace(unit.counters, **{counter: count + 1}),
        )
    return attention(unit, kind, reason, unit.phase, evidence=evidence)


def limited(unit: WorkUnit, ending: Ending | None) -> WorkUnit:
    cause = interrupted(unit, "the backend's usage limit ended the last run")
    return replace(unit, state=Ready(), ending=ending, cause=cause)


def advance(unit: WorkUnit, facts: Facts) -> WorkUnit:
    """The phase is done: on to the next one."""
    undisposed = [i.id for i in unit.issues if i.disposition is None]
    if unit.phase is Phase.IMPLEMENT and undisposed:
        return missing_dispositions(unit, undisposed)
    counters = replace(unit.counters, error=0, stalled=0, lost=0, reminders=0, integrations=0)
    unit = replace(unit, counters=counters, cause="")
    if unit.phase is Phase.GOAL:
        return replace(unit, phase=Phase.PLAN, state=Ready())
    if unit.phase is Phase.PLAN:
        return replace(unit, phase=Phase.IMPLEMENT, state=Ready())
    if unit.phase is Phase.IMPLEMENT:
        return replace(unit, phase=Phase.REBASE, state=Rebasing())
    if unit.phase is Phase.REBASE:
        return replace(unit, state=Rebasing(again=True))
    return replace(unit, state=Landing(step=Queued()))


def missing_dispositions(unit: WorkUnit, undisposed: list[str]) -> WorkUnit:
    names = ", ".join(undisposed)
    if unit.counters.reminders < REMINDERS:
        counters = replace(unit.counters, reminders=unit.counters.reminders + 1)
        cause = f"these review issues have no disposition yet: {names}; call Dispose for each"
        return replace(unit, state=Ready(), counters=counters, cause=cause)
    reason = f"the implementer left review issues without a disposition: {names}"
    return attention(unit, "review", reason, Phase.IMPLEMENT, options=("approve", "feedback"))


def remind(unit: WorkUnit, _: Facts) -> WorkUnit:
    if unit.counters.reminders < REMINDERS:
        counters = replace(unit.counters, reminders=unit.counters.reminders + 1)
        cause = "the last review ended without a decision; call ReviewDecision"
        return replace(unit, state=Ready(), counters=counters, cause=cause)
    reason = "the reviewer ended twice without calling ReviewDecision; decide yourself or retry"
    return attention(unit, "review", reason, Phase.REVIEW, options=("approve", "feedback"))


def fail(unit: WorkUnit, cmd: c.Fail, facts: Facts) -> Outcome:
    if not cmd.alive:
        unit = replace(unit, questions=unbind(unit.questions))
    if unit.phase is Phase.REVIEW and unit.decision:
        return stop_run(unit) if cmd.alive else apply_decision(unit, unit.decision, facts)
    f = cmd.failure
    return failed(unit, f.kind, f.reason, f.evidence, facts, retry=f.retry, ending=ending_of(unit, cmd.alive))


def stall(unit: WorkUnit, cmd: c.Stall, facts: Facts) -> Outcome:
    if unit.phase is Phase.REVIEW and unit.decision:
        return stop_run(unit)
    return failed(unit, "stalled", cmd.reason, None, facts, ending=ending_of(unit, True))


def limit_hit(unit: WorkUnit, cmd: c.LimitHit, _: Facts) -> Outcome:
    if unit.phase is Phase.REVIEW and unit.decision:
        return stop_run(unit)
    return limited(unit, ending_of(unit, True))


def conflict_running(unit: WorkUnit, cmd: c.ConflictFound, _: Facts) -> Outcome:
    if cmd.run != unit.run:
        return Refused(why=f"{cmd.run or 'no run'} is not the run of {unit.chunk}", stale=True)
    if unit.phase is not Phase.REBASE:
        return Refused(why=f"{unit.phase} does not integrate with the base")
    ending = ending_of(unit, True)
    text = conflict_text(cmd)
    return attention(unit, "conflict", text, Phase.REBASE, options=("serialize",), ending=ending)
