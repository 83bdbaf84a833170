"""Claude Code: what `ve` makes of what it really printed, and how it is started.

Recorded lines are in recorded/claude; record_claude.py writes them anew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from tests.agents.clients import client
from tests.agents.exercise import job
from tests.agents.record_claude import CASES, CLAUDE, RECORDED, Case
from tests.agents.recordings import RecordedExercise
from ve.agents.base import (
    Finished,
    LimitReached,
    ModelEvent,
    SessionStarted,
    Settings,
    Stuck,
    ToolCall,
    ToolResult,
    UsageEvent,
)
from ve.agents.claude import Claude
from ve.agents.judge import Clean, Limited
from ve.proc import runfolder
from ve.proc.runfolder import Asked
from ve.testing import Turn, Use

WELL = ("done", "asked", "answered", "retried")
lines, events, outcome, failed = CLAUDE.lines, CLAUDE.events, CLAUDE.outcome, CLAUDE.failed


class TestClaude(RecordedExercise):
    """The conformance suite passes, with lines of real runs."""

    client = CLAUDE
    good = "done"
    well = (*WELL, "no-tools")


# ── What its output means ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", WELL)
def test_a_run_that_ended_well_is_clean(name: str) -> None:
    assert isinstance(outcome(name, code=0), Clean)


@pytest.mark.parametrize(
    ("name", "kind", "cause", "said"),
    [
        ("unauthorized", "setup", "auth", "Invalid API key"),
        ("no-login", "setup", "auth", "Not logged in"),
        ("no-credit", "setup", "billing", "Credit balance is too low"),
        ("no-such-model", "setup", "model", "issue with the selected model"),
        ("bad-request", "error", "request", "400 messages: nothing of line 512"),
        ("rate-limited", "error", "overloaded", "Request rejected (429)"),
        ("overloaded", "error", "overloaded", "529"),
        ("server-error", "error", "overloaded", "500"),
        ("cut", "error", "connection", "Connection to the API was lost"),
        ("unreachable", "error", "connection", "Connection refused"),
        ("model-declines", "error", "refused", "safeguards flagged this message"),
        ("too-long", "error", "request", "output token maximum"),
        ("turns", "limit", "turns", "maximum number of turns (2)"),
        ("budget", "limit", "budget", "maximum budget"),
        ("session-gone", "error", "session", "No conversation found"),
        ("no-tools", "setup", "tools", "the tool server `ve` did not start in it, its state is failed"),
        ("a-command", "error", "agent", "no turn was made"),
    ],
)
def test_each_way_to_fail_has_its_class_from_typed_fields(
    name: str, kind: str, cause: str, said: str
) -> None:
    found = failed(name)

    assert (found.kind, found.cause) == (kind, cause)
    assert said in found.reason
    assert "\n" not in found.reason


def test_every_recorded_case_is_judged_by_a_test() -> None:
    assert {path.stem for path in RECORDED.glob("*.jsonl")} == set(CASES)


def test_a_used_up_window_is_a_limit_with_its_reset_time() -> None:
    found = outcome("window-used-up")

    assert found == Limited(
        "2100-01-01T00:00:00Z", "You've hit your 5-hour limit · resets Jan 1, 2100, 12am (UTC)"
    )
    assert sum(isinstance(event, LimitReached) for event in events("window-used-up")) == 1


def test_an_error_in_the_models_name_is_no_sign_of_the_model() -> None:
    assert not [event for event in events("unauthorized") if isinstance(event, ModelEvent)]


def test_a_failure_that_calls_itself_success_is_a_failure() -> None:
    said = json.loads(lines("overloaded")[-1])
    assert (said["subtype"], said["is_error"]) == ("success", True)

    assert not isinstance(outcome("overloaded", code=0), Clean)


def test_a_missing_tool_server_is_told_before_the_model_works() -> None:
    found = events("no-tools")

    assert isinstance(found[0], SessionStarted)
    assert isinstance(found[1], Stuck) and found[1].error_kind == "tools"


def test_a_question_is_a_call_of_our_tool_and_ends_the_turn() -> None:
    found = events("asked")
    call = next(event for event in found if isinstance(event, ToolCall))
    result = next(event for event in found if isinstance(event, ToolResult))

    assert (call.name, call.summary) == ("AskOperator", "Which?")
    assert result == ToolResult(call.id, True, "recorded; end your turn now")
    assert found[-1] == Finished(True)


def test_usage_counts_the_whole_session_and_says_so() -> None:
    first = next(event for event in events("asked") if isinstance(event, UsageEvent))
    second = next(event for event in events("answered") if isinstance(event, UsageEvent))

    assert first == UsageEvent(100, 7, 40, 0.000388, cumulative=True)
    assert second == UsageEvent(200, 14, 80, 0.000776, cumulative=True)


# ── How it is started ─────────────────────────────────────────────────────────────────────────────────


def option(argv: Sequence[str], name: str) -> str:
    return argv[argv.index(name) + 1]


def test_the_repositorys_settings_and_tool_servers_are_off() -> None:
    argv = Claude(Settings()).launch(job()).argv

    assert option(argv, "--setting-sources") == ""
    assert "--strict-mcp-config" in argv
    assert not {"--dangerously-skip-permissions", "bypassPermissions"} & set(argv)


def test_the_repositorys_settings_are_on_where_the_operator_allows_them() -> None:
    argv = Claude(Settings(repo_config=True)).launch(job()).argv

    assert option(argv, "--setting-sources") == "project"
    assert "--strict-mcp-config" not in argv


def test_limits_model_and_more_arguments_come_from_the_configuration() -> None:
    settings = Settings(
        command=("nice", "claude"), model="opus", max_turns=30, budget_usd=2.5, args=("--effort", "low"),
        base_url="http://127.0.0.1:1", env={"CLAUDE_CODE_MAX_RETRIES": "0"},
    )  # fmt: skip
    launch = Claude(settings).launch(job())

    assert launch.argv[:3] == ("nice", "claude", "-p")
    assert option(launch.argv, "--model") == "opus"
    assert option(launch.argv, "--max-turns") == "30"
    assert option(launch.argv, "--max-budget-usd") == "2.5"
    assert launch.argv[-2:] == ("--effort", "low")
    assert launch.env["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:1"
    assert launch.env["CLAUDE_CODE_MAX_RETRIES"] == "0"


def test_a_new_conversation_has_an_id_made_of_the_run() -> None:
    first = Claude(Settings()).launch(job(session=None, run="r1")).argv
    second = Claude(Settings()).launch(job(session=None, run="r2")).argv

    assert option(first, "--session-id") != option(second, "--session-id")
    assert "--resume" not in first


def test_a_conversation_goes_on_by_its_id() -> None:
    argv = Claude(Settings()).launch(job(resume=True)).argv

    assert option(argv, "--resume") == job().session
    assert "--session-id" not in argv


def test_the_key_passes_and_is_in_no_argument_and_no_file() -> None:
    launch = Claude(Settings()).launch(job())

    assert {"ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CONFIG_DIR"} <= set(launch.passes)
    assert "KEY" not in " ".join((*launch.argv, *launch.files.values()))


def test_a_variable_of_another_cloud_passes_by_its_name() -> None:
    launch = Claude(Settings(env={"AWS_PROFILE": "$AWS_PROFILE", "CLAUDE_CODE_USE_BEDROCK": "1"})).launch(
        job()
    )

    assert "AWS_PROFILE" in launch.passes and "AWS_PROFILE" not in launch.env
    assert launch.env["CLAUDE_CODE_USE_BEDROCK"] == "1"


def test_the_prompt_is_read_from_the_runs_folder() -> None:
    launch = Claude(Settings()).launch(job())

    assert launch.stdin == "/tmp/run/prompt.md"
    assert job().prompt not in launch.argv


# ── The real program ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def clean_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who never used it."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CONFIG_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_who_is_not_logged_in_is_told_how(clean_home: Path) -> None:
    fitness = Claude(Settings(command=(str(client("claude")),))).check()

    assert (fitness.ok, fitness.login) == (False, "no")
    assert fitness.reason == "Claude Code is not logged in"
    assert "claude auth login" in fitness.hint and "ANTHROPIC_API_KEY" in fitness.hint


def test_a_key_in_the_environment_is_a_login(clean_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "scripted")
    fitness = Claude(Settings(command=(str(client("claude")),))).check()

    assert (fitness.ok, fitness.login) == (True, "yes")
    assert fitness.version == "2.1.329"


def test_a_missing_program_is_told_with_the_command_that_installs_it() -> None:
    fitness = Claude(Settings(command=("no-such-claude",))).check()

    assert not fitness.ok
    assert fitness.reason.startswith("Claude Code is not installed")
    assert fitness.hint == "npm install -g @anthropic-ai/claude-code"


def test_an_old_version_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    old = tmp_path / "claude"
    old.write_text("#!/bin/sh\necho '1.0.9 (Claude Code)'\n")
    old.chmod(0o755)

    fitness = Claude(Settings(command=(str(old),))).check()

    assert not fitness.ok
    assert fitness.reason == "Claude Code 1.0.9 is older than 2.1.197"


def test_questions_asked_side_by_side_are_all_kept_and_the_turn_ends(tmp_path: Path) -> None:
    several = [Use("AskOperator", {"question": text}) for text in ("Which?", "When?")]
    case = Case([Turn(uses=[*several, Use("Bash", {"command": "touch beside"})]), Turn(text="went on")])

    ran = CLAUDE.run("several", case, tmp_path, binary=client("claude"))

    records, _ = runfolder.read_tools(ran.folder)
    assert [record.text for record in records if isinstance(record, Asked)] == ["Which?", "When?"]
    assert (ran.code, ran.requests) == (0, 1)
    assert (tmp_path / "tree" / "beside").exists()


def test_a_call_that_was_not_recorded_does_not_end_the_turn(tmp_path: Path) -> None:
    case = Case([Turn(uses=[Use("AskOperator", {"question": " "})]), Turn(text="went on")])

    ran = CLAUDE.run("empty", case, tmp_path, binary=client("claude"))

    assert ran.requests == 2


@pytest.mark.parametrize("allowed", [False, True])
def test_hooks_and_tool_servers_of_the_repository_run_only_where_allowed(
    tmp_path: Path, allowed: bool
) -> None:
    tree = tmp_path / "tree"
    (tree / ".claude").mkdir(parents=True)
    hook = {"type": "command", "command": f"touch {tmp_path}/hooked"}
    hooks = {"hooks": {"SessionStart": [{"hooks": [hook]}]}, "enableAllProjectMcpServers": True}
    (tree / ".claude" / "settings.json").write_bytes(msgspec.json.encode(hooks))
    server = {"command": "touch", "args": [f"{tmp_path}/served"]}
    (tree / ".mcp.json").write_bytes(msgspec.json.encode({"mcpServers": {"theirs": server}}))

    CLAUDE.run(
        "repo", Case([Turn(text="x")], settings={"repo_config": allowed}), tmp_path, binary=client("claude")
    )

    assert (tmp_path / "hooked").exists() == allowed
    assert (tmp_path / "served").exists() == allowed


def test_it_writes_in_its_worktree_and_not_beside_it(tmp_path: Path) -> None:
    def write(path: Path) -> Turn:
        return Turn(uses=[Use("Write", {"file_path": str(path), "content": "x"})])

    inside, outside = tmp_path / "tree" / "in.txt", tmp_path / "out.txt"

    CLAUDE.run(
        "paths", Case([write(inside), write(outside), Turn(text="x")]), tmp_path, binary=client("claude")
    )

    assert inside.exists()
    assert not outside.exists()
