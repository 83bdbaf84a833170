"""What an event is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, order=True)
class Event:
    """Something that happens on a day; events sort by date, then by title."""

    when: date
    title: str
