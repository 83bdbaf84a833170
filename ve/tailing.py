"""What runs print while they print it, as messages: of one run, or of a unit over all of its phases."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from ve.agents.base import Job
from ve.operations import Operations
from ve.views import Transition

QUIET_S = 0.5
"""A followed output is looked at this often even if its run sends no nudge."""


async def of_run(ops: Operations, run_id: str, offset: int = 0) -> AsyncIterator[dict[str, Any]]:
    """{offset, text, ended}: whole lines from a byte offset on, to the run's end. Raises NotFound."""
    while True:
        grew = ops.core.runs.grew(run_id)
        found = await asyncio.to_thread(ops.log, run_id, offset)
        if found.data or found.ended:
            text = found.data.decode(errors="replace")
            yield {"offset": found.offset, "text": text, "ended": found.ended}
        if found.ended:
            return
        if not found.data:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for((grew or asyncio.Event()).wait(), QUIET_S)
        offset = found.offset


async def of_unit(ops: Operations, unit_id: str) -> AsyncIterator[dict[str, Any]]:
    """{run, phase, offset, text, ended} of every run of a unit in their order; over after the unit's end."""
    changed = asyncio.Event()

    def look(transition: Transition) -> None:
        if transition.unit is not None and transition.unit.id == unit_id:
            changed.set()

    shown: set[str] = set()
    watching = ops.core.stream.emitted.subscribe(look)
    try:
        while True:
            changed.clear()
            unit = ops.core.stream.index.units.get(unit_id)
            ended = unit is None or not unit.live
            for run, phase in await asyncio.to_thread(_runs, ops, unit_id):
                if run not in shown:
                    shown.add(run)
                    async for message in of_run(ops, run):
                        yield {"run": run, "phase": phase, **message}
            if ended:
                return
            await changed.wait()
    finally:
        watching.dispose()


def _runs(ops: Operations, unit_id: str) -> list[tuple[str, str]]:
    """The unit's runs that have a folder, with their phases, the first one first."""
    jobs = sorted(
        ops.core.places.runs_dir.glob(f"{unit_id}-*/job.json"), key=lambda path: path.stat().st_mtime_ns
    )
    return [(path.parent.name, msgspec.json.decode(path.read_bytes(), type=Job).phase) for path in jobs]
