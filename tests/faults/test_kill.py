"""`kill -9` at every point where the daemon has just changed the world, or is just about to.

The quick form kills once at each point, in the order of a unit's life. `SOAK=1` (`just soak`) kills five
times at each point, each in a project of its own.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.faults.driver import Ground
from tests.faults.test_question_kills import TOOL_POINTS

POINTS = (
    "before-commit:6", "after-commit:3", "tree-made", "run-folder-written", "run-claimed", "exit-record",
    "landing-committed", "landing-integrated", "landing-checked", "landing-swapping", "landing-locked",
    "landing-moved", "landing-base-moved", "landing-checkout-updated",
)  # fmt: skip
SOAK = bool(os.environ.get("SOAK"))


def test_every_named_point_is_in_the_list() -> None:
    root = Path(__file__).parent.parent.parent / "ve"
    named = {
        point
        for path in root.rglob("*.py")
        for point in re.findall(r'faults\.at\("([^"]+)"\)', path.read_text())
    }
    assert named == {point.partition(":")[0] for point in (*POINTS, *TOOL_POINTS)}


@pytest.mark.parametrize("half", [0, 1])
def test_a_unit_killed_at_every_point_of_its_life_is_done_once(ground: Ground, half: int) -> None:
    ground.chunk("a", asks=True)
    ground.chunk("b", depends_on=["a"])
    life = ground.start()
    life.client.post("/work-units", {"chunks": ["a", "b"]}, key="inject")
    life.kill()
    points = POINTS[half::2]
    died = [point for point in points if ground.dies_at(point, "a", "b")]
    assert died == list(points)
    life = ground.start()
    life.done("a", "b")
    ground.judge(life, {"a": 2, "b": 1})
    life.stop()


@pytest.mark.skipif(not SOAK, reason="for `just soak`")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", POINTS)
def test_killed_five_times_at_one_point_every_unit_is_done_once(ground: Ground, point: str) -> None:
    names = ["a", "b", "c", "d", "e"]
    for name in names:
        ground.chunk(name, asks=name == "a")
    life = ground.start()
    life.client.post("/work-units", {"chunks": names})
    life.kill()
    name, _, first = point.partition(":")
    for time in range(5):
        # Each time a little later, so that something happens between two kills.
        count = int(first) + 2 * time if first else 1
        assert ground.dies_at(f"{name}:{count}", *names), f"{name} was not reached for the kill {time + 1}"
    life = ground.start()
    life.done(*names)
    ground.judge(life, {n: 2 if n == "a" else 1 for n in names})
    life.stop()
