"""The Python API: a repository's daemon as an object; every claim on a real daemon."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import ve
from tests.e2e.given import Gate, Project
from tests.faces.terminal import WAIT_S, Terminal, project
from tests.faces.warm import WARM
from ve import daemon
from ve.following import Durably
from ve.notebook import as_html, as_text


class Desk:
    """A repository, a person in front of it, and the API on it."""

    def __init__(self, folder: Path) -> None:
        self.project: Project = project(folder)
        self.terminal = Terminal(self.project.root)

    def attach(self) -> ve.Orchestrator:
        self.terminal.start()
        return ve.Orchestrator(self.project.root)


@pytest.fixture(autouse=True)
def warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starts of daemons are quick here."""
    monkeypatch.setattr("ve.daemon._spawn", WARM.spawn)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "repo")
    yield made
    made.terminal.end()


ASKS = """
[[IMPLEMENT]]
ask = "Which way?"
options = ["left", "right"]

[[IMPLEMENT]]
write = "way.txt"
text = "{answer}"
"""


def test_every_public_name_is_there_and_import_ve_loads_nothing_else() -> None:
    assert all(getattr(ve, name) is not None for name in ve.__all__)
    assert set(ve.__all__) <= set(dir(ve))
    with pytest.raises(AttributeError, match="nothing"):
        ve.nothing  # noqa: B018
    code = "import sys, ve; print([m for m in sys.modules if m.startswith('ve.') or 'msgspec' in m])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_attaching_needs_a_repository_and_a_daemon(tmp_path: Path, desk: Desk) -> None:
    with pytest.raises(ve.NotFound):
        ve.Orchestrator(tmp_path)
    with pytest.raises(ve.NoDaemon) as none:
        ve.Orchestrator(desk.project.root)
    assert none.value.hint == "Start it: ve orch start"


async def test_chunks_are_injected_and_awaited(desk: Desk) -> None:
    desk.project.chunk("one")
    desk.project.chunk("two", depends_on=["one"])
    with desk.attach() as orch:
        two, one = orch.inject("two", "one", priority=3)
        assert (two.chunk, two.view.priority) == ("two", 3)
        views = await asyncio.wait_for(asyncio.gather(one.done(), two.done()), WAIT_S)
        assert [view.status for view in views] == ["DONE", "DONE"]
        assert (desk.project.root / "work" / "two.txt").is_file()
        # A unit that has ended long ago is done at once.
        assert (
            await asyncio.wait_for(orch.unit("one").done(), WAIT_S)
        ).merged_commit == one.view.merged_commit
        with pytest.raises(ve.DocumentError):
            orch.inject("three")


async def test_a_question_is_answered_and_a_cancelled_unit_is_an_error_to_wait_for(desk: Desk) -> None:
    desk.project.chunk("asks", ASKS)
    desk.project.chunk("again", ASKS)
    with desk.attach() as orch:
        asks, again = orch.inject("asks", "again")
        desk.terminal.status("asks", "NEEDS_ATTENTION")
        desk.terminal.status("again", "NEEDS_ATTENTION")
        assert {group.units[0].chunk for group in orch.attention()} == {"asks", "again"}
        assert "Which way?" in asks.why()
        assert asks.answer(option=2) is asks
        assert (await asyncio.wait_for(asks.done(), WAIT_S)).status == "DONE"
        assert (desk.project.root / "way.txt").read_text() == "right"
        with pytest.raises(ve.RefusedError) as refused:
            again.resolve("serialize")
        assert "answer" in refused.value.legal
        again.cancel("not needed")
        with pytest.raises(ve.RefusedError, match="again was cancelled"):
            await asyncio.wait_for(again.done(), WAIT_S)


async def test_follow_yields_every_transition_once_it_is_on_disk(desk: Desk) -> None:
    desk.project.chunk("one")
    with desk.attach() as orch:
        start = orch.cursor
        orch.inject("one")
        seen: list[ve.Transition] = []
        async with asyncio.timeout(WAIT_S):
            async for step in orch.follow(since=start):
                assert isinstance(step, ve.Transition)
                seen.append(step)
                rows = orch._query(f"select count(*) from transitions where seq = {step.seq}").rows
                assert rows == [[1]], "what is yielded can be read in the history"
                if step.command == "Landed":
                    break
        assert [step.seq for step in seen] == list(range(seen[0].seq, seen[-1].seq + 1))
        first, last = seen[0], seen[-1]
        assert (first["command"], first["from"], first.actor) == ("Inject", None, "operator:" + _me())
        assert last.unit is not None
        assert (last["from"], last.unit.status) == ("RUNNING", "DONE")
        # From any of its cursors on, the same steps come again.
        async with asyncio.timeout(WAIT_S):
            async for step in orch.follow(since=seen[3].cursor):
                assert isinstance(step, ve.Transition)
                assert step.cursor == seen[4].cursor
                break


def _me() -> str:
    from ve.client import _who

    return _who()


async def test_follow_goes_on_at_its_cursor_when_the_daemon_comes_back(desk: Desk) -> None:
    for name in ("one", "two"):
        desk.project.chunk(name)
    with desk.attach() as orch:
        orch.pause()
        seen: list[str] = []
        restarted = asyncio.Event()

        async def read() -> None:
            async for step in orch.follow(since=start):
                assert isinstance(step, ve.Transition)
                if step.unit is not None:
                    seen.append(f"{step.command} {step.unit.chunk}")
                if step.command == "Inject" and step.unit and step.unit.chunk == "one":
                    restarted.set()
                if seen[-1:] == ["Inject two"]:
                    return

        start = orch.cursor
        reading = asyncio.create_task(read())
        orch.inject("one")
        await asyncio.wait_for(restarted.wait(), WAIT_S)
        await asyncio.to_thread(desk.terminal.said, "orch", "stop")
        await asyncio.to_thread(desk.terminal.start)
        orch.inject("two")
        await asyncio.wait_for(reading, WAIT_S)
        assert seen == ["Inject one", "Inject two"]


async def test_follow_says_resync_where_it_cannot_go_on(desk: Desk) -> None:
    desk.project.chunk("one")
    with desk.attach() as orch:
        orch.pause()
        orch.inject("one")
        async with asyncio.timeout(WAIT_S):
            async for step in orch.follow(since="ffffffff.7"):
                assert isinstance(step, ve.Resync)
                assert [unit.chunk for unit in step.units] == ["one"]
                assert step.board.paused
                assert step.reason
                break
        with pytest.raises(ve.InvalidInput):
            await anext(orch.follow(since="yesterday"))


def test_units_replays_what_is_and_then_each_change(desk: Desk) -> None:
    desk.project.chunk("one")
    desk.project.chunk("two")
    with desk.attach() as orch:
        orch.pause()
        orch.inject("one")
        seen: list[tuple[str, int]] = []
        there, over = threading.Event(), threading.Event()
        threads: set[str] = set()

        def note(unit: ve.UnitView) -> None:
            seen.append((unit.chunk, unit.priority))
            threads.add(threading.current_thread().name)
            there.set()
            if unit.priority == 5:
                over.set()

        subscription = orch.units.subscribe(note)
        assert there.wait(WAIT_S)
        assert seen == [("one", 0)]
        orch.inject("two")[0].prioritize(5)
        assert over.wait(WAIT_S)
        assert seen == [("one", 0), ("two", 0), ("two", 5)]
        assert threading.current_thread().name not in threads, "never on the subscriber's own thread"
        subscription.dispose()


def test_changes_of_a_unit_complete_with_its_end(desk: Desk) -> None:
    desk.project.chunk("one")
    with desk.attach() as orch:
        (one,) = orch.inject("one")
        seen: list[str] = []
        over = threading.Event()
        one.changes.subscribe(lambda view: seen.append(view.status), on_completed=over.set)
        assert over.wait(WAIT_S)
        assert seen[-1] == "DONE"
        assert seen.count("DONE") == 1


async def test_verbs_read_as_sentences_and_hand_back_the_unit(desk: Desk, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    desk.project.chunk("one", gate.step)
    with desk.attach() as orch:
        try:
            (one,) = orch.inject("one")
            await gate.reached()
            assert repr(one.prioritize(4).pause()) == "Unit('one', RUNNING in IMPLEMENT)"
            assert (one.view.priority, one.view.paused) == (4, True)
            assert not one.unpause().view.paused
            with pytest.raises(ve.RefusedError):
                one.retry()
            assert repr(orch) == f"Orchestrator({str(desk.project.root)!r})"
        finally:
            gate.close()


def test_history_answers_the_same_with_and_without_a_daemon(desk: Desk) -> None:
    desk.project.chunk("one")
    with desk.attach() as orch:
        orch.inject("one")
        desk.terminal.status("one", "DONE")
        question = "select chunk, status from lead_time"
        assert orch.history.query(question).fetchall() == [("one", "DONE")]
        orch.close()
        desk.terminal.end()
        assert orch.history.query(question).fetchall() == [("one", "DONE")]


def test_the_board_shows_units_as_text_and_html_and_keeps_up(desk: Desk) -> None:
    desk.project.chunk("asks", '[[IMPLEMENT]]\nask = "Is <b>bold</b> & true?"\n')
    with desk.attach() as orch:
        board = orch.board()
        shown: list[dict[str, str]] = []
        asked = threading.Event()

        def redraw(bundle: dict[str, str]) -> None:
            shown.append(bundle)
            if "bold" in bundle["text/plain"]:
                asked.set()

        board.watch(redraw)
        orch.inject("asks")
        assert asked.wait(WAIT_S)
        board.stop()
        assert "question: Is <b>bold</b> & true?" in repr(board)
        assert "question: Is &lt;b&gt;bold&lt;/b&gt; &amp; true?" in board._repr_html_()
        assert "<b>" not in board._repr_mimebundle_()["text/html"]


def test_a_board_without_units_says_so() -> None:
    assert "no units" in as_html([])
    assert as_text([]).split() == ["chunk", "phase", "status", "age", "slot", "blocked", "by", "reason"]


def test_a_transition_is_held_back_until_it_is_on_disk() -> None:
    def step(seq: int, epoch: str = "e") -> dict[str, object]:
        return {"type": "transition", "seq": seq, "epoch": epoch}

    gate = Durably()
    assert gate.passed(step(1)) + gate.passed(step(2)) + gate.passed(step(3)) == []
    assert gate.passed({"type": "durable", "cursor": "e.2"}) == [step(1), step(2)]
    assert gate.holding
    assert gate.passed({"type": "resync", "reason": "?"}) == [{"type": "resync", "reason": "?"}]
    assert not gate.holding, "what was undone is never told"
    # What the daemon replays of an earlier epoch is on disk.
    assert gate.passed(step(9, "d")) == []
    assert gate.on_disk("e.0") == [step(9, "d")]


def test_start_true_starts_the_daemon_when_none_runs(desk: Desk) -> None:
    code = "import sys, ve; print(ve.Orchestrator(sys.argv[1], start=True).client.get('/status')['pid'])"
    calls = [sys.executable, "-P", "-c", code, str(desk.project.root)]
    pids = {subprocess.run(calls, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    found = daemon.running(desk.terminal.places)
    assert found is not None
    assert pids == {f"{found['pid']}\n"}
