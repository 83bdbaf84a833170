"""The example of docs/howto/write-an-adapter.md is a whole adapter: the suite and the real client say so."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import msgspec
import pytest

from tests.agents.clients import client
from tests.agents.exercise import AdapterExercise, job, parse
from tests.agents.record_claude import CASES, RECORDED
from ve.agents.base import Adapter, Finished, SessionStarted, Settings
from ve.proc.runfolder import Asked, ToolsReady, read_tools
from ve.testing import ScriptedModel, Turn, Use

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "my_agent.py"
PAGE = ROOT / "docs" / "howto" / "write-an-adapter.md"
WELL = ("done", "answered", "retried")
NOT_ITS_OWN = ("asked", "no-tools")  # recorded with a hook that it does not set; and judged by `ve`


def my_agent(settings: Settings) -> Adapter:
    spec = spec_from_file_location("my_agent", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Adapter = module.MyAgent(settings)
    return made


def lines(name: str) -> list[bytes]:
    return (RECORDED / f"{name}.jsonl").read_bytes().splitlines()


class TestMyAgent(AdapterExercise):
    """Every claim of the suite, with lines of real runs."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        return my_agent(Settings())

    @pytest.fixture(params=WELL)
    def success(self, request: pytest.FixtureRequest) -> Sequence[bytes]:  # type: ignore[override]
        return lines(request.param)

    @pytest.fixture
    def failures(self) -> Mapping[str, Sequence[bytes]]:
        return {name: lines(name) for name in CASES if name not in (*WELL, *NOT_ITS_OWN)}


def test_the_page_shows_the_file_as_it_is_and_it_has_about_fifty_lines() -> None:
    text = EXAMPLE.read_text()

    assert f"```python\n{text}```\n" in PAGE.read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 55


def test_the_real_program_asks_with_what_the_example_launches(tmp_path: Path) -> None:
    program = client("claude")
    ask = Turn(uses=[Use("AskOperator", {"question": "Which?"})])
    asked = job(worktree=str(tmp_path), run_dir=str(tmp_path), prompt="Do it.", session=None)
    adapter = my_agent(Settings(command=(str(program),)))
    launch = adapter.launch(asked)
    for name, text in {**launch.files, "job.json": msgspec.json.encode(asked).decode()}.items():
        (tmp_path / name).write_text(text)
    own = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ANTHROPIC_API_KEY": "scripted"}

    with ScriptedModel([ask, Turn(text="I wait.")]) as model:
        done = subprocess.run(
            launch.argv, env={**own, **launch.env, "ANTHROPIC_BASE_URL": model.url},
            input=b"Do it.", cwd=tmp_path, capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    events = parse(adapter, done.stdout.splitlines())
    assert isinstance(events[0], SessionStarted)
    assert events[-1] == Finished(True, "I wait."), done.stderr
    ready, question = read_tools(tmp_path)[0]
    assert isinstance(ready, ToolsReady)
    assert isinstance(question, Asked) and question.text == "Which?"
