"""The seam between `ve` and a coding agent. This page is how to write an adapter.

An adapter knows one program and nothing of units, processes or files. It answers three questions:

    check()      is the program here and usable?                        before a unit is dispatched
    launch(job)  which argv, extra environment and stdin start it?      once a run
    parse(line)  which typed events does a line of its output hold?     once a line of `output`

Everything else is the same for every agent and done elsewhere: the process, its limits, its end
(`ve.supervise`), the tools it asks with (`ve.runtool`), and what the run came to (`judge`).

Rules for an adapter
  - A new file in `ve/agents/`, a line in `ADAPTERS`, and `tests/agents/exercise.py` must pass.
  - `launch` is pure: no I/O, the same job gives the same argv. `Launch.env` holds only what the agent
    needs beyond the allow-list; whoever starts the run adds VE_RUN_ID, VE_RUN_DIR and VE_RUN_TOKEN.
    A file that the agent reads (its tool servers, its settings) goes into `Launch.files`.
  - The agent gets `tool_server(job)` over stdio, and its built-in way of asking a person is denied: a
    question that answers itself is worse than none.
  - Configuration of the repository that can run code (hooks, tool servers) is off, unless
    `Settings.repo_config` allows it.
  - `parse` never raises and reads typed fields only. A line it does not know is `()`. The class of an
    error never comes from words in a text: "line 512" is no HTTP status. One object reads one run from its
    first line, so it may remember what it saw; `check` and `launch` remember nothing.
  - Say `Finished(ok=True)` only where the agent itself says that its work ended well, in its own typed
    terminal event. A "success" that carries an error flag is `Finished(ok=False)`.
  - `ModelEvent` at the first sign of the model after a start or a resume: it proves that the answers in
    the prompt were delivered.
  - `LimitReached` only when the backend refused work because of a usage limit, not for a warning.
  - Counts that grow over a whole session are marked `cumulative`; the recorder takes differences.
"""

from __future__ import annotations

import sys
from typing import ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

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
    "refused",  # the model itself declines the task
    "tools",  # the tools of `ve` are missing
]

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a line of an agent can raise; nesting too deep is a RecursionError."""


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
    agent: str = "script"
    """The section of the configuration that it was started with."""
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
    files: dict[str, str] = {}
    """Name -> text, written into the run's folder before the start, for the operator's eyes only."""
    passes: tuple[str, ...] = ()
    """Variables of the daemon's own environment that this client may see: its key, its settings folder."""


TOOL_SERVER = "ve"
"""What a client calls our tool server; many put it before the tools' names."""


class ToolServer(NamedTuple):
    """The tool server as clients want it: a program, its arguments, its environment."""

    command: str
    args: tuple[str, ...]
    env: dict[str, str]


def tool_server(job: Job) -> ToolServer:
    """The MCP server over stdio with the tools of that run."""
    args = ("-I", "-m", "ve.runtool", job.run_dir)
    return ToolServer(sys.executable, args, {"VE_RUN_ID": job.run, "VE_RUN_DIR": job.run_dir})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`[agents.NAME]` of the configuration. Empty means: the adapter's own default."""

    command: tuple[str, ...] = ()
    model: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    base_url: str = ""
    """Where the model's API is."""
    max_turns: int = 0
    """Turns of the model in one run; 0: no limit but those of time."""
    budget_usd: float = 0.0
    """US dollars that one run may cost; 0: no limit."""
    repo_config: bool = False
    """Whether the repository's own configuration of the agent may run code (hooks, tool servers)."""


class Abilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a client can do; where it cannot, `ve` does without."""

    resume: bool = True
    """Goes on with a conversation; else each run is told everything again."""
    ask: bool = True
    """Uses the tools of `ve`. Without them it can neither ask nor decide a review."""
    usage: bool = True
    """Says what it consumed."""
    turn_limit: bool = False
    budget: bool = False
    events: bool = True
    """Prints typed events. False: exit code 0 is all that it says of its success."""
    own_tools: bool = False
    """Starts the tool server of `ve` by itself: nothing of it is in the launch."""
    effect: bool = True
    """PLAN must have written the plan, the first IMPLEMENT must have changed something."""


class Fitness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the program can be used here; when not, `reason` says why and `hint` what to do."""

    ok: bool
    version: str = ""
    reason: str = ""
    hint: str = ""
    login: Literal["yes", "no", "unknown", "not needed"] = "unknown"


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


class Stuck(msgspec.Struct, frozen=True, tag="stuck"):
    """The agent goes on but cannot succeed, or would try for ever: `ve` stops it, and this is why."""

    message: str
    error_kind: ErrorKind = ""


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The agent's own typed terminal event. Where a stream holds several, the last one counts."""

    ok: bool
    message: str = ""
    error_kind: ErrorKind = ""


Event: TypeAlias = (
    SessionStarted | ModelEvent | ToolCall | ToolResult | UsageEvent | LimitReached | Stuck | Finished
)


@runtime_checkable
class Adapter(Protocol):
    """One agent program. Made by `ve.agents.adapter(name, settings)`."""

    name: ClassVar[str]
    """How the configuration calls it."""
    title: ClassVar[str]
    """How people call it."""
    install: ClassVar[str]
    """The command that installs it; empty: nothing to install."""
    abilities: ClassVar[Abilities]

    def check(self) -> Fitness:
        """Is the program here, and usable as it is? May start it; at most 10 seconds. Never raises.

        Called off the event loop, before a unit is dispatched and by `ve orch agents`.
        """
        ...

    def launch(self, job: Job) -> Launch:
        """How to start it for this job. Pure."""
        ...

    def parse(self, line: bytes) -> tuple[Event, ...]:
        """The events of one whole line of its stdout, without the newline. Never raises."""
        ...


@runtime_checkable
class Explains(Protocol):
    """An adapter whose program tells some failures on stderr only, in a form that is no prose."""

    def explain(self, stderr_tail: str) -> Finished | None:
        """The terminal event that its output lacks; asked only when there was none. Never raises."""
        ...
