"""A start of OpenCode after one that was killed: nobody waits for the lock of a process that is gone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ve.agents.opencode_start import locks, release


def lock(folder: Path, name: str, pid: int, hostname: str = "") -> Path:
    made = folder / f"{name}.lock"
    made.mkdir(parents=True)
    holder = {"token": name, "pid": pid, "hostname": hostname or socket.gethostname(), "createdAt": "x"}
    (made / "meta.json").write_text(json.dumps(holder))
    (made / "heartbeat").touch()
    return made


@pytest.fixture
def gone() -> int:
    """The pid of a process that has ended and was waited for."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_the_locks_of_processes_of_this_machine_that_are_gone_are_taken_away(
    tmp_path: Path, gone: int
) -> None:
    dead = lock(tmp_path, "dead", gone)
    held = lock(tmp_path, "held", os.getpid())
    elsewhere = lock(tmp_path, "elsewhere", gone, "another machine")
    (tmp_path / "odd.lock").mkdir()
    (tmp_path / "odd.lock" / "meta.json").write_text("{")

    release(tmp_path)

    assert not dead.exists()
    assert held.exists() and elsewhere.exists() and (tmp_path / "odd.lock").exists()
    assert not list(tmp_path.glob("dead*"))


def test_the_program_takes_its_place_with_its_exit_code_and_its_environment(
    tmp_path: Path, gone: int
) -> None:
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "CODE": "7"}
    dead = lock(locks(env), "dead", gone)
    start = [sys.executable, "-I", "-m", "ve.agents.opencode_start"]

    done = subprocess.run([*start, "sh", "-c", "exit $CODE"], env=env, timeout=30, check=False)
    missing = subprocess.run(
        [*start, "/no/such"], env=env, timeout=30, capture_output=True, text=True, check=False
    )

    assert done.returncode == 7
    assert not dead.exists()
    assert (missing.returncode, missing.stderr) == (127, "/no/such: No such file or directory\n")
