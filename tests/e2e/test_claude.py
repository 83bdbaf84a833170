"""The real Claude Code, from inject to the merge, and in each way to fail, against a scripted model.

Only the model is scripted: the client is Anthropic's own, installed by tests/agents/clients.py.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.agents.clients import client
from tests.agents.record_claude import ECHO, SUBSCRIPTION
from tests.e2e.given import Orch, Project, carriers
from ve.testing import Performer, Refusal, ScriptedModel, Turn, usage_limit
from ve.views import UnitView

SETTINGS = """
slots = 3
[limits]
retry_s = 0.02
retries = {retries}
[phase.PLAN]
idle_s = {idle_s}
"""

AGENT = """
[agents.{name}]
adapter = "claude"
command = "{binary}"
base_url = "{url}"
env = {{ HOME = "{home}", CLAUDE_CODE_TMPDIR = "{home}", CLAUDE_CODE_MAX_RETRIES = "0", {env} }}
{more}
[chunk.{name}]
agent = "{name}"
"""
KEY = 'ANTHROPIC_API_KEY = "scripted"'

WHOLE_WAY = """
[[PLAN]]
write = "docs/chunks/a/PLAN.md"
text = "# Implementation Plan\\n\\n## Approach\\n\\nAsk, then write the colour down.\\n"

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
def home(tmp_path: Path) -> Path:
    """The operator's home: an empty one."""
    made = tmp_path / "home"
    made.mkdir()
    return made


@pytest.fixture
async def begin(project: Project, home: Path) -> AsyncIterator[Begin]:
    """Starts a core where each of these chunks has a Claude Code, and a model, of its own."""
    binary = client("claude")
    running: list[Orch] = []

    async def start(
        urls: Mapping[str, str], more: Mapping[str, str] = {}, env: Mapping[str, str] = {}, *,
        retries: int = 0, idle_s: int = 900,
    ) -> Orch:  # fmt: skip
        sections = [
            AGENT.format(
                name=name,
                binary=binary,
                url=url,
                home=home,
                more=more.get(name, ""),
                env=env.get(name, KEY),
            )
            for name, url in urls.items()
        ]
        project.commit({"ve.toml": SETTINGS.format(retries=retries, idle_s=idle_s) + "".join(sections)})
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
    project.chunk("a", WHOLE_WAY, plan=False)
    with ScriptedModel(perform=Performer()) as model:
        orch = await begin({"a": model.url})
        await orch.inject("a")
        asking = await orch.status("a", "NEEDS_ATTENTION", "question")
        assert (asking.phase, asking.attention_reason, asking.options) == (
            "IMPLEMENT", "Which colour?", ("red", "blue"),
        )  # fmt: skip
        assert asking.slot is None
        before = len(model.asked)

        await orch.verb("a", "answer", option=2)
        await orch.done("a")

    assert (project.root / "work" / "colour.txt").read_text() == "blue\ndark\n"
    assert orch.unit("a").questions[0].state == "delivered"
    assert [t.why for t in orch.seen if t.command == "ReviewDecided"] == ["feedback", "approve"]
    project.judged_sound()
    went_on = model.asked[before].headers["x-claude-code-session-id"]
    assert went_on == asking.session_id, "the answer went into the same conversation"
    spent = await orch.sql("select sum(input_tokens) from runs")
    assert spent == [[100 * len(model.asked)]], "Claude Code counts a conversation, `ve` each run once"


async def test_an_answer_reaches_a_new_conversation_when_the_old_one_is_gone(
    project: Project, begin: Begin, home: Path
) -> None:
    project.chunk("a", WHOLE_WAY)
    with ScriptedModel(perform=Performer()) as model:
        orch = await begin({"a": model.url}, retries=1)
        await orch.inject("a")
        asking = await orch.status("a", "NEEDS_ATTENTION", "question")
        before = len(model.asked)

        shutil.rmtree(home / ".claude" / "projects")
        await orch.verb("a", "answer", text="green")
        await orch.until(lambda: "Delivered" in orch.commands("a")[-3:])
        quoted = model.asked[before].request

    assert orch.unit("a").session_id != asking.session_id
    assert quoted is not None and "Which colour?" in quoted.prompts[-1] and "green" in quoted.prompts[-1]


WAYS_TO_FAIL: dict[str, list[Turn | Refusal]] = {
    "unauthorized": [Refusal(401, "invalid x-api-key")],
    "rate_limited": [Refusal(429)],
    "told_to_wait": [Refusal(429, headers={"retry-after": "3600"})],
    "overloaded": [Refusal(529)],
    "cut": [Turn(text="half of this", cut=True)],
    "declined": [Turn(text="I can't.", stop="refusal")],
    "talkative": [Turn(text="All failed? error 429! Shall I go on?")],
    "looping": [ECHO],
    "no_flag": [Turn()],
    "no_tools": [Turn(text="All is well.")],
    "hanging": [Turn(text="too late", stall_s=600)],
}
MORE = {
    "looping": "max_turns = 3",
    "no_flag": 'args = ["--no-such-flag"]',
}
ENV = {"no_tools": f'{KEY}, MCP_TIMEOUT = "1"'}
ENDS: dict[str, tuple[str, str]] = {
    "unauthorized": ("setup", "Invalid API key"),
    "rate_limited": ("error", "Request rejected (429)"),
    "told_to_wait": ("error", "Request rejected (429)"),
    "overloaded": ("error", "529 refused by the script"),
    "cut": ("error", "Connection to the API was lost"),
    "declined": ("error", "safeguards flagged this message"),
    "talkative": ("error", "nothing in its tree has changed"),
    "looping": ("limit", "Reached maximum number of turns (3)"),
    "no_flag": ("setup", "unknown option '--no-such-flag'"),
    "no_tools": ("setup", "the tool server `ve` did not start in it, its state is failed"),
    "hanging": ("stalled", "no output for 3 s"),
}


async def test_each_way_to_fail_is_told_apart(project: Project, begin: Begin) -> None:
    """All of them in one core, each with its own model; the silent one is in PLAN, with a short limit."""
    with ExitStack() as open_until_here:
        urls = {}
        for name, turns in WAYS_TO_FAIL.items():
            urls[name] = open_until_here.enter_context(ScriptedModel(turns)).url
            project.chunk(name, plan=name != "hanging")
        orch = await begin(urls, MORE, ENV, idle_s=3)
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
    subscription = ", ".join(f'{name} = "{text}"' for name, text in SUBSCRIPTION.items() if text)
    project.chunk("a")
    with ScriptedModel([usage_limit(7200)]) as model:
        orch = await begin({"a": model.url}, env={"a": subscription})
        await orch.inject("a")
        await orch.until(lambda: orch.core.stream.board.lanes)

    (lane,) = orch.core.stream.board.lanes
    assert timedelta(hours=1, minutes=58) < lane.until - datetime.now(UTC) < timedelta(hours=2, minutes=2)
    assert "5-hour limit" in lane.reason
    assert orch.unit("a").status == "READY"
    assert not orch.ops.attention().groups
