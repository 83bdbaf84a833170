"""A question's whole way: from a call of AskOperator to the agent that goes on with the answer."""

from __future__ import annotations

import pytest

from tests.e2e.given import Orch
from tests.e2e.talking import Conversations, running
from ve.errors import RefusedError
from ve.subscribers import runs

ASKS_ONE = """
begin()
if "The answer:" not in prompt:
    tool("AskOperator", question="Which colour?", options=["red", "blue"], context="The logo has both.")
    finish("I asked")
write("colour.txt", prompt.split("The answer:")[1].split("> ")[1].split()[0])
finish()
"""
ASKS_TWO = """
begin()
if "The answer:" not in prompt:
    tool("AskOperator", questions=[
        {"question": "Which colour?", "options": ["red", "blue"], "context": "The logo has both."},
        {"question": "Which size?", "options": ["S", "L"]}])
    tool("AskOperator", question="And for whom?")
    finish("I asked")
answers = [part.split("> ")[1].splitlines()[0] for part in prompt.split("The answer:")[1:]]
write("answers.txt", "\\n".join(answers))
finish()
"""


async def test_the_answer_goes_on_in_the_same_conversation(talk: Conversations, orch: Orch) -> None:
    talk.chunk("a", ASKS_ONE)
    await orch.inject("a")
    asking = await orch.status("a", "NEEDS_ATTENTION", "question")
    await orch.until(lambda: orch.unit("a").run_id is None)
    assert orch.core.stream.index.slots_used == 0, "a question holds no slot"

    await orch.verb("a", "answer", option=2)
    await orch.done("a")

    assert (talk.project.root / "colour.txt").read_text() == "blue"
    assert asking.session_id is not None
    first, second = talk.heard(asking.session_id)
    assert "Which colour?" not in first
    assert "> Which colour?" in second and "> blue" in second, "quoted, also where it is remembered"


async def test_when_the_conversation_is_gone_a_new_one_quotes_question_and_answer(
    talk: Conversations, orch: Orch
) -> None:
    talk.chunk("a", ASKS_ONE)
    await orch.inject("a")
    asking = await orch.status("a", "NEEDS_ATTENTION", "question")
    await orch.until(lambda: orch.unit("a").run_id is None)
    assert asking.session_id is not None
    (talk.talks / asking.session_id).unlink()

    await orch.verb("a", "answer", text="green")
    await orch.done("a")

    assert (talk.project.root / "colour.txt").read_text() == "green"
    ended = [t.why for t in orch.seen if t.command == "RunEnded"]
    assert "Its conversation is gone" in ended[1]
    delivered = [t for t in orch.seen if t.command == "Delivered"]
    assert len(delivered) == 1, "the run that found no conversation delivered nothing"
    fresh = delivered[0].unit
    assert fresh is not None and fresh.session is not None
    (only,) = talk.heard(fresh.session)
    assert "You asked:\n> Which colour?\n\nThe answer:\n> green" in only
    question = orch.unit("a").questions[0]
    assert (question.state, question.answer) == ("delivered", "green")


async def test_of_several_questions_each_is_kept_with_its_options_and_all_are_waited_for(
    talk: Conversations, orch: Orch
) -> None:
    talk.chunk("a", ASKS_TWO)
    await orch.inject("a")
    await orch.until(lambda: len(orch.unit("a").questions) == 3 and orch.unit("a").run_id is None)
    colour, size, whom = orch.unit("a").questions
    assert [(q.text, q.options, q.context) for q in (colour, size, whom)] == [
        ("Which colour?", ("red", "blue"), "The logo has both."),
        ("Which size?", ("S", "L"), ""),
        ("And for whom?", (), ""),
    ]
    assert orch.unit("a").attention_reason == "1. Which colour?\n2. Which size?\n3. And for whom?"
    with pytest.raises(RefusedError, match=f"name one: {colour.id}, {size.id}, {whom.id}"):
        await orch.verb("a", "answer", text="red")

    await orch.verb("a", "answer", question=size.id, option=2)
    await orch.verb("a", "answer", question=whom.id, text="everybody")
    left = orch.unit("a")
    assert (left.status, left.attention_reason, left.options) == (
        "NEEDS_ATTENTION", "Which colour?", ("red", "blue"),
    )  # fmt: skip
    with pytest.raises(RefusedError, match="there is no open question"):
        await orch.verb("a", "answer", question=size.id, text="again")
    with pytest.raises(RefusedError, match="there is no option 3; there are 2"):
        await orch.verb("a", "answer", question=colour.id, option=3)
    await orch.verb("a", "answer", option=1)
    await orch.done("a")

    assert (talk.project.root / "answers.txt").read_text() == "red\nL\neverybody"
    assert orch.commands("a").count("Delivered") == 1
    assert {q.state for q in orch.unit("a").questions} == {"delivered"}


async def test_an_agent_that_goes_on_after_it_asked_is_stopped_and_nothing_it_says_counts(
    talk: Conversations, orch: Orch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "ASK_GRACE_S", 0.05)
    monkeypatch.setattr(runs, "LOOK_AGAIN_S", 0.05)  # there is no server here that could be nudged
    talk.chunk(
        "a",
        """
begin()
if "The answer:" in prompt:
    write("a.txt", "a")
    finish()
tool("AskOperator", question="May I?")
say(type="result", subtype="success", is_error=False, text="I took it for a yes, all is done")
wait()
""",
    )
    await orch.inject("a")
    await orch.status("a", "NEEDS_ATTENTION", "question")
    await orch.until(lambda: orch.unit("a").run_id is None)
    waiting = orch.unit("a")
    assert (waiting.status, waiting.phase, waiting.attention_kind) == (
        "NEEDS_ATTENTION", "IMPLEMENT", "question",
    )  # fmt: skip
    await orch.verb("a", "answer", text="yes")
    await orch.done("a")


async def test_a_review_that_asks_has_decided_nothing(talk: Conversations) -> None:
    """Also when it called the decision before: it runs again, with the answer."""
    talk.talks_of("REVIEW")
    talk.chunk(
        "a",
        """
begin()
tool("ReviewDecision", decision="approve")
if "The answer:" not in prompt:
    tool("AskOperator", question="Is it meant to be so?")
finish()
""",
    )
    async with running(talk.project) as orch:
        await orch.inject("a")
        waiting = await orch.status("a", "NEEDS_ATTENTION", "question")
        assert waiting.phase == "REVIEW"
        await orch.verb("a", "answer", text="yes")
        await orch.done("a")
        phases = [t.unit.phase for t in orch.seen if t.command == "Dispatch" and t.unit]
    assert phases == ["IMPLEMENT", "REVIEW", "REVIEW", "COMPLETE"]


async def test_a_question_comes_back_to_the_phase_that_asked(talk: Conversations, orch: Orch) -> None:
    talk.chunk(
        "a",
        """
begin()
if phase == "IMPLEMENT":
    write("a.txt", "a")
elif "The answer:" in prompt:
    write("docs/chunks/a/PLAN.md", "# Implementation Plan\\n\\nDo it.\\n")
else:
    tool("AskOperator", question="How?")
finish()
""",
        plan=False,
    )
    await orch.inject("a")
    asking = await orch.status("a", "NEEDS_ATTENTION", "question")
    assert (asking.phase, asking.resume_at) == ("PLAN", "PLAN")
    await orch.verb("a", "answer", text="well")
    await orch.done("a")
    phases = [t.unit.phase for t in orch.seen if t.command == "Dispatch" and t.unit]
    assert phases == ["PLAN", "PLAN", "IMPLEMENT", "REVIEW", "COMPLETE"]
