from datetime import date
from unittest import TestCase

from events.model import Event


class TestEvent(TestCase):
    def test_events_sort_by_date(self) -> None:
        later, sooner = Event(date(2026, 12, 24), "Holiday"), Event(date(2026, 11, 30), "Release")
        self.assertEqual(sorted([later, sooner]), [sooner, later])
