"""Starting, adopting, watching and ending runs from the daemon's side."""

# These tests are one task each: a short blocking call delays nobody.
# ruff: noqa: ASYNC220, ASYNC221, ASYNC222, ASYNC240

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.proc.conftest import Bench, alive, until
from ve.errors import RunError
from ve.proc import identity, runfolder, stop, watch
from ve.proc.env import environment
from ve.proc.spare import PROGRAM, Supervisors
from ve.proc.tail import Tail

ROOT = Path(__file__).resolve().parents[2]


async def test_a_folder_goes_from_unclaimed_to_alive_to_ended(bench: Bench) -> None:
    run = bench.shell("read line < fifo", cwd=str(bench.root))
    os.mkfifo(bench.root / "fifo")
    assert watch.state(run) == watch.Unclaimed()

    pid = await bench.start(run)

    assert watch.state(run) == watch.Alive(pid)
    (bench.root / "fifo").write_text("go\n")
    exit = await bench.end(run)
    assert watch.state(run) == watch.Ended(exit)


async def test_of_two_claims_on_one_folder_one_wins(bench: Bench) -> None:
    run = bench.shell("echo once; exec sleep 1000")

    results = await asyncio.gather(*(bench.supervisors.start(run) for _ in range(4)), return_exceptions=True)

    won = [one for one in results if not isinstance(one, BaseException)]
    lost = [one for one in results if isinstance(one, RunError)]
    assert len(won) == 1 and len(lost) == 3
    assert "File exists" in str(lost[0])
    assert watch.state(run) == watch.Alive(won[0].pid)
    assert not list(run.glob("lock.*"))


async def test_the_spare_is_warm_before_the_next_run(bench: Bench) -> None:
    bench.supervisors.warm()
    spare = bench.supervisors._spare
    assert spare is not None

    pid = await bench.start(bench.shell("true"))

    assert pid == spare.pid
    await until(lambda: bench.supervisors._spare is not None and bench.supervisors._spare.pid != pid)


async def test_a_spare_that_was_killed_is_replaced(bench: Bench) -> None:
    bench.supervisors.warm()
    spare = bench.supervisors._spare
    assert spare is not None
    os.kill(spare.pid, signal.SIGKILL)
    await until(lambda: not alive(spare.pid))

    exit = await bench.run(bench.shell("true"))

    assert exit.how == "exited"


async def test_a_spare_ends_when_the_daemon_closes(bench: Bench) -> None:
    bench.supervisors.warm()
    spare = bench.supervisors._spare
    assert spare is not None

    await asyncio.wait_for(bench.supervisors.close(), 10)

    assert not Path(f"/proc/{spare.pid}").exists()  # gone and collected


def test_a_spare_whose_parent_dies_claims_nothing_and_ends() -> None:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    answer, _ = process.communicate(b"/half/a/pa", timeout=10)

    assert (process.returncode, answer) == (0, b"")


def test_a_spare_whose_parent_dies_in_the_middle_of_the_claim_runs_what_it_claimed(bench: Bench) -> None:
    # given: an order, and nobody who reads the answer
    run = bench.shell("echo done")
    ours, theirs = os.pipe()
    os.close(ours)

    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    _, said = process.communicate(f"{run}\n".encode(), timeout=10)

    assert (process.returncode, said) == (0, b"")
    assert isinstance(watch.state(run), watch.Ended)
    assert (run / "output").read_bytes() == b"done\n"


async def test_a_folder_that_is_gone_is_refused_with_the_reason(bench: Bench) -> None:
    with pytest.raises(RunError, match="No such file or directory"):
        await bench.supervisors.start(bench.root / "runs" / "nowhere")


async def test_a_run_outlives_its_daemon_and_is_adopted(bench: Bench) -> None:
    # given: a daemon of its own that starts a run and is killed
    run = bench.shell("echo up; read line < fifo; exit 7", cwd=str(bench.root))
    os.mkfifo(bench.root / "fifo")
    daemon = textwrap.dedent(f"""
        import asyncio, os, signal
        from pathlib import Path
        from ve.proc.spare import Supervisors
        async def main():
            await Supervisors(Path({str(bench.root / "log")!r})).start(Path({str(run)!r}))
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
    """)
    killed = subprocess.run([sys.executable, "-c", daemon], cwd=ROOT, check=False, timeout=20)
    assert killed.returncode == -signal.SIGKILL

    # when: another process, not its parent, looks at the folder
    state = watch.state(run)
    assert isinstance(state, watch.Alive)
    with pytest.raises(ChildProcessError):
        os.waitpid(state.pid, os.WNOHANG)
    ended = asyncio.create_task(bench.end(run))
    await until(lambda: (run / "output").exists() and (run / "output").read_bytes())
    (bench.root / "fifo").write_text("go\n")

    # then
    assert (await ended).code == 7


async def test_a_supervisor_of_ours_leaves_no_zombie(bench: Bench) -> None:
    run = bench.shell("true")
    pid = await bench.start(run)

    await bench.end(run)

    assert not Path(f"/proc/{pid}").exists()


async def test_a_run_is_lost_when_its_pid_now_belongs_to_someone_else(bench: Bench) -> None:
    run = bench.shell("true")
    innocent = subprocess.Popen(["sleep", "1000"])
    try:
        (run / "lock").write_text(f'{{"pid":{innocent.pid},"start_time":1,"boot_id":"{identity.boot_id()}"}}')

        assert watch.state(run) == watch.Lost()
        assert not stop.request_stop(run)
        assert not stop.kill(run)
        assert await watch.wait_exit(run) == watch.Lost()
        assert alive(innocent.pid)
    finally:
        innocent.kill()
        innocent.wait()


async def test_a_run_of_before_the_machines_restart_is_lost(bench: Bench) -> None:
    run = bench.shell("true")
    own = identity.start_time(os.getpid())
    (run / "lock").write_text(f'{{"pid":{os.getpid()},"start_time":{own},"boot_id":"another boot"}}')

    assert watch.state(run) == watch.Lost()


async def test_a_torn_lock_is_a_lost_run_and_nobody_is_signalled(bench: Bench) -> None:
    run = bench.shell("true")
    (run / "lock").write_text('{"pid":')

    assert watch.state(run) == watch.Lost()
    assert not stop.kill(run)


async def test_waiting_for_a_run_that_nobody_claimed_is_an_error(bench: Bench) -> None:
    with pytest.raises(RunError, match="no supervisor has claimed"):
        await watch.wait_exit(bench.shell("true"))


async def test_without_proc_the_lock_itself_tells_whether_the_supervisor_lives(
    bench: Bench,
) -> None:
    run = bench.shell("read line < fifo", cwd=str(bench.root))
    os.mkfifo(bench.root / "fifo")
    await bench.start(run)
    assert identity.held(run / "lock")

    (bench.root / "fifo").write_text("go\n")
    await bench.end(run)

    assert not identity.held(run / "lock")


async def test_nothing_is_left_to_kill_after_a_clean_end_and_it_never_kills_itself(bench: Bench) -> None:
    run = bench.shell("true")
    await bench.run(run)
    program = "import os; from ve.proc.stop import kill_remains; print(kill_remains(os.environ['VE_RUN_ID']))"

    said = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "VE_RUN_ID": run.name}, cwd=ROOT,
        capture_output=True, check=True, timeout=20,
    ).stdout  # fmt: skip

    assert said == b"0\n"


async def test_a_run_id_that_begins_with_anothers_is_another_run(bench: Bench) -> None:
    run = bench.shell("echo up; exec sleep 1000")
    await bench.start(run)
    await until(lambda: (run / "output").exists() and (run / "output").read_bytes())

    assert stop.kill_remains(run.name[:-1]) == 0
    assert isinstance(watch.state(run), watch.Alive)


async def test_fifty_runs_start_at_once(bench: Bench) -> None:
    runs = [bench.shell(f"echo {number}") for number in range(50)]

    await asyncio.gather(*map(bench.supervisors.start, runs))
    exits = await asyncio.gather(*map(bench.end, runs))

    assert {exit.code for exit in exits} == {0}
    assert [(run / "output").read_text() for run in runs] == [f"{number}\n" for number in range(50)]


def test_a_closed_starter_can_be_closed_again(tmp_path: Path) -> None:
    async def twice() -> None:
        supervisors = Supervisors(tmp_path / "log")
        supervisors.warm()
        await supervisors.close()
        await supervisors.close()

    asyncio.run(twice())


# -------------------------------------------------------------------------------------- the folder


def test_a_claimed_folder_is_not_written_again(bench: Bench) -> None:
    run = bench.shell("true")
    spec = runfolder.read_spec(run)
    assert spec is not None
    runfolder.create(run, spec, "again", spec)
    (run / "lock").write_text("{}")

    with pytest.raises(RunError, match="started already"):
        runfolder.create(run, spec, "once more", spec)
    assert (run / "prompt.md").read_text() == "again"


def test_a_torn_last_record_of_the_tools_is_not_there_yet(tmp_path: Path) -> None:
    line = b'{"type":"ask","id":"q1","text":"Which?","options":["a","b"],"at":"2026-01-01T00:00:00Z"}\n'
    (tmp_path / "tools.jsonl").write_bytes(line + line[:30])

    records, offset = runfolder.read_tools(tmp_path)

    assert records == (
        runfolder.Asked(id="q1", text="Which?", options=("a", "b"), at="2026-01-01T00:00:00Z"),
    )
    assert offset == len(line)
    assert runfolder.read_tools(tmp_path, offset) == ((), offset)


def test_a_tail_hands_out_whole_lines_only_and_goes_on_from_its_offset(tmp_path: Path) -> None:
    path = tmp_path / "output"
    tail = Tail(path)
    assert tail.read_new() == []
    path.write_bytes(b"one\ntwo\nthr")

    assert tail.read_new() == [b"one", b"two"]
    assert tail.read_new() == []
    assert tail.offset == 8
    assert tail.rest() == b"thr"
    with path.open("ab") as file:
        file.write(b"ee\n\nfive\n")
    assert tail.read_new() == [b"three", b"", b"five"]
    assert Tail(path, 8).read_new() == [b"three", b"", b"five"]


def test_a_tail_reads_a_line_longer_than_its_limit(tmp_path: Path) -> None:
    (tmp_path / "output").write_bytes(b"x" * 100_000 + b"\n" + b"y" * 5000 + b"\n")
    tail = Tail(tmp_path / "output")

    assert tail.read_new(1000) == [b"x" * 100_000]
    assert tail.read_new(1000) == [b"y" * 5000]


def test_the_environment_of_an_agent_is_an_allow_list() -> None:
    source = {
        "PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "GIT_DIR": "/x", "VE_TOKEN": "t", "OPENAI_API_KEY": "k",
        "SSH_AUTH_SOCK": "/s", "CLAUDECODE": "1", "DBUS_SESSION_BUS_ADDRESS": "d", "PYTHONPATH": "/p",
    }  # fmt: skip

    assert environment({"VE_RUN_ID": "r"}, source=source) == {
        "PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "VE_RUN_ID": "r",
    }  # fmt: skip


def test_no_one_can_point_an_agents_git_elsewhere() -> None:
    with pytest.raises(RunError, match="GIT_DIR must not be set"):
        environment({"GIT_DIR": "/x"}, source={})
