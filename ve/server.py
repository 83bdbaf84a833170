"""The HTTP face of the daemon: routes, sockets, security, start and stop; no domain logic.

Rule: a handler checks words, calls one method of `Operations` or `Feed`, and passes on what comes back.
What goes wrong is a class of ve/errors.py and becomes `application/problem+json` in one place (`problem`).
Nothing reaches a route without passing `Gate`, which sees WebSocket handshakes as well as requests.

    token=$(cat .git/ve/token); socket=$(jq -r .socket .git/ve/daemon.json)
    alias ask='curl --unix-socket "$socket" -H "Authorization: Bearer $token"'
    ask http://localhost/status; ask http://localhost/work-units/CHUNK/retry -d '{"fresh": true}'
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import socket as sockets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from http import HTTPStatus
from importlib.resources import files
from typing import Annotated, Any

import msgspec
import uvicorn
from litestar import Litestar, MediaType, Request, Response, WebSocket, get, post, websocket
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from ve.attention import GroupOutcome
from ve.bodies import (
    ApprovalBody,
    AttentionAnswer,
    ConfigBody,
    CursorAnswer,
    InjectAnswer,
    InjectBody,
    Login,
    QueryBody,
    Sent,
    Settings,
    StopBody,
    Stopping,
    UnitAnswer,
    UnitsAnswer,
    verb_body,
)
from ve.commands import OPERATOR_VERBS, Verb
from ve.core import Core
from ve.documents import ChunkText
from ve.errors import InvalidInput, NotFound, RefusedError, VeError
from ve.gate import MAX_BODY, TOO_LARGE, Access, Denied, FieldError, Gate, Problem, problem, send_problem
from ve.listeners import bind_tcp, bind_unix
from ve.metrics import metrics_text
from ve.operations import Operations, Outcome, Status, Why
from ve.store.query import QueryResult
from ve.tailing import of_run, of_unit

log = logging.getLogger(__name__)

MAX_SOCKET_MESSAGE = 64 * 1024  # bytes that a client may send on a WebSocket; all of it is ignored
CLOSE_S = 1.0  # for clients to take their closing frame
GRACE_S = 2  # for requests under way at the end; without a limit one stalled client would hold it up for ever

# ── Requests and answers ───────────────────────────────────────────────────────────────────────────


def problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Every exception of every route ends here; nothing of an unexpected one leaks."""
    headers = {}
    found = problem(error)
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        found = Problem(
            type="about:blank",
            title=HTTPStatus(error.status_code).phrase,
            status=error.status_code,
            detail=TOO_LARGE if error.status_code == 413 else error.detail,
            errors=tuple(_field_errors(error)),
        )
    if found.status == 500:
        log.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
    if found.status == 413:
        headers["connection"] = "close"  # or the rest of the body would be read to get at the next request
    return Response(found, status_code=found.status, media_type="application/problem+json", headers=headers)


def _field_errors(error: HTTPException) -> Iterator[FieldError]:
    """Litestar's list of what does not fit, with the field as a person wrote it."""
    if error.detail.startswith("JSON is malformed"):
        yield FieldError("body", error.detail)
    for item in error.extra if isinstance(error.extra, list) else ():
        message, key = str(item.get("message", "does not fit")), str(item.get("key", "body"))
        named = re.search(r"(?:unknown|required) field `([^`]*)`", message)
        if key == "data" and not named:
            yield FieldError("body", "a JSON object is required" if message == "'data'" else message)
        else:
            yield FieldError(named[1] if named else key.removeprefix("data."), message)


async def who_sent(request: Request[Any, Any, Any]) -> Sent:
    """From the headers X-Ve-Actor and Idempotency-Key. Raises InvalidInput."""
    name = request.headers.get("x-ve-actor") or request.scope["state"].get("via") or "api"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", name):
        raise InvalidInput(
            "X-Ve-Actor is not a name", errors=(("X-Ve-Actor", "letters, digits and ._@+-, at most 64"),)
        )
    key = request.headers.get("idempotency-key")
    if key is None:
        return Sent(actor=f"operator:{name}")
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", key):
        raise InvalidInput(
            "Idempotency-Key does not fit", errors=(("Idempotency-Key", "1 to 200 printable characters"),)
        )
    asked = (
        f"{request.method} {request.url.path}?{request.scope['query_string'].decode('latin-1')}\n".encode()
    )
    digest = hashlib.blake2b(asked + await request.body(), digest_size=16).hexdigest()
    return Sent(actor=f"operator:{name}", key=key, key_hash=digest)


Ops = NamedDependency[Operations]
Serving = NamedDependency["Server"]
By = NamedDependency[Sent]
Offset = Annotated[int, QueryParameter(ge=0, le=2**62)]

# ── Routes ─────────────────────────────────────────────────────────────────────────────────────────


PAGE = {
    "/": ("index.html", MediaType.HTML),
    "/board.js": ("board.js", "text/javascript; charset=utf-8"),
    "/groups.js": ("groups.js", "text/javascript; charset=utf-8"),
    "/board.css": ("board.css", MediaType.CSS),
}


@get(list(PAGE), include_in_schema=False)
async def page(request: Request[Any, Any, Any]) -> Response[bytes]:
    name, kind = PAGE[request.scope["path"]]
    return Response(files("ve").joinpath("web", name).read_bytes(), media_type=kind)


@get("/login", include_in_schema=False)
async def login(server: Serving, code: FromQuery[str] = "") -> Response[bytes]:
    """Let a browser in by a one-time code, which does not stay in its address."""
    access = server.access
    if not access.take_code(code):
        raise Denied(401, "this address has been used, or is too old", "Get a new one: ve orch url")
    cookie = f"{access.cookie}={access.session}; Path=/; HttpOnly; SameSite=Strict"
    return Response(b"", status_code=303, headers={"location": "/", "set-cookie": cookie})


@post("/login-codes", status_code=200)
async def login_code(server: Serving) -> Login:
    """Make a one-time address of the board."""
    return Login(url=server.login_url())


@get("/work-units")
async def units(ops: Ops) -> UnitsAnswer:
    """The live units and those that ended last, oldest first."""
    return UnitsAnswer(cursor=ops.core.stream.cursor, units=tuple(ops.units()))


@get("/work-units/{chunk:str}")
async def one_unit(ops: Ops, chunk: FromPath[str], unit: FromQuery[str | None] = None) -> UnitAnswer:
    """A chunk's live unit, else its latest; with `unit`, that one."""
    return UnitAnswer(cursor=ops.core.stream.cursor, unit=await ops.find(chunk, unit))


@post("/work-units", status_code=200)
async def inject(ops: Ops, sent: By, data: JSONBody[InjectBody]) -> InjectAnswer:
    """Queue chunks: all of them, or none; with `all_future` also every FUTURE chunk that can be queued."""
    done = await ops.inject(**msgspec.structs.asdict(data), **msgspec.structs.asdict(sent))
    return InjectAnswer(cursor=done.cursor, units=done.units, left_out=done.left_out)


@get("/chunks/{chunk:str}")
async def one_chunk(ops: Ops, chunk: FromPath[str]) -> ChunkText:
    """A chunk's files as committed, and the hash that an approval of it names."""
    return await ops.chunk(chunk)


@post("/chunks/{chunk:str}/approve", status_code=200)
async def approve_chunk(
    ops: Ops, sent: By, chunk: FromPath[str], data: JSONBody[ApprovalBody]
) -> CursorAnswer:
    """Say yes to a background chunk, as it was read."""
    return CursorAnswer(cursor=(await ops.approve_chunk(chunk, data.hash, actor=sent.actor)).cursor)


@post("/work-units/{chunk:str}/{verb:str}", include_in_schema=False)
async def no_such_verb(chunk: FromPath[str], verb: FromPath[str]) -> None:
    raise NotFound(f"there is no verb {verb}", hint=f"There are: {', '.join(OPERATOR_VERBS)}")


def verb_route(verb: str, kind: type[Verb]) -> HTTPRouteHandler:
    """A route for one of the operator's verbs; its body is the verb's own fields."""
    of_verb = verb_body(kind)

    async def handler(
        ops: Ops, sent: By, chunk: FromPath[str], data: Any = None, unit: FromQuery[str | None] = None
    ) -> UnitAnswer:
        given = msgspec.structs.asdict(data) if data is not None else {}
        body = {name: value for name, value in given.items() if value is not None}
        done: Outcome = await ops.verb(chunk, verb, body, unit=unit, **msgspec.structs.asdict(sent))
        return UnitAnswer(cursor=done.cursor, unit=done.units[0])

    handler.__doc__ = kind.__doc__
    handler.__annotations__["data"] = JSONBody[of_verb | None]  # type: ignore[misc, valid-type]
    return post(f"/work-units/{{chunk:str}}/{verb}", status_code=200, operation_id=verb)(handler)


@post("/board/{verb:str}", status_code=200)
async def board_verb(ops: Ops, sent: By, verb: FromPath[str]) -> CursorAnswer:
    """`pause` or `unpause` everything."""
    return CursorAnswer(cursor=(await ops.board(verb, actor=sent.actor)).cursor)


@get("/attention")
async def attention(ops: Ops) -> AttentionAnswer:
    """What needs a person, by cause: what most work waits for first; and the backends that are closed."""
    now = ops.attention()
    return AttentionAnswer(cursor=ops.core.stream.cursor, groups=now.groups, lanes=now.lanes)


@post("/attention/{fingerprint:str}/{verb:str}", status_code=200)
async def group_verb(
    ops: Ops,
    sent: By,
    fingerprint: FromPath[str],
    verb: FromPath[str],
    data: JSONBody[dict[str, Any] | None] = None,
) -> GroupOutcome:
    """A verb for all units of a group, with its fields; `units` limits it to these ids."""
    body = {name: value for name, value in (data or {}).items() if value is not None}
    return await ops.group_verb(fingerprint, verb, body, **msgspec.structs.asdict(sent))


@get("/why/{chunk:str}")
async def why(ops: Ops, chunk: FromPath[str]) -> Why:
    """Why a unit does not run now."""
    return await ops.why(chunk)


@post("/history/query", status_code=200)
async def query(ops: Ops, data: JSONBody[QueryBody]) -> QueryResult:
    """One SELECT over the history, read-only and limited."""
    return await ops.query(data.sql)


@get("/status")
async def status(ops: Ops) -> Status:
    """How the daemon is."""
    return ops.status()


@get("/config")
async def config(ops: Ops) -> Settings:
    """Every configuration key with its value now and its origin."""
    return Settings(settings=ops.settings())


@post("/config", status_code=200)
async def set_config(ops: Ops, sent: By, data: JSONBody[ConfigBody]) -> CursorAnswer:
    """Set one configuration key, live."""
    return CursorAnswer(cursor=(await ops.set_config(data.key, data.value, actor=sent.actor)).cursor)


@post("/stop", status_code=202)
async def stop(server: Serving, ops: Ops, data: JSONBody[StopBody | None] = None) -> Stopping:
    """Ask the daemon to come to rest and end."""
    mode = (data or StopBody()).mode
    server.on_stop(mode)
    return Stopping(mode=mode, running=len(ops.status().running))


@get("/runs/{run_id:str}/log", media_type="text/plain; charset=utf-8")
async def run_log(ops: Ops, run_id: FromPath[str], offset: Offset = 0) -> Response[bytes]:
    """What a run printed from a byte offset on; X-Ve-Next-Offset says where to go on, X-Ve-Ended whether."""
    found = await asyncio.to_thread(ops.log, run_id, offset)
    headers = {"x-ve-next-offset": str(found.offset), "x-ve-ended": str(found.ended).lower()}
    return Response(found.data, headers=headers)


@post("/runs/{run_id:str}/nudge", status_code=204)
async def nudge(ops: Ops, request: Request[Any, Any, Any], run_id: FromPath[str]) -> None:
    """A run says, with its own token, that there is something to read."""
    token = request.headers.get("authorization", "").partition(" ")[2].strip()
    try:
        await ops.nudge(run_id, token)
    except RefusedError as error:
        raise Denied(403, error.what) from error


@get("/metrics", media_type="text/plain; version=0.0.4; charset=utf-8")
async def metrics(ops: Ops) -> str:
    """Counters and gauges for Prometheus."""
    before = time.perf_counter()
    await asyncio.sleep(0)
    return metrics_text(ops, time.perf_counter() - before)


# ── Sockets ────────────────────────────────────────────────────────────────────────────────────────

Socket = WebSocket[Any, Any, Any]


@websocket("/feed")
async def feed(socket: Socket, server: Serving, since: FromQuery[str | None] = None) -> None:
    """A snapshot, or what came after `since`; then every transition, as JSON arrays of frames."""
    try:
        client = await server.core.feed.open(since)
    except VeError as error:
        await send_problem("websocket", problem(error), socket.send)
        return

    async def pump() -> None:
        while True:
            message = await client.next()
            await socket.send({"type": "websocket.send", "text": message.decode(), "bytes": None})

    try:
        await server.attend(socket, pump())
    finally:
        client.close()


@websocket("/runs/{run_id:str}/tail")
async def tail(socket: Socket, server: Serving, run_id: FromPath[str], offset: Offset = 0) -> None:
    """A run's output while it grows: {offset, text, ended}, whole lines; closed after its end."""
    try:
        await asyncio.to_thread(server.ops.log, run_id, offset)
    except VeError as error:
        await send_problem("websocket", problem(error), socket.send)
        return
    await server.attend(socket, _sent(socket, of_run(server.ops, run_id, offset)))


@websocket("/work-units/{chunk:str}/tail")
async def unit_tail(
    socket: Socket, server: Serving, chunk: FromPath[str], unit: FromQuery[str | None] = None
) -> None:
    """What a unit's runs print, over all its phases: {run, phase, offset, text, ended}; to the unit's end."""
    try:
        found = await server.ops.find(chunk, unit)
    except VeError as error:
        await send_problem("websocket", problem(error), socket.send)
        return
    await server.attend(socket, _sent(socket, of_unit(server.ops, found.id)))


async def _sent(socket: Socket, messages: AsyncIterator[dict[str, Any]]) -> None:
    async for message in messages:
        await socket.send_json(message)


# ── Start and stop ─────────────────────────────────────────────────────────────────────────────────


class OwnSignals(uvicorn.Server):
    """uvicorn without its signal handlers: it raises the signal again at the end, so no stop is clean."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()

    async def startup(self, sockets: list[sockets.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


class Server:
    """Serves one core on its Unix socket and on a port of this machine."""

    def __init__(self, core: Core, *, version: str, token: str, on_stop: Callable[[str], None]) -> None:
        """`on_stop(mode)` is called when somebody asks the daemon to end; it returns at once."""
        self.core = core
        self.ops = Operations(core, version)
        self.on_stop = on_stop
        self._token = token
        self._closing = asyncio.Event()
        self._attended: set[asyncio.Task[Any]] = set()

    async def start(self, port: int | None = None) -> None:
        """Listen; when this returns, requests are answered. `port` is tried first where any will do.

        Raises ConfigError where the port is taken, RefusedError where the socket's folder is not ours.
        """
        routes = application(self)
        host = self.core.config.server.host
        listener = bind_tcp(host, self.core.config.server.port, port)
        self.port: int = listener.getsockname()[1]
        name = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        self.url = f"http://[{name}]:{self.port}/" if ":" in name else f"http://{name}:{self.port}/"
        self.access = Access(self._token, host, self.port)
        config = uvicorn.Config(
            Gate(routes, self.access, self.ops.version),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ws="websockets-sansio",
            ws_per_message_deflate=False,
            ws_max_size=MAX_SOCKET_MESSAGE,
            timeout_graceful_shutdown=GRACE_S,
        )
        self._server = OwnSignals(config)
        listeners = [bind_unix(self.core.places.socket), listener]
        self._serving = asyncio.create_task(self._server.serve(listeners), name="server")
        up = asyncio.create_task(self._server.up.wait())
        await asyncio.wait((self._serving, up), return_when=asyncio.FIRST_COMPLETED)
        up.cancel()
        if self._serving.done():
            self._serving.result()

    def login_url(self) -> str:
        """An address that lets one browser in, once."""
        return f"{self.url}login?code={self.access.mint_code()}"

    async def attend(self, socket: Socket, work: Coroutine[Any, Any, None]) -> None:
        """Accept a WebSocket and do its work until that is done, the client is gone, or we close."""
        me = asyncio.current_task()
        assert me is not None
        self._attended.add(me)
        tasks: list[asyncio.Task[Any]] = []
        try:
            await socket.accept()
            tasks = [asyncio.create_task(step) for step in (work, hear(socket), self._closing.wait())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            failure = tasks[0].exception() if tasks[0].done() else None
            if failure is not None and not isinstance(failure, OSError):
                log.error("%s failed", socket.scope["path"], exc_info=failure)
            if not tasks[1].done():
                code = 1011 if failure else 1001 if self._closing.is_set() else 1000
                with contextlib.suppress(TimeoutError, OSError):  # a client that never reads takes no close
                    await asyncio.wait_for(socket.close(code), CLOSE_S / 2)
        finally:
            work.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._attended.discard(me)

    async def close(self) -> None:
        """Close the sockets first (1001), then finish what is under way, for at most two seconds."""
        self._closing.set()
        if self._attended:
            await asyncio.wait(self._attended, timeout=CLOSE_S)
        self._server.should_exit = True
        await self._serving
        self.core.places.socket.unlink(missing_ok=True)


async def hear(socket: Socket) -> None:
    """Clients have nothing to say here; but their going is noticed."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


def application(server: Server) -> Litestar:
    """The routes, and what they are given."""
    return Litestar(
        [
            page, login, login_code, units, one_unit, inject, one_chunk, approve_chunk, no_such_verb,
            *(verb_route(verb, kind) for verb, kind in OPERATOR_VERBS.items()),
            board_verb, attention, group_verb, why, query, status, config, set_config, stop, run_log, nudge,
            metrics, feed, tail, unit_tail,
        ],
        dependencies={"sent": Provide(who_sent), "server": provider(server), "ops": provider(server.ops)},
        exception_handlers={Exception: problem_response},
        request_max_body_size=MAX_BODY,
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="ve",
            version=server.ops.version,
            path="/schema",
            render_plugins=[JsonRenderPlugin(path="/")],
        ),
    )  # fmt: skip


def provider(value: Any) -> Provide:
    async def provide() -> Any:
        return value

    return Provide(provide)
