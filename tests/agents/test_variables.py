"""`[agents.NAME] env`: values as they are, and `NAME = "$NAME"` for a secret that stands in no file."""

from __future__ import annotations

import pytest

from ve import agents
from ve.agents.base import Job, Settings


@pytest.mark.parametrize("name", ["claude", "codex", "opencode", "acp", "command"])
def test_a_variable_of_its_own_name_passes_from_the_daemons_environment_for_every_agent(name: str) -> None:
    env = {"SHELL_COLOUR": "red", "MY_TOKEN": "$MY_TOKEN"}
    adapter = agents.adapter(name, Settings(command=("program",), env=env))
    job = Job(
        run="r", unit="u", chunk="c", attempt=1, phase="PLAN", worktree="/w", run_dir="/r", prompt="plan it"
    )

    launch = adapter.launch(job)

    assert launch.env["SHELL_COLOUR"] == "red"
    assert "MY_TOKEN" not in launch.env
    assert "MY_TOKEN" in launch.passes
