"""What an operator may do to a unit, and what follows a stop or a renewal."""

from __future__ import annotations

from msgspec.structs import replace

from ve import commands as c
from ve.rules.base import (
    Facts,
    Outcome,
    Refused,
    after_closing_run,
    apply_decision,
    closed,
    interrupted,
    past_the_swap,
    question_options,
    question_reason,
    queue,
    resume,
    resumes_in_git,
    stop_run,
    withdraw,
)
from ve.rules.landing import INTEGRATIONS
from ve.unit import (
    Checked,
    Counters,
    Done,
    Landing,
    NeedsAttention,
    Phase,
    Question,
    Ready,
    Rebasing,
    ReviewDecision,
    ReviewIssue,
    Running,
    WorkUnit,
)

CHOICES: dict[str, tuple[str, ...]] = {
    "conflict": ("serialize",),
    "review": ("approve", "feedback"),
    "dependency": ("drop",),
}


def answer(unit: WorkUnit, cmd: c.Answer, facts: Facts) -> Outcome:
    opened = unit.open_questions
    if not opened:
        return Refused(why="no question is open")
    wanted = [q for q in opened if cmd.question in (None, q.id)]
    if not wanted:
        ids = ", ".join(q.id for q in opened)
        return Refused(why=f"there is no open question {cmd.question}; open: {ids}")
    if len(wanted) > 1:
        return Refused(why=f"several questions are open, name one: {', '.join(q.id for q in opened)}")
    text = chosen_text(wanted[0], cmd)
    if isinstance(text, Refused):
        return text
    questions = tuple(
        replace(q, state="answered", answer=text, answered_by=cmd.by, answered_at=facts.now)
        if q is wanted[0]
        else q
        for q in unit.questions
    )
    assert isinstance(unit.state, NeedsAttention)
    if len(opened) > 1:
        state = replace(unit.state, reason=question_reason(questions), options=question_options(questions))
        return replace(unit, questions=questions, state=state)
    cause = interrupted(unit, "the operator answered")
    return resume(replace(unit, questions=questions, cause=cause), facts)


def chosen_text(question: Question, cmd: c.Answer) -> str | Refused:
    if cmd.option is not None:
        if 1 <= cmd.option <= len(question.options):
            return question.options[cmd.option - 1]
        return Refused(why=f"there is no option {cmd.option}; there are {len(question.options)}")
    if not cmd.text or not cmd.text.strip():
        return Refused(why="an answer needs a text or the number of an option")
    return cmd.text


def retry(unit: WorkUnit, cmd: c.Retry, facts: Facts) -> Outcome:
    if cmd.fresh:
        return renew(unit, facts)
    if isinstance(unit.state, Ready):
        if unit.state.retry_at is None:
            return Refused(why="nothing failed; it is in the queue")
        return replace(unit, state=Ready(), counters=replace(unit.counters, error=0, stalled=0, lost=0))
    state = unit.state
    assert isinstance(state, NeedsAttention)
    if unit.ending and resumes_in_git(state):
        return Refused(why=f"its run {unit.ending.run} has not ended yet")
    if state.kind == "approval":
        return Refused(why="a merge that waits for approval is approved or cancelled, not retried")
    counters = reset_counter(unit.counters, state, facts)
    return resume(replace(unit, counters=counters, questions=withdraw(unit.questions)), facts)


def reset_counter(counters: Counters, state: NeedsAttention, facts: Facts) -> Counters:
    """Only the counter of the cause that the operator resolved begins again."""
    field = {"error": "error", "stalled": "stalled", "lost": "lost", "review": "reminders"}.get(state.kind)
    # A budget is also a limit, and a refusal also ends a landing: those two say nothing of the counter.
    if state.kind == "limit" and counters.review_rounds > facts.board.config.limits.review_rounds:
        field = "review_rounds"
    if state.kind == "landing" and counters.integrations > INTEGRATIONS:
        field = "integrations"
    return replace(counters, **{field: 0}) if field else counters


def renew(unit: WorkUnit, facts: Facts) -> Outcome:
    if past_the_swap(unit.state):
        return Refused(why="the merge may already be in the base; retry without fresh")
    if facts.cycle:
        return Refused(why=f"a new attempt would close a cycle of dependencies: {' -> '.join(facts.cycle)}")
    unit = replace(unit, questions=withdraw(unit.questions), closing="fresh")
    return after_closing_run(unit, facts) if unit.ending is None else replace(unit, state=Ready())


def salvaged(unit: WorkUnit, cmd: c.Salvaged, facts: Facts) -> Outcome:
    if unit.closing is None:
        return Refused(why="it is not being stopped or renewed")
    if unit.run is not None:
        return Refused(why=f"its run {unit.run} has not ended yet")
    return closed(unit, cmd.ref, facts)


def resolve(unit: WorkUnit, cmd: c.Resolve, facts: Facts) -> Outcome:
    state = unit.state
    assert isinstance(state, NeedsAttention)
    allowed = CHOICES.get(state.kind, ())
    if cmd.choice not in allowed:
        offer = ", ".join(allowed) or "none; see its legal verbs"
        return Refused(why=f"{cmd.choice} does not resolve a {state.kind}; choices: {offer}")
    if unit.ending and state.kind != "dependency":
        return Refused(why=f"its run {unit.ending.run} has not ended yet")
    if cmd.choice == "drop":
        kept = tuple(d for d in unit.depends_on if d not in facts.gone)
        return queue(replace(unit, depends_on=kept), facts)
    if cmd.choice == "serialize":
        return resume(unit, facts)
    open_issues = tuple(i for i in unit.issues if i.disposition is None and i.id != "operator")
    own_issue = ReviewIssue(id="operator", concern=cmd.text)
    issues = () if cmd.choice == "approve" else (*open_issues, own_issue)
    if cmd.choice == "feedback" and not cmd.text.strip():
        return Refused(why="feedback needs a text that says what to change")
    own = ReviewDecision(decision=cmd.choice, issues=issues, reason=cmd.text)
    if state.resume_at is Phase.IMPLEMENT and cmd.choice == "approve":
        # Undisposed issues are waived; the change is then integrated and reviewed as usual.
        counters = replace(unit.counters, reminders=0)
        return replace(unit, issues=(), phase=Phase.REBASE, state=Rebasing(), counters=counters, cause="")
    return apply_decision(replace(unit, counters=replace(unit.counters, review_rounds=0)), own, facts)


def approve(unit: WorkUnit, cmd: c.Approve, facts: Facts) -> Outcome:
    state = unit.state
    assert isinstance(state, NeedsAttention)
    if state.approve_hash is None:
        return Refused(why=f"there is nothing to approve; it needs attention for: {state.kind}")
    if cmd.hash != state.approve_hash:
        return Refused(why=f"what was shown has the hash {state.approve_hash}, not {cmd.hash}")
    if state.kind == "approval":
        assert state.landing is not None and isinstance(state.landing.step, Checked)
        return replace(unit, state=Landing(step=replace(state.landing.step, approved=True)))
    return resume(unit, facts)


def mark_merged(unit: WorkUnit, cmd: c.MarkMerged, _: Facts) -> Outcome:
    if unit.ending:
        return Refused(why=f"its run {unit.ending.run} has not ended yet")
    if not cmd.in_base:
        return Refused(why=f"{cmd.commit[:12]} is not in {unit.base_ref}; merge it first, or cancel the unit")
    return replace(
        unit, state=Done(commit=cmd.commit), cleaning=unit.worktree is not None,
        questions=withdraw(unit.questions), cause="",
    )  # fmt: skip


def prioritize(unit: WorkUnit, cmd: c.Prioritize, _: Facts) -> Outcome:
    return unit if unit.priority == cmd.priority else replace(unit, priority=cmd.priority)


def pause(unit: WorkUnit, _: c.Pause, __: Facts) -> Outcome:
    return unit if unit.paused else replace(unit, paused=True)


def unpause(unit: WorkUnit, _: c.Unpause, __: Facts) -> Outcome:
    return replace(unit, paused=False) if unit.paused else unit


def cancel(unit: WorkUnit, _: c.Cancel, facts: Facts) -> Outcome:
    state = unit.state
    if past_the_swap(state):
        return Refused(why="the merge may already be in the base; it cannot be cancelled any more")
    unit = replace(unit, questions=withdraw(unit.questions), closing="cancel")
    if isinstance(state, Running):
        return stop_run(unit)
    if unit.ending:
        return replace(unit, state=Ready())
    return after_closing_run(unit, facts)
