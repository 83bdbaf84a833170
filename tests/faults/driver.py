"""A real daemon on a small repository, killed and started again, watched over its feed and judged afterwards.

The judge asks the history, git, the agents' own side effects and the process table: what was acknowledged
is there, once; what the board shows is what the log says; nothing ran twice; nothing is left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, unix_connect

from tests.e2e.given import Project, carriers
from ve import paths
from ve.client import Client
from ve.proc import stop

WAIT_S = 40.0
LOUD = bool(os.environ.get("SOAK"))


class Died(Exception):
    """The daemon is gone."""


class Life:
    """One process of the daemon, from its start to its end."""

    def __init__(self, root: Path, fault: str | None = None, *, max_file: int | None = None) -> None:
        self.places = paths.find(root)
        self.client = Client(self.places)
        ours, theirs = os.pipe()
        environ = dict(os.environ)
        if fault:
            environ["VE_FAULT"] = fault
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ve.daemon", "--repo", str(root), "--ready-fd", str(theirs)],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(theirs,),
            start_new_session=True,
            preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (max_file, max_file)))
            if max_file
            else None,
        )
        os.close(theirs)
        with os.fdopen(ours, "rb") as ready:
            line = ready.readline()
        said = json.loads(line) if line else {}
        self.error: dict[str, str] | None = said.get("error")
        self.ready = "ready" in said
        self.feed: ClientConnection | None = None
        self._sockets = contextlib.ExitStack()
        self.units: dict[str, dict[str, Any]] = {}
        self.seen: list[dict[str, Any]] = []

    def end(self) -> int:
        """Wait until the process is gone; its exit status, negative for a signal."""
        status = self.process.wait(WAIT_S)
        self.close()
        return status

    def close(self) -> None:
        self._sockets.close()
        self.feed = None
        if self.process.stderr is not None:
            self.process.stderr.close()

    def kill(self) -> None:
        """As `kill -9` would."""
        self.process.send_signal(signal.SIGKILL)
        self.end()

    def stop(self) -> None:
        """As `ve orch stop --kill` would."""
        if self.process.poll() is None:
            self.client.post("/stop", {"mode": "kill"})
            assert self.end() == 0
        else:
            self.close()

    def watch(self) -> None:
        """Open the feed. Raises Died."""
        try:
            self.feed = self._sockets.enter_context(
                unix_connect(
                    str(self.places.socket),
                    "ws://localhost/feed",
                    additional_headers={"Authorization": f"Bearer {self.client.token()}"},
                    open_timeout=WAIT_S,
                )
            )
        except (OSError, EOFError, ConnectionClosed) as error:
            raise Died from error
        except Exception as error:  # the handshake broke off: the library says so in many ways
            if self.process.wait(WAIT_S) is not None:
                raise Died from error
            raise

    def read(self, timeout: float = WAIT_S) -> list[dict[str, Any]]:
        """The next message of the feed, applied to `units`. Raises Died."""
        if self.feed is None:
            self.watch()
        assert self.feed is not None
        try:
            frames: list[dict[str, Any]] = json.loads(self.feed.recv(timeout))
        except TimeoutError:
            raise
        except (ConnectionClosed, OSError, EOFError) as error:
            raise Died from error
        for frame in frames:
            if frame["type"] == "snapshot":
                self.units = {unit["id"]: unit for unit in frame["units"]}
            elif frame["type"] == "transition":
                self.seen.append(frame)
                if frame["unit"]:
                    self.units[frame["unit"]["id"]] = frame["unit"]
        return frames

    def until(self, predicate: Callable[[], bool]) -> None:
        """Read the feed until the predicate is true of `units`. Raises Died."""
        deadline = time.monotonic() + WAIT_S
        while not predicate():
            try:
                self.read(max(deadline - time.monotonic(), 0.1))
            except TimeoutError:
                shown = {
                    u["chunk"]: (u["status"], u["stage"], u["attention_reason"]) for u in self.units.values()
                }
                raise AssertionError(f"not reached: {shown}\n{self.places.log.read_text()[-3000:]}") from None

    def done(self, *chunks: str) -> None:
        """Answer whatever is asked until all of these are merged and cleaned up. Raises Died."""
        if self.feed is None:
            self.read()
        self.until(lambda: self._all_done(chunks))

    def _all_done(self, chunks: tuple[str, ...]) -> bool:
        wanted = [u for u in self.units.values() if u["chunk"] in chunks]
        for unit in wanted:
            if unit["attention_kind"] == "question" and not unit.get("told"):
                unit["told"] = True
                self.post(f"/work-units/{unit['chunk']}/answer", {"text": "this"})
            elif unit["status"] == "NEEDS_ATTENTION" and unit["attention_kind"] != "question":
                raise AssertionError(f"{unit['chunk']}: {unit['attention_kind']}: {unit['attention_reason']}")
        # One that ended in an earlier life is not on the board any more; the history has it.
        return self.feed is not None and all(u["status"] == "DONE" and u["worktree"] is None for u in wanted)

    def post(self, path: str, body: dict[str, Any], key: str | None = None) -> dict[str, Any] | None:
        """Ask for a change; None if it was refused. Raises Died where the answer never came."""
        from ve.errors import NoDaemon, RefusedError, UnavailableError

        try:
            answer: dict[str, Any] = self.client.post(path, body, key=key)
            return answer
        except RefusedError:
            return None
        except (NoDaemon, UnavailableError) as error:
            if self.process.poll() is None and "uncertain" not in str(error) and "broke" not in str(error):
                raise
            raise Died from error

    def sql(self, text: str) -> list[list[Any]]:
        rows: list[list[Any]] = self.client.post("/history/query", {"sql": text})["rows"]
        return rows


class Ground:
    """A repository whose agents leave a trace of everything that they do, outside of it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.project = Project(folder / "repo")
        self.root = self.project.root
        self.trace = folder / "trace"
        self.trace.write_text("")
        self.kills = 0
        self.lives: list[Life] = []

    def chunk(self, name: str, *, asks: bool = False, **options: Any) -> str:
        steps = ""
        for phase in ("IMPLEMENT", "REVIEW", "COMPLETE"):
            steps += f'[[{phase}]]\nrun = "echo {name} {phase} >> {self.trace}"\n'
        if asks:
            steps = steps.replace(
                "[[REVIEW]]",
                f'[[IMPLEMENT]]\nask = "Which, {name}?"\n[[IMPLEMENT]]\nrun = "true"\n[[REVIEW]]',
                1,
            )
        steps += f'[[IMPLEMENT]]\nappend = "work/{name}.txt"\ntext = "{name}\\n"\n'
        steps += '[[REVIEW]]\ndecide = "approve"\n'
        return self.project.chunk(name, steps, **options)

    def start(self, fault: str | None = None, **options: Any) -> Life:
        return self.life(self.root, fault, **options)

    def life(self, root: Path, fault: str | None = None, **options: Any) -> Life:
        """A daemon that is ended at the end of the test, however that ends."""
        life = Life(root, fault, **options)
        self.lives.append(life)
        return life

    def end(self) -> None:
        """Kill what a failed test left: daemons, then the runs that outlive them."""
        for life in self.lives:
            if life.process.poll() is None:
                life.kill()
            life.close()
        for runs in {life.places.runs_dir for life in self.lives}:
            for place in runs.glob("*"):
                if stop.kill(place):
                    stop.kill_remains(place.name)

    def dies_at(self, fault: str, *chunks: str) -> bool:
        """Start with this fault, drive until the daemon dies; False where all was done before."""
        life = self.start(fault)
        try:
            if life.ready:
                life.done(*chunks)
                life.stop()
                return False
        except Died:
            pass
        status = life.end()
        assert status == -signal.SIGKILL, f"{fault}: exit status {status}, {life.error}"
        self.kills += 1
        return True

    def judge(self, life: Life, chunks: dict[str, int], acknowledged: dict[str, str] | None = None) -> None:
        """Everything that has to be true at the end; `chunks` says how often IMPLEMENT ran in each."""
        seqs = [seq for (seq,) in life.sql("select seq from transitions order by seq")]
        assert seqs == list(range(1, len(seqs) + 1)), "no hole, nothing twice"
        self._judge_board(life)
        self._judge_keys(life, acknowledged or {})
        dispatched = Counter(
            (chunk, phase)
            for chunk, phase in life.sql("select chunk, phase from transitions where command = 'Dispatch'")
        )
        clean = Counter(
            (chunk, run)
            for chunk, run in life.sql(
                "select chunk, json_extract_string(detail, '$.run') from transitions"
                " where command = 'RunEnded' and json_extract_string(detail, '$.exit.type') = 'clean'"
            )
        )
        expected = {(chunk, phase): 1 for chunk in chunks for phase in ("REVIEW", "COMPLETE")}
        expected |= {(chunk, "IMPLEMENT"): count for chunk, count in chunks.items()}
        odd = life.sql(
            "select seq, chunk, phase, command, why from transitions where command in ('RunEnded', 'Fail',"
            " 'LandingRefused', 'RebaseConflict', 'BaseChanged') and why <> 'phase done' order by seq"
        )
        assert dict(dispatched) == expected, odd
        assert set(clean.values()) == {1}
        assert len(clean) == sum(expected.values()), f"every run ended well, once: {odd}"
        effects = Counter(tuple(line.split()) for line in self.trace.read_text().splitlines())
        assert dict(effects) == expected, "what the agents did outside was done once"
        self._judge_questions(life, chunks)
        self._judge_world(life, chunks)

    def _judge_board(self, life: Life) -> None:
        shown = {u["id"]: u for u in life.client.get("/work-units")["units"]}
        log = life.sql(
            "select unit_id, chunk, attempt, status, phase, priority, paused, seq, worktree"
            " from transitions where unit_id is not null"
            " qualify row_number() over (partition by unit_id order by seq desc) = 1"
        )
        names = ("chunk", "attempt", "status", "phase", "priority", "paused", "seq", "worktree")
        folded = {row[0]: tuple(row[1:]) for row in log}
        ended = ("DONE", "CANCELLED")
        assert {i: tuple(u[n] for n in names) for i, u in shown.items()} == {
            i: row for i, row in folded.items() if i in shown
        }
        assert all(row[2] in ended for i, row in folded.items() if i not in shown)

    def _judge_keys(self, life: Life, acknowledged: dict[str, str]) -> None:
        rows = life.sql(
            "select idempotency_key, count(*) from transitions where idempotency_key is not null group by all"
        )
        found = {str(key): count for key, count in rows}
        assert all(count == 1 for key, count in found.items() if key in acknowledged)
        missing = [key for key in acknowledged if key not in found]
        assert not missing, f"acknowledged and lost: {missing}"

    def _judge_questions(self, life: Life, chunks: dict[str, int]) -> None:
        for chunk, count in chunks.items():
            unit = life.client.get(f"/work-units/{chunk}")
            unit = unit.get("unit", unit)
            states = [(q["text"], q["state"]) for q in unit["questions"]]
            assert states == ([(f"Which, {chunk}?", "delivered")] if count == 2 else [])

    def _judge_world(self, life: Life, chunks: dict[str, int]) -> None:
        runs = [place.name for place in life.places.runs_dir.glob("*")]
        assert not carriers(runs), "processes of runs are left"
        assert self.project.trees() == []
        assert self.project.git("branch", "--list", "ve/*") == ""
        assert self.project.git("for-each-ref", "refs/ve/landing") == ""
        for chunk in chunks:
            assert (self.root / "work" / f"{chunk}.txt").read_text() == f"{chunk}\n"
        merges = self.project.git("log", "--first-parent", "--merges", "--format=%s", "main").splitlines()
        assert sorted(m for m in merges if m.startswith("Merge ")) == sorted(f"Merge {c}" for c in chunks)
        self.project.judged_sound()
