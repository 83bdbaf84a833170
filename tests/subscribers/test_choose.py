"""Who runs next, and for every other unit why not: one pure function, printed by `ve orch why`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.subscribers.given import ME, bare, dispatch, inject, unit
from ve import commands as c
from ve.choose import Choice, choose, waiting_behind
from ve.stream import Stream

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def chosen(stream: Stream, now: datetime = NOW) -> Choice:
    return choose(stream.index, lambda unit: "script", now)


async def test_priority_goes_first_then_what_has_begun_then_what_others_wait_for_then_age() -> None:
    stream = bare(slots=9)
    stream.submit_all([inject("old"), inject("young")], ME)
    stream.submit_all([inject("base"), inject("x", depends_on=("base",)), inject("y", depends_on=("x",))], ME)
    stream.submit(inject("urgent", priority=1), ME)
    stream.submit(inject("begun"), ME)
    dispatch(stream, "begun", "r1")
    ready = c.WorktreeReady(unit="u-begun", run="r1", worktree="/t", branch="b", base_commit="c0")
    stream.submit(ready, "daemon")
    stream.submit(c.RunEnded(unit="u-begun", run="r1", exit=c.Limited(until=NOW)), "run:r1")
    assert chosen(stream).dispatch == ("u-urgent", "u-begun", "u-base", "u-old", "u-young")


async def test_one_batch_is_taken_in_its_own_order() -> None:
    stream = bare(slots=20)
    names = [f"c{n}" for n in range(12)]
    stream.submit_all([inject(name) for name in names], ME)
    assert chosen(stream).dispatch == tuple(f"u-{name}" for name in names)


async def test_work_behind_a_unit_is_counted_through_others_and_once() -> None:
    stream = bare()
    stream.submit_all(
        [
            inject("a"),
            inject("b", depends_on=("a",)),
            inject("d", depends_on=("a", "b")),
            inject("e", depends_on=("d",)),
        ],
        ME,
    )
    assert waiting_behind(stream.index.live()) == {"a": 3, "b": 2, "d": 1}


async def test_everyone_who_does_not_run_is_told_why() -> None:
    stream = bare(slots=1)
    stream.submit_all(
        [
            inject("runs"),
            inject("next"),
            inject("last"),
            inject("waits", depends_on=("runs",)),
            inject("paused"),
        ],
        ME,
    )
    dispatch(stream, "runs")
    stream.submit(c.Pause(unit="u-paused"), ME)
    why = chosen(stream).why
    assert why == {
        "u-runs": "it runs in slot 1",
        "u-next": "all 1 slots are taken; it is number 1 in the queue",
        "u-last": "all 1 slots are taken; it is number 2 in the queue",
        "u-waits": "it waits for runs",
        "u-paused": "it is paused",
    }
    stream.submit(c.BoardPaused(), ME)
    assert chosen(stream).why["u-next"] == "the board is paused"
    stream.submit(c.Ask(unit="u-runs", run="r-runs-1", questions=(c.Asked(id="q", text="Which?"),)), "run")
    assert chosen(stream).why["u-runs"] == "it needs a person (question): Which?"


async def test_who_cannot_run_now_takes_nobodys_place_and_is_looked_at_again_in_time() -> None:
    """Ten units in back-off before one that could run, and one slot."""
    stream = bare(slots=1)
    names = [f"tired{n}" for n in range(10)]
    stream.submit_all([inject(name, priority=9) for name in names], ME)
    for name in names:
        dispatch(stream, name, f"r-{name}")
        failed = c.Fail(unit=f"u-{name}", run=f"r-{name}", alive=False, failure=c.Failed(reason="tired"))
        stream.submit(failed, "daemon")
    stream.submit(inject("fresh"), ME)
    retry_at = [getattr(unit(stream, name).state, "retry_at", None) for name in names]
    before = min(at for at in retry_at if at) - timedelta(milliseconds=1)

    choice = chosen(stream, before)

    assert choice.dispatch == ("u-fresh",)
    assert choice.wake_at == before + timedelta(milliseconds=1)
    assert choice.why["u-tired0"].startswith("it is tried again at")
    later = chosen(stream, before + timedelta(hours=1))
    assert later.dispatch == ("u-tired0",)


async def test_a_closed_lane_holds_its_backend_back_until_its_time() -> None:
    stream = bare()
    stream.submit(inject("a"), ME)
    until = NOW + timedelta(minutes=5)
    stream.submit(c.LaneClosed(backend="script", until=until, reason="limit"), "daemon")
    choice = chosen(stream)
    assert (choice.dispatch, choice.wake_at) == ((), until)
    assert "script takes nothing until" in choice.why["u-a"]
    assert chosen(stream, until).dispatch == ("u-a",)


async def test_a_run_that_is_ending_keeps_its_slot_and_its_unit_is_not_dispatched() -> None:
    stream = bare(slots=1)
    stream.submit_all([inject("a"), inject("b")], ME)
    dispatch(stream, "a", "r1")
    stream.submit(c.LimitHit(unit="u-a", run="r1", until=NOW), "run:r1")
    choice = chosen(stream)
    assert choice.dispatch == ()
    assert choice.why["u-a"] == "its run r1 has not ended yet"
    assert "slots are taken" in choice.why["u-b"]
