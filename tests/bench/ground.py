"""What benchmarks stand on: real repositories, real daemons, and what /proc says of processes.

Rule: nothing of the machine's user counts (git's configuration, VE_ variables), and everything that was
started here is ended here, by its pid.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from ve import daemon
from ve.paths import Places, find
from ve.proc import identity

END_S: Final = 30.0

for _name in [name for name in os.environ if name.startswith(("GIT_", "VE_"))]:
    del os.environ[_name]
os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_TERMINAL_PROMPT": "0"}


def progress(text: str) -> None:
    """Say on stderr what is measured now."""
    print(f"  … {text}", file=sys.stderr, flush=True)


def git(folder: Path, *arguments: str) -> str:
    """Run git; what it printed."""
    identified = ("-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0")
    done = subprocess.run(["git", *identified, *arguments], cwd=folder, check=True, capture_output=True)
    return done.stdout.decode()


def repository(folder: Path, files: Mapping[str, str]) -> Places:
    """A repository with one commit of these files, packed, with a clean main worktree an hour old."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        # Git trusts no entry of an index that is as young as the file.
        os.utime(path, ns=(1_700_000_000_000_000_000,) * 2)
    git(folder, "add", "--all")
    git(folder, "commit", "-q", "-m", "files")
    git(folder, "repack", "-q", "-a", "-d")
    git(folder, "status", "--porcelain")
    places = find(folder)
    places.state_dir.mkdir(exist_ok=True)
    return places


def many_files(count: int, size: int = 2048) -> dict[str, str]:
    """Files of `size` bytes in folders of some 25, with text that compresses as code does."""
    source = random.Random(count)
    words = [f"word{number}" for number in range(400)]
    found = {}
    for number in range(count):
        text = " ".join(source.choices(words, k=size // 5))[: size - 1] + "\n"
        found[f"src/{number // 500:03}/{number // 25:04}/file_{number:05}.txt"] = text
    return found


GOAL: Final = """---
status: FUTURE
ticket: null
code_paths: []
code_references: []
depends_on: []
created_after: []
---

# Chunk Goal

## Minor Goal

{name} is written down, so that whoever comes next can read it.
"""
PLAN: Final = "# Implementation Plan\n\n## Approach\n\nWrite {name} to a file of its own, in one step.\n"


def chunk(name: str, script: str, *, planned: bool = True) -> dict[str, str]:
    """The documents of a chunk whose agent does what `script` says; unplanned, its first phase is PLAN."""
    folder = f"docs/chunks/{name}"
    return {
        f"{folder}/GOAL.md": GOAL.format(name=name),
        f"{folder}/PLAN.md": PLAN.format(name=name) if planned else "# Implementation Plan\n",
        f"{folder}/script.toml": script,
    }


@contextmanager
def running_daemon(places: Places) -> Iterator[dict[str, Any]]:
    """What daemon.json says of a daemon that serves the repository; ended afterwards."""
    found = daemon.start_daemon(places)
    try:
        yield found
    finally:
        end(int(found["pid"]))


def end(pid: int) -> None:
    """Have a child of this process end by SIGTERM, and wait for it."""
    with identity.pidfd(pid) as fd:
        os.kill(pid, signal.SIGTERM)
        if fd is not None and not select.select([fd], [], [], END_S)[0]:
            os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):  # somebody has collected it already
        os.waitpid(pid, 0)


def memory(pid: int) -> dict[str, float]:
    """MiB of a process: `rss`, `pss` (shared pages divided among those who share) and `own`."""
    fields: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) / 1024
    return {
        "rss": fields["Rss"],
        "pss": fields["Pss"],
        "own": fields["Private_Clean"] + fields["Private_Dirty"],
    }


def cpu_seconds(pid: int | str = "self") -> float:
    """Seconds of processor time that a process has used, in it and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The pids of a process's children."""
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
