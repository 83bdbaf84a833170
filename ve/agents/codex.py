"""Codex, OpenAI's coding agent: `codex exec --json`, measured with 0.169.0.

Codex has no typed class of error in its events: a failed turn is one sentence. Its sentences are fixed
forms of the client, so `ERRORS` matches them from their first word, whole where they are whole; a body of
the API, where Codex hands one on as it came, is read as JSON. A sentence that is not here has no class.

What `ve` denies it: docs/howto/agent-codex.md.
"""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal
from uuid import UUID

import msgspec

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
from ve.agents.program import Answer, api_url, ask, variables

RETRIES = 2  # of a request and of a stream: Codex only bridges a hiccup, `ve` does the waiting
ASK_S = 600  # a tool call of `ve` only writes to disk; Codex's own limit is 300 s
QUESTION_S = 3.0  # for each of the three commands that `check` runs
SUMMARY = 300  # characters of a line for a person

KEYS = ("OPENAI_API_KEY", "CODEX_API_KEY", "CODEX_ACCESS_TOKEN")
PASSES = (*KEYS, "CODEX_HOME", "CODEX_CA_CERTIFICATE", "OPENAI_ORGANIZATION", "OPENAI_PROJECT")
HIDDEN = (*KEYS, "VE_RUN_TOKEN")
"""Codex needs these; the commands that the model runs do not."""

UNSANDBOXED = ("danger-full-access", "--dangerously-bypass-approvals-and-sandbox", "--yolo")
SANDBOX_OPTIONS = ("-s", "--sandbox", *UNSANDBOXED[1:])

NO_SANDBOX_HINT = (
    "Allow unprivileged user namespaces on this machine, or, where it is itself a container that may be "
    'lost, run without: [agents.codex] args = ["--sandbox", "danger-full-access"]'
)


class Item(msgspec.Struct, frozen=True):
    """What happened inside a turn; which fields count depends on `type`."""

    id: str = ""
    type: str = ""
    status: str = ""
    text: str = ""
    command: str = ""
    aggregated_output: str = ""
    exit_code: int | None = None
    changes: tuple[Any, ...] = ()
    server: str = ""
    tool: str = ""
    arguments: Any = None
    error: Any = None
    query: str = ""


class Usage(msgspec.Struct, frozen=True):
    """Tokens since the thread began, also over earlier runs."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0


class Problem(msgspec.Struct, frozen=True):
    """All that Codex tells of a failed turn."""

    message: str = ""


class Line(msgspec.Struct, frozen=True):
    """One line of `codex exec --json`."""

    type: str = ""
    thread_id: str = ""
    item: Item = Item()
    usage: Usage = Usage()
    error: Problem = Problem()
    message: str = ""


class ApiError(msgspec.Struct, frozen=True):
    """The error of the API's own body."""

    type: str | None = None
    code: str | None = None
    message: str | None = None


class ApiBody(msgspec.Struct, frozen=True):
    """A body of the API, which Codex passes on for a status of 400."""

    error: ApiError


_line = msgspec.json.Decoder(Line)
_body = msgspec.json.Decoder(ApiBody)

API_CODES: dict[str, ErrorKind] = {
    "invalid_api_key": "auth",
    "authentication_error": "auth",
    "insufficient_quota": "billing",
    "model_not_found": "model",
    "rate_limit_exceeded": "overloaded",
    "server_error": "overloaded",
    "invalid_request_error": "request",
}

STATUS = re.compile(r"unexpected status (\d{3}) [^:]+: ")
RETRIED_STATUS = re.compile(r"exceeded retry limit, last status: (\d{3}) ")
USAGE_LIMIT = re.compile(r"You['’]ve hit your usage limit(?:\.| for )")
RESET = re.compile(
    r" (?:or try|Try) again at (?:(?P<date>[A-Z][a-z]{2} \d{1,2})(?:st|nd|rd|th), (?P<year>\d{4}) )?"
    r"(?P<time>\d{1,2}:\d{2} [AP]M)\.$"
)

SENTENCES: tuple[tuple[str, ErrorKind], ...] = (
    (r"We['’]re currently experiencing high demand, which may cause temporary errors\.$", "overloaded"),
    (r"Selected model is at capacity\. Please try a different model\.$", "overloaded"),
    (r"rate limit exceeded: ", "overloaded"),
    (r"stream disconnected before completion: Incomplete response returned, reason: content_filter$",
     "refused"),
    (r"stream disconnected before completion: ", "connection"),
    (r"Connection failed: ", "connection"),
    (r"Error while reading the server response: ", "connection"),
    (r"request timed out$", "connection"),
    (r"Quota exceeded\. Check your plan and billing details\.$", "billing"),
    (r"To use Codex with your ChatGPT plan, upgrade to Plus: ", "billing"),
    (r"Your workspace is out of credits\. ", "billing"),
    (r"You hit your spend cap set (?:in|by the owner of) your workspace\. ", "billing"),
    (r"Missing environment variable: `", "auth"),
    (r"Your access token could not be refreshed", "auth"),
    (r"Codex ran out of room in the model's context window\. ", "session"),
)  # fmt: skip
ERRORS = tuple((re.compile(pattern), kind) for pattern, kind in SENTENCES)

FOR_EVER = re.compile(r"Reconnecting\.\.\. waiting for network \(")
TOLD_TO_WAIT = re.compile(r"Reconnecting\.\.\. \d+/\d+ \(exceeded retry limit, last status: 429 ")

STDERR: tuple[tuple[re.Pattern[str], ErrorKind], ...] = (
    (re.compile(r"Error: thread/resume: thread/resume failed: no rollout found for thread id "), "session"),
    (re.compile(r"Error: thread/\w+: .*\brequired MCP servers failed to initialize: "), "tools"),
)

TOOLS = ("command_execution", "file_change", "mcp_tool_call", "web_search", "collab_tool_call")
SAYINGS = ("agent_message", "reasoning", "plan", "todo_list")


class Codex:
    """Adapter of `codex exec`."""

    name: ClassVar[str] = "codex"
    title: ClassVar[str] = "Codex"
    install: ClassVar[str] = "npm install -g @openai/codex"
    abilities: ClassVar[Abilities] = Abilities(turn_limit=True)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._command = settings.command or ("codex",)
        self._begun: set[str] = set()
        self._last_message = ""

    # ── How it is started ──────────────────────────────────────────────────────────────────────────

    def launch(self, job: Job) -> Launch:
        """A new thread, or the next turn of the one that the job names."""
        settings = self._settings
        argv = [*self._command, "exec", "--json"]
        if not sandbox_chosen(settings.args):
            argv += ["--sandbox", "workspace-write"]
        argv += ["-C", job.worktree]
        for key, value in self._config(job).items():
            argv += ["-c", f"{key}={toml(value)}"]
        argv += settings.args
        if job.resume and is_uuid(job.session):
            argv += ["resume", str(job.session)]
        own = variables(settings.env)
        return Launch(
            argv=(*argv, "-"),
            env=own.env,
            stdin=f"{job.run_dir}/prompt.md",
            passes=(*PASSES, *own.passes),
        )

    def _config(self, job: Job) -> dict[str, Any]:
        """What overrides the operator's own config.toml."""
        server = tool_server(job)
        config: dict[str, Any] = {
            # without `required` a server that is slow or dead is silently left out
            f"mcp_servers.{TOOL_SERVER}": {
                "command": server.command,
                "args": list(server.args),
                "env": server.env,
                "required": True,
                "default_tools_approval_mode": "approve",
                "tool_timeout_sec": ASK_S,
            },
            # a repository that the operator trusts in his own sessions runs no code of a worktree here
            "projects": {
                job.worktree: {"trust_level": "trusted" if self._settings.repo_config else "untrusted"}
            },
            "shell_environment_policy.exclude": list(HIDDEN),
            "features.unbounded_connection_retries": False,
            "features.default_mode_request_user_input": False,
            "features.goals": False,  # a goal starts the next turn by itself
        }
        if self._settings.model:
            config["model"] = self._settings.model
        if self._settings.base_url:
            config["model_provider"] = "ve"
            config["model_providers.ve"] = {
                "name": "ve",
                "base_url": api_url(self._settings.base_url),
                "wire_api": "responses",
                "env_key": "OPENAI_API_KEY",
                "request_max_retries": RETRIES,
                "stream_max_retries": RETRIES,
            }
        return config

    # ── Whether it can be used ─────────────────────────────────────────────────────────────────────

    def check(self) -> Fitness:
        """The program, its login, and a command in its sandbox, each started once."""
        if shutil.which(self._command[0]) is None:
            return Fitness(
                ok=False, reason=f"Codex is not installed: there is no {self._command[0]}", hint=self.install
            )
        code, said = self._ask("--version")
        if code != 0:
            return Fitness(ok=False, reason=f"`codex --version` failed: {said}", hint=self.install)
        version = said.removeprefix("codex-cli ")
        login = self._login()
        if login == "no":
            url = bool(self._settings.base_url)
            return Fitness(
                ok=False,
                version=version,
                reason="OPENAI_API_KEY is not set" if url else "Codex is not logged in",
                hint="Set OPENAI_API_KEY before `ve orch start`, or in [agents.codex] env"
                if url
                else "codex login, or set CODEX_API_KEY before `ve orch start`",
                login="no",
            )
        if not unsandboxed(self._settings.args):
            code, said = self._ask("sandbox", "--", "true")
            if code != 0:
                reason = f"Codex's sandbox does not work on this machine, so it could run no command: {said}"
                return Fitness(ok=False, version=version, reason=reason, hint=NO_SANDBOX_HINT, login=login)
        return Fitness(ok=True, version=version, login=login)

    def _login(self) -> Literal["yes", "no", "unknown"]:
        env = {**os.environ, **variables(self._settings.env).env}
        if self._settings.base_url:
            return "yes" if env.get("OPENAI_API_KEY") else "no"
        if env.get("CODEX_API_KEY") or self._ask("login", "status").code == 0:
            return "yes"
        return "unknown" if self._other_provider(env) else "no"

    def _other_provider(self, env: Mapping[str, str]) -> bool:
        """The operator's own settings name a backend that needs no login of OpenAI."""
        if any(word == "--oss" or word.startswith("model_provider=") for word in self._settings.args):
            return True
        home = env.get("CODEX_HOME") or f"{env.get('HOME', '')}/.codex"
        try:
            config = tomllib.loads(Path(home, "config.toml").read_text())
        except (OSError, ValueError):
            return False
        return str(config.get("model_provider", "openai")) != "openai"

    def _ask(self, *words: str) -> Answer:
        """A command of the client: its exit code, and the last line that it said."""
        env = {**os.environ, **variables(self._settings.env).env}
        answer = ask((*self._command, *words), env, within_s=QUESTION_S, cwd="/", with_stderr=True)
        lines = answer.text.strip().splitlines()
        return Answer(answer.code, lines[-1][:SUMMARY] if lines else f"exit code {answer.code}")

    # ── What it says ───────────────────────────────────────────────────────────────────────────────

    def parse(self, line: bytes) -> tuple[Event, ...]:
        """The events of one line; unknown lines are none."""
        try:
            said = _line.decode(line)
        except UNREADABLE:
            return ()
        if said.type == "thread.started" and said.thread_id:
            return (SessionStarted(said.thread_id),)
        if said.type in ("item.started", "item.updated", "item.completed"):
            return self._item(said.item, said.type == "item.completed")
        if said.type == "error":
            return stuck(said.message)
        if said.type == "turn.completed":
            return (usage(said.usage), Finished(True, self._last_message))
        if said.type == "turn.failed":
            return failed(said.error.message)
        return ()

    def explain(self, stderr_tail: str) -> Finished | None:
        """What a run that printed no event says of itself on stderr, where that is a known sentence."""
        for line in reversed(stderr_tail.splitlines()):
            for pattern, kind in STDERR:
                if pattern.match(line):
                    return Finished(False, line.removeprefix("Error: ")[:SUMMARY], kind)
        return None

    def _item(self, item: Item, completed: bool) -> tuple[Event, ...]:
        if item.type in SAYINGS:
            if item.type == "agent_message":
                self._last_message = item.text
            return (ModelEvent(item.text),)
        if item.type not in TOOLS:
            return ()
        events: list[Event] = []
        if item.id not in self._begun:
            self._begun.add(item.id)
            events.append(ToolCall(item.id, tool_name(item), summary(item)))
            limit = self._settings.max_turns
            if limit and len(self._begun) > limit:
                events.append(Stuck(f"it called more than {limit} tools (max_turns)", "turns"))
        if completed:
            ok = item.status in ("", "completed") and item.error is None
            events.append(ToolResult(item.id, ok, outcome(item)))
        return tuple(events)


def toml(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, bool | int):
        return str(value).lower()
    if isinstance(value, str):  # a JSON string is a TOML string, but for this one character
        return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        return "{" + ",".join(f"{toml(key)}={toml(one)}" for key, one in value.items()) + "}"
    return "[" + ",".join(map(toml, value)) + "]"


def sandbox_chosen(args: Sequence[str]) -> bool:
    """Whether the operator's arguments say which sandbox."""
    return any(
        word in SANDBOX_OPTIONS or word.startswith(("--sandbox=", "-s=", "sandbox_mode=", "-csandbox_mode="))
        for word in args
    )


def unsandboxed(args: Sequence[str]) -> bool:
    """Whether the operator's arguments switch the sandbox off."""
    return any(word.rpartition("=")[2].strip("\"'") in UNSANDBOXED for word in args)


def is_uuid(session: str | None) -> bool:
    """Codex starts a new thread, unasked, for an id that is none."""
    try:
        return str(UUID(session or "")) == session
    except ValueError:
        return False


def tool_name(item: Item) -> str:
    """What the tool is called, as Codex's other events call it."""
    names = {"command_execution": "shell", "file_change": "apply_patch"}
    return f"{item.server}.{item.tool}" if item.server else names.get(item.type, item.tool or item.type)


def summary(item: Item) -> str:
    """One line of what the tool is asked to do."""
    if item.type == "file_change":
        paths = [str(change.get("path", "")) for change in item.changes if isinstance(change, dict)]
        return ", ".join(paths)[:SUMMARY]
    if item.type == "mcp_tool_call":
        return msgspec.json.encode(item.arguments).decode()[:SUMMARY]
    return " ".join((item.command or item.query).split())[:SUMMARY]


def outcome(item: Item) -> str:
    """One line of what came of it."""
    if isinstance(item.error, dict):
        return str(item.error.get("message", ""))[:SUMMARY]
    lines = item.aggregated_output.strip().splitlines()
    code = "" if item.exit_code in (None, 0) else f"exit code {item.exit_code}: "
    return f"{code}{lines[-1] if lines else ''}".removesuffix(": ")[:SUMMARY]


def usage(counted: Usage) -> UsageEvent:
    """Codex tells tokens, never money."""
    return UsageEvent(
        tokens_in=counted.input_tokens,
        tokens_out=counted.output_tokens,
        tokens_cached=counted.cached_input_tokens,
        cumulative=True,
    )


def stuck(message: str) -> tuple[Event, ...]:
    """Most errors are retries that end; these do not, or only after as long as the backend likes."""
    if FOR_EVER.match(message):
        return (Stuck(message, "connection"),)
    if TOLD_TO_WAIT.match(message):
        return (Stuck(message, "overloaded"),)
    return ()


def failed(message: str) -> tuple[Event, ...]:
    """The end of a turn that failed."""
    if USAGE_LIMIT.match(message):
        return (LimitReached(reset_of(message, datetime.now()), message), Finished(False, message))
    try:
        error = _body.decode(message).error
    except UNREADABLE:
        return (Finished(False, message, kind_of(message)),)
    kind = API_CODES.get(error.code or "") or API_CODES.get(error.type or "", "agent")
    return (Finished(False, error.message or message, kind),)


def kind_of(message: str) -> ErrorKind:
    """The class of one of the client's own sentences."""
    with_status = STATUS.match(message) or RETRIED_STATUS.match(message)
    if with_status:
        return kind_of_status(int(with_status[1]))
    return next((kind for pattern, kind in ERRORS if pattern.match(message)), "agent")


def kind_of_status(status: int) -> ErrorKind:
    """The class of a status of HTTP."""
    if status in (401, 403):
        return "auth"
    if status == 402:
        return "billing"
    return "overloaded" if status == 429 or status >= 500 else "request"


def reset_of(message: str, now: datetime) -> str | None:
    """When a usage limit ends, in UTC; None where Codex does not say.

    Codex writes this machine's local time, to the minute before it, and leaves today's date out.
    """
    found = RESET.search(message)
    if found is None:
        return None
    day = f"{found['date']} {found['year']}" if found["date"] else f"{now:%b %d %Y}"
    try:
        at = datetime.strptime(f"{day} {found['time']}", "%b %d %Y %I:%M %p")
    except ValueError:
        return None
    return (at + timedelta(minutes=1)).astimezone(UTC).isoformat().replace("+00:00", "Z")
