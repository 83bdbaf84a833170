"""A project and a core on it; at the end no process of any run may be left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e import talking
from tests.e2e.given import Orch, Project
from ve import agents


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "repo")


@pytest.fixture
def talk(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> talking.Conversations:
    """The project's agent is the talker."""
    monkeypatch.setitem(agents.ADAPTERS, "talker", talking.ADAPTER)
    return talking.Conversations(project, tmp_path / "talks")


@pytest.fixture
async def orch(project: Project, request: pytest.FixtureRequest) -> AsyncIterator[Orch]:
    if "talk" in request.fixturenames:
        request.getfixturevalue("talk")  # before the configuration is read
    async with talking.running(project) as found:
        yield found
