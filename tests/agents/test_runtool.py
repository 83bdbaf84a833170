"""The tools of a run, judged by the official MCP client: what is said to be recorded is on disk."""
# These tests are one task each: a short blocking call delays nobody.
# ruff: noqa: ASYNC240

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from mcp import ClientSession
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.agents.exercise import job
from ve.agents.base import ReviewIssue
from ve.proc.runfolder import Asked, Decided, Disposed, ToolRecord, ToolsReady, read_tools
from ve.toolserver import PROTOCOLS


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    describe(folder)
    return folder


def describe(run_dir: Path, phase: str = "IMPLEMENT", issues: tuple[ReviewIssue, ...] = ()) -> None:
    (run_dir / "job.json").write_bytes(msgspec.json.encode(job(phase=phase, issues=issues)))


def said(run_dir: Path) -> list[ToolRecord]:
    """The records of calls; this client asks for the tools whenever it likes."""
    return [record for record in read_tools(run_dir)[0] if not isinstance(record, ToolsReady)]


@asynccontextmanager
async def client(run_dir: Path, *before: str) -> AsyncIterator[ClientSession]:
    """The tools as an agent sees them; `before` is shell that the tool process starts under."""
    shell = "; ".join([*before, f"exec {sys.executable} -I -m ve.runtool"])
    server = StdioServerParameters(
        command="/bin/bash", args=["-c", shell], env={"VE_RUN_DIR": str(run_dir), "PATH": os.environ["PATH"]}
    )
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield session


async def call(session: ClientSession, name: str, **arguments: Any) -> tuple[bool, str]:
    result = await session.call_tool(name, arguments)
    return bool(result.is_error), "".join(part.text for part in result.content)  # type: ignore[union-attr]


async def test_the_newest_official_client_connects_and_lists_the_tools(run_dir: Path) -> None:
    server = StdioServerParameters(command=sys.executable, args=["-I", "-m", "ve.runtool", str(run_dir)])

    async with Client(stdio_client(server)) as newest:
        tools = (await newest.list_tools()).tools

    assert [tool.name for tool in tools] == ["AskOperator"]
    assert all(tool.description and tool.input_schema["type"] == "object" for tool in tools)


async def test_asking_for_the_tools_is_recorded_once(run_dir: Path) -> None:
    async with client(run_dir) as session:
        assert not (run_dir / "tools.jsonl").exists()
        await session.list_tools()
        await session.list_tools()

    assert [type(record) for record in read_tools(run_dir)[0]] == [ToolsReady]


async def test_a_phase_sees_only_the_tools_that_it_may_use(run_dir: Path) -> None:
    async def names() -> list[str]:
        async with client(run_dir) as session:
            return [tool.name for tool in (await session.list_tools()).tools]

    assert await names() == ["AskOperator"]
    describe(run_dir, "REVIEW")
    assert await names() == ["AskOperator", "ReviewDecision"]
    describe(run_dir, "IMPLEMENT", (ReviewIssue("i1"),))
    assert await names() == ["AskOperator", "Dispose"]


async def test_a_question_is_on_disk_when_the_reply_says_recorded(run_dir: Path) -> None:
    async with client(run_dir) as session:
        reply = await call(
            session, "AskOperator", question="Which?", options=["this", "that"], context="it matters"
        )

        (asked,) = said(run_dir)
    assert reply == (False, "recorded; end your turn now")
    assert isinstance(asked, Asked)
    assert (asked.text, asked.options, asked.context) == ("Which?", ("this", "that"), "it matters")
    assert asked.id.startswith("q-") and asked.at.endswith("Z")
    assert (run_dir / "tools.jsonl").stat().st_mode & 0o777 == 0o600


async def test_of_several_questions_each_is_kept(run_dir: Path) -> None:
    questions = [{"question": "One?"}, {"question": "Two?", "options": ["a"]}]

    async with client(run_dir) as session:
        await call(session, "AskOperator", questions=questions)
        await call(session, "AskOperator", question="Three?")

    assert [record.text for record in said(run_dir) if isinstance(record, Asked)] == [
        "One?", "Two?", "Three?",
    ]  # fmt: skip


async def test_a_repeated_question_is_the_same_question_also_for_a_second_server(run_dir: Path) -> None:
    for _ in range(2):
        async with client(run_dir) as session:
            for _ in range(2):
                assert (await call(session, "AskOperator", question="Which?"))[0] is False

    assert len(said(run_dir)) == 1


async def test_a_question_that_cannot_be_written_is_never_said_to_be_recorded(run_dir: Path) -> None:
    # given: a tool process that may write files of 1 KiB only, and a file nearly that long
    async with client(run_dir) as session:
        await call(session, "AskOperator", question="x" * 800)
    before = (run_dir / "tools.jsonl").read_bytes()

    async with client(run_dir, "ulimit -f 1") as session:
        failed, text = await call(session, "AskOperator", question="y" * 800)

    assert failed
    assert "not recorded, File too large" in text
    assert (run_dir / "tools.jsonl").read_bytes() == before


async def test_a_run_folder_that_is_gone_is_a_tool_error(run_dir: Path) -> None:
    async with client(run_dir) as session:
        run_dir.rename(run_dir.with_name("moved"))

        failed, text = await call(session, "AskOperator", question="Which?")

    assert failed and "not recorded, No such file or directory" in text


async def test_a_torn_line_of_a_crash_does_not_swallow_the_next_question(run_dir: Path) -> None:
    (run_dir / "tools.jsonl").write_bytes(b'{"type":"ask","id":"q-1","te')

    async with client(run_dir) as session:
        await call(session, "AskOperator", question="Which?")

    assert [record.text for record in said(run_dir) if isinstance(record, Asked)] == ["Which?"]


async def test_a_handler_that_outlives_its_run_records_nothing(run_dir: Path) -> None:
    async with client(run_dir) as session:
        (run_dir / "exit.json").write_text("{}")

        failed, text = await call(session, "AskOperator", question="Which?")

    assert failed and "this run has ended" in text
    assert not (run_dir / "tools.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "`question` is empty"),
        ({"question": "  "}, "`question` is empty"),
        ({"question": 7}, "`question`: Expected `str`, got `int`"),
        ({"question": "q", "options": "a"}, "`options`: Expected `array`, got `str`"),
        ({"question": "q", "options": ["a", 1]}, "`options[1]`: Expected `str`, got `int`"),
        ({"questions": [{"question": "a"}, {}]}, "`questions[1].question` is empty"),
        ({"question": "a", "questions": [{"question": "b"}]}, "`question` and `questions` are both set"),
        ({"question": "a", "choices": []}, "unknown field `choices`"),
        ({"question": "x" * 70000}, "`question`: Expected `str` of length <= 65536"),
    ],
)
async def test_a_bad_argument_is_named(run_dir: Path, arguments: dict[str, Any], said: str) -> None:
    async with client(run_dir) as session:
        failed, text = await call(session, "AskOperator", **arguments)

    assert failed
    assert said in text
    assert not (run_dir / "tools.jsonl").exists()


async def test_a_review_records_its_issues_with_ids_of_their_own(run_dir: Path) -> None:
    describe(run_dir, "REVIEW")
    issues = [{"place": "a.py:3", "concern": "no test"}, {"concern": "typo", "suggestion": "fix", "id": "T1"}]

    async with client(run_dir) as session:
        reply = await call(session, "ReviewDecision", decision="feedback", issues=issues)

    (decided,) = said(run_dir)
    assert reply == (False, "recorded; end your turn now")
    assert isinstance(decided, Decided)
    assert [(one.place, one.concern, one.suggestion) for one in decided.issues] == [
        ("a.py:3", "no test", ""),
        ("", "typo", "fix"),
    ]
    assert decided.issues[0].id.startswith("i-") and decided.issues[1].id == "T1"


async def test_the_first_decision_stands(run_dir: Path) -> None:
    describe(run_dir, "REVIEW")

    async with client(run_dir) as session:
        assert await call(session, "ReviewDecision", decision="approve") == (
            False,
            "recorded; end your turn now",
        )
        repeated, _ = await call(session, "ReviewDecision", decision="approve")
        failed, text = await call(session, "ReviewDecision", decision="escalate", reason="unsure")

    assert not repeated
    assert failed and "the decision `approve` is recorded already and stands" in text
    assert len(said(run_dir)) == 1


async def test_only_a_review_can_decide(run_dir: Path) -> None:
    async with client(run_dir) as session:
        failed, text = await call(session, "ReviewDecision", decision="approve")

    assert failed and "a decision belongs to the phase REVIEW" in text
    assert not (run_dir / "tools.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "missing required field `decision`"),
        ({"decision": "lgtm"}, "`decision`: Invalid enum value 'lgtm'"),
        ({"decision": "feedback"}, "`issues` is empty"),
        ({"decision": "feedback", "issues": [{"place": "a"}]}, "`issues[0]`: Object missing required field"),
        ({"decision": "feedback", "issues": [{"concern": " "}]}, "`issues[0].concern` is empty"),
        ({"decision": "feedback", "issues": [{"concern": "a"}] * 2}, "the same finding twice"),
        ({"decision": "approve", "issues": [{"concern": "a"}]}, "an approval has none"),
        ({"decision": "escalate"}, "`reason` is empty"),
    ],
)
async def test_a_bad_decision_is_named_and_nothing_is_decided(
    run_dir: Path, arguments: dict[str, Any], said: str
) -> None:
    describe(run_dir, "REVIEW")

    async with client(run_dir) as session:
        failed, text = await call(session, "ReviewDecision", **arguments)

    assert failed
    assert said in text
    assert not (run_dir / "tools.jsonl").exists()


async def test_an_issue_is_disposed_of_by_its_id(run_dir: Path) -> None:
    describe(run_dir, issues=(ReviewIssue("i1"), ReviewIssue("i2")))

    async with client(run_dir) as session:
        assert await call(session, "Dispose", issue="i1", disposition="fixed") == (False, "recorded")
        await call(session, "Dispose", issue="i1", disposition="fixed")
        unknown = await call(session, "Dispose", issue="i9", disposition="fixed")
        silent = await call(session, "Dispose", issue="i2", disposition="declined")

    assert [(one.issue, one.disposition) for one in said(run_dir) if isinstance(one, Disposed)] == [
        ("i1", "fixed")
    ]
    assert unknown[0] and "no issue 'i9' in this run; it has i1, i2" in unknown[1]
    assert silent[0] and "`reason` is empty" in silent[1]


async def test_the_daemon_is_nudged_after_a_record(run_dir: Path) -> None:
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    path = str(run_dir / "s")
    server = await asyncio.start_unix_server(answer, path)
    spec = {"run": "r1", "argv": [], "env": {}, "cwd": "/", "nudge": {"socket": path, "token": "t0k"}}
    (run_dir / "spec.json").write_text(json.dumps(spec))

    async with client(run_dir) as session:
        await call(session, "AskOperator", question="Which?")
        request = await asyncio.wait_for(asked.get(), 10)
    server.close()

    assert request.startswith(b"POST /runs/r1/nudge HTTP/1.1\r\n")
    assert b"Bearer t0k\r\n" in request


def talk(run_dir: Path, *lines: bytes) -> list[Any]:
    """Raw lines in, messages out, for what no decent client sends."""
    done = subprocess.run(
        [sys.executable, "-I", "-m", "ve.runtool", str(run_dir)], input=b"\n".join(lines) + b"\n",
        capture_output=True, timeout=20, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("version", PROTOCOLS)
def test_each_handshake_version_is_answered_in_kind(run_dir: Path, version: str) -> None:
    line = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": version}}
    )

    assert talk(run_dir, line.encode())[0]["result"]["protocolVersion"] == version


def test_an_unknown_version_is_answered_with_the_newest_known(run_dir: Path) -> None:
    line = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2099-01-01"}}'

    assert talk(run_dir, line)[0]["result"]["protocolVersion"] == PROTOCOLS[-1]


def test_bad_lines_are_answered_and_do_not_end_the_server(run_dir: Path) -> None:
    replies = talk(
        run_dir,
        b"not json",
        b"",
        b"[" * 100000,
        b"7",
        b'{"jsonrpc":"2.0","id":1,"method":"resources/list"}',
        b'{"jsonrpc":"2.0","method":"notifications/cancelled"}',
        b'[{"jsonrpc":"2.0","id":2,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/initialized"}]',
        b'{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"Bash","arguments":{}}}',
        b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"AskOperator","arguments":[1]}}',
        b'{"jsonrpc":"2.0","id":5,"method":"ping"}',
    )

    assert [reply["error"]["code"] for reply in replies[:4]] == [-32700, -32700, -32600, -32601]
    assert replies[4] == [{"jsonrpc": "2.0", "id": 2, "result": {}}]
    assert replies[5]["id"] == "x" and replies[5]["result"]["isError"]
    assert replies[6]["result"]["isError"]
    assert replies[7] == {"jsonrpc": "2.0", "id": 5, "result": {}}


def test_a_missing_run_is_named_on_stderr(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "ve.runtool", str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert f"{tmp_path}/job.json" in done.stderr


def test_it_is_small_enough_to_run_fifty_times(run_dir: Path) -> None:
    """No asyncio, no SDK, nothing of the daemon; under 40 MB."""
    program = (
        "import sys, ve.runtool; print(*sys.modules);"
        "print(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])"
    )
    lines = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert not {"asyncio", "mcp", "duckdb", "litestar", "dulwich", "reactivex"} & set(lines[0].split())
    assert int(lines[1]) < 40_000
