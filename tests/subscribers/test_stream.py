"""The contracts of the one stream: one order, nothing seen early, acknowledged means durable."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.subscribers.given import ME, bare, dispatch, inject, told, unit
from ve import commands as c
from ve.rules.base import Refused
from ve.stream import Accepted, Spine, Unavailable
from ve.unit import Ready, WorkUnit
from ve.views import Transition


async def test_every_subscriber_sees_the_same_order_also_where_one_submits_while_it_listens() -> None:
    stream = bare()
    before: list[Transition] = []
    after: list[Transition] = []

    def pushes(transition: Transition) -> None:
        """Each inject leads to two more commands, and the first of those to another one."""
        if transition.command == "Inject" and transition.unit:
            stream.submit(c.Prioritize(unit=transition.unit.id, priority=1), ME)
            stream.submit(c.Pause(unit=transition.unit.id), ME)
        if transition.command == "Prioritize" and transition.unit and transition.unit.priority == 1:
            stream.submit(c.Prioritize(unit=transition.unit.id, priority=2), ME)

    stream.emitted.subscribe(before.append)
    stream.emitted.subscribe(pushes)
    stream.emitted.subscribe(after.append)
    stream.submit(inject("a"), ME)
    stream.submit_all([inject("b"), inject("d")], ME)

    assert told(before) == told(after)
    assert told(after) == [
        (1, "Inject"), (2, "Prioritize"), (3, "Pause"), (4, "Prioritize"),
        (5, "Inject"), (6, "Inject"), (7, "Prioritize"), (8, "Pause"),
        (9, "Prioritize"), (10, "Pause"), (11, "Prioritize"), (12, "Prioritize"),
    ]  # fmt: skip


async def test_nobody_sees_a_value_before_its_event() -> None:
    """Neither of a nested command nor of a later one in the same batch, wherever they look."""
    stream = bare()
    told_of: dict[str, WorkUnit] = {}

    def look(transition: Transition) -> None:
        if transition.unit:
            told_of[transition.unit.id] = transition.unit
        assert dict(stream.index.units) == told_of
        assert stream.seq == transition.seq

    def push(transition: Transition) -> None:
        if transition.command == "Inject" and transition.unit:
            stream.submit(c.Prioritize(unit=transition.unit.id, priority=1), ME)

    stream.emitted.subscribe(push)
    stream.emitted.subscribe(look)
    stream.submit_all([inject("a"), inject("b"), c.BoardPaused(), inject("d")], ME)
    stream.submit(c.Cancel(unit="u-a"), ME)
    assert not stream.broken
    assert len(told_of) == 3


async def test_a_subscriber_that_raises_is_seen_and_takes_nobody_down() -> None:
    stream = bare()
    seen: list[Transition] = []

    def breaks(transition: Transition) -> None:
        raise ValueError(f"cannot cope with {transition.command}")

    stream.emitted.subscribe(breaks)
    stream.emitted.subscribe(seen.append)
    stream.committed.subscribe(breaks)
    reply = stream.submit(inject("a"), ME)
    stream.submit(c.Pause(unit="u-a"), ME)
    stream.durable(2)
    assert told(seen) == [(1, "Inject"), (2, "Pause")]
    assert isinstance(await reply, Accepted)
    assert stream.broken[0] == "ValueError: cannot cope with Inject"
    assert len(stream.broken) == 4


async def test_emitting_from_inside_an_emission_is_an_error_not_another_order() -> None:
    stream = bare()
    failures: list[BaseException] = []
    spine = Spine(failures.append)
    again: list[Transition] = []
    stream.emitted.subscribe(again.append)
    stream.submit(inject("a"), ME)
    spine.subscribe(lambda transition: spine.on_next(transition))
    spine.on_next(again[0])
    assert ["re-entered" in str(failure) for failure in failures] == [True]


async def test_submitting_from_another_thread_is_an_error() -> None:
    stream = bare()
    errors: list[BaseException] = []

    def elsewhere() -> None:
        try:
            stream.submit(inject("a"), ME)
        except AssertionError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert stream.seq == 0


async def test_several_commands_are_one_group_or_nothing() -> None:
    stream = bare()
    seen: list[Transition] = []
    stream.emitted.subscribe(seen.append)
    refused = await stream.submit_all([inject("a"), inject("b"), inject("A")], ME)
    assert isinstance(refused, Refused)
    assert "case only" in refused.why
    assert (seen, stream.seq, dict(stream.index.units)) == ([], 0, {})
    assert stream.index.chunk("a").attempts == 0
    assert stream.index.chunk("a").live is None

    accepted = stream.submit_all([inject("a"), inject("b", depends_on=("a",)), c.BoardPaused()], ME)
    assert [(t.seq, t.group) for t in seen] == [(1, 1), (2, 1), (3, 1)]
    stream.durable(2)
    assert not accepted.done(), "not before the last of the group is durable"
    stream.durable(3)
    reply = await accepted
    assert isinstance(reply, Accepted)
    assert (reply.cursor, [u.attempt for u in reply.units]) == ("e1.3", [1, 1])


async def test_a_batch_that_is_refused_takes_back_slots_and_board_as_well() -> None:
    stream = bare(slots=1)
    stream.submit(inject("a"), ME)
    go = c.Dispatch(unit="u-a", run="r1", slot=1, backend="script")
    refused = await stream.submit_all([c.BoardPaused(), c.BoardUnpaused(), go, inject("a")], ME)
    assert isinstance(refused, Refused)
    assert not stream.board.paused
    assert stream.index.free_slots() == (1,)
    assert isinstance(unit(stream, "a").state, Ready)


async def test_accepted_is_said_when_it_is_durable_and_not_before() -> None:
    stream = bare()
    committed: list[Transition] = []
    stream.committed.subscribe(committed.append)
    first = stream.submit(inject("a"), ME)
    second = stream.submit(c.Pause(unit="u-a"), ME)
    await asyncio.sleep(0)
    assert not first.done() and not committed
    stream.durable(1)
    assert first.done() and not second.done()
    assert told(committed) == [(1, "Inject")]
    stream.durable(2)
    assert second.done()


async def test_a_command_that_changes_nothing_waits_for_the_commit_of_what_it_found() -> None:
    stream = bare()
    stream.submit(inject("a"), ME)
    nothing = stream.submit(c.Prioritize(unit="u-a", priority=0), ME)
    assert (stream.seq, nothing.done()) == (1, False)
    stream.durable(1)
    reply = await nothing
    assert isinstance(reply, Accepted)
    assert reply.cursor == "e1.1"
    at_once = stream.submit(c.Prioritize(unit="u-a", priority=0), ME)
    assert at_once.done()


async def test_the_same_key_and_body_get_the_first_answer_also_while_that_is_pending() -> None:
    stream = bare()
    first = stream.submit(inject("a"), ME, key="k", key_hash="body")
    again = stream.submit(inject("a", unit="u-other"), ME, key="k", key_hash="body")
    other = await stream.submit(inject("b"), ME, key="k", key_hash="another body")
    assert isinstance(other, Refused) and "another body" in other.why
    assert stream.seq == 1
    assert not again.done()
    stream.durable(1)
    assert await again == await first
    late = await stream.submit(inject("a"), ME, key="k", key_hash="body")
    assert late == await first


async def test_a_refusal_is_not_remembered_under_its_key() -> None:
    stream = bare()
    pause = c.Pause(unit="u-a")
    assert isinstance(await stream.submit(pause, ME, key="k", key_hash="body"), Refused)
    stream.submit(inject("a"), ME)
    accepted = stream.submit(pause, ME, key="k", key_hash="body")
    stream.durable(2)
    assert isinstance(await accepted, Accepted)


async def test_a_waiter_that_goes_away_changes_nothing() -> None:
    stream = bare()
    reply = stream.submit(inject("a"), ME, key="k", key_hash="body")
    other = stream.submit(c.Pause(unit="u-a"), ME)
    reply.cancel()
    stream.durable(2)
    assert unit(stream, "a").paused
    assert isinstance(await other, Accepted)


async def test_restored_units_emit_nothing_until_something_happens_to_them() -> None:
    first = bare()
    first.submit_all([inject("a"), inject("b")], ME)
    kept = list(first.index.units.values())

    stream = bare(units=kept, last_seq=2)
    seen: list[Transition] = []
    stream.emitted.subscribe(seen.append)
    stream.committed.subscribe(seen.append)
    assert seen == []
    assert stream.seq == 2
    stream.submit(c.Pause(unit="u-b"), ME)
    assert [(t.seq, t.command, t.origin) for t in seen] == [(3, "Pause", "READY")]


async def test_a_refusal_says_why_and_what_is_legal_now() -> None:
    stream = bare()
    stream.submit(inject("a"), ME)
    dispatch(stream, "a")
    refused = await stream.submit(c.MarkMerged(unit="u-a", commit="c", in_base=True), ME)
    assert isinstance(refused, Refused)
    assert "RUNNING" in refused.why
    assert set(refused.legal) >= {"cancel", "prioritize", "pause"}
    assert "merged" not in refused.legal


async def test_an_outage_undoes_what_is_not_durable_and_says_so_to_whoever_waits() -> None:
    """The batch up to `keep` is being tried again: it may still take effect, the rest never will."""
    stream = bare()
    stream.submit(inject("a"), ME)
    stream.durable(1)
    tried = stream.submit(c.Prioritize(unit="u-a", priority=5), ME, key="k", key_hash="h")
    lost = stream.submit_all([c.Pause(unit="u-a"), inject("b"), c.BoardPaused()], ME)
    dispatch(stream, "b") if not stream.board.paused else None
    seen: list[Transition] = []
    stream.emitted.subscribe(seen.append)

    stream.suspend("disk full", keep=2)

    assert await tried == Unavailable(reason="disk full", uncertain=True)
    assert await lost == Unavailable(reason="disk full")
    assert await stream.submit(c.Pause(unit="u-a"), ME) == Unavailable(reason="disk full")
    assert (stream.seq, stream.outage, seen) == (2, "disk full", [])
    assert (unit(stream, "a").priority, unit(stream, "a").paused) == (5, False)
    assert stream.unit("u-b") is None and not stream.board.paused

    stream.durable(2)
    stream.resume("e2")
    again = stream.submit(inject("b"), ME)
    stream.durable(3)
    reply = await again
    assert isinstance(reply, Accepted) and reply.cursor == "e2.3"
    assert told(seen) == [(3, "Inject")]


async def test_an_ended_unit_can_be_dropped_from_memory_and_its_chunk_injected_again() -> None:
    stream = bare()
    stream.submit(inject("a"), ME)
    stream.submit(c.Cancel(unit="u-a"), ME)
    stream.forget("u-a")
    assert stream.unit("u-a") is None
    reply = stream.submit(inject("a", unit="u-2"), ME)
    stream.durable(stream.seq)
    accepted = await reply
    assert isinstance(accepted, Accepted) and accepted.units[0].attempt == 2
    stream.forget("u-2")
    assert stream.unit("u-2") is not None, "a live one is not dropped"


@pytest.mark.parametrize("count", [2, 500])
async def test_the_history_of_a_unit_does_not_depend_on_how_many_units_there_are(count: int) -> None:
    stream = bare()
    seen: list[Transition] = []
    stream.emitted.subscribe(seen.append)
    stream.submit_all([inject(f"c{n}") for n in range(count)], ME)
    stream.submit(c.Pause(unit="u-c1"), ME)
    assert [t.command for t in seen if t.unit and t.unit.id == "u-c1"] == ["Inject", "Pause"]
    assert [t.seq for t in seen] == list(range(1, count + 2))
