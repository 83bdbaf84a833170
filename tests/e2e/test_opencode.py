"""The real OpenCode, from inject to the merge, and in each way to fail, against a scripted model.

Only the model is scripted: the client is OpenCode's own, installed by tests/agents/clients.py.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.agents.clients import WHOLE
from tests.agents.record_opencode import OPENCODE, shell
from tests.agents.recordings import CLOSED
from tests.e2e.given import Project
from tests.e2e.real_client import (
    WHOLE_WAY,
    Begin,
    asking,
    beginning,
    ends,
    models,
    output,
    tokens,
    went_on_to_the_end,
)
from ve.testing import Performer, Refusal, ScriptedModel, Turn, usage_limit

FEEDBACK = WHOLE_WAY[WHOLE_WAY.index("[[REVIEW]]") : WHOLE_WAY.index("[[REVIEW]]\nvisit = 2")]
"""The round that `just clients` adds: each run of OpenCode costs some five seconds of a core."""


@pytest.fixture
async def begin(project: Project, tmp_path: Path) -> AsyncIterator[Begin]:
    """OpenCode, with a home of its own for each chunk."""

    def own(name: str) -> str:
        home = tmp_path / f"home-{name}"
        home.mkdir(exist_ok=True)
        env = {"HOME": home, "OPENCODE_TEST_MANAGED_CONFIG_DIR": home, "npm_config_registry": CLOSED}
        return "".join(f'env.{name} = "{value}"\n' for name, value in env.items())

    async with beginning(project, "opencode", own, slots=2, plan="idle_s = 8") as begin:
        yield begin


async def test_a_unit_goes_from_inject_to_the_merge_with_a_question_and_a_review_on_the_way(
    project: Project, begin: Begin
) -> None:
    brief = WHOLE_WAY.replace(FEEDBACK, "").replace("visit = 2\ndecide", "decide")
    project.chunk("a", WHOLE_WAY if WHOLE else brief)
    with ScriptedModel(perform=Performer()) as model:
        orch = await begin({"a": model.url})
        asked = await asking(orch)

        await orch.verb("a", "answer", option=2)
        await orch.done("a", within_s=100)

    text, decided = ("blue\ndark\n", ["feedback", "approve"]) if WHOLE else ("blue\n", ["approve"])
    went_on_to_the_end(project, orch, text, decided)
    first, second = (OPENCODE.session_of(output(orch, f"*-implement-{visit}-*")) for visit in (1, 2))
    assert first == second == asked.session_id, "the answer went into the same conversation"
    assert await tokens(orch) == 100 * len(model.asked), "each step is counted once"


LOOP: list[Turn | Refusal] = [shell("true")]
WAYS_TO_FAIL: dict[str, list[Turn | Refusal]] = {
    "unauthorized": [Refusal(401)],
    "told_to_wait": [Refusal(429, headers={"retry-after": "3600"})],
    "server_error": [Refusal(500, headers={"retry-after": "0"})],
    "cut": [Turn(text="half of this", cut=True)],
    "never_ends": [Turn(text="half of this", stop="nothing it knows")],
    "declined": [Turn(text="I can't.", stop="refusal")],
    "talkative": [Turn(text="All failed? error 429! Shall I go on?")],
    "looping": LOOP,
    "no_tools": LOOP,
    "hanging": [Turn(text="too late", stall_s=600)],
}
BRIEF = ("unauthorized",)
"""Each of its runs costs some five seconds of a core: `just clients` goes all the ways."""
ENDS: dict[str, tuple[str, str]] = {
    "unauthorized": ("setup", "HTTP 401: refused by the script"),
    "told_to_wait": ("error", "HTTP 429: refused by the script (not before 20"),
    "server_error": ("error", "HTTP 500: refused by the script"),
    "cut": ("error", "onnection "),  # it was closed, or reset: the same failure seen by two layers
    "never_ends": ("error", "cut 3 times in a row, and it never gives up"),
    "declined": ("error", "content filter"),
    "talkative": ("error", "nothing in its tree has changed"),
    "looping": ("limit", "it made 3 turns (max_turns) and wants to go on"),
    "no_tools": ("setup", "it works without the tools of `ve`"),
    "hanging": ("stalled", "no output for 8 s"),
}


async def test_each_way_to_fail_is_told_apart_and_a_usage_limit_closes_the_backend(
    project: Project, begin: Begin, tmp_path: Path
) -> None:
    """All of them in one core, each with its own model; the silent one is in PLAN, with a short limit.

    The administrator's configuration is stronger than ours: there the tool server is another program.
    """
    ways = {name: turns for name, turns in WAYS_TO_FAIL.items() if WHOLE or name in BRIEF}
    (tmp_path / "home-no_tools").mkdir()
    managed = {"mcp": {"ve": {"type": "local", "command": ["/bin/false"]}}}
    (tmp_path / "home-no_tools" / "opencode.json").write_text(json.dumps(managed))
    with models(project, {**ways, "limited": [usage_limit(7200)]}, unplanned=["hanging"]) as made:
        urls = {name: model.url for name, model in made.items()}
        orch = await begin(urls, {"looping": "max_turns = 3"})
        await orch.inject(*made)

        expected = {name: ENDS[name] for name in ways}
        assert await ends(orch, expected, within_s=90) == expected
        (lane,) = await orch.until(lambda: orch.core.stream.board.lanes)
        requests = {name: len(model.asked) for name, model in made.items()}

    if WHOLE:
        assert (requests["told_to_wait"], requests["server_error"], requests["hanging"]) == (1, 3, 1)
    assert timedelta(hours=1, minutes=57) < lane.until - datetime.now(UTC) < timedelta(hours=2, minutes=2)
    assert orch.unit("limited").status == "READY"
