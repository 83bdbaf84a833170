"""`ve orch agents`: which agents can be used here, what each can do, and what each is chosen for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from syrupy.assertion import SnapshotAssertion

from tests.agents.clients import client
from tests.faces.conftest import Project

VE = str(Path(sys.executable).parent / "ve")
CHOSEN = """
agent = "script"
[phase.REVIEW]
agent = "codex"
[chunk.parser]
agent = "mine"
[agents.mine]
adapter = "command"
command = "/bin/cat"
"""


def agents(
    project: Project, home: Path, *words: str, programs: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """On a machine where only these programs are on the PATH, and nobody is logged in."""
    home.mkdir(exist_ok=True)
    path = os.pathsep.join(filter(None, (programs, "/usr/bin", "/bin")))
    return subprocess.run(
        [VE, "orch", "agents", *words], cwd=project.root, capture_output=True, text=True, timeout=60,
        env={"PATH": path, "HOME": str(home), "COLUMNS": "110", **env}, check=False,
    )  # fmt: skip


def test_a_chosen_agent_that_is_not_here_is_told_with_its_install_command_and_exit_1(
    project: Project, tmp_path: Path, snapshot: SnapshotAssertion
) -> None:
    project.commit("chosen", {"ve.toml": CHOSEN})

    done = agents(project, tmp_path / "home")

    assert done.returncode == 1
    version = re.sub(r"Python [\d.]+", "Python X", done.stdout)
    assert re.sub(r"(?<=\S) {2,}", "  ", version) == snapshot


def test_what_is_installed_has_its_version_its_login_and_what_it_can_do(
    project: Project, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "claude").symlink_to(client("claude"))
    project.commit("chosen", {"ve.toml": 'agent = "claude"\n'})

    done = agents(
        project, tmp_path / "home", "--json", programs=str(programs), ANTHROPIC_API_KEY="a key of a test"
    )

    found: dict[str, Any] = {item["agent"]: item for item in json.loads(done.stdout)["agents"]}
    claude = found["claude"]
    assert (claude["usable"], claude["login"], claude["chosen_for"]) == (True, "yes", ["everything"])
    assert claude["version"] == "2.1.329"
    assert claude["can"] == {"resume": True, "ask": True, "usage": True, "turn_limit": True, "budget": True}
    assert not found["opencode"]["usable"]
    assert found["opencode"]["hint"] == "npm install -g opencode-ai"
    assert done.returncode == 0, "the one that is chosen can be used"
