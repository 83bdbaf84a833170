"""The board in a notebook: a table of the units that keeps up while the notebook is open.

Rule: needs nothing but what is shown: any function that lists units and any observable of their changes.
IPython is used where it runs this, and never required.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase

from ve.views import UnitView

COLUMNS = ("chunk", "phase", "status", "age", "slot", "blocked by", "reason")
REDRAW_S = 0.1  # at most so often, however fast the units change
_COLOURS = {
    "RUNNING": "#0a7ea4",
    "NEEDS_ATTENTION": "#b25000",
    "DONE": "#1a7f37",
    "CANCELLED": "#6e7781",
    "BLOCKED": "#6e7781",
}
_STYLE = "text-align:left;padding:2px 10px 2px 0;vertical-align:top"


class Board:
    """Units as a table: as text, as HTML, and in a notebook live until `stop()`."""

    def __init__(self, units: Callable[[], list[UnitView]], changes: Observable[UnitView]) -> None:
        self._units = units
        self._changes = changes
        self._subscription: DisposableBase | None = None

    def __repr__(self) -> str:
        return as_text(self._units())

    def _repr_html_(self) -> str:
        return as_html(self._units())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return bundle(self._units())

    def _ipython_display_(self) -> None:
        ipython = import_module("IPython")
        live = hasattr(ipython.get_ipython(), "kernel")
        handle = import_module("IPython.display").display(bundle(self._units()), raw=True, display_id=True)
        if live and handle is not None:
            self.watch(lambda shown: handle.update(shown, raw=True))

    def watch(self, redraw: Callable[[dict[str, str]], object]) -> None:
        """Call `redraw` with the table as it is, whenever that changed; until `stop()`."""
        self.stop()
        known: dict[str, UnitView] = {}
        changed = threading.Event()
        over = threading.Event()

        def learn(unit: UnitView) -> None:
            known[unit.id] = unit
            changed.set()

        def end(_: object = None) -> None:
            over.set()
            changed.set()

        def draw() -> None:
            while not over.is_set():
                changed.wait()
                changed.clear()
                if known:
                    redraw(bundle(sorted(known.copy().values(), key=lambda unit: (unit.created_at, unit.id))))
                over.wait(REDRAW_S)

        threading.Thread(target=draw, name="board", daemon=True).start()
        subscription = self._changes.subscribe(learn, end, end)
        self._subscription = _Both(subscription, end)

    def stop(self) -> None:
        """Keep the table as it is."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.dispose()


class _Both(DisposableBase):
    def __init__(self, subscription: DisposableBase, end: Callable[[], None]) -> None:
        self._subscription = subscription
        self._end = end

    def dispose(self) -> None:
        self._end()
        self._subscription.dispose()


def bundle(units: list[UnitView]) -> dict[str, str]:
    """The table in every form that a notebook may choose."""
    return {"text/plain": as_text(units), "text/html": as_html(units)}


def as_text(units: list[UnitView]) -> str:
    """The table as aligned text."""
    lines = [list(COLUMNS), *map(_row, units)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def as_html(units: list[UnitView]) -> str:
    """The table as HTML; what agents wrote is text in it, never markup."""
    head = "".join(f'<th style="{_STYLE}">{name}</th>' for name in COLUMNS)
    rows = (
        "".join(_html_row(unit) for unit in units) or f'<tr><td colspan="{len(COLUMNS)}">no units</td></tr>'
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _html_row(unit: UnitView) -> str:
    cells = []
    for name, text in zip(COLUMNS, _row(unit), strict=True):
        colour = f";color:{_COLOURS[unit.status]}" if name == "status" and unit.status in _COLOURS else ""
        cells.append(f'<td style="{_STYLE}{colour}">{html.escape(text)}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _row(unit: UnitView) -> list[str]:
    stage = f" ({unit.stage})" if unit.stage and unit.stage != "agent" else ""
    minutes = (datetime.now(UTC) - unit.created_at).total_seconds() / 60
    age = f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
    return [
        unit.chunk,
        unit.phase,
        f"{unit.status}{stage}",
        age,
        "" if unit.slot is None else str(unit.slot),
        ", ".join(unit.blocked_by),
        f"{unit.attention_kind}: {unit.attention_reason}" if unit.attention_reason is not None else "",
    ]
