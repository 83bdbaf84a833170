"""Flat views: the same fields in the same order on every face, and the transition that carries them."""

from __future__ import annotations

from datetime import datetime

from ve.unit import (
    STATUS_NAME,
    Blocked,
    Board,
    Done,
    Evidence,
    Frozen,
    Landing,
    NeedsAttention,
    Question,
    QuestionState,
    Ready,
    Rebasing,
    Running,
    State,
    WorkUnit,
)

# ── Flat views: the same fields in the same order on every face ────────────────────────────────────


class QuestionView(Frozen, frozen=True, kw_only=True):
    """A question as people see it."""

    id: str
    text: str
    options: tuple[str, ...]
    context: str
    asked_at: datetime
    state: QuestionState
    answer: str | None
    answered_by: str | None
    answered_at: datetime | None


class UnitView(Frozen, frozen=True, kw_only=True):
    """A unit as every face shows it (CLI --json, REST, feed, SQL); times are UTC."""

    id: str
    chunk: str
    attempt: int
    phase: str
    status: str
    attention_kind: str | None
    attention_reason: str | None
    blocked_by: tuple[str, ...]
    priority: int
    paused: bool
    worktree: str | None
    branch: str | None
    base_ref: str
    base_commit: str | None
    session_id: str | None
    run_id: str | None
    slot: int | None
    created_at: datetime
    changed_at: datetime
    seq: int
    stage: str | None
    stopping: bool
    retry_at: datetime | None
    merged_commit: str | None
    questions: tuple[QuestionView, ...]
    options: tuple[str, ...]
    evidence: Evidence | None
    resume_at: str | None
    approve_hash: str | None
    cause: str


STAGED = (Running, Rebasing, Landing)


def _stage(state: State) -> str | None:
    if isinstance(state, Running):
        return "agent"
    if isinstance(state, Rebasing):
        return "rebasing"
    if isinstance(state, Landing):
        return "landing:" + type(state.step).__struct_config__.tag  # type: ignore[operator]
    return None


def _question_view(question: Question) -> QuestionView:
    return QuestionView(
        id=question.id,
        text=question.text,
        options=question.options,
        context=question.context,
        asked_at=question.asked_at,
        state=question.state,
        answer=question.answer,
        answered_by=question.answered_by,
        answered_at=question.answered_at,
    )


def view(unit: WorkUnit) -> UnitView:
    """The flat view of a unit. Made for every transition, so it asks for the state's kind only once."""
    state = unit.state
    kind = type(state)
    running = state if kind is Running else unit.ending
    attention = state if isinstance(state, NeedsAttention) else None
    return UnitView(
        id=unit.id,
        chunk=unit.chunk,
        attempt=unit.attempt,
        phase=unit.phase,
        status=STATUS_NAME[kind],
        attention_kind=attention.kind if attention else None,
        attention_reason=attention.reason if attention else None,
        blocked_by=state.by if isinstance(state, Blocked) else (),
        priority=unit.priority,
        paused=unit.paused,
        worktree=unit.worktree,
        branch=unit.branch,
        base_ref=unit.base_ref,
        base_commit=unit.base_commit,
        session_id=unit.session,
        run_id=running.run if running else None,  # type: ignore[union-attr]
        slot=running.slot if running else None,  # type: ignore[union-attr]
        created_at=unit.created_at,
        changed_at=unit.changed_at,
        seq=unit.seq,
        stage=_stage(state) if kind in STAGED else None,
        stopping=unit.closing is not None,
        retry_at=attention.retry_at if attention else state.retry_at if isinstance(state, Ready) else None,
        merged_commit=state.commit if isinstance(state, Done) else None,
        questions=tuple(map(_question_view, unit.questions)) if unit.questions else (),
        options=attention.options if attention else (),
        evidence=attention.evidence if attention else None,
        resume_at=("LANDING" if attention.landing else attention.resume_at) if attention else None,
        approve_hash=attention.approve_hash if attention else None,
        cause=unit.cause,
    )


class LaneView(Frozen, frozen=True, kw_only=True):
    """A closed backend as people see it."""

    backend: str
    until: datetime
    reason: str


class BoardView(Frozen, frozen=True, kw_only=True):
    """The board as every face shows it."""

    paused: bool
    slots: int
    slots_used: int
    lanes: tuple[LaneView, ...]


def board_view(board: Board, slots_used: int) -> BoardView:
    """The flat view of the board; `slots_used` counts every run that has not ended."""
    lanes = tuple(LaneView(backend=x.backend, until=x.until, reason=x.reason) for x in board.lanes)
    return BoardView(paused=board.paused, slots=board.config.slots, slots_used=slots_used, lanes=lanes)


class Transition(Frozen, frozen=True, kw_only=True):
    """An accepted command: the only thing that the stream emits.

    `unit` is the state after it (None for the board's own transitions), `board` likewise. `key` and
    `key_hash` are the idempotency key of the command and the hash of its body. Transitions of one
    `group` (the first seq of it) are committed together or not at all.
    """

    epoch: str
    seq: int
    at: datetime
    command: str
    actor: str
    why: str
    origin: str | None  # the status before
    detail: object  # the command itself
    unit: WorkUnit | None = None
    board: Board | None = None
    slots_used: int = 0
    key: str | None = None
    key_hash: str | None = None
    group: int = 0

    @property
    def cursor(self) -> str:
        """Where this stands in the one order: `epoch.seq`."""
        return f"{self.epoch}.{self.seq}"
