"""What needs a person, on every face: by cause, ranked, and acted on a cause at a time; on real daemons."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

import ve
from tests.e2e.given import Project as Described
from tests.faces.conftest import Inside, Project, asks, reading
from tests.faces.terminal import Terminal, plain
from tests.faces.terminal import project as described
from ve.attention import Group

SETTINGS = "slots = 4\n[limits]\nretries = 0\n"
FAILS = """
[[IMPLEMENT]]
visit = 1
fail = "no space left on device"
exit = 3

[[IMPLEMENT]]
visit = 2
write = "{name}.txt"
text = "done"
"""
LIMITED = '[[IMPLEMENT]]\nlimit = 7200\nreason = "5-hour limit reached"\n'


def shown(text: str) -> str:
    """The text with what differs from run to run replaced."""
    return re.sub(r"@(?!0{8})[0-9a-f]{8}\b", "@<group>", plain(text))


def desk_with(given: Described, *failing: str) -> Terminal:
    """A person at a repository in which these fail for one cause, and one asks."""
    given.commit({"ve.toml": SETTINGS})
    for name in failing:
        given.chunk(name, FAILS.format(name=name))
    given.chunk("asks", asks("asks", "Tabs or blanks?"))
    given.chunk("waits", depends_on=failing[:1])
    given.chunk("last", depends_on=["waits"])
    terminal = Terminal(given.root)
    terminal.start()
    terminal.said("orch", "inject", "asks", *failing, "waits", "last")
    for name in ("asks", *failing):
        terminal.settled(terminal.status(name, "NEEDS_ATTENTION")["id"])
    return terminal


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Three fail for one cause, two units wait for one of those, one asks. Nothing here is changed."""
    terminal = desk_with(described(tmp_path_factory.mktemp("attention") / "repo"), "east", "north", "west")
    yield terminal
    terminal.end()


def group_of(terminal: Terminal, kind: str) -> dict[str, Any]:
    groups = terminal.json("orch", "attention")["groups"]
    return next(group for group in groups if group["kind"] == kind)


# ── Looking ────────────────────────────────────────────────────────────────────────────────────────


def test_equal_causes_are_one_block_and_what_most_work_waits_for_comes_first(
    desk: Terminal, snapshot: SnapshotAssertion
) -> None:
    """Although the question is older."""
    assert shown(desk.said("orch", "attention")) == snapshot
    answer = desk.json("orch", "attention")
    assert answer == desk.client.get("/attention")
    assert list(answer) == ["cursor", "groups", "lanes"]
    assert [(group["kind"], len(group["units"]), group["waiting"]) for group in answer["groups"]] == [
        ("error", 3, 2),
        ("question", 1, 0),
    ]


# ── Acting ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_refused_verb_says_why_for_each_unit_and_fails(desk: Terminal, snapshot: SnapshotAssertion) -> None:
    """So does a verb that makes no sense for a group, and a name that fits none."""
    name = group_of(desk, "error")["fingerprint"]
    said = []
    for words in (
        ["approve", f"@{name}"],
        ["answer", f"@{name}", "blue"],
        ["answer", f"@{name}"],
        ["merged", f"@{name}"],
        ["retry", "@00000000"],
    ):
        done = desk.ve("orch", *words)
        assert (done.returncode, done.stdout) == (1, "")
        said.append(done.stderr)
    assert shown("\n".join(said)) == snapshot


# ── The same over HTTP, on the command line and from Python ───────────────────────────────────────


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two fail for one cause."""
    made = Project(tmp_path / "project")
    made.commit("settings", {"ve.toml": SETTINGS})
    for name in ("east", "west"):
        made.chunk(name, FAILS.format(name=name))
    return made


async def failed(inside: Inside) -> dict[str, Any]:
    """The group of both, once their runs are over."""
    async with reading(inside) as reader:
        await inside.ask("POST", "/work-units", {"chunks": ["east", "west"]})
        there: set[str] = set()
        while there != {"east", "west"}:
            frame = await reader.until(lambda frame: frame.get("unit"))
            if frame["unit"]["status"] == "NEEDS_ATTENTION":
                there.add(frame["unit"]["chunk"])
    (group,) = (await inside.ask("GET", "/attention")).json["groups"]
    return dict(group)


async def test_one_command_for_a_group_is_carried_out_for_each_of_its_units(
    project: Project, inside: Inside
) -> None:
    group = await failed(inside)
    desk = Terminal(project.root)
    async with reading(inside) as reader:
        said = await asyncio.to_thread(desk.said, "orch", "prioritize", f"@{group['fingerprint']}", "2")
        assert [line.partition(":")[0] for line in said.splitlines()] == ["east", "west"]
        await asyncio.to_thread(desk.said, "orch", "retry", f"@{group['fingerprint']}")
        done: dict[str, int] = {}
        while len(done) < 2:
            frame = await reader.until(lambda frame: frame.get("unit") and frame["unit"]["status"] == "DONE")
            done[frame["unit"]["chunk"]] = frame["unit"]["priority"]
    assert done == {"east": 2, "west": 2}
    assert (await asyncio.to_thread(desk.ve, "orch", "attention")).stderr.endswith("nobody needs you\n")
    gone = await asyncio.to_thread(desk.ve, "orch", "retry", f"@{group['fingerprint']}")
    assert "Nobody needs attention now." in gone.stderr


async def test_a_usage_limit_is_told_once_whoever_waits_for_it(project: Project, inside: Inside) -> None:
    for chunk in ("limited", "one", "two"):
        project.chunk(chunk, LIMITED)
    project.chunk("three", LIMITED, depends_on=("two",))
    async with reading(inside) as reader:
        await inside.ask("POST", "/work-units", {"chunks": ["limited"]})
        await reader.until(lambda frame: frame.get("command") == "LaneClosed")
        await inside.ask("POST", "/work-units", {"chunks": ["one", "two", "three"]})
        await reader.until(lambda frame: frame.get("command") == "RunEnded")
    desk = Terminal(project.root)
    said = (await asyncio.to_thread(desk.said, "orch", "attention")).splitlines()
    assert len(said) == 1
    assert re.fullmatch(
        r"script takes nothing until [\w: ]+ \(5-hour limit reached\); 3 units wait for it, 1 more behind",
        said[0],
    )
    why = (await inside.ask("GET", "/why/one")).json["why"]
    assert why.startswith("script takes nothing until ")


async def test_the_request_of_a_group_has_a_result_for_each_unit_and_is_never_carried_out_twice(
    project: Project, inside: Inside
) -> None:
    group = await failed(inside)
    ids = [unit["id"] for unit in group["units"]]
    path = f"/attention/{group['fingerprint']}"
    for body, status in (({"unit": "x"}, 400), ({"units": "all"}, 400), ([], 400), ({"fresh": "maybe"}, 400)):
        assert (await inside.ask("POST", f"{path}/retry", body)).status == status
    assert (await inside.ask("POST", f"{path}/explode")).status == 404
    headers = {"Authorization": f"Bearer {inside.token}", "Idempotency-Key": "once"}
    answers = [
        await inside.ask("POST", f"{path}/cancel", {"units": [*ids, "gone"]}, headers=headers)
        for _ in range(2)
    ]
    first, again = (answer.json["results"] for answer in answers)
    assert [(one["id"], one["refused"] is None) for one in first] == [
        *((one, True) for one in ids),
        ("gone", False),
    ]
    assert "does not need attention for" in first[-1]["refused"]
    assert [one["id"] for one in again] == ids, "refusals are not remembered"
    sql = "select chunk, actor from transitions where command = 'Cancel' order by chunk"
    assert (await inside.ask("POST", "/history/query", {"sql": sql})).json["rows"] == [
        ["east", "operator:api"],
        ["west", "operator:api"],
    ]
    other = await inside.ask("POST", f"{path}/cancel", {"units": ids}, headers=headers)
    assert other.status == 409


async def test_python_has_the_groups_and_acts_on_those_that_it_showed(
    project: Project, inside: Inside
) -> None:
    await failed(inside)
    orch = await asyncio.to_thread(ve.Orchestrator, project.root)
    (group,) = await asyncio.to_thread(orch.attention)
    assert isinstance(group, Group)
    assert [unit.chunk for unit in group.units] == ["east", "west"]
    with pytest.raises(ve.RefusedError, match="answered for its own unit"):
        await asyncio.to_thread(orch.act, group, "answer", text="blue")
    results = await asyncio.to_thread(orch.act, group, "retry", fresh=True)
    assert sorted((one.chunk, one.refused, one.unit is not None) for one in results) == [
        ("east", None, True),
        ("west", None, True),
    ]
    assert await asyncio.to_thread(orch.closed_lanes) == []
