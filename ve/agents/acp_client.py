"""The client of an ACP agent for one run: `python -I -m ve.agents.acp_client` in the worktree.

It starts the program that `acp.json` in $VE_RUN_DIR names, opens or resumes a session with the tools of
`ve`, sends the prompt, answers what the agent asks permission for, and says what happens as the lines of
`ve.agents.lines`. The agent's stderr is its own.

Rules
  - Only the answer to `session/prompt` ends a run well, and only with `end_turn`.
  - It offers the agent no file system and no terminal: the agent has its own, and ours would be a way
    around its permissions.
  - A permission is given once, for what lies in the worktree as far as the request tells (`allowed`).
  - An agent that gives up because a permission was refused has not ended well, whatever it says.
  - What a resumed session replays is the past, so it is not told again.
  - The agent is in a process group of its own: a stop reaches it as `session/cancel` first.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

import acp
import msgspec
from acp import schema
from pydantic import ValidationError

from ve.agents.acp import START, Start
from ve.agents.acp_lines import Teller, fields, summary, texts
from ve.agents.base import ErrorKind, Job
from ve.agents.lines import say

START_S = 60.0  # until a program must have answered `initialize`, and then opened the session
CANCEL_S = 3.0  # for the agent to end its turn after `session/cancel`
END_S = 2.0  # for the agent's process to end by itself, then once more after SIGTERM
LINE_BYTES = 50 * 1024 * 1024  # one message of the agent

AUTH_REQUIRED = -32000
NOT_FOUND = -32002
PATHS = frozenset({"path", "filepath", "abspath", "parentdir", "directory", "cwd", "workdir"})
"""Fields of a tool's input that name a place, in small letters and without `_`."""
LIMITS = frozenset({"usageLimitExceeded"})
"""Values in an error's data that say: the account's limit is used up. The protocol has no field for it."""

ENDS: dict[str, tuple[ErrorKind, str]] = {
    "refusal": ("refused", "the model declined the task"),
    "max_tokens": ("turns", "the limit of tokens of one turn was reached"),
    "max_turn_requests": ("turns", "the agent's limit of requests in one turn was reached"),
    "cancelled": ("agent", "the turn was cancelled"),
}
"""Stop reasons that are no good end."""

T = TypeVar("T")


class Failure(Exception):
    """The run cannot go on; the text is what the operator reads."""

    def __init__(self, message: str, kind: ErrorKind = "agent") -> None:
        super().__init__(message)
        self.kind = kind


# ─── Permissions ────────────────────────────────────────────────────────────────────────────────────


def allowed(call: schema.ToolCallUpdate, root: Path) -> bool:
    """Whether everything that the request names lies in `root`. One that names no place is allowed."""
    return all((root / place).resolve().is_relative_to(root.resolve()) for place in _places(call))


def _places(call: schema.ToolCallUpdate) -> Iterator[str]:
    """Paths in typed fields, and those fields of the agent's own input that are paths by their names."""
    for location in call.locations or ():
        yield location.path
    for part in call.content or ():
        if isinstance(part, schema.FileEditToolCallContent):
            yield part.path
    for name, value in fields(call.raw_input).items():
        if name in PATHS and isinstance(value, str) and value:
            yield os.path.expanduser(value)  # noqa: PTH111 - `~nobody` stays as it is


def choose(options: Sequence[schema.PermissionOption], allow: bool) -> schema.PermissionOption | None:
    """The option for this one time; None, where there is none, refuses without an option."""
    for kind in ("allow_once",) if allow else ("reject_once", "reject_always"):
        for option in options:
            if option.kind == kind:
                return option
    return choose(options, False) if allow else None


class Handler:
    """The client's side of the connection: what the agent may call."""

    def __init__(self, root: Path, teller: Teller) -> None:
        self._root = root
        self._teller = teller

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        self._teller.update(update)

    async def request_permission(
        self,
        session_id: str,
        tool_call: schema.ToolCallUpdate,
        options: list[schema.PermissionOption],
        **_: Any,
    ) -> schema.RequestPermissionResponse:
        option = choose(options, allowed(tool_call, self._root))
        given = option is not None and option.kind == "allow_once"
        name = tool_call.title or "tool"
        text = summary(tool_call.raw_input)[1]
        say(type="permission", id=tool_call.tool_call_id, name=name, ok=given, text=text)
        if not given:
            self._teller.refused = text or name
        outcome = (
            schema.AllowedOutcome(outcome="selected", option_id=option.option_id)
            if option is not None
            else schema.DeniedOutcome(outcome="cancelled")
        )
        return schema.RequestPermissionResponse(outcome=outcome)


# ─── The session ────────────────────────────────────────────────────────────────────────────────────


class Session:
    """One connection to one agent, from `initialize` to the end of the prompt."""

    def __init__(
        self, job: Job, start: Start, to_agent: asyncio.StreamWriter, from_agent: asyncio.StreamReader
    ) -> None:
        self._job = job
        self._start = start
        self.teller = Teller()
        handler = cast("acp.Client", Handler(Path(job.worktree), self.teller))
        self._agent = acp.connect_to_agent(handler, to_agent, from_agent)
        server = start.tools
        env = [schema.EnvVariable(name=name, value=value) for name, value in server.env.items()]
        self._servers: list[Any] = [
            schema.McpServerStdio(name=server.name, command=server.command, args=list(server.args), env=env)
        ]

    async def close(self) -> None:
        """Let go of the connection; that it broke has been told already."""
        with suppress(ConnectionError):
            await self._agent.close()

    async def run(self, stopped: asyncio.Event) -> None:
        """Everything up to a good end. Raises Failure, and ConnectionError when the agent is gone."""
        try:
            await self._run(stopped)
        except acp.RequestError as error:
            raise _refused(error) from error
        except ValidationError as error:
            raise Failure(f"its answer is not ACP: {error.title}, {error.error_count()} errors") from error

    async def _run(self, stopped: asyncio.Event) -> None:
        about = await _within(
            self._agent.initialize(
                protocol_version=acp.PROTOCOL_VERSION,
                client_capabilities=schema.ClientCapabilities(),
                client_info=schema.Implementation(name="ve", title="ve", version="1"),
            ),
            "`initialize` (is it an ACP agent?)",
        )
        if about.protocol_version != acp.PROTOCOL_VERSION:
            known = f"version {acp.PROTOCOL_VERSION}"
            raise Failure(f"it speaks version {about.protocol_version} of the protocol, this client {known}")
        try:
            session, options = await _within(self._open(about), "`session/new`")
        except acp.RequestError as error:
            raise _refused(error, [method.name for method in about.auth_methods or ()]) from error
        say(type="session", id=session)
        if self._start.model:
            await self._choose_model(session, options)
        self.teller.live = True
        await self._prompt(session, stopped)

    async def _open(self, about: schema.InitializeResponse) -> tuple[str, Sequence[Any]]:
        """The session's id and its options: an old one, where the agent can go on with it, else a new one."""
        can = about.agent_capabilities or schema.AgentCapabilities()
        old, root = self._job.session if self._job.resume else None, self._job.worktree
        try:
            if old and can.session_capabilities and can.session_capabilities.resume is not None:
                there = await self._agent.resume_session(session_id=old, cwd=root, mcp_servers=self._servers)
                return old, there.config_options or ()
            if old and can.load_session:
                loaded = await self._agent.load_session(session_id=old, cwd=root, mcp_servers=self._servers)
                return old, loaded.config_options or ()
        except acp.RequestError as error:
            if error.code == AUTH_REQUIRED:
                raise
            raise Failure(f"it cannot go on with the session {old}: {_told(error)}", "session") from error
        new = await self._agent.new_session(cwd=root, mcp_servers=self._servers)
        return new.session_id, new.config_options or ()

    async def _choose_model(self, session: str, options: Sequence[Any]) -> None:
        wanted = self._start.model
        option = next((one for one in options if one.category == "model" and one.type == "select"), None)
        if option is None:
            raise Failure(f"it offers no choice of a model over ACP, so not {wanted} either", "model")
        values = [
            choice.value for entry in option.options for choice in getattr(entry, "options", None) or [entry]
        ]
        if wanted not in values:
            some = ", ".join(values[:10])
            raise Failure(f"it has no model {wanted}; the first of its {len(values)} are {some}", "model")
        if option.current_value != wanted:
            await self._agent.set_config_option(config_id=option.id, session_id=session, value=wanted)

    async def _prompt(self, session: str, stopped: asyncio.Event) -> None:
        if stopped.is_set():
            raise Failure("it was told to stop before it had its prompt")
        text = schema.TextContentBlock(type="text", text=self._job.prompt)
        prompt = asyncio.ensure_future(self._agent.prompt(session_id=session, prompt=[text]))
        stop = asyncio.ensure_future(stopped.wait())
        await asyncio.wait({prompt, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not prompt.done():
            await self._agent.cancel(session_id=session)
            await asyncio.wait({prompt}, timeout=CANCEL_S)
        stop.cancel()
        try:
            if not prompt.done():
                raise Failure("it was told to stop, and did not end its turn")
            said = prompt.result()
        except acp.RequestError as error:
            if error.code == NOT_FOUND:
                raise Failure(f"the session {session} is gone: {_told(error)}", "session") from error
            raise
        finally:
            prompt.cancel()
            self.teller.flush()
            self._tell_cost()
        self._tell_usage(said.usage)
        if said.stop_reason in ENDS:
            kind, what = ENDS[said.stop_reason]
            raise Failure(what, kind)
        if self.teller.refused:
            raise Failure(f"it gave up when it was refused a permission: {self.teller.refused}")

    def _tell_usage(self, usage: schema.Usage | None) -> None:
        if usage is not None:
            cached = usage.cached_read_tokens or 0
            say(type="usage", input=usage.input_tokens, output=usage.output_tokens, cached=cached)

    def _tell_cost(self) -> None:
        """The protocol counts it over the whole session."""
        if self.teller.cost is not None:
            say(type="usage", cost_usd=max(0.0, self.teller.cost), cumulative=True)


async def _within(answer: Awaitable[T], what: str) -> T:
    try:
        return await asyncio.wait_for(answer, START_S)
    except TimeoutError:
        raise Failure(f"it did not answer {what} within {START_S:g} s") from None


def _told(error: acp.RequestError) -> str:
    """The message, and the detail that many agents put into `data`."""
    data = error.data if isinstance(error.data, dict) else {}
    found = (data.get(key) for key in ("message", "details", "errorName"))
    more = next((text for text in found if isinstance(text, str) and text), "")
    return f"{error}: {more} ({error.code})" if more else f"{error} ({error.code})"


def _refused(error: acp.RequestError, logins: Sequence[str] = ()) -> Failure:
    """By the code and by whole values of the data, never by words in a message."""
    if LIMITS & set(texts(error.data)):
        say(type="limit", message=_told(error))
    if error.code == AUTH_REQUIRED:
        ways = f"; it knows these logins: {', '.join(logins)}" if logins else ""
        return Failure(f"it is not logged in: {_told(error)}{ways}", "auth")
    return Failure(_told(error), "")


# ─── The process ────────────────────────────────────────────────────────────────────────────────────


async def main() -> int:
    """Do the job of $VE_RUN_DIR; returns the exit code."""
    run_dir = Path(os.environ["VE_RUN_DIR"])
    job = msgspec.json.decode((run_dir / "job.json").read_bytes(), type=Job)
    start = msgspec.json.decode((run_dir / START).read_bytes(), type=Start)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    return await told(drive(job, start, stopped))


async def told(work: Awaitable[None]) -> int:
    """Do it and say how it ended; returns the exit code."""
    try:
        await work
    except Failure as failure:
        say(type="finished", ok=False, message=str(failure), kind=failure.kind)
        return 1
    say(type="finished")
    return 0


async def drive(job: Job, start: Start, stopped: asyncio.Event) -> None:
    """Start the agent, have it do the job, end it. Raises Failure."""
    if not start.command:
        raise Failure("no program is configured for it")
    try:
        process = await asyncio.create_subprocess_exec(
            *start.command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            cwd=job.worktree, start_new_session=True, limit=LINE_BYTES,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise Failure(f"{start.command[0]} did not start: {error}") from error
    assert process.stdin is not None and process.stdout is not None
    session = Session(job, start, process.stdin, process.stdout)
    try:
        await session.run(stopped)
    except ConnectionError as error:
        code = await _ended(process)
        how = "closed its connection" if code is None else f"ended with exit code {code}"
        raise Failure(f"it {how} before its turn was over") from error
    finally:
        await _end(process)
        await session.close()


async def _ended(process: asyncio.subprocess.Process) -> int | None:
    with suppress(TimeoutError):
        return await asyncio.wait_for(process.wait(), END_S)
    return None


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close its input, as the protocol has it; then less politely. Some live on after the close."""
    assert process.stdin is not None
    process.stdin.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if await _ended(process) is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
    await _ended(process)


class _Short(logging.Formatter):
    """What the SDK reports goes to stderr without its stacks."""

    def formatException(  # noqa: N802 - the name of the overridden method
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        return f"  {ei[0].__name__}: {str(ei[1])[:300]}" if ei[0] is not None else ""


if __name__ == "__main__":
    handler = logging.StreamHandler()
    handler.setFormatter(_Short("acp: %(message)s"))
    logging.getLogger().addHandler(handler)
    sys.exit(asyncio.run(main()))
