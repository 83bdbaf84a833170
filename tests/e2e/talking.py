"""A project whose agent is the talker (`tests/e2e/talker.py`), and a core on it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.e2e.given import SETTINGS, Orch, Project, carriers

ADAPTER = "tests.e2e.talker:Talker"


@asynccontextmanager
async def running(project: Project) -> AsyncIterator[Orch]:
    """A core on the project; at its end no process of any run may be left."""
    orch = await Orch(project.root).start()
    yield orch
    await orch.stop()
    runs = [place.name for place in orch.places.runs_dir.glob("*")]
    assert not carriers(runs), "processes of runs are left"
    assert not orch.core.stream.broken


class Conversations:
    """What a test says of the agent, and what the agent heard."""

    def __init__(self, project: Project, talks: Path) -> None:
        self.project = project
        self.talks = talks
        talks.mkdir()
        self.talks_of("PLAN", "IMPLEMENT")

    def talks_of(self, *phases: str) -> None:
        """Which phases are the talker's; the others are the script agent's, which has nothing to say."""
        chosen = "".join(f'[phase.{phase}]\nagent = "talker"\n' for phase in phases)
        env = f"[agents.talker.env]\nTALKS = {json.dumps(str(self.talks))}\n"
        self.project.commit({"ve.toml": f"{SETTINGS}{chosen}{env}"})

    def chunk(self, name: str, agent: str, *, plan: bool = True) -> None:
        """A chunk whose agent does this."""
        self.project.write({f"docs/chunks/{name}/agent.py": agent})
        self.project.chunk(name, "", plan=plan)

    def heard(self, session: str) -> list[str]:
        """The prompts of a conversation."""
        prompts: list[str] = json.loads((self.talks / session).read_text())
        return prompts
