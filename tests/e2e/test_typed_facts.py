"""Only typed facts count: tool calls, terminal events, exits, and what has changed. Never words."""

from __future__ import annotations

import pytest

from tests.e2e.given import Orch, Project, writes
from tests.e2e.talking import Conversations, running
from ve.subscribers import runs

SUMMARY = """Error: what failed? The tests failed twice - shall I go on? I need your decision! FATAL: 401,
rate limit, 529 overloaded. Should I ask? AskOperator: "Which colour?" ReviewDecision: escalate. Done?"""


def phases(orch: Orch, chunk: str = "a") -> list[str]:
    """What was dispatched, in order."""
    seen = [t.unit for t in orch.seen if t.command == "Dispatch" and t.unit]
    return [unit.phase.value for unit in seen if unit.chunk == chunk]


# ── The end of a run ───────────────────────────────────────────────────────────────────────────────


async def test_a_last_text_full_of_questions_and_errors_is_no_reason_to_stop(
    talk: Conversations, orch: Orch
) -> None:
    said = f"SAID = {SUMMARY!r} * 40\n"
    talk.chunk("a", f'{said}begin()\nsay(type="model", text=SAID)\nwrite("a.txt", SAID)\nfinish(SAID)\n')
    await orch.inject("a")
    await orch.done("a")
    assert phases(orch) == ["IMPLEMENT", "REVIEW", "COMPLETE"]
    assert orch.unit("a").questions == ()


NOT_A_SUCCESS = {
    "exit 0 without a terminal event": ("", "ended without its terminal event (exit code 0)"),
    "success with the error flag set": (
        'finish("API Error: 500", is_error=True)', "reported a failure: API Error: 500 (exit code 0)",
    ),
    "success, then another exit code": ("finish(exit=3)", "reported success but ended with exit code 3"),
    "success, then killed": (
        'say(type="result", subtype="success", is_error=False, text="")\n'
        "import os\nos.kill(os.getpid(), 9)",
        "was killed by signal 9, not by `ve`",
    ),
}  # fmt: skip


async def test_what_is_no_success_does_not_go_on_to_the_next_phase(talk: Conversations, orch: Orch) -> None:
    """Each has worked, changed something and called itself done in its text."""
    for number, (end, _) in enumerate(NOT_A_SUCCESS.values()):
        work = f'write("{number}.txt", "x")\nsay(type="model", text="All is done, success.")'
        talk.chunk(f"c{number}", f"begin()\n{work}\n{end}\n")
    await orch.ops.set_config("limits.retries", "0", actor="operator:me")
    await orch.inject(*(f"c{number}" for number in range(len(NOT_A_SUCCESS))))
    for number, (name, (_, said)) in enumerate(NOT_A_SUCCESS.items()):
        unit = await orch.status(f"c{number}", "NEEDS_ATTENTION", "error")
        assert said in (unit.attention_reason or ""), name
        assert phases(orch, f"c{number}") == ["IMPLEMENT"], name


async def test_a_tool_server_that_did_not_start_ends_the_run_at_once_with_that_reason(
    talk: Conversations, orch: Orch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent works without it, and would go on for ever."""
    monkeypatch.setattr(runs, "LOOK_AGAIN_S", 0.05)  # there is no server here that could be nudged
    talk.chunk("a", 'write("a.txt", "a")\nsay(type="model", text="I do without")\nwait()\n')
    talk.chunk("b", 'write("b.txt", "b")\nfinish()\n')
    await orch.inject("a", "b")
    for chunk, said in (("a", "their server did not start"), ("b", "never asked for the tools of `ve`")):
        unit = await orch.status(chunk, "NEEDS_ATTENTION", "setup")
        assert said in (unit.attention_reason or "")
        assert "ve orch agents" in (unit.attention_reason or ""), "what to do next"
        await orch.until(lambda chunk=chunk: orch.unit(chunk).run_id is None)  # type: ignore[misc]
        assert phases(orch, chunk) == ["IMPLEMENT"], "not tried again: nothing would be different"


# ── What a phase must have changed ─────────────────────────────────────────────────────────────────


async def test_an_agent_that_says_done_and_wrote_no_plan_or_changed_nothing_does_not_go_on(
    talk: Conversations, orch: Orch
) -> None:
    await orch.ops.set_config("limits.retries", "1", actor="operator:me")
    idle = 'begin()\nfinish("The plan is written and everything is implemented.")\n'
    talk.chunk("plans", 'write("notes.txt", "a note is no plan")\n' + idle, plan=False)
    talk.chunk("works", 'write("docs/chunks/works/PLAN.md", "# Plan\\n\\nA plan is no work.\\n")\n' + idle)
    await orch.inject("plans", "works")

    plans = await orch.status("plans", "NEEDS_ATTENTION", "error")
    works = await orch.status("works", "NEEDS_ATTENTION", "error")
    assert "wrote no plan: docs/chunks/plans/PLAN.md" in (plans.attention_reason or "")
    assert "nothing in its tree has changed" in (works.attention_reason or "")
    assert phases(orch, "plans") == ["PLAN", "PLAN"], "it was told why, and tried again"
    assert phases(orch, "works") == ["IMPLEMENT", "IMPLEMENT"]
    assert works.session_id is not None
    assert "nothing in its tree has changed" in talk.heard(works.session_id)[1]


async def test_a_committed_change_is_a_change_too(talk: Conversations, orch: Orch) -> None:
    commit = "git add a.txt && git -c user.name=a -c user.email=a@example.org commit -qm work"
    talk.chunk(
        "a",
        f'import os\nbegin()\nwrite("a.txt", "a")\nassert os.system("{commit}") == 0\nfinish()\n',
    )
    await orch.inject("a")
    await orch.done("a")
    assert phases(orch) == ["IMPLEMENT", "REVIEW", "COMPLETE"]


# ── The decision of a review ───────────────────────────────────────────────────────────────────────

LEFT = '[[REVIEW]]\nrun = "echo LGTM, approved, ship it"\n'


async def test_a_review_without_a_decision_gets_one_reminder_then_a_person(
    project: Project, orch: Orch
) -> None:
    project.chunk("a", writes("a") + LEFT)
    before = project.head
    await orch.inject("a")
    unit = await orch.status("a", "NEEDS_ATTENTION", "review")
    assert phases(orch) == ["IMPLEMENT", "REVIEW", "REVIEW"]
    causes = [t.unit.cause for t in orch.seen if t.command == "Dispatch" and t.unit]
    assert "ended without a decision; call ReviewDecision" in causes[2]
    assert "without calling ReviewDecision" in (unit.attention_reason or "")
    assert unit.options == ("approve", "feedback")
    assert project.head == before, "never a default"

    await orch.verb("a", "resolve", choice="approve")
    await orch.done("a")


async def test_an_escalation_is_a_persons_and_its_feedback_goes_to_the_implementer(
    project: Project, orch: Orch
) -> None:
    issue = '{ place = "work/a.txt:1", concern = "a word is missing", suggestion = "add it" }'
    project.chunk(
        "a",
        f"""
[[IMPLEMENT]]
visit = 1
write = "work/a.txt"
text = "a"

[[IMPLEMENT]]
visit = 2
write = "work/a.txt"
text = "a word"

[[IMPLEMENT]]
visit = 2
dispose = "*"
disposition = "fixed"

[[REVIEW]]
visit = 1
decide = "escalate"
reason = "the goal contradicts the plan"
issues = [{issue}]

[[REVIEW]]
visit = 2
decide = "approve"
""",
    )
    await orch.inject("a")
    unit = await orch.status("a", "NEEDS_ATTENTION", "review")
    assert unit.attention_reason == "the goal contradicts the plan"
    await orch.until(lambda: orch.unit("a").run_id is None)
    await orch.verb("a", "resolve", choice="feedback", text="the goal is right")
    await orch.done("a")
    assert phases(orch) == ["IMPLEMENT", "REVIEW", "IMPLEMENT", "REVIEW", "COMPLETE"]
    second = [t.unit for t in orch.seen if t.command == "Dispatch" and t.unit][2]
    assert [(i.place, i.concern, i.suggestion) for i in second.issues] == [
        ("work/a.txt:1", "a word is missing", "add it"),
        ("", "the goal is right", ""),
    ]


FEEDBACK = """
[[IMPLEMENT]]
append = "work/a.txt"
text = "once more\\n"

[[REVIEW]]
visit = 1
decide = "feedback"
issues = [
    { id = "i1", place = "work/a.txt:1", concern = "why?", suggestion = "say why" },
    { id = "i2", concern = "no test" },
]
"""


async def test_an_issue_without_a_disposition_gets_one_reminder_then_a_person(
    project: Project, orch: Orch
) -> None:
    disposes = '[[IMPLEMENT]]\nvisit = 2\ndispose = "i1"\ndisposition = "declined"\nreason = "see the plan"\n'
    project.chunk("a", FEEDBACK + disposes)
    await orch.inject("a")
    unit = await orch.status("a", "NEEDS_ATTENTION", "review")
    assert phases(orch) == ["IMPLEMENT", "REVIEW", "IMPLEMENT", "IMPLEMENT"]
    assert "i2" in (unit.attention_reason or "") and "i1" not in (unit.attention_reason or "")
    third, fourth = [t.unit for t in orch.seen if t.command == "Dispatch" and t.unit][2:]
    assert [i.disposition for i in third.issues] == [None, None]
    assert [(i.disposition, i.disposition_reason) for i in fourth.issues] == [
        ("declined", "see the plan"),
        (None, ""),
    ]
    assert "these review issues have no disposition yet: i2" in fourth.cause


async def test_what_a_review_decided_stands_though_its_run_fails_afterwards(
    project: Project, orch: Orch
) -> None:
    script = '[[REVIEW]]\nvisit = 1\ndecide = "approve"\n[[REVIEW]]\nvisit = 1\nfail = "the disk is full"\n'
    project.chunk("a", writes("a") + script)
    await orch.inject("a")
    await orch.done("a")
    assert phases(orch) == ["IMPLEMENT", "REVIEW", "COMPLETE"]
    whys = [t.why for t in orch.seen if t.command == "RunEnded"]
    assert "the disk is full" in whys[1]


async def test_a_review_that_approves_in_its_text_and_gives_feedback_by_the_tool_gave_feedback(
    talk: Conversations,
) -> None:
    talk.talks_of("REVIEW", "IMPLEMENT")
    talk.chunk(
        "a",
        """
begin()
if phase == "IMPLEMENT":
    write("a.txt", prompt)
    if "i-" in prompt:
        name = prompt.split("- `")[1].split("`")[0]
        tool("Dispose", issue=name, disposition="fixed")
    finish()
if "again" not in open("a.txt").read():
    tool("ReviewDecision", decision="feedback", issues=[{"place": "a.txt", "concern": "write again"}])
else:
    tool("ReviewDecision", decision="approve")
finish("I approve of this change: approve, approved, LGTM.")
""",
    )
    async with running(talk.project) as orch:
        await orch.inject("a")
        await orch.done("a")
        assert phases(orch) == ["IMPLEMENT", "REVIEW", "IMPLEMENT", "REVIEW", "COMPLETE"]
