"""Who may come in: checked on every request and inside every WebSocket handshake, before any route.

Rule: three may ask. Who holds the token (a 0600 file) may ask everything, in the header Authorization; the
token never stands in an address. A browser that was let in by a one-time code has a cookie instead, good for
pages of this origin only. A run's own token reaches that run's nudge and nothing else.
What is refused, here or by a route, is a `Problem`.
"""

from __future__ import annotations

import hmac
import re
import secrets
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

import msgspec
from msgspec import Struct

from ve.errors import ConfigError, InvalidInput, RefusedError, UsageError, VeError

MAX_BODY = 1024 * 1024  # bytes; a larger one is refused before it is read
STRANGERS_BODY = 64 * 1024  # bytes that are read of somebody who may not come in
TOO_LARGE = f"a body may have at most {MAX_BODY} bytes"
LOGIN_CODE_S = 600.0  # a one-time address works once, for so long

PAGE_HEADERS = (
    (b"content-security-policy",
     b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
     b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)  # fmt: skip

Scope = MutableMapping[str, Any]
Send = Callable[[Any], Awaitable[None]]
Receive = Callable[[], Awaitable[Any]]
App = Callable[[Any, Any, Any], Awaitable[None]]


class FieldError(Struct, frozen=True):
    """Which field of a request is wrong, and how."""

    field: str
    message: str


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What goes wrong, as `application/problem+json` (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    where: str = ""
    hint: str = ""
    errors: tuple[FieldError, ...] = ()
    legal: tuple[str, ...] = ()


class Denied(Exception):
    """Whoever asks may not; raised by the gate and by what only a run may do."""

    def __init__(self, status: int, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.problem = Problem(
            type="urn:ve:Denied", title=HTTPStatus(status).phrase, status=status, detail=what, hint=hint
        )


def problem(error: BaseException) -> Problem:
    """The problem that an exception is for whoever asked; nothing of an unexpected one leaks."""
    if isinstance(error, Denied):
        return error.problem
    if isinstance(error, VeError):
        fields = error.errors if isinstance(error, InvalidInput) else ()
        if isinstance(error, UsageError) and not fields:
            usual = "key" if isinstance(error, ConfigError) else "body"
            fields = ((error.where if error.where.isidentifier() else usual, error.what),)
        return Problem(
            type=f"urn:ve:{type(error).__name__}",
            title=HTTPStatus(error.http_status).phrase,
            status=error.http_status,
            detail=error.what,
            where=error.where,
            hint=error.hint,
            errors=tuple(FieldError(field, message) for field, message in fields),
            legal=error.legal if isinstance(error, RefusedError) else (),
        )
    return Problem(
        type="about:blank",
        title="Internal Server Error",
        status=500,
        detail="an unexpected error; nothing more is known here",
        hint="The daemon's log has it: see ve orch status for its place.",
    )


# ── Security ───────────────────────────────────────────────────────────────────────────────────────


class Access:
    """Who may come in: the token's owner, a browser that was let in once, and a run, to its own nudge."""

    def __init__(self, token: str, host: str, port: int) -> None:
        self._token = token.encode()
        # Not the token: a browser sends its cookies to every port of a host, so also to other people's.
        self.session = hmac.new(self._token, b"board", "sha256").hexdigest()
        self.cookie = f"ve_{port}"
        names = {"127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host.lower()}
        if host in ("0.0.0.0", "::"):
            names.add(socket.gethostname().lower())
        self.hosts = frozenset(f"{name}:{port}".encode() for name in names)
        self.origins = frozenset(b"http://" + name for name in self.hosts)
        self._codes: dict[str, float] = {}

    def check(self, scope: Scope) -> str:
        """Who asks: `api`, `board`, or empty where the route itself checks. Raises Denied."""
        headers = single_headers(scope)
        local = (
            scope["server"] is not None and scope["server"][1] is None
        )  # the Unix socket, in a 0700 folder
        if not local and headers.get(b"host", b"").lower() not in self.hosts:
            raise Denied(
                403, "this host name is not the daemon's", "Open the address that ve orch url prints."
            )
        origin = headers.get(b"origin")
        if origin is not None and origin.lower() not in self.origins:
            raise Denied(403, "a page of another origin may not ask")
        bearer = headers.get(b"authorization", b"")
        if bearer:
            return self._bearer(scope, bearer)
        if self._cookie_fits(headers.get(b"cookie", b"")):
            # A browser adds the cookie whoever made it ask; only with Origin is it known to be the board.
            if origin is None and (scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")):
                raise Denied(403, "a request with a cookie has to say its origin")
            return "board"
        if scope["type"] == "http" and scope["path"] == "/login" and scope["method"] == "GET":
            return ""
        raise Denied(401, "no valid token", "Open the address that ve orch url prints.")

    def _bearer(self, scope: Scope, header: bytes) -> str:
        kind, _, token = header.partition(b" ")
        if kind.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token):
            return "api"
        if scope["type"] == "http" and re.fullmatch(r"/runs/[^/]+/nudge", scope["path"]):
            return ""  # a run's token; good for its own nudge only, which the route checks
        raise Denied(
            401, "the token is not valid", "It is in the file `token` of the state folder: .git/ve/token"
        )

    def _cookie_fits(self, header: bytes) -> bool:
        for part in header.split(b";"):
            name, _, value = part.strip().partition(b"=")
            if name == self.cookie.encode() and hmac.compare_digest(value, self.session.encode()):
                return True
        return False

    def mint_code(self) -> str:
        """A code that lets one browser in, once."""
        now = time.monotonic()
        self._codes = {known: until for known, until in self._codes.items() if until > now}
        code = secrets.token_urlsafe(24)
        self._codes[code] = now + LOGIN_CODE_S
        return code

    def take_code(self, code: str) -> bool:
        """Whether the code was good; now it no longer is."""
        found = [known for known in self._codes if hmac.compare_digest(known.encode(), code.encode())]
        return any(self._codes.pop(known) > time.monotonic() for known in found)


def single_headers(scope: Scope) -> dict[bytes, bytes]:
    """The headers that decide who may come in. Raises Denied where one comes twice: which would count?"""
    found: dict[bytes, bytes] = {}
    for raw, value in scope["headers"]:
        name = raw.lower()
        if name in found and name in (b"host", b"origin", b"authorization", b"cookie", b"content-length"):
            raise Denied(400, f"the header {name.decode('latin-1')} came twice")
        found[name] = value
    return found


class Gate:
    """Stands before the application: checks every request and handshake, and bounds bodies."""

    def __init__(self, app: App, access: Access, version: str) -> None:
        self.app = app
        self.access = access
        self.headers = [*PAGE_HEADERS, (b"ve-version", version.encode())]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        try:
            scope["state"]["via"] = self.access.check(scope)
            self._bound(scope)
        except Denied as denied:
            if scope["type"] == "http":
                await self._let_finish(scope, receive, denied.problem.status)
            await send_problem(scope["type"], denied.problem, send)
            return

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self.headers]
            await send(message)

        await self.app(scope, receive, with_headers)

    def _bound(self, scope: Scope) -> None:
        length = single_headers(scope).get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 18 or int(length) > MAX_BODY:
            raise Denied(413, TOO_LARGE)

    async def _let_finish(self, scope: Scope, receive: Receive, status: int) -> None:
        """Most clients send all before they read; one whose body is not too long shall hear why."""
        lengths = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
        length = lengths[0] if len(lengths) == 1 else b""
        bearable = 2 * MAX_BODY if status == 413 else STRANGERS_BODY
        if length.isdigit() and len(length) < 18 and int(length) <= bearable:
            while (await receive()).get("more_body"):
                pass


async def send_problem(kind: Any, found: Problem, send: Send) -> None:
    """A problem as the answer to a request, or to a handshake that is not accepted."""
    prefix = "websocket.http" if kind == "websocket" else "http"
    body = msgspec.json.encode(found)
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *PAGE_HEADERS,
    ]
    if found.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    start: Any = {"type": f"{prefix}.response.start", "status": found.status, "headers": headers}
    end: Any = {"type": f"{prefix}.response.body", "body": body, "more_body": False}
    await send(start)
    await send(end)
