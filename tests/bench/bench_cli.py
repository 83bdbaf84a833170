"""What a person waits for at every command, beside a Python that does nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from figures import Figure, median, paired, process
from ground import chunk, progress, repository, running_daemon

from ve.chunks import load as load_chunk
from ve.client import Client
from ve.config import load
from ve.demo_project import create
from ve.paths import find

PAIRS = 15
UNITS = 20


def command() -> list[str]:
    """The installed program; in its absence the module that it is."""
    program = Path(sys.executable).parent / "ve"
    return [str(program)] if program.exists() else [sys.executable, "-m", "ve.cli"]


def _in(folder: Path, *arguments: str) -> Callable[[], object]:
    words = [*command(), *arguments]
    return lambda: subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _beside_python(name: str, act: Callable[[], object], limit: float) -> Figure:
    progress(f"cli: {name}")
    act()  # once for the files that a first run writes
    mine, peer, ratio = paired(act, process("-c", "pass"), PAIRS)
    return Figure(name, mine * 1000, "ms", peer * 1000, ratio, f"≤ {limit:g} ×", ratio <= limit)


def measure() -> Iterator[Figure]:
    """Two commands, and the parts that every command has."""
    with TemporaryDirectory() as folder:
        names = [f"chunk_{number:02}" for number in range(UNITS)]
        files = {"README.md": "A repository.\n"}
        for name in names:
            files |= chunk(name, "")
        places = repository(Path(folder) / "repository", files)
        root = places.main_worktree or places.common_dir
        yield _beside_python("`ve --help`", _in(root, "--help"), 15)
        with running_daemon(places):
            client = Client(places)
            client.post("/board/pause")
            client.post("/work-units", {"chunks": names})
            yield _beside_python("`ve orch ps --json`, 20 units", _in(root, "orch", "ps", "--json"), 12)
    with TemporaryDirectory() as folder:
        project = create(Path(folder) / "events")
        deep = project / "docs" / "chunks" / "parser"
        places = find(project)
        parts: dict[str, Callable[[], object]] = {
            "  find the repository from a subfolder": lambda: find(deep),
            "  load the configuration": lambda: load(places, {}),
            "  read a chunk's documents": lambda: load_chunk("parser", lambda p: (project / p).read_bytes()),
        }
        for name, act in parts.items():
            yield Figure(name, median(act, 200) * 1000, "ms")
