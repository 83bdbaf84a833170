"""Two units, their runs, git, an operator and crashes: every state that can be reached is looked at.

Breadth first over the real `decide`, in the world of `world.py`. What is checked in each state and on
each move stands in `must_hold` and in `laws.py`; in the end every state must still lead to the merge of
every unit without further trouble.

The quick model runs with the other tests. A larger one, for a change of the table:

    MODEL=large python -m pytest tests/core/test_model.py -s
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from msgspec.structs import replace

from tests.core.given import NOW, board
from tests.core.world import Actor, Around, Move, Place, merge_of
from ve import commands as c
from ve import unit as u
from ve.rules.base import Facts, Refused
from ve.transitions import decide
from ve.unit import Phase

LARGE = os.environ.get("MODEL") == "large"


class Setting(NamedTuple):
    name: str
    dependent: bool  # B depends on A
    slots: int
    trouble: int
    land: str = "auto"


QUICK = (
    Setting("B after A, one slot", dependent=True, slots=1, trouble=2),
    Setting("side by side, one slot", dependent=False, slots=1, trouble=1),
    Setting("side by side, two slots, landing approved", dependent=False, slots=2, trouble=1, land="approve"),
)
MORE = (
    Setting("B after A, two slots, more trouble", dependent=True, slots=2, trouble=3, land="approve"),
    Setting("side by side, two slots, more trouble", dependent=False, slots=2, trouble=2),
)


class State(NamedTuple):
    """Numbers of the two places and of the base; trouble that may still come."""

    a: int
    b: int
    base: int
    trouble: int


class Numbered(list):  # type: ignore[type-arg]
    """Values known by the order in which they were met."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers: dict[object, int] = {}

    def number(self, value: object) -> int:
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self)
            self.append(value)
        return found


class Model:
    """All states that can be reached, the free moves between them, and the way to each."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.board = replace(
            board(land=setting.land, retries=1, rounds=1),
        )
        self.places, self.bases, self.states = Numbered(), Numbered(), Numbered()
        self.came: list[tuple[int, str]] = []
        self.freely_from: list[list[int]] = []
        self.moves = 0
        self._known: dict[tuple[int, int, tuple[str, ...], tuple[str, ...], tuple[int, ...]], list[Move]] = {}

    def explore(self) -> None:
        self.meet(self.begin(), -1, "inject")
        at = 0
        while at < len(self.states):
            state = self.states[at]
            for name, trouble, after in self.next(state):
                self.moves += 1
                to = self.meet(after, at, name)
                if not trouble:
                    self.freely_from[to].append(at)
            at += 1

    def begin(self) -> State:
        a = self.places.number(Place(self.injected("a", (), ())))
        needs = ("a",) if self.setting.dependent else ()
        b = self.places.number(Place(self.injected("b", needs, needs)))
        return State(a, b, self.bases.number(("root",)), self.setting.trouble)

    def injected(self, chunk: str, needs: tuple[str, ...], waits: tuple[str, ...]) -> u.WorkUnit:
        inject = c.Inject(unit=chunk, chunk=chunk, base_ref="main", phase=Phase.IMPLEMENT, depends_on=needs)
        unit = decide(None, inject, Facts(now=NOW, board=self.board, waits=waits))
        assert isinstance(unit, u.WorkUnit)
        return unit

    def meet(self, state: State, came_from: int, by: str) -> int:
        number = self.states.number(state)
        if number == len(self.came):
            self.came.append((came_from, by))
            self.freely_from.append([])
            try:
                self.must_hold(state)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self.way(number)}") from error
        return number

    def next(self, state: State) -> Iterator[tuple[str, int, State]]:
        base = self.bases[state.base]
        for chunk in ("a", "b"):
            number, other = (state.a, state.b) if chunk == "a" else (state.b, state.a)
            waits, gone = self.dependencies(number, other)
            for move in self.moves_of(number, state.base, waits, gone, self.free(number, other)):
                if move.trouble > state.trouble:
                    continue
                to = self.places.number(move.to)
                after = state._replace(
                    base=state.base if move.base is None else self.bases.number(move.base),
                    trouble=state.trouble - move.trouble,
                )
                after = after._replace(a=to) if chunk == "a" else after._replace(b=to)
                yield f"{chunk}: {move.name}", move.trouble, after
        if state.trouble and "outside" not in base:
            moved = self.bases.number((*base, "outside"))
            yield "somebody moves the base", 1, state._replace(base=moved, trouble=state.trouble - 1)

    def moves_of(
        self, place: int, base: int, waits: tuple[str, ...], gone: tuple[str, ...], free: tuple[int, ...]
    ) -> list[Move]:
        """The moves of one unit depend on little of the other, so most of them are known already."""
        key = (place, base, waits, gone, free)
        if key not in self._known:
            around = Around(self.board, self.bases[base], waits, gone, free)
            try:
                self._known[key] = list(Actor(self.places[place], around).moves())
            except AssertionError as error:
                raise AssertionError(f"{error}\nin {self.places[place]}\nwith {around}") from error
        return self._known[key]

    def dependencies(self, number: int, other: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(waited for, gone), as the stream's index reads them."""
        unit, needed = self.places[number].unit, self.places[other].unit
        if needed.chunk not in unit.depends_on:
            return (), ()
        if needed.live:
            return (needed.chunk,), ()
        return (), () if isinstance(needed.state, u.Done) else (needed.chunk,)

    def free(self, number: int, other: int) -> tuple[int, ...]:
        taken = (self.places[number].unit.slot, self.places[other].unit.slot)
        return tuple(slot for slot in range(1, self.setting.slots + 1) if slot not in taken)

    # ── What must hold in every state ──────────────────────────────────────────────────────────────

    def must_hold(self, state: State) -> None:
        base = self.bases[state.base]
        both = (self.places[state.a], self.places[state.b])
        slots = [place.unit.slot for place in both if place.unit.slot is not None]
        assert len(slots) == len(set(slots)) <= self.setting.slots, "a slot was given twice"
        alive = [run for place in both for run in place.runs if run.exit is None]
        assert len(alive) <= self.setting.slots, "more runs live than there are slots"
        for place in both:
            unit = place.unit
            living = [run for run in place.runs if run.exit is None]
            assert len(living) <= 1, "two runs live in one tree"
            assert all(run.id == unit.run for run in place.runs), "a run lives that the unit knows nothing of"
            assert place.tree in (0, unit.attempt), "the tree of an earlier attempt is left"
            assert sum(commit == merge_of(unit) for commit in base) <= 1, "merged twice"
            if isinstance(unit.state, u.Done):
                assert unit.state.commit in base, "DONE, and the base does not have it"
            if not unit.live and not unit.cleaning:
                assert not place.tree and not place.runs, "something is left of a unit that ended"
            if isinstance(unit.state, u.Cancelled):
                assert merge_of(unit) not in base, "CANCELLED, and yet merged"

    def stuck(self) -> str | None:
        """A state from which, without trouble, some unit cannot get to its end; None if there is none."""
        for chunk in ("a", "b"):
            good = bytearray(len(self.states))
            todo = [n for n, state in enumerate(self.states) if self.at_its_end(getattr(state, chunk))]
            for number in todo:
                good[number] = 1
            while todo:
                for number in self.freely_from[todo.pop()]:
                    if not good[number]:
                        good[number] = 1
                        todo.append(number)
            first = good.find(0)
            if first >= 0:
                return f"{chunk} cannot end any more\n{self.way(first)}"
        return None

    def at_its_end(self, place: int) -> bool:
        """Merged, unless it was cancelled; and nothing left to clean up."""
        unit = self.places[place].unit
        return not unit.live and not unit.cleaning

    def way(self, number: int) -> str:
        steps = []
        at = number
        while at >= 0:
            at, by = self.came[at]
            steps.append(by)
        state = self.states[number]
        end = f"{self.places[state.a]}\n{self.places[state.b]}\n{self.bases[state.base]}"
        return " → ".join(reversed(steps)) + "\n" + end


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("setting", QUICK + (MORE if LARGE else ()), ids=lambda setting: setting.name)
def test_no_reachable_state_breaks_a_promise(setting: Setting) -> None:
    began = time.perf_counter()
    model = Model(setting)
    model.explore()
    took = time.perf_counter() - began
    print(f"\n{setting.name}: {len(model.states):,} states, {model.moves:,} moves, {took:.1f} s")
    stuck = model.stuck()
    assert stuck is None, stuck


def test_the_model_reaches_every_kind_of_end() -> None:
    """A model in which nothing can go wrong proves nothing: all kinds of states are met."""
    model = Model(Setting("one of each", dependent=True, slots=1, trouble=1))
    model.explore()
    met = {type(place.unit.state) for place in model.places}
    assert met == {
        u.Ready,
        u.Blocked,
        u.Running,
        u.Rebasing,
        u.Landing,
        u.NeedsAttention,
        u.Done,
        u.Cancelled,
    }
    kinds = {p.unit.state.kind for p in model.places if isinstance(p.unit.state, u.NeedsAttention)}
    assert {"question", "conflict", "review", "landing", "dependency", "setup", "error"} <= kinds


def test_the_model_finds_a_stale_run_that_is_listened_to() -> None:
    """The judge is awake: a run of an earlier dispatch is refused in each unit that it meets."""
    model = Model(Setting("one of each", dependent=False, slots=1, trouble=1))
    model.explore()
    for place in model.places:
        outcome = decide(
            place.unit, c.RunEnded(run="earlier", exit=c.Clean()), Facts(now=NOW, board=model.board)
        )
        assert isinstance(outcome, Refused) and outcome.stale
