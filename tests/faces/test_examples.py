"""The examples of examples/ do what they say, on the demo's project."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faces.terminal import WAIT_S, Terminal
from ve import demo_project

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    made = Terminal(demo_project.create(tmp_path_factory.mktemp("examples") / "demo"))
    yield made
    made.end()


def run(desk: Terminal, *argv: str) -> str:
    bin_folder = str(Path(sys.executable).parent)
    env = desk.env | {"PATH": os.pathsep.join((bin_folder, os.environ["PATH"]))}
    done = subprocess.run(
        argv, cwd=desk.root, env=env, capture_output=True, text=True, timeout=2 * WAIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_follow_brings_chunks_home_and_report_tells_how_it_went(desk: Terminal) -> None:
    said = run(
        desk, sys.executable, str(ROOT / "examples" / "follow.py"), str(desk.root), "formatter", "parser"
    )
    assert "Ask" in said
    assert said.count("DONE") >= 4, "each in its last step and in the table"
    assert (desk.root / "events" / "parser.py").is_file()

    report = run(desk, str(ROOT / "examples" / "report.sh"))
    assert "Lead time of merged units" in report
    assert "How should dates be written?" in report
    desk.said("orch", "stop")
    assert "How should dates be written?" in run(desk, str(ROOT / "examples" / "report.sh"))


def test_every_example_says_at_its_top_what_it_does() -> None:
    for path in sorted((ROOT / "examples").glob("*.*")):
        head = path.read_text(encoding="utf-8").splitlines()[:2]
        assert any(path.name in line for line in head), path.name
