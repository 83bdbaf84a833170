"""The daemon's process: one a repository, ready only once it answers, and never a kill -9 in disguise."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.faces.conftest import TIMEOUT_S, Api, Project, asks, reading, wait_gone, writes
from ve.daemon import lock_is_held, process_start_time, running, start_daemon
from ve.errors import ConfigError, HistoryError
from ve.proc import runfolder, watch
from ve.proc.identity import lives

SLOW = "[[IMPLEMENT]]\nsleep = 300\n"


def stopped(api: Api, mode: str) -> int:
    """Stop by HTTP and wait for the process; its pid."""
    pid = int(api.get("/status")["pid"])
    api.post("/stop", {"mode": mode}, status=202)
    wait_gone(pid)
    return pid


async def running_unit(project: Project, api: Api, chunk: str) -> dict[str, Any]:
    """A chunk whose agent is at work."""
    async with reading(api) as reader:
        await asyncio.to_thread(api.post, "/work-units", {"chunks": [chunk]})
        frame = await reader.until(lambda frame: frame.get("command") == "RunStarted")
        await reader.until(
            lambda frame: frame["type"] == "durable" and frame["cursor"].endswith(f".{reader.seq}")
        )
    return dict(frame["unit"])


def test_start_returns_once_it_answers_and_says_where(project: Project, daemon: Callable[[], Api]) -> None:
    api = daemon()
    status = api.get("/status")  # the very first request is answered
    told = json.loads(project.places.daemon_json.read_bytes())
    assert (told["pid"], told["epoch"]) == (status["pid"], status["cursor"].partition(".")[0])
    assert told["start_time"] == process_start_time(told["pid"])
    assert told["socket"] == str(project.places.socket)
    assert told["url"] == f"http://127.0.0.1:{told['port']}/"
    assert api.send("GET", "/status", tcp=True).status == 200
    assert set(told) == {"pid", "start_time", "port", "url", "socket", "version", "epoch", "started_at"}


def test_starts_at_the_same_moment_give_one_daemon(project: Project, daemon: Callable[[], Api]) -> None:
    together = threading.Barrier(4)

    def start(_: int) -> dict[str, Any]:
        together.wait()
        return start_daemon(project.places, TIMEOUT_S)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(start, range(4)))
    assert len({told["pid"] for told in found}) == 1
    assert daemon().get("/status")["pid"] == found[0]["pid"]


def test_a_daemon_json_that_was_left_behind_is_not_a_daemon(
    project: Project, daemon: Callable[[], Api]
) -> None:
    """Neither where its pid is nobody's nor where that is another process by now."""
    places = project.places
    places.state_dir.mkdir()
    for pid, start_time in ((os.getpid(), process_start_time(os.getpid())), (os.getpid(), 1), (2**22 - 1, 5)):
        left = {"pid": pid, "start_time": start_time, "port": 1, "url": "http://127.0.0.1:1/"}
        places.daemon_json.write_text(json.dumps(left))
        assert running(places) is None
    for text in ("", "{", "[]", '{"pid": "x"}', "null"):
        places.daemon_json.write_text(text)
        assert running(places) is None
    assert daemon().get("/status")["pid"] != os.getpid()


def test_after_kill_9_a_start_takes_over_with_everything_that_was_acknowledged(
    project: Project, daemon: Callable[[], Api]
) -> None:
    project.chunk("alpha", writes("alpha"))
    api = daemon()
    api.post("/board/pause")
    unit = api.post("/work-units", {"chunks": ["alpha"]})["units"][0]
    pid = api.get("/status")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    assert running(project.places) is None
    assert project.places.daemon_json.exists() and project.places.socket.exists(), "nobody tidied up"
    again = daemon()
    assert again.get("/status")["pid"] != pid
    assert again.get("/status")["paused"] is True
    assert again.get("/work-units")["units"] == [unit]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly_and_the_agents_work_on(
    project: Project, daemon: Callable[[], Api], number: signal.Signals
) -> None:
    project.chunk("alpha", SLOW)
    process, told = in_front(project)
    api = Api(project.places, told["ready"]["port"])
    run = (await running_unit(project, api, "alpha"))["run_id"]
    folder = project.places.runs_dir / run
    lock = runfolder.read_lock(folder)
    assert lock is not None
    process.send_signal(number)
    assert await asyncio.to_thread(process.wait, TIMEOUT_S) == 0
    assert not project.places.daemon_json.exists()
    assert not project.places.socket.exists()
    assert not lock_is_held(project.places)
    assert lives(folder, lock), "the agent's supervisor was ended"
    again = daemon()
    (unit,) = again.get("/work-units")["units"]
    assert (unit["status"], unit["run_id"]) == ("RUNNING", run), "it was not adopted"


def in_front(project: Project, *, env: dict[str, str] | None = None) -> tuple[subprocess.Popen[bytes], Any]:
    """A daemon as this test's own child; (the process, its ready line)."""
    ours, theirs = os.pipe()
    argv = [sys.executable, "-P", "-m", "ve.daemon", "--repo", str(project.root), "--ready-fd", str(theirs)]
    process = subprocess.Popen(argv, pass_fds=(theirs,), env={**os.environ, **(env or {})})
    os.close(theirs)
    try:
        assert select.select([ours], [], [], TIMEOUT_S)[0], "it reported nothing"
        with os.fdopen(os.dup(ours)) as lines:
            return process, json.loads(lines.readline())
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        os.close(ours)


async def test_drain_waits_for_the_runs_starts_none_and_shows_them(
    project: Project, daemon: Callable[[], Api]
) -> None:
    project.chunk(
        "alpha",
        '[[IMPLEMENT]]\nrun = "until test -e {go}; do sleep 0.1; done"\n'.format(go=project.root / "go"),
    )
    project.chunk("beta", writes("beta"))
    api = daemon()
    await running_unit(project, api, "alpha")
    pid = api.get("/status")["pid"]
    async with reading(api) as reader:
        await reader.next()
        assert api.post("/stop", {"mode": "drain"}, status=202) == {"mode": "drain", "running": 1}
        status = api.get("/status")
        assert status["draining"] is True
        assert [run["chunk"] for run in status["running"]] == ["alpha"]
        api.post("/work-units", {"chunks": ["beta"]})
        (project.root / "go").touch()
        await reader.until(lambda frame: frame.get("command") == "RunEnded")
        assert all(f["unit"] is None or f["unit"]["chunk"] != "beta" or f["unit"]["status"] == "READY"
                   for f in reader.transitions)  # fmt: skip
    await asyncio.to_thread(wait_gone, pid)
    assert not lock_is_held(project.places)


async def test_a_drain_can_be_turned_into_a_detach(project: Project, daemon: Callable[[], Api]) -> None:
    project.chunk("alpha", SLOW)
    api = daemon()
    run = (await running_unit(project, api, "alpha"))["run_id"]
    api.post("/stop", {"mode": "drain"}, status=202)
    assert api.get("/status")["draining"] is True
    await asyncio.to_thread(stopped, api, "detach")
    folder = project.places.runs_dir / run
    assert isinstance(watch.state(folder), watch.Alive)
    assert daemon().get("/work-units")["units"][0]["run_id"] == run


async def test_kill_ends_the_runs_first(project: Project, daemon: Callable[[], Api]) -> None:
    project.chunk("alpha", SLOW)
    api = daemon()
    run = (await running_unit(project, api, "alpha"))["run_id"]
    await asyncio.to_thread(stopped, api, "kill")
    assert isinstance(watch.state(project.places.runs_dir / run), watch.Ended)


def test_a_damaged_history_is_named_with_the_way_out_and_left_as_it_is(
    project: Project, daemon: Callable[[], Api]
) -> None:
    places = project.places
    places.state_dir.mkdir()
    places.history.write_bytes(b"this is no database" * 1000)
    with pytest.raises(HistoryError) as failed:
        daemon()
    text = str(failed.value)
    assert str(places.history) in text
    assert "ve history repair --to COPY" in text
    process, told = in_front(project)
    assert process.wait(TIMEOUT_S) == 1
    assert told["error"]["where"] == str(places.history)
    assert places.history.read_bytes() == b"this is no database" * 1000
    assert running(places) is None and not places.daemon_json.exists()


def test_a_wrong_setting_is_named_with_its_line(project: Project, daemon: Callable[[], Api]) -> None:
    (project.root / "ve.toml").write_text("slots = 2\nslotz = 3\n")
    with pytest.raises(ConfigError) as failed:
        daemon()
    assert "ve.toml:2" in str(failed.value)


def test_a_taken_port_is_said(project: Project, daemon: Callable[[], Api], tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (project.root / "ve.toml").write_text(f"[server]\nport = {port}\n")
        with pytest.raises(ConfigError) as failed:
            daemon()
    assert str(port) in str(failed.value)
    assert "ve orch config set server.port 0" in str(failed.value)


def test_what_is_no_repository_is_said(tmp_path: Path) -> None:
    argv = [sys.executable, "-P", "-m", "ve.daemon", "--repo", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 1
    assert "is not in a git repository" in done.stderr
    assert "Traceback" not in done.stderr


def test_files_in_the_folder_where_one_stands_are_never_imported(
    project: Project, daemon: Callable[[], Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository may hold a folder `ve` or a file `json.py` of its own."""
    project.commit("traps", {"ve/__init__.py": "raise SystemExit(9)\n", "json.py": "raise SystemExit(9)\n"})
    monkeypatch.chdir(project.root)
    assert daemon().get("/status")["repository"] == str(project.root)


def test_the_files_of_a_worktree_keep_the_users_umask(project: Project, api: Api) -> None:
    """The daemon's own files are private; an agent's files are as the user's own would be."""
    project.chunk("alpha", '[[IMPLEMENT]]\nrun = "umask > {out}"\n'.format(out=project.root / "umask"))
    asyncio.run(ended(project, api, "alpha"))
    before = os.umask(0o022)
    os.umask(before)
    assert int((project.root / "umask").read_text(), 8) == before


async def ended(project: Project, api: Api, chunk: str) -> None:
    async with reading(api) as reader:
        await asyncio.to_thread(api.post, "/work-units", {"chunks": [chunk]})
        await reader.until(lambda frame: frame.get("command") == "RunEnded")


def test_the_log_rotates_and_what_is_printed_follows_it(project: Project) -> None:
    """Run apart: a handler of the daemon's on a file that is also its stderr."""
    code = f"""
import logging, os, sys
from pathlib import Path
from ve import daemon
from ve.paths import find
daemon.LOG_BYTES = 2000
places = find(Path({str(project.root)!r}))
handler = daemon.log_handler(places)
for i in range(200):
    handler.handle(logging.LogRecord("x", logging.INFO, "f", 1, "line %d", (i,), None))
print("past the log", file=sys.stderr, flush=True)
"""
    places = project.places
    places.state_dir.mkdir()
    with places.log.open("ab") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, stderr=log, check=True, timeout=TIMEOUT_S)
    names = sorted(path.name for path in places.state_dir.glob("daemon.log*"))
    assert names == ["daemon.log", "daemon.log.1", "daemon.log.2"]
    assert all((places.state_dir / name).stat().st_size < 3000 for name in names)
    assert "past the log" in places.log.read_text()


async def test_a_question_asked_while_no_daemon_runs_is_there_after_the_start(
    project: Project, daemon: Callable[[], Api]
) -> None:
    go = project.root / "go"
    wait = f'[[IMPLEMENT]]\nrun = "until test -e {go}; do sleep 0.1; done"\nvisit = 1\n\n'
    project.chunk("alpha", wait + asks("alpha", "Still there?"))
    api = daemon()
    run = (await running_unit(project, api, "alpha"))["run_id"]
    await asyncio.to_thread(stopped, api, "detach")
    go.touch()
    await asyncio.wait_for(watch.wait_exit(project.places.runs_dir / run), TIMEOUT_S)
    api = daemon()
    async with reading(api) as reader:
        snapshot = await reader.next()
        (unit,) = snapshot["units"]
        if unit["status"] != "NEEDS_ATTENTION":
            unit = await reader.status("alpha", "NEEDS_ATTENTION")
    assert unit["attention_reason"] == "Still there?"


def test_importing_it_loads_no_library() -> None:
    """Every command of the command line imports it."""
    code = """
import sys
import ve.daemon
print([m for m in ("litestar", "uvicorn", "duckdb", "msgspec", "asyncio", "dulwich") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
