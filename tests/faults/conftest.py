"""A repository to kill daemons on; nothing of them is left at the end, however a test ends."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.driver import Ground


@pytest.fixture
def ground(place: Path) -> Iterator[Ground]:
    made = Ground(place)
    yield made
    made.end()


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where the repository is: on the small disk, for a test that asks for that one."""
    if "small_disk" in request.fixturenames:
        found: Path = request.getfixturevalue("small_disk")
        return found
    made = tmp_path / "ground"
    made.mkdir()
    return made


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with little room."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], check=False)
    if done.returncode:
        pytest.skip("may not mount here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
