"""The verbs: every request to change a unit or the board, a Struct and a sentence each.

A command names what it wants, never a whole row; `transitions.decide` applies it to the state as it
is at that moment. Who may send a command stands in `sent_by`; the operator's verbs are what faces
offer. To add one: a Struct here, a row in `transitions.py`, a case in the tests; nothing else.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from ve.configfields import Config
from ve.unit import (
    BaseMoved,
    Checked,
    CheckoutUpdated,
    Committed,
    Evidence,
    Frozen,
    Integrated,
    Meter,
    Phase,
    ReviewDecision,
    Swapping,
)

Sender = Literal["operator", "scheduler", "run", "daemon"]


class Command(Frozen, tag=lambda name: name, tag_field="command", frozen=True, kw_only=True):
    """Base of all commands. `unit` is the id of the unit it is for, empty for the board's own."""

    sent_by: ClassVar[tuple[Sender, ...]] = ("daemon",)
    unit: str = ""

    def why(self) -> str:
        """A sentence for the history on why this was sent; empty where the name says it all."""
        return ""


class RunCommand(Command, frozen=True, kw_only=True):
    """A command of a run; refused as stale when that run is neither current nor ending."""

    sent_by: ClassVar[tuple[Sender, ...]] = ("run",)
    run: str


# ── Into the queue and out of it ───────────────────────────────────────────────────────────────────


class Inject(Command, frozen=True, kw_only=True):
    """Queue a chunk: `unit` is the new unit's id; base and documents were read before."""

    sent_by: ClassVar[tuple[Sender, ...]] = ("operator",)
    chunk: str
    base_ref: str
    phase: Phase
    depends_on: tuple[str, ...] = ()
    created_after: tuple[str, ...] = ()
    satisfied: tuple[str, ...] = ()
    priority: int = 0
    approval: str | None = None
    """What a person must have approved: the hash of the chunk's files; None where none has to."""


class Block(Command, frozen=True, kw_only=True):
    """A dependency is not satisfied (again), or the list of those has changed. Derived."""


class Unblock(Command, frozen=True, kw_only=True):
    """Every dependency is satisfied. Derived."""


class DependencyGone(Command, frozen=True, kw_only=True):
    """A dependency ended unmerged, or never existed: nothing will ever satisfy it. Derived."""

    gone: tuple[str, ...]

    def why(self) -> str:
        return f"nothing will finish {', '.join(self.gone)}"


class Unfit(Command, frozen=True, kw_only=True):
    """The unit cannot run as things are: no client, or a command that nobody approved yet."""

    sent_by: ClassVar[tuple[Sender, ...]] = ("scheduler",)
    reason: str
    approve_hash: str | None = None

    def why(self) -> str:
        return self.reason


class Dispatch(Command, frozen=True, kw_only=True):
    """Give the unit a slot and a run."""

    sent_by: ClassVar[tuple[Sender, ...]] = ("scheduler",)
    run: str
    slot: int
    backend: str


# ── What a run tells ───────────────────────────────────────────────────────────────────────────────


class WorktreeReady(RunCommand, frozen=True, kw_only=True):
    """The tree of this attempt stands, made from `base_commit`."""

    worktree: str
    branch: str
    base_commit: str


class RunStarted(RunCommand, frozen=True, kw_only=True):
    """The agent's process is alive under its supervisor."""


class SessionKnown(RunCommand, frozen=True, kw_only=True):
    """The agent said which conversation this is, so that it can be resumed."""

    session: str


class Asked(Frozen, frozen=True, kw_only=True):
    """One question as the tool captured it."""

    id: str
    text: str
    options: tuple[str, ...] = ()
    context: str = ""


class Ask(RunCommand, frozen=True, kw_only=True):
    """The agent called AskOperator: one or more questions, known by their ids."""

    questions: tuple[Asked, ...]

    def why(self) -> str:
        return "; ".join(question.text for question in self.questions)


class Delivered(RunCommand, frozen=True, kw_only=True):
    """The agent went on after it was given the answers bound to this run."""


class ReviewDecided(RunCommand, frozen=True, kw_only=True):
    """The reviewer called ReviewDecision."""

    decision: ReviewDecision

    def why(self) -> str:
        return self.decision.decision


class Disposed(RunCommand, frozen=True, kw_only=True):
    """The implementer said what became of a review issue."""

    issue: str
    disposition: Literal["fixed", "declined"]
    reason: str = ""


class Clean(Frozen, tag_field="type", tag="clean", frozen=True, kw_only=True):
    """The run did what its phase asks, typed and complete."""


class Failed(Frozen, tag_field="type", tag="failed", frozen=True, kw_only=True):
    """The run ended without success; `retry` where trying again may help."""

    kind: Literal["error", "setup", "limit"] = "error"
    reason: str
    evidence: Evidence | None = None
    retry: bool = True
    session_gone: bool = False
    """The conversation to go on with does not exist any more: the next run begins a new one."""


class Stalled(Frozen, tag_field="type", tag="stalled", frozen=True, kw_only=True):
    """The run was ended by a time limit."""

    reason: str
    evidence: Evidence | None = None


class Limited(Frozen, tag_field="type", tag="limited", frozen=True, kw_only=True):
    """The backend takes nothing more until then; not the unit's fault."""

    until: datetime
    reason: str = ""


class Lost(Frozen, tag_field="type", tag="lost", frozen=True, kw_only=True):
    """Supervisor and agent are gone without an exit record."""

    reason: str
    evidence: Evidence | None = None


Exit = Clean | Failed | Stalled | Limited | Lost


class Usage(Frozen, frozen=True, kw_only=True):
    """What a run consumed: tokens, and US dollars where the agent says so."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = None
    estimated: bool = False


class RunEnded(RunCommand, frozen=True, kw_only=True):
    """The run has exited, nothing of it is left, its files were read to their end."""

    exit: Exit
    usage: Usage | None = None
    meter: Meter | None = None
    ended_at: datetime | None = None

    def why(self) -> str:
        return "phase done" if isinstance(self.exit, Clean) else self.exit.reason


class Fail(RunCommand, frozen=True, kw_only=True):
    """The run cannot go on; `alive` while its supervisor still lives."""

    failure: Failed
    alive: bool

    def why(self) -> str:
        return self.failure.reason


class Stall(RunCommand, frozen=True, kw_only=True):
    """The run shows no sign of work; it is still alive and will be stopped."""

    reason: str

    def why(self) -> str:
        return self.reason


class LimitHit(RunCommand, frozen=True, kw_only=True):
    """The backend refused the run until then; it is still alive and will be stopped."""

    until: datetime
    reason: str = ""

    def why(self) -> str:
        return self.reason


# ── Rebasing and landing ───────────────────────────────────────────────────────────────────────────


class Rebased(Command, frozen=True, kw_only=True):
    """The branch contains `base`; its tip is `commit`."""

    commit: str
    base: str


class RebaseConflict(Command, frozen=True, kw_only=True):
    """Base and branch disagree; an agent's run is needed. `files` with both sides, as text."""

    files: tuple[str, ...]
    text: str = ""

    def why(self) -> str:
        return f"conflict in {', '.join(self.files)}"


class RebaseFailed(Command, frozen=True, kw_only=True):
    """Git could not do the merge at all."""

    reason: str

    def why(self) -> str:
        return self.reason


class ConflictFound(Command, frozen=True, kw_only=True):
    """A conflict that needs a person, found before dispatch, at a rebase or at landing."""

    files: tuple[str, ...]
    text: str = ""
    run: str | None = None

    def why(self) -> str:
        return f"conflict in {', '.join(self.files)}"


class LandingStep(Command, frozen=True, kw_only=True):
    """A step of landing stands (or, for swapping, is about to be done)."""

    step: Committed | Integrated | Checked | Swapping | BaseMoved | CheckoutUpdated

    def why(self) -> str:
        return str(type(self.step).__struct_config__.tag)


class BaseChanged(Command, frozen=True, kw_only=True):
    """The base moved on under a landing; integrate again."""

    tip: str


class ApprovalNeeded(Command, frozen=True, kw_only=True):
    """`land = "approve"`: a person has to say yes to this merge."""

    merge: str


class CheckFailed(Command, frozen=True, kw_only=True):
    """The check command failed on the merged tree."""

    output: str

    def why(self) -> str:
        return self.output[-200:]


class LandingRefused(Command, frozen=True, kw_only=True):
    """The base or its checkout does not allow the landing now; nothing was touched."""

    reason: str

    def why(self) -> str:
        return self.reason


class Landed(Command, frozen=True, kw_only=True):
    """The merge is in the base and its checkout."""

    commit: str


class Salvaged(Command, frozen=True, kw_only=True):
    """What a cancelled or renewed attempt held is safe under `ref` (None: it held nothing)."""

    ref: str | None = None


class Cleaned(Command, frozen=True, kw_only=True):
    """The tree of an ended unit was removed, or is kept because the configuration says so."""

    kept: bool = False


# ── What an operator may do ────────────────────────────────────────────────────────────────────────


class Verb(Command, frozen=True, kw_only=True):
    """Base of the operator's verbs on a unit."""

    sent_by: ClassVar[tuple[Sender, ...]] = ("operator",)


class Answer(Verb, frozen=True, kw_only=True):
    """Answer a question: by text, or by the number of an option (1 is the first)."""

    question: str | None = None
    text: str | None = None
    option: int | None = None
    by: str = "operator"

    def why(self) -> str:
        return self.text or f"option {self.option}"


class Retry(Verb, frozen=True, kw_only=True):
    """Go on where the unit stopped; `fresh` starts a new attempt from the base."""

    sent_by: ClassVar[tuple[Sender, ...]] = ("operator", "scheduler")
    fresh: bool = False


class Resolve(Verb, frozen=True, kw_only=True):
    """Decide what `ve` may not: a conflict, a review, a dependency that is gone."""

    choice: Literal["serialize", "approve", "feedback", "drop"]
    text: str = ""

    def why(self) -> str:
        return self.choice


class Approve(Verb, frozen=True, kw_only=True):
    """Say yes to what was shown, named by its hash."""

    hash: str


class MarkMerged(Verb, frozen=True, kw_only=True):
    """Declare the work done by hand: `commit` is in the base (checked by git: `in_base`)."""

    commit: str
    in_base: bool
    reason: str = ""


class Prioritize(Verb, frozen=True, kw_only=True):
    """Higher goes first."""

    priority: int


class Pause(Verb, frozen=True, kw_only=True):
    """Do not dispatch or land this unit; a run that has it ends its phase."""


class Unpause(Verb, frozen=True, kw_only=True):
    """Dispatch and land this unit again."""


class Cancel(Verb, frozen=True, kw_only=True):
    """End the unit without a merge; its work goes under a salvage ref."""

    reason: str = ""

    def why(self) -> str:
        return self.reason


# ── The board ──────────────────────────────────────────────────────────────────────────────────────


class BoardCommand(Command, frozen=True, kw_only=True):
    """A command that changes no unit."""


class BoardPaused(BoardCommand, frozen=True, kw_only=True):
    """Dispatch and land nothing."""

    sent_by: ClassVar[tuple[Sender, ...]] = ("operator",)


class BoardUnpaused(BoardCommand, frozen=True, kw_only=True):
    """Dispatch and land again."""

    sent_by: ClassVar[tuple[Sender, ...]] = ("operator",)


class LaneClosed(BoardCommand, frozen=True, kw_only=True):
    """A backend takes nothing until then."""

    backend: str
    until: datetime
    reason: str = ""

    def why(self) -> str:
        return self.reason


class LaneOpened(BoardCommand, frozen=True, kw_only=True):
    """A backend's limit has passed."""

    backend: str


class ConfigSet(BoardCommand, frozen=True, kw_only=True):
    """The configuration is now this; `key` says what was set, empty when files were read at a start."""

    sent_by: ClassVar[tuple[Sender, ...]] = ("operator", "daemon")
    config: Config
    key: str = ""
    value: str = ""

    def why(self) -> str:
        return f"{self.key} = {self.value}" if self.key else "read from the files"


class HashApproved(BoardCommand, frozen=True, kw_only=True):
    """A setup or check command may run, or a background `chunk` be queued, known by its content's hash."""

    sent_by: ClassVar[tuple[Sender, ...]] = ("operator",)
    hash: str
    chunk: str = ""

    def why(self) -> str:
        return f"chunk {self.chunk}" if self.chunk else ""


OPERATOR_VERBS: dict[str, type[Verb]] = {
    "answer": Answer,
    "retry": Retry,
    "resolve": Resolve,
    "approve": Approve,
    "prioritize": Prioritize,
    "pause": Pause,
    "unpause": Unpause,
    "cancel": Cancel,
    "merged": MarkMerged,
}
