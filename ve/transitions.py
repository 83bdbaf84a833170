"""The table of all transitions, and the pure function that applies it.

Rule: everything that decides about a unit's state lives in this file. `decide` reads no clock, no
disk and no role; it gets the unit as it is, the command, and `Facts` that the stream collected in
the same turn, and returns the unit as it becomes, or `Refused` with the reason. A command that
changes nothing returns the unit itself. The page and the diagram of the lifecycle are made from
`TABLE` (see docs/lifecycle.md).

The rules are tried in this order: terminal, stale run, stopping or renewing, then the table.
To add a transition: a Struct in `commands.py`, a `Row` here, a case in tests/core; it is then saved,
sent to every client and acted on without one more line, because all of that subscribes to the stream.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from ve import commands as c
from ve.rules.base import Facts, Outcome, Refused, Rule, past_the_swap
from ve.rules.landing import (
    approval_needed,
    base_changed,
    check_failed,
    cleaned,
    conflict_landing,
    conflict_rebasing,
    landed,
    landing_refused,
    landing_step,
    rebase_conflict,
    rebase_failed,
    rebased,
)
from ve.rules.operator import (
    CHOICES,
    answer,
    approve,
    cancel,
    mark_merged,
    pause,
    prioritize,
    resolve,
    retry,
    salvaged,
    unpause,
)
from ve.rules.queue import block, conflict_before, dependency_gone, dispatch, inject, unblock, unfit
from ve.rules.runs import (
    ask,
    conflict_running,
    delivered,
    disposed,
    fail,
    limit_hit,
    review_decided,
    run_ended,
    run_started,
    session_known,
    stall,
    worktree_ready,
)
from ve.unit import (
    TERMINAL,
    Blocked,
    Board,
    Cancelled,
    Done,
    Frozen,
    Landing,
    Lane,
    NeedsAttention,
    Ready,
    Rebasing,
    Running,
    WorkUnit,
    status_name,
)


class Row(NamedTuple):
    """One line of the table: in these states, this command may lead to those (none: the same state)."""

    command: type[c.Command]
    origin: tuple[type[Frozen] | None, ...]
    to: tuple[type[Frozen], ...]
    rule: Rule
    note: str


# ── The table ──────────────────────────────────────────────────────────────────────────────────────

QUEUED = (Ready, Blocked)
LIVE = (Ready, Blocked, Running, Rebasing, Landing, NeedsAttention)
WITH_RUN = (Running, Ready, Blocked, NeedsAttention)  # the last three while a run is ending
AFTER_A_RUN = (Ready, Blocked, Rebasing, Landing, NeedsAttention, Cancelled)
NO_RUN = (Ready, Blocked, Rebasing, Landing, NeedsAttention)
ENDED = (Done, Cancelled)
SAME = ()

TABLE: tuple[Row, ...] = (
    Row(c.Inject, (None,), QUEUED, inject, "a new unit; BLOCKED while a dependency is not satisfied"),
    Row(c.Block, QUEUED, (Blocked,), block, "derived; never once the attempt had a run"),
    Row(c.Unblock, (Blocked,), (Ready,), unblock, "derived"),
    Row(c.DependencyGone, QUEUED, (NeedsAttention,), dependency_gone, "derived; kind dependency"),
    Row(c.Unfit, QUEUED, (NeedsAttention,), unfit, "no client, or a command nobody approved; kind setup"),
    Row(c.ConflictFound, QUEUED, (NeedsAttention,), conflict_before, "before dispatch; kind conflict"),
    Row(c.Dispatch, (Ready,), (Running,), dispatch, "slot free, lane open, dependencies satisfied"),
    Row(c.WorktreeReady, WITH_RUN, SAME, worktree_ready, "the first time in an attempt, also while stopping"),
    Row(c.RunStarted, (Running,), SAME, run_started, ""),
    Row(c.SessionKnown, WITH_RUN, SAME, session_known, "of the current or ending run"),
    Row(c.Disposed, WITH_RUN, SAME, disposed, "of the current or ending run"),
    Row(c.Delivered, WITH_RUN, SAME, delivered, "the answers bound to the run are consumed"),
    Row(c.Ask, (Running,), (NeedsAttention, Running), ask, "kind question; withdrawn while stopping"),
    Row(c.Ask, (Ready,), (NeedsAttention, Ready), ask, "of the ending run; withdrawn while stopping"),
    Row(c.Ask, (Blocked, NeedsAttention), (NeedsAttention,), ask, "of the ending run"),
    Row(c.ReviewDecided, WITH_RUN, SAME, review_decided, "the first one stands; void if the run asked"),
    Row(c.RunEnded, (Running,), AFTER_A_RUN, run_ended, "the next phase, a retry, or a person"),
    Row(c.RunEnded, (Ready,), (*QUEUED, NeedsAttention, Cancelled), run_ended, "the slot is free"),
    Row(c.RunEnded, (Blocked,), (*QUEUED, NeedsAttention), run_ended, "the slot is free"),
    Row(c.RunEnded, (NeedsAttention,), (NeedsAttention, Ready), run_ended, "slot free; a decision counts"),
    Row(c.Fail, (Running,), (Ready, NeedsAttention, Running), fail, "one counter and limit a cause"),
    Row(c.Stall, (Running,), (Ready, NeedsAttention, Running), stall, "the run is stopped"),
    Row(c.LimitHit, (Running,), (Ready, Running), limit_hit, "no counter; the backend's lane closes"),
    Row(c.Rebased, (Rebasing,), (Ready,), rebased, "on to REVIEW"),
    Row(c.RebaseConflict, (Rebasing,), (Ready,), rebase_conflict, "an agent's run in REBASE"),
    Row(c.RebaseFailed, (Rebasing,), (NeedsAttention,), rebase_failed, "kind error"),
    Row(c.ConflictFound, (Rebasing,), (NeedsAttention,), conflict_rebasing, "after an agent tried"),
    Row(c.ConflictFound, (Running,), (NeedsAttention,), conflict_running, "in REBASE"),
    Row(c.ConflictFound, (Landing,), (NeedsAttention,), conflict_landing, "goes on at REBASE"),
    Row(c.LandingStep, (Landing,), (Landing,), landing_step, "the steps in their order"),
    Row(c.BaseChanged, (Landing,), (Landing, NeedsAttention), base_changed, "at most five times"),
    Row(c.ApprovalNeeded, (Landing,), (NeedsAttention,), approval_needed, "land = approve"),
    Row(c.CheckFailed, (Landing,), (NeedsAttention,), check_failed, "goes on at IMPLEMENT"),
    Row(c.LandingRefused, (Landing,), (NeedsAttention,), landing_refused, "tried again once a minute"),
    Row(c.Landed, (Landing,), (Done,), landed, ""),
    Row(c.Cleaned, ENDED, SAME, cleaned, "the tree is gone, or kept"),
    Row(c.Salvaged, (Ready,), (Cancelled, *QUEUED), salvaged, "the end, or the next"),
    Row(c.Answer, (NeedsAttention,), (NeedsAttention, *QUEUED), answer, "goes on once all are answered"),
    Row(c.Retry, (Ready,), QUEUED, retry, "without the back-off, or fresh"),
    Row(c.Retry, (NeedsAttention,), (*QUEUED, Rebasing, Landing), retry, "at resume_at, or fresh"),
    Row(c.Resolve, (NeedsAttention,), (*QUEUED, Rebasing), resolve, "as the choice says"),
    Row(c.Approve, (NeedsAttention,), (*QUEUED, Landing), approve, "setup, approval"),
    Row(c.MarkMerged, (*QUEUED, NeedsAttention), (Done,), mark_merged, "only with the commit in the base"),
    Row(c.Prioritize, LIVE, SAME, prioritize, ""),
    Row(c.Pause, LIVE, SAME, pause, ""),
    Row(c.Unpause, LIVE, SAME, unpause, ""),
    Row(c.Cancel, (Running,), SAME, cancel, "ends when its run has ended and its work is safe"),
    Row(c.Cancel, NO_RUN, (Ready, Cancelled), cancel, "at once without a tree; refused from swapping on"),
)  # fmt: skip

BY_STATE: dict[tuple[type[Frozen] | None, type[c.Command]], Row] = {
    (origin, row.command): row for row in TABLE for origin in row.origin
}
WHILE_CLOSING = (c.RunEnded, c.Delivered, c.Ask, c.Salvaged, c.WorktreeReady)


def legal_verbs(unit: WorkUnit | None) -> tuple[str, ...]:
    """The operator's verbs that make sense in this state; their arguments may still be refused."""
    if unit is None or unit.closing:
        return ()
    state, senseless = unit.state, set[type[c.Command]]()
    if isinstance(state, NeedsAttention):
        if not unit.open_questions:
            senseless.add(c.Answer)
        if state.kind not in CHOICES:
            senseless.add(c.Resolve)
        if state.approve_hash is None:
            senseless.add(c.Approve)
        if state.kind == "approval":
            senseless.add(c.Retry)  # only a fresh attempt could be asked for
    if past_the_swap(state):
        senseless.add(c.Cancel)
    return tuple(
        name
        for name, verb in c.OPERATOR_VERBS.items()
        if (type(state), verb) in BY_STATE and verb not in senseless
    )


def decide(unit: WorkUnit | None, command: c.Command, facts: Facts) -> Outcome:
    """The unit after the command, the same unit where nothing changes, or why not. Pure."""
    row = BY_STATE.get((None if unit is None else type(unit.state), type(command)))
    if unit is None:
        return row.rule(None, command, facts) if row else Refused(why="there is no such unit")
    if isinstance(unit.state, TERMINAL) and not isinstance(command, c.Cleaned):
        stale = isinstance(command, c.RunCommand)
        return Refused(why=f"{unit.chunk} has ended: {status_name(unit.state)}", stale=stale)
    if isinstance(command, c.RunCommand) and command.run != unit.run:
        return Refused(why=f"{command.run} is not a run of {unit.chunk} any more", stale=True)
    if unit.closing and not isinstance(command, WHILE_CLOSING):
        return Refused(why=f"{unit.chunk} is being {'stopped' if unit.closing == 'cancel' else 'renewed'}")
    if row is None:
        name = type(command).__name__
        return Refused(why=f"{name} is not possible while {described(unit)}", legal=legal_verbs(unit))
    outcome = row.rule(unit, command, facts)
    if isinstance(outcome, Refused):
        return replace(outcome, legal=legal_verbs(unit))
    if outcome.phase is not unit.phase and outcome.session is not None:
        return replace(outcome, session=None)  # a reviewer does not go on in the implementer's conversation
    return outcome


def described(unit: WorkUnit) -> str:
    """The state in words, for refusals."""
    state = unit.state
    if isinstance(state, NeedsAttention):
        return f"{unit.chunk} needs attention ({state.kind})"
    return f"{unit.chunk} is {status_name(state)} in {unit.phase}"


# ── The board's own table ──────────────────────────────────────────────────────────────────────────


def decide_board(board: Board, command: c.Command, facts: Facts) -> Board | Refused:
    """The board after the command, the same board where nothing changes, or why not. Pure."""
    if isinstance(command, c.BoardPaused):
        return board if board.paused else replace(board, paused=True)
    if isinstance(command, c.BoardUnpaused):
        return replace(board, paused=False) if board.paused else board
    if isinstance(command, c.LaneClosed):
        others = tuple(lane for lane in board.lanes if lane.backend != command.backend)
        lane = Lane(backend=command.backend, until=command.until, reason=command.reason)
        return replace(board, lanes=(*others, lane))
    if isinstance(command, c.LaneOpened):
        others = tuple(lane for lane in board.lanes if lane.backend != command.backend)
        return board if others == board.lanes else replace(board, lanes=others)
    if isinstance(command, c.ConfigSet):
        return board if command.config == board.config else replace(board, config=command.config)
    if isinstance(command, c.HashApproved):
        known = command.hash in board.approved
        return board if known else replace(board, approved=(*board.approved, command.hash))
    return Refused(why=f"{type(command).__name__} is no command of the board")
