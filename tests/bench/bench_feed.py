"""From an accepted command to a client of the feed, in another process, over a WebSocket on this machine.

The server's process is a core with its server as the daemon has them; its processor time holds all that
it does meanwhile: deciding, encoding, saving, sending. See feed_server.py and feed_clients.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from figures import Figure, percentile
from ground import progress, repository

HERE = Path(__file__).parent
ALONE = (1, 1_000, 200.0)
MANY = (100, 5_000, 1_000.0)


class Process:
    """One of the two programs, with lines to and from it."""

    def __init__(self, program: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / program), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def say(self, line: str) -> None:
        """Send it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        """Its next line. Raises RuntimeError if it ended instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")
        return line.strip()

    def end(self) -> None:
        """Close its stdin and wait for it."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@contextmanager
def program(name: str, *arguments: object) -> Iterator[Process]:
    """A program that is ended afterwards."""
    process = Process(name, *arguments)
    try:
        yield process
    finally:
        process.end()


class Spent:
    """What an offer cost the server, in percent of one core."""

    def __init__(self, said: dict[str, float]) -> None:
        self.all = 100 * said["cpu"] / said["seconds"]
        self.loop = 100 * said["loop"] / said["seconds"]


class Outcome:
    """What clients saw, and what it cost both sides."""

    def __init__(self, clients: dict[str, Any], server: dict[str, float]) -> None:
        if clients["missing"]:
            raise RuntimeError(f"{clients['missing']} clients did not get everything")
        self.delays_ms = [delay / 1000 for delay in clients["delays"]]
        self.server = Spent(server)
        self.clients = 100 * clients["cpu"] / server["seconds"]
        self.messages_a_second = clients["messages"] / server["seconds"]


def _offered(
    server: Process, kind: str, port: int, load: tuple[int, int, float], token: str | None
) -> Outcome:
    count, wanted, rate = load
    with program("feed_clients.py", port, count, wanted, *([token] if token else [])) as clients:
        assert clients.hear() == "ready"
        server.say(f"{kind} {wanted} {rate}")
        spent = json.loads(server.hear())
        return Outcome(json.loads(clients.hear()), spent)


def _row(name: str, value: float, unit: str, target: float, peer: float | None = None) -> Figure:
    ratio = None if peer is None else value / peer
    return Figure(name, value, unit, peer, ratio, f"≤ {target:g} {unit}", value <= target)


def measure() -> Iterator[Figure]:
    """One client beside a bare socket, then a hundred."""
    with TemporaryDirectory() as folder:
        places = repository(Path(folder) / "repository", {"README.md": "A repository.\n"})
        with program("feed_server.py", places.main_worktree) as server:
            at = json.loads(server.hear())
            token = places.token.read_text().strip()
            progress("feed: one client at 200/s, in turn with a bare socket")
            alone, bare = [], []
            for _ in range(2):
                bare += _offered(server, "raw", at["raw"], ALONE, None).delays_ms
                alone += _offered(server, "offer", at["port"], ALONE, token).delays_ms
            for share, name, target in ((0.5, "p50", 2.0), (0.99, "p99", 2.0)):
                a, b = percentile(alone, share), percentile(bare, share)
                yield _row(f"accepted → one client, {name}", a, "ms", target, b)
            progress("feed: 1,000/s without a client, then with 100")
            server.say(f"offer {MANY[1] // 2} {MANY[2]}")
            without = Spent(json.loads(server.hear()))
            many = _offered(server, "offer", at["port"], MANY, token)
            for share, name in ((0.5, "p50"), (0.99, "p99")):
                delay = percentile(many.delays_ms, share)
                yield _row(f"accepted → 100 clients at 1,000/s, {name}", delay, "ms", 15.0)
            yield _row("  server's share of a core; peer: no client", many.server.all, "%", 30.0, without.all)
            yield Figure("    of it the event loop's thread", many.server.loop, "%", without.loop)
            yield Figure("  messages to all clients", many.messages_a_second, "/s")
            yield Figure("  clients' share of a core", many.clients, "%")
