"""Forgets ended units when there are many: the board shows the newest, the history keeps all."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ve.subscribers import Subscriber
from ve.views import Transition

if TYPE_CHECKING:
    from ve.core import Core

KEPT = 500


class Retention(Subscriber):
    """Keeps the last ended units in memory."""

    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._oldest: deque[str] = deque()

    def on_commit(self, transition: Transition) -> None:
        unit = transition.unit
        if unit is None or unit.live or unit.cleaning:
            return
        self._oldest.append(unit.id)
        if len(self._oldest) > KEPT:
            self.core.stream.forget(self._oldest.popleft())
