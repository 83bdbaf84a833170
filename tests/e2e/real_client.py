"""A real client on a project, against scripted models: what the tests of all clients have in common.

Only the model is scripted: the clients are their makers' own, installed by tests/agents/clients.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager

from tests.agents.clients import client
from tests.e2e.given import WAIT_S, Orch, Project, carriers
from ve.testing import Refusal, ScriptedModel, Turn
from ve.views import UnitView

SETTINGS = """
slots = {slots}
[limits]
retry_s = 0.02
retries = {retries}
[phase.PLAN]
{plan}
"""
AGENT = """
[agents.{name}]
adapter = "{adapter}"
command = "{binary}"
base_url = "{url}"
{own}
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
"""What the model does on the way with a question and a review."""

Begin = Callable[..., Awaitable[Orch]]
"""begin(urls, more={}, *, retries=0, plan=…): a core where each of these chunks has a client, and a model, of
its own. `more` is added to a chunk's agent, in place of `usual`; `plan` are the limits of PLAN."""


@asynccontextmanager
async def beginning(
    project: Project, adapter: str, own: Callable[[str], str], *, slots: int, plan: str = "", usual: str = ""
) -> AsyncIterator[Begin]:
    """For the fixture `begin`. `own` gives what is special to the client, in the agent of that chunk."""
    binary = client(adapter)
    running: list[Orch] = []

    async def begin(
        urls: Mapping[str, str], more: Mapping[str, str] = {}, *, retries: int = 0, plan: str = plan
    ) -> Orch:
        sections = [
            AGENT.format(
                name=name, adapter=adapter, binary=binary, url=url, own=own(name), more=more.get(name, usual)
            )
            for name, url in urls.items()
        ]
        settings = SETTINGS.format(slots=slots, retries=retries, plan=plan)
        project.commit({"ve.toml": settings + "".join(sections)})
        running.append(await Orch(project.root).start())
        return running[0]

    yield begin
    for orch in running:
        await orch.stop()
        assert not carriers([place.name for place in orch.places.runs_dir.glob("*")])
        assert not orch.core.stream.broken


async def asking(orch: Orch) -> UnitView:
    """The chunk `a` once it waits for the answer of WHOLE_WAY, and its run has ended."""
    await orch.inject("a")
    unit = await orch.status("a", "NEEDS_ATTENTION", "question")
    assert (unit.phase, unit.attention_reason) == ("IMPLEMENT", "Which colour?")
    assert unit.options == ("red", "blue")
    await orch.until(lambda: orch.unit("a").slot is None)
    return unit


def went_on_to_the_end(
    project: Project, orch: Orch, text: str = "blue\ndark\n", decided: Sequence[str] = ("feedback", "approve")
) -> None:
    """What WHOLE_WAY leaves: the work, the answer delivered, these decisions, a sound repository."""
    assert (project.root / "work" / "colour.txt").read_text() == text
    assert orch.unit("a").questions[0].state == "delivered"
    assert [t.why for t in orch.seen if t.command == "ReviewDecided"] == list(decided)
    project.judged_sound()


async def tokens(orch: Orch) -> int:
    """How many went in, over all runs."""
    ((spent,),) = await orch.sql("select sum(input_tokens) from runs")
    return int(spent)


def output(orch: Orch, run: str) -> list[bytes]:
    """What the client printed in that run."""
    (folder,) = orch.places.runs_dir.glob(run)
    return (folder / "output").read_bytes().splitlines()


@contextmanager
def models(
    project: Project, ways: Mapping[str, Sequence[Turn | Refusal]], unplanned: Sequence[str] = ()
) -> Iterator[dict[str, ScriptedModel]]:
    """A chunk, and a model that does this, for each way to fail; `unplanned` chunks begin with PLAN."""
    with ExitStack() as open_until_here:
        made = {}
        for name, turns in ways.items():
            made[name] = open_until_here.enter_context(ScriptedModel(turns))
            project.chunk(name, plan=name not in unplanned)
        yield made


async def ends(
    orch: Orch, expected: Mapping[str, tuple[str, str]], within_s: float = WAIT_S
) -> dict[str, tuple[str | None, str]]:
    """How each of these chunks ended: its kind of attention, and the words expected of its reason.

    A reason that does not have them is given whole, so what comes back is `expected` or tells what differs.
    """

    def needing() -> list[UnitView]:
        units = [orch.unit(name) for name in expected]
        return units if all(unit.status == "NEEDS_ATTENTION" for unit in units) else []

    found = {}
    for unit in await orch.until(needing, within_s):
        reason, words = unit.attention_reason or "", expected[unit.chunk][1]
        found[unit.chunk] = (unit.attention_kind, words if words in reason else reason)
    return found
