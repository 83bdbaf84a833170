"""From a free slot to the process of the next agent, where the worktree stands already.

One slot and more units than that, so a run begins as soon as another has ended. The time runs from the
moment when a slot was free and the unit READY (whichever came last; the transitions say when) to
`started_at` in agent.json, which is taken right after the fork. The agent's record is made durable before
its program is let loose: when that is, its shell tells, some 2 ms too late.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
from figures import Figure, percentile, process, times
from ground import chunk, progress, repository

from ve import config
from ve.core import Core
from ve.operations import Operations
from ve.paths import Places
from ve.proc import runfolder
from ve.unit import Done, NeedsAttention, Ready
from ve.views import Transition

UNITS = 15
FEEDBACKS = 2
LIMIT_S = 240.0

AGENT = 'date +%s.%N > "$VE_RUN_DIR/began"; exec "$0" -I -m ve.agents.script_agent'
SETTINGS = f"""slots = 1
[limits]
review_rounds = {FEEDBACKS + 1}
[agents.script]
command = '''/bin/sh -c '{AGENT}' {sys.executable}'''
"""


def script(name: str) -> str:
    """Planned, implemented, sent back by the reviewer, implemented again, completed."""
    steps = [f'[[IMPLEMENT]]\nappend = "work/{name}.txt"\ntext = "{name}\\n"\n']
    steps += ['[[IMPLEMENT]]\ndispose = "*"\n']
    for visit in range(1, FEEDBACKS + 1):
        steps.append(f'[[REVIEW]]\nvisit = {visit}\ndecide = "feedback"\nissues = ["more"]\n')
    return "\n".join(steps)


class Watch:
    """Notes of every dispatch since when it was possible."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._free = self._ready = datetime.min.replace(tzinfo=UTC)
        self._since: dict[str, datetime] = {}
        self.possible: dict[str, datetime] = {}
        self.ended = asyncio.Event()
        core.stream.emitted.subscribe(self.note)

    def note(self, transition: Transition) -> None:
        unit = transition.unit
        if unit is None:
            return
        if transition.command == "Dispatch" and unit.run and unit.worktree:
            self.possible[unit.run] = max(self._free, self._since[unit.id])
        if transition.command == "RunEnded":
            self._free = transition.at
        if isinstance(unit.state, Ready):
            self._since.setdefault(unit.id, transition.at)
        else:
            self._since.pop(unit.id, None)
        if isinstance(unit.state, NeedsAttention):
            raise RuntimeError(f"{unit.chunk} needs attention: {unit.state.reason}")
        units = self._core.stream.index.units.values()
        if all(isinstance(each.state, Done) and not each.cleaning for each in units):
            self.ended.set()


async def _run(places: Places, names: list[str]) -> tuple[list[float], list[float]]:
    """Seconds from possible to forked, and to the agent's own first moment, of every run with a tree."""
    core = Core(places, config.load(places, {}).config, version="bench")
    watch = Watch(core)
    await core.start()
    await Operations(core, "bench").inject(names, actor="operator:bench")
    await asyncio.wait_for(watch.ended.wait(), LIMIT_S)
    await core.close()
    if core.stream.broken:
        raise RuntimeError(core.stream.broken[0])
    forked, began = [], []
    for run, possible in watch.possible.items():
        folder = places.runs_dir / run
        agent = runfolder.read_agent(folder)
        assert agent is not None
        forked.append((datetime.fromisoformat(agent.started_at) - possible).total_seconds())
        began.append(float((folder / "began").read_text()) - possible.timestamp())
    return forked, began


def measure() -> Iterator[Figure]:
    """All runs but each unit's first, beside a cold Python of the same minute."""
    names = [f"chunk_{number:02}" for number in range(UNITS)]
    files = {"README.md": "A repository.\n", "ve.toml": SETTINGS}
    for name in names:
        files |= chunk(name, script(name), planned=False)
    with TemporaryDirectory() as folder:
        places = repository(Path(folder) / "repository", files)
        cold = process("-I", "-S", "-c", "pass")
        peers = times(cold, 15)
        progress(f"dispatch: {UNITS} units of {3 + 2 * FEEDBACKS + 1} runs in one slot")
        forked, began = uvloop.run(_run(places, names))
        peers += times(cold, 15)
    peer = statistics.median(peers) * 1000
    for share, name, target in ((0.5, "p50", ""), (0.99, "p99", "≤ 3 ×")):
        value = percentile(forked, share) * 1000
        reached = value / peer <= 3 if target else None
        yield Figure(
            f"free slot → agent's process, {name} of {len(forked)}",
            value,
            "ms",
            peer,
            value / peer,
            target,
            reached,
        )
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        value = percentile(began, share) * 1000
        yield Figure(f"  and on to its first instruction, {name}", value, "ms", peer, value / peer)
