"""`ws /feed`: one order, no gap, whoever connects when; a slow reader delays nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.faces.conftest import Api, Inside, Project, Reader, asks, reading, wait_gone, writes
from ve.commands import ConflictFound

STEPS = ["READY", "RUNNING", "READY", "RUNNING", "READY", "RUNNING", "DONE"]


def changes(reader: Reader, chunk: str) -> list[str]:
    """The statuses that a unit took, in order, without repetitions."""
    found: list[str] = []
    for frame in reader.transitions:
        unit = frame["unit"]
        if unit and unit["chunk"] == chunk and found[-1:] != [unit["status"]]:
            found.append(unit["status"])
    return found


async def test_every_status_arrives_in_order_from_the_queue_to_the_merge(project: Project, api: Api) -> None:
    project.chunk("alpha", writes("alpha"))
    async with reading(api) as reader:
        assert (await reader.next())["type"] == "snapshot"
        api.post("/work-units", {"chunks": ["alpha"]})
        done = await reader.status("alpha", "DONE")
    statuses = changes(reader, "alpha")
    assert statuses[:2] == ["READY", "RUNNING"]
    assert "READY" in statuses[2:], "the phase's end was not shown"
    assert statuses[-1] == "DONE"
    phases = [f["unit"]["phase"] for f in reader.transitions if f["unit"]]
    assert [p for i, p in enumerate(phases) if i == 0 or phases[i - 1] != p] == [
        "IMPLEMENT", "REBASE", "REVIEW", "COMPLETE",
    ]  # fmt: skip
    assert done["merged_commit"]


async def test_a_question_arrives_with_its_text_and_its_answer_goes_on(project: Project, api: Api) -> None:
    project.chunk("beta", asks("beta", "Red or blue?"))
    async with reading(api) as reader:
        api.post("/work-units", {"chunks": ["beta"]})
        asked = await reader.status("beta", "NEEDS_ATTENTION")
        assert (asked["attention_kind"], asked["attention_reason"]) == ("question", "Red or blue?")
        api.post("/work-units/beta/answer", {"text": "blue"})
        await reader.status("beta", "DONE")
    assert (project.root / "beta.txt").read_text() == "blue"


async def test_a_conflict_found_before_dispatch_arrives_with_its_reason(
    project: Project, inside: Inside
) -> None:
    project.chunk("gamma", writes("gamma"))
    await inside.ops.board("pause", actor="operator:t")
    async with reading(inside) as reader:
        await inside.ops.inject(["gamma"], actor="operator:t")
        unit = await reader.status("gamma", "READY")
        found = ConflictFound(unit=unit["id"], files=("main.py",), text="both change the same function")
        await inside.core.stream.submit(found, "scheduler")
        seen = await reader.status("gamma", "NEEDS_ATTENTION")
    assert seen["attention_kind"] == "conflict"
    assert "main.py" in seen["attention_reason"]


@pytest.mark.parametrize("phase", ["IMPLEMENT", "COMPLETE"], ids=["at the rebase", "at the landing"])
async def test_a_conflict_with_the_base_arrives_with_its_reason(
    project: Project, api: Api, phase: str
) -> None:
    """The base changes the same line while the agent waits for an answer."""
    project.commit("a line", {"line.txt": "old\n"})
    script = (
        '[[IMPLEMENT]]\nwrite = "line.txt"\ntext = "mine\\n"\n\n'
        f'[[{phase}]]\nask = "Go on?"\nvisit = 1\n\n[[REVIEW]]\ndecide = "approve"\n'
    )
    project.chunk("delta", script)
    async with reading(api) as reader:
        api.post("/work-units", {"chunks": ["delta"]})
        asked = await reader.status("delta", "NEEDS_ATTENTION")
        assert (asked["attention_kind"], asked["phase"]) == ("question", phase)
        project.commit("theirs", {"line.txt": "theirs\n"})
        api.post("/work-units/delta/answer", {"text": "yes"})
        await reader.status("delta", "READY")
        seen = await reader.status("delta", "NEEDS_ATTENTION")
    assert seen["attention_kind"] == "conflict"
    assert "line.txt" in seen["attention_reason"]
    stages = {frame["unit"]["stage"] for frame in reader.transitions if frame["unit"]}
    assert ("landing:committed" in stages) == (phase == "COMPLETE")


async def test_who_connects_in_the_middle_gets_a_snapshot_and_exactly_what_follows(
    project: Project, api: Api
) -> None:
    project.chunk("one", writes("one"))
    project.chunk("two", writes("two"))
    async with reading(api) as first:
        api.post("/work-units", {"chunks": ["one"]})
        await first.status("one", "RUNNING")
        async with reading(api) as second:
            snapshot = await second.next()
            assert [unit["chunk"] for unit in snapshot["units"]] == ["one"]
            api.post("/work-units", {"chunks": ["two"]})
            await second.status("two", "RUNNING")
            await asyncio.gather(first.status("two", "DONE"), second.status("two", "DONE"))
    start = int(snapshot["cursor"].rpartition(".")[2])
    after = [f for f in first.transitions if f["seq"] > start]
    both = min(len(after), len(second.transitions))
    assert after[:both] == second.transitions[:both]


async def test_since_a_cursor_nothing_is_missed_also_across_a_restart(
    project: Project, daemon: Callable[[], Api]
) -> None:
    project.chunk("alpha", asks("alpha"))
    project.chunk("beta", writes("beta"))
    api = daemon()
    async with reading(api) as reader:
        await reader.next()
        api.post("/work-units", {"chunks": ["alpha"]})
        await reader.status("alpha", "NEEDS_ATTENTION")
        await reader.until(lambda frame: frame.get("unit") and frame["unit"]["run_id"] is None)
        known = await reader.until(
            lambda frame: frame["type"] == "durable" and frame["cursor"].endswith(f".{reader.seq}")
        )
    api.post("/work-units", {"chunks": ["beta"]})  # nobody looks
    pid = api.get("/status")["pid"]
    os.kill(pid, signal.SIGTERM)
    wait_gone(pid)
    api = daemon()
    async with reading(api, since=known["cursor"]) as reader:
        reader.seq = int(known["cursor"].rpartition(".")[2])
        first = await reader.next()
        assert (first["type"], first["command"]) == ("transition", "Inject")
        assert first["epoch"] == known["cursor"].rpartition(".")[0]
        await reader.status("beta", "DONE")
    assert len({frame["epoch"] for frame in reader.transitions}) == 2


async def test_a_cursor_that_never_was_gives_a_resync_and_a_snapshot(api: Api) -> None:
    async with reading(api, since="ffffffff.12") as reader:
        assert (await reader.next())["type"] == "resync"
        assert (await reader.next())["type"] == "snapshot"
    current = api.get("/status")["cursor"]
    epoch, _, seq = current.rpartition(".")
    async with reading(api, since=f"{epoch}.{int(seq) + 1000}") as reader:
        assert (await reader.next())["type"] == "resync"


async def test_what_is_no_cursor_is_refused_in_the_handshake(api: Api) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with reading(api, since="yesterday"):
            pass
    assert refused.value.response.status_code == 400
    assert b"is no cursor" in refused.value.response.body


async def test_a_client_that_never_reads_delays_nobody_and_is_resynced(inside: Inside) -> None:
    """Its socket is full; others have everything within the same moment; when it reads again, it is told."""
    sleeper = await asyncio.to_thread(handshake, inside)
    many = 45_000  # more than the shared log keeps
    async with reading(inside) as reader:
        await reader.next()
        started = reader.seq or 0
        for i in range(many // 500):
            for j in range(500):
                verb = "unpause" if (i * 500 + j) % 2 else "pause"
                last = asyncio.ensure_future(inside.ops.board(verb, actor="operator:t"))
            await reader.until(lambda frame, i=i: frame.get("seq", 0) >= started + (i + 1) * 500)
        await last
    frames = await asyncio.to_thread(read_until_snapshot, sleeper)
    sleeper.close()
    kinds = [frame["type"] for frame in frames]
    assert "resync" in kinds
    assert kinds[kinds.index("resync") + 1] == "snapshot"


def handshake(api: Api) -> socket.socket:
    """A WebSocket by hand, with a small window, of which nothing more is read."""
    link = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.settimeout(40)
    link.connect(("127.0.0.1", api.port))
    link.sendall(
        (
            f"GET /feed HTTP/1.1\r\nHost: 127.0.0.1:{api.port}\r\nAuthorization: Bearer {api.token}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode()
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += link.recv(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    return link


def read_until_snapshot(link: socket.socket) -> list[dict[str, Any]]:
    """Frames until the snapshot after a resync."""
    found: list[dict[str, Any]] = []
    while [frame["type"] for frame in found[-2:]] != ["resync", "snapshot"]:
        _, length = exactly(link, 2)
        size = length & 127
        if size == 126:
            (size,) = struct.unpack("!H", exactly(link, 2))
        elif size == 127:
            (size,) = struct.unpack("!Q", exactly(link, 8))
        text = exactly(link, size)
        if text.startswith(b"["):  # and no ping
            for frame in json.loads(text):
                found.append(frame)
                if [f["type"] for f in found[-2:]] == ["resync", "snapshot"]:
                    return found
    return found


def exactly(link: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        some = link.recv(min(65536, size - len(data)))
        assert some, "the daemon closed the connection"
        data += some
    return bytes(data)


async def test_what_a_client_says_is_ignored_and_its_going_is_noticed(inside: Inside) -> None:
    async with reading(inside) as reader:
        await reader.next()
        await reader.link.send('{"type": "transition", "command": "Cancel"}')
        await reader.link.send(b"\x00\x01")
        await inside.ops.board("pause", actor="operator:t")
        frame = await reader.until(lambda frame: frame["type"] == "transition")
        assert frame["command"] == "BoardPaused"
        assert len(inside.core.feed.clients) == 1
    await inside.until(lambda: not inside.core.feed.clients)


async def test_the_end_of_the_daemon_closes_the_feed_as_going_away(
    project: Project, daemon: Callable[[], Api]
) -> None:
    api = daemon()
    async with reading(api) as reader:
        await reader.next()
        api.post("/stop", {"mode": "detach"}, status=202)
        with contextlib.suppress(ConnectionClosed):
            while True:
                await reader.next()
        assert reader.link.close_code == 1001


async def test_a_runs_output_is_followed_to_its_end_in_whole_lines(project: Project, api: Api) -> None:
    project.chunk("alpha", asks("alpha"))
    async with reading(api) as reader:
        api.post("/work-units", {"chunks": ["alpha"]})
        unit = await reader.until(lambda frame: frame.get("unit") and frame["unit"]["run_id"])
        run = unit["unit"]["run_id"]
        text = ""
        await reader.until(lambda frame: frame.get("command") == "RunStarted")
        async with api.websocket(f"/runs/{run}/tail") as link:
            async for message in link:
                part = json.loads(message)
                assert part["text"] == "" or part["text"].endswith("\n")
                text += part["text"]
                ended = part["ended"]
            assert ended
            assert link.close_code == 1000
    answer = api.send("GET", f"/runs/{run}/log")
    assert answer.body.decode() == text != ""
    assert answer.headers["x-ve-ended"] == "true"
    assert int(answer.headers["x-ve-next-offset"]) == len(answer.body)
    rest = api.send("GET", f"/runs/{run}/log?offset={len(answer.body)}")
    assert rest.body == b""


async def test_a_units_output_is_followed_over_all_its_phases_to_its_end(project: Project, api: Api) -> None:
    project.chunk("alpha", "")
    api.post("/work-units", {"chunks": ["alpha"]})
    shown: dict[str, str] = {}
    phases = []
    async with api.websocket("/work-units/alpha/tail") as link:
        async for message in link:
            part = json.loads(message)
            if part["run"] not in shown:
                phases.append(part["phase"])
            shown[part["run"]] = shown.get(part["run"], "") + part["text"]
        assert link.close_code == 1000
    assert phases == ["IMPLEMENT", "REVIEW", "COMPLETE"]
    for run, text in shown.items():
        assert text == api.send("GET", f"/runs/{run}/log").body.decode()
    with pytest.raises(InvalidStatus) as refused:
        async with api.websocket("/work-units/beta/tail"):
            pass
    assert refused.value.response.status_code == 404


async def test_a_line_that_is_longer_than_a_message_is_followed_too(project: Project, api: Api) -> None:
    """Agents print whole files as one line of JSON; the run's output is given one here."""
    project.chunk("alpha", "")
    async with reading(api) as reader:
        api.post("/work-units", {"chunks": ["alpha"]})
        frame = await reader.until(lambda frame: frame.get("command") == "RunEnded")
        run = frame["detail"]["run"]
    output = project.places.runs_dir / run / "output"
    with output.open("ab") as file:
        file.write(b"x" * 700_000 + b"\n" + b"and no newline at the end")
    text = ""
    async with api.websocket(f"/runs/{run}/tail") as link:
        async for message in link:
            text += json.loads(message)["text"]
    assert text == output.read_text()


async def test_there_is_no_output_of_a_run_that_never_was(api: Api) -> None:
    for run in ("nope", "..", "%2e%2e", "%00", "x" * 3000):
        with pytest.raises(InvalidStatus) as refused:
            async with api.websocket(f"/runs/{run}/tail"):
                pass
        assert refused.value.response.status_code in (400, 403, 404)
