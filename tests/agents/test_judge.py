"""What a run came to: success is typed and complete, everything else says what to do."""

from __future__ import annotations

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.agents.exercise import Exited
from ve.agents.base import (
    ErrorKind,
    Event,
    Finished,
    LimitReached,
    ModelEvent,
    SessionStarted,
    Stuck,
)
from ve.agents.judge import Clean, Failed, Limited, Seen, judge

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
            Seen(run="r1", chunk="parser", lines='{"type":"x"}', stderr_tail="warming up\nboom: no key\n\n"),
        )
    )

    assert outcome.reason == (
        "The agent ended without its terminal event (exit code 2). Its last line on stderr: boom: no key · "
        "Read what it did with `ve orch tail parser`, then `ve orch retry parser`."
    )
    evidence = outcome.evidence
    assert (evidence.run, evidence.lines, evidence.exit_code) == ("r1", '{"type":"x"}', 2)
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


WORKING = WELL[:2]
CUT = "stream error: the connection was closed"
WAYS_TO_FAIL: dict[str, tuple[list[Event], Exited | None, bool, str]] = {
    "no binary": ([], Exited("start_failed", None, message="cannot start claude: No such file"), False, ""),
    "refused flags": ([], Exited(code=2), False, "error: unknown option '--colour'"),
    "not logged in": ([Finished(False, "Invalid API key", "auth")], Exited(code=1), True, ""),
    "no credit": ([Finished(False, "Your credit balance is too low", "billing")], Exited(code=1), True, ""),
    "no such model": ([Finished(False, "model: gpt-17", "model")], Exited(code=1), True, ""),
    "usage limit, reset known": (
        [LimitReached("2026-11-30T14:05:00Z", "usage limit: five hours"), Finished(False, "limit")],
        Exited(code=1), True, "",
    ),
    "usage limit, reset unknown": ([LimitReached(None, "usage limit")], Exited(code=1), True, ""),
    "overload": ([Finished(False, "529 Overloaded", "overloaded")], Exited(code=1), True, ""),
    "cut stream": ([Finished(False, CUT, "connection")], Exited(code=1), True, ""),
    "request refused": ([Finished(False, "max_tokens: 9 is too small", "request")], Exited(code=1), True, ""),
    "model declines": ([Finished(False, "I can't help with that", "refused")], Exited(), True, ""),
    "turn limit": ([*WORKING, Finished(False, "reached 40 turns", "turns")], Exited(code=1), True, ""),
    "budget": ([*WORKING, Finished(False, "2.50 USD are spent", "budget")], Exited(code=1), True, ""),
    "session gone": ([Finished(False, "no conversation 3f0c", "session")], Exited(code=1), True, ""),
    "stall": (WORKING, Exited("idle_limit", None, 15, "no output for 900 s"), True, ""),
    "wall-clock limit": (
        WORKING, Exited("wall_limit", None, 15, "it ran longer than the limit of 7200 s"), True, "",
    ),
    "killed": (WORKING, Exited("signalled", None, 9), True, ""),
    "crashed": (WORKING, Exited("signalled", None, 11), True, "double free or corruption (out)"),
    "stopped by the operator": (WORKING, Exited("stopped", 143), True, ""),
    "out of disk": ([], Exited(code=1), False, "ENOSPC: no space left on device, write"),
    "supervisor killed": (WORKING, None, True, ""),
    "tool server missing": ([Stuck("the tool server `ve` failed to start", "tools")], None, False, ""),
    "tools never asked for": (WELL, Exited(), False, ""),
    "retries for ever": ([*WORKING, Stuck("it waits for a network", "connection")], None, True, ""),
    "no terminal event": (WORKING, Exited(), True, ""),
    "success with an error flag": ([Finished(False, "API Error: 500", "overloaded")], Exited(), True, ""),
    "success with an exit code": (WELL, Exited(code=3), True, ""),
    "failure of its own": ([*WORKING, Finished(False, "the tests fail", "agent")], Exited(code=1), True, ""),
}  # fmt: skip


def test_every_way_to_fail_tells_what_happened_and_what_to_do_next(snapshot: SnapshotAssertion) -> None:
    """The table of failures: what an operator reads, without opening a log."""
    table = []
    for way, (events, exit, ready, stderr) in WAYS_TO_FAIL.items():
        full = way == "out of disk"
        seen = Seen(
            run="r1", chunk="parser", agent="Claude Code", name="claude", stderr_tail=stderr, disk_full=full
        )
        outcome = judge(events, exit, ready, seen)
        if isinstance(outcome, Limited):
            table.append(f"{way} → lane closed until {outcome.until or '15 min'}: {outcome.reason}")
            continue
        table.append(f"{way} → {failed(outcome).kind}: {failed(outcome).reason}")
        assert "parser" in failed(outcome).reason and "check the log" not in failed(outcome).reason

    assert "\n".join(table) == snapshot
