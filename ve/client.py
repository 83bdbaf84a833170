"""Talks to the daemon of one repository over its Unix socket: one request, one answer.

Rule: light, since every command of the command line begins with it (no http.client, no msgspec), and
never in doubt: a change carries an idempotency key, and is sent again with the same key if the
connection broke before the answer. What the daemon refuses is raised here as the same class as there.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from ve import __version__, errors
from ve.errors import InvalidInput, NoDaemon, NotFound, RefusedError, UnavailableError, VeError
from ve.paths import Places, check_socket_dir

TIMEOUT_S: Final = 60.0
"""How long an answer may take; a query over the history has 30 seconds in the daemon."""

RETRY_AFTER_S: Final = (0.05, 0.25, 1.0)
"""Pauses before a request whose connection broke is sent again."""

_START = "Start it: ve orch start"
_BY_STATUS: Final[dict[int, type[VeError]]] = {
    400: InvalidInput,
    401: RefusedError,
    403: RefusedError,
    404: NotFound,
    409: RefusedError,
    413: InvalidInput,
    503: UnavailableError,
}
_CLASSES: Final[dict[str, type[VeError]]] = {
    name.lower(): item
    for name, item in vars(errors).items()
    if isinstance(item, type) and issubclass(item, VeError)
}


class Answer(NamedTuple):
    """What came back: the status code, the headers in lower case, the body."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Broken(Exception):
    """The connection broke before the whole answer was here."""


class Client:
    """The daemon of one repository. Methods raise VeError's children and nothing else."""

    def __init__(self, places: Places, *, notice: Callable[[str], None] | None = None) -> None:
        """`notice` is told once if the daemon runs another version than this."""
        self.places = places
        self._notice = notice

    def get(self, path: str, **query: Any) -> Any:
        """What is at a path."""
        wanted = {name: value for name, value in query.items() if value is not None}
        return self.request("GET", f"{path}?{urlencode(wanted)}" if wanted else path)

    def post(
        self,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Any:
        """Ask for a change; parts of the body that are None are left out."""
        given = {name: value for name, value in (body or {}).items() if value is not None}
        return self.request("POST", path, given, key=key, timeout_s=timeout_s)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Any:
        """One request; returns the answer's JSON. A change without `key` gets a random one.

        Raises NoDaemon, and what the daemon raised; UnavailableError where the answer was lost for good.
        """
        answer = self.raw(method, path, body, key=key, timeout_s=timeout_s)
        try:
            return json.loads(answer.body) if answer.body else None
        except ValueError as error:
            raise VeError(f"the daemon's answer is no JSON: {error}", where=f"{method} {path}") from error

    def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Answer:
        """As `request`, with the answer as it came."""
        headers = {
            "Host": "localhost",
            "Connection": "close",
            "Authorization": f"Bearer {self.token()}",
            "X-Ve-Actor": _who(),
        }
        content = b""
        if method != "GET":
            content = _encoded(body)
            headers["Content-Type"] = "application/json"
            headers["Idempotency-Key"] = key or os.urandom(16).hex()
        headers["Content-Length"] = str(len(content))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        message = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + content
        answer = self._exchange_until_answered(message, f"{method} {path}", timeout_s)
        mismatch = self._tell_version(answer)
        if answer.status >= 400:
            raise problem_error(answer, extra_hint=mismatch)
        return answer

    def token(self) -> str:
        """The secret that the daemon asks for. Raises NoDaemon where there never was a daemon."""
        try:
            return self.places.token.read_text(encoding="ascii").strip()
        except FileNotFoundError as error:
            raise self._no_daemon() from error
        except OSError as error:
            raise RefusedError(f"cannot be read: {error.strerror}", where=str(self.places.token)) from error

    def connect(self, timeout_s: float | None = TIMEOUT_S) -> socket.socket:
        """A connection to the daemon. Raises NoDaemon, RefusedError."""
        check_socket_dir(self.places.socket.parent)
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(timeout_s)
        try:
            link.connect(str(self.places.socket))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            link.close()
            raise self._no_daemon() from error
        except OSError as error:
            link.close()
            raise RefusedError(
                f"cannot be connected to: {error.strerror or error}", where=str(self.places.socket)
            ) from error
        return link

    def _no_daemon(self) -> NoDaemon:
        where = str(self.places.main_worktree or self.places.common_dir)
        return NoDaemon("no daemon runs for this repository", where=where, hint=_START)

    def _exchange_until_answered(self, message: bytes, what: str, timeout_s: float) -> Answer:
        pauses = iter(RETRY_AFTER_S)
        sent = False
        while True:
            try:
                link = self.connect(timeout_s)
                sent = True
                return _exchange(link, message)
            except TimeoutError as error:
                raise _lost(what, f"no answer within {timeout_s:g} s") from error
            except (_Broken, NoDaemon) as error:
                if not sent:
                    raise
                pause = next(pauses, None)
                if pause is None:
                    raise _lost(what, "the connection broke before the answer") from error
                time.sleep(pause)

    def _tell_version(self, answer: Answer) -> str:
        """Says once that the daemon is of another version; returns what to do about it."""
        theirs = answer.headers.get("ve-version")
        if not theirs or theirs == __version__:
            return ""
        advice = (
            f"The daemon is version {theirs}, this command {__version__}: ve orch stop, then ve orch start"
        )
        notice, self._notice = self._notice, None
        if notice:
            notice(advice)
        return advice


def _who() -> str:
    """The user's name, for the history; whatever does not fit a header's rules left out."""
    given = os.environ.get("LOGNAME") or os.environ.get("USER") or f"uid{os.getuid()}"
    name = "".join(c for c in given if c.isascii() and (c.isalnum() or c in "._@+-")).lstrip("._@+-")
    return name[:64] or f"uid{os.getuid()}"


def _lost(what: str, how: str) -> UnavailableError:
    return UnavailableError(
        f"{how}; whether it took effect is not known",
        where=what,
        hint="See what is so now: ve orch ps; see the daemon: ve orch status",
    )


def _encoded(body: Any) -> bytes:
    text = json.dumps(body if body is not None else {}, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError as error:  # bytes of the command line that are no text
        shown = ascii(text[max(error.start - 20, 0) : error.end]).strip("'")
        raise InvalidInput("that is not UTF-8 text", where=shown, hint="Write it in UTF-8.") from error


def _exchange(link: socket.socket, message: bytes) -> Answer:
    """Send one request and read its answer to the end. Raises _Broken, TimeoutError."""
    received = bytearray()
    try:
        with link:
            link.sendall(message)
            while True:
                answer = _parse(received)
                if answer is not None:
                    return answer
                some = link.recv(1 << 16)
                if not some:
                    answer = _parse(received, ended=True)
                    if answer is None:
                        raise _Broken
                    return answer
                received += some
    except TimeoutError:
        raise
    except OSError as error:
        raise _Broken from error


def _parse(received: bytearray, *, ended: bool = False) -> Answer | None:
    """The answer, None where it is not all here yet."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = received[:end].decode("latin-1").split("\r\n")
    status = int(first.split(" ", 2)[1])
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    start = end + 4
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _dechunked(received, start)
        return None if body is None else Answer(status, headers, body)
    if "content-length" in headers:
        stop = start + int(headers["content-length"])
        return Answer(status, headers, bytes(received[start:stop])) if len(received) >= stop else None
    return Answer(status, headers, bytes(received[start:])) if ended or status in (204, 304) else None


def _dechunked(received: bytearray, start: int) -> bytes | None:
    body = bytearray()
    while True:
        line_end = received.find(b"\r\n", start)
        if line_end < 0:
            return None
        size = int(bytes(received[start:line_end]).partition(b";")[0], 16)
        start = line_end + 2
        if len(received) < start + size + 2:
            return None
        if size == 0:
            return bytes(body)
        body += received[start : start + size]
        start += size + 2


def problem_error(answer: Answer, *, extra_hint: str = "") -> VeError:
    """The error that a problem document tells of, of the same class as in the daemon."""
    try:
        problem = json.loads(answer.body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": f"the daemon answered with status {answer.status}"}
    kind = _class_of(problem, answer.status)
    what = str(problem.get("detail") or problem.get("title") or f"status {answer.status}")
    hint = "\n".join(part for part in (str(problem.get("hint") or ""), extra_hint) if part)
    where = str(problem.get("where") or "")
    if issubclass(kind, InvalidInput):
        fields = tuple(
            (str(item.get("field", "")), str(item.get("message", ""))) for item in problem.get("errors") or ()
        )
        return kind(what, where=where, hint=hint, errors=fields)
    if issubclass(kind, RefusedError):
        return kind(what, where=where, hint=hint, legal=tuple(map(str, problem.get("legal") or ())))
    return kind(what, where=where, hint=hint)


def _class_of(problem: dict[str, Any], status: int) -> type[VeError]:
    for field in ("type", "title"):
        words = str(problem.get(field, "")).replace("-", "").replace("_", "").replace(" ", "")
        name = words.replace("#", "/").replace(":", "/").rsplit("/", 1)[-1].lower()
        found = _CLASSES.get(name) or _CLASSES.get(f"{name}error")
        if found is not None:
            return found
    return _BY_STATUS.get(status, VeError)


def unit_path(chunk: str, *more: str) -> str:
    """The path of a unit, named by its chunk."""
    return "/".join(["/work-units", quote(chunk, safe=""), *more])
