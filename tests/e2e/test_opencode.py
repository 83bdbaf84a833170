"""The real OpenCode, from inject to the merge, and in each way to fail, against a scripted model.

Only the model is scripted: the client is OpenCode's own, installed by tests/agents/clients.py.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.agents.clients import WHOLE, client
from tests.agents.record_opencode import CLOSED, session_of, shell
from tests.e2e.given import Orch, Project, carriers
from ve.testing import Performer, Refusal, ScriptedModel, Turn, usage_limit
from ve.views import UnitView

SETTINGS = """
slots = 2
[limits]
retry_s = 0.02
retries = 0
[phase.PLAN]
idle_s = 8
"""

AGENT = """
[agents.{name}]
adapter = "opencode"
command = "{binary}"
base_url = "{url}"
env = {{ HOME = "{home}", OPENCODE_TEST_MANAGED_CONFIG_DIR = "{home}", npm_config_registry = "{closed}" }}
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
    """Starts a core where each of these chunks has an OpenCode, a model and a home of its own."""
    binary = client("opencode")
    running: list[Orch] = []

    async def start(urls: Mapping[str, str], more: Mapping[str, str] = {}) -> Orch:
        sections = []
        for name, url in urls.items():
            home = tmp_path / f"home-{name}"
            home.mkdir(exist_ok=True)
            sections.append(
                AGENT.format(
                    name=name, binary=binary, url=url, home=home, closed=CLOSED, more=more.get(name, "")
                )
            )
        project.commit({"ve.toml": SETTINGS + "".join(sections)})
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
        await orch.done("a", within_s=100)

    assert (project.root / "work" / "colour.txt").read_text() == "blue\ndark\n"
    assert orch.unit("a").questions[0].state == "delivered"
    assert [t.why for t in orch.seen if t.command == "ReviewDecided"] == ["feedback", "approve"]
    project.judged_sound()
    first, second = (session_of(output(orch, f"*-implement-{visit}-*")) for visit in (1, 2))
    assert first == second == asking.session_id, "the answer went into the same conversation"
    spent = await orch.sql("select sum(input_tokens) from runs")
    assert spent == [[100 * len(model.asked)]], "each step is counted once"


def output(orch: Orch, run: str) -> list[bytes]:
    """What the client printed in that run."""
    (folder,) = orch.places.runs_dir.glob(run)
    return (folder / "output").read_bytes().splitlines()


LOOP = [shell("true")]
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
BRIEF = ("cut", "no_tools", "looping")
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
    with ExitStack() as open_until_here:
        models = {
            name: open_until_here.enter_context(ScriptedModel(turns))
            for name, turns in {**ways, "limited": [usage_limit(7200)]}.items()
        }
        for name in models:
            project.chunk(name, plan=name != "hanging")
        orch = await begin({name: m.url for name, m in models.items()}, {"looping": "max_turns = 3"})
        await orch.inject(*models)

        def needing() -> dict[str, UnitView]:
            units = {name: orch.unit(name) for name in ways}
            ended = all(unit.status == "NEEDS_ATTENTION" for unit in units.values())
            return units if ended and orch.core.stream.board.lanes else {}

        units = await orch.until(needing, 90)
        requests = {name: len(model.asked) for name, model in models.items()}

    ends = {name: (unit.attention_kind, unit.attention_reason or "") for name, unit in units.items()}
    assert {name: kind for name, (kind, _) in ends.items()} == {name: ENDS[name][0] for name in ways}
    assert not {name: said for name, (_, said) in ends.items() if ENDS[name][1] not in said}
    if WHOLE:
        assert (requests["told_to_wait"], requests["server_error"], requests["hanging"]) == (1, 3, 1)
    (lane,) = orch.core.stream.board.lanes
    assert timedelta(hours=1, minutes=57) < lane.until - datetime.now(UTC) < timedelta(hours=2, minutes=2)
    assert orch.unit("limited").status == "READY"
