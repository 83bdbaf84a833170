"""What the tests of the history share: transitions as the daemon would write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ve.store.file import History
from ve.store.rows import Batch, BoardRow, JsonEntry, UnitRow

START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
EPOCH = "e1"


def at(seconds: float) -> str:
    """A time that many seconds after the start of the test's history."""
    moment = START + timedelta(seconds=seconds)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def unit(id: str = "u1", *, seq: int = 1, **fields: Any) -> dict[str, Any]:
    """The flat view of a unit, every field of it."""
    view: dict[str, Any] = {
        "id": id, "chunk": f"chunk-{id}", "attempt": 1, "phase": "PLAN", "status": "READY",
        "attention_kind": None, "attention_reason": None, "blocked_by": [], "priority": 0, "paused": False,
        "worktree": None, "branch": None, "base_ref": "refs/heads/main", "base_commit": None,
        "session_id": None, "run_id": None, "slot": None, "created_at": at(0), "changed_at": at(seq),
        "seq": seq, "stage": None, "stopping": False, "retry_at": None, "merged_commit": None,
        "questions": [], "options": [], "evidence": None, "resume_at": None,
        "approve_hash": None, "cause": "",
    }  # fmt: skip
    assert set(fields) <= set(view)
    return view | fields


def transition(
    seq: int,
    command: str = "Prioritize",
    *,
    after: float | None = None,
    detail: dict[str, Any] | None = None,
    origin: str | None = "READY",
    board: dict[str, Any] | None = None,
    of: str | None = "u1",
    key: str | None = None,
    epoch: str = EPOCH,
    actor: str = "operator:ann",
    **fields: Any,
) -> dict[str, Any]:
    """A transition as the JSON object of the feed and the history; `after` is seconds from the start."""
    return {
        "type": "transition", "cursor": f"{epoch}.{seq}", "seq": seq, "epoch": epoch,
        "at": at(seq if after is None else after), "command": command, "actor": actor,
        "why": "because", "from": origin, "detail": detail or {}, "key": key,
        "key_hash": "hash" if key else None, "unit": unit(of, seq=seq, **fields) if of else None,
        "board": board,
    }  # fmt: skip


def batch(*transitions: dict[str, Any], live: bool = True, board: bytes | None = None) -> Batch:
    """These transitions as one batch, with the last state of each unit."""
    last = {t["unit"]["id"]: t for t in transitions if t["unit"]}
    seqs = [t["seq"] for t in transitions]
    return Batch(
        entries=[JsonEntry(msgspec.json.encode(t)) for t in transitions],
        units=[
            UnitRow(
                id=id, chunk=t["unit"]["chunk"], attempt=t["unit"]["attempt"], status=t["unit"]["status"],
                live=live, seq=t["seq"], text=msgspec.json.encode({"whole": id, "seq": t["seq"]}),
            )
            for id, t in last.items()
        ],
        board=BoardRow(seqs[-1], board) if board else None,
        first_seq=seqs[0],
        last_seq=seqs[-1],
    )  # fmt: skip


def many(first: int, last: int, **fields: Any) -> Batch:
    """A batch of that many transitions of ten units."""
    return batch(*(transition(seq, of=f"u{seq % 10}", **fields) for seq in range(first, last + 1)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the history will be."""
    return tmp_path / "history.duckdb"


@pytest.fixture
def history(path: Path) -> Iterator[History]:
    """A new history, in epoch `e1`."""
    opened = History.open(path, version="0.1.0")
    opened.begin_epoch(EPOCH, START)
    yield opened
    opened.close()


@pytest.fixture
def reopen(path: Path) -> Callable[[], History]:
    """Opens the history again, as the next start does."""
    return lambda: History.open(path, version="0.1.0")
