"""The script agent, end to end: a real process, in a real repository, with the real tools."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

import pytest

from tests.agents.conftest import ScriptRuns
from tests.agents.exercise import AdapterExercise
from ve.agents import adapter
from ve.agents.base import (
    Adapter,
    AnsweredQuestion,
    ModelEvent,
    ReviewIssue,
    SessionStarted,
)
from ve.agents.judge import Clean, Failed, Limited
from ve.errors import ConfigError
from ve.proc.runfolder import Asked, Decided, Disposed, Limits, ToolsReady


class TestAsAnAdapter(AdapterExercise):
    """It passes what every adapter passes, with lines of its own real runs."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        return adapter("script")

    @pytest.fixture
    async def success(self, script_runs: ScriptRuns) -> Sequence[bytes]:  # type: ignore[override]
        return (await script_runs.run('[[IMPLEMENT]]\nrun = "echo hi"')).lines

    @pytest.fixture
    async def failures(self, script_runs: ScriptRuns) -> Mapping[str, Sequence[bytes]]:  # type: ignore[override]
        return {
            "fail": (await script_runs.run('[[IMPLEMENT]]\nfail = "no"')).lines,
            "run": (await script_runs.run('[[IMPLEMENT]]\nrun = "false"')).lines,
            "toml": (await script_runs.run("[[IMPLEMENT")).lines,
            "limit": (await script_runs.run("[[IMPLEMENT]]\nlimit = 60")).lines,
        }


async def test_a_script_writes_appends_runs_and_commits(script_runs: ScriptRuns) -> None:
    done = await script_runs.run("""
        [[IMPLEMENT]]
        write = "src/hello.txt"
        text = "hello\\n"
        [[IMPLEMENT]]
        append = "src/hello.txt"
        text = "world\\n"
        [[IMPLEMENT]]
        run = "cp src/hello.txt src/copy.txt"
        [[IMPLEMENT]]
        commit = "say hello"
    """)

    assert done.outcome == Clean("4 steps done")
    assert (script_runs.tree / "src/copy.txt").read_text() == "hello\nworld\n"
    assert script_runs.git("log", "--format=%s %an", "-1").strip() == "say hello ve script"
    assert script_runs.git("status", "--porcelain") == ""


async def test_every_run_asked_for_its_tools_and_named_its_session(script_runs: ScriptRuns) -> None:
    done = await script_runs.run("")

    assert isinstance(done.tools[0], ToolsReady)
    assert isinstance(done.events[0], SessionStarted) and done.events[0].id.startswith("script-")
    assert isinstance(done.events[1], ModelEvent)


async def test_a_resumed_run_keeps_its_session(script_runs: ScriptRuns) -> None:
    done = await script_runs.run("", session="script-before")

    assert done.events[0] == SessionStarted("script-before")


async def test_a_phase_without_steps_succeeds(script_runs: ScriptRuns) -> None:
    done = await script_runs.run('[[PLAN]]\nfail = "not this phase"')

    assert isinstance(done.outcome, Clean)


async def test_a_question_ends_the_run_and_its_answer_goes_on_from_there(script_runs: ScriptRuns) -> None:
    script = """
        [[IMPLEMENT]]
        ask = "Which greeting?"
        options = ["hello", "hi"]
        context = "It is printed."
        [[IMPLEMENT]]
        write = "greeting.txt"
        text = "{answer}, world"
    """

    asked = await script_runs.run(script)

    assert asked.outcome == Clean("asked: Which greeting?")
    question = asked.tools[1]
    assert isinstance(question, Asked)
    assert (question.text, question.options) == ("Which greeting?", ("hello", "hi"))
    assert question.context == "It is printed."
    assert not (script_runs.tree / "greeting.txt").exists()

    answered = await script_runs.run(
        script, visit=2, answers=(AnsweredQuestion(question.id, question.text, "hi"),)
    )

    assert isinstance(answered.outcome, Clean)
    assert (script_runs.tree / "greeting.txt").read_text() == "hi, world"
    assert not [record for record in answered.tools if isinstance(record, Asked)]


async def test_a_review_without_steps_approves_by_a_call_of_its_own(script_runs: ScriptRuns) -> None:
    done = await script_runs.run("", phase="REVIEW")

    decision = done.tools[-1]
    assert isinstance(decision, Decided) and decision.decision == "approve"


async def test_a_review_that_does_something_else_decides_nothing(script_runs: ScriptRuns) -> None:
    done = await script_runs.run('[[REVIEW]]\nrun = "true"', phase="REVIEW")

    assert isinstance(done.outcome, Clean)
    assert not [record for record in done.tools if isinstance(record, Decided)]


async def test_a_review_gives_feedback_on_its_first_visit_only(script_runs: ScriptRuns) -> None:
    script = """
        [[REVIEW]]
        visit = 1
        decide = "feedback"
        issues = [{place = "a.py:3", concern = "no test"}, "a bare concern"]
    """

    first = (await script_runs.run(script, phase="REVIEW", visit=1)).tools[-1]
    second = (await script_runs.run(script, phase="REVIEW", visit=2)).tools[-1]

    assert isinstance(first, Decided) and first.decision == "feedback"
    assert [(issue.place, issue.concern) for issue in first.issues] == [
        ("a.py:3", "no test"),
        ("", "a bare concern"),
    ]
    assert isinstance(second, Decided) and second.decision == "approve"


async def test_issues_are_disposed_of_one_by_one_or_all(script_runs: ScriptRuns) -> None:
    issues = (ReviewIssue("i1", "a", "x"), ReviewIssue("i2", "b", "y"))
    script = """
        [[IMPLEMENT]]
        dispose = "*"
        [[IMPLEMENT]]
        dispose = "i2"
        disposition = "declined"
        reason = "out of scope"
    """

    done = await script_runs.run(script, issues=issues)

    said = [(one.issue, one.disposition, one.reason) for one in done.tools if isinstance(one, Disposed)]
    assert said == [("i1", "fixed", ""), ("i2", "fixed", ""), ("i2", "declined", "out of scope")]


async def test_a_failing_command_fails_the_run_with_its_output(script_runs: ScriptRuns) -> None:
    done = await script_runs.run('[[IMPLEMENT]]\nrun = "echo broken pipe fitting >&2; exit 4"')

    assert isinstance(done.outcome, Failed)
    assert "ended with exit code 4: broken pipe fitting" in done.outcome.reason
    assert done.outcome.evidence.run == done.run_dir.name


async def test_a_script_fails_with_the_message_and_exit_code_it_names(script_runs: ScriptRuns) -> None:
    done = await script_runs.run('[[IMPLEMENT]]\nfail = "I give up"\nexit = 9')

    assert done.exit.code == 9
    assert isinstance(done.outcome, Failed)
    assert "I give up (exit code 9)" in done.outcome.reason


async def test_a_failure_that_exits_0_is_a_failure(script_runs: ScriptRuns) -> None:
    done = await script_runs.run('[[IMPLEMENT]]\nfail = "quiet"\nexit = 0')

    assert done.exit.code == 0
    assert isinstance(done.outcome, Failed)


async def test_a_usage_limit_is_not_the_units_fault(script_runs: ScriptRuns) -> None:
    done = await script_runs.run('[[IMPLEMENT]]\nlimit = 3600\nreason = "five hours used up"')

    assert isinstance(done.outcome, Limited)
    assert done.outcome.reason == "five hours used up"
    assert done.outcome.until is not None and done.outcome.until.endswith("Z")


async def test_a_script_that_hangs_is_ended_by_the_idle_limit(script_runs: ScriptRuns) -> None:
    limits = Limits(idle_s=1.5, grace_s=5)

    done = await script_runs.run("[[IMPLEMENT]]\nsleep = 1000", limits=limits)

    assert isinstance(done.outcome, Failed) and done.outcome.kind == "stalled"
    assert "no output for 1.5 s" in done.outcome.reason


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('[[IMPLEMENT]]\nwriet = "a"', "[[IMPLEMENT]] step 1: unknown verb `wriet` (did you mean `write`?)"),
        ('[[IMPLEMENT]]\nwrite = "a"\ntxt = "b"', "unknown key `txt` (did you mean `text`?)"),
        ('[[IMPLEMENT]]\nwrite = "a"\nrun = "b"', "has write, run; a step has exactly one verb"),
        ("[[IMPLEMENT]]\nsleep = 'long'", "`sleep` must be a number, not 'long'"),
        ('[[PLAN]]\ndecide = "maybe"', "`decide` is one of approve, feedback, escalate"),
        ('[[IMPLEMNT]]\nrun = "x"', "[[IMPLEMNT]] is no phase (did you mean `IMPLEMENT`?)"),
        ('[IMPLEMENT]\nrun = "x"', "two brackets"),
        ("[[IMPLEMENT", "not valid TOML"),
    ],
)
async def test_a_mistake_in_the_script_is_named_with_its_place(
    script_runs: ScriptRuns, script: str, said: str
) -> None:
    done = await script_runs.run(script)

    assert isinstance(done.outcome, Failed)
    assert "docs/chunks/greeting/script.toml" in done.outcome.reason
    assert said in done.outcome.reason


async def test_a_chunk_without_a_script_says_what_to_do(script_runs: ScriptRuns) -> None:
    done = await script_runs.run("")
    (script_runs.chunk / "script.toml").unlink()
    done = await script_runs.go(_again(script_runs))

    assert isinstance(done.outcome, Failed)
    assert "script.toml does not exist" in done.outcome.reason


@pytest.mark.parametrize("path", ["../outside.txt", "/tmp/ve-outside.txt", "link/outside.txt", ".git/config"])
async def test_a_script_writes_inside_its_worktree_only(script_runs: ScriptRuns, path: str) -> None:
    (script_runs.tree / "link").symlink_to(script_runs.bench.root)

    done = await script_runs.run(f'[[IMPLEMENT]]\nwrite = "{path}"\ntext = "x"')

    assert isinstance(done.outcome, Failed)
    assert "is outside of the worktree" in done.outcome.reason
    assert not (script_runs.bench.root / "outside.txt").exists()


async def test_a_repeated_run_changes_nothing_twice(script_runs: ScriptRuns) -> None:
    script = """
        [[IMPLEMENT]]
        write = "a.txt"
        text = "one\\n"
        [[IMPLEMENT]]
        append = "log.txt"
        text = "first\\n"
        [[IMPLEMENT]]
        append = "log.txt"
        text = "second\\n"
        [[IMPLEMENT]]
        commit = "work"
    """

    await script_runs.run(script)
    await script_runs.run(script)

    assert (script_runs.tree / "log.txt").read_text() == "first\nsecond\n"
    assert script_runs.git("log", "--format=%s").split() == ["work", "first"]


async def test_a_hook_that_refuses_a_commit_fails_the_run(script_runs: ScriptRuns) -> None:
    hook = script_runs.tree / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho not like this\nexit 1\n")
    hook.chmod(0o755)

    done = await script_runs.run('[[IMPLEMENT]]\nwrite = "a"\ntext = "b"\n[[IMPLEMENT]]\ncommit = "c"')

    assert isinstance(done.outcome, Failed)
    assert "not like this" in done.outcome.reason


async def test_a_background_child_does_not_keep_the_script_waiting(script_runs: ScriptRuns) -> None:
    done = await script_runs.run('[[IMPLEMENT]]\nrun = "sleep 1000 & echo started"')

    assert isinstance(done.outcome, Clean)
    assert done.exit.leftover_killed == 1


def test_an_agent_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match="did you mean 'script'"):
        adapter("scirpt")


def _again(script_runs: ScriptRuns):  # type: ignore[no-untyped-def]
    from tests.agents.exercise import job

    name = f"u1-1-implement-1-{secrets.token_hex(4)}"
    return job(run=name, worktree=str(script_runs.tree), run_dir=str(script_runs.bench.root / "runs" / name))
