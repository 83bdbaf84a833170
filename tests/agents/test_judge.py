"""What a run came to: success is typed and complete, everything else says what to do."""

from __future__ import annotations

import pytest

from tests.agents.exercise import Exited
from ve.agents.base import (
    Clean,
    ErrorKind,
    Failed,
    Finished,
    Limited,
    LimitReached,
    ModelEvent,
    SessionStarted,
    judge,
)

WELL = [SessionStarted("s"), ModelEvent(), Finished(True, "done")]


def failed(outcome: object) -> Failed:
    assert isinstance(outcome, Failed)
    return outcome


def test_success_needs_the_terminal_event_exit_0_and_our_tools() -> None:
    assert judge(WELL, Exited(), True) == Clean("done")
    assert "never asked for the tools" in failed(judge(WELL, Exited(), False)).reason
    assert "without its terminal event" in failed(judge(WELL[:2], Exited(), True)).reason
    assert "reported success but ended with exit code 3" in failed(judge(WELL, Exited(code=3), True)).reason


def test_an_error_flag_beats_exit_0() -> None:
    outcome = failed(judge([Finished(False, "API failure", "overloaded")], Exited(), True))

    assert outcome.kind == "error" and outcome.transient and outcome.cause == "overloaded"
    assert "API failure (exit code 0)" in outcome.reason


def test_of_several_terminal_events_the_last_one_counts() -> None:
    assert isinstance(judge([Finished(False, "first"), Finished(True, "then")], Exited(), True), Clean)
    assert isinstance(judge([Finished(True, "first"), Finished(False, "then")], Exited(), True), Failed)


def test_a_reason_holds_what_happened_the_exit_code_the_last_line_of_stderr_and_what_to_do() -> None:
    outcome = failed(
        judge(
            WELL[:2],
            Exited(code=2),
            True,
            run="r1",
            line='{"type":"x"}',
            stderr_tail="warming up\nboom: no key\n\n",
        )
    )

    assert outcome.reason == (
        "The agent ended without its terminal event (exit code 2). Last line of stderr: boom: no key "
        "Read its output with `ve orch tail`, then `ve orch retry`."
    )
    evidence = outcome.evidence
    assert (evidence.run, evidence.line, evidence.exit_code) == ("r1", '{"type":"x"}', 2)
    assert evidence.stderr_tail.startswith("warming up")


@pytest.mark.parametrize(
    ("exit", "kind", "said"),
    [
        (None, "lost", "The run was lost"),
        (
            Exited("start_failed", None, message="cannot start claude: No such file"),
            "setup",
            "cannot start claude",
        ),
        (Exited("idle_limit", None, 15, "no output for 5 s"), "stalled", "no output for 5 s"),
        (Exited("wall_limit", 0, message="it ran longer than the limit of 5 s"), "stalled", "ran longer"),
        (Exited("stopped", 143), "stopped", "stopped (exit code 143)"),
        (Exited("signalled", None, 9), "error", "killed by signal 9"),
    ],
)
def test_an_end_that_is_no_exit_has_a_kind_of_its_own(exit: Exited | None, kind: str, said: str) -> None:
    outcome = failed(judge(WELL, exit, True))

    assert outcome.kind == kind
    assert said in outcome.reason


@pytest.mark.parametrize(
    ("cause", "kind"), [("auth", "setup"), ("model", "setup"), ("turns", "limit"), ("agent", "error")]
)
def test_the_kind_comes_from_the_typed_class_of_the_error(cause: ErrorKind, kind: str) -> None:
    outcome = failed(judge([Finished(False, "line 512 says 401", cause)], Exited(code=1), True))

    assert outcome.kind == kind and not outcome.transient


def test_a_usage_limit_ends_a_run_without_blame_but_not_one_that_succeeded() -> None:
    limit = LimitReached("2026-01-01T00:00:00Z", "five hours")

    assert judge([limit, Finished(False, "limit")], Exited(code=1), True) == Limited(
        "2026-01-01T00:00:00Z", "five hours"
    )
    assert isinstance(judge([limit, *WELL], Exited(), True), Clean)
