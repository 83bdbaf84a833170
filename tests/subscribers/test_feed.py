"""One cursor for everyone who watches: a snapshot, then every transition after it, or a typed resync."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.e2e.given import ME, Board, Orch, Project
from ve.commands import Prioritize
from ve.errors import InvalidInput
from ve.subscribers import feed


async def queued(project: Project, orch: Orch, *names: str) -> None:
    """Units that only wait, so that nothing happens by itself."""
    for name in names:
        project.chunk(name)
    await orch.ops.board("pause", actor=ME)
    await orch.inject(*names)


async def prioritize(orch: Orch, chunk: str, *priorities: int) -> None:
    for priority in priorities:
        orch.core.stream.submit(Prioritize(unit=orch.unit(chunk).id, priority=priority), ME)
    last = Prioritize(unit=orch.unit(chunk).id, priority=priorities[-1])
    await orch.core.stream.submit(last, ME)


def flat(orch: Orch) -> dict[str, object]:
    views = json.loads(orch.core.feed.snapshot())["units"]
    return {unit["id"]: unit for unit in views}


async def test_a_client_gets_a_snapshot_and_then_every_transition_after_it(
    project: Project, orch: Orch
) -> None:
    await queued(project, orch, "a", "b")
    board = await Board(orch.core).open()
    await prioritize(orch, "a", 1, 2)
    await board.catch_up()
    assert [f["type"] for f in board.frames[:3]] == ["snapshot", "transition", "transition"]
    snapshot = int(board.frames[0]["cursor"].rpartition(".")[2])
    assert [f["seq"] for f in board.transitions()] == [snapshot + 1, snapshot + 2]
    assert board.units == flat(orch)


async def test_who_comes_back_with_a_cursor_gets_exactly_what_was_missed(
    project: Project, orch: Orch
) -> None:
    await queued(project, orch, "a")
    first = await Board(orch.core).open()
    await first.read()
    first.client.close()
    since = first.frames[-1]["cursor"]
    await prioritize(orch, "a", 1, 2, 3)
    orch.core.stream.submit(Prioritize(unit=orch.unit("a").id, priority=4), ME)  # not durable yet

    again = await Board(orch.core).open(since)
    again.units = first.units
    await prioritize(orch, "a", 5)
    await again.catch_up()

    assert [f["type"] for f in again.frames if f["type"] != "durable"] == ["transition"] * 5
    start = int(since.rpartition(".")[2])
    assert [f["seq"] for f in again.transitions()] == list(range(start + 1, start + 6))
    assert again.units == flat(orch)


async def test_a_cursor_survives_a_new_start_of_the_daemon(project: Project, orch: Orch) -> None:
    await queued(project, orch, "a")
    since = orch.core.stream.cursor
    await prioritize(orch, "a", 1)
    await orch.stop()
    await orch.start()
    board = await Board(orch.core).open(since)
    await board.read()
    assert [(f["type"], f["unit"] and f["unit"]["priority"]) for f in board.frames][:1] == [("transition", 1)]


@pytest.mark.parametrize("odd", ["another.3", "SAME.999999"], ids=["unknown epoch", "beyond the end"])
async def test_a_cursor_that_names_nothing_durable_means_resync(
    project: Project, orch: Orch, odd: str
) -> None:
    await queued(project, orch, "a")
    board = await Board(orch.core).open(odd.replace("SAME", orch.core.stream.epoch))
    await board.read()
    assert [f["type"] for f in board.frames] == ["resync", "snapshot"]
    assert board.units == flat(orch)


async def test_what_is_no_cursor_is_an_error_of_the_caller(project: Project, orch: Orch) -> None:
    for odd in ("", "x", "x.", ".3", "x.-1", "x.1e3", "x." + "9" * 30):
        if odd:
            with pytest.raises(InvalidInput):
                await orch.core.feed.open(odd)
    assert not orch.core.feed.clients


async def test_one_that_does_not_read_delays_nobody_and_is_told_to_start_again(
    project: Project, orch: Orch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MAX_BEHIND", 50)
    await queued(project, orch, "a")
    slow, quick = await Board(orch.core).open(), await Board(orch.core).open()
    await slow.read()
    await quick.read()
    for round in range(6):
        await prioritize(orch, "a", *range(round * 50 + 1, round * 50 + 51))
        await quick.catch_up()
    assert len(quick.transitions()) == 300
    frames = await slow.read()
    assert [f["type"] for f in frames][:2] == ["resync", "snapshot"]
    await prioritize(orch, "a", 1000)
    await slow.catch_up()
    assert slow.units == quick.units | flat(orch)


async def test_nothing_is_missed_between_the_snapshot_and_the_first_read(
    project: Project, orch: Orch
) -> None:
    """Many clients open while transitions keep coming; all end with the same board."""
    await queued(project, orch, "a", "b")

    async def watch(since: str | None) -> Board:
        board = await Board(orch.core).open(since)
        if since:
            board.units = dict(begun)
        return board

    begun, cursor = flat(orch), orch.core.stream.cursor
    boards = []
    for n in range(1, 31):
        orch.core.stream.submit(Prioritize(unit=orch.unit("a").id, priority=n), ME)
        boards.append(asyncio.ensure_future(watch(cursor if n % 2 else None)))
        await asyncio.sleep(0)
    await prioritize(orch, "b", 7)
    for made in boards:
        board = await made
        await board.catch_up()
        assert board.units == flat(orch)  # type: ignore[comparison-overlap]
        seqs = [f["seq"] for f in board.transitions()]
        assert seqs == list(range(orch.core.stream.seq - len(seqs) + 1, orch.core.stream.seq + 1))


async def test_clients_that_are_closed_cost_nothing(project: Project, orch: Orch) -> None:
    clients = [await orch.core.feed.open() for _ in range(5)]
    for client in clients:
        client.close()
    await queued(project, orch, "a")
    assert not orch.core.feed.clients
