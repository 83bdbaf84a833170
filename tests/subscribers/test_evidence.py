"""What an operator is shown of a run that failed: the last lines that say something."""

from __future__ import annotations

from pathlib import Path

from tests.core.given import running
from ve import agents
from ve import commands as c
from ve.proc import watch
from ve.subscribers.runfiles import RunFiles


def test_blank_lines_at_the_end_do_not_push_out_what_the_run_said(tmp_path: Path) -> None:
    said = [f"line {number}" for number in range(8)]
    (tmp_path / "output").write_text("\n".join(said) + "\n" * 9)
    files = RunFiles(tmp_path, running(), "script", agents.adapter("script"))
    files.read_new()

    ended = files.ended(watch.Lost())

    assert isinstance(ended.exit, c.Lost)
    assert ended.exit.evidence is not None
    assert ended.exit.evidence.lines == "\n".join(said[-5:])
