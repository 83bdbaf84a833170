"""What needs a person: as few groups as there are causes, the most urgent first. Pure.

Rule: causes are equal where kind and reason are, once the unit's own names are out of the reason. Names
are typed facts of the unit (its id, chunk, tree, branch, runs, commits), never guesses at words. Each
question is a cause of its own. A group is named by a fingerprint of its cause, so the name stays while
units come and go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec

from ve.choose import behind, dependents
from ve.commands import OPERATOR_VERBS, Verb
from ve.errors import InvalidInput, NotFound, RefusedError
from ve.nextsteps import command_lines
from ve.transitions import legal_verbs
from ve.unit import Frozen, Lane, NeedsAttention, Ready, WorkUnit
from ve.views import UnitView, view

FIRST_TO_LAST = ("answer", "approve", "resolve", "retry", "pause", "unpause", "prioritize", "cancel")
GROUP_VERBS = FIRST_TO_LAST[1:]
ADVISED = {"answer", "approve", "resolve", "retry", "cancel"}
HEX = r"[0-9a-f]{7,64}"


class Group(Frozen, frozen=True, kw_only=True):
    """Units that need a person for one cause.

    `reason` has each name that differs from unit to unit replaced by what it is (CHUNK, RUN, …).
    `waiting` counts the units that wait for one of the group, directly or through others. `since` is when
    the oldest came to this; the units are in the order of their chunks. `retry_at` is when the first is
    tried again without anybody. `verbs` and `options` are what is possible for all of them, `next` the
    commands to copy, the likeliest first.
    """

    fingerprint: str
    kind: str
    reason: str
    waiting: int
    since: datetime
    retry_at: datetime | None
    verbs: tuple[str, ...]
    options: tuple[str, ...]
    next: tuple[str, ...]
    units: tuple[UnitView, ...]


class ClosedLane(Frozen, frozen=True, kw_only=True):
    """A backend that takes nothing until then: told once, whoever waits for it.

    `chunks` would be dispatched but for it, `waiting` counts the units that wait for those.
    """

    backend: str
    until: datetime
    reason: str
    chunks: tuple[str, ...]
    waiting: int


class Attention(Frozen, frozen=True, kw_only=True):
    """Everything that needs a person, and what nobody can do anything about but wait."""

    groups: tuple[Group, ...]
    lanes: tuple[ClosedLane, ...]

    def group(self, fingerprint: str) -> Group:
        """The group of that name. Raises NotFound, with the names that there are."""
        wanted = fingerprint.removeprefix("@").lower()
        for group in self.groups:
            if group.fingerprint == wanted:
                return group
        known = ", ".join(f"@{group.fingerprint} ({group.kind})" for group in self.groups)
        there = f"There are: {known}" if known else "Nobody needs attention now."
        raise NotFound(
            f"no group @{wanted[:80]} needs attention", hint=f"{there}\nSee them: ve orch attention"
        )


class UnitResult(Frozen, frozen=True, kw_only=True):
    """What a group's verb came to for one unit: the unit after it, or why it was refused."""

    id: str
    chunk: str
    unit: UnitView | None = None
    refused: str | None = None
    legal: tuple[str, ...] = ()


class GroupOutcome(Frozen, frozen=True, kw_only=True):
    """What a verb came to for each unit of a group; those that took it come first."""

    cursor: str
    results: tuple[UnitResult, ...]


# ── Cause ──────────────────────────────────────────────────────────────────────────────────────────


def own_names(unit: WorkUnit) -> dict[str, str]:
    """Every name in which this unit differs from others with the same trouble, and what it is."""
    state = unit.state
    evidence = state.evidence if isinstance(state, NeedsAttention) else None
    tree = unit.worktree or ""
    names = {
        unit.chunk: "CHUNK",
        unit.id: "UNIT",
        unit.branch or "": "BRANCH",
        tree.rpartition("/")[2]: "TREE",
        tree: "WORKTREE",
        unit.session or "": "SESSION",
        unit.run or "": "RUN",
        (evidence.run if evidence else None) or "": "RUN",
    }
    names.pop("", None)
    return names


def own_commits(unit: WorkUnit) -> tuple[str, ...]:
    """The commits that belong to this unit alone, or to where it began."""
    state = unit.state
    found = [unit.base_commit]
    if isinstance(state, NeedsAttention):
        if state.kind == "approval":  # of a setup command it is the cause itself
            found.append(state.approve_hash)
        if state.landing is not None:
            step = msgspec.structs.asdict(state.landing.step)
            found += [value for value in step.values() if isinstance(value, str)]
    return tuple(commit for commit in found if commit)


def without_own_names(reason: str, unit: WorkUnit) -> str:
    """The reason with the unit's own names replaced by what they are; other text is left as it is."""
    names = {name: what for name, what in own_names(unit).items() if name in reason}
    commits = own_commits(unit)
    if commits and re.search(HEX, reason):
        reason = re.sub(
            rf"(?<![\w-]){HEX}(?![\w-])",
            lambda found: "COMMIT" if any(c.startswith(found[0]) for c in commits) else found[0],
            reason,
        )
    if not names:
        return reason
    longest_first = sorted(names, key=len, reverse=True)
    # A run's id begins with its unit's, so earlier runs are known by that.
    pattern = "|".join(
        re.escape(name) + (r"(?:-[\w-]+)?" if names[name] == "UNIT" else "") for name in longest_first
    )
    return re.sub(rf"(?<![\w-])(?:{pattern})(?![\w-])", lambda found: names.get(found[0], "RUN"), reason)


def fingerprint(unit: WorkUnit, state: NeedsAttention) -> str:
    """The name of the unit's cause: 8 hexadecimal digits, the same after a restart and on another machine."""
    if state.kind == "question":
        parts = [state.kind, unit.id, *(question.id for question in unit.open_questions)]
    else:
        command = state.approve_hash if state.kind == "setup" else None
        parts = [state.kind, without_own_names(state.reason, unit), command or ""]
    return blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=4).hexdigest()


# ── Groups ─────────────────────────────────────────────────────────────────────────────────────────


def survey(
    live: Iterable[WorkUnit], lanes: Iterable[Lane], backend_of: Callable[[WorkUnit], str], now: datetime
) -> Attention:
    """What needs a person now. Ranked by how much work waits behind, then by age."""
    units = list(live)
    waiting = dependents(units)
    by_cause: dict[str, list[WorkUnit]] = {}
    for unit in sorted(units, key=lambda unit: (since(unit), unit.created_at, unit.id)):
        if isinstance(unit.state, NeedsAttention):
            by_cause.setdefault(fingerprint(unit, unit.state), []).append(unit)
    groups = [_group(name, members, waiting) for name, members in by_cause.items()]
    groups.sort(key=lambda group: -group.waiting)  # which keeps the order of age
    closed = [_closed(lane, units, waiting, backend_of) for lane in lanes if lane.until > now]
    return Attention(groups=tuple(groups), lanes=tuple(closed))


def since(unit: WorkUnit) -> datetime:
    """When the unit came to need a person, as far as is known: what was asked since is its question."""
    asked = [question.asked_at for question in unit.open_questions]
    return min(asked, default=unit.changed_at)


def _group(name: str, units: list[WorkUnit], waiting: dict[str, set[str]]) -> Group:
    oldest = since(units[0])
    units = sorted(units, key=lambda unit: (unit.chunk.lower(), unit.id))
    states: list[Any] = [unit.state for unit in units]
    first, several = states[0], len(units) > 1
    same = all(state.reason == first.reason for state in states)
    legal = [set(legal_verbs(unit)) for unit in units]
    if several:
        legal.append(set(GROUP_VERBS))
    verbs = tuple(verb for verb in FIRST_TO_LAST if all(verb in some for some in legal))
    options = tuple(option for option in first.options if all(option in state.options for state in states))
    target = f"@{name}" if several else units[0].chunk
    advised = [verb for verb in verbs if verb in ADVISED]
    asked = [question.id for question in units[0].open_questions]
    return Group(
        fingerprint=name,
        kind=first.kind,
        reason=first.reason if same else without_own_names(first.reason, units[0]),
        waiting=len(behind([unit.chunk for unit in units], waiting)),
        since=oldest,
        retry_at=min((state.retry_at for state in states if state.retry_at), default=None),
        verbs=verbs,
        options=options,
        next=tuple(command_lines(advised, target, options=options, questions=asked)),
        units=tuple(map(view, units)),
    )


def _closed(
    lane: Lane, units: list[WorkUnit], waiting: dict[str, set[str]], backend_of: Callable[[WorkUnit], str]
) -> ClosedLane:
    chunks = [
        unit.chunk
        for unit in sorted(units, key=lambda unit: (unit.created_at, unit.id))
        if isinstance(unit.state, Ready)
        and not (unit.paused or unit.closing)
        and backend_of(unit) == lane.backend
    ]
    return ClosedLane(
        backend=lane.backend,
        until=lane.until,
        reason=lane.reason,
        chunks=tuple(chunks),
        waiting=len(behind(chunks, waiting)),
    )


# ── Verbs of a group ───────────────────────────────────────────────────────────────────────────────


def group_verb(name: str) -> type[Verb]:
    """The verb of that name, if it makes sense for several units. Raises NotFound, RefusedError."""
    if name not in OPERATOR_VERBS:
        raise NotFound(f"there is no verb {name}", hint=f"There are: {', '.join(GROUP_VERBS)}")
    if name == "answer":
        raise RefusedError(
            "a question is answered for its own unit, since no two units ask the same thing",
            hint="See what is asked: ve orch attention; then: ve orch answer CHUNK 'TEXT'",
            legal=GROUP_VERBS,
        )
    if name not in GROUP_VERBS:
        raise RefusedError(
            f"{name} names one unit's work, so it cannot be said of a group",
            hint=f"For each of them: ve orch {name} CHUNK",
            legal=GROUP_VERBS,
        )
    return OPERATOR_VERBS[name]


def meant_of(group: Group, ids: Any) -> tuple[list[UnitView], list[UnitResult]]:
    """The units of a group that a verb is meant for, and the refusals of those that have left it.

    `ids` is what a request says, None for the whole group. Raises InvalidInput.
    """
    if ids is None:
        return list(group.units), []
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise InvalidInput("units is not a list of ids", errors=(("units", "a list of units' ids"),))
    here = {unit.id: unit for unit in group.units}
    why = f"it does not need attention for @{group.fingerprint} any more"
    wanted = dict.fromkeys(ids)
    gone = [UnitResult(id=one, chunk=one, refused=why) for one in wanted if one not in here]
    return [here[one] for one in wanted if one in here], gone


def group_outcome(
    cursor: str, accepted: Iterable[UnitView], refused: Iterable[UnitResult] = ()
) -> GroupOutcome:
    """The answer to a verb of a group."""
    taken = (UnitResult(id=unit.id, chunk=unit.chunk, unit=unit) for unit in accepted)
    return GroupOutcome(cursor=cursor, results=(*taken, *refused))
