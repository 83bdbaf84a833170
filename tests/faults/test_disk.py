"""A disk that is full, read-only or damaged: said, nothing acknowledged is lost, and it goes on by itself."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest

from tests.faults.driver import Ground, Life
from ve.errors import UnavailableError

ROOT = os.geteuid() == 0
MIB = 1024 * 1024


def fill(life: Life, chunk: str, limit: int = 4000) -> dict[str, int]:
    """Change a unit until the daemon refuses; what was acknowledged until then, by key."""
    acknowledged: dict[str, int] = {}
    for number in range(1, limit):
        # Long, so that the room is used up soon; a reason is kept in the history.
        try:
            life.client.post(
                f"/work-units/{chunk}/prioritize", {"priority": number}, key=f"{number}-" + "k" * 150
            )
        except UnavailableError:
            return acknowledged
        acknowledged[f"{number}-" + "k" * 150] = number
    raise AssertionError("the room was never used up")


def judged(life: Life, chunk: str, acknowledged: dict[str, int]) -> None:
    """Resumed: the last acknowledged value stands, or that of the one command that was in doubt."""
    rows = life.sql(
        "select idempotency_key, priority from transitions where command = 'Prioritize' order by seq"
    )
    kept = {str(key): value for key, value in rows}
    assert len(kept) == len(rows), "none is there twice"
    assert {key: kept.get(key) for key in acknowledged} == acknowledged
    assert len(kept) - len(acknowledged) <= 2, "at most what was in doubt came to effect, and what followed"
    seqs = [seq for (seq,) in life.sql("select seq from transitions order by seq")]
    assert seqs == list(range(1, len(seqs) + 1))


def resumes(life: Life) -> None:
    """Read the feed until the daemon takes commands again; it tells by a resync."""
    while life.client.get("/status")["outage"]:
        life.read()


def log_size(life: Life) -> int:
    """Of the write-ahead log, which is what grows between two checkpoints."""
    return life.places.history.with_name("history.duckdb.wal").stat().st_size


def waiting_unit(ground: Ground, **options: int) -> Life:
    ground.chunk("a")
    ground.chunk("b")
    life = ground.start(**options)
    assert life.ready, life.error
    life.client.post("/board/pause")
    life.client.post("/work-units", {"chunks": ["a", "b"]})
    life.read()
    return life


def test_a_file_that_may_not_grow_refuses_commands_and_goes_on_when_it_may(ground: Ground) -> None:
    life = waiting_unit(ground)
    pid = life.process.pid
    size = log_size(life)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + 24 * 1024, resource.RLIM_INFINITY))
    acknowledged = fill(life, "a")
    status = life.client.get("/status")
    assert "cannot be written" in status["outage"]
    with pytest.raises(UnavailableError, match="cannot be written"):
        life.client.post("/work-units/b/pause")
    assert life.client.get("/work-units/b")["unit"]["paused"] is False

    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    resumes(life)
    assert life.client.post("/work-units/b/pause")["unit"]["paused"] is True
    judged(life, "a", acknowledged)
    life.client.post("/work-units/b/unpause")
    life.client.post("/board/unpause")
    life.done("a", "b")
    life.stop()
    ground.project.judged_sound()


def test_killed_in_the_middle_of_an_outage_nothing_acknowledged_is_lost(ground: Ground) -> None:
    life = waiting_unit(ground)
    size = log_size(life)
    resource.prlimit(life.process.pid, resource.RLIMIT_FSIZE, (size + 24 * 1024, resource.RLIM_INFINITY))
    acknowledged = fill(life, "a")
    life.kill()
    life = ground.start()
    assert life.ready, life.error
    judged(life, "a", acknowledged)
    assert life.client.get("/status")["outage"] is None
    life.client.post("/board/unpause")
    life.done("a", "b")
    life.stop()


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
def test_a_full_disk_refuses_commands_and_goes_on_when_there_is_room(
    small_disk: Path, ground: Ground
) -> None:
    life = waiting_unit(ground)
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        room = os.statvfs(small_disk)
        file.write(b"\0" * (room.f_bavail * room.f_bsize - 96 * 1024))
    acknowledged = fill(life, "a")
    assert "cannot be written" in life.client.get("/status")["outage"]
    ballast.unlink()
    resumes(life)
    judged(life, "a", acknowledged)
    life.client.post("/board/unpause")
    life.done("a", "b")
    life.stop()
    ground.project.judged_sound()


@pytest.mark.skipif(not ROOT, reason="mounting needs root")
def test_a_read_only_disk_at_the_start_is_said_and_a_writable_one_again_just_works(
    small_disk: Path, ground: Ground
) -> None:
    life = waiting_unit(ground)
    life.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    life = ground.start()
    assert life.end() == 1
    assert life.error is not None
    assert "ve" in life.error["where"] or "Read-only" in life.error["what"]
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    life = ground.start()
    life.client.post("/board/unpause")
    life.done("a", "b")
    life.stop()


@pytest.mark.parametrize("damage", ["no history at all", "torn in the middle"])
def test_a_damaged_history_is_named_and_left_as_it_is(ground: Ground, damage: str) -> None:
    life = waiting_unit(ground)
    life.stop()
    history = life.places.history
    text = history.read_bytes()
    if damage == "no history at all":
        history.write_bytes(b"this is not a database\n" * 200)
    else:
        history.write_bytes(text[:4096] + os.urandom(4096) + text[8192 : len(text) // 2])
    before = history.read_bytes()

    life = ground.start()

    assert life.end() == 1
    assert life.error is not None
    assert "history.duckdb" in life.error["where"]
    assert "ve history repair --to" in life.error["hint"]
    assert history.read_bytes() == before
    assert not list(history.parent.glob("*.corrupt*"))
