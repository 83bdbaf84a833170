"""Commands around the daemon: init, start, stop, status, url."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ve.cli.common import AsJson, client, places
from ve.cli.output import colour, narrate, one_line, say, say_json, since, table
from ve.client import Client
from ve.errors import NoDaemon, RefusedError, UnavailableError, UsageError, VeError
from ve.paths import Places

if TYPE_CHECKING:
    from ve.agentfiles import AgentFile

START_TIMEOUT_S = 30.0
LOOK_AGAIN_S = 0.5  # how often a stop shows what it waits for


def init(
    *,
    check: Annotated[
        bool, Parameter(help="Write nothing; exit code 1 if the files for agents are not up to date.")
    ] = False,
    force: Annotated[bool, Parameter(help="Also replace the skills that were changed by hand.")] = False,
    as_json: Annotated[
        bool, Parameter(name="--json", help="JSON: what was made, and how each file for agents is.")
    ] = False,
) -> int:
    """Prepare this repository: the state folder, ve.toml, docs/chunks, and what coding agents read.

    AGENTS.md gets a block between markers, CLAUDE.md points to it, and the skills go to .claude/skills and
    .agents/skills. Called again it renews that block and the skills that nobody changed, and nothing else.
    """
    from ve import agentfiles

    here = places()
    checkout = _checkout(here)
    files = agentfiles.plan(checkout, force=force) if checkout is not None else []
    if check:
        return _say_check(files, as_json)
    refused = next((file.error for file in files if file.error is not None), None)
    if refused is not None:
        raise refused
    made = _prepare(here)
    if checkout is not None:
        made += [str(checkout / path) for path in agentfiles.write(checkout, files)]
    if as_json:
        say_json({"made": made, "files": [file.shown() for file in files]})
        return 0
    updated = {str(checkout / file.path) for file in files if checkout and file.state != "missing"}
    for path in made:
        say(f"{'updated' if path in updated else 'made'} {path}")
    for file in files:
        if file.state in ("edited", "elsewhere") and file.after is None:
            narrate(f"{file.path}: {file.detail}")
    if not made:
        say("everything is there already")
    narrate("next: ve chunk create NAME, write its GOAL.md and PLAN.md, and commit;")
    narrate("then: ve orch start && ve orch inject NAME")
    return 0


def _say_check(files: Sequence[AgentFile], as_json: bool) -> int:
    """How the files for agents are; the exit code."""
    stale = [file for file in files if not file.ok]
    if as_json:
        say_json({"up_to_date": not stale, "files": [file.shown() for file in files]})
        return 1 if stale else 0
    for file in files:
        if file.state != "current":
            say(f"{file.path}: {file.state}{f' ({file.detail})' if file.detail else ''}")
    say("not up to date; to change that: ve init" if stale else "up to date")
    return 1 if stale else 0


def _checkout(here: Places) -> Path | None:
    """The working tree that the caller stands in: what agents read belongs to a branch, not to the state."""
    start = Path.cwd()
    found = next((folder for folder in (start, *start.parents) if (folder / ".git").exists()), None)
    return found if found is not None and here.main_worktree is not None else here.main_worktree


def _prepare(here: Places) -> list[str]:
    """Make what is not there yet; returns what was made."""
    made = []
    if not here.state_dir.is_dir():
        here.state_dir.mkdir(parents=True)
        made.append(str(here.state_dir))
    made += _ignore(here.worktrees_root.parent)
    if here.main_worktree is not None:
        settings, chunks = here.main_worktree / "ve.toml", here.main_worktree / "docs" / "chunks"
        if not settings.exists():
            from ve.cli.settings import commented_settings

            settings.write_text(commented_settings(), encoding="utf-8")
            made.append(str(settings))
        if not chunks.is_dir():
            chunks.mkdir(parents=True)
            made.append(str(chunks))
    return made


def _ignore(folder: Path) -> list[str]:
    """Keep git from seeing the worktrees."""
    marker = folder / ".gitignore"
    if marker.exists():
        return []
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text("*\n", encoding="utf-8")
    return [str(marker)]


def start(*, as_json: AsJson = False) -> None:
    """Start the daemon of this repository; returns when it answers."""
    here = places()
    daemon = Client(here, notice=narrate)
    alive = _status_if_alive(daemon)
    if alive is None:
        from ve.daemon import start_daemon

        start_daemon(here, START_TIMEOUT_S)
    elif alive["draining"]:
        raise RefusedError(
            "the daemon is stopping", hint="Wait for its end: ve orch stop, then ve orch start"
        )
    else:
        narrate("the daemon runs already")
    url = daemon.post("/login-codes")["url"]
    if as_json:
        say_json({**daemon.get("/status"), "url": url})
    else:
        say(f"board: {url}")


def _status_if_alive(daemon: Client) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = daemon.get("/status")
    except NoDaemon:
        return None
    return found


def status(*, as_json: AsJson = False) -> None:
    """Show how the daemon is."""
    daemon = client()
    found = daemon.get("/status")
    if as_json:
        say_json(found)
        return
    for line in describe(found):
        say(line)
    say(f"{'log':<12}{daemon.places.log}")
    runs = [
        (run["chunk"], run["phase"], str(run["slot"]), since(run["since"]), run["run_id"])
        for run in found["running"]
    ]
    if runs:
        say()
        for line in table(("CHUNK", "PHASE", "SLOT", "FOR", "RUN"), runs):
            say(line)


def describe(found: dict[str, Any]) -> list[str]:
    """How the daemon is, for people."""
    state = "stopping: no new runs" if found["draining"] else "paused" if found["paused"] else "working"
    counts = ", ".join(f"{number} {name}" for name, number in sorted(found["counts"].items()))
    lines = [
        f"{'daemon':<12}{state} (pid {found['pid']}, version {found['version']})",
        f"{'repository':<12}{one_line(found['repository'])}",
        f"{'slots':<12}{found['slots_used']} of {found['slots']} in use",
        f"{'units':<12}{counts or 'none'}",
        f"{'cursor':<12}{found['cursor']}, on disk {found['durable_cursor']}",
    ]
    if found["outage"]:
        lines.append(
            colour(f"{'outage':<12}the history cannot be written: {one_line(found['outage'])}", "red")
        )
    if found["broken"]:
        lines.append(colour(f"{'broken':<12}{', '.join(map(one_line, found['broken']))}; see the log", "red"))
    return lines


def url(*, open_: Annotated[bool, Parameter(name="--open", help="In the browser, too.")] = False) -> None:
    """Print the address of the board; its one-time code lets one browser in."""
    address = str(client().post("/login-codes")["url"])
    say(address)
    if open_:
        import webbrowser

        if not webbrowser.open(address):
            raise VeError("no browser could be opened", hint=f"Open it yourself: {address}")


def stop(
    *,
    detach: Annotated[bool, Parameter(help="Leave the runs alive; the next start adopts them.")] = False,
    kill: Annotated[bool, Parameter(help="End the runs; what they did is kept.")] = False,
) -> None:
    """Stop the daemon; waits for the runs to end their phase unless told otherwise."""
    if detach and kill:
        raise UsageError("--detach and --kill are two ways to stop; one of them is enough")
    daemon = client()
    alive = daemon.get("/status")
    mode = "kill" if kill else "detach" if detach else "drain"
    with _Process(int(alive["pid"])) as process:
        daemon.post("/stop", {"mode": mode})
        while True:
            try:
                _wait(daemon, process)
                break
            except KeyboardInterrupt:
                mode = _ask(mode)
                daemon.post("/stop", {"mode": mode})
    narrate("stopped")


class _Process:
    """A process that is not our child: known by a file descriptor, so its number cannot be taken over."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._fd: int | None = os.pidfd_open(pid)
        except (OSError, AttributeError):  # gone already, or a system without pidfd
            self._fd = None

    def ended(self, within_s: float) -> bool:
        """Whether it ends within that time."""
        import select
        import time

        if self._fd is not None:
            return bool(select.select([self._fd], [], [], within_s)[0])
        time.sleep(within_s)
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            os.close(self._fd)


def _wait(daemon: Client, process: _Process) -> None:
    """Wait for the daemon's end, and show which runs it waits for."""
    shown = ""
    live = sys.stderr.isatty()
    while not process.ended(LOOK_AGAIN_S if shown else 0.1):
        try:
            runs = daemon.get("/status")["running"]
        except (NoDaemon, UnavailableError):
            continue
        waits = ", ".join(f"{one_line(run['chunk'])} ({run['phase']})" for run in runs)
        line = (
            f"ve: waits for {len(runs)} run{'s' if len(runs) != 1 else ''}: {waits}"
            if runs
            else "ve: closing"
        )
        if line != shown:
            print(f"\r\x1b[K{line}" if live else line, end="" if live else "\n", file=sys.stderr, flush=True)
        shown = line
    if live and shown:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _ask(mode: str) -> str:
    """What to do instead of waiting. Raises RefusedError where nobody can be asked."""
    ways = (
        "Leave the runs alive: ve orch stop --detach\nEnd them: ve orch stop --kill\nWait again: ve orch stop"
    )
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise RefusedError("the daemon goes on stopping; nobody waits for it any more", hint=ways)
    print(
        "\nve: [w]ait on, [d]etach (the runs live on), [k]ill the runs, or [l]eave? ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    try:
        chosen = sys.stdin.readline().strip().lower()[:1]
    except KeyboardInterrupt:
        chosen = "l"
    if chosen == "l":
        raise RefusedError("the daemon goes on stopping; nobody waits for it any more", hint=ways)
    return {"d": "detach", "k": "kill"}.get(chosen, mode)
