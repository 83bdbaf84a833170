"""Claude Code, headless: `claude -p` with a stream of JSON lines.

Rules that come from what the program does (measured with 2.1.329, and with 2.1.197, the oldest allowed):
  - A failure of the API ends with `subtype: "success"`; only `is_error` and `terminal_reason` tell.
  - A tool server that does not start is not an error to it; only its first event tells.
  - Its errors are messages in the model's name (`<synthetic>`); they are no sign of the model.
  - After AskOperator and ReviewDecision have recorded, a hook ends the turn: the model need not obey, and
    no further request is paid for. Calls of the same message still run, so no question is lost.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from ve.agents.base import (
    TOOL_SERVER,
    UNREADABLE,
    Abilities,
    ErrorKind,
    Event,
    Finished,
    Fitness,
    Job,
    Launch,
    LimitReached,
    ModelEvent,
    SessionStarted,
    Settings,
    Stuck,
    ToolCall,
    ToolResult,
    UsageEvent,
    tool_server,
)
from ve.agents.program import ask, missing, variables, versionless

OLDEST = (2, 1, 197)
PASSES = (
    "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CONFIG_DIR",
)  # fmt: skip
TOOLS = "Bash,Read,Edit,Write,Glob,Grep"
"""No tools that work in the background, wake up later, talk to other sessions or ask a person."""
ALLOWED = f"Bash,mcp__{TOOL_SERVER}"
"""The mode `acceptEdits` allows the files of the worktree; a bare `Write` here would allow all the disk."""
ENVIRONMENT = {
    "CLAUDE_CODE_MAX_RETRIES": "2",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_TELEMETRY": "1",
    "DISABLE_AUTOUPDATER": "1",
    "MCP_TIMEOUT": "20000",
}
"""Retries are few, because `ve` backs off by itself; milliseconds for the start of the tool server."""
ENDS_THE_TURN = f"mcp__{TOOL_SERVER}__(AskOperator|ReviewDecision)"
HOOK = """echo '{"continue": false, "stopReason": "It is recorded, and the turn ends here."}'"""
INSTRUCTIONS = (
    "If there is a CLAUDE.md or an AGENTS.md at the root of the working directory, read it before you begin: "
    "it holds the project's instructions."
)
"""Without the repository's settings the program does not read these files by itself."""


class Claude:
    """Adapter of Claude Code."""

    name: ClassVar[str] = "claude"
    title: ClassVar[str] = "Claude Code"
    install: ClassVar[str] = "npm install -g @anthropic-ai/claude-code"
    abilities: ClassVar[Abilities] = Abilities(turn_limit=True, budget=True)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._variables = variables(settings.env)
        self._began = False
        self._error = ""
        self._until: str | None = None

    # ── Before a run ───────────────────────────────────────────────────────────────────────────────

    def check(self) -> Fitness:
        """Asks the program itself for its version and its login: 0.3 s."""
        command = self._settings.command or ("claude",)
        if lack := missing(self.title, command, self.install):
            return lack
        env = self._seen_environment()
        said = ask((*command, "--version"), env).text
        found = re.match(r"(\d+)\.(\d+)\.(\d+)", said)
        if found is None:
            return versionless(command, self.install)
        version = found[0]
        if tuple(map(int, found.groups())) < OLDEST:
            reason = f"{self.title} {version} is older than {'.'.join(map(str, OLDEST))}"
            return Fitness(ok=False, version=version, reason=reason, hint=f"{self.install}@latest")
        return self._login(version, ask((*command, "auth", "status", "--json"), env).text)

    def _login(self, version: str, said: str) -> Fitness:
        try:
            logged_in = msgspec.json.decode(said, type=Login).logged_in
        except UNREADABLE:
            return Fitness(ok=True, version=version)
        if logged_in:
            return Fitness(ok=True, version=version, login="yes")
        return Fitness(
            ok=False,
            version=version,
            reason=f"{self.title} is not logged in",
            hint="Log in with `claude auth login`, or start the daemon with ANTHROPIC_API_KEY set.",
            login="no",
        )

    def _seen_environment(self) -> dict[str, str]:
        """What of this environment a run will see and a login can depend on."""
        names = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", *self._passes)
        here = {name: os.environ[name] for name in names if name in os.environ}
        return {**here, **self._environment()}

    def launch(self, job: Job) -> Launch:
        """The prompt is its stdin: an argument has a limit, and could be taken for an option."""
        return Launch(
            argv=self._argv(job),
            env=self._environment(),
            stdin=f"{job.run_dir}/prompt.md",
            files={"mcp.json": _json(_servers(job)), "settings.json": _json(_settings())},
            passes=self._passes,
        )

    def _argv(self, job: Job) -> tuple[str, ...]:
        own = self._settings
        argv = [*(own.command or ("claude",)), "-p", "--verbose", "--output-format", "stream-json"]
        argv += ["--resume" if job.session and job.resume else "--session-id", session_of(job)]
        if own.repo_config:
            argv += ["--setting-sources", "project"]
        else:
            argv += ["--setting-sources", "", "--strict-mcp-config", "--append-system-prompt", INSTRUCTIONS]
        argv += ["--settings", f"{job.run_dir}/settings.json", "--mcp-config", f"{job.run_dir}/mcp.json"]
        argv += ["--tools", TOOLS, "--allowedTools", ALLOWED, "--disallowedTools", "AskUserQuestion"]
        argv += ["--permission-mode", "acceptEdits"]
        if own.model:
            argv += ["--model", own.model]
        if own.max_turns:
            argv += ["--max-turns", str(own.max_turns)]
        if own.budget_usd:
            argv += ["--max-budget-usd", f"{own.budget_usd:g}"]
        return (*argv, *own.args)

    def _environment(self) -> dict[str, str]:
        url = {"ANTHROPIC_BASE_URL": self._settings.base_url} if self._settings.base_url else {}
        return {**ENVIRONMENT, **url, **self._variables.env}

    @property
    def _passes(self) -> tuple[str, ...]:
        return (*PASSES, *self._variables.passes)

    # ── Its output ─────────────────────────────────────────────────────────────────────────────────

    def parse(self, line: bytes) -> tuple[Event, ...]:
        """The events of one line; unknown lines are none."""
        try:
            kind = _kind(line)
            if kind.type == "system" and kind.subtype == "init":
                return self._of_init(_init(line))
            if kind.type == "assistant":
                return self._of_assistant(_assistant(line))
            if kind.type == "user":
                return _of_user(_user(line))
            if kind.type == "rate_limit_event":
                return self._of_limit(_limit(line))
            if kind.type == "result":
                return self._of_result(_result(line))
        except UNREADABLE:
            pass
        return ()

    def _of_init(self, said: Init) -> tuple[Event, ...]:
        """A tool server that is still starting is watched by `ve` itself."""
        self._began = True
        state = next((server.status for server in said.mcp_servers if server.name == TOOL_SERVER), "missing")
        if state in ("connected", "pending"):
            return (SessionStarted(said.session_id),)
        return (
            SessionStarted(said.session_id),
            Stuck(f"the tool server `{TOOL_SERVER}` did not start in it, its state is {state}", "tools"),
        )

    def _of_assistant(self, said: Assistant) -> tuple[Event, ...]:
        if said.message.model == "<synthetic>":
            self._error = said.error or ""
            return ()
        text = " ".join(block.text for block in said.message.content if block.type == "text")
        calls = [
            ToolCall(block.id, block.name.removeprefix(f"mcp__{TOOL_SERVER}__"), _summary(block.input))
            for block in said.message.content
            if block.type == "tool_use"
        ]
        return (ModelEvent(text), *calls)

    def _of_limit(self, said: LimitEvent) -> tuple[Event, ...]:
        """Kept for the result: with paid overage the same event does not stop the work."""
        info = said.rate_limit_info
        if info.status == "rejected" and info.resets_at:
            self._until = _time(info.resets_at)
        return ()

    def _of_result(self, said: Result) -> tuple[Event, ...]:
        usage = said.usage_events()
        if said.subtype == "success" and not said.is_error:
            ok = said.terminal_reason in ("completed", "hook_stopped")
            reason = said.result if ok else f"it ended early: {said.terminal_reason or 'no turn was made'}"
            return (*usage, Finished(ok, _short(reason or ""), "" if ok else "agent"))
        message = _short(said.result or "; ".join(said.errors) or said.subtype)
        refused_by_limit = said.api_error_status == 429 and self._until is not None
        if said.api_error == "usage_limit_reached" or refused_by_limit:
            return (*usage, LimitReached(self._until, message), Finished(False, message, "overloaded"))
        return (*usage, Finished(False, message, self._class_of(said)))

    def _class_of(self, said: Result) -> ErrorKind:
        if said.subtype == "error_during_execution" and not self._began:
            return "session"  # the only thing that ends it with a result before its first event
        if said.stop_reason == "refusal":
            return "refused"
        return (
            _BY_SUBTYPE.get(said.subtype)
            or _BY_API_ERROR.get(said.api_error or "")
            or _BY_ERROR.get(self._error)
            or _by_status(said.api_error_status)
            or "agent"
        )


_BY_SUBTYPE: dict[str, ErrorKind] = {"error_max_turns": "turns", "error_max_budget_usd": "budget"}
_BY_API_ERROR: dict[str, ErrorKind] = {"connection_failed": "connection", "max_output_tokens": "request"}
_BY_ERROR: dict[str, ErrorKind] = {
    "authentication_failed": "auth",
    "billing_error": "billing",
    "model_not_found": "model",
    "rate_limit": "overloaded",
    "overloaded": "overloaded",
    "server_error": "overloaded",
    "invalid_request": "request",
}


def _by_status(status: int | None) -> ErrorKind:
    if status is None:
        return ""
    exact: dict[int, ErrorKind] = {401: "auth", 402: "billing", 403: "auth", 404: "model"}
    return exact.get(status) or ("overloaded" if status == 429 or status >= 500 else "request")


def session_of(job: Job) -> str:
    """The conversation's id. It must be a UUID: a new one is made of the run's id, and so is that of
    another agent's conversation, which this one then says it does not have."""
    try:
        return str(uuid.UUID(job.session or ""))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"ve:{job.session or job.run}"))


def _servers(job: Job) -> dict[str, Any]:
    """`alwaysLoad`: else the model must search for the tools before it sees them."""
    server = tool_server(job)
    entry = {
        "type": "stdio",
        "command": server.command,
        "args": server.args,
        "env": server.env,
        "alwaysLoad": True,
    }
    return {"mcpServers": {TOOL_SERVER: entry}}


def _settings() -> dict[str, Any]:
    """No advertising in commits; the hook runs only after a call that succeeded."""
    hook = {"type": "command", "command": HOOK, "timeout": 10}
    return {
        "attribution": {"commit": "", "pr": ""},
        "hooks": {"PostToolUse": [{"matcher": ENDS_THE_TURN, "hooks": [hook]}]},
    }


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _short(text: str, limit: int = 500) -> str:
    """One line."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _summary(arguments: Mapping[str, Any]) -> str:
    """The argument that says most."""
    for name in ("command", "file_path", "pattern", "question", "decision", "issue"):
        if isinstance(value := arguments.get(name), str):
            return _short(value, 200)
    return ""


def _time(seconds: float) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return None


# ---------------------------------------------------------------------------- the lines that count


class Kind(Struct, frozen=True):
    """What every line has."""

    type: str
    subtype: str = ""


class Server(Struct, frozen=True):
    """A tool server, as the first event tells it."""

    name: str
    status: str = ""


class Init(Struct, frozen=True):
    """The first event; once more when it wakes up after its result."""

    session_id: str
    mcp_servers: tuple[Server, ...] = ()


class Block(Struct, frozen=True):
    """A part of a message."""

    type: str
    text: str = ""
    id: str = ""
    name: str = ""
    input: dict[str, Any] = {}
    tool_use_id: str = ""
    is_error: bool | None = None
    content: Any = None


class Message(Struct, frozen=True):
    """What the model said, or a message in its name."""

    content: tuple[Block, ...] = ()
    model: str = ""


class Assistant(Struct, frozen=True):
    """A message; `error` is the class of a failure of the API."""

    message: Message
    error: str | None = None


class UserMessage(Struct, frozen=True):
    """Results of tools; a text is a prompt."""

    content: tuple[Block, ...] | str = ()


class User(Struct, frozen=True):
    """An event of type `user`."""

    message: UserMessage


class LimitInfo(Struct, frozen=True, rename={"resets_at": "resetsAt"}):
    """A usage limit; seconds since the epoch."""

    status: str = ""
    resets_at: float | None = None


class LimitEvent(Struct, frozen=True):
    """An event of type `rate_limit_event`; only for subscriptions."""

    rate_limit_info: LimitInfo


class ModelUsage(Struct, frozen=True, rename="camel"):
    """What one model consumed."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_creation_input_tokens: int = 0


class Result(Struct, frozen=True, rename={"model_usage": "modelUsage"}):
    """The end of a turn."""

    subtype: str
    is_error: bool
    result: str | None = None
    terminal_reason: str | None = None
    stop_reason: str | None = None
    api_error: str | None = None
    api_error_status: int | None = None
    errors: tuple[str, ...] = ()
    total_cost_usd: float = 0.0
    model_usage: dict[str, ModelUsage] = {}
    model_usage_since_last_result: dict[str, Any] | None = None
    """Only from versions whose `modelUsage` and cost are of the whole session; earlier: of this run."""

    def usage_events(self) -> tuple[UsageEvent, ...]:
        """None where it could not even look at its session. Cached tokens are part of those that went in."""
        models = self.model_usage.values()
        if not models:
            return ()
        event = UsageEvent(
            tokens_in=sum(
                m.input_tokens + m.cache_read_input_tokens + m.cache_creation_input_tokens for m in models
            ),
            tokens_out=sum(m.output_tokens for m in models),
            tokens_cached=sum(m.cache_read_input_tokens for m in models),
            cost_usd=self.total_cost_usd,
            cumulative=self.model_usage_since_last_result is not None,
        )
        return (event,)


class Login(Struct, frozen=True, rename="camel"):
    """What `claude auth status` prints."""

    logged_in: bool


_kind = msgspec.json.Decoder(Kind).decode
_init = msgspec.json.Decoder(Init).decode
_assistant = msgspec.json.Decoder(Assistant).decode
_user = msgspec.json.Decoder(User).decode
_limit = msgspec.json.Decoder(LimitEvent).decode
_result = msgspec.json.Decoder(Result).decode


def _of_user(said: User) -> tuple[Event, ...]:
    content = said.message.content
    blocks = () if isinstance(content, str) else content
    return tuple(
        ToolResult(block.tool_use_id, not block.is_error, _said(block.content))
        for block in blocks
        if block.type == "tool_result"
    )


def _said(content: object) -> str:
    """What a tool answered: a text, or blocks of it."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        content = " ".join(text for text in texts if isinstance(text, str))
    return _short(content, 200) if isinstance(content, str) else ""
