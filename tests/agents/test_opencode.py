"""OpenCode: what `ve` makes of what it really printed, and how it is started.

Recorded lines are in recorded/opencode; record_opencode.py writes them anew.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.agents.clients import client, many_runs
from tests.agents.exercise import Exited, job, parse
from tests.agents.record_opencode import ASK, OPENCODE, Case, read, shell
from tests.agents.recordings import CLOSED, Ran, RecordedExercise
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
from ve.agents.judge import Clean, Failed, Limited, judge
from ve.agents.opencode import KEYS, OpenCode
from ve.proc import runfolder
from ve.proc.runfolder import Asked
from ve.testing import Turn

WELL = ("asked", "answered", "retried")
SESSION = "ses_e01e77331ffecBcSXQL9FMpa5y"
lines, events, outcome, failed = OPENCODE.lines, OPENCODE.events, OPENCODE.outcome, OPENCODE.failed


class TestOpenCode(RecordedExercise):
    """The conformance suite passes, with lines of real runs."""

    client = OPENCODE
    good = "asked"
    well = (*WELL, "no-tools")


# ── What its output means ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", WELL)
def test_a_run_that_ended_well_is_clean(name: str) -> None:
    assert isinstance(outcome(name, code=0), Clean)


@pytest.mark.parametrize(
    ("name", "kind", "cause", "said"),
    [
        ("unauthorized", "setup", "auth", "HTTP 401: refused by the script"),
        ("forbidden", "setup", "auth", "HTTP 403"),
        ("no-credit", "setup", "billing", "HTTP 429: refused by the script"),
        ("no-such-model", "setup", "model", "HTTP 404"),
        ("bad-request", "error", "request", "HTTP 400: nothing of line 512"),
        ("rate-limited", "error", "overloaded", "HTTP 429"),
        ("told-to-wait", "error", "overloaded", "HTTP 429: refused by the script (not before 20"),
        ("server-error", "error", "overloaded", "HTTP 500"),
        ("overloaded", "error", "overloaded", "HTTP 529"),
        ("fails-in-the-stream", "error", "overloaded", "the stream failed by the script"),
        ("cut", "error", "connection", "connection was closed"),
        ("never-ends", "error", "connection", "cut 3 times in a row"),
        ("unreachable", "error", "connection", "Cannot connect to API"),
        ("model-declines", "error", "refused", "content filter"),
        ("too-long", "error", "request", "limit of output tokens"),
        ("too-long-for-it", "error", "request", "also after it was cut down"),
        ("rejected", "error", "agent", "asks for the permission `external_directory`"),
        ("model-unknown-to-it", "error", "agent", "in OpenCode's log"),
    ],
)
def test_a_failure_has_its_class_and_its_words(name: str, kind: str, cause: str, said: str) -> None:
    found = failed(name)

    assert (found.kind, found.cause) == (kind, cause)
    assert said in found.reason


def test_a_usage_limit_says_when_it_ends() -> None:
    limited = outcome("usage-limit-until")

    assert isinstance(limited, Limited) and limited.until
    assert datetime.fromisoformat(limited.until).tzinfo


def test_a_rejected_permission_is_no_success_although_it_exits_with_0() -> None:
    assert isinstance(outcome("rejected", code=0), Failed)


def test_only_the_end_of_the_last_step_is_the_end() -> None:
    """After a stop it can go on: with a conversation that it cut down, or a plugin's doing."""
    step_start, text, stop = lines("answered")[-3:]
    again = [*lines("answered"), step_start, text]

    assert isinstance(judge(parse(OpenCode(Settings()), [*again, stop]), Exited(), True), Clean)
    assert isinstance(judge(parse(OpenCode(Settings()), again), Exited(), True), Failed)


@pytest.mark.parametrize("name", ["never-ends", "too-long-for-it"])
def test_what_would_go_on_for_ever_is_given_up_once(name: str) -> None:
    assert len([event for event in events(name) if isinstance(event, Stuck)]) == 1


def test_waiting_a_moment_for_the_backend_is_not_the_end() -> None:
    assert not [event for event in events("retried") if isinstance(event, Stuck | LimitReached)]
    assert [event.ok for event in events("retried") if isinstance(event, Finished)] == [True]


def test_tools_and_texts_are_told_in_order_with_a_line_each() -> None:
    calls = [event for event in events("asked") if isinstance(event, ToolCall)]
    results = [event for event in events("asked") if isinstance(event, ToolResult)]

    assert [call.name for call in calls] == ["bash", "read", "AskOperator"]
    assert [call.summary for call in calls] == [
        "echo one > one.txt; ls; cat missing", "one.txt", "Which colour?",
    ]  # fmt: skip
    assert [result.id for result in results] == [call.id for call in calls]
    assert [result.ok for result in results] == [False, True, True]


def test_a_resumed_run_is_the_same_conversation_and_each_step_is_counted_once() -> None:
    before, after = events("asked"), events("answered")

    assert isinstance(before[0], SessionStarted) and before[0].id.startswith("ses_")
    assert before[0] == after[0]
    spent = [event for event in (*before, *after) if isinstance(event, UsageEvent)]
    assert {(used.tokens_in, used.tokens_out, used.tokens_cached) for used in spent} == {(100, 7, 40)}
    assert len(spent) == 6 and not [used for used in spent if used.cumulative]


def test_more_turns_than_max_turns_is_a_limit() -> None:
    limited = events("asked", max_turns=3)
    allowed = events("asked", max_turns=4)

    assert next(event for event in limited if isinstance(event, Stuck)).error_kind == "turns"
    assert not [event for event in allowed if isinstance(event, Stuck)]


def test_a_run_that_cost_more_than_its_budget_is_stopped_unless_it_ends_anyhow() -> None:
    """The scripted model has no price, so the recorded steps get one."""
    priced = [line.replace(b'"cost":0', b'"cost":0.4') for line in lines("asked")]

    def stuck(budget: float) -> list[Stuck]:
        said = parse(OpenCode(Settings(budget_usd=budget)), priced)
        return [event for event in said if isinstance(event, Stuck)]

    assert [(one.error_kind, one.message[:27]) for one in stuck(0.5)] == [
        ("budget", "it spent $0.80 of $0.50 (bu")
    ]
    assert not stuck(1.5)


def test_a_conversation_that_is_gone_is_told_on_stderr_only() -> None:
    said = (OPENCODE.recorded / "session-gone.stderr").read_text()
    finished = OpenCode(Settings()).explain(said)

    assert not lines("session-gone")
    assert finished is not None and (finished.ok, finished.error_kind) == (False, "session")
    assert OpenCode(Settings()).explain("Error: something else\n") is None


# ── How it is started ─────────────────────────────────────────────────────────────────────────────────


def config(**settings: Any) -> dict[str, Any]:
    launch = OpenCode(Settings(**settings)).launch(job())
    found: dict[str, Any] = json.loads(launch.env["OPENCODE_CONFIG_CONTENT"])
    return found


def test_the_prompt_comes_from_the_runs_own_file_and_the_folder_is_the_worktree() -> None:
    launch = OpenCode(Settings()).launch(job())

    assert launch.stdin == "/tmp/run/prompt.md"
    assert launch.argv[launch.argv.index("--dir") + 1] == "/tmp/tree"
    assert job().prompt not in launch.argv


def test_a_session_is_resumed_only_if_opencode_could_have_made_it() -> None:
    opencode = OpenCode(Settings())

    assert opencode.launch(job(session=SESSION, resume=True)).argv[-2:] == ("-s", SESSION)
    for other in ("3f0c8f5e-8f0e-4b63-9d5e-6f1d7f0c0a11", "", None):
        assert "-s" not in opencode.launch(job(session=other, resume=True)).argv
    assert "-s" not in opencode.launch(job(session=SESSION, resume=False)).argv


def test_only_the_key_of_the_models_provider_passes() -> None:
    def keys(**settings: Any) -> set[str]:
        return {name for name in OpenCode(Settings(**settings)).launch(job()).passes if name.endswith("_KEY")}

    assert keys(model="anthropic/claude-sonnet-4-5") == {"ANTHROPIC_API_KEY"}
    assert keys(model="openrouter/anthropic/claude", base_url="https://x.example") == {"OPENROUTER_API_KEY"}
    assert keys(model="mine", base_url="https://x.example") == {"OPENCODE_API_KEY"}
    assert keys() == {name for names in KEYS.values() for name in names}, "OpenCode chooses the model"


def test_a_backend_of_ones_own_is_a_provider_with_its_model() -> None:
    def provider(base_url: str, model: str) -> tuple[str, str, list[str]]:
        ((name, made),) = config(base_url=base_url, model=model)["provider"].items()
        return name, made["options"]["baseURL"], list(made["models"])

    assert provider("http://127.0.0.1:1", "qwen") == ("custom", "http://127.0.0.1:1/v1", ["qwen"])
    assert provider("https://x.example/api/", "a/b/c") == ("a", "https://x.example/api/", ["b/c"])
    assert provider("http://127.0.0.1:1", "") == ("custom", "http://127.0.0.1:1/v1", ["default"])
    assert "provider" not in config(model="anthropic/claude-sonnet-4-5")


def test_the_repositorys_configuration_is_off_unless_the_operator_allows_it() -> None:
    def env(repo_config: bool) -> dict[str, str]:
        return OpenCode(Settings(repo_config=repo_config)).launch(job()).env

    assert env(False)["OPENCODE_DISABLE_PROJECT_CONFIG"] == "true"
    assert "OPENCODE_DISABLE_PROJECT_CONFIG" not in env(True)


# ── The real program ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def binary() -> Path:
    return client("opencode")


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", *(name for names in KEYS.values() for name in names)):
        monkeypatch.delenv(name, raising=False)


def test_a_missing_program_is_told_with_the_command_that_installs_it() -> None:
    fitness = OpenCode(Settings(command=("/no/such/opencode",))).check()

    assert not fitness.ok
    assert "not installed" in fitness.reason
    assert fitness.hint == "npm install -g opencode-ai"


@many_runs
def test_a_provider_without_a_login_and_a_model_that_is_none_are_found_before_dispatch(
    binary: Path, tmp_path: Path
) -> None:
    def check(model: str, **keys: str) -> tuple[str, bool, str]:
        env = {"HOME": str(tmp_path), "npm_config_registry": CLOSED, **keys}
        fitness = OpenCode(Settings(command=(str(binary),), model=model, env=env)).check()
        assert fitness.version == "1.18.33"
        return fitness.login, fitness.ok, fitness.reason

    assert check("anthropic/claude-sonnet-4-5") == ("no", False, "OpenCode is not logged in to anthropic")
    unknown = check("anthropic/no-such", ANTHROPIC_API_KEY="x")
    assert unknown == ("yes", False, "OpenCode has no model anthropic/no-such")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One run in which the model tries what it should not get, and asks."""
    turns = [
        read("/etc/hostname"),
        shell("cat /etc/hostname"),
        shell("echo retries=$npm_config_fetch_retries"),
        Turn(uses=[ASK]),
        Turn(text="I asked."),
    ]
    root = tmp_path_factory.mktemp("opencode").resolve()
    return OPENCODE.run("denied", Case(turns), root, binary=client("opencode"))


def test_the_question_is_on_disk_and_the_run_ends_well(ran: Ran) -> None:
    records, _ = runfolder.read_tools(ran.folder)

    assert [(one.text, one.options) for one in records if isinstance(one, Asked)] == [
        ("Which colour?", ("red", "blue"))
    ]
    assert ran.code == 0
    assert isinstance(judge(parse(OpenCode(Settings()), ran.lines), Exited(), True), Clean)


def test_it_has_no_way_of_its_own_to_ask_and_no_agents_below_it(ran: Ran) -> None:
    tools = set(ran.asked[0].tools)

    assert {"bash", "edit", "read", "write", "ve_AskOperator"} <= tools
    assert not {"question", "task", "plan_enter", "plan_exit"} & tools


def test_files_outside_the_worktree_are_denied_and_the_run_goes_on(ran: Ran) -> None:
    results = [e for e in parse(OpenCode(Settings()), ran.lines) if isinstance(e, ToolResult)]

    assert [result.ok for result in results] == [False, False, True, True]
    assert "prevents you from using this specific tool call" in results[0].summary


def test_the_repositorys_instructions_are_read_and_its_tool_servers_are_not_started(ran: Ran) -> None:
    told = json.dumps(ran.asked[0].body["messages"])

    assert "The word is xylophone." in told
    assert not [name for name in ran.asked[0].tools if name.startswith("theirs")]
    assert not (ran.tree / "ran").exists()


def test_the_shell_of_the_model_does_not_get_the_clients_own_settings(ran: Ran) -> None:
    assert "retries=2" in json.dumps(ran.asked[-1].body["messages"])


def test_it_works_on_without_the_tools_so_what_it_said_is_not_enough() -> None:
    """`ve` sees in the run's folder that nobody asked for its tools."""
    assert [event for event in events("no-tools") if isinstance(event, ModelEvent)]
    assert not isinstance(judge(events("no-tools"), Exited(), False), Clean)
