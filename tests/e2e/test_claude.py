"""The real Claude Code, from inject to the merge, and in each way to fail, against a scripted model.

Only the model is scripted: the client is Anthropic's own, installed by tests/agents/clients.py.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.agents.record_claude import ECHO, SUBSCRIPTION
from tests.e2e.given import Project
from tests.e2e.real_client import (
    WHOLE_WAY,
    Begin,
    asking,
    beginning,
    ends,
    models,
    tokens,
    went_on_to_the_end,
)
from ve.testing import Performer, Refusal, ScriptedModel, Turn, usage_limit

KEY = 'env.ANTHROPIC_API_KEY = "scripted"\n'
PLANNED = """
[[PLAN]]
write = "docs/chunks/a/PLAN.md"
text = "# Implementation Plan\\n\\n## Approach\\n\\nAsk, then write the colour down.\\n"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The operator's home: an empty one."""
    made = tmp_path / "home"
    made.mkdir()
    return made


@pytest.fixture
async def begin(project: Project, home: Path) -> AsyncIterator[Begin]:
    """Claude Code, with a key."""
    own = {"HOME": home, "CLAUDE_CODE_TMPDIR": home, "CLAUDE_CODE_MAX_RETRIES": 0}
    env = "".join(f'env.{name} = "{value}"\n' for name, value in own.items())
    async with beginning(project, "claude", lambda _: env, slots=3, usual=KEY) as begin:
        yield begin


async def test_a_unit_goes_from_inject_to_the_merge_with_a_question_and_a_review_on_the_way(
    project: Project, begin: Begin
) -> None:
    project.chunk("a", PLANNED + WHOLE_WAY, plan=False)
    with ScriptedModel(perform=Performer()) as model:
        orch = await begin({"a": model.url})
        asked = await asking(orch)
        before = len(model.asked)

        await orch.verb("a", "answer", option=2)
        await orch.done("a")

    went_on_to_the_end(project, orch)
    went_on = model.asked[before].headers["x-claude-code-session-id"]
    assert went_on == asked.session_id, "the answer went into the same conversation"
    assert await tokens(orch) == 100 * len(model.asked), (
        "Claude Code counts a conversation, `ve` each run once"
    )


async def test_an_answer_reaches_a_new_conversation_when_the_old_one_is_gone(
    project: Project, begin: Begin, home: Path
) -> None:
    project.chunk("a", WHOLE_WAY)
    with ScriptedModel(perform=Performer()) as model:
        orch = await begin({"a": model.url}, retries=1)
        asked = await asking(orch)
        before = len(model.asked)

        shutil.rmtree(home / ".claude" / "projects")
        await orch.verb("a", "answer", text="green")
        await orch.until(lambda: "Delivered" in orch.commands("a")[-3:])
        quoted = model.asked[before].request

    assert orch.unit("a").session_id != asked.session_id
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
    "looping": f"{KEY}max_turns = 3",
    "no_flag": f'{KEY}args = ["--no-such-flag"]',
    "no_tools": f'{KEY}env.MCP_TIMEOUT = "1"',
}
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
    with models(project, WAYS_TO_FAIL, unplanned=["hanging"]) as made:
        orch = await begin({name: model.url for name, model in made.items()}, MORE, plan="idle_s = 3")
        await orch.inject(*made)

        assert await ends(orch, ENDS) == ENDS


async def test_a_usage_limit_closes_the_backend_until_it_resets_and_the_unit_waits(
    project: Project, begin: Begin
) -> None:
    subscription = "".join(f'env.{name} = "{text}"\n' for name, text in SUBSCRIPTION.items() if text)
    project.chunk("a")
    with ScriptedModel([usage_limit(7200)]) as model:
        orch = await begin({"a": model.url}, {"a": subscription})
        await orch.inject("a")
        await orch.until(lambda: orch.core.stream.board.lanes)

    (lane,) = orch.core.stream.board.lanes
    assert timedelta(hours=1, minutes=58) < lane.until - datetime.now(UTC) < timedelta(hours=2, minutes=2)
    assert "5-hour limit" in lane.reason
    assert orch.unit("a").status == "READY"
    assert not orch.ops.attention().groups
