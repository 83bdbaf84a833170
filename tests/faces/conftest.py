"""Real repositories and real daemons, asked over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.faces.warm import WARM
from ve.config import load
from ve.core import Core
from ve.daemon import ensure_token, running
from ve.paths import Places, find
from ve.server import Server

TIMEOUT_S = 40.0

GOAL = """---
status: FUTURE
ticket: null
parent_chunk: null
code_paths: []
code_references: []
{depends}created_after: []
---

# Chunk Goal

## Minor Goal

Say something in a file of its own.

## Success Criteria

- The file is there.
"""
PLAN = "# Implementation Plan\n\n## Approach\n\nWrite the file.\n"


def git(folder: Path, *args: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", *identity, *args], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class Project:
    """A repository with chunks whose agent is a script."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        git(root, "init", "-q", "-b", "main")
        self.commit("start", {"README.md": "# Test\n"})

    @property
    def places(self) -> Places:
        return find(self.root)

    def commit(self, message: str, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git(self.root, "add", "-A")
        git(self.root, "commit", "-qm", message)

    def chunk(self, name: str, script: str, *, depends_on: tuple[str, ...] = ()) -> None:
        """Describe a chunk and commit it; `script` says what its agent does."""
        folder = f"docs/chunks/{name}"
        depends = f"depends_on: [{', '.join(depends_on)}]\n" if depends_on else ""
        self.commit(
            f"describe {name}",
            {
                f"{folder}/GOAL.md": GOAL.format(depends=depends),
                f"{folder}/PLAN.md": PLAN,
                f"{folder}/script.toml": script,
            },
        )


WRITES = '[[IMPLEMENT]]\nwrite = "{name}.txt"\ntext = "done"\n\n[[REVIEW]]\ndecide = "approve"\n'
ASKS = (
    '[[IMPLEMENT]]\nask = "{question}"\noptions = ["one", "two"]\nvisit = 1\n\n'
    '[[IMPLEMENT]]\nwrite = "{name}.txt"\ntext = "{{answer}}"\nvisit = 2\n\n[[REVIEW]]\ndecide = "approve"\n'
)


def writes(name: str) -> str:
    """The script of an agent that writes one file and approves itself."""
    return WRITES.format(name=name)


def asks(name: str, question: str = "Which one?") -> str:
    """The same with a question before."""
    return ASKS.format(name=name, question=question)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


class Answer:
    """What came back."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the daemon's socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self.path))


class Api:
    """Asks a daemon, on its Unix socket or on its port."""

    def __init__(self, places: Places, port: int) -> None:
        self.places = places
        self.port = port
        self.token = places.token.read_text().strip()

    def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        tcp: bool = False,
    ) -> Answer:
        """One request as given, without anything added but the token where `headers` is None."""
        link: http.client.HTTPConnection
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        if not tcp:
            link = UnixConnection(self.places.socket)
        if headers is None:
            headers = {"Authorization": f"Bearer {self.token}"}
        try:
            link.request(method, path, body, headers)
            got = link.getresponse()
            return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read())
        finally:
            link.close()

    def get(self, path: str, status: int = 200) -> Any:
        answer = self.send("GET", path)
        assert answer.status == status, answer.body
        return answer.json

    def post(self, path: str, body: Any = None, status: int = 200, **headers: str) -> Any:
        given = {
            "Authorization": f"Bearer {self.token}",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        answer = self.send("POST", path, json.dumps({} if body is None else body).encode(), given)
        assert answer.status == status, answer.body
        return answer.json

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def websocket(self, path: str, **how: Any) -> connect:
        """A WebSocket on the daemon's port, with the token unless headers are given."""
        headers = how.pop("headers", {"Authorization": f"Bearer {self.token}"})
        return connect(
            f"ws://127.0.0.1:{self.port}{path}",
            additional_headers=headers,
            max_size=None,
            proxy=None,
            compression=None,
            **how,
        )


class Reader:
    """Reads the feed frame by frame, and refuses a gap."""

    def __init__(self, link: ClientConnection) -> None:
        self.link = link
        self.seq: int | None = None
        self.seen: list[dict[str, Any]] = []
        self._waiting: list[dict[str, Any]] = []

    async def next(self) -> dict[str, Any]:
        while not self._waiting:
            async with asyncio.timeout(TIMEOUT_S):
                self._waiting = json.loads(await self.link.recv())
        frame = self._waiting.pop(0)
        if frame["type"] == "snapshot":
            self.seq = int(frame["cursor"].rpartition(".")[2])
        if frame["type"] == "transition":
            assert self.seq is None or frame["seq"] == self.seq + 1, f"a gap: {self.seq} then {frame['seq']}"
            self.seq = frame["seq"]
        self.seen.append(frame)
        return frame

    async def until(self, wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        while True:
            frame = await self.next()
            if wanted(frame):
                return frame

    async def status(self, chunk: str, status: str) -> dict[str, Any]:
        """Read on until a unit of the chunk takes that status; returns the flat view."""

        def takes(frame: dict[str, Any]) -> bool:
            unit = frame.get("unit")
            return unit is not None and unit["chunk"] == chunk and unit["status"] == status

        return dict((await self.until(takes))["unit"])

    @property
    def transitions(self) -> list[dict[str, Any]]:
        return [frame for frame in self.seen if frame["type"] == "transition"]


@contextlib.asynccontextmanager
async def reading(api: Api, since: str | None = None) -> AsyncIterator[Reader]:
    async with api.websocket("/feed" + (f"?since={since}" if since else "")) as link:
        yield Reader(link)


def wait_gone(pid: int) -> None:
    """Wait until a process, child or not, has ended; fails the test when it does not."""
    import select

    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([fd], [], [], TIMEOUT_S)
        assert ready, f"{pid} did not end"
    finally:
        os.close(fd)


def end(places: Places) -> None:
    """End the daemon of these places and its runs, if there is one."""
    found = running(places)
    if found is None:
        return
    with contextlib.suppress(OSError):
        Api(places, found["port"]).send("POST", "/stop", b'{"mode": "kill"}')
    try:
        wait_gone(found["pid"])
    except AssertionError:
        os.kill(found["pid"], signal.SIGKILL)
        wait_gone(found["pid"])
        raise


@pytest.fixture
def daemon(project: Project) -> Iterator[Callable[[], Api]]:
    """Starts the daemon of the project (again); ended after the test."""

    def start() -> Api:
        found = WARM.start(project.places, TIMEOUT_S)
        return Api(project.places, found["port"])

    try:
        yield start
    finally:
        end(project.places)


@pytest.fixture
def api(daemon: Callable[[], Api]) -> Api:
    """A running daemon."""
    return daemon()


class Inside(Api):
    """Core and server in the test's own process, for what only its inside can bring about."""

    def __init__(self, core: Core, server: Server) -> None:
        super().__init__(core.places, server.port)
        self.core = core
        self.server = server
        self.ops = server.ops
        self.stops: list[str] = []

    async def ask(self, method: str, path: str, body: Any = None, **how: Any) -> Answer:
        """`send` from beside the loop."""
        data = json.dumps(body).encode() if body is not None else b""
        return await asyncio.to_thread(
            self.send, method, path, data, how.get("headers"), tcp=how.get("tcp", False)
        )

    async def until(self, condition: Callable[[], object]) -> None:
        """Go on asking for the status, a turn of everything each, until a condition comes true."""
        async with asyncio.timeout(TIMEOUT_S):
            while not condition():
                assert (await self.ask("GET", "/status")).status == 200


@pytest.fixture
async def inside(project: Project) -> AsyncIterator[Inside]:
    places = project.places
    places.state_dir.mkdir(mode=0o700)
    stops: list[str] = []
    core = Core(places, load(places, {}).config, version="test")
    try:
        await core.start()
        server = Server(core, version="test", token=ensure_token(places), on_stop=stops.append)
        await server.start()
        made = Inside(core, server)
        made.stops = stops
        try:
            yield made
        finally:
            await server.close()
    finally:
        await core.close()
