"""The prompts: one file a phase, and what every prompt says whatever the phase.

Rule: a prompt names the chunk, the phase, the paths and why this run was started. An agent that must find
out what it works on takes something else; one that does not know why it is here again does the same again.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Protocol

from ve.errors import InvalidInput

PHASES = ("GOAL", "PLAN", "IMPLEMENT", "REBASE", "REVIEW", "COMPLETE")


class Answer(Protocol):
    """A question of an earlier run with its answer."""

    @property
    def text(self) -> str: ...
    @property
    def answer(self) -> str: ...


class Issue(Protocol):
    """A review issue that waits for its disposition."""

    @property
    def id(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def concern(self) -> str: ...
    @property
    def suggestion(self) -> str: ...


class Settled(Issue, Protocol):
    """A review issue and what became of it."""

    @property
    def disposition(self) -> str | None: ...
    @property
    def disposition_reason(self) -> str: ...


def render(
    *,
    chunk: str,
    phase: str,
    worktree: str,
    cause: str = "",
    answers: Sequence[Answer] = (),
    issues: Sequence[Issue] = (),
    settled: Sequence[Settled] = (),
    resume: bool = False,
) -> str:
    """The prompt of one run. Raises InvalidInput for a phase that has none."""
    if phase not in PHASES:
        raise InvalidInput(f"there is no prompt for the phase {phase!r}", hint=f"One of {', '.join(PHASES)}.")
    text = _file(phase.lower())
    folder = f"docs/chunks/{chunk}"
    parts = [
        text.format(
            chunk=chunk, worktree=worktree, goal=f"{folder}/GOAL.md", plan=f"{folder}/PLAN.md"
        ).strip(),
        _cause(cause, resume),
        _answers(answers),
        _issues(issues),
        _settled(settled) if phase == "REVIEW" else "",
        _file("always").strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _file(name: str) -> str:
    return files("ve.prompts").joinpath(f"{name}.md").read_text(encoding="utf-8")


def _cause(cause: str, resume: bool) -> str:
    if not cause and not resume:
        return ""
    again = "You have worked on this phase before; go on from what is there.\n" if resume else ""
    return f"## Why this run\n\n{again}{cause}".rstrip()


def _answers(answers: Sequence[Answer]) -> str:
    if not answers:
        return ""
    lines = ["## The operator's answers", "", "If you have already acted on this, go on."]
    for one in answers:
        lines += ["", "You asked:", _quoted(one.text), "", "The answer:", _quoted(one.answer)]
    return "\n".join(lines)


def _issues(issues: Sequence[Issue]) -> str:
    if not issues:
        return ""
    lines = [
        "## Issues of the review",
        "",
        "Settle each one, then call the tool **Dispose** for each id: `fixed`, or `declined` with a reason.",
    ]
    for one in issues:
        lines += ["", f"- `{one.id}` {one.place}".rstrip(), _quoted(one.concern)]
        if one.suggestion:
            lines += ["  Suggestion:", _quoted(one.suggestion)]
    return "\n".join(lines)


def _settled(settled: Sequence[Settled]) -> str:
    """For the next reviewer, who has read nothing of it: else a declined issue is raised for ever."""
    if not settled:
        return ""
    lines = ["## What became of the last review's issues"]
    for one in settled:
        lines += ["", f"- {one.disposition}: {one.place}".rstrip(": "), _quoted(one.concern)]
        if one.disposition_reason:
            lines += ["  Reason:", _quoted(one.disposition_reason)]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.splitlines()) or "> (empty)"
