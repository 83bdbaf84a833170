"""A transition that nobody knew of is in the history and on the board without one more line.

The two steps that ve/stream.py names are done here: a Struct for the verb, a Row with its rule.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from tests.e2e.given import ME, Board, Orch, Project
from ve import transitions
from ve.commands import Verb
from ve.rules.base import Facts, Outcome
from ve.transitions import Row
from ve.unit import Blocked, Ready, WorkUnit


class Park(Verb, frozen=True, kw_only=True):
    """Put the unit aside until somebody unparks it."""

    until: str

    def why(self) -> str:
        return f"parked until {self.until}"


def park(unit: WorkUnit, command: Park, _: Facts) -> Outcome:
    return replace(unit, state=Blocked(by=(command.until,)))


@pytest.fixture
def parking() -> Iterator[None]:
    row = Row(Park, (Ready,), (Blocked,), park, "by hand")
    transitions.BY_STATE[Ready, Park] = row
    yield
    del transitions.BY_STATE[Ready, Park]


async def test_it_is_saved_shown_and_acted_on(parking: None, project: Project, orch: Orch) -> None:
    project.chunk("a")
    await orch.ops.board("pause", actor=ME)
    await orch.inject("a")
    board = await Board(orch.core).open()
    await board.read()

    await orch.core.stream.submit(Park(unit=orch.unit("a").id, until="spring"), ME)

    await board.catch_up()
    frame = board.transitions()[0]
    assert (frame["command"], frame["from"], frame["why"]) == ("Park", "READY", "parked until spring")
    assert (frame["unit"]["status"], frame["unit"]["blocked_by"]) == ("BLOCKED", ["spring"])
    assert frame["detail"]["until"] == "spring"
    rows = await orch.sql(f"select command, why, status, detail from transitions where seq = {frame['seq']}")
    assert rows[0][:3] == ["Park", "parked until spring", "BLOCKED"]
    assert json.loads(rows[0][3]) == frame["detail"]
    follows = [t.command for t in orch.seen if t.seq > frame["seq"]]
    assert follows == ["Unblock"], "readiness, which never heard of it, acted on the state it made"
