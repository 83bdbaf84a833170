"""Writing: a batch is durable whole, once, in order, and comes back as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.store.conftest import batch, many, transition, unit
from ve.errors import HistoryError
from ve.store.columns import UNIT_KEYS
from ve.store.file import History
from ve.store.query import run_query
from ve.store.rows import ChunkRow
from ve.store.writer import Writer
from ve.views import UnitView


def _count(history: History) -> object:
    return run_query(history, "select count(*), count(distinct seq), max(seq) from transitions").rows[0]


def test_a_transition_comes_back_as_the_feed_had_it_before_and_after_folding(history: History) -> None:
    """Every field survives: text with quotes, nothing, lists, times, the board's own transitions."""
    odd = 'say "no"\nor\u0000 é 🦊 \\u0041'
    wanted = [
        transition(1, "Ask", detail={"text": odd, "n": 1.5, "none": None, "list": [1]}, key="k1"),
        transition(
            2, of="u2", status="NEEDS_ATTENTION", attention_kind="question", attention_reason=odd,
            blocked_by=["a", "b"], evidence={"run": "r", "lines": odd, "exit_code": 1, "stderr_tail": None},
            options=["yes", "no"], questions=[{"id": "q", "text": odd, "state": "open"}], slot=3,
            retry_at="2026-03-01T08:00:00.000001Z", resume_at="REVIEW",
            approve_hash="h", cause="x", paused=True,
        ),
        transition(3, "BoardPaused", of=None, origin=None, board={"paused": True, "lanes": []}),
    ]  # fmt: skip
    writer = Writer(history)
    writer.write(batch(*wanted))
    unfolded = [msgspec.json.decode(text) for text in history.transitions_since(0, 10)]
    writer.checkpoint()
    folded = [msgspec.json.decode(text) for text in history.transitions_since(0, 10)]
    writer.close()
    assert unfolded == wanted
    assert folded == wanted
    assert [list(t) for t in folded] == [list(t) for t in wanted]


def test_the_file_keeps_every_field_that_faces_show() -> None:
    """A field added to the flat view needs a column, else replay would lose it."""
    assert UnitView.__struct_fields__ == UNIT_KEYS
    assert tuple(unit()) == UNIT_KEYS


def test_followers_page_through_the_history_across_the_fold(history: History) -> None:
    writer = Writer(history)
    writer.write(many(1, 2_500))
    assert writer.fold_some(), "500 are left"
    assert writer.pending == 500
    seqs: list[int] = []
    while page := history.transitions_since(len(seqs), 300):
        seqs += [msgspec.json.decode(text)["seq"] for text in page]
    assert seqs == list(range(1, 2_501))
    assert not writer.fold_some()
    writer.close()
    assert _count(history) == [2_500, 2_500, 2_500]


def test_a_batch_given_twice_is_written_once(history: History) -> None:
    """The answer of a commit can be lost; the ledger gives the batch again, also after a new start."""
    first = many(1, 5)
    with Writer(history) as writer:
        writer.write(first)
        writer.write(first)
    with Writer(history) as writer:
        writer.write(first)
        writer.write(many(6, 7))
    assert _count(history) == [7, 7, 7]


def test_a_batch_that_would_leave_a_hole_is_refused(history: History) -> None:
    with Writer(history) as writer:
        writer.write(many(1, 5))
        with pytest.raises(HistoryError, match="begins at seq 7, but the history ends at 5"):
            writer.write(many(7, 8))
        with pytest.raises(HistoryError, match="begins at seq 4"):
            writer.write(many(4, 8))
        incomplete = msgspec.structs.replace(many(6, 8), entries=many(6, 7).entries)
        with pytest.raises(HistoryError, match="2 entries claims seq 6 to 8"):
            writer.write(incomplete)
        writer.write(many(6, 8))
    assert _count(history) == [8, 8, 8]


def test_a_start_gets_the_latest_state_of_live_units_and_what_became_of_chunks(
    history: History, reopen: Callable[[], History]
) -> None:
    writer = Writer(history)
    writer.write(batch(transition(1), transition(2, of="u2", chunk="two"), board=b'{"b":1}'))
    writer.checkpoint()
    writer.write(batch(transition(3, status="RUNNING"), board=b'{"b":2}'))
    writer.write(batch(transition(4, of="u2", chunk="two", status="DONE"), live=True))
    before = history.restore()
    writer.write(batch(transition(5, of="u2", chunk="two", status="DONE"), live=False))
    writer.write(batch(transition(6, of="u3", chunk="two", attempt=2, status="CANCELLED"), live=False))
    unfolded = history.restore()
    writer.close()
    history.close()
    with_new_start = reopen()
    folded = with_new_start.restore()
    with_new_start.close()

    assert [msgspec.json.decode(text) for text in before.units] == [
        {"whole": "u1", "seq": 3},
        {"whole": "u2", "seq": 4},
    ], "merged, but not cleaned up: a start has to know it"
    assert before.board == b'{"b":2}'
    assert before.chunks == [ChunkRow("chunk-u1", 1, False, True), ChunkRow("two", 1, True, False)]
    assert unfolded == folded
    assert [msgspec.json.decode(text)["whole"] for text in folded.units] == ["u1"]
    assert folded.last_seq == 6
    assert folded.chunks[1] == ChunkRow("two", 2, False, False), "its latest unit was cancelled"


def test_an_epoch_ends_where_the_next_one_begins(history: History, reopen: Callable[[], History]) -> None:
    """A cursor past the durable end of its epoch is one that a crash has undone."""
    assert history.epoch_end("e1") == 0
    with Writer(history) as writer:
        writer.write(many(1, 5))
    history.begin_epoch("e2")
    history.begin_epoch("e3")
    with Writer(history) as writer:
        writer.write(many(6, 9, epoch="e3"))
    assert [history.epoch_end(e) for e in ("e1", "e2", "e3", "never")] == [5, 5, 9, None]


def test_an_idempotency_key_is_found_with_the_group_it_made(history: History) -> None:
    key = 'k "1" é'
    with Writer(history) as writer:
        writer.write(batch(transition(1, key=key), transition(2, of="u2", key=key), transition(3)))
        unfolded = history.find_group(key)
        assert history.find_key(key) == ("hash", 2, "u2")
        writer.checkpoint()
        assert history.find_group(key) == unfolded == [("hash", 1, "u1"), ("hash", 2, "u2")]
        assert history.find_key("k") is None


def test_a_long_journal_folds_by_itself(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ever being idle the writer keeps the journal bounded."""
    monkeypatch.setattr("ve.store.writer._FOLD_AT", 1_000)
    writer = Writer(history)
    for first in range(1, 3_001, 500):
        writer.write(many(first, first + 499))
    assert writer.pending < 1_500
    assert _count(history) == [3_000, 3_000, 3_000]
    writer.close()


def test_the_log_is_moved_into_the_file_when_it_is_long(
    history: History, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ve.store.writer._LOG_LIMIT", 100_000)
    writer = Writer(history)
    writer.write(many(1, 1_000))
    assert history.log_bytes() > 100_000
    while writer.fold_some():
        pass
    assert history.log_bytes() < 100_000
    writer.close()
