"""Codex: what `ve` makes of what it really printed, how it is started, and what it is denied.

Recorded lines are in recorded/codex; record_codex.py writes them anew.
"""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.agents.clients import client
from tests.agents.exercise import job
from tests.agents.record_codex import CODEX, shell
from tests.agents.recordings import Case, RecordedExercise
from ve.agents.base import (
    SessionStarted,
    Settings,
    Stuck,
    ToolCall,
    ToolResult,
    UsageEvent,
)
from ve.agents.codex import Codex, kind_of, reset_of
from ve.agents.judge import Clean, Limited
from ve.agents.program import api_url
from ve.testing import Turn

WELL = ("asked", "answered")
SESSION = "3f0c8f5e-8f0e-4b63-9d5e-6f1d7f0c0a11"
lines, events, outcome, failed = CODEX.lines, CODEX.events, CODEX.outcome, CODEX.failed


class TestCodex(RecordedExercise):
    """The conformance suite passes, with lines of real runs."""

    client = CODEX
    good = "asked"
    well = WELL


# ── What its output means ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", WELL)
def test_a_run_that_ended_well_is_clean_whatever_its_last_words_are(name: str) -> None:
    assert isinstance(outcome(name, code=0), Clean)


@pytest.mark.parametrize(
    ("name", "kind", "cause", "said"),
    [
        ("no-key", "setup", "auth", "Missing environment variable: `OPENAI_API_KEY`"),
        ("unauthorized", "setup", "auth", "unexpected status 401 Unauthorized"),
        ("forbidden", "setup", "auth", "unexpected status 403 Forbidden"),
        ("no-credit", "setup", "billing", "Quota exceeded"),
        ("bad-request", "error", "request", "nothing of line 512"),
        ("no-such-model", "error", "agent", "refused by the script"),
        ("rate-limited", "error", "overloaded", "last status: 429"),
        ("told-to-wait", "error", "overloaded", "Codex was stopped: Reconnecting... 1/2"),
        ("limit-in-the-stream", "error", "overloaded", "rate limit exceeded"),
        ("server-error", "error", "overloaded", "high demand"),
        ("overloaded", "error", "overloaded", "unexpected status 529"),
        ("at-capacity", "error", "overloaded", "at capacity"),
        ("cut", "error", "connection", "stream disconnected before completion"),
        ("unreachable", "error", "connection", "Connection failed"),
        ("waiting-for-network", "error", "connection", "waiting for network"),
        ("model-declines", "error", "refused", "content_filter"),
        ("too-long", "error", "agent", "max_output_tokens"),
        ("no-room", "error", "session", "ran out of room"),
    ],
)
def test_a_failure_has_its_class_and_its_words(name: str, kind: str, cause: str, said: str) -> None:
    found = failed(name)

    assert (found.kind, found.cause) == (kind, cause)
    assert said in found.reason


def test_a_usage_limit_says_when_it_ends_where_codex_does() -> None:
    unknown, until = outcome("usage-limit"), outcome("usage-limit-until")

    assert isinstance(unknown, Limited) and unknown.until is None
    assert isinstance(until, Limited) and until.until
    assert datetime.fromisoformat(until.until).tzinfo


def test_the_reset_of_a_usage_limit_is_read_in_both_of_its_forms() -> None:
    """Codex rounds down to the minute, in the time of this machine."""
    now = datetime(2026, 11, 21, 9, 0)
    limit = "You’ve hit your usage limit. Visit https://chatgpt.com/settings/usage to purchase more credits"

    def local(*parts: int) -> float:
        return datetime(*parts).timestamp()  # type: ignore[arg-type]

    def read(text: str) -> float:
        return datetime.fromisoformat(reset_of(text, now) or "").timestamp()

    assert read(f"{limit} or try again at 1:28 PM.") == local(2026, 11, 21, 13, 29)
    assert read(f"{limit} or try again at Dec 2nd, 2026 12:05 AM.") == local(2026, 12, 2, 0, 6)
    assert read("You've hit your usage limit. Try again at 11:59 PM.") == local(2026, 11, 22, 0, 0)
    assert reset_of(f"{limit} or try again later.", now) is None


@pytest.mark.parametrize(
    "text",
    [
        "The test at line 512 failed with exit code 429.",
        "It said: unexpected status 401 Unauthorized: no",
        "tests: Connection failed: see the log",
        "You've hit your usage limits of words, said the linter.",
        '{"error": {"message": "401 429 500"}}',
    ],
)
def test_words_inside_a_text_give_it_no_class(text: str) -> None:
    assert kind_of(text) == "agent"


def test_a_retry_is_not_the_end() -> None:
    said = [event for event in events("unauthorized") if not isinstance(event, SessionStarted)]

    assert len(said) == 1, "two retries and their error are told by the last line alone"


def test_tools_and_texts_are_told_in_order_with_a_line_each() -> None:
    calls = [event for event in events("asked") if isinstance(event, ToolCall)]
    results = [event for event in events("asked") if isinstance(event, ToolResult)]

    assert [call.name for call in calls] == ["shell", "apply_patch", "ve.AskOperator"]
    assert "cat missing" in calls[0].summary
    assert calls[1].summary == "/home/op/tree/two.txt"
    assert "Which colour?" in calls[2].summary
    assert [result.id for result in results] == [call.id for call in calls]
    assert [result.ok for result in results] == [False, True, True]
    assert results[0].summary == "exit code 1: cat: missing: No such file or directory"


def test_a_resumed_run_is_the_same_thread_and_its_usage_includes_the_earlier_run() -> None:
    before, after = events("asked"), events("answered")

    assert before[0] == after[0]
    spent = [event for event in (*before, *after) if isinstance(event, UsageEvent)]
    assert [(usage.tokens_in, usage.cumulative) for usage in spent] == [(400, True), (600, True)]


def test_more_tools_than_max_turns_is_a_limit() -> None:
    limited = events("asked", max_turns=2)
    allowed = events("asked", max_turns=3)

    assert next(event for event in limited if isinstance(event, Stuck)).error_kind == "turns"
    assert not [event for event in allowed if isinstance(event, Stuck)]


def test_a_session_that_is_gone_is_told_on_stderr_only() -> None:
    said = (CODEX.recorded / "session-gone.stderr").read_text()
    finished = Codex(Settings()).explain(said)

    assert not lines("session-gone")
    assert finished is not None and (finished.ok, finished.error_kind) == (False, "session")
    assert Codex(Settings()).explain("Error: no such option --fast\n") is None


# ── How it is started ─────────────────────────────────────────────────────────────────────────────────


def overrides(argv: Sequence[str]) -> dict[str, Any]:
    """The configuration that the arguments give, read as TOML."""
    found: dict[str, Any] = {}
    for option, text in pairwise(argv):
        if option == "-c":
            key, _, value = text.partition("=")
            found[key] = tomllib.loads(f"value = {value}")["value"]
    return found


def test_the_prompt_comes_from_the_runs_own_file() -> None:
    launch = Codex(Settings()).launch(job())

    assert launch.argv[-1] == "-"
    assert launch.stdin == "/tmp/run/prompt.md"


def test_a_session_is_resumed_only_if_codex_could_have_made_it() -> None:
    """For any other id Codex starts a new conversation without a word."""
    codex = Codex(Settings())

    assert codex.launch(job(session=SESSION, resume=True)).argv[-3:] == ("resume", SESSION, "-")
    for other in ("last week's", f"{SESSION}x", "", None):
        assert "resume" not in codex.launch(job(session=other, resume=True)).argv
    assert "resume" not in codex.launch(job(session=SESSION, resume=False)).argv


def test_arguments_of_the_operator_come_last_and_may_choose_the_sandbox() -> None:
    def argv(*args: str) -> tuple[str, ...]:
        return Codex(Settings(args=args)).launch(job()).argv

    assert argv()[3:5] == ("--sandbox", "workspace-write")
    assert "workspace-write" not in argv("--sandbox", "danger-full-access")
    assert "workspace-write" not in argv("--sandbox=read-only")
    assert "workspace-write" not in argv("-c", 'sandbox_mode="read-only"')
    assert argv("--search")[-2:] == ("--search", "-")


def test_any_text_survives_the_way_into_the_configuration() -> None:
    place = '/tmp/a "b" \\ \x7f\n\t ü 🎈 = x'
    settings = Settings(model=place, base_url="http://127.0.0.1:1/v1", repo_config=True)
    config = overrides(Codex(settings).launch(job(worktree=place, run_dir=place)).argv)

    assert config["model"] == place
    assert config["projects"] == {place: {"trust_level": "trusted"}}
    assert config["mcp_servers.ve"]["env"]["VE_RUN_DIR"] == place
    assert config["mcp_servers.ve"]["required"] is True


def test_an_address_without_a_path_gets_the_version() -> None:
    assert api_url("http://127.0.0.1:8000") == api_url("http://127.0.0.1:8000/") == "http://127.0.0.1:8000/v1"
    assert api_url("https://example.org/openai/v1") == "https://example.org/openai/v1"


# ── The real program ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def binary() -> Path:
    return client("codex")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    home = tmp_path / "home"
    home.mkdir()
    return {"HOME": str(home), "CODEX_HOME": str(home)}


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "CODEX_API_KEY", "CODEX_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_a_missing_program_is_told_with_the_command_that_installs_it(env: dict[str, str]) -> None:
    fitness = Codex(Settings(command=("/no/such/codex",), env=env)).check()

    assert not fitness.ok
    assert "not installed" in fitness.reason
    assert fitness.hint == "npm install -g @openai/codex"


def test_a_login_or_a_key_is_needed_and_which_key_depends_on_the_backend(
    binary: Path, env: dict[str, str]
) -> None:
    def login(base_url: str = "", **keys: str) -> tuple[str, bool]:
        codex = Codex(Settings(command=(str(binary),), env={**env, **keys}, base_url=base_url))
        fitness = codex.check()
        assert fitness.version == "0.169.0"
        return fitness.login, fitness.ok

    assert login() == ("no", False)
    assert login(OPENAI_API_KEY="x") == ("no", False), "Codex itself does not read it without a base_url"
    assert login("http://127.0.0.1:1")[0] == "no"
    assert login(CODEX_API_KEY="x")[0] == "yes"
    assert login("http://127.0.0.1:1", OPENAI_API_KEY="x")[0] == "yes"
    Path(env["HOME"], "config.toml").write_text('model_provider = "mine"\n')
    assert login()[0] == "unknown"


def test_a_machine_without_namespaces_is_found_before_dispatch(binary: Path, env: dict[str, str]) -> None:
    """There every command of the model fails, and Codex ends with exit code 0."""
    forbid = 'echo 0 >/proc/sys/user/max_user_namespaces && exec "$0" "$@"'
    command = ("unshare", "--user", "--map-root-user", "sh", "-c", forbid)
    if not shutil.which("unshare") or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("no namespace can be made here in which to forbid them")
    jailed = Settings(command=(*command, str(binary)), env={**env, "CODEX_API_KEY": "x"})

    fitness = Codex(jailed).check()
    without = Codex(Settings(**{**vars_of(jailed), "args": ("--sandbox", "danger-full-access")})).check()

    assert not fitness.ok
    assert "sandbox does not work on this machine" in fitness.reason
    assert 'args = ["--sandbox", "danger-full-access"]' in fitness.hint
    assert without.ok, "the operator chose to run without"


def vars_of(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}


def test_the_repositorys_own_configuration_runs_nothing_even_where_the_operator_trusts_it(
    binary: Path, tmp_path: Path
) -> None:
    """An agent could write it, and the next run would obey."""
    tree = tmp_path / "tree"
    subprocess.run(["git", "init", "-q", str(tree)], check=True)
    (tree / ".codex").mkdir()
    server = f'[mcp_servers.mine]\ncommand = "/bin/sh"\nargs = ["-c", "touch {tmp_path}/ran; cat"]\n'
    (tree / ".codex" / "config.toml").write_text(server)
    (tmp_path / ".codex").mkdir()
    trust = f'[projects."{tree}"]\ntrust_level = "trusted"\n'
    (tmp_path / ".codex" / "config.toml").write_text(trust)

    ran = CODEX.run("denied", Case([Turn(text="x")]), tmp_path, binary=binary)
    assert ran.code == 0
    assert not (tmp_path / "ran").exists()

    CODEX.run("allowed", Case([Turn(text="x")], settings={"repo_config": True}), tmp_path, binary=binary)
    assert (tmp_path / "ran").exists()
    assert (tmp_path / ".codex" / "config.toml").read_text() == trust, "the operator's settings stay"


def test_commands_of_the_model_see_no_key_and_write_only_in_their_worktree(
    binary: Path, tmp_path: Path
) -> None:
    """`.git` is no such place: what a phase leaves is committed by `ve`."""
    settings = Settings(command=(str(binary),), env={"HOME": str(tmp_path), "CODEX_API_KEY": "x"})
    if not Codex(settings).check().ok:
        pytest.skip("Codex's sandbox does not work on this machine")
    look = "env | grep -E 'KEY|TOKEN'; touch mine; touch .git/x; git add -A; true"
    keys = {"CODEX_API_KEY": "secret", "VE_RUN_TOKEN": "secret"}

    ran = CODEX.run("run", Case([shell(look), Turn(text="x")], env=keys), tmp_path, binary=binary)

    said = b"\n".join(ran.lines)
    assert b"secret" not in said and b"API_KEY=" not in said
    assert b"touch: cannot touch '.git/x': Read-only file system" in said
    assert b"index.lock': Read-only file system" in said
    assert (tmp_path / "tree" / "mine").exists()


def test_a_tool_server_that_does_not_start_ends_the_run_before_the_model_is_asked(
    binary: Path, tmp_path: Path
) -> None:
    broken = Case([Turn(text="x")], settings={"args": ["-c", 'mcp_servers.ve.command="/bin/false"']})

    ran = CODEX.run("run", broken, tmp_path, binary=binary)

    assert (ran.code, ran.requests, ran.lines) == (1, 0, [])
    finished = Codex(Settings()).explain(ran.stderr)
    assert finished is not None and finished.error_kind == "tools"


def test_a_session_that_is_gone_is_a_failure_of_its_own(binary: Path, tmp_path: Path) -> None:
    ran = CODEX.run("run", Case([Turn(text="x")], resume=SESSION), tmp_path, binary=binary)

    assert (ran.code, ran.requests, ran.lines) == (1, 0, [])
    finished = Codex(Settings()).explain(ran.stderr)
    assert finished is not None and finished.error_kind == "session"
