"""The command line as a person has it, on a real repository with a real daemon, for tests to use.

Tests wait for lines, exits and frames of the feed, never for time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.e2e.given import Project
from tests.faces.warm import WARM
from ve import daemon
from ve.client import Client
from ve.following import Connection, feed_path
from ve.paths import Places, find

WAIT_S = 40.0
VE = [sys.executable, "-P", "-m", "ve.cli.__main__"]


class Terminal:
    """A person in front of one repository."""

    def __init__(self, root: Path, *, home: Path | None = None) -> None:
        self.root = root
        self.env = {
            name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "EDITOR")
        }
        self.env |= {"LOGNAME": "ada", "TERM": "xterm"}
        if home is not None:
            self.env["HOME"] = str(home)

    @property
    def places(self) -> Places:
        return find(self.root)

    @property
    def client(self) -> Client:
        return Client(self.places)

    def ve(
        self, *words: str, cwd: Path | None = None, stdin: str = "", **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [*VE, *words],
            cwd=cwd or self.root,
            env=self.env | env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    def said(self, *words: str, **env: str) -> str:
        """What a command that is done says on stdout."""
        done = self.ve(*words, **env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.said(*words, "--json"))

    @contextlib.contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """A command while it runs; ended by its pid if it does not end by itself."""
        process = subprocess.Popen(
            [*VE, *words],
            cwd=self.root,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=WAIT_S)

    def start(self) -> dict[str, Any]:
        """Start the daemon; what its daemon.json says."""
        return WARM.start(self.places, WAIT_S, self.env)

    def end(self) -> None:
        """End the daemon with its runs, if there is one."""
        found = daemon.running(self.places)
        if found is not None:
            self.ve("orch", "stop", "--kill")
            assert daemon.running(self.places) is None

    def until(self, wanted: Callable[[dict[str, dict[str, Any]]], Any]) -> Any:
        """The first true value of `wanted`, given the latest unit of each chunk, after each frame."""
        feed = Connection(self.client, feed_path())
        late = threading.Timer(WAIT_S, feed.close)
        late.start()
        units: dict[str, dict[str, Any]] = {}
        try:
            for frame in feed.frames():
                for unit in frame.get("units") or [frame.get("unit")]:
                    if unit:
                        units[unit["chunk"]] = unit
                found = wanted(units)
                if found:
                    return found
        finally:
            late.cancel()
            feed.close()
        seen = {name: (unit["status"], unit["attention_reason"]) for name, unit in units.items()}
        raise AssertionError(f"not reached: {seen}")

    def status(self, chunk: str, status: str) -> dict[str, Any]:
        """The unit once it has this status."""

        def there(units: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
            unit = units.get(chunk)
            return unit if unit and unit["status"] == status else None

        found: dict[str, Any] = self.until(there)
        return found

    def settled(self, unit: str) -> None:
        """Return once no run of that unit is alive."""
        self.until(lambda units: all(found["id"] != unit or not found["run_id"] for found in units.values()))


def lines_until(stream: Any, pattern: str) -> list[str]:
    """The lines of a pipe up to the first that fits."""
    lines: list[str] = []
    fd = stream.fileno()
    text = b""
    while select.select([fd], [], [], WAIT_S)[0]:
        some = os.read(fd, 65536)
        text += some
        lines = text.decode().splitlines()
        if any(re.search(pattern, line) for line in lines):
            return lines
        if not some:
            break
    raise AssertionError(f"no line like {pattern!r} in {lines}")


PLAIN = (
    (r"\bu[a-z2-7]{12}(?:-\d+-[a-z]+-\d+-[0-9a-f]+)?", "<unit>"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>"),
    (r"\b(?:\d+[smhd] )?\d+[smhd] ago\b", "<age> ago"),
    (r"waits \d+[smhd](?: \d+[smhd])?", "waits <age>"),
    (r"script-[0-9a-f-]{36}", "<session>"),
    (r"\b[0-9a-f]{40}\b", "<commit>"),
    (r"(?<=at )[0-9a-f]{10}\b|(?<=merged as )[0-9a-f]{10,40}\b", "<commit>"),
    (r"\b[0-9a-f]{8}\.\d+\b", "<cursor>"),
    (r"pid \d+", "pid <n>"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:<port>"),
    (r"code=[\w-]+", "code=<code>"),
    (r"\b[0-9a-f]{64}\b", "<hash>"),
    (r"question [\w-]+ \(", "question <id> ("),
)


def plain(text: str, *roots: Path) -> str:
    """The text with what differs from run to run replaced."""
    for root in roots:
        text = text.replace(str(root), "<repo>")
    for pattern, name in PLAIN:
        text = re.sub(pattern, name, text)
    return text


def columns_plain(text: str) -> str:
    """As `plain` for a table with ages, whose columns then are one space apart."""
    aged = re.sub(r"(?<=  )(?:\d+[smhd] )?\d+[smhd](?= |$)", "<age>", plain(text), flags=re.MULTILINE)
    return re.sub(r" {2,}", "  ", aged)


def project(folder: Path) -> Project:
    """A repository with nothing to do yet."""
    return Project(folder)
