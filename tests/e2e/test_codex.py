"""The real Codex, from inject to the merge, and in each way to fail, against a scripted model.

Only the model is scripted: the client is OpenAI's own, installed by tests/agents/clients.py.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.agents.clients import client
from tests.agents.record_codex import CODEX, shell
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
from ve.agents.base import Settings
from ve.agents.codex import Codex
from ve.testing import Performer, Refusal, ScriptedModel, Turn, usage_limit


@pytest.fixture
async def begin(project: Project, tmp_path: Path) -> AsyncIterator[Begin]:
    """Codex, with a key, and without its sandbox where that does not work."""
    home = tmp_path / "home"
    home.mkdir()
    asked = Settings(command=(str(client("codex")),), env={"HOME": str(home), "CODEX_API_KEY": "x"})
    args = [] if Codex(asked).check().ok else ["--sandbox", "danger-full-access"]
    own = f'model = "scripted"\nargs = {args}\nenv = {{ HOME = "{home}", OPENAI_API_KEY = "scripted" }}'
    plan = "idle_s = 6\nwall_s = 8"
    async with beginning(project, "codex", lambda _: own, slots=16, plan=plan) as begin:
        yield begin


async def test_a_unit_goes_from_inject_to_the_merge_with_a_question_and_a_review_on_the_way(
    project: Project, begin: Begin
) -> None:
    project.chunk("a", WHOLE_WAY)
    with ScriptedModel(perform=Performer()) as model:
        orch = await begin({"a": model.url})
        asked = await asking(orch)

        await orch.verb("a", "answer", option=2)
        await orch.done("a")

    went_on_to_the_end(project, orch)
    first, second = (CODEX.session_of(output(orch, f"*-implement-{visit}-*")) for visit in (1, 2))
    assert first == second == asked.session_id, "the answer went into the same conversation"
    assert await tokens(orch) == 100 * len(model.asked), "Codex counts a conversation, `ve` each run once"


async def test_an_answer_reaches_a_new_conversation_when_the_old_one_is_gone(
    project: Project, begin: Begin, tmp_path: Path
) -> None:
    project.chunk("a", '[[IMPLEMENT]]\nask = "Which?"\n[[IMPLEMENT]]\nwrite = "a.txt"\ntext = "{answer}"\n')
    with ScriptedModel(perform=Performer()) as model:
        orch = await begin({"a": model.url}, retries=1)
        await orch.inject("a")
        asked = await orch.status("a", "NEEDS_ATTENTION", "question")
        shutil.rmtree(tmp_path / "home" / ".codex")

        await orch.verb("a", "answer", text="this one")
        await orch.done("a")

    assert (project.root / "a.txt").read_text() == "this one"
    newest = CODEX.session_of(output(orch, "*-implement-3-*"))
    assert newest != asked.session_id
    (prompt,) = orch.places.runs_dir.glob("*-implement-3-*/prompt.md")
    assert "> Which?" in prompt.read_text() and "> this one" in prompt.read_text()


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
    with models(project, WAYS_TO_FAIL, unplanned=["hanging", "looping"]) as made:
        urls = {name: model.url for name, model in made.items()} | {"unreachable": CLOSED}
        orch = await begin(urls, {"many_turns": "max_turns = 3"})
        await orch.inject(*made)

        assert await ends(orch, ENDS) == ENDS


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
