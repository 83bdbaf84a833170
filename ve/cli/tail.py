"""`ve orch tail`: what a unit's runs print, one run after the other; or what happens to all units."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from cyclopts import Parameter

from ve.cli.common import ENDED, client
from ve.cli.history import asking
from ve.cli.output import OF_STATUS, clean, colour, narrate, one_line, say
from ve.client import Client, unit_path
from ve.errors import NotFound

Unit = Mapping[str, Any]

_RUNS = "select run_id, phase, attempt from runs where unit_id = '{}' order by dispatched_at, run_id"
_LAST = (
    'select occurred_at as at, seq, chunk, command, actor, why, from_status as "from", status, phase'
    " from transitions order by seq desc limit {}"
)


def tail(
    chunk: Annotated[
        str | None, Parameter(help="Whose runs; without one, the transitions of all units.")
    ] = None,
    /,
    *,
    follow: Annotated[
        bool, Parameter(name=["--follow", "-f"], help="Go on as more comes, to the unit's end.")
    ] = False,
    lines: Annotated[int, Parameter(name=["--lines", "-n"], help="How many transitions to begin with.")] = 20,
) -> None:
    """Show what a unit's runs print, over all its phases; without a chunk, what happens to all units."""
    daemon = client()
    if chunk is None:
        _tail_transitions(daemon, max(0, lines), follow)
    elif follow:
        _follow_unit(daemon, daemon.get(unit_path(chunk))["unit"])
    else:
        for run in _runs(daemon.get(unit_path(chunk))["unit"]):
            _print_run(daemon, run)


def _runs(unit: Unit) -> list[dict[str, Any]]:
    found = asking()(_RUNS.format(str(unit["id"]).replace("'", "''")))
    return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]


def _print_run(daemon: Client, run: Mapping[str, Any], offset: int = 0) -> None:
    """Print what a run has printed so far."""
    narrate(f"{run['phase']}, run {run['run_id']}")
    while True:
        try:
            answer = daemon.raw("GET", f"/runs/{run['run_id']}/log?offset={offset}")
        except NotFound:
            narrate("its output is no longer kept")
            return
        if not answer.body:
            return
        _write(answer.body.decode(errors="replace"))
        offset = int(answer.headers["x-ve-next-offset"])


def _write(text: str) -> None:
    """Output of an agent: as it is into a file, without what a terminal would obey onto one."""
    sys.stdout.write(clean(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def _follow_unit(daemon: Client, unit: Unit) -> None:
    """Each run of the unit as it prints, until the unit has ended."""
    from ve.following import Connection, feed_path

    # Listen first, read second: no run can begin unseen between the two.
    feed = Connection(daemon, feed_path())
    shown: set[str] = set()
    offsets: dict[str, int] = {}
    try:
        for run in _runs(unit):
            if run["run_id"] != unit["run_id"]:
                _print_run(daemon, run)
                shown.add(run["run_id"])
        said = ""
        for now in _states(feed.frames(), str(unit["id"])):
            ended = now["status"] in ENDED
            # Whatever began and ended too fast to be met while it ran; before the end is told.
            for run in _runs(unit) if ended else ():
                if run["run_id"] not in shown:
                    _print_run(daemon, run, offsets.get(run["run_id"], 0))
            line = one_line(f"{now['chunk']}: {now['status']} in {now['phase']}")
            if line != said:
                narrate(line)
            said = line
            if ended:
                return
            if now["run_id"] and now["run_id"] not in shown and _follow_run(daemon, now, offsets):
                shown.add(now["run_id"])
        narrate("the daemon has ended")
    finally:
        feed.close()


def _states(frames: Iterator[dict[str, Any]], unit_id: str) -> Iterator[Unit]:
    for frame in frames:
        if frame["type"] == "snapshot":
            yield from (unit for unit in frame["units"] if unit["id"] == unit_id)
        elif frame["type"] == "transition" and frame["unit"] and frame["unit"]["id"] == unit_id:
            yield frame["unit"]


def _follow_run(daemon: Client, unit: Unit, offsets: dict[str, int]) -> bool:
    """Print a run to its end; False where it has printed nothing yet, or the end was not met."""
    from ve.following import Connection

    run, over = str(unit["run_id"]), False
    try:
        link = Connection(daemon, f"/runs/{run}/tail?offset={offsets.get(run, 0)}")
    except NotFound:
        return False
    try:
        for text in link.messages():
            message = json.loads(text)
            if run not in offsets and message["text"]:
                narrate(f"{unit['phase']}, run {run}")
            if message["offset"]:
                offsets[run] = message["offset"]
            _write(message["text"])
            over = message["ended"] and run in offsets
    finally:
        link.close()
    return over


def _tail_transitions(daemon: Client, lines: int, follow: bool) -> None:
    from ve.following import Connection, feed_path

    feed = Connection(daemon, feed_path()) if follow else None
    try:
        found = asking()(_LAST.format(lines))
        for row in reversed(found["rows"]):
            say(_transition(dict(zip(found["columns"], row, strict=True))))
        for frame in feed.frames() if feed else ():
            if frame["type"] == "transition":
                unit = frame["unit"] or {}
                say(_transition({**frame, **{name: unit.get(name) for name in ("chunk", "status", "phase")}}))
                sys.stdout.flush()
            elif frame["type"] == "resync":
                narrate(f"something was missed: {frame['reason']}")
    finally:
        if feed:
            feed.close()


def _transition(row: Mapping[str, Any]) -> str:
    """One transition on one line: when, what, who, what it led to."""
    status = str(row["status"] or "")
    moved = status if row["from"] in (None, status) else f"{row['from']} -> {status}"
    led_to = colour(moved, OF_STATUS.get(status, "")) + (f" in {row['phase']}" if row["phase"] else "")
    why = f": {one_line(row['why'])}" if row["why"] else ""
    what = f"{one_line(row['chunk'] or 'board')} {row['command']} by {one_line(row['actor'])}"
    return f"{row['at'][11:19]} {what} {led_to}{why}".rstrip()
