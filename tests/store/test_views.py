"""The views and the Python reader: a life told in transitions, and what is answered about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.store.conftest import START, at, batch, transition
from ve.errors import HistoryError, InvalidInput
from ve.history import HistoryReader
from ve.store.file import History
from ve.store.migrate import views_sql
from ve.store.query import QueryResult, run_query
from ve.store.writer import Writer

_USAGE = {"input_tokens": 100, "output_tokens": 10, "cached_tokens": 5, "cost_usd": 0.5, "estimated": False}


def _question(**fields: Any) -> dict[str, Any]:
    asked = {"id": "q1", "text": "Which one?", "options": ["a", "b"], "context": "x", "asked_at": at(40)}
    return asked | {"answer": None, "answered_by": None, "answered_at": None, "state": "open"} | fields


def _life() -> list[dict[str, Any]]:
    """u1: injected, planned (asked, answered), merged at 300 s. u2: injected, cancelled at 150 s."""
    run, question, exit = {"unit": "u1", "run": "r1"}, _question(), {"type": "clean"}
    answered = _question(answer="a", answered_by="operator:ann", answered_at=at(100), state="answered")
    life = [
        (0, "Inject", {}, {"status": "READY"}),
        (10, "Dispatch", run | {"slot": 0, "backend": "claude"}, {"status": "RUNNING", "run_id": "r1"}),
        (12, "RunStarted", run, {"status": "RUNNING", "run_id": "r1"}),
        (40, "Ask", run | {"questions": [
            {"id": "q1", "text": "Which one?", "options": ["a", "b"], "context": "x"}]},
         {"status": "NEEDS_ATTENTION", "attention_kind": "question", "attention_reason": "Which one?",
          "questions": [question]}),
        (50, "RunEnded", run | {"exit": exit, "usage": _USAGE, "ended_at": at(45)},
         {"status": "NEEDS_ATTENTION", "attention_kind": "question", "attention_reason": "Which one?",
          "questions": [question]}),
        (100, "Answer", {"unit": "u1", "question": "q1", "text": "a"}, {"questions": [answered]}),
        (110, "Dispatch", run | {"run": "r2", "slot": 1}, {"status": "RUNNING", "questions": [answered]}),
        (200, "RunEnded", run | {"run": "r2", "exit": {"type": "failed", "kind": "error", "reason": "oom"},
                                 "usage": None}, {"phase": "REVIEW", "questions": [answered]}),
        (210, "ReviewDecided", {"unit": "u1", "run": "r3", "decision": {
            "decision": "feedback", "reason": "no tests", "issues": [{"id": "i1"}]}}, {"phase": "IMPLEMENT"}),
        (250, "LandingStep", {"unit": "u1", "step": {"type": "committed", "commit": "c1"}},
         {"phase": "COMPLETE", "status": "RUNNING"}),
        (260, "BaseChanged", {"unit": "u1", "tip": "c0"}, {"phase": "COMPLETE", "status": "RUNNING"}),
        (300, "Landed", {"unit": "u1", "commit": "c2"},
         {"phase": "COMPLETE", "status": "DONE", "merged_commit": "c2"}),
        (400, "Cleaned", {"unit": "u1"}, {"phase": "COMPLETE", "status": "DONE", "merged_commit": "c2"}),
    ]  # fmt: skip
    told = [transition(n, c, after=t, detail=d, **f) for n, (t, c, d, f) in enumerate(life, 1)]
    told.append(transition(14, "Inject", after=100, of="u2", status="BLOCKED", blocked_by=["chunk-u1"]))
    told.append(transition(15, "Cancel", after=150, of="u2", status="CANCELLED"))
    return told


@pytest.fixture
def told(history: History) -> History:
    """The life above; its first half folded, the rest still in the journal."""
    life = _life()
    writer = Writer(history)
    writer.write(batch(*life[:7]))
    writer.checkpoint()
    writer.write(batch(*life[7:]))
    return history


@pytest.fixture(params=["file", "daemon"])
def reader(told: History, path: Path, request: pytest.FixtureRequest) -> Iterator[HistoryReader]:
    """The same answers, whether the file is read or its holder is asked."""
    if request.param == "daemon":
        with HistoryReader(lambda sql: run_query(told, sql)) as asking:
            yield asking
        return
    told.close()
    with HistoryReader(path) as reading:
        yield reading


def _rows(relation: duckdb.DuckDBPyRelation, columns: str) -> list[tuple[Any, ...]]:
    return relation.project(columns).fetchall()


def test_lead_time_is_from_inject_to_the_end(reader: HistoryReader) -> None:
    rows = _rows(reader.lead_time(), "unit_id, status, seconds, queue_seconds")
    assert rows == [("u2", "CANCELLED", 50.0, None), ("u1", "DONE", 300.0, 10.0)]


def test_cycle_time_counts_every_visit_of_a_phase(reader: HistoryReader) -> None:
    rows = _rows(reader.cycle_time(), "unit_id, phase, seconds, running_seconds, waiting_seconds, current")
    assert [row for row in rows if row[0] == "u1"] == [
        ("u1", "PLAN", 200.0, 120.0, 80.0, False),
        ("u1", "REVIEW", 10.0, 0.0, 10.0, False),
        ("u1", "IMPLEMENT", 40.0, 0.0, 40.0, False),
        ("u1", "COMPLETE", 50.0, 50.0, 0.0, False),
    ]


def test_time_in_status_adds_up_to_the_lead_time(reader: HistoryReader) -> None:
    rows = _rows(reader.time_in_status(), "unit_id, status, seconds, visits")
    assert ("u1", "NEEDS_ATTENTION", 60.0, 1) in rows
    assert sum(row[2] for row in rows if row[0] == "u1") == 300.0


def test_attention_wait_says_why_and_who_ended_it(reader: HistoryReader) -> None:
    rows = _rows(reader.attention_wait(), "unit_id, kind, reason, seconds, ended_by")
    assert rows == [("u1", "question", "Which one?", 60.0, "operator:ann")]


def test_a_question_is_shown_with_its_answer(reader: HistoryReader) -> None:
    rows = _rows(
        reader.questions(), "question_id, run_id, text, options, answer, answered_by, state, seconds"
    )
    assert rows == [("q1", "r1", "Which one?", '["a","b"]', "a", "operator:ann", "answered", 60.0)]


def test_runs_tell_how_they_ended_and_what_they_cost(reader: HistoryReader) -> None:
    rows = _rows(
        reader.runs(), 'run_id, phase, slot, backend, "exit", exit_kind, exit_reason, input_tokens, cost_usd'
    )
    assert rows == [
        ("r2", "PLAN", 1, None, "failed", "error", "oom", None, None),
        ("r1", "PLAN", 0, "claude", "clean", None, None, 100, 0.5),
    ]
    assert _rows(reader.runs(), "seconds") == [(90.0,), (33.0,)]
    costs = _rows(reader.cost_per_merged_unit(), "unit_id, runs, input_tokens, cost_usd")
    assert costs == [("u1", 1, 100, 0.5)]


def test_rework_counts_what_was_done_again(reader: HistoryReader) -> None:
    rows = _rows(reader.rework(), "unit_id, attempts, runs, retries, feedback, conflicts, base_moves")
    assert rows == [("u1", 1, 2, 0, 1, 0, 1), ("u2", 1, 0, 0, 0, 0, 0)]


def test_throughput_is_by_day(reader: HistoryReader) -> None:
    assert _rows(reader.throughput(), "day::varchar, injected, merged, cancelled") == [
        ("2026-03-01", 2, 1, 1)
    ]


def test_slot_use_is_the_share_of_each_hour(reader: HistoryReader) -> None:
    assert _rows(reader.slot_use(), "hour, slot, busy_seconds, share") == [
        (START.replace(tzinfo=None), 0, 35.0, 35 / 3600),
        (START.replace(tzinfo=None), 1, 90.0, 90 / 3600),
    ]


def test_landings_and_reviews_are_read_from_the_log(reader: HistoryReader) -> None:
    landings = reader.query("select unit_id, merged_commit, last_step, base_moves, seconds from landings")
    assert landings.fetchall() == [("u1", "c2", "committed", 1, 50.0)]
    steps = reader.query("select step from landing_steps")
    assert steps.fetchall() == [("committed",), ("landed",)]
    reviews = reader.query("select decision, reason, issue_count from reviews")
    assert reviews.fetchall() == [("feedback", "no tests", 1)]


def test_the_board_as_it_was_at_a_moment(reader: HistoryReader) -> None:
    def board(moment: datetime | str) -> list[tuple[Any, ...]]:
        return sorted(_rows(reader.board_at(moment), "id, status"))

    assert board(at(-1)) == []
    assert board(at(45)) == [("u1", "NEEDS_ATTENTION")]
    assert board(datetime(2026, 3, 1, 8, 2, tzinfo=UTC)) == [("u1", "RUNNING"), ("u2", "BLOCKED")]
    assert board("2026-03-01T10:02:00+02:00") == board(at(120))
    assert sorted(_rows(reader.query("select * from work_units"), "id, status")) == [
        ("u1", "DONE"),
        ("u2", "CANCELLED"),
    ]
    with pytest.raises(InvalidInput, match="not a time"):
        reader.board_at("yesterday'; --")


def test_wrong_sql_says_what_is_wrong(reader: HistoryReader) -> None:
    for sql in ("select nonsense from lead_time", "delete from journal", "select 1; select 2"):
        with pytest.raises(InvalidInput):
            reader.query(sql).fetchall()


def test_rows_keep_their_types_on_the_way_through_a_daemon(told: History) -> None:
    sql = (
        "select 1 as a, 2 as A, [1, 2] as l, {'k': [now()::timestamp > '2020-01-01']} as s,"
        " 1.50::decimal(5,2) as d, '\\xAA'::blob as b, interval 90 second as i,"
        " date '2026-03-01' as day, 'x' as \"odd \"\"name\","
        " null as n, map {'a': 1} as m, 170141183460469231731687303715884105727::hugeint as h"
    )
    with HistoryReader(lambda text: run_query(told, text)) as asking:
        copied = asking.query(sql)
    direct = told.cursor()
    expected = direct.sql(sql)
    with HistoryReader(lambda text: run_query(told, text)) as asking:
        copied = asking.query(sql)
        assert copied.fetchall() == expected.fetchall()
        assert copied.columns == ["a", "A_2", *expected.columns[2:]]
    direct.close()


def test_an_answer_that_was_cut_is_no_answer(told: History) -> None:
    asking: Callable[[str], QueryResult] = lambda sql: run_query(told, sql, max_rows=1)  # noqa: E731
    with HistoryReader(asking) as reader, pytest.raises(HistoryError, match="more than 1 rows"):
        reader.rework()


def test_every_view_is_documented_and_works_on_an_empty_history(history: History) -> None:
    names = run_query(history, "select view_name from duckdb_views() where not internal").rows
    assert len(names) >= 20
    for (name,) in names:
        assert f"\n-- {name}: " in views_sql(), f"{name} has no comment"
        run_query(history, f"select * from {name}")


def test_a_detail_without_the_expected_fields_breaks_no_view(history: History) -> None:
    """Old rows and later commands: a missing key is null, not an error."""
    commands = [
        "Ask",
        "Answer",
        "Dispatch",
        "RunEnded",
        "LandingStep",
        "Landed",
        "ReviewDecided",
        "ConflictFound",
    ]
    with Writer(history) as writer:
        writer.write(batch(*(transition(n, c) for n, c in enumerate(commands, 1))))
    for (name,) in run_query(history, "select view_name from duckdb_views() where not internal").rows:
        run_query(history, f"select * from {name}")
