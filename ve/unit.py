"""The nouns: a work unit, the states it can be in, the board around all units, and their flat views.

Rule: what belongs to a status lives in that status. `WorkUnit.state` is a tagged union, so a RUNNING
unit cannot carry an attention reason and a NEEDS_ATTENTION unit cannot lack one. Everything here is
frozen; only `transitions.decide` makes new values, and only `stream.Stream` publishes them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal

from msgspec import Struct

from ve.configfields import Config


class Phase(StrEnum):
    """What an agent is asked to do with the chunk, in the order of a unit's life."""

    GOAL = "GOAL"  # only when GOAL.md has no real text
    PLAN = "PLAN"
    IMPLEMENT = "IMPLEMENT"
    REBASE = "REBASE"  # the base is merged into the branch; an agent runs only on a conflict
    REVIEW = "REVIEW"
    COMPLETE = "COMPLETE"


AttentionKind = Literal[
    "question", "error", "conflict", "review", "landing", "approval",
    "dependency", "setup", "limit", "stalled", "lost",
]  # fmt: skip
QuestionState = Literal["open", "answered", "delivered", "withdrawn"]


class Frozen(Struct, frozen=True, kw_only=True):
    """Base of all values: immutable, fields by name."""


class Evidence(Frozen, frozen=True, kw_only=True):
    """Where an attention reason comes from: the run, the last lines of its output, its end."""

    run: str | None = None
    lines: str | None = None
    exit_code: int | None = None
    stderr_tail: str | None = None


class Question(Frozen, frozen=True, kw_only=True):
    """One question of an agent and what became of it; never removed, so never lost."""

    id: str
    run: str
    text: str
    options: tuple[str, ...] = ()
    context: str = ""
    asked_at: datetime
    state: QuestionState = "open"
    answer: str | None = None
    answered_by: str | None = None
    answered_at: datetime | None = None
    bound: str | None = None  # the run that carries the answer to the agent


class ReviewIssue(Frozen, frozen=True, kw_only=True):
    """One thing that a reviewer wants changed, and what the implementer did about it."""

    id: str
    place: str = ""
    concern: str = ""
    suggestion: str = ""
    disposition: Literal["fixed", "declined"] | None = None
    disposition_reason: str = ""


class ReviewDecision(Frozen, frozen=True, kw_only=True):
    """What a reviewer decided, through the tool or (by `resolve`) as the operator."""

    decision: Literal["approve", "feedback", "escalate"]
    issues: tuple[ReviewIssue, ...] = ()
    reason: str = ""


# ── The steps of landing, each recorded before and after it touches the world ──────────────────────


class Queued(Frozen, tag_field="type", tag="queued", frozen=True, kw_only=True):
    """COMPLETE is done; the unit waits for its turn to land."""


class Committed(Frozen, tag_field="type", tag="committed", frozen=True, kw_only=True):
    """What the phases left, and the document's final status, are committed on the branch."""

    commit: str


class Integrated(Frozen, tag_field="type", tag="integrated", frozen=True, kw_only=True):
    """`merge` joins the branch and `base`; nothing outside the object store has changed."""

    commit: str
    base: str
    merge: str


class Checked(Frozen, tag_field="type", tag="checked", frozen=True, kw_only=True):
    """The check command passed on the merged tree, or there is none."""

    commit: str
    base: str
    merge: str
    approved: bool = False


class Swapping(Frozen, tag_field="type", tag="swapping", frozen=True, kw_only=True):
    """The base ref is about to move from `old` to `new`; recovery judges by what the ref says."""

    commit: str = ""
    old: str
    new: str
    checkout: str | None = None


class BaseMoved(Frozen, tag_field="type", tag="base_moved", frozen=True, kw_only=True):
    """The base ref holds `new`; the checkout, if there is one, is being brought along."""

    old: str
    new: str
    checkout: str | None = None


class CheckoutUpdated(Frozen, tag_field="type", tag="checkout_updated", frozen=True, kw_only=True):
    """The base and its checkout agree on `new`."""

    new: str


Step = Queued | Committed | Integrated | Checked | Swapping | BaseMoved | CheckoutUpdated
STEPS: tuple[type[Frozen], ...] = (
    Queued, Committed, Integrated, Checked, Swapping, BaseMoved, CheckoutUpdated,
)  # fmt: skip
PAST_THE_SWAP = (Swapping, BaseMoved, CheckoutUpdated)


# ── The states ─────────────────────────────────────────────────────────────────────────────────────


class Ready(Frozen, tag_field="status", tag="READY", frozen=True, kw_only=True):
    """May be dispatched as soon as a slot is free and `retry_at` has passed."""

    retry_at: datetime | None = None


class Blocked(Frozen, tag_field="status", tag="BLOCKED", frozen=True, kw_only=True):
    """Waits for the chunks named; derived from their states, never edited."""

    by: tuple[str, ...]


class Running(Frozen, tag_field="status", tag="RUNNING", frozen=True, kw_only=True):
    """An agent's run has the unit; `stop` asks for the run's end without leaving the state."""

    run: str
    slot: int
    started: bool = False
    stop: bool = False


class Rebasing(Frozen, tag_field="status", tag="REBASING", frozen=True, kw_only=True):
    """`ve` merges the base into the branch; `again` after an agent has resolved a conflict."""

    again: bool = False


class Landing(Frozen, tag_field="status", tag="LANDING", frozen=True, kw_only=True):
    """The branch goes into the base, one durable step after the other."""

    step: Step


class NeedsAttention(Frozen, tag_field="status", tag="NEEDS_ATTENTION", frozen=True, kw_only=True):
    """A person is needed: `kind` and `reason` say why, `resume_at` where a retry goes on."""

    kind: AttentionKind
    reason: str
    resume_at: Phase
    options: tuple[str, ...] = ()
    evidence: Evidence | None = None
    landing: Landing | None = None  # the recorded step, where it goes on there
    retry_at: datetime | None = None  # a refused landing is tried again by itself
    approve_hash: str | None = None  # what `approve` has to name, for setup and approval


class Done(Frozen, tag_field="status", tag="DONE", frozen=True, kw_only=True):
    """Merged: `commit` is reachable from the base."""

    commit: str


class Cancelled(Frozen, tag_field="status", tag="CANCELLED", frozen=True, kw_only=True):
    """Ended without a merge; what it had is under the salvage ref, if there was anything."""

    salvage: str | None = None


State = Ready | Blocked | Running | Rebasing | Landing | NeedsAttention | Done | Cancelled
TERMINAL = (Done, Cancelled)


class Ending(Frozen, frozen=True, kw_only=True):
    """A run that no longer decides anything but is still alive: it keeps its slot until it is gone."""

    run: str
    slot: int


class Counters(Frozen, frozen=True, kw_only=True):
    """How often each cause was met since something resolved it; one counter and one limit a cause."""

    error: int = 0
    stalled: int = 0
    lost: int = 0
    review_rounds: int = 0
    reminders: int = 0
    integrations: int = 0


class Visits(Frozen, frozen=True, kw_only=True):
    """How many runs each phase had in this attempt."""

    goal: int = 0
    plan: int = 0
    implement: int = 0
    rebase: int = 0
    review: int = 0
    complete: int = 0


class Meter(Frozen, frozen=True, kw_only=True):
    """How far a conversation's own counters had come: the next run of it consumed what is above that."""

    session: str
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float = 0.0


class WorkUnit(Frozen, frozen=True, kw_only=True):
    """One chunk on its way to a merge. `seq` is the number of the transition that made this value."""

    id: str
    chunk: str
    attempt: int
    phase: Phase
    state: State
    base_ref: str
    first_phase: Phase
    created_at: datetime
    changed_at: datetime
    seq: int = 0
    priority: int = 0
    paused: bool = False
    depends_on: tuple[str, ...] = ()
    created_after: tuple[str, ...] = ()
    satisfied: tuple[str, ...] = ()  # dependencies that the documents at the base already meet
    worktree: str | None = None
    branch: str | None = None
    base_commit: str | None = None
    session: str | None = None
    meter: Meter | None = None
    ending: Ending | None = None
    closing: Literal["cancel", "fresh"] | None = None
    cleaning: bool = False  # ended, its tree not yet removed
    questions: tuple[Question, ...] = ()
    issues: tuple[ReviewIssue, ...] = ()
    decision: ReviewDecision | None = None
    cause: str = ""  # why the next run is needed; part of its prompt
    counters: Counters = Counters()
    visits: Visits = Visits()
    runs: int = 0

    @property
    def live(self) -> bool:
        """Whether the unit has not ended."""
        return not isinstance(self.state, TERMINAL)

    @property
    def run(self) -> str | None:
        """The run that has the unit or is ending, if any."""
        if isinstance(self.state, Running):
            return self.state.run
        return self.ending.run if self.ending else None

    @property
    def slot(self) -> int | None:
        """The slot that the unit's run takes, if any."""
        if isinstance(self.state, Running):
            return self.state.slot
        return self.ending.slot if self.ending else None

    @property
    def open_questions(self) -> tuple[Question, ...]:
        """The questions that nobody has answered yet."""
        return tuple(question for question in self.questions if question.state == "open")


class Lane(Frozen, frozen=True, kw_only=True):
    """A backend that takes no new runs until `until`."""

    backend: str
    until: datetime
    reason: str = ""


class Board(Frozen, frozen=True, kw_only=True):
    """What belongs to no unit: pause, closed lanes, configuration, approved command hashes."""

    config: Config = Config()
    paused: bool = False
    lanes: tuple[Lane, ...] = ()
    approved: tuple[str, ...] = ()
    seq: int = 0


STATUS_NAME: dict[type[Frozen], str] = {
    Ready: "READY",
    Blocked: "BLOCKED",
    Running: "RUNNING",
    Rebasing: "RUNNING",
    Landing: "RUNNING",
    NeedsAttention: "NEEDS_ATTENTION",
    Done: "DONE",
    Cancelled: "CANCELLED",
}


def status_name(state: State) -> str:
    """The status that people see; the two run-less stages of RUNNING are told apart by `stage`."""
    return STATUS_NAME[type(state)]


def utcnow() -> datetime:
    """The current time, UTC."""
    return datetime.now(UTC)
