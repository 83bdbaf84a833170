"""SQL from people: one SELECT, limited, read-only, with answers that JSON can carry."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from tests.store.conftest import many
from ve.errors import InvalidInput
from ve.store.file import History
from ve.store.query import run_query
from ve.store.writer import Writer


@pytest.fixture
def asked(history: History) -> History:
    with Writer(history) as writer:
        writer.write(many(1, 200))
    return history


def test_values_are_ones_that_json_can_carry(asked: History) -> None:
    result = run_query(
        asked,
        "select 1 as a, 2 as a, 1.50::decimal(5,2) as d, timestamp '2026-03-01 08:00' as t,"
        " timestamptz '2026-03-01 10:00+02' as z, interval 90 second as i,"
        " '\\xAA'::blob as b, [1, null] as l, {'k': date '2026-03-01'} as s,"
        " 170141183460469231731687303715884105727::hugeint as h, null as n",
    )
    assert result.columns == ["a", "a", "d", "t", "z", "i", "b", "l", "s", "h", "n"]
    assert result.rows == [[
        1, 2, "1.50", "2026-03-01T08:00:00.000000Z", "2026-03-01T08:00:00.000000Z", 90.0, "aa", [1, None],
        {"k": "2026-03-01"}, "170141183460469231731687303715884105727", None,
    ]]  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(result))["types"][2] == "DECIMAL(5,2)"


def test_the_time_now_can_be_asked(asked: History) -> None:
    assert run_query(asked, "select now() > timestamptz '2020-01-01' as b, now()").rows[0][0] is True


def test_rows_past_the_limit_are_left_off_and_said_so(asked: History) -> None:
    cut = run_query(asked, "select seq from transitions order by seq", max_rows=3)
    whole = run_query(asked, "select seq from transitions order by seq limit 3", max_rows=3)
    assert (cut.rows, cut.truncated) == ([[1], [2], [3]], True)
    assert (whole.rows, whole.truncated) == ([[1], [2], [3]], False)


def test_a_trailing_comment_or_semicolon_does_no_harm(asked: History) -> None:
    assert run_query(asked, "select now() is null; -- done").rows == [[False]]


@pytest.mark.parametrize(
    "sql",
    [
        "delete from journal",
        "select 1; select 2",
        "",
        "-- nothing",
        "set memory_limit = '100GB'",
        "attach ':memory:' as other",
        "copy transition_log to 'out.csv'",
        "begin transaction",
        "checkpoint",
        "call force_checkpoint()",
    ],
)
def test_anything_but_one_select_is_refused(asked: History, sql: str) -> None:
    with pytest.raises(InvalidInput, match="exactly one SELECT"):
        run_query(asked, sql)


@pytest.mark.parametrize(
    ("sql", "because"),
    [
        ("with gone as (delete from transition_log returning *) select * from gone", "read-only"),
        ("with new as (insert into epochs values ('x', 1, now(), '') returning *) from new", "read-only"),
        ("select * from read_text('/etc/passwd')", "disabled by configuration"),
        ("select * from '/etc/passwd'", "does not exist|disabled"),
        ("select * from glob('/*')", "disabled by configuration"),
        ("from checkpoint()", "not allowed"),
        ('select * from "force_checkpoint" ()', "not allowed"),
        ("select * from asked", "does not exist"),
        ("select nonsense from transitions", "nonsense"),
        ("selec 1", "syntax error"),
    ],
)
def test_a_select_that_does_more_than_read_the_history_is_refused(
    asked: History, sql: str, because: str
) -> None:
    with pytest.raises(InvalidInput, match=because):
        run_query(asked, sql)
    assert run_query(asked, "select count(*) from transitions").rows == [[200]]


def test_a_query_that_takes_too_long_is_stopped(asked: History) -> None:
    began = time.monotonic()
    with pytest.raises(InvalidInput, match=r"longer than 0.2 s"):
        run_query(
            asked, "select sum(a.range * b.range) from range(1000000) a, range(1000000) b", timeout_s=0.2
        )
    assert time.monotonic() - began < 10


def test_a_query_that_wants_too_much_memory_fails_alone(tmp_path: Path) -> None:
    history = History.open(tmp_path / "small.duckdb", version="0.1.0", memory_limit="100MB")
    with pytest.raises(InvalidInput, match=r"[Mm]emory"):
        run_query(history, "select list(range::varchar || repeat('x', 100)) from range(10000000)")
    with Writer(history) as writer:
        writer.write(many(1, 200))
    assert run_query(history, "select count(*) from transitions").rows == [[200]]
    history.close()


def test_a_query_does_not_see_half_of_a_batch_and_does_not_stop_the_writer(asked: History) -> None:
    """A long read has its own view of the file; commits go on meanwhile."""
    reader = asked.cursor()
    reader.execute("begin transaction read only")
    assert reader.execute("select count(*) from transitions").fetchall() == [(200,)]
    with Writer(asked) as writer:
        writer.write(many(201, 300))
        assert reader.execute("select count(*) from transitions").fetchall() == [(200,)]
        reader.close()
    assert run_query(asked, "select count(*) from transitions").rows == [[300]]
