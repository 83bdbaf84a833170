"""The supervisor: what a run may rely on, whatever its agent does."""

# These tests are one task each: a short blocking call delays nobody.

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from tests.proc.conftest import Bench, alive, until
from ve.proc import runfolder, stop, watch
from ve.proc.runfolder import Limits, NudgeTo
from ve.proc.spare import PROGRAM


async def test_a_run_leaves_its_output_and_how_it_ended(bench: Bench) -> None:
    run = bench.shell("echo out; echo err >&2; exit 3")

    exit = await bench.run(run)

    assert (exit.how, exit.code, exit.signal) == ("exited", 3, None)
    assert (run / "output").read_bytes() == b"out\n"
    assert (run / "stderr").read_bytes() == b"err\n"
    assert exit.started_at < exit.ended_at
    assert exit.max_rss_kb > 0


async def test_the_files_of_a_run_are_the_operators_alone(bench: Bench) -> None:
    run = bench.shell("echo hi")

    await bench.run(run)

    assert run.stat().st_mode & 0o777 == 0o700
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in run.iterdir()} == dict.fromkeys(
        ["job.json", "prompt.md", "spec.json", "lock", "agent.json", "output", "stderr", "exit.json"], "0o600"
    )


async def test_an_agent_killed_by_a_signal_is_recorded_with_that_signal(bench: Bench) -> None:
    exit = await bench.run(bench.shell("kill -SEGV $$"))

    assert (exit.how, exit.code, exit.signal) == ("signalled", None, signal.SIGSEGV)


async def test_an_agent_sees_its_spec_and_nothing_of_the_daemon(bench: Bench) -> None:
    os.environ["SECRET_TOKEN"] = "leak"
    os.environ["GIT_DIR"] = "/elsewhere"
    try:
        run = bench.shell("pwd; env; cat; ls /proc/self/fd | wc -l", cwd=str(bench.root))
    finally:
        del os.environ["SECRET_TOKEN"], os.environ["GIT_DIR"]

    await bench.run(run)

    said = (run / "output").read_text()
    assert said.startswith(f"{bench.root}\n")
    assert f"VE_RUN_ID={run.name}" in said
    assert "SECRET_TOKEN" not in said and "GIT_DIR" not in said
    assert said.splitlines()[-1].strip() == "4"  # stdin, stdout, stderr and the folder that ls reads


async def test_the_agents_pid_is_on_disk_before_its_program_starts(bench: Bench) -> None:
    run = bench.shell('cat "$VE_RUN_DIR/agent.json"; echo; echo $$')

    await bench.run(run)

    agent, pid = (run / "output").read_text().split("\n")[0], (run / "output").read_text().split()[-1]
    assert f'"pid": {pid},' in agent


async def test_a_program_that_does_not_exist_is_a_failed_start_that_names_it(bench: Bench) -> None:
    exit = await bench.run(bench.folder("no-such-agent"))

    assert (exit.how, exit.code) == ("start_failed", None)
    assert exit.message == "cannot start no-such-agent: No such file or directory"


async def test_a_worktree_that_does_not_exist_is_a_failed_start_that_names_it(bench: Bench) -> None:
    exit = await bench.run(bench.shell("true", cwd="/no/such/place"))

    assert exit.message == "cannot enter /no/such/place: No such file or directory"


async def test_a_broken_spec_is_a_failed_start(bench: Bench) -> None:
    run = bench.shell("true")
    (run / "spec.json").write_text('{"run":')

    exit = await bench.run(run)

    assert exit.how == "start_failed"
    assert "spec.json" in exit.message


async def test_kill_minus_9_of_the_supervisor_takes_the_agent_with_it(bench: Bench) -> None:
    run = bench.shell("echo up; exec sleep 1000")
    await bench.start(run)
    await until(lambda: (run / "output").exists() and (run / "output").read_bytes())
    agent = runfolder.read_agent(run)
    assert agent is not None and alive(agent.pid)

    assert stop.kill(run)

    assert isinstance(await watch.wait_exit(run), watch.Lost)
    await until(lambda: not alive(agent.pid))


async def test_what_a_killed_supervisor_left_is_found_by_the_runs_id(bench: Bench) -> None:
    run = bench.shell("setsid sleep 1000 & echo $!; setsid sh -c 'sleep 1000; true' & echo $!; wait")
    other = bench.shell("echo up; exec sleep 1000")
    await bench.start(run)
    await bench.start(other)
    await until(lambda: (run / "output").exists() and (run / "output").read_bytes().count(b"\n") == 2)
    await until(lambda: (other / "output").exists() and (other / "output").read_bytes())
    children = [int(word) for word in (run / "output").read_text().split()]
    stop.kill(run)
    await watch.wait_exit(run)
    assert any(alive(pid) for pid in children)

    killed = await asyncio.to_thread(stop.kill_remains, run.name)

    assert killed >= 2
    await until(lambda: not any(alive(pid) for pid in children))
    assert isinstance(watch.state(other), watch.Alive)


async def test_children_in_sessions_of_their_own_are_gone_when_a_run_has_ended(bench: Bench) -> None:
    # given: an agent that leaves a shell child in its own session, and a double-forked daemon
    run = bench.python(
        "import os, time, sys\n"
        "r, w = os.pipe()\n"
        "for double in (False, True):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if double and os.fork(): os._exit(0)\n"
        "        os.write(w, b'%d\\n' % os.getpid())\n"
        "        time.sleep(1000)\n"
        "got = b''\n"
        "while got.count(b'\\n') < 2: got += os.read(r, 100)\n"
        "sys.stdout.write(got.decode())\n"
    )

    exit = await bench.run(run)

    pids = [int(word) for word in (run / "output").read_text().split()]
    assert len(pids) == 2 and not any(alive(pid) for pid in pids)
    assert exit.how == "exited" and exit.leftover_killed == 2


async def test_a_wall_limit_ends_a_busy_agent(bench: Bench) -> None:
    run = bench.shell("while :; do echo x; sleep 0.05; done", limits=Limits(wall_s=0.5, grace_s=5))

    exit = await bench.run(run)

    assert (exit.how, exit.signal) == ("wall_limit", signal.SIGTERM)
    assert exit.message == "it ran longer than the limit of 0.5 s"


async def test_an_idle_limit_ends_a_silent_agent(bench: Bench) -> None:
    exit = await bench.run(bench.shell("echo hi; sleep 1000", limits=Limits(idle_s=0.3, grace_s=5)))

    assert exit.how == "idle_limit"
    assert exit.message == "no output for 0.3 s"


async def test_output_keeps_an_agent_from_being_idle(bench: Bench) -> None:
    run = bench.shell("for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.15; done", limits=Limits(idle_s=0.8))

    assert (await bench.run(run)).how == "exited"


async def test_a_stop_lets_the_agent_finish_within_the_grace(bench: Bench) -> None:
    run = bench.shell(
        "trap 'echo saving; exit 0' TERM; echo up; while :; do sleep 0.05; done", limits=Limits(grace_s=20)
    )
    await bench.start(run)
    await until(lambda: (run / "output").exists() and (run / "output").read_bytes())

    assert stop.request_stop(run)

    exit = await bench.end(run)
    assert (exit.how, exit.code) == ("stopped", 0)
    assert (run / "output").read_text() == "up\nsaving\n"


async def test_a_stop_kills_an_agent_that_ignores_it(bench: Bench) -> None:
    run = bench.shell("trap '' TERM; echo up; while :; do sleep 0.05; done", limits=Limits(grace_s=0.2))
    await bench.start(run)
    await until(lambda: (run / "output").exists() and (run / "output").read_bytes())

    stop.request_stop(run)

    exit = await bench.end(run)
    assert (exit.how, exit.signal) == ("stopped", signal.SIGKILL)


async def test_output_past_the_cap_is_dropped_but_for_its_end(bench: Bench) -> None:
    run = bench.python(
        "for i in range(200000): print('line', i)\nprint('the terminal event')",
        limits=Limits(output_bytes=1000),
    )

    exit = await bench.run(run)

    output = (run / "output").read_bytes()
    assert exit.code == 0
    assert len(output) < 1000 + 600 * 1024
    assert output.startswith(b"line 0\n")
    assert b"[ve: output limit of 1000 bytes reached" in output
    assert output.endswith(b"line 199999\nthe terminal event\n")


async def test_a_full_pipe_never_blocks_the_agent(bench: Bench) -> None:
    run = bench.python(
        "import sys\nfor i in range(400):\n  sys.stderr.write('e' * 20000)\n  sys.stdout.write('o' * 20000)\n"
    )

    exit = await bench.run(run)

    assert exit.code == 0
    assert (run / "output").stat().st_size == 400 * 20000 + 1  # its last line was finished for it
    assert (run / "stderr").stat().st_size == 400 * 20000 + 1


async def test_output_that_cannot_be_written_does_not_end_the_run(bench: Bench) -> None:
    # given: a supervisor that may write files of 64 KiB only
    run = bench.python("for i in range(100000): print('line', i)")

    process = await _start(run, f"ulimit -f 64; exec {sys.executable} -I -S {PROGRAM}")

    exit = await bench.end(run)
    await process.wait()
    assert exit.how == "exited" and exit.code == 0
    assert (run / "output").stat().st_size <= 64 * 1024


async def test_an_exit_record_waits_for_a_full_disk(bench: Bench) -> None:
    # given: a supervisor that may not write a byte into any file, once its agent runs
    run = bench.shell("echo up; read line < fifo", cwd=str(bench.root))
    os.mkfifo(bench.root / "fifo")
    process = await _start(run, f"exec {sys.executable} -I -S {PROGRAM}")
    await until(lambda: (run / "output").exists() and (run / "output").read_bytes())
    _limit_files(process.pid, 0)
    (bench.root / "fifo").write_text("go\n")
    assert process.stderr is not None
    assert b"File too large; tried again" in await process.stderr.readline()
    assert isinstance(watch.state(run), watch.Alive)

    _limit_files(process.pid, 2**40)

    assert (await bench.end(run)).how == "exited"
    await process.wait()


async def test_the_daemon_is_nudged_at_the_start_for_output_and_at_the_end(bench: Bench) -> None:
    # given: a daemon that notes the requests and answers
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    path = str(bench.root / "s")
    server = await asyncio.start_unix_server(answer, path)
    run = bench.shell("echo one; read line < fifo", nudge=NudgeTo(path, "t0k3n"))
    os.mkfifo(bench.root / "fifo")

    await bench.start(run)
    await until(lambda: len(asked) >= 1)
    before = len(asked)
    (bench.root / "fifo").write_text("go\n")
    await bench.end(run)
    await until(lambda: len(asked) > before)
    server.close()

    assert asked[0].startswith(f"POST /runs/{run.name}/nudge HTTP/1.1\r\n".encode())
    assert b"\r\nAuthorization: Bearer t0k3n\r\n" in asked[0]


async def test_much_output_is_a_few_nudges(bench: Bench) -> None:
    asked: list[float] = []
    loop = asyncio.get_running_loop()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.append(loop.time())
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    path = str(bench.root / "s")
    server = await asyncio.start_unix_server(answer, path)
    run = bench.python(
        "import time\nend = time.monotonic() + 1\nwhile time.monotonic() < end:\n"
        "  print('x', flush=True)\n  time.sleep(0.002)",
        nudge=NudgeTo(path, "t"),
    )

    await bench.run(run)
    server.close()

    assert 4 <= len(asked) <= 14


async def test_a_daemon_that_hangs_does_not_delay_the_run(bench: Bench) -> None:
    over = asyncio.Event()
    hung: list[asyncio.StreamWriter] = []

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hung.append(writer)
        await over.wait()
        writer.close()
        await writer.wait_closed()
        hung.remove(writer)

    path = str(bench.root / "s")
    server = await asyncio.start_unix_server(hang, path)
    run = bench.python("for i in range(20000): print('x' * 100)", nudge=NudgeTo(path, "t"))

    exit = await asyncio.wait_for(bench.run(run), 10)
    assert hung
    over.set()
    await until(lambda: not hung)
    server.close()

    assert exit.code == 0
    assert (run / "output").stat().st_size == 20000 * 101


LATE = f"""
import select, sys
sys.path.insert(0, {str(PROGRAM.parent.parent)!r})
from ve import supervise
drain = supervise.Run._drain

def after_the_answer(run):
    if run.nudge.sock is not None:
        select.select([run.nudge.sock], [], [], 5)
    drain(run)

supervise.Run._drain = after_the_answer
supervise.main()
"""


async def test_a_daemon_that_answers_when_the_agent_has_just_ended_costs_no_run(bench: Bench) -> None:
    # given: a daemon that answers a nudge once the agent is gone, and a supervisor that is as slow
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        agent = runfolder.read_agent(run)
        await until(lambda: agent is None or not alive(agent.pid))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    path = str(bench.root / "s")
    server = await asyncio.start_unix_server(answer, path)
    run = bench.shell("echo one", nudge=NudgeTo(path, "t"))

    # when
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-c",
        LATE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    said = (await process.communicate(f"{run}\n".encode()))[1]
    server.close()

    # then
    assert (process.returncode, said) == (0, b"")
    exit = runfolder.read_exit(run)
    assert exit is not None and exit.how == "exited"
    assert (run / "output").read_bytes() == b"one\n"


async def test_a_run_whose_folder_was_removed_ends_and_says_so(bench: Bench) -> None:
    run = bench.shell("echo up; read line < fifo", cwd=str(bench.root))
    os.mkfifo(bench.root / "fifo")
    pid = await bench.start(run)
    await until(lambda: (run / "output").exists() and (run / "output").read_bytes())
    waiting = asyncio.create_task(watch.wait_pid(pid))
    run.rename(run.with_name("moved"))

    (bench.root / "fifo").write_text("go\n")

    await asyncio.wait_for(waiting, 10)
    assert "is gone" in (bench.root / "supervisors.log").read_text()


def test_the_supervisor_loads_little() -> None:
    """Fifty of them run at once: no asyncio, subprocess, msgspec or site."""
    root = Path(PROGRAM).parent.parent
    program = f"import sys; sys.path.append({str(root)!r}); import ve.supervise; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not {"asyncio", "subprocess", "msgspec", "pathlib", "logging", "site", "ve.errors"} & set(loaded)


def _limit_files(pid: int, size: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def _start(run: Path, shell: str) -> asyncio.subprocess.Process:
    """A supervisor started by hand, as the spare is."""
    process = await asyncio.create_subprocess_exec(
        "/bin/bash", "-c", shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{run}\n".encode())
    assert (await process.stdout.readline()).startswith(b"claimed")
    return process
