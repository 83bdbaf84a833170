"""Agents that speak ACP: a real one, OpenCode, and a peer without a model that can end in every way."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import acp
import msgspec
import pytest
from acp import schema

from tests.agents.acp_peer import OPTIONS, Peer
from tests.agents.clients import client, many_runs
from tests.agents.exercise import AdapterExercise, Exited
from tests.agents.record_acp import RECORDED, run, session_of, settings
from tests.proc.conftest import Bench, until
from ve.agents import acp_client
from ve.agents.acp import START, Acp, Start
from ve.agents.acp_client import Session, allowed, choose
from ve.agents.base import (
    Adapter,
    Event,
    Finished,
    Job,
    LimitReached,
    ModelEvent,
    SessionStarted,
    Settings,
    ToolCall,
    ToolResult,
    UsageEvent,
)
from ve.agents.judge import Clean, Failed, Outcome, Seen, judge
from ve.proc import runfolder, stop
from ve.proc.env import environment
from ve.proc.runfolder import Asked, Spec, ToolRecord, ToolsReady
from ve.proc.tail import Tail
from ve.testing import ScriptedModel, Turn, Use

ROOT = Path(__file__).parent.parent.parent
E = TypeVar("E", bound=Event)
Steps: TypeAlias = Sequence[Mapping[str, Any]]


def recorded(name: str) -> list[bytes]:
    return (RECORDED / f"{name}.jsonl").read_bytes().splitlines()


class TestAsAnAdapter(AdapterExercise):
    """It passes what every adapter passes, with lines of real runs of OpenCode over ACP."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        return Acp(Settings(command=("opencode", "acp")))

    @pytest.fixture(params=["done", "asked", "answered"])
    def success(self, request: pytest.FixtureRequest) -> Sequence[bytes]:  # type: ignore[override]
        return recorded(request.param)

    @pytest.fixture
    def failures(self) -> Mapping[str, Sequence[bytes]]:
        names = ("permission-refused", "unauthorized", "no-such-model", "session-gone")
        return {name: recorded(name) for name in names}


@dataclass
class Ran:
    """What a run of the peer left."""

    code: int
    events: list[Event]
    tools: Sequence[ToolRecord]
    outcome: Outcome

    @property
    def finished(self) -> Finished:
        (event,) = self.of(Finished)
        return event

    @property
    def text(self) -> str:
        return "\n".join(event.text for event in self.of(ModelEvent) if event.text)

    @property
    def session(self) -> str:
        (event,) = self.of(SessionStarted)
        return event.id

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


class Peers:
    """Runs our client with the peer: in processes under a real supervisor, or both here, over a socket."""

    def __init__(self, bench: Bench, capsys: pytest.CaptureFixture[bytes]) -> None:
        self.bench = bench
        self._capsys = capsys
        self.sessions = bench.root / "sessions"
        self.tree = bench.root / "tree"
        self.sessions.mkdir()
        self.tree.mkdir()

    def folder(self, settings: Settings, session: str | None = None) -> Job:
        """A run's folder, ready to be started."""
        name = f"run-{secrets.token_hex(4)}"
        run_dir = self.bench.root / "runs" / name
        job = Job(
            run=name, unit="u1", chunk="c", attempt=1, phase="IMPLEMENT", worktree=str(self.tree),
            run_dir=str(run_dir), prompt="do it", session=session, resume=session is not None,
        )  # fmt: skip
        launch = Acp(settings).launch(job)
        env = environment({"VE_RUN_ID": name, "VE_RUN_DIR": str(run_dir), **launch.env})
        spec = Spec(run=name, argv=launch.argv, env=env, cwd=str(self.tree), stdin=launch.stdin)
        runfolder.create(run_dir, job, job.prompt, spec, launch.files)
        return job

    def process(self, steps: Steps, *abilities: str) -> Path:
        """The folder of a run with the peer as a program of its own."""
        at_home = f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); "
        at_home += "runpy.run_module('tests.agents.acp_peer', run_name='__main__')"
        command = (sys.executable, "-c", at_home, json.dumps(steps), str(self.sessions), *abilities)
        run_dir = Path(self.folder(Settings(command=command)).run_dir)
        self.bench.runs.append(run_dir)
        return run_dir

    async def run(self, steps: Steps, *abilities: str, model: str = "", session: str | None = None) -> Ran:
        """A run with both ends in this process."""
        job = self.folder(Settings(command=("peer",), model=model), session)
        start = msgspec.json.decode((Path(job.run_dir) / START).read_bytes(), type=Start)
        peer = Peer(list(steps), self.sessions, set(abilities))
        ours, theirs = socket.socketpair()
        from_agent, to_agent = await asyncio.open_connection(sock=ours)
        from_client, to_client = await asyncio.open_connection(sock=theirs)
        agent = asyncio.create_task(
            acp.run_agent(cast("acp.Agent", peer), to_client, from_client, use_unstable_protocol=True)
        )
        client = Session(job, start, to_agent, from_agent)
        code = await acp_client.told(client.run(asyncio.Event()))
        await client.close()
        to_agent.close()
        await agent
        to_client.close()
        await asyncio.gather(to_agent.wait_closed(), to_client.wait_closed())
        peer.close()
        return self.read(Path(job.run_dir), self._capsys.readouterr().out.splitlines(), code)

    async def program(self, *command: str) -> Ran:
        """A run of our client, here, with that program."""
        job = self.folder(Settings(command=command))
        start = msgspec.json.decode((Path(job.run_dir) / START).read_bytes(), type=Start)
        code = await acp_client.told(acp_client.drive(job, start, asyncio.Event()))
        return self.read(Path(job.run_dir), self._capsys.readouterr().out.splitlines(), code)

    def read(self, run_dir: Path, lines: Sequence[bytes], code: int) -> Ran:
        adapter = Acp(Settings())
        events = list(chain.from_iterable(map(adapter.parse, lines)))
        tools, _ = runfolder.read_tools(run_dir)
        ready = any(isinstance(record, ToolsReady) for record in tools)
        outcome = judge(events, Exited(code=code), ready, Seen(), adapter.abilities)
        return Ran(code, events, tools, outcome)

    def heard(self, ran: Ran) -> list[str]:
        """The prompts of that conversation, each after the model it went to."""
        return (self.sessions / ran.session).read_text().splitlines()


@pytest.fixture
async def peers(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> AsyncIterator[Peers]:
    bench = Bench(tmp_path)
    yield Peers(bench, capsysbinary)
    await bench.clean()


async def test_a_question_of_an_acp_agent_is_recorded_and_its_session_goes_on(peers: Peers) -> None:
    question = {"call": ["AskOperator", {"question": "Which?", "options": ["a", "b"]}]}
    run_dir = peers.process([{"say": "I think.\nI ask."}, question, {"cost": 0.5}], "resume")

    exit = await peers.bench.run(run_dir)

    asked = peers.read(run_dir, Tail(run_dir / "output").read_new(), exit.code or 0)
    assert asked.outcome == Clean()
    assert exit.leftover_killed == 0, "our client ends its agent by itself"
    assert isinstance(asked.tools[0], ToolsReady)
    assert isinstance(asked.tools[1], Asked) and asked.tools[1].text == "Which?"
    assert asked.text == "I think.\nI ask."
    assert asked.of(ToolCall) == [ToolCall("call-1", "AskOperator", "Which?")]
    assert asked.of(ToolResult) == [ToolResult("call-1", True, "recorded; end your turn now")]
    assert asked.of(UsageEvent) == [
        UsageEvent(cost_usd=0.5, cumulative=True),
        UsageEvent(tokens_in=60, tokens_out=7, tokens_cached=40),
    ]

    resumed = await peers.run([{"say": "Thank you."}], "resume", session=asked.session)
    loaded = await peers.run([{"say": "Thank you."}], "load", session=asked.session)
    neither = await peers.run([{"say": "Hello."}], session=asked.session)

    assert (resumed.session, resumed.text) == (asked.session, "Thank you.")
    assert (loaded.session, loaded.text) == (asked.session, "Thank you."), "what is replayed is not told"
    assert peers.heard(resumed) == ["small: do it"] * 3
    assert neither.session != asked.session and neither.outcome == Clean(), "a new one, told everything"


LIMIT = {"codexErrorInfo": "usageLimitExceeded"}


@pytest.mark.parametrize(
    ("step", "abilities", "options", "kind", "message"),
    [
        ({"stop": "refusal"}, "", {}, "refused", "the model declined the task"),
        ({"stop": "max_tokens"}, "", {}, "turns", "the limit of tokens of one turn was reached"),
        (
            {"stop": "max_turn_requests"}, "", {}, "turns",
            "the agent's limit of requests in one turn was reached",
        ),
        ({"stop": "cancelled"}, "", {}, "agent", "the turn was cancelled"),
        ({"error": [-32603, "No", {"errorName": "APIError"}]}, "", {}, "", "No: APIError (-32603)"),
        ({"error": [-32603, "No", LIMIT]}, "", {}, "", "No (-32603)"),
        ({"error": [-32000, "Key?", None]}, "", {}, "auth", "it is not logged in: Key? (-32000)"),
        (
            {}, "login", {}, "auth",
            "it is not logged in: Authentication required (-32000); it knows these logins: peer login",
        ),
        (
            {}, "resume", {"session": "nope"}, "session",
            "it cannot go on with the session nope: Resource not found (-32002)",
        ),
        (
            {}, "models", {"model": "huge"}, "model",
            "it has no model huge; the first of its 2 are small, large",
        ),
        (
            {}, "", {"model": "huge"}, "model",
            "it offers no choice of a model over ACP, so not huge either",
        ),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, dict) else "",
)  # fmt: skip
async def test_every_bad_end_has_its_class_from_typed_fields(
    peers: Peers, step: dict[str, Any], abilities: str, options: dict[str, str], kind: str, message: str
) -> None:
    ran = await peers.run([step] if step else [], *abilities.split(), **options)  # type: ignore[arg-type]

    assert (ran.finished.error_kind, ran.finished.message) == (kind, message)
    assert ran.code == 1 and not isinstance(ran.outcome, Clean)
    assert bool(ran.of(LimitReached)) is (LIMIT in step.get("error", ()))


async def test_a_permission_is_given_inside_of_the_worktree_only_and_giving_up_is_no_success(
    peers: Peers,
) -> None:
    inside = {"permit": {"locations": [{"path": str(peers.tree / "a.txt")}]}}
    outside = {"permit": {"title": "read", "rawInput": {"file_path": "/etc/hostname"}}}

    gave_up = await peers.run([inside, outside])
    went_on = await peers.run([outside, {"say": "Then without it."}])
    allowed = await peers.run([inside])

    assert gave_up.finished.message == "it gave up when it was refused a permission: /etc/hostname"
    assert isinstance(gave_up.outcome, Failed)
    assert went_on.outcome == allowed.outcome == Clean()


async def test_the_model_of_the_configuration_is_chosen_before_the_prompt(peers: Peers) -> None:
    ran = await peers.run([], "models", model="large")

    assert peers.heard(ran) == ["large: do it"]


async def test_a_stop_reaches_the_agent_as_a_cancel_and_leaves_nothing(peers: Peers) -> None:
    run_dir = peers.process([{"say": "I wait.\n"}, {"wait": True}])
    await peers.bench.start(run_dir)
    output = run_dir / "output"
    await until(lambda: output.exists() and b"I wait." in output.read_bytes())

    assert stop.request_stop(run_dir)
    exit = await peers.bench.end(run_dir)

    ran = peers.read(run_dir, Tail(output).read_new(), exit.code or 0)
    assert (exit.how, exit.leftover_killed) == ("stopped", 0)
    assert ran.finished.message == "the turn was cancelled"


async def test_a_program_that_is_no_acp_agent_is_told_so(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    echoes, ended = await peers.program("/bin/echo", "hello"), await peers.program("/bin/sh", "-c", "exit 3")
    missing = await peers.program("/no/such/agent")
    monkeypatch.setattr(acp_client, "START_S", 0.1)
    monkeypatch.setattr(acp_client, "END_S", 0.1)
    silent = await peers.program("/bin/sleep", "60")

    assert echoes.finished.message == "it ended with exit code 0 before its turn was over"
    assert ended.finished.message == "it ended with exit code 3 before its turn was over"
    assert missing.finished.message.startswith("/no/such/agent did not start: ")
    assert silent.finished.message == "it did not answer `initialize` (is it an ACP agent?) within 0.1 s"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"locations": [{"path": "src/a.py"}]}, True),
        ({"locations": [{"path": "../other"}]}, False),
        ({"locations": [{"path": "src/a.py"}, {"path": "/etc"}]}, False),
        ({"content": [{"type": "diff", "path": "/etc/hosts", "newText": "x"}]}, False),
        ({"rawInput": {"filePath": "/etc/hosts"}}, False),
        ({"rawInput": {"file_path": "~/.ssh/id"}}, False),
        ({"rawInput": {"path": "link/x"}}, False),
        ({"rawInput": {"command": "/usr/bin/make -C src"}}, True),
        ({"rawInput": {"pattern": "/api/", "question": "/etc?"}}, True),
        ({"title": "ve_AskOperator"}, True),
    ],
)
def test_a_request_is_judged_by_every_place_that_it_names(
    tmp_path: Path, request_: dict[str, Any], expected: bool
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(tmp_path)
    call = schema.ToolCallUpdate.model_validate({"toolCallId": "1", **request_})

    assert allowed(call, tmp_path / "tree") is expected


def test_a_permission_is_given_for_one_time_and_never_for_ever() -> None:
    once, always, reject = OPTIONS

    assert choose([always, once, reject], allow=True) is once
    assert choose([once, always, reject], allow=False) is reject
    assert choose([always, reject], allow=True) is reject
    assert choose([always], allow=True) is None


def test_a_missing_program_is_found_before_a_run() -> None:
    missing, unset = Acp(Settings(command=("no-such-agent", "acp"))).check(), Acp(Settings()).check()

    assert (missing.ok, missing.reason) == (False, "no-such-agent is not installed")
    assert (unset.ok, unset.hint) == (
        False,
        "Name one: ve orch config set agents.acp.command 'opencode acp'",
    )


def test_without_the_sdk_the_check_names_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "acp", None)

    fitness = Acp(Settings(command=("sh",))).check()

    assert (fitness.ok, fitness.hint) == (False, "pip install 've-orch[acp]'")
    assert "SDK of the Agent Client Protocol is not installed" in fitness.reason


def test_the_sdk_is_not_imported_where_it_is_not_needed() -> None:
    program = "import sys; from ve.agents import adapter; adapter('acp').check(); print('acp' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout == "False\n"


@many_runs
def test_opencode_over_acp_writes_asks_and_goes_on_with_the_answer(tmp_path: Path) -> None:
    """The real program, with its own tools and ours, against the scripted model."""
    program = client("opencode")
    for name in ("home", "tree"):
        (tmp_path / name).mkdir()
    write = Use("bash", {"command": "echo hello > hello.txt", "description": "write"})
    ask = Use("ve_AskOperator", {"question": "Which?", "options": ["a", "b"]})
    adapter = Acp(Settings())

    with ScriptedModel([Turn(uses=[write, ask]), Turn(text="I wait."), Turn(text="Thank you.")]) as model:
        own = settings(program, model.url)
        first = run(tmp_path, own, None)
        second = run(tmp_path, own, session_of(first))
        conversation = json.dumps(model.asked[-1].body)

    events = list(chain.from_iterable(map(adapter.parse, first)))
    assert isinstance(events[-1], Finished) and events[-1].ok, events
    assert (tmp_path / "tree" / "hello.txt").read_text() == "hello\n"
    (asking,) = (p for p in tmp_path.glob("run-*") if b'"ask"' in (p / "tools.jsonl").read_bytes())
    assert "Which?" in (asking / "tools.jsonl").read_text()
    again = list(chain.from_iterable(map(adapter.parse, second)))
    assert isinstance(again[-1], Finished) and again[-1].ok, again
    assert session_of(second) == session_of(first)
    assert "I wait." in conversation, "the second run goes on with the first one's conversation"
    assert [e.text for e in again if isinstance(e, ModelEvent) and e.text] == ["Thank you."]
