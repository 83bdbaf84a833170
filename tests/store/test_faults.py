"""What goes wrong outside: killed at any moment, no room, no permission. What was acknowledged stays."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.conftest import many
from ve.errors import HistoryError
from ve.store.file import History
from ve.store.query import run_query
from ve.store.writer import Writer

# Writes batches of mixed size and prints the last seq of each once `write` has returned.
_LOOP = """
import sys
from pathlib import Path
from tests.store.conftest import many
from ve.store import writer as module
from ve.store.file import History
module._FOLD_AT, module._LOG_LIMIT = 300, 200_000
history = History.open(Path(sys.argv[1]), version="0.1.0")
seq = history.restore().last_seq
history.begin_epoch(sys.argv[2])
writer = module.Writer(history)
print(seq, flush=True)
for number in range(10**6):
    size = (1, 3, 40, 150)[number % 4]
    writer.write(many(seq + 1, seq + size))
    seq += size
    print(seq, flush=True)
    if number % 7 == 0:
        writer.fold_some()
"""


def test_killed_at_any_moment_nothing_acknowledged_is_lost_and_nothing_is_there_twice(path: Path) -> None:
    """kill -9 while batches, folds and checkpoints are under way, twenty times on one file."""
    chance = random.Random(7)
    for number in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", _LOOP, str(path), f"k{number}"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        acknowledged = 0
        for _ in range(chance.randrange(1, 25)):
            acknowledged = int(process.stdout.readline())
        process.kill()
        acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
        process.wait(10)
        process.stdout.close()

        history = History.open(path, version="0.1.0")
        rows = run_query(
            history, "select count(*), count(distinct seq), min(seq), max(seq) from transitions"
        ).rows
        states = run_query(
            history,
            "select count(*) from units u"
            " join (select unit_id, max(seq) as seq from transitions group by 1) t"
            " on t.unit_id = u.id where t.seq = u.seq",
        ).rows
        last = history.restore().last_seq
        history.close()
        assert last >= acknowledged
        if last:
            assert rows == [[last, last, 1, last]]
            assert states == [[min(10, last)]], "each unit's state is that of its last transition"


_NO_ROOM = """
import resource, sys
from pathlib import Path
from tests.store.conftest import many
from ve.errors import HistoryError
from ve.store.file import History
from ve.store.writer import Writer
path = Path(sys.argv[1])
history = History.open(path, version="0.1.0")
writer = Writer(history)
writer.write(many(1, 50))
wal = path.with_name(path.name + ".wal").stat().st_size
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (wal + 30_000, hard))
big = many(51, 250)
for attempt in range(3):
    try:
        writer.write(big)
        print("written")
    except HistoryError as error:
        print("failed")
try:
    writer.write(many(251, 251))
    print("written")
except HistoryError as error:
    print("hole" if "begins at seq 251" in str(error) else "failed")
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
writer.write(big)
writer.write(big)
writer.write(many(251, 251))
print(history.last_seq())
writer.close()
history.close()
"""


def test_without_room_a_batch_fails_whole_and_is_written_once_there_is_room(path: Path) -> None:
    """A smaller batch after the failed one would fit, and would leave a hole: it is refused."""
    said = subprocess.run(
        [sys.executable, "-c", _NO_ROOM, str(path)], check=True, capture_output=True, text=True, timeout=60
    ).stdout.split()
    assert said[:3] == ["failed"] * 3
    assert said[3] in {"hole", "failed"}
    assert said[4] == "251"
    history = History.open(path, version="0.1.0")
    assert run_query(history, "select count(*), count(distinct seq) from transitions").rows == [[251, 251]]
    history.close()


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, timeout=10)
    if done.returncode:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with room for 6 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)


def test_a_full_disk_stops_writing_and_room_resumes_it(small_disk: Path) -> None:
    history = History.open(small_disk / "history.duckdb", version="0.1.0")
    writer = Writer(history)
    ballast = small_disk / "ballast"
    seq = 0
    ballast.write_bytes(b"x" * (os.statvfs(small_disk).f_bavail * 4096 - 1_500_000))
    with pytest.raises(HistoryError, match="cannot be written"):
        while True:
            writer.write(many(seq + 1, seq + 200))
            seq += 200
    assert seq > 0
    for _ in range(3):
        with pytest.raises(HistoryError, match="cannot be written"):
            writer.write(many(seq + 1, seq + 2000))
    with pytest.raises(HistoryError):
        writer.checkpoint()
    assert run_query(history, "select count(*), max(seq) from transitions").rows == [[seq, seq]]

    ballast.unlink()
    writer.write(many(seq + 1, seq + 200))
    writer.write(many(seq + 201, seq + 201))
    writer.close()
    history.close()
    again = History.open(small_disk / "history.duckdb", version="0.1.0")
    assert run_query(again, "select count(*), count(distinct seq), max(seq) from transitions").rows == [
        [seq + 201] * 3
    ]
    again.close()


def test_a_read_only_file_system_is_named_and_can_still_be_read(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    folder = tmp_path / "state"
    folder.mkdir()
    history = History.open(folder / "history.duckdb", version="0.1.0")
    with Writer(history) as writer:
        writer.write(many(1, 20))
    history.close()
    _mount("--bind", str(folder), str(folder))
    try:
        _mount("-o", "remount,ro,bind", str(folder))
        with pytest.raises(HistoryError, match="not writable"):
            History.open(folder / "history.duckdb", version="0.1.0")
        reading = History.open_readonly(folder / "history.duckdb")
        assert reading.last_seq() == 20
        reading.close()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)
