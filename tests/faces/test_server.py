"""The HTTP interface: what is asked, what comes back, and every bad input as a 4xx that names the field."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.faces.conftest import TIMEOUT_S, Api, Inside, Project, UnixConnection, asks, reading, writes
from ve.commands import OPERATOR_VERBS

FIELDS = [
    "id", "chunk", "attempt", "phase", "status", "attention_kind", "attention_reason", "blocked_by",
    "priority", "paused", "worktree", "branch", "base_ref", "base_commit", "session_id", "run_id", "slot",
    "created_at", "changed_at", "seq",
]  # fmt: skip


async def queued(project: Project, inside: Inside, *names: str) -> list[dict[str, Any]]:
    """Chunks in the queue of a paused board."""
    for name in names:
        project.chunk(name, writes(name))
    await inside.ops.board("pause", actor="operator:t")
    answer = await inside.ask("POST", "/work-units", {"chunks": list(names)}, headers=bearer(inside))
    assert answer.status == 200, answer.body
    return list(answer.json["units"])


def bearer(api: Api, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {api.token}", **more}


async def refused(
    inside: Inside, method: str, path: str, data: bytes, status: int, **headers: str
) -> dict[str, Any]:
    answer = await asyncio.to_thread(inside.send, method, path, data, bearer(inside, **headers))
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json"), (
        answer.body
    )
    problem = answer.json
    assert problem["status"] == status
    assert problem["detail"] and problem["title"] and problem["type"]
    return dict(problem)


def fields(problem: dict[str, Any]) -> list[str]:
    return [error["field"] for error in problem["errors"]]


# ── What works ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_unit_looks_the_same_everywhere(project: Project, inside: Inside) -> None:
    """Inject's answer, the list, the single unit and the feed: the same fields in the same order."""
    (made,) = await queued(project, inside, "alpha")
    assert list(made)[: len(FIELDS)] == FIELDS
    assert (made["status"], made["chunk"], made["worktree"]) == ("READY", "alpha", None)
    listed = (await inside.ask("GET", "/work-units")).json
    assert listed["units"] == [made]
    assert (await inside.ask("GET", "/work-units/alpha")).json["unit"] == made
    assert (await inside.ask("GET", f"/work-units/alpha?unit={made['id']}")).json["unit"] == made
    async with reading(inside) as reader:
        snapshot = await reader.next()
    assert snapshot["units"] == [made]
    assert snapshot["cursor"] == listed["cursor"]


async def test_a_verb_answers_with_the_unit_after_it_and_a_cursor(project: Project, inside: Inside) -> None:
    await queued(project, inside, "alpha")
    answer = await inside.ask("POST", "/work-units/alpha/prioritize", {"priority": 7})
    assert (answer.status, answer.json["unit"]["priority"]) == (200, 7)
    assert answer.json["cursor"] == f"{inside.core.stream.epoch}.{answer.json['unit']['seq']}"
    for verb, paused in (("pause", True), ("unpause", False)):
        # A verb without fields needs no body.
        assert (await inside.ask("POST", f"/work-units/alpha/{verb}")).json["unit"]["paused"] is paused
    ended = await inside.ask("POST", "/work-units/alpha/cancel", {"reason": "not now"})
    assert ended.json["unit"]["status"] == "CANCELLED"


async def test_who_acted_is_in_the_history(project: Project, inside: Inside) -> None:
    await queued(project, inside, "alpha")
    await inside.ask(
        "POST", "/work-units/alpha/pause", headers=bearer(inside, **{"X-Ve-Actor": "ann@example"})
    )
    await inside.ask("POST", "/work-units/alpha/unpause")
    sql = "select command, actor from transitions where command in ('Pause', 'Unpause') order by seq"
    answer = await inside.ask("POST", "/history/query", {"sql": sql})
    assert answer.json["rows"] == [["Pause", "operator:ann@example"], ["Unpause", "operator:api"]]
    assert (answer.json["columns"], answer.json["truncated"]) == (["command", "actor"], False)
    problem = await refused(inside, "POST", "/work-units/alpha/pause", b"", 400, **{"X-Ve-Actor": "a b\tc"})
    assert fields(problem) == ["X-Ve-Actor"]


async def test_the_same_key_gets_the_first_answer_and_another_body_is_refused(
    project: Project, inside: Inside
) -> None:
    project.chunk("alpha", writes("alpha"))
    await inside.ops.board("pause", actor="operator:t")
    key = bearer(inside, **{"Idempotency-Key": "k-1"})
    first = await inside.ask("POST", "/work-units", {"chunks": ["alpha"]}, headers=key)
    again = await inside.ask("POST", "/work-units", {"chunks": ["alpha"]}, headers=key)
    assert (again.status, again.json) == (first.status, first.json)
    data = json.dumps({"chunks": ["alpha"], "priority": 1}).encode()
    await refused(inside, "POST", "/work-units", data, 409, **{"Idempotency-Key": "k-1"})
    await refused(inside, "POST", "/work-units/alpha/pause", b"", 409, **{"Idempotency-Key": "k-1"})
    assert fields(
        await refused(inside, "POST", "/board/pause", b"", 400, **{"Idempotency-Key": "x" * 300})
    ) == ["Idempotency-Key"]


async def test_what_the_state_does_not_allow_says_why_and_what_is_legal(
    project: Project, inside: Inside
) -> None:
    await queued(project, inside, "alpha")
    problem = await refused(inside, "POST", "/work-units/alpha/answer", b'{"text": "x"}', 409)
    assert "cancel" in problem["legal"]
    assert "answer" not in problem["legal"]


async def test_attention_and_why_tell_what_to_do(project: Project, api: Api) -> None:
    project.chunk("alpha", asks("alpha"))
    async with reading(api) as reader:
        api.post("/work-units", {"chunks": ["alpha"]})
        await reader.status("alpha", "NEEDS_ATTENTION")
    (group,) = api.get("/attention")["groups"]
    assert (group["kind"], [unit["chunk"] for unit in group["units"]]) == ("question", ["alpha"])
    why = api.get("/why/alpha")
    assert why["status"] == "NEEDS_ATTENTION"
    assert "answer" in why["legal"]


async def test_the_configuration_is_read_and_set_live(inside: Inside) -> None:
    answer = await inside.ask("POST", "/config", {"key": "slots", "value": "7"})
    assert answer.status == 200
    await inside.until(
        lambda: inside.places.config_file.exists()
    )  # it takes effect first, and is then written
    found = {s["key"]: s for s in (await inside.ask("GET", "/config")).json["settings"]}
    assert (found["slots"]["value"], inside.core.config.slots) == (7, 7)
    assert "config.toml" in found["slots"]["origin"]
    problem = await refused(inside, "POST", "/config", b'{"key": "slot", "value": "7"}', 400)
    assert "slots" in problem["hint"]
    await refused(inside, "POST", "/config", b'{"key": "slots", "value": "many"}', 400)


async def test_status_metrics_and_schema(inside: Inside) -> None:
    status = (await inside.ask("GET", "/status")).json
    assert (status["outage"], status["broken"], status["draining"]) == (None, [], False)
    async with reading(inside) as reader:
        await reader.next()
        text = (await inside.ask("GET", "/metrics")).body.decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values["ve_feed_clients"] == "1"
    assert int(values["ve_transitions_total"]) == int(values["ve_transitions_durable_total"])
    assert float(values["ve_resident_bytes"]) > 10_000_000
    assert values["ve_broken_subscribers"] == "0"
    schema = (await inside.ask("GET", "/schema")).json
    assert schema["openapi"].startswith("3.1")
    assert {f"/work-units/{{chunk}}/{verb}" for verb in OPERATOR_VERBS} <= set(schema["paths"])
    prioritize = schema["components"]["schemas"]["PrioritizeBody"]
    assert prioritize["required"] == ["priority"]


async def test_stop_is_accepted_and_answered_at_once(inside: Inside) -> None:
    answer = await inside.ask("POST", "/stop", {"mode": "drain"})
    assert (answer.status, answer.json) == (202, {"mode": "drain", "running": 0})
    assert inside.stops == ["drain"]
    assert fields(await refused(inside, "POST", "/stop", b'{"mode": "now"}', 400)) == ["mode"]


async def test_a_slow_question_to_the_history_delays_no_command(project: Project, inside: Inside) -> None:
    """A keyed command looks its key up in the history; a person's SQL does not stand in its way."""
    slow = "select count(*) from range(3000000) a, range(300) b where (a.range * b.range) % 7 = 3"
    asking = asyncio.create_task(inside.ask("POST", "/history/query", {"sql": slow}))
    await queued(project, inside, "alpha")
    key = bearer(inside, **{"Idempotency-Key": "while-slow"})
    assert (await inside.ask("POST", "/work-units/alpha/pause", headers=key)).status == 200
    assert not asking.done(), "make the question slower: it was answered first"
    assert (await asking).status == 200


# ── Bad input ──────────────────────────────────────────────────────────────────────────────────────

BAD: list[tuple[str, bytes, int, list[str]]] = [
    ("/work-units", b"", 400, ["body"]),
    ("/work-units", b"{nonsense", 400, ["body"]),
    ("/work-units", b"\xff\xfe\x00", 400, ["body"]),
    ("/work-units", b"chunks=alpha", 400, ["body"]),
    ("/work-units", b"[]", 400, ["body"]),
    ("/work-units", b"null", 400, ["body"]),
    ("/work-units", b"{}", 400, ["chunks"]),
    ("/work-units", b'{"chunks": "alpha"}', 400, ["chunks"]),
    ("/work-units", b'{"chunks": []}', 400, ["chunks"]),
    ("/work-units", b'{"chunks": ["alpha"], "force": true}', 400, ["force"]),
    ("/work-units", b'{"chunks": ["alpha"], "priority": "high"}', 400, ["priority"]),
    ("/work-units/alpha/prioritize", b"{}", 400, ["priority"]),
    ("/work-units/alpha/prioritize", b'{"priority": 1.5}', 400, ["priority"]),
    ("/work-units/alpha/resolve", b'{"choice": "hope"}', 400, ["choice"]),
    ("/work-units/alpha/cancel", b'{"by": "somebody"}', 400, ["by"]),
    ("/work-units/alpha/pause", b'{"unit": "u1"}', 400, ["unit"]),
    ("/history/query", b'{"sql": 1}', 400, ["sql"]),
    ("/history/query", b'{"sql": "delete from transitions"}', 400, ["sql"]),
    ("/config", b'{"key": "slots", "value": 3}', 400, ["value"]),
]


async def test_every_bad_body_is_a_400_that_names_the_field(project: Project, inside: Inside) -> None:
    await queued(project, inside, "alpha")
    before = inside.core.stream.seq
    for path, data, status, named in BAD:
        problem = await refused(inside, "POST", path, data, status)
        assert fields(problem) == named, (path, data, problem)
    assert inside.core.stream.seq == before, "something was done"


@pytest.mark.parametrize("name", ["", " ", "../etc", "-x", "a b", "a/b", "x" * 200, "\u3000", "<b>"])
async def test_a_name_that_is_none_is_refused(inside: Inside, name: str) -> None:
    await refused(inside, "POST", "/work-units", json.dumps({"chunks": [name]}).encode(), 400)


async def test_what_is_not_there_is_a_404(inside: Inside) -> None:
    for method, path in (
        ("GET", "/nope"),
        ("GET", "/work-units/nope"),
        ("GET", "/work-units/nope?unit=u1"),
        ("GET", "/why/nope"),
        ("GET", "/runs/nope/log"),
        ("GET", "/runs/%00/log"),
        ("GET", f"/runs/{'x' * 3000}/log"),
        ("GET", f"/work-units/{'x' * 3000}"),
        ("GET", "/work-units/%00%ff"),
        ("POST", "/work-units/nope/pause"),
        ("POST", "/board/explode"),
        ("POST", "/runs/nope/nudge"),
    ):
        await refused(inside, method, path, b"", 404)
    problem = await refused(inside, "POST", "/work-units/alpha/explode", b"{}", 404)
    assert "prioritize" in problem["hint"]
    await refused(inside, "DELETE", "/status", b"", 405)
    assert fields(await refused(inside, "GET", "/runs/nope/log?offset=-1", b"", 400)) == ["offset"]
    for offset in ("x", "1.5", "9" * 30):
        assert fields(await refused(inside, "GET", f"/runs/nope/log?offset={offset}", b"", 400)) == ["offset"]


async def test_an_unexpected_error_tells_nothing_of_the_inside(inside: Inside) -> None:
    del inside.core.scheduler  # what a mistake in the code would be like
    problem = await refused(inside, "GET", "/status", b"", 500)
    assert "scheduler" not in json.dumps(problem)
    assert "log" in problem["hint"]


# ── Size ───────────────────────────────────────────────────────────────────────────────────────────

HUGE = 100 * 1000 * 1000
PIECE = b"x" * 65536


def upload(api: Api, head: str, pieces: Callable[[socket.socket], int]) -> tuple[int, bytes]:
    """Send a head, then pieces until the daemon has had enough; (bytes it took, its answer)."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(TIMEOUT_S)
    with link:
        link.connect(str(api.places.socket))
        link.sendall(
            f"POST /work-units HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\n{head}".encode()
        )
        taken = 0
        with contextlib.suppress(OSError):
            while taken < HUGE:
                taken += pieces(link)
        answer = b""
        with contextlib.suppress(ConnectionResetError):  # it did not read all that was sent
            while some := link.recv(65536):
                answer += some
        return taken, answer


def test_a_body_of_100_mb_is_refused_before_it_is_read(api: Api) -> None:
    def plain(link: socket.socket) -> int:
        link.sendall(PIECE)
        return len(PIECE)

    taken, answer = upload(api, f"Content-Length: {HUGE}\r\n\r\n", plain)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer
    assert taken < 4_000_000


def test_a_body_without_a_length_is_refused_at_a_mebibyte(api: Api) -> None:
    def chunked(link: socket.socket) -> int:
        link.sendall(f"{len(PIECE):x}\r\n".encode() + PIECE + b"\r\n")
        return len(PIECE)

    taken, answer = upload(api, "Transfer-Encoding: chunked\r\n\r\n", chunked)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert taken < 8_000_000
    assert api.get("/status")["outage"] is None


def test_a_body_of_exactly_a_mebibyte_is_read(api: Api) -> None:
    body = b'{"chunks": ["' + b"x" * (1024 * 1024 - 16) + b'"]}'
    assert len(body) == 1024 * 1024
    answer = api.send("POST", "/work-units", body)
    assert answer.status == 400, "refused for its name, not for its size"
    assert api.send("POST", "/work-units", body + b" ").status == 413


def test_a_connection_can_be_used_again_after_a_refusal(api: Api) -> None:
    link = UnixConnection(api.places.socket)
    for path, status in (("/nope", 404), ("/status", 200), ("/work-units/nope", 404), ("/status", 200)):
        link.request("GET", path, headers=bearer(api))
        answer = link.getresponse()
        answer.read()
        assert answer.status == status
    link.close()


def test_a_client_that_says_nothing_holds_up_nobody(api: Api) -> None:
    idle = [socket.create_connection(("127.0.0.1", api.port), 20) for _ in range(50)]
    half = UnixConnection(api.places.socket)
    half.connect()
    half.sock.sendall(b"POST /work-units HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n")
    began = time.monotonic()
    assert api.get("/status")["paused"] is False
    assert time.monotonic() - began < 5
    half.close()
    for link in idle:
        link.close()


def test_http_that_is_none_is_refused(api: Api) -> None:
    with socket.create_connection(("127.0.0.1", api.port), 20) as link:
        link.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n")
        assert link.recv(12).startswith(b"HTTP/1.1 400")
    assert isinstance(api.get("/status"), dict)
