"""Daemons for tests, without the half second that each spends on imports.

One process of each test worker has imported everything; a daemon is a fork of it that runs the daemon's own
`main`, with the environment, the folder, the session and the log that `ve orch start` gives it. What is
tested of a start itself (`ve orch start`, a start after kill -9) begins a new Python, as it does for a user.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ve import daemon
from ve.paths import Places

ROOT = Path(__file__).parent.parent.parent


class Warm:
    """The process that has imported everything; started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self, places: Places, timeout_s: float, env: dict[str, str] | None = None) -> dict[str, Any]:
        """Like `ve.daemon.start_daemon`: what the daemon that serves says of itself."""
        found = daemon.running(places)
        if found is not None:
            return found
        said = self.spawn(places, timeout_s, env)
        assert said is not None, "the daemon said nothing in time"
        if "error" in said:
            raise daemon._as_said(said["error"])
        return dict(said["ready"])

    def spawn(
        self, places: Places, timeout_s: float, env: dict[str, str] | None = None
    ) -> dict[str, Any] | None:
        """Like `ve.daemon._spawn`: what a new daemon says when it is ready or gives up; None for nothing."""
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            ready = Path(folder) / "ready"
            os.mkfifo(ready)
            fd = os.open(ready, os.O_RDONLY | os.O_NONBLOCK)
            try:
                repo = str(places.main_worktree or places.common_dir)
                order = {
                    "repo": repo, "ready": str(ready), "log": str(places.log), "env": env or dict(os.environ),
                }  # fmt: skip
                print(json.dumps(order), file=process.stdin, flush=True)
                assert process.stdout.readline().strip(), "the warm process has ended"
                return daemon._read_line(fd, timeout_s, places)
            finally:
                os.close(fd)

    def close(self) -> None:
        """End it; the daemons go on."""
        if self._process is not None:
            self._process.communicate(timeout=10)
            self._process = None

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
        return self._process


WARM = Warm()
atexit.register(WARM.close)


def serve() -> None:
    """Read orders, fork a daemon for each, say its pid."""
    import ve.core
    import ve.server  # noqa: F401

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them here
    for line in sys.stdin:
        order = json.loads(line)
        fd = os.open(order["ready"], os.O_WRONLY)
        pid = os.fork()
        if pid:
            os.close(fd)
            print(pid, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os._exit(_become(order, fd))


def _become(order: dict[str, Any], fd: int) -> int:
    os.setsid()
    os.chdir("/")
    os.environ.clear()
    os.environ.update(order["env"])
    before = os.umask(0o077)
    Path(order["log"]).parent.mkdir(parents=True, exist_ok=True)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.umask(before)
    for standard, new in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(new, standard)
    code: int = daemon.main(["--repo", order["repo"], "--ready-fd", str(fd)])
    return code


if __name__ == "__main__":
    serve()
