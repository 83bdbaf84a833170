"""A measured figure, and how medians and percentiles are taken."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

HEAD = "| figure | measured | peer | ratio | to reach | reached |\n| --- | ---: | ---: | ---: | --- | --- |"


class Figure(NamedTuple):
    """One row: what was measured, the peer of the same run, and what it should reach."""

    name: str
    value: float
    unit: str
    peer: float | None = None
    ratio: float | None = None
    target: str = ""
    reached: bool | None = None

    def row(self) -> str:
        """As a row of the printed table."""
        peer = "" if self.peer is None else f"{self.peer:,.2f} {self.unit}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        said = "" if self.reached is None else ("yes" if self.reached else "NO")
        return f"| {self.name} | {self.value:,.2f} {self.unit} | {peer} | {ratio} | {self.target} | {said} |"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def times(act: Callable[[], object], count: int) -> list[float]:
    """Seconds of each of `count` calls."""
    taken = []
    for _ in range(count):
        begin = time.perf_counter()
        act()
        taken.append(time.perf_counter() - begin)
    return taken


def median(act: Callable[[], object], count: int) -> float:
    """The median in seconds of `count` calls."""
    return statistics.median(times(act, count))


def process(*arguments: str) -> Callable[[], object]:
    """Runs this Python with these arguments; what it prints is thrown away."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def paired(one: Callable[[], object], other: Callable[[], object], count: int) -> tuple[float, float, float]:
    """(median of one, median of other, median of the ratios pair by pair), in turn, in seconds."""
    mine, theirs = [], []
    for _ in range(count):
        mine += times(one, 1)
        theirs += times(other, 1)
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    return statistics.median(mine), statistics.median(theirs), statistics.median(ratios)
