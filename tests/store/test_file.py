"""Opening: a file that does not open is left as it is, and the error says what to do."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.conftest import many
from ve.errors import HistoryError
from ve.store.file import History
from ve.store.query import run_query
from ve.store.writer import Writer


def _digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file()}


def _written(path: Path) -> None:
    history = History.open(path, version="0.1.0")
    history.begin_epoch("e1")
    with Writer(history) as writer:
        writer.write(many(1, 500))
    history.close()


@pytest.mark.parametrize(
    ("start", "length"), [(0, 4096), (0, 64), (4096, 4096)], ids=["headers", "magic", "header1"]
)
def test_a_damaged_file_is_named_and_not_touched(path: Path, start: int, length: int) -> None:
    _written(path)
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xff" * length)
    before = _digests(path.parent)
    with pytest.raises(HistoryError) as raised:
        history = History.open(path, version="0.1.0")
        history.restore()
        history.close()
    assert str(path) in str(raised.value)
    assert "ve history repair --to COPY" in raised.value.hint
    assert _digests(path.parent) == before


def test_a_file_that_is_no_database_is_not_touched(path: Path) -> None:
    path.write_text("my notes, not a history\n" * 1000)
    before = _digests(path.parent)
    with pytest.raises(HistoryError, match="does not open"):
        History.open(path, version="0.1.0")
    assert _digests(path.parent) == before


def test_a_cut_off_file_is_not_touched(path: Path) -> None:
    _written(path)
    os.truncate(path, path.stat().st_size // 2)
    before = _digests(path.parent)
    with pytest.raises(HistoryError):
        History.open(path, version="0.1.0").restore()
    assert _digests(path.parent) == before


def test_a_log_without_its_file_is_not_replayed_into_an_empty_one(path: Path) -> None:
    wal = path.with_name(path.name + ".wal")
    wal.write_bytes(b"someone's only copy")
    with pytest.raises(HistoryError, match="write-ahead log"):
        History.open(path, version="0.1.0")
    assert _digests(path.parent) == {wal.name: hashlib.sha256(b"someone's only copy").hexdigest()}


def test_the_process_that_holds_the_file_is_named(path: Path) -> None:
    _written(path)
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(1, flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout
        holder.stdout.readline()
        for opening in (lambda: History.open(path, version="0.1.0"), lambda: History.open_readonly(path)):
            with pytest.raises(HistoryError, match=f"open in process {holder.pid}"):
                opening()
    finally:
        holder.communicate(b"\n", timeout=10)


def test_reading_only_creates_and_changes_nothing(path: Path) -> None:
    with pytest.raises(HistoryError, match="no history yet"):
        History.open_readonly(path)
    assert not list(path.parent.iterdir())
    _written(path)
    before = _digests(path.parent)
    history = History.open_readonly(path)
    assert history.last_seq() == 500
    assert run_query(history, "select count(*) from work_units").rows == [[10]]
    history.close()
    assert _digests(path.parent) == before


def test_reading_only_shows_what_a_crash_left_in_the_log(path: Path) -> None:
    """The daemon was killed: the last transitions are in the log only, and views show them."""
    code = (
        "import os, sys; from pathlib import Path; from tests.store.conftest import many;"
        "from ve.store.file import History; from ve.store.writer import Writer;"
        "h = History.open(Path(sys.argv[1]), version='0.1.0'); h.begin_epoch('e1');"
        "Writer(h).write(many(1, 700)); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=60)
    assert path.with_name(path.name + ".wal").stat().st_size > 0
    before = _digests(path.parent)
    history = History.open_readonly(path)
    assert run_query(history, "select count(*) from transitions").rows == [[700]]
    assert len(history.restore().units) == 10
    history.close()
    assert _digests(path.parent) == before


def test_an_interrupted_first_start_does_not_block_the_next(path: Path) -> None:
    path.with_name(path.name + ".new").write_bytes(b"half a file")
    history = History.open(path, version="0.1.0")
    assert history.restore().last_seq == 0
    history.close()
    assert [p.name for p in path.parent.iterdir() if not p.name.endswith(".wal")] == [path.name]


def test_an_empty_file_is_not_taken_for_a_new_history(path: Path) -> None:
    """Something cut it off; there may be a backup, which a new history would hide."""
    path.touch()
    with pytest.raises(HistoryError, match="does not open"):
        History.open(path, version="0.1.0")
    assert path.stat().st_size == 0


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="not writable"):
        History.open(tmp_path / "missing" / "history.duckdb", version="0.1.0")
