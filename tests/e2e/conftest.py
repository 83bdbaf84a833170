"""A project and a core on it; at the end no process of any run may be left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.given import Orch, Project, carriers


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "repo")


@pytest.fixture
async def orch(project: Project) -> AsyncIterator[Orch]:
    running = await Orch(project.root).start()
    yield running
    await running.stop()
    runs = [place.name for place in running.places.runs_dir.glob("*")]
    assert not carriers(runs), "processes of runs are left"
    assert not running.core.stream.broken
