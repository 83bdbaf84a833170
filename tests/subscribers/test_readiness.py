"""BLOCKED is derived from the dependencies' states each time one changes, and never edited."""

from __future__ import annotations

import pytest

from tests.subscribers.given import ME, around, bare, dispatch, inject, unit
from ve import commands as c
from ve.index import Chunk
from ve.rules.base import Refused
from ve.stream import Stream
from ve.subscribers.readiness import Readiness
from ve.unit import Blocked, NeedsAttention, Phase, Ready, WorkUnit


async def ready(stream: Stream) -> Readiness:
    readiness = Readiness(around(stream))
    stream.emitted.subscribe(readiness.on_emit)
    await readiness.on_start()
    return readiness


def finish(stream: Stream, chunk: str) -> None:
    """Merged by hand: the shortest way to DONE."""
    stream.submit(c.MarkMerged(unit=f"u-{chunk}", commit="c1", in_base=True), ME)


async def test_a_unit_waits_for_a_live_dependency_and_is_ready_once_that_is_merged() -> None:
    stream = bare()
    await ready(stream)
    stream.submit_all([inject("a"), inject("b", depends_on=("a",))], ME)
    assert unit(stream, "b").state == Blocked(by=("a",))
    finish(stream, "a")
    assert isinstance(unit(stream, "b").state, Ready)


async def test_a_dependency_that_was_merged_before_the_inject_blocks_nobody() -> None:
    stream = bare()
    await ready(stream)
    stream.submit(inject("a"), ME)
    finish(stream, "a")
    stream.submit(inject("b", depends_on=("a",)), ME)
    assert isinstance(unit(stream, "b").state, Ready)


async def test_a_dependency_merged_in_an_earlier_life_of_the_daemon_counts() -> None:
    stream = bare(
        chunks=[Chunk(name="a", attempts=3, merged=True), Chunk(name="x", attempts=1, merged=False)]
    )
    await ready(stream)
    stream.submit(inject("b", depends_on=("a",)), ME)
    assert isinstance(unit(stream, "b").state, Ready)
    refused = await stream.submit(inject("d", depends_on=("x",)), ME)
    assert isinstance(refused, Refused) and "depends on x" in refused.why


async def test_a_dependency_whose_document_is_finished_at_the_base_counts() -> None:
    stream = bare()
    await ready(stream)
    stream.submit(inject("b", depends_on=("old",), satisfied=("old",)), ME)
    assert isinstance(unit(stream, "b").state, Ready)


async def test_all_of_several_dependencies_are_waited_for_in_whatever_order_they_end() -> None:
    stream = bare()
    await ready(stream)
    stream.submit_all([inject("a"), inject("b"), inject("d", depends_on=("a", "b"))], ME)
    finish(stream, "b")
    assert unit(stream, "d").state == Blocked(by=("a",))
    finish(stream, "a")
    assert isinstance(unit(stream, "d").state, Ready)


async def test_a_dependency_that_is_cancelled_needs_a_person_who_may_drop_it() -> None:
    stream = bare()
    await ready(stream)
    stream.submit_all([inject("a"), inject("b", depends_on=("a",))], ME)
    stream.submit(c.Cancel(unit="u-a"), ME)
    state = unit(stream, "b").state
    assert isinstance(state, NeedsAttention) and state.kind == "dependency"
    stream.submit(c.Resolve(unit="u-b", choice="drop"), ME)
    assert isinstance(unit(stream, "b").state, Ready)


async def test_a_cancelled_dependency_that_is_injected_again_is_waited_for_again() -> None:
    stream = bare()
    await ready(stream)
    stream.submit_all([inject("a"), inject("b", depends_on=("a",))], ME)
    stream.submit(c.Cancel(unit="u-a"), ME)
    stream.submit(inject("a", unit="u-a2"), ME)
    stream.submit(c.Retry(unit="u-b"), ME)
    assert unit(stream, "b").state == Blocked(by=("a",))
    stream.submit(c.MarkMerged(unit="u-a2", commit="c1", in_base=True), ME)
    assert isinstance(unit(stream, "b").state, Ready)


async def test_a_merged_dependency_that_is_injected_again_blocks_who_has_not_begun() -> None:
    stream = bare()
    await ready(stream)
    stream.submit(inject("a"), ME)
    finish(stream, "a")
    stream.submit_all([inject("b", depends_on=("a",)), inject("d", depends_on=("a",))], ME)
    dispatch(stream, "d")
    stream.submit(inject("a", unit="u-a2"), ME)
    assert unit(stream, "b").state == Blocked(by=("a",))
    assert unit(stream, "d").run is not None, "one that has begun is not blocked again"


async def test_created_after_waits_while_that_chunk_is_live_and_is_never_gone() -> None:
    stream = bare()
    await ready(stream)
    stream.submit_all([inject("a"), inject("b", created_after=("a", "unknown"))], ME)
    assert unit(stream, "b").state == Blocked(by=("a",))
    stream.submit(c.Cancel(unit="u-a"), ME)
    assert isinstance(unit(stream, "b").state, Ready)


async def test_a_cycle_is_refused_with_its_names() -> None:
    stream = bare()
    await ready(stream)
    stream.submit_all([inject("a"), inject("b", depends_on=("a",))], ME)
    stream.submit(c.Cancel(unit="u-a"), ME)
    stream.submit(inject("d", created_after=("b",)), ME)
    refused = await stream.submit(inject("a", unit="u-a2", depends_on=("d",)), ME)
    assert isinstance(refused, Refused)
    assert "a -> d -> b -> a" in refused.why


async def test_an_open_question_is_left_only_by_a_person_and_not_by_a_dependency() -> None:
    stream = bare()
    await ready(stream)
    stream.submit_all([inject("a"), inject("b")], ME)
    dispatch(stream, "b", "r1")
    stream.submit(c.Ask(unit="u-b", run="r1", questions=(c.Asked(id="q1", text="Which?"),)), "run:r1")
    finish(stream, "a")
    state = unit(stream, "b").state
    assert isinstance(state, NeedsAttention) and state.kind == "question"


@pytest.mark.parametrize("restored", [Blocked(by=("a",)), Ready()], ids=["as blocked", "as ready"])
async def test_a_start_looks_once_at_every_unit_as_it_is(restored: Blocked | Ready) -> None:
    """Whatever the last daemon had no time to write: nobody stays blocked, nobody runs too early."""
    first = bare()
    first.submit_all([inject("a"), inject("b", depends_on=("a",))], ME)
    saved = unit(first, "b")
    from msgspec.structs import replace

    other = replace(unit(first, "a"), phase=Phase.PLAN)
    kept: list[WorkUnit] = [replace(saved, state=restored), other]
    if isinstance(restored, Blocked):
        stream = bare(units=kept[:1], chunks=[Chunk(name="a", attempts=1, merged=True)], last_seq=2)
        await ready(stream)
        assert isinstance(unit(stream, "b").state, Ready)
    else:
        stream = bare(units=kept, last_seq=2)
        await ready(stream)
        assert unit(stream, "b").state == Blocked(by=("a",))
