"""The daemon's process: one a repository, by a lock; ready only once it answers; ends without killing runs.

Rule: whether a daemon lives is judged by who holds `daemon.lock`, never by a pid in a file. `daemon.json`
only says where the one that holds it listens. This file imports nothing but the standard library until
`main` runs: every command of the command line imports it.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ve import __version__, errors
from ve.errors import RefusedError, VeError
from ve.paths import Places, find

if TYPE_CHECKING:
    from logging.handlers import RotatingFileHandler

    from ve.core import Core
    from ve.server import Server

_started: list[subprocess.Popen[bytes]] = []
"""Children of this process, kept so that one that has ended does not stay a zombie past the next start."""

LOG_BYTES, LOG_FILES = 5 * 1024 * 1024, 3
START_TIMEOUT_S = 30.0
RACE_POLL_S = 0.05  # while another start, which won the lock, gets ready


# ── From outside: used by the command line ─────────────────────────────────────────────────────────


def running(places: Places) -> dict[str, Any] | None:
    """What daemon.json says, if the daemon that wrote it is alive and serves; else None."""
    try:
        found = json.loads(places.daemon_json.read_bytes())
        pid, start_time = int(found["pid"]), int(found["start_time"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not lock_is_held(places) or process_start_time(pid) != start_time:
        return None
    return dict(found)


def lock_is_held(places: Places) -> bool:
    """Whether a daemon of this repository is alive, ready or not."""
    try:
        fd = os.open(places.daemon_lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two that look at once do not take each other for a daemon.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def start_daemon(places: Places, timeout_s: float = START_TIMEOUT_S) -> dict[str, Any]:
    """Make sure that a daemon serves this repository; returns its daemon.json.

    Of several that start at once one daemon remains, and all get that one's. Raises what the daemon said
    when it could not start, and RefusedError when it was not ready in time (it is then left to go on).
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = running(places)
        if found is not None:
            return found
        if lock_is_held(places):
            if time.monotonic() > deadline:
                raise _not_ready(places, timeout_s)
            time.sleep(RACE_POLL_S)
            continue
        said = _spawn(places, deadline - time.monotonic())
        if said is None:
            raise _not_ready(places, timeout_s)
        if "error" in said:
            raise _as_said(said["error"])
        if "ready" in said:
            return dict(said["ready"])
        # Another start took the lock in between; wait for that one.


def _as_said(error: dict[str, str]) -> VeError:
    """The daemon's own error, of the same class as there."""
    kind = getattr(errors, error.get("type", ""), None)
    if not (isinstance(kind, type) and issubclass(kind, VeError)):
        kind = RefusedError
    return kind(error["what"], where=error["where"], hint=error["hint"])


def _not_ready(places: Places, timeout_s: float) -> RefusedError:
    return RefusedError(
        f"the daemon was not ready within {timeout_s:g} s",
        where=str(places.log),
        hint="It may still become ready: ve orch status",
    )


def _spawn(places: Places, timeout_s: float) -> dict[str, Any] | None:
    """Start one process, detached; what it says when it is ready or gives up; None when it says nothing."""
    _started[:] = [process for process in _started if process.poll() is None]
    with private_umask():
        places.state_dir.mkdir(parents=True, exist_ok=True)
        log = os.open(places.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    ours, theirs = os.pipe()
    try:
        # -P: never import from the folder that the user happens to stand in.
        argv = [
            sys.executable,
            "-P",
            "-m",
            "ve.daemon",
            "--repo",
            str(_a_folder(places)),
            "--ready-fd",
            str(theirs),
        ]
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(theirs,),
            cwd="/",
            start_new_session=True,
        )
        _started.append(process)
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
        os.close(log)
    try:
        return _read_line(ours, timeout_s, places)
    finally:
        os.close(ours)


def _a_folder(places: Places) -> Path:
    return places.main_worktree or places.common_dir


def _read_line(fd: int, timeout_s: float, places: Places) -> dict[str, Any] | None:
    deadline = time.monotonic() + timeout_s
    text = b""
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        some = os.read(fd, 65536)
        if not some:
            what = "the daemon ended before it was ready"
            return {"error": {"what": what, "where": str(places.log), "hint": "Its log's end says why."}}
        text += some
    return dict(json.loads(text))


def process_start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat, which with the pid names a process; 0 where there is none, or no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in (b"Z", b"X") else int(fields[19])


@contextlib.contextmanager
def private_umask() -> Iterator[None]:
    """What is made inside is the user's alone. Not for the whole process: agents' trees keep their modes."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


# ── The process ────────────────────────────────────────────────────────────────────────────────────


def main(argv: list[str] | None = None) -> int:
    """`python -m ve.daemon --repo PATH [--ready-fd N]`: serve until told to stop; the exit status."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m ve.daemon", description="The daemon of one repository.")
    parser.add_argument("--repo", type=Path, required=True, help="any folder of the repository")
    parser.add_argument("--ready-fd", type=int, help="where to write one line of JSON once it serves")
    given = parser.parse_args(argv)
    gc.disable()  # what a start imports stays: scanning it while it grows is a tenth of the start
    report = Report(given.ready_fd)
    try:
        places = find(given.repo)
        lock = take_lock(places)
        if lock is None:
            report.send({"taken": True})
            return 1
        return serve(places, report)
    except VeError as error:
        report.failed(type(error).__name__, error.what, error.where, error.hint)
    except Exception as error:  # fence: whoever waits for the ready line has to hear of anything at all
        import logging

        logging.getLogger(__name__).exception("the daemon failed")
        report.failed("", f"{type(error).__name__}: {error}", "the daemon", "The log's end says where.")
    return 1


class Report:
    """The one line for whoever started us; without a descriptor errors go to stderr."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        if fd is not None:
            os.set_inheritable(fd, False)

    def send(self, said: dict[str, Any]) -> None:
        """Write the line; only the first one counts."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):  # nobody waits any more
                os.write(fd, json.dumps(said).encode() + b"\n")
            os.close(fd)

    def failed(self, kind: str, what: str, where: str, hint: str) -> None:
        """Say why it cannot start, or ended."""
        print(f"{where}: {what}\n{hint}".strip(": \n"), file=sys.stderr)
        self.send({"error": {"type": kind, "what": what, "where": where, "hint": hint}})


def take_lock(places: Places) -> int | None:
    """The descriptor that holds the lock until this process ends; None if another daemon holds it."""
    with private_umask():
        places.state_dir.mkdir(parents=True, exist_ok=True)
        places.state_dir.chmod(0o700)
        fd = os.open(places.daemon_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(20):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.005)  # perhaps it is only somebody who looks (lock_is_held)
        else:
            return fd
    os.close(fd)
    return None


def serve(places: Places, report: Report) -> int:
    """Log, then run the loop until the end; the exit status."""
    import asyncio
    import logging

    import uvloop

    handler = log_handler(places)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Daemon(places, report).run())
    finally:
        logging.shutdown()
    return 0


def log_handler(places: Places) -> RotatingFileHandler:
    """A log that rotates; what is printed past it goes to the present file as well, not to a renamed one."""
    import logging
    import logging.handlers

    detached = same_file(2, places.log)

    class Handler(logging.handlers.RotatingFileHandler):
        def doRollover(self) -> None:  # noqa: N802 - logging's name
            super().doRollover()
            if detached and self.stream is not None:
                os.dup2(self.stream.fileno(), 1)
                os.dup2(self.stream.fileno(), 2)

    with private_umask():
        handler = Handler(places.log, maxBytes=LOG_BYTES, backupCount=LOG_FILES - 1, encoding="utf-8")
    form = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    form.converter = time.gmtime
    handler.setFormatter(form)
    return handler


def same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


class Daemon:
    """One life of the daemon: core and server up, ready told, waiting, down again in the reverse order."""

    def __init__(self, places: Places, report: Report) -> None:
        self._places = places
        self._report = report

    async def run(self) -> None:
        """Raises VeError where it cannot start."""
        import asyncio
        import logging

        from ve import config
        from ve.core import Core
        from ve.server import Server

        log = logging.getLogger(__name__)
        places = self._places
        self._ended = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, "detach")
        token = ensure_token(places)
        loaded = config.load(places, os.environ)
        self._core = core = Core(places, loaded.config, version=__version__)
        gc.enable()
        try:
            await core.start()
            self._server = server = Server(core, version=__version__, token=token, on_stop=self.stop)
            await server.start(remembered_port(places))
            try:
                described = self._describe(core, server)
                write_whole(places.state_dir / "port", str(server.port).encode())
                write_whole(places.daemon_json, json.dumps(described, indent=1).encode())
                log.info("serves %s, pid %d, epoch %s", server.url, os.getpid(), core.stream.epoch)
                self._report.send({"ready": described})
                await self._ended.wait()
            finally:
                await server.close()
        finally:
            await core.close()
            places.daemon_json.unlink(missing_ok=True)
            log.info("ended")

    def stop(self, mode: str) -> None:
        """Come to rest as `mode` says, then end. A later call replaces an earlier one, such as a drain."""
        import asyncio

        if self._stopping is not None:
            self._stopping.cancel()
        self._stopping = asyncio.get_running_loop().create_task(self._rest(mode), name="stop")

    async def _rest(self, mode: str) -> None:
        import logging

        logging.getLogger(__name__).info("asked to stop: %s", mode)
        if mode != "detach":
            await self._server.ops.stop(mode)
        self._ended.set()

    def _describe(self, core: Core, server: Server) -> dict[str, Any]:
        from datetime import UTC, datetime

        return {
            "pid": os.getpid(),
            "start_time": process_start_time(os.getpid()),
            "port": server.port,
            "url": server.url,
            "socket": str(self._places.socket),
            "version": __version__,
            "epoch": core.stream.epoch,
            "started_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }


def ensure_token(places: Places) -> str:
    """The token in its 0600 file, made once. Raises RefusedError where the file is not ours alone to read."""
    import secrets

    try:
        found = places.token.lstat()
    except FileNotFoundError:
        write_whole(places.token, secrets.token_urlsafe(32).encode())
        return places.token.read_text().strip()
    if found.st_uid != os.geteuid() or places.token.is_symlink():
        raise RefusedError(
            "is not a file of yours", where=str(places.token), hint=f"See: ls -l {places.token}"
        )
    places.token.chmod(0o600)
    text = places.token.read_text().strip()
    if len(text) < 20:
        raise RefusedError(
            "holds no token",
            where=str(places.token),
            hint=f"Remove it, and a start makes a new one: rm {places.token}",
        )
    return text


def remembered_port(places: Places) -> int | None:
    """The port of the last start, so that an open board finds the daemon again."""
    try:
        return int((places.state_dir / "port").read_text())
    except (OSError, ValueError):
        return None


def write_whole(path: Path, data: bytes) -> None:
    """All of it or nothing, 0600."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    with private_umask():
        beside.write_bytes(data + b"\n")
    beside.replace(path)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is closed and written. An ordinary end would let DuckDB's bindings print what they call
    # leaks into the log, and wait for threads that still read for somebody who is gone.
    os._exit(status)
