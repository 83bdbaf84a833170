"""What the lines of `opencode run --format json` mean, with those of our plugin among them.

Rule: typed fields only. A class of error comes from the name of the error, the HTTP status, or the class
that the backend's JSON body names; never from its message.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from ve.agents.base import (
    TOOL_SERVER,
    UNREADABLE,
    ErrorKind,
    Event,
    Finished,
    LimitReached,
    ModelEvent,
    SessionStarted,
    Stuck,
    ToolCall,
    ToolResult,
    UsageEvent,
)

IN_A_ROW = 3
"""So many cut streams, or conversations that are too long, one after the other, are for ever."""
LONG_MS = 60_000


class Tokens(Struct, frozen=True):
    """Of one step; cached ones are not part of `input`, reasoning not of `output`."""

    input: int = 0
    output: int = 0
    reasoning: int = 0
    cache: dict[str, int] = {}

    def event(self, cost: float) -> UsageEvent:
        cached = self.cache.get("read", 0)
        counts = (self.input + cached + self.cache.get("write", 0), self.output + self.reasoning, cached)
        tokens_in, tokens_out, tokens_cached = (max(0, count) for count in counts)
        return UsageEvent(tokens_in, tokens_out, tokens_cached, max(0.0, cost))


class State(Struct, frozen=True):
    """A tool's call when it has ended."""

    status: str = ""
    input: dict[str, Any] = {}
    title: str = ""
    error: str = ""
    metadata: dict[str, Any] = {}


class Part(Struct, frozen=True):
    """What a line is about; which fields count depends on its type."""

    text: str = ""
    synthetic: bool = False
    reason: str = ""
    tokens: Tokens = Tokens()
    cost: float = 0.0
    tool: str = ""
    call: str = msgspec.field(name="callID", default="")
    state: State = State()


class Data(Struct, frozen=True):
    """What is known of an error."""

    message: str = ""
    status: int | None = msgspec.field(name="statusCode", default=None)
    headers: dict[str, str] = msgspec.field(name="responseHeaders", default_factory=dict)
    body: str = msgspec.field(name="responseBody", default="")
    ref: str = ""


class Error(Struct, frozen=True):
    """An error by its name; not always the end."""

    name: str = ""
    data: Data = Data()


class Action(Struct, frozen=True):
    """What OpenCode would offer to a person while it waits."""

    reason: str = ""


class Retry(Struct, frozen=True):
    """It waits before it asks the backend again; `next` in milliseconds since the epoch."""

    message: str = ""
    attempt: int = 0
    next: float = 0.0
    action: Action | None = None


class Line(Struct, frozen=True):
    """One line."""

    type: str
    session: str = msgspec.field(name="sessionID")
    timestamp: float = 0.0
    part: Part = Part()
    error: Error = Error()
    retry: Retry = Retry()
    refused: Data = Data()
    over: bool = False
    permission: str = ""


class BodyError(Struct, frozen=True):
    """A backend's own class of error, and when a limit ends."""

    type: str | None = None
    message: str | None = None
    code: str | int | None = None
    resets_at: float | None = None
    resets_in_seconds: float | None = None


class Body(Struct, frozen=True):
    """The body of a refusal, where it is the usual JSON."""

    error: BodyError = BodyError()


_line = msgspec.json.Decoder(Line).decode
_body = msgspec.json.Decoder(Body).decode

USAGE_LIMITS = frozenset({"usage_limit_reached", "GoUsageLimitError", "FreeUsageLimitError"})
OWN_LIMITS = frozenset({"account_rate_limit", "free_tier_limit"})
_BY_BODY: dict[str, ErrorKind] = {
    "insufficient_quota": "billing",
    "billing_error": "billing",
    "model_not_found": "model",
    "context_length_exceeded": "request",
    "server_error": "overloaded",
    "overloaded_error": "overloaded",
    "rate_limit_exceeded": "overloaded",
}
_BY_NAME: dict[str, ErrorKind] = {
    "ProviderAuthError": "auth",
    "ContextOverflowError": "request",
    "MessageOutputLengthError": "request",
    "ContentFilterError": "refused",
}
_BY_REASON: dict[str, tuple[str, ErrorKind]] = {
    "length": ("its reply was cut off at the limit of output tokens", "request"),
    "content-filter": ("the model declined", "refused"),
    "error": ("its last reply ended with an error", "connection"),
}


class Reader:
    """Reads one run's lines, from the first on."""

    def __init__(self, max_turns: int = 0, budget_usd: float = 0.0) -> None:
        self._max_turns = max_turns
        self._budget_usd = budget_usd
        self._session = ""
        self._steps = 0
        self._cost = 0.0
        self._stopped = False
        self._cuts = 0
        self._too_long = 0
        self._given_up = False

    def line(self, line: bytes) -> tuple[Event, ...]:
        """The events of one line; none for one that is not OpenCode's."""
        try:
            said = _line(line)
        except UNREADABLE:
            return ()
        read = {
            "step_start": self._step_start,
            "text": self._text,
            "reasoning": self._text,
            "tool_use": self._tool,
            "step_finish": self._step_finish,
            "error": self._error,
            "ve_retry": self._retry,
            "ve_permission": self._permission,
        }.get(said.type)
        if read is None or not said.session:
            return ()
        events = read(said)
        if not self._session and said.session:
            self._session = said.session
            return (SessionStarted(said.session), *events)
        return events

    def _step_start(self, _: Line) -> tuple[Event, ...]:
        """The backend has begun to answer."""
        return (ModelEvent(), *self._goes_on())

    def _text(self, said: Line) -> tuple[Event, ...]:
        """A synthetic one is OpenCode's own: with it, it goes on after it has cut the conversation down."""
        return self._goes_on() if said.part.synthetic else (ModelEvent(said.part.text),)

    def _goes_on(self) -> tuple[Event, ...]:
        """What was said to be the end was none, if there was one."""
        if not self._stopped:
            return ()
        self._stopped = False
        return (Finished(False, "it went on after the end of its turn, and did not finish"),)

    def _tool(self, said: Line) -> tuple[Event, ...]:
        part, state = said.part, said.part.state
        name = part.tool.removeprefix(f"{TOOL_SERVER}_")
        ok = state.status == "completed" and not state.metadata.get("exit")
        result = ToolResult(part.call, ok, "" if state.status == "completed" else _short(state.error))
        return (ToolCall(part.call, name, _summary(state)), result)

    def _step_finish(self, said: Line) -> tuple[Event, ...]:
        part = said.part
        self._steps += 1
        self._cost += max(0.0, part.cost)
        self._cuts = self._cuts + 1 if part.reason == "unknown" else 0
        self._stopped = part.reason == "stop"
        events: list[Event] = [part.tokens.event(part.cost)]
        if self._stopped and not self._given_up:
            events.append(Finished(True))
        elif part.reason in _BY_REASON:
            events.append(Finished(False, *_BY_REASON[part.reason]))
        return (*events, *self._beyond())

    def _beyond(self) -> tuple[Event, ...]:
        """What it would go on with for ever, or for longer than is allowed. Said once."""
        if self._cuts == IN_A_ROW:
            message = f"the stream of the backend was cut {IN_A_ROW} times in a row, and it never gives up"
            return self._give_up(message, "connection")
        if self._stopped:
            return ()
        if self._max_turns and self._steps >= self._max_turns:
            return self._give_up(f"it made {self._steps} turns (max_turns) and wants to go on", "turns")
        if self._budget_usd and self._cost >= self._budget_usd:
            message = f"it spent ${self._cost:.2f} of ${self._budget_usd:.2f} (budget_usd) and wants to go on"
            return self._give_up(message, "budget")
        return ()

    def _give_up(self, message: str, kind: ErrorKind) -> tuple[Event, ...]:
        if self._given_up:
            return ()
        self._given_up = True
        return (Stuck(message, kind), Finished(False, message, kind))

    def _error(self, said: Line) -> tuple[Event, ...]:
        error = said.error
        self._stopped = False
        message = _message(error.data, error.name)
        if error.name == "ContextOverflowError":
            self._too_long += 1
            if self._too_long == IN_A_ROW:
                message = f"the conversation is too long, also after it was cut down ({message})"
                return self._give_up(message, "request")
        return _refusal(message, said, error.data, _BY_NAME.get(error.name, ""), error.name == "APIError")

    def _retry(self, said: Line) -> tuple[Event, ...]:
        """Our plugin ended it after this line if `over`; else it waits, and tries again."""
        if not said.over:
            return ()
        retry, refused = said.retry, said.refused
        if not refused.status:
            refused = _in_stream(retry.message)
        until = _time(retry.next / 1000)
        message = _message(refused, retry.message)
        if retry.next - said.timestamp > LONG_MS:
            message += f" (not before {until})"
        if retry.action is not None and retry.action.reason in OWN_LIMITS:
            return (LimitReached(until, message), Finished(False, message, "overloaded"))
        return _refusal(message, said, refused, "", True)

    def _permission(self, said: Line) -> tuple[Event, ...]:
        """It rejects what nobody can answer, and ends. Which setting asks is the operator's own."""
        name = said.permission or "of some kind"
        message = f"its configuration asks for the permission `{name}`, and nobody can answer that"
        return (Finished(False, message, "agent"),)


def _summary(state: State) -> str:
    """The argument that says most."""
    for name in ("command", "filePath", "pattern", "url", "question", "decision", "issue"):
        if isinstance(value := state.input.get(name), str):
            return _short(value, 200)
    return _short(state.title, 200)


def _message(data: Data, otherwise: str) -> str:
    told = _short(data.message or otherwise) or "an error without a name"
    status = f"HTTP {data.status}: " if data.status else ""
    return f"{status}{told}" + (f" ({data.ref} in OpenCode's log)" if data.ref else "")


def _refusal(message: str, said: Line, data: Data, kind: ErrorKind, by_backend: bool) -> tuple[Event, ...]:
    """What a refusal of the backend, or an error of its own, comes to."""
    body = _classes(data.body)
    names = {name for name in (body.type, body.code) if isinstance(name, str)}
    if names & USAGE_LIMITS:
        until = _reset(body, data.headers, said.timestamp)
        return (LimitReached(until, message), Finished(False, message, "overloaded"))
    kind = kind or next((_BY_BODY[name] for name in names if name in _BY_BODY), "")
    if not kind and by_backend:
        kind = _by_status(data.status)
    return (Finished(False, message, kind or "agent"),)


def _by_status(status: int | None) -> ErrorKind:
    if status is None:
        return "connection"
    exact: dict[int, ErrorKind] = {401: "auth", 402: "billing", 403: "auth", 404: "model", 413: "request"}
    return exact.get(status) or ("overloaded" if status in (408, 429) or status >= 500 else "request")


def _classes(body: str) -> BodyError:
    try:
        return _body(body).error
    except UNREADABLE:
        return BodyError()


def _in_stream(message: str) -> Data:
    """An error that came after a good status: OpenCode passes the backend's JSON on as its message."""
    body = f'{{"error": {message}}}'
    return Data(message=_classes(body).message or "", body=body)


def _reset(body: BodyError, headers: dict[str, str], now_ms: float) -> str | None:
    if body.resets_at:
        return _time(body.resets_at)
    wait = body.resets_in_seconds
    if wait is None:
        try:
            wait = float(headers.get("retry-after", ""))
        except ValueError:
            return None
    return _time(now_ms / 1000 + wait) if now_ms else None


def _time(seconds: float) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return None


def _short(text: str, limit: int = 500) -> str:
    """One line."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
