"""The client: one request, one answer, never in doubt, with the daemon's own errors."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faces.terminal import WAIT_S, Terminal, project
from ve import client as client_module
from ve.client import Answer, Client, problem_error
from ve.errors import (
    ConfigError,
    DocumentError,
    InvalidInput,
    NoDaemon,
    NotFound,
    RefusedError,
    UnavailableError,
    VeError,
)
from ve.paths import find


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """A paused daemon: what is queued stays as it is."""
    given = project(tmp_path_factory.mktemp("client") / "repo")
    for name in ("one", "two", "three", "four"):
        given.chunk(name)
    terminal = Terminal(given.root)
    terminal.start()
    terminal.said("orch", "pause")
    yield terminal
    terminal.end()


class Unreliable:
    """Stands before the daemon and loses answers: `lose` of them, after (or before) they were made."""

    def __init__(self, places_socket: Path, folder: Path, lose: int, *, deliver: bool = True) -> None:
        self.path = folder / "unreliable.sock"
        self.requests: list[bytes] = []
        self._real, self._lose, self._deliver = places_socket, lose, deliver
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            with caller:
                request = caller.recv(1 << 20)
                if not request:
                    continue
                self.requests.append(request)
                losing = len(self.requests) <= self._lose
                if losing and not self._deliver:
                    continue
                answer = self._ask(request)
                # Half of an answer is worse than none: it must not be taken for one.
                caller.sendall(answer[: len(answer) // 2] if losing else answer)

    def _ask(self, request: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(WAIT_S)
            link.connect(str(self._real))
            link.sendall(request)
            return b"".join(iter(lambda: link.recv(1 << 16), b""))

    def close(self) -> None:
        # Closing alone does not wake a thread that accepts.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(WAIT_S)


def keys(requests: list[bytes]) -> list[str]:
    heads = [request.partition(b"\r\n\r\n")[0].decode().split("\r\n") for request in requests]
    return [line.split(": ")[1] for head in heads for line in head if line.startswith("Idempotency-Key")]


def injects(desk: Terminal, chunk: str) -> int:
    found = desk.client.post(
        "/history/query",
        {"sql": f"select count(*) from transitions where command = 'Inject' and chunk = '{chunk}'"},
    )
    return int(found["rows"][0][0])


@pytest.mark.parametrize(("chunk", "deliver"), [("one", True), ("two", False)])
def test_a_command_whose_answer_was_lost_takes_effect_exactly_once(
    desk: Terminal, tmp_path: Path, chunk: str, deliver: bool
) -> None:
    proxy = Unreliable(desk.places.socket, tmp_path, lose=2, deliver=deliver)
    try:
        tmp_path.chmod(0o700)
        client = Client(desk.places._replace(socket=proxy.path))
        reply = client.post("/work-units", {"chunks": [chunk]})
    finally:
        proxy.close()
    assert [unit["chunk"] for unit in reply["units"]] == [chunk]
    assert injects(desk, chunk) == 1
    sent = keys(proxy.requests)
    assert len(sent) == 3
    assert len(set(sent)) == 1, "the same key each time"


def test_an_answer_that_stays_lost_leaves_no_doubt_that_there_is_doubt(
    desk: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "RETRY_AFTER_S", (0.0, 0.0))
    proxy = Unreliable(desk.places.socket, tmp_path, lose=99)
    try:
        client = Client(desk.places._replace(socket=proxy.path))
        with pytest.raises(UnavailableError, match="whether it took effect is not known"):
            client.post("/work-units", {"chunks": ["three"]})
    finally:
        proxy.close()
    assert len(proxy.requests) == 3


def test_each_command_has_a_key_of_its_own_and_one_key_means_one_body(desk: Terminal) -> None:
    first = desk.client.post("/work-units", {"chunks": ["four"]}, key="mine")
    again = desk.client.post("/work-units", {"chunks": ["four"]}, key="mine")
    assert again["units"][0]["id"] == first["units"][0]["id"]
    with pytest.raises(RefusedError, match="another body"):
        desk.client.post("/work-units", {"chunks": ["three"]}, key="mine")
    with pytest.raises(RefusedError, match="already queued"):
        desk.client.post("/work-units", {"chunks": ["four"]})


def test_what_the_daemon_refuses_is_raised_here_as_the_same_error(desk: Terminal) -> None:
    client = desk.client
    with pytest.raises(NotFound, match="nothing-here") as missing:
        client.get("/work-units/nothing-here")
    assert "ve orch inject" in missing.value.hint
    with pytest.raises(DocumentError, match="not committed") as document:
        client.post("/work-units", {"chunks": ["nothing-here"]})
    assert document.value.where.startswith("docs/chunks/nothing-here/GOAL.md")
    with pytest.raises(ConfigError, match="whole number"):
        client.post("/config", {"key": "slots", "value": "0"})
    with pytest.raises(InvalidInput) as wrong:
        client.post("/work-units", {"chunks": "one"})
    assert [field for field, _ in wrong.value.errors] == ["chunks"]
    client.post("/work-units", {"chunks": ["one"]}) if not injects(desk, "one") else None
    with pytest.raises(RefusedError) as refused:
        client.post("/work-units/one/answer", {"text": "yes"})
    assert {"cancel", "pause", "prioritize"} <= set(refused.value.legal)


def test_the_history_says_who_asked(desk: Terminal) -> None:
    desk.said("orch", "prioritize", "four", "7")
    sql = "select actor from transitions where command = 'Prioritize' order by seq desc limit 1"
    assert desk.client.post("/history/query", {"sql": sql})["rows"] == [["operator:ada"]]


def test_a_token_that_is_not_the_daemons_is_refused(desk: Terminal, tmp_path: Path) -> None:
    other = tmp_path / "token"
    other.write_text("not-the-token-of-this-daemon")
    with pytest.raises(RefusedError, match="token"):
        Client(desk.places._replace(token=other)).get("/status")


def test_a_daemon_of_another_version_is_named_once(desk: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "__version__", "9.9.9")
    notices: list[str] = []
    client = Client(desk.places, notice=notices.append)
    client.get("/status")
    client.get("/status")
    assert len(notices) == 1
    assert "9.9.9" in notices[0]
    assert "ve orch stop" in notices[0]
    with pytest.raises(NotFound) as refused:
        client.get("/a-path-of-a-later-version")
    assert "9.9.9" in refused.value.hint


def test_without_a_daemon_the_command_that_starts_one_is_named(tmp_path: Path) -> None:
    places = find(project(tmp_path / "repo").root)
    with pytest.raises(NoDaemon) as never:
        Client(places).get("/status")
    assert never.value.hint == "Start it: ve orch start"
    places.state_dir.mkdir()
    places.token.write_text("x" * 40)
    with pytest.raises(NoDaemon):
        Client(places).get("/status")


def test_an_answer_is_read_however_it_is_cut_into_pieces() -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-More: a: b\r\n\r\nhello"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n"
    open_ended = b"HTTP/1.1 200 OK\r\n\r\nhello"
    for text in (whole, chunked, open_ended):
        ours, theirs = socket.socketpair()
        ours.settimeout(WAIT_S)

        def send(there: socket.socket = theirs, text: bytes = text) -> None:
            with there:
                there.recv(100)
                for byte in text:
                    there.send(bytes([byte]))

        sender = threading.Thread(target=send)
        sender.start()
        answer = client_module._exchange(ours, b"GET / HTTP/1.1\r\n\r\n")
        sender.join(WAIT_S)
        assert answer.body == b"hello"
        assert answer.status == 200
    assert client_module._parse(bytearray(whole), ended=True).headers["x-more"] == "a: b"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("status", "problem", "kind"),
    [
        (409, {"type": "urn:ve:GitError", "detail": "git refuses"}, "GitError"),
        (404, {"type": "about:blank", "title": "Not Found"}, "NotFound"),
        (503, {"type": "about:blank", "title": "Service Unavailable"}, "UnavailableError"),
        (500, {"type": "about:blank", "title": "Internal Server Error", "detail": "?"}, "VeError"),
        (400, {"type": "urn:ve:SomethingLater", "detail": "?"}, "InvalidInput"),
    ],
)
def test_a_problem_becomes_the_error_it_names_else_the_one_of_its_status(
    status: int, problem: dict[str, str], kind: str
) -> None:
    error = problem_error(Answer(status, {}, json.dumps(problem).encode()))
    assert type(error).__name__ == kind


def test_an_answer_that_is_no_problem_document_is_still_an_error() -> None:
    assert isinstance(problem_error(Answer(502, {}, b"<html>")), VeError)
