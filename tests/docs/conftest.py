"""A shell in which `ve` is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a person who has installed it; whatever was started there is ended."""
    programs = tmp_path / "bin"
    programs.mkdir()
    ve = programs / "ve"
    ve.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m ve.cli.__main__ "$@"\n')
    ve.chmod(0o755)
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "You"), ("EMAIL", "you@example.org"))
    }
    env = {**os.environ, **who, "PATH": f"{programs}:{os.environ['PATH']}"}
    yield env
    for folder in tmp_path.rglob("daemon.json"):
        subprocess.run([ve, "orch", "stop", "--kill"], cwd=folder.parent, env=env, check=False)
