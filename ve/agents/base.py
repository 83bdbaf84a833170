"""The seam between `ve` and a coding agent. This page is how to write an adapter.

An adapter knows one program and nothing of units, processes or files. It answers three questions:

    check()      is the program here and usable?                        before a unit is dispatched
    launch(job)  which argv, extra environment and stdin start it?      once a run
    parse(line)  which typed events does a line of its output hold?     once a line of `output`

Everything else is the same for every agent and done elsewhere: the process, its limits, its end
(`ve.supervise`), the tools it asks with (`ve.runtool`), and what the run came to (`judge` below).

Rules for an adapter
  - A new file in `ve/agents/`, a line in `ADAPTERS`, and `tests/agents/exercise.py` must pass.
  - `launch` is pure: no I/O, the same job gives the same argv. `Launch.env` holds only what the agent
    needs beyond the allow-list; whoever starts the run adds VE_RUN_ID, VE_RUN_DIR and VE_RUN_TOKEN.
  - The agent gets `python -I -m ve.runtool` as a tool server over stdio, and its built-in way of asking
    a person is denied: a question that answers itself is worse than none.
  - `parse` never raises and reads typed fields only. A line it does not know is `()`. The class of an
    error never comes from words in a text: "line 512" is no HTTP status.
  - Say `Finished(ok=True)` only where the agent itself says that its work ended well, in its own typed
    terminal event. A "success" that carries an error flag is `Finished(ok=False)`.
  - `ModelEvent` at the first sign of the model after a start or a resume: it proves that the answers in
    the prompt were delivered.
  - `LimitReached` only when the backend refused work because of a usage limit, not for a warning.
  - Counts that grow over a whole session are marked `cumulative`; the recorder takes differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

PHASES: tuple[str, ...] = ("GOAL", "PLAN", "IMPLEMENT", "REBASE", "REVIEW", "COMPLETE")

ErrorKind: TypeAlias = Literal[
    "",  # no error, or the agent gave no class
    "agent",  # the agent itself says that it failed
    "auth",  # key or login refused
    "billing",  # no credit
    "model",  # the model does not exist or is not allowed
    "request",  # the backend refused the request as it is
    "overloaded",  # 429, 500, 529 and their like: the same later may work
    "connection",  # the backend was not reached, or the stream was cut
    "turns",  # the agent's own limit of turns
    "budget",  # the agent's own limit of money
    "session",  # the session to resume does not exist any more
]

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a line of an agent can raise; nesting too deep is a RecursionError."""

TRANSIENT: frozenset[str] = frozenset({"overloaded", "connection"})


class AnsweredQuestion(msgspec.Struct, frozen=True):
    """A question of an earlier run of this attempt, with the operator's answer."""

    id: str
    text: str
    answer: str


class ReviewIssue(msgspec.Struct, frozen=True):
    """What a reviewer found; each needs a disposition (fixed, or declined with a reason)."""

    id: str
    place: str = ""
    concern: str = ""
    suggestion: str = ""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What one run is asked to do. Written as `job.json` before the run starts, then never changed."""

    run: str
    unit: str
    chunk: str
    attempt: int
    phase: str
    """One of PHASES."""
    visit: int = 1
    """The nth run of this phase in this attempt, from 1."""
    worktree: str
    run_dir: str
    prompt: str
    session: str | None = None
    """The agent's conversation to go on with (`resume`), or the id a new one should have."""
    resume: bool = False
    answers: tuple[AnsweredQuestion, ...] = ()
    """Oldest first."""
    cause: str = ""
    issues: tuple[ReviewIssue, ...] = ()


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """How to start the program. `stdin` is a file's path; None means /dev/null, never an open pipe."""

    argv: tuple[str, ...]
    env: dict[str, str] = {}
    stdin: str | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`[agents.NAME]` of the configuration. Empty means: the adapter's own default."""

    command: tuple[str, ...] = ()
    model: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}


class Fitness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the program can be used here; when not, `reason` says why and `hint` what to do."""

    ok: bool
    version: str = ""
    reason: str = ""
    hint: str = ""


# ---------------------------------------------------------------------------------------- events


class SessionStarted(msgspec.Struct, frozen=True, tag="session"):
    """The agent's conversation has this id; a later run can resume it."""

    id: str


class ModelEvent(msgspec.Struct, frozen=True, tag="model"):
    """The model did something. The first one after a (re)start proves that the prompt was delivered."""

    text: str = ""


class ToolCall(msgspec.Struct, frozen=True, tag="tool_call"):
    """The agent uses a tool; `summary` is one line for a person."""

    id: str
    name: str
    summary: str = ""


class ToolResult(msgspec.Struct, frozen=True, tag="tool_result"):
    """A tool came back."""

    id: str
    ok: bool
    summary: str = ""


class UsageEvent(msgspec.Struct, frozen=True, tag="usage"):
    """Tokens and US dollars. `estimated`: computed by `ve` or the client, not billed by the backend."""

    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost_usd: float = 0.0
    estimated: bool = True
    cumulative: bool = False
    """True: counted since the session began, also over earlier runs."""


class LimitReached(msgspec.Struct, frozen=True, tag="limit"):
    """The backend refuses work until then (RFC 3339, UTC); None: it does not say."""

    until: str | None
    reason: str


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The agent's own typed terminal event. Where a stream holds several, the last one counts."""

    ok: bool
    message: str = ""
    error_kind: ErrorKind = ""


Event: TypeAlias = SessionStarted | ModelEvent | ToolCall | ToolResult | UsageEvent | LimitReached | Finished


@runtime_checkable
class Adapter(Protocol):
    """One agent program. Made by `ve.agents.adapter(name, settings)`."""

    name: ClassVar[str]

    def check(self) -> Fitness:
        """Is the program here, and usable as it is? May start it; at most 10 seconds. Never raises."""
        ...

    def launch(self, job: Job) -> Launch:
        """How to start it for this job. Pure."""
        ...

    def parse(self, line: bytes) -> tuple[Event, ...]:
        """The events of one whole line of its stdout, without the newline. Never raises."""
        ...


# ---------------------------------------------------------------------------------- what it came to

FailureKind: TypeAlias = Literal["error", "setup", "stalled", "limit", "lost", "stopped"]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Where an operator looks: the run, the last line of its output, its exit, the end of its stderr."""

    run: str
    line: str
    exit_code: int | None
    stderr_tail: str


class Clean(msgspec.Struct, frozen=True, tag="clean"):
    """The run ended well: typed terminal event, no error flag, exit 0, our tools were there."""

    message: str = ""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """Anything else. `kind` is the kind of attention, `cause` the agent's typed class of error;
    `transient`: the same run later may work, so a retry with back-off makes sense."""

    kind: FailureKind
    reason: str
    evidence: Evidence
    cause: ErrorKind = ""
    transient: bool = False


class Limited(msgspec.Struct, frozen=True, tag="limited"):
    """The backend's usage limit ended the run; the unit is not to blame."""

    until: str | None
    reason: str


Outcome: TypeAlias = Clean | Failed | Limited


class Ended(Protocol):
    """What `judge` needs of an exit record (`ve.proc.runfolder.Exit` is one)."""

    @property
    def how(self) -> str: ...
    @property
    def code(self) -> int | None: ...
    @property
    def signal(self) -> int | None: ...
    @property
    def message(self) -> str: ...


def judge(
    events: Sequence[Event],
    exit: Ended | None,
    tools_ready: bool,
    *,
    run: str = "",
    line: str = "",
    stderr_tail: str = "",
) -> Outcome:
    """What a finished run came to. Pure; never raises.

    `exit` is None when the run was lost: its supervisor died without an exit record. `line` is the
    last line read of `output`. The phase's effect in the worktree is judged elsewhere.
    """
    finished = next((event for event in reversed(events) if isinstance(event, Finished)), None)
    if exit is not None and finished is not None and finished.ok and _exited_zero(exit) and tools_ready:
        return Clean(finished.message)
    limit = next((event for event in reversed(events) if isinstance(event, LimitReached)), None)
    if limit is not None:
        return Limited(limit.until, limit.reason)
    kind, what, advice = _failure(finished, exit, tools_ready)
    cause: ErrorKind = finished.error_kind if finished is not None and not finished.ok else ""
    return Failed(
        kind=kind,
        reason=" ".join(part for part in (what, _last_line(stderr_tail), advice) if part),
        evidence=Evidence(
            run=run,
            line=line[:2000],
            exit_code=None if exit is None else exit.code,
            stderr_tail=stderr_tail[-4000:],
        ),
        cause=cause,
        transient=cause in TRANSIENT and kind == "error",
    )


_ADVICE: dict[str, tuple[FailureKind, str]] = {
    "auth": ("setup", "Log the agent in or set its key, then `ve orch retry`."),
    "billing": ("setup", "The account has no credit; settle it, then `ve orch retry`."),
    "model": ("setup", "Choose another model in [agents.NAME] of ve.toml, then `ve orch retry`."),
    "turns": ("limit", "Read what it did with `ve orch tail`, then `ve orch retry` to let it go on."),
    "budget": ("limit", "Raise the budget or retry with `ve orch retry` to let it go on."),
    "session": ("error", "Its conversation is gone; `ve orch retry` goes on with a new one."),
}

_RETRY = "Read its output with `ve orch tail`, then `ve orch retry`."


def _exited_zero(exit: Ended) -> bool:
    return exit.how == "exited" and exit.code == 0


def _failure(
    finished: Finished | None, exit: Ended | None, tools_ready: bool
) -> tuple[FailureKind, str, str]:
    if exit is None:
        return "lost", "The run was lost: its supervisor died without an exit record.", "`ve orch retry`."
    if exit.how == "start_failed":
        return (
            "setup",
            f"The agent did not start: {exit.message}.",
            "Start it by hand in the worktree, then `ve orch retry`.",
        )
    if exit.how in ("wall_limit", "idle_limit"):
        return "stalled", f"The agent was ended: {exit.message}.", _RETRY
    if exit.how == "stopped":
        return "stopped", f"The agent was stopped ({_ending(exit)}).", "`ve orch retry`."
    if finished is not None and not finished.ok:
        kind, advice = _ADVICE.get(finished.error_kind, ("error", _RETRY))
        said = finished.message.strip() or "no message"
        return kind, f"The agent reported a failure: {said} ({_ending(exit)}).", advice
    if exit.how == "signalled":
        return "error", f"The agent was killed by signal {exit.signal}.", _RETRY
    if not tools_ready:
        return (
            "setup",
            f"The agent never asked for the tools of `ve`, so it could not have asked a question "
            f"({_ending(exit)}).",
            "Start it by hand in the worktree, then `ve orch retry`.",
        )
    if finished is None:
        return "error", f"The agent ended without its terminal event ({_ending(exit)}).", _RETRY
    return "error", f"The agent reported success but ended with {_ending(exit)}.", _RETRY


def _ending(exit: Ended) -> str:
    return f"signal {exit.signal}" if exit.signal is not None else f"exit code {exit.code}"


def _last_line(stderr_tail: str) -> str:
    lines = [line.strip() for line in stderr_tail.splitlines() if line.strip()]
    return f"Last line of stderr: {lines[-1][:300]}" if lines else ""
