"""What every prompt says, so that an agent never has to find out what it works on."""

from __future__ import annotations

import pytest

from ve.agents.base import AnsweredQuestion, ReviewIssue
from ve.errors import InvalidInput
from ve.prompts import PHASES, render
from ve.unit import ReviewIssue as Settled


@pytest.mark.parametrize("phase", PHASES)
def test_every_prompt_names_chunk_phase_paths_and_the_rules(phase: str) -> None:
    text = render(chunk="greeting", phase=phase, worktree="/w/greeting-1", cause="injected by sam")

    assert "exactly one chunk: `greeting`" in text
    assert f"phase {phase}" in text
    assert "`/w/greeting-1`" in text
    assert "docs/chunks/greeting/GOAL.md" in text
    assert "injected by sam" in text
    assert "AskOperator" in text
    assert "Leave `status` in the frontmatter" in text
    assert "{" not in text


def test_a_review_is_told_that_only_the_tool_decides() -> None:
    assert "**ReviewDecision**" in render(chunk="c", phase="REVIEW", worktree="/w")


def test_answers_are_quoted_with_their_questions() -> None:
    answers = [
        AnsweredQuestion("q1", "Which\ngreeting?", "hello {answer}"),
        AnsweredQuestion("q2", "When?", "now"),
    ]

    text = render(chunk="c", phase="PLAN", worktree="/w", answers=answers)

    assert "If you have already acted on this, go on." in text
    assert "You asked:\n> Which\n> greeting?\n\nThe answer:\n> hello {answer}" in text
    assert "> When?" in text


def test_every_review_issue_needs_its_disposition() -> None:
    issues = [ReviewIssue("i-1", "a.py:3", "no test", "add one"), ReviewIssue("i-2", "", "typo")]

    text = render(chunk="c", phase="IMPLEMENT", worktree="/w", issues=issues)

    assert "**Dispose** for each id" in text
    assert "- `i-1` a.py:3\n> no test\n  Suggestion:\n> add one" in text
    assert "- `i-2`\n> typo" in text


def test_a_reviewer_is_told_what_became_of_the_last_reviews_issues() -> None:
    settled = [
        Settled(id="i-1", place="a.py:3", concern="no test", disposition="fixed"),
        Settled(id="i-2", concern="slow", disposition="declined", disposition_reason="measured: it is not"),
    ]

    text = render(chunk="c", phase="REVIEW", worktree="/w", settled=settled)

    assert "- fixed: a.py:3\n> no test" in text
    assert "- declined\n> slow\n  Reason:\n> measured: it is not" in text
    assert "last review's issues" not in render(chunk="c", phase="IMPLEMENT", worktree="/w", settled=settled)


def test_a_resumed_run_is_told_to_go_on() -> None:
    assert "go on from what is there" in render(chunk="c", phase="PLAN", worktree="/w", resume=True)


def test_a_phase_without_a_prompt_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="no prompt for the phase 'LUNCH'"):
        render(chunk="c", phase="LUNCH", worktree="/w")
