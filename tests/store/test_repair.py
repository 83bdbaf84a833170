"""Repair: what can be read goes into a new file; the damaged one stays as it is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tests.store.conftest import many
from ve.errors import HistoryError, UsageError
from ve.store.file import History
from ve.store.query import run_query
from ve.store.repair import repair
from ve.store.writer import Writer


def _digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file()}


def _written(path: Path, *, checkpoint: bool) -> None:
    history = History.open(path, version="0.1.0")
    history.begin_epoch("e1")
    writer = Writer(history)
    writer.write(many(1, 3_000))
    if checkpoint:
        writer.checkpoint()
    writer.write(many(3_001, 3_050))
    history.close()


@pytest.mark.parametrize("checkpoint", [True, False], ids=["in the file", "in the log"])
def test_a_sound_history_is_copied_whole(path: Path, tmp_path: Path, checkpoint: bool) -> None:
    _written(path, checkpoint=checkpoint)
    before = _digests(path.parent)
    to = tmp_path / "copy.duckdb"
    result = repair(path, to)
    assert (result.missing, result.notes) == (0, [])
    assert {p: d for p, d in _digests(path.parent).items() if p in before} == before
    copy = History.open(to, version="0.1.0")
    assert run_query(copy, "select count(*), max(seq) from transitions").rows == [[3_050, 3_050]]
    assert len(copy.restore().units) == 10
    assert copy.epoch_end("e1") == 3_050
    with Writer(copy) as writer:
        writer.write(many(3_051, 3_060))
    copy.close()


def test_a_broken_log_is_left_out_and_said_so(path: Path, tmp_path: Path) -> None:
    _written(path, checkpoint=True)
    wal = path.with_name(path.name + ".wal")
    log = bytearray(wal.read_bytes())
    log[len(log) // 2] ^= 0xFF
    wal.write_bytes(log)
    with pytest.raises(HistoryError, match="does not open"):
        History.open(path, version="0.1.0")
    before = _digests(path.parent)
    result = repair(path, tmp_path / "copy.duckdb")
    assert any("write-ahead log" in note for note in result.notes)
    assert {p: d for p, d in _digests(path.parent).items() if p in before} == before
    copy = History.open(result.path, version="0.1.0")
    assert copy.restore().last_seq == 3_000
    with Writer(copy) as writer:
        writer.write(many(3_001, 3_010))
    assert run_query(copy, "select count(*) from units where seq > 3000").rows == [[10]]
    copy.close()


def test_damage_in_the_middle_costs_only_what_it_hit(path: Path, tmp_path: Path) -> None:
    """Every block after the headers is hit in turn; whatever can be read comes out, and it can be used."""
    _written(path, checkpoint=True)
    whole = path.read_bytes()
    usable = 0
    for start in range(3 * 4096, len(whole), 262_144):
        path.write_bytes(whole[: start + 1000] + b"\xff" * 3000 + whole[start + 4000 :])
        to = tmp_path / f"copy-{start}.duckdb"
        try:
            result = repair(path, to)
        except HistoryError as error:
            assert "nothing of it can be read" in str(error)
            assert not to.exists()
            continue
        copy = History.open(to, version="0.1.0")
        rows = run_query(copy, "select count(*) from transitions").rows[0][0]
        last = copy.restore().last_seq
        assert rows == 3_050 or result.notes, "what is missing is said"
        with Writer(copy) as writer:
            writer.write(many(last + 1, last + 10))
        copy.close()
        usable += 1
    assert usable > 0


def test_a_file_that_is_no_database_gives_nothing(path: Path, tmp_path: Path) -> None:
    path.write_bytes(os.urandom(100_000))
    with pytest.raises(HistoryError, match="nothing of it can be read"):
        repair(path, tmp_path / "copy.duckdb")
    assert not (tmp_path / "copy.duckdb").exists()


def test_an_existing_file_is_never_overwritten(path: Path, tmp_path: Path) -> None:
    _written(path, checkpoint=True)
    (tmp_path / "copy.duckdb").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        repair(path, tmp_path / "copy.duckdb")
    assert (tmp_path / "copy.duckdb").read_text() == "mine"
