"""Into the queue, blocked and unblocked, and out of it into a run."""

from __future__ import annotations

from msgspec.structs import replace

from ve import commands as c
from ve.rules.base import Facts, Outcome, Refused, attention, conflict_text
from ve.unit import Blocked, Ready, Running, WorkUnit, status_name


def inject(_: None, cmd: c.Inject, facts: Facts) -> Outcome:
    if facts.live_unit:
        why = f"{cmd.chunk} is already queued as unit {facts.live_unit}"
        return Refused(why=why, hint=f"See how far it is: ve orch work-unit show {cmd.chunk}")
    if facts.collides:
        return Refused(why=f"{cmd.chunk} differs from the queued chunk {facts.collides} in case only")
    if cmd.approval and cmd.approval not in facts.board.approved:
        why = f"{cmd.chunk} is background work that nobody approved as it is now"
        return Refused(why=why, hint=f"Read it and say yes to it: ve chunk approve {cmd.chunk}")
    if facts.cycle:
        return Refused(why=f"a cycle of dependencies: {' -> '.join(facts.cycle)}")
    if facts.gone:
        names = ", ".join(facts.gone)
        return Refused(
            why=f"{cmd.chunk} depends on {names}: not queued, not merged, and not ACTIVE at the base commit; "
            f"inject {names} first or in the same command"
        )
    return WorkUnit(
        id=cmd.unit,
        chunk=cmd.chunk,
        attempt=facts.attempts + 1,
        phase=cmd.phase,
        first_phase=cmd.phase,
        state=Blocked(by=facts.waits) if facts.waits else Ready(),
        base_ref=cmd.base_ref,
        created_at=facts.now,
        changed_at=facts.now,
        priority=cmd.priority,
        depends_on=cmd.depends_on,
        created_after=cmd.created_after,
        satisfied=cmd.satisfied,
    )


def block(unit: WorkUnit, _: c.Block, facts: Facts) -> Outcome:
    if not facts.waits:
        return Refused(why="nothing is waited for")
    if isinstance(unit.state, Ready) and unit.runs:
        return Refused(why="the attempt has begun; it is not blocked again")
    if isinstance(unit.state, Blocked) and unit.state.by == facts.waits:
        return unit
    return replace(unit, state=Blocked(by=facts.waits))


def unblock(unit: WorkUnit, _: c.Unblock, facts: Facts) -> Outcome:
    if facts.waits:
        return Refused(why=f"still waits for {', '.join(facts.waits)}")
    if facts.gone:
        return Refused(why=f"nothing will finish {', '.join(facts.gone)}")
    return replace(unit, state=Ready())


def dependency_gone(unit: WorkUnit, _: c.DependencyGone, facts: Facts) -> Outcome:
    if not facts.gone:
        return Refused(why="every dependency is waited for or satisfied")
    if unit.worktree is not None:
        return Refused(why="the attempt has begun; its base already holds what it needed")
    names = ", ".join(facts.gone)
    reason = (
        f"depends on {names}, which ended without a merge; inject it again and retry, "
        "or drop the dependency (resolve drop)"
    )
    return attention(unit, "dependency", reason, unit.phase, options=("drop",))


def unfit(unit: WorkUnit, cmd: c.Unfit, _: Facts) -> Outcome:
    return attention(unit, "setup", cmd.reason, unit.phase, approve_hash=cmd.approve_hash)


def conflict_before(unit: WorkUnit, cmd: c.ConflictFound, _: Facts) -> Outcome:
    return attention(unit, "conflict", conflict_text(cmd), unit.phase, options=("serialize",))


def dispatch_obstacle(unit: WorkUnit, backend: str, facts: Facts) -> str | None:
    """Why this unit may not be dispatched now, or None; also what `why` prints."""
    state = unit.state
    if not isinstance(state, Ready):
        return f"it is {status_name(state)}"
    if unit.closing:
        return "it is being stopped" if unit.closing == "cancel" else "it is being renewed"
    if unit.ending:
        return f"its run {unit.ending.run} has not ended yet"
    if facts.board.paused:
        return "the board is paused"
    if unit.paused:
        return "it is paused"
    if state.retry_at and state.retry_at > facts.now:
        return f"it is tried again at {state.retry_at:%H:%M:%S} UTC"
    if unit.worktree is None and facts.waits:
        return f"it waits for {', '.join(facts.waits)}"
    if unit.worktree is None and facts.gone:
        return f"nothing will finish {', '.join(facts.gone)}"
    for lane in facts.board.lanes:
        if lane.backend == backend and lane.until > facts.now:
            why = f": {lane.reason}" if lane.reason else ""
            return f"{backend} takes nothing until {lane.until:%H:%M:%S} UTC{why}"
    return None


def dispatch(unit: WorkUnit, cmd: c.Dispatch, facts: Facts) -> Outcome:
    obstacle = dispatch_obstacle(unit, cmd.backend, facts)
    if obstacle:
        return Refused(why=obstacle)
    if cmd.slot not in facts.free_slots:
        return Refused(why=f"slot {cmd.slot} is not free")
    phase = unit.phase.lower()
    return replace(
        unit,
        state=Running(run=cmd.run, slot=cmd.slot),
        runs=unit.runs + 1,
        visits=replace(unit.visits, **{phase: getattr(unit.visits, phase) + 1}),
        decision=None,
        questions=tuple(replace(q, bound=cmd.run) if q.state == "answered" else q for q in unit.questions),
    )
