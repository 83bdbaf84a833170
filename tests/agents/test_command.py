"""Any program as an agent: a real shell script, from inject to a merge, that asks and decides by `--call`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from tests.agents.exercise import AdapterExercise, job
from tests.e2e.given import Orch, Project
from ve.agents.base import Adapter, Job, Settings
from ve.agents.command import Command
from ve.proc.runfolder import Asked, Decided, read_tools


class TestAsAnAdapter(AdapterExercise):
    """It passes what every adapter passes; of its output nothing counts, so there is no bad one."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        return Command(Settings(command=("sh", "-e", "agent.sh")))

    @pytest.fixture
    def success(self) -> Sequence[bytes]:
        return [b"I have done it.", b'{"type": "finished", "ok": false}', b"error: failed?"]

    @pytest.fixture
    def failures(self) -> Mapping[str, Sequence[bytes]]:
        return {}


def test_the_prompt_is_its_stdin_or_a_file() -> None:
    prompt = f"{job().run_dir}/prompt.md"

    by_stdin = Command(Settings(command=("agent",), args=("--fast",))).launch(job())
    by_file = Command(Settings(command=("agent",), args=("--message-file={prompt}",))).launch(job())

    assert (by_stdin.argv, by_stdin.stdin) == (("agent", "--fast"), prompt)
    assert (by_file.argv, by_file.stdin) == (("agent", f"--message-file={prompt}"), None)


def test_a_variable_may_pass_from_the_daemons_environment() -> None:
    launch = Command(Settings(command=("agent",), env={"KEY": "$KEY", "MODE": "$FAST"})).launch(job())

    assert launch.passes == ("KEY",)
    assert launch.env["MODE"] == "$FAST" and "KEY" not in launch.env
    assert launch.env["VE_RUN_PHASE"] == "IMPLEMENT" and launch.env["VE_RUN_CHUNK"] == "greeting"


def test_a_missing_program_is_found_before_a_run() -> None:
    missing, unset = Command(Settings(command=("no-such-agent",))).check(), Command(Settings()).check()

    assert (missing.ok, missing.reason) == (False, "no-such-agent is not installed")
    assert (unset.ok, unset.reason) == (False, "no program is configured for the agent `command`")
    assert Command(Settings(command=("./agent.sh",))).check().ok, "a program of the worktree"


# ── The tools by `--call` ──────────────────────────────────────────────────────────────────────────


class Caller:
    """Calls a tool of a run as a shell script would."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def __call__(self, *words: str, stdin: str = "", run_dir: str | None = None) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "ve.runtool", "--call", *words],
            input=stdin, env={"PATH": os.environ["PATH"], "VE_RUN_DIR": run_dir or str(self.run_dir)},
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def call(tmp_path: Path) -> Caller:
    (tmp_path / "job.json").write_bytes(msgspec.json.encode(job(phase="REVIEW")))
    return Caller(tmp_path)


def test_a_call_is_recorded_before_it_says_so(call: Caller) -> None:
    asked = call("AskOperator", '{"question": "Which?", "options": ["a"]}')
    decided = call("ReviewDecision", "-", stdin='{"decision": "approve"}')

    assert asked == decided == (0, "recorded; end your turn now\n", "")
    question, decision = read_tools(call.run_dir)[0]
    assert isinstance(question, Asked) and (question.text, question.options) == ("Which?", ("a",))
    assert isinstance(decision, Decided) and decision.decision == "approve"


def test_a_call_that_is_not_recorded_says_why_on_stderr(call: Caller) -> None:
    assert call("AskOperator", '{"question": ""}') == (
        1, "", "error: `question` is empty: say what you want to know\n",
    )  # fmt: skip
    assert call("Dispose", '{"issue": "i9", "disposition": "fixed"}')[0] == 1
    assert not read_tools(call.run_dir)[0]


def test_a_call_that_is_none_is_bad_usage(call: Caller) -> None:
    for words in ((), ("AskOperator",), ("AskOperator", "{}", "more")):
        code, out, err = call(*words)
        assert (code, out) == (2, "") and err.startswith("usage: python -I -m ve.runtool --call TOOL")
    for text in ("[1]", "not JSON"):
        code, out, err = call("AskOperator", text)
        assert (code, out) == (2, "") and err.startswith("ve.runtool: ")


# ── From inject to a merge ─────────────────────────────────────────────────────────────────────────

PAGE = Path(__file__).parent.parent.parent / "docs" / "howto" / "agent-command.md"
AGENT = PAGE.read_text().partition("A whole agent in shell")[2].partition("```sh\n")[2].partition("```")[0]
APPROVES = """call ReviewDecision '{"decision": "approve"}'"""

CONFIGURED = """
agent = "mine"
[limits]
retry_s = 0.02
[agents.mine]
adapter = "command"
command = "./agent.sh"
args = ["{prompt}"]
"""


@pytest.fixture
async def orch(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Orch]:
    """The page's script at work; a parameter takes the place of its call of ReviewDecision."""
    assert APPROVES in AGENT
    project = Project(tmp_path / "repo")
    project.write({"agent.sh": AGENT.replace(APPROVES, getattr(request, "param", APPROVES))})
    (project.root / "agent.sh").chmod(0o755)
    project.commit({"ve.toml": CONFIGURED})
    project.chunk("a")
    running = await Orch(project.root).start()
    yield running
    await running.stop()


def jobs(orch: Orch) -> list[Job]:
    return [
        msgspec.json.decode(path.read_bytes(), type=Job) for path in orch.places.runs_dir.glob("*/job.json")
    ]


async def test_a_shell_script_goes_from_inject_to_a_merge_with_a_question_on_the_way(orch: Orch) -> None:
    await orch.inject("a")
    asking = await orch.status("a", "NEEDS_ATTENTION", "question")
    assert (asking.attention_reason, asking.options) == ("Which colour?", ("red", "blue"))

    await orch.verb("a", "answer", option=2)
    await orch.done("a")

    assert (orch.places.main_worktree or Path()).joinpath("colour.txt").read_text() == "blue\n"
    assert sorted(job.phase for job in jobs(orch)) == ["COMPLETE", "IMPLEMENT", "IMPLEMENT", "REVIEW"]
    assert not [job for job in jobs(orch) if job.resume]
    assert [question.answer for question in orch.unit("a").questions] == ["blue"]


@pytest.mark.parametrize("orch", ["echo I approve of it"], indirect=True)
async def test_a_script_that_reviews_without_a_decision_is_reminded_and_then_a_person_decides(
    orch: Orch,
) -> None:
    await orch.inject("a")
    await orch.status("a", "NEEDS_ATTENTION", "question")
    await orch.verb("a", "answer", option=2)

    unit = await orch.status("a", "NEEDS_ATTENTION", "review")

    assert unit.phase == "REVIEW"
    causes = [job.cause for job in jobs(orch) if job.phase == "REVIEW"]
    assert sorted(causes) == ["", "the last review ended without a decision; call ReviewDecision"]
