"""The real Codex, from inject to the merge, and in each way to fail, against a scripted model.

Only the model is scripted: the client is OpenAI's own, installed by tests/agents/clients.py.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.agents.clients import client
from tests.agents.record_codex import CLOSED, shell, thread
from tests.e2e.given import Orch, Project, carriers
from ve.agents.base import Settings
from ve.agents.codex import Codex
from ve.testing import Performer, Refusal, ScriptedModel, Turn, usage_limit
from ve.views import UnitView

SETTINGS = """
slots = 16
[limits]
retry_s = 0.02
retries = {retries}
[phase.PLAN]
idle_s = 6
wall_s = 8
"""

AGENT = """
[agents.{name}]
adapter = "codex"
command = "{binary}"
base_url = "{url}"
model = "scripted"
args = {args}
env = {{ HOME = "{home}", OPENAI_API_KEY = "scripted" }}
{more}
[chunk.{name}]
agent = "{name}"
"""

WHOLE_WAY = """
[[IMPLEMENT]]
visit = 1
ask = "Which colour?"
options = ["red", "blue"]

[[IMPLEMENT]]
visit = 2
write = "work/colour.txt"
text = "{answer}\\n"

[[REVIEW]]
visit = 1
decide = "feedback"
issues = [{ id = "i1", place = "work/colour.txt", concern = "It names no shade." }]

[[IMPLEMENT]]
visit = 3
append = "work/colour.txt"
text = "dark\\n"

[[IMPLEMENT]]
visit = 3
dispose = "*"
reason = "the shade is there"

[[REVIEW]]
visit = 2
decide = "approve"
"""

Begin = Callable[..., Awaitable[Orch]]


@pytest.fixture
async def begin(project: Project, tmp_path: Path) -> AsyncIterator[Begin]:
    """Starts a core where each of these chunks has a Codex, and a model, of its own."""
    binary, home = client("codex"), tmp_path / "home"
    home.mkdir()
    asked = Settings(command=(str(binary),), env={"HOME": str(home), "CODEX_API_KEY": "x"})
    args = [] if Codex(asked).check().ok else ["--sandbox", "danger-full-access"]
    running: list[Orch] = []

    async def start(urls: Mapping[str, str], more: Mapping[str, str] = {}, retries: int = 0) -> Orch:
        sections = [
            AGENT.format(name=name, binary=binary, url=url, home=home, args=args, more=more.get(name, ""))
            for name, url in urls.items()
        ]
        project.commit({"ve.toml": SETTINGS.format(retries=retries) + "".join(sections)})
        running.append(await Orch(project.root).start())
        return running[0]

    yield start
    for orch in running:
        await orch.stop()
        assert not carriers([place.name for place in orch.places.runs_dir.glob("*")])
        assert not orch.core.stream.broken


async def test_a_unit_goes_from_inject_to_the_merge_with_a_question_and_a_review_on_the_way(
    project: Project, begin: Begin
) -> None:
    project.chunk("a", WHOLE_WAY)
    with ScriptedModel(perform=Performer()) as model:
        orch = await begin({"a": model.url})
        await orch.inject("a")
        asking = await orch.status("a", "NEEDS_ATTENTION", "question")
        assert (asking.attention_reason, asking.options) == ("Which colour?", ("red", "blue"))
        assert asking.slot is None

        await orch.verb("a", "answer", option=2)
        await orch.done("a")

    assert (project.root / "work" / "colour.txt").read_text() == "blue\ndark\n"
    assert orch.unit("a").questions[0].state == "delivered"
    assert [t.why for t in orch.seen if t.command == "ReviewDecided"] == ["feedback", "approve"]
    project.judged_sound()
    first, second = (thread(output(orch, f"*-implement-{visit}-*")) for visit in (1, 2))
    assert first == second == asking.session_id, "the answer went into the same conversation"
    spent = await orch.sql("select sum(input_tokens) from runs")
    assert spent == [[100 * len(model.asked)]], "Codex counts a conversation, `ve` each run once"


async def test_an_answer_reaches_a_new_conversation_when_the_old_one_is_gone(
    project: Project, begin: Begin, tmp_path: Path
) -> None:
    project.chunk("a", '[[IMPLEMENT]]\nask = "Which?"\n[[IMPLEMENT]]\nwrite = "a.txt"\ntext = "{answer}"\n')
    with ScriptedModel(perform=Performer()) as model:
        orch = await begin({"a": model.url}, retries=1)
        await orch.inject("a")
        asking = await orch.status("a", "NEEDS_ATTENTION", "question")
        shutil.rmtree(tmp_path / "home" / ".codex")

        await orch.verb("a", "answer", text="this one")
        await orch.done("a")

    assert (project.root / "a.txt").read_text() == "this one"
    newest = thread(output(orch, "*-implement-3-*"))
    assert newest != asking.session_id
    (prompt,) = orch.places.runs_dir.glob("*-implement-3-*/prompt.md")
    assert "> Which?" in prompt.read_text() and "> this one" in prompt.read_text()


def output(orch: Orch, run: str) -> list[bytes]:
    """What the client printed in that run."""
    (folder,) = orch.places.runs_dir.glob(run)
    return (folder / "output").read_bytes().splitlines()


LOOP: list[Turn | Refusal] = [shell("true")]
WAYS_TO_FAIL: dict[str, list[Turn | Refusal]] = {
    "hanging": [Turn(text="too late", stall_s=600)],
    "looping": LOOP,
    "unauthorized": [Refusal(401)],
    "rate_limited": [Refusal(429)],
    "told_to_wait": [Refusal(429, headers={"retry-after": "3600"})],
    "server_error": [Refusal(500)],
    "overloaded": [Refusal(529)],
    "cut": [Turn(text="half of this", cut=True)],
    "declined": [Turn(text="I can't.", stop="refusal")],
    "talkative": [Turn(text="All failed? error 429! Shall I go on?")],
    "many_turns": LOOP,
    "unreachable": [Turn()],
}
ENDS: dict[str, tuple[str, str]] = {
    "unauthorized": ("setup", "unexpected status 401 Unauthorized"),
    "rate_limited": ("error", "last status: 429 Too Many Requests"),
    "told_to_wait": ("error", "Codex was stopped: Reconnecting... 1/2"),
    "server_error": ("error", "high demand"),
    "overloaded": ("error", "unexpected status 529"),
    "cut": ("error", "stream disconnected before completion"),
    "declined": ("error", "reason: content_filter"),
    "talkative": ("error", "nothing in its tree has changed"),
    "many_turns": ("limit", "it called more than 3 tools (max_turns)"),
    "unreachable": ("error", "Connection failed"),
    "hanging": ("stalled", "no output for 6 s"),
    "looping": ("stalled", "8 s"),
}


async def test_each_way_to_fail_is_told_apart(project: Project, begin: Begin) -> None:
    """All at once, each with its own model. What must end by time alone is in PLAN, with short limits."""
    with ExitStack() as open_until_here:
        urls = {}
        for name, turns in WAYS_TO_FAIL.items():
            urls[name] = open_until_here.enter_context(ScriptedModel(turns)).url
            project.chunk(name, plan=name not in ("hanging", "looping"))
        orch = await begin({**urls, "unreachable": CLOSED}, {"many_turns": "max_turns = 3"})
        await orch.inject(*WAYS_TO_FAIL)

        def needing() -> dict[str, UnitView]:
            units = {name: orch.unit(name) for name in WAYS_TO_FAIL}
            return units if all(unit.status == "NEEDS_ATTENTION" for unit in units.values()) else {}

        units = await orch.until(needing)

    ends = {name: (unit.attention_kind, unit.attention_reason or "") for name, unit in units.items()}
    assert {name: kind for name, (kind, _) in ends.items()} == {
        name: kind for name, (kind, _) in ENDS.items()
    }
    assert not {name: said for name, (_, said) in ends.items() if ENDS[name][1] not in said}


async def test_a_usage_limit_closes_the_backend_until_it_resets_and_the_unit_waits(
    project: Project, begin: Begin
) -> None:
    with (
        ScriptedModel([usage_limit(7200)]) as told,
        ScriptedModel([Refusal(429, kind="usage_limit_reached")]) as not_told,
    ):
        project.chunk("until")
        project.chunk("unknown")
        orch = await begin({"until": told.url, "unknown": not_told.url})
        await orch.inject("until", "unknown")
        await orch.until(lambda: len(orch.core.stream.board.lanes) == 2)

    assert {orch.unit(name).status for name in ("until", "unknown")} == {"READY"}
    left = {lane.backend: lane.until - datetime.now(UTC) for lane in orch.core.stream.board.lanes}
    assert timedelta(hours=1, minutes=58) < left["until"] < timedelta(hours=2, minutes=2)
    assert left["unknown"] < timedelta(minutes=15)
    assert not orch.ops.attention().groups
