"""Rebasing on the base, and the steps of landing in it."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from ve import commands as c
from ve.rules.base import Facts, Outcome, Refused, attention, conflict_text, past_the_swap, withdraw
from ve.unit import (
    STEPS,
    BaseMoved,
    Checked,
    CheckoutUpdated,
    Committed,
    Done,
    Integrated,
    Landing,
    Phase,
    Queued,
    Ready,
    Rebasing,
    Step,
    Swapping,
    WorkUnit,
)

INTEGRATIONS = 5
LANDING_RETRY = timedelta(minutes=1)


def rebased(unit: WorkUnit, cmd: c.Rebased, _: Facts) -> Outcome:
    return replace(unit, phase=Phase.REVIEW, state=Ready(), base_commit=cmd.base, cause="")


def rebase_conflict(unit: WorkUnit, cmd: c.RebaseConflict, _: Facts) -> Outcome:
    assert isinstance(unit.state, Rebasing)
    if unit.state.again:
        return Refused(why="an agent has already tried; a conflict now needs a person")
    cause = f"merging the base into this branch conflicts in {', '.join(cmd.files)}\n{cmd.text}".rstrip()
    return replace(unit, state=Ready(), cause=cause)


def rebase_failed(unit: WorkUnit, cmd: c.RebaseFailed, _: Facts) -> Outcome:
    return attention(unit, "error", cmd.reason, Phase.REBASE)


def conflict_rebasing(unit: WorkUnit, cmd: c.ConflictFound, _: Facts) -> Outcome:
    assert isinstance(unit.state, Rebasing)
    if not unit.state.again:
        return Refused(why="an agent has not tried yet")
    return attention(unit, "conflict", conflict_text(cmd), Phase.REBASE, options=("serialize",))


def conflict_landing(unit: WorkUnit, cmd: c.ConflictFound, _: Facts) -> Outcome:
    assert isinstance(unit.state, Landing)
    if past_the_swap(unit.state):
        return Refused(why="the merge may already be in the base")
    text = conflict_text(cmd)
    return attention(unit, "conflict", text, Phase.REBASE, options=("serialize",), phase=Phase.REBASE)


def landing_step(unit: WorkUnit, cmd: c.LandingStep, facts: Facts) -> Outcome:
    """Steps follow one another; the one that stands already changes nothing."""
    assert isinstance(unit.state, Landing)
    step, now = cmd.step, unit.state.step
    if step == now:
        return unit
    if STEPS.index(type(step)) != STEPS.index(type(now)) + 1:
        return Refused(why=f"{cmd.why()} does not follow {type(now).__struct_config__.tag}")
    if not continues(step, now):
        return Refused(why=f"{cmd.why()} names other commits than {type(now).__struct_config__.tag} recorded")
    if isinstance(step, Swapping):
        assert isinstance(now, Checked)
        if unit.paused or facts.board.paused:
            return Refused(why="it is paused" if unit.paused else "the board is paused")
        if facts.board.config.land == "approve" and not now.approved:
            return Refused(why="a person has to approve this merge first")
    return replace(unit, state=Landing(step=step))


def continues(step: Step, now: Step) -> bool:
    """Whether a step is about the very commits that the step before it recorded."""
    if isinstance(step, Swapping):
        return isinstance(now, Checked) and (step.old, step.new) == (now.base, now.merge)
    if isinstance(step, Checked) and step.approved:
        return False  # only a person approves
    shared = set(step.__struct_fields__) & set(now.__struct_fields__)
    return all(getattr(step, field) == getattr(now, field) for field in shared)


def base_changed(unit: WorkUnit, cmd: c.BaseChanged, _: Facts) -> Outcome:
    assert isinstance(unit.state, Landing)
    if isinstance(unit.state.step, BaseMoved | CheckoutUpdated):
        return Refused(why="the merge is already in the base")
    if isinstance(unit.state.step, Queued | Committed):
        return Refused(why="nothing was integrated yet")
    tries = unit.counters.integrations + 1
    unit = replace(unit, counters=replace(unit.counters, integrations=tries))
    again = Landing(step=Queued())
    if tries > INTEGRATIONS:
        reason = f"the base moved {tries} times while this was landing; retry when it is quieter"
        return attention(unit, "landing", reason, unit.phase, landing=again)
    return replace(unit, state=again)


def approval_needed(unit: WorkUnit, cmd: c.ApprovalNeeded, _: Facts) -> Outcome:
    assert isinstance(unit.state, Landing)
    step = unit.state.step
    if not isinstance(step, Checked) or step.merge != cmd.merge:
        return Refused(why="only a checked merge can be approved")
    if step.approved:
        return unit
    reason = f"merge {cmd.merge[:12]} is ready for {unit.base_ref}; approve it to land"
    return attention(
        unit, "approval", reason, unit.phase, options=("approve",), landing=unit.state, approve_hash=cmd.merge
    )


def check_failed(unit: WorkUnit, cmd: c.CheckFailed, _: Facts) -> Outcome:
    if not isinstance(unit.state.step, Integrated):  # type: ignore[union-attr]
        return Refused(why="only an integrated merge is checked")
    reason = f"the check command failed on the merged tree:\n{cmd.output}"
    return attention(unit, "landing", reason, Phase.IMPLEMENT, phase=Phase.IMPLEMENT, cause=reason)


def landing_refused(unit: WorkUnit, cmd: c.LandingRefused, facts: Facts) -> Outcome:
    assert isinstance(unit.state, Landing)
    if isinstance(unit.state.step, CheckoutUpdated):
        return Refused(why="the merge is already in the base")
    again = unit.state
    if isinstance(again.step, Swapping):
        # The ref did not move, so the merge is as good, and as approved, as it was before.
        old, new = again.step.old, again.step.new
        again = Landing(step=Checked(commit=again.step.commit, base=old, merge=new, approved=True))
    retry_at = facts.now + LANDING_RETRY
    return attention(unit, "landing", cmd.reason, unit.phase, landing=again, retry_at=retry_at)


def landed(unit: WorkUnit, cmd: c.Landed, _: Facts) -> Outcome:
    assert isinstance(unit.state, Landing)
    step = unit.state.step
    if not isinstance(step, CheckoutUpdated) or step.new != cmd.commit:
        return Refused(why="the base and its checkout do not both hold that commit yet")
    return replace(
        unit, state=Done(commit=cmd.commit), cleaning=unit.worktree is not None,
        questions=withdraw(unit.questions), cause="",
    )  # fmt: skip


def cleaned(unit: WorkUnit, cmd: c.Cleaned, _: Facts) -> Outcome:
    if not unit.cleaning:
        return unit
    return replace(unit, cleaning=False, worktree=unit.worktree if cmd.kept else None)
