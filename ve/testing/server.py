"""The server: three APIs on one port of the loopback interface, in threads of this process.

Rule: a request is on the list of `requests` before its reply begins, and closing the server ends every
reply that is still under way, so no test waits for a stalled one.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeAlias, cast

import msgspec
from msgspec import Struct

from ve.testing import chat, messages, responses
from ve.testing.request import Request
from ve.testing.turns import Refusal, Turn, Usage

Perform: TypeAlias = Callable[[Request], Turn | Refusal]

ASIDE = Turn(text="ok", usage=Usage(input=7, output=1, cached=0))
"""For a request without tools: clients ask for titles and summaries in passing."""

NOT_FOUND = Refusal(404, "the scripted model has no such path", "not_found_error")
SECRET = frozenset({"authorization", "x-api-key", "api-key", "cookie"})
POLL_S = 0.02


class Seen(Struct, frozen=True):
    """A request that came in. `request` is None where it was none to a model."""

    method: str
    path: str
    model: str = ""
    tools: tuple[str, ...] = ()
    """Names of the tools that were offered."""
    body: dict[str, Any] = {}
    headers: dict[str, str] = {}
    """Names in lower case."""
    request: Request | None = None
    aside: bool = False
    """It offered no tools, so it took no turn."""


class _Api(Protocol):
    """What each API's module offers."""

    def read(self, body: dict[str, Any]) -> Request: ...
    def whole(self, request: Request, turn: Turn) -> dict[str, Any]: ...
    def frames(self, request: Request, turn: Turn) -> list[bytes]: ...
    def refused(self, refusal: Refusal) -> tuple[dict[str, Any], dict[str, str]]: ...


APIS: Mapping[str, _Api] = {
    module.PATH: cast("_Api", module) for module in (messages, responses, chat)
}  # fmt: skip


class ScriptedModel:
    """A model that says what it is told: `turns` in order, the last one again and again, or what
    `perform` makes of each request. Requests without tools get a short text and take no turn.

    A context manager; `close` ends every reply under way. When `perform` raised, the client got status
    500, and leaving the context raises it here.
    """

    def __init__(
        self,
        turns: Iterable[Turn | Refusal] = (),
        *,
        perform: Perform | None = None,
        port: int = 0,
        log: Path | None = None,
    ) -> None:
        self._turns = tuple(turns)
        if bool(self._turns) == (perform is not None):
            raise ValueError("give either `turns`, at least one, or `perform`")
        self._perform = perform
        self._taken = 0
        self._log = log
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._requests: list[Seen] = []
        self._errors: list[BaseException] = []
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.model = self
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_S,), name="scripted-model", daemon=True
        )
        self._thread.start()

    @property
    def requests(self) -> list[Seen]:
        """What came in until now, oldest first."""
        with self._changed:
            return list(self._requests)

    @property
    def asked(self) -> list[Seen]:
        """The requests that were answered by a turn or a refusal of the script."""
        return [seen for seen in self.requests if seen.request is not None and not seen.aside]

    def wait_for(self, count: int, timeout_s: float = 10.0) -> list[Seen]:
        """The requests as soon as there are `count` of them. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, timeout_s):
                raise TimeoutError(f"{len(self._requests)} of {count} requests came within {timeout_s} s")
            return list(self._requests)

    def close(self) -> None:
        """End the server and every reply under way. May be called again."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join()

    def __enter__(self) -> ScriptedModel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None and self._errors:
            raise self._errors[0]

    # What the handlers use, each in its own thread.

    def note(self, seen: Seen) -> None:
        """Remember a request, and log it."""
        with self._changed:
            self._requests.append(seen)
            self._changed.notify_all()
            if self._log is not None:
                with self._log.open("ab") as file:
                    file.write(msgspec.json.encode(_without_secrets(seen)) + b"\n")

    def reply(self, request: Request) -> Turn | Refusal:
        """What the model says to it."""
        if not request.tools:
            return ASIDE
        if self._perform is None:
            with self._changed:
                turn = self._turns[min(self._taken, len(self._turns) - 1)]
                self._taken += 1
                return turn
        try:
            return self._perform(request)
        except Exception as error:  # it is the caller's code: the client learns of it, and so does the test
            self._errors.append(error)
            return Refusal(500, f"perform raised {type(error).__name__}: {error}")

    def stall(self, seconds: float) -> bool:
        """Wait; True when the server closed meanwhile."""
        return self._closing.wait(min(seconds, threading.TIMEOUT_MAX))


def _without_secrets(seen: Seen) -> dict[str, Any]:
    headers = {name: "(hidden)" if name in SECRET else value for name, value in seen.headers.items()}
    return {"method": seen.method, "path": seen.path, "model": seen.model, "tools": seen.tools,
            "headers": headers, "body": seen.body}  # fmt: skip


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    model: ScriptedModel

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the resolver for the machine's name, which can take seconds.
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address[:2])
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End all connections; their threads end by that."""
        with self._lock:
            still = list(self._open)
        for connection in still:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has ended by itself

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none of our errors."""


class _Gone(Exception):
    """The reply ends here, on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self._path()
        self.server.model.note(Seen(self.command, self.path, headers=self._headers()))
        if path == "/models" or path.startswith("/models/"):
            one = {"id": path[8:] or "scripted", "object": "model", "type": "model", "owned_by": "ve.testing"}
            many = {"object": "list", "data": [one], "models": [], "has_more": False}
            self._whole(200, one if path.startswith("/models/") else many)
        elif path == "/":
            self._whole(200, {"name": "ve.testing", "apis": [f"/v1{name}" for name in APIS]})
        else:
            self._refuse(messages, NOT_FOUND)

    def do_POST(self) -> None:
        path = self._path()
        api = APIS.get(path)
        raw = self._body()
        try:
            body = msgspec.json.decode(raw or b"{}", type=dict[str, Any])
            request = api.read(body) if api is not None else None
        except (ValueError, TypeError, AttributeError) as error:
            self.server.model.note(Seen(self.command, self.path, headers=self._headers()))
            return self._refuse(api or messages, Refusal(400, f"the request cannot be read: {error}"))
        self.server.model.note(self._seen(body, request))
        if api is not None and request is not None:
            return self._say(api, request)
        if path.endswith("/count_tokens"):
            return self._whole(200, {"input_tokens": 7})
        return self._refuse(messages, NOT_FOUND)

    def _say(self, api: _Api, request: Request) -> None:
        model = self.server.model
        reply = model.reply(request)
        cut = isinstance(reply, Turn) and reply.cut
        if reply.stall_s and not cut and model.stall(reply.stall_s):
            raise _Gone
        if isinstance(reply, Refusal):
            return self._refuse(api, reply)
        if request.stream:
            return self._stream(api.frames(request, reply), reply)
        if reply.stream_error:
            return self._refuse(api, Refusal(500, "the stream failed by the script", reply.stream_error))
        data = json.dumps(api.whole(request, reply)).encode()
        self._head(200, {"content-length": str(len(data)), **reply.headers})
        if not cut:
            self.wfile.write(data)
            return None
        self.wfile.write(data[: len(data) // 2])
        self._end_midway(reply)

    def _stream(self, frames: Sequence[bytes], turn: Turn) -> None:
        headers = {"content-type": "text/event-stream", "cache-control": "no-cache"}
        self._head(200, {**headers, "transfer-encoding": "chunked", **turn.headers})
        for frame in frames[: len(frames) // 2] if turn.cut else frames:
            self.wfile.write(f"{len(frame):x}\r\n".encode() + frame + b"\r\n")
        if turn.cut:
            self._end_midway(turn)
        self.wfile.write(b"0\r\n\r\n")

    def _end_midway(self, turn: Turn) -> None:
        if turn.stall_s:
            self.server.model.stall(turn.stall_s)
        self.connection.shutdown(socket.SHUT_RDWR)
        raise _Gone

    def _refuse(self, api: _Api | Any, refusal: Refusal) -> None:
        body, headers = api.refused(refusal)
        self._whole(refusal.status, refusal.body if refusal.body is not None else body,
                    {**headers, **refusal.headers})  # fmt: skip

    def _whole(self, status: int, body: dict[str, Any], headers: Mapping[str, str] = {}) -> None:
        data = json.dumps(body).encode()
        self._head(status, {"content-length": str(len(data)), **headers})
        if self.command != "HEAD":
            self.wfile.write(data)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _path(self) -> str:
        """Without the query and the version, which clients put into the base URL or add themselves."""
        path = self.path.partition("?")[0].rstrip("/")
        return path.removeprefix("/v1") or "/"

    def _headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _seen(self, body: dict[str, Any], request: Request | None) -> Seen:
        tools = tuple(tool.name for tool in request.tools) if request is not None else ()
        return Seen(self.command, self.path, str(body.get("model") or ""), tools, body, self._headers(),
                    request, request is not None and not request.tools)  # fmt: skip

    def _body(self) -> bytes:
        if "chunked" not in (self.headers.get("transfer-encoding") or ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            continue
        return b"".join(parts)
