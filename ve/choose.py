"""Who runs next, and for every other unit why not. Pure: `ve orch why` is this value printed.

Order: priority, then what has begun already, then how much work waits behind it (transitively), then
age. Units that cannot run now are sorted out before slots are counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from ve.index import Index
from ve.rules.base import Facts
from ve.rules.queue import dispatch_obstacle
from ve.unit import Frozen, NeedsAttention, Ready, WorkUnit


class Choice(Frozen, frozen=True, kw_only=True):
    """What to dispatch now, in order; when to look again; why every other unit does not run."""

    dispatch: tuple[str, ...]
    wake_at: datetime | None
    why: dict[str, str]


def dependents(units: Iterable[WorkUnit]) -> dict[str, set[str]]:
    """Who waits for each chunk directly; what has begun waits for nobody. Names in lower case."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for unit in units:
        if unit.worktree is None:
            for name in (*unit.depends_on, *unit.created_after):
                found[name.lower()].add(unit.chunk.lower())
    return dict(found)


def behind(chunks: Iterable[str], waiting: Mapping[str, set[str]]) -> set[str]:
    """Who waits for any of these chunks, directly or through others; they themselves are not counted."""
    own = {chunk.lower() for chunk in chunks}
    seen: set[str] = set()
    stack = list(own)
    while stack:
        for name in waiting.get(stack.pop(), ()):
            if name not in seen:
                seen.add(name)
                stack.append(name)
    return seen - own


def waiting_behind(units: Iterable[WorkUnit]) -> dict[str, int]:
    """How many live units wait for each chunk, directly or through others."""
    waiting = dependents(units)
    return {chunk: len(behind((chunk,), waiting)) for chunk in waiting}


def choose(
    index: Index,
    backend_of: Callable[[WorkUnit], str],
    now: datetime,
    *,
    candidates: Iterable[WorkUnit] | None = None,
) -> Choice:
    """The units to dispatch into the free slots. Of all live units, with every reason why not; or, if
    the caller knows who is READY, of those `candidates` and without reasons."""
    explain = candidates is None
    eligible: list[WorkUnit] = []
    why: dict[str, str] = {}
    wakes: list[datetime] = [lane.until for lane in index.board.lanes if lane.until > now]
    for unit in index.live() if candidates is None else candidates:
        retry_at = getattr(unit.state, "retry_at", None)
        if retry_at is not None and retry_at > now:
            wakes.append(retry_at)
        obstacle = _obstacle(unit, index, backend_of, now)
        if obstacle is None:
            eligible.append(unit)
        elif explain:
            why[unit.id] = obstacle
    free = len(index.free_slots())
    if len(eligible) > free or explain:
        eligible = _in_order(eligible, index)
    chosen = tuple(unit.id for unit in eligible[:free])
    if explain:
        slots = index.board.config.slots
        for place, unit in enumerate(eligible[free:], 1):
            why[unit.id] = f"all {slots} slots are taken; it is number {place} in the queue"
    return Choice(dispatch=chosen, wake_at=min(wakes, default=None), why=why)


def _in_order(units: list[WorkUnit], index: Index) -> list[WorkUnit]:
    behind = waiting_behind(index.live())

    def rank(unit: WorkUnit) -> tuple[int, bool, int, datetime]:
        waiting = behind.get(unit.chunk.lower(), 0)
        return -unit.priority, unit.worktree is None, -waiting, unit.created_at

    return sorted(units, key=rank)  # which keeps the order of a batch, injected in one moment


def _obstacle(
    unit: WorkUnit, index: Index, backend_of: Callable[[WorkUnit], str], now: datetime
) -> str | None:
    if not isinstance(unit.state, Ready):
        return _why_not_ready(unit)
    waits, gone = index.waits_and_gone(unit)
    facts = Facts(now=now, board=index.board, waits=waits, gone=gone)
    return dispatch_obstacle(unit, backend_of(unit), facts)


def _why_not_ready(unit: WorkUnit) -> str:
    state = unit.state
    if isinstance(state, NeedsAttention):
        return f"it needs a person ({state.kind}): {state.reason}"
    by = getattr(state, "by", None)
    if by:
        return f"it waits for {', '.join(by)}"
    if unit.slot is not None:
        return f"it runs in slot {unit.slot}"
    return f"it is being integrated ({type(state).__name__.lower()})"
