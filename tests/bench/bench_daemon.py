"""Starting the daemon with histories of different lengths, and what its processes take of memory.

A start runs from the new process to its word that it serves, as `ve orch start` waits for it. Memory is
read from /proc/PID/smaps_rollup: PSS divides what several processes share (Python, the libraries).
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from figures import Figure
from ground import children, chunk, cpu_seconds, end, memory, progress, repository, running_daemon
from histories import lengthen, with_live_units

from ve import daemon
from ve.client import Client
from ve.paths import Places
from ve.proc import runfolder

HISTORIES = (0, 10_000, 1_000_000)
LIVE = 100
STARTS = 7
CROWD = 5_000
RUNS = 3


def _start(places: Places) -> float:
    begin = time.perf_counter()
    found = daemon.start_daemon(places)
    took = time.perf_counter() - begin
    end(int(found["pid"]))
    return took


def _starts(folder: Path) -> Iterator[Figure]:
    """In turn, so that a busy moment of the machine meets all of them."""
    made: dict[int, Places] = {}
    for length in HISTORIES:
        progress(f"daemon: a history of {length:,} transitions and {LIVE} live units")
        places = made[length] = repository(folder / f"with-{length}", {"README.md": "A repository.\n"})
        with_live_units(places, LIVE)
        if length:
            lengthen(places, length)
        _start(places)  # the first one after a move of this machine's page cache says little
    progress("daemon: starts")
    seconds: dict[int, list[float]] = {length: [] for length in HISTORIES}
    for _ in range(STARTS):
        for length, places in made.items():
            seconds[length].append(_start(places))
    least = statistics.median(seconds[HISTORIES[0]])
    for length, taken in seconds.items():
        mine = statistics.median(taken)
        peer, ratio = (None, None) if length == HISTORIES[0] else (least * 1000, mine / least)
        reached = mine <= 1 and (ratio or 1) <= 1.5
        name = f"daemon start, {length:,} transitions, {LIVE} live units"
        yield Figure(name, mine * 1000, "ms", peer, ratio, "≤ 1000 ms, ≤ 1.5 of the first", reached)


def _idle(places: Places) -> dict[str, float]:
    """Memory of a daemon that has just started and has answered one question."""
    with running_daemon(places) as found:
        Client(places).get("/work-units")
        return memory(int(found["pid"]))


def _daemons(folder: Path) -> Iterator[Figure]:
    progress("daemon: memory, idle and with many units")
    places = repository(folder / "idle", {"README.md": "A repository.\n"})
    idle = _idle(places)
    yield Figure("idle daemon, resident", idle["rss"], "MiB")
    yield Figure("  its share of what is shared counted (PSS)", idle["pss"], "MiB")
    with_live_units(places, CROWD)
    # Asked for over the socket, every unit becomes a view and a page of JSON: that counts, too.
    crowded = _idle(places)
    yield Figure("per 1,000 live units", (crowded["own"] - idle["own"]) / (CROWD / 1000), "MiB")


def _processes(folder: Path) -> Iterator[Figure]:
    """Runs that wait in their first step: each has its supervisor, agent and tool process then."""
    progress("daemon: memory of runs")
    names = [f"chunk_{number}" for number in range(RUNS)]
    gate = folder / "gate"
    os.mkfifo(gate)
    files = {"README.md": "A repository.\n", "ve.toml": f"slots = {RUNS}\n"}
    for name in names:
        files |= chunk(name, f'[[IMPLEMENT]]\nrun = "echo here > {folder}/{name}.here; cat {gate}"\n')
        os.mkfifo(folder / f"{name}.here")
    places = repository(folder / "running", files)
    supervisors, tools = [], []
    with ExitStack() as stack:
        served_by = int(stack.enter_context(running_daemon(places))["pid"])
        client = Client(places)
        client.get("/work-units")
        before = cpu_seconds(served_by)
        client.post("/work-units", {"chunks": names})
        for name in names:
            (folder / f"{name}.here").read_text()  # returns when the run's step writes it
        spent = {"the daemon, with the worktree": [(cpu_seconds(served_by) - before) / RUNS]}
        for run in sorted(places.runs_dir.iterdir()):
            lock, agent = runfolder.read_lock(run), runfolder.read_agent(run)
            assert lock is not None and agent is not None
            supervisors.append(memory(lock.pid))
            servers = [pid for pid in children(agent.pid) if _is_tool(pid)]
            tools += [memory(pid) for pid in servers]
            spent.setdefault("its supervisor", []).append(cpu_seconds(lock.pid))
            spent.setdefault("its tool process", []).extend(cpu_seconds(pid) for pid in servers)
        client.post("/stop", {"mode": "kill"})
    for name, found in (("a run's supervisor", supervisors), ("a run's tool process", tools)):
        if len(found) != RUNS:
            raise RuntimeError(f"{name}: found {len(found)} instead of {RUNS}")
        for kind, words in (("rss", "resident"), ("pss", "PSS"), ("own", "its alone")):
            label = f"{name}, {words}" if kind == "rss" else f"  {words}"
            yield Figure(label, statistics.median(each[kind] for each in found), "MiB")
    for name, seconds in spent.items():
        yield Figure(f"processor time that a run costs {name}", statistics.median(seconds) * 1000, "ms")


def _is_tool(pid: int) -> bool:
    return b"ve.runtool" in Path(f"/proc/{pid}/cmdline").read_bytes()


def measure() -> Iterator[Figure]:
    """Starts, then memory."""
    with TemporaryDirectory() as folder:
        yield from _starts(Path(folder))
    with TemporaryDirectory() as folder:
        yield from _daemons(Path(folder))
    with TemporaryDirectory() as folder:
        yield from _processes(Path(folder))
