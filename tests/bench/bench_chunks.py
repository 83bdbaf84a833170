"""Chunk documents: a list of a thousand, and a check of all of them with their references to the code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from figures import Figure, paired, process
from ground import progress

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.chunks.generator import make, wanted

PAIRS = 15
CHUNKS = 1000
LIST_S, CHECK_S = 0.25, 2.0


def _in(folder: Path, *arguments: str) -> Callable[[], object]:
    program = Path(sys.executable).parent / "ve"
    words = [str(program)] if program.exists() else [sys.executable, "-m", "ve.cli"]
    # A check that finds something exits 1, which is no failure here; another code is.
    return lambda: _well(subprocess.run([*words, *arguments], cwd=folder, stdout=subprocess.DEVNULL))


def _well(done: subprocess.CompletedProcess[bytes]) -> None:
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{done.args} ended with {done.returncode}")


def measure() -> Iterator[Figure]:
    """Each command beside a Python that does nothing; seconds decide, the ratio is for other machines."""
    with TemporaryDirectory() as folder:
        progress(f"chunks: a repository with {CHUNKS:,} chunks, of every era, with every defect")
        made = make(Path(folder) / "all", chunks=CHUNKS, seed=1, defects=wanted("all"), git=True)
        told = f"{CHUNKS:,} chunks"
        for name, words, limit in (
            (f"`ve chunk list`, {told}", ("list",), LIST_S),
            (f"`ve chunk list --tree`, {told}", ("list", "--tree"), LIST_S),
            (
                f"`ve chunk validate --all`, {told}, {made.references:,} references",
                ("validate", "--all"),
                CHECK_S,
            ),
        ):
            progress(f"chunks: {name}")
            act = _in(made.root, "chunk", *words)
            act()  # once, so that no file is read from the disk for the first time
            mine, peer, ratio = paired(act, process("-c", "pass"), PAIRS)
            yield Figure(
                name, mine * 1000, "ms", peer * 1000, ratio, f"≤ {limit * 1000:g} ms", reached=mine <= limit
            )
