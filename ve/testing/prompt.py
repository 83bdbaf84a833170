"""What a prompt of `ve` says, read back: chunk, phase, worktree, answers, issues.

The other side of `ve.prompts`; tests hold the two together.
"""

from __future__ import annotations

import re

from msgspec import Struct

from ve.agents.base import PHASES, AnsweredQuestion
from ve.testing.request import Called, Item, Request, Returned, Said

HEAD = re.compile(
    r"^You work on exactly one chunk: `(?P<chunk>[^`\n]+)`, phase (?P<phase>[A-Z]+), "
    r"in the worktree `(?P<worktree>[^`\n]+)`\.",
    re.MULTILINE,
)
ANSWERS = "\n## The operator's answers\n"
ISSUES = "\n## Issues of the review\n"


class Prompt(Struct, frozen=True):
    """One prompt, and what the conversation holds since."""

    chunk: str
    phase: str
    worktree: str
    text: str
    ordinal: int
    """Its number among the prompts of this conversation, from 0."""
    since: tuple[Item, ...]

    @property
    def calls(self) -> tuple[Called, ...]:
        """The tool calls since this prompt."""
        return tuple(item for item in self.since if isinstance(item, Called))

    def returned(self, call: Called) -> Returned | None:
        """What a call gave back, if it did."""
        found = (item for item in self.since if isinstance(item, Returned) and item.id == call.id)
        return next(found, None)

    @property
    def answers(self) -> tuple[AnsweredQuestion, ...]:
        """The questions that the prompt quotes with their answers, oldest first."""
        quotes = re.findall(
            r"^You asked:\n((?:>.*\n?)+)\nThe answer:\n((?:>.*\n?)+)",
            _section(self.text, ANSWERS),
            re.MULTILINE,
        )
        return tuple(AnsweredQuestion("", _unquoted(asked), _unquoted(answer)) for asked, answer in quotes)

    @property
    def issues(self) -> tuple[str, ...]:
        """The ids of the review's issues."""
        return tuple(re.findall(r"^- `([^`\n]+)`", _section(self.text, ISSUES), re.MULTILINE))


def newest(request: Request) -> Prompt | None:
    """The newest prompt of `ve` in a conversation; None where there is none."""
    found: tuple[int, re.Match[str], str] | None = None
    count = 0
    for index, item in enumerate(request.items):
        match = HEAD.search(item.text) if isinstance(item, Said) and item.role == "user" else None
        if match is not None and match["phase"] in PHASES:
            found = index, match, match.string
            count += 1
    if found is None:
        return None
    index, head, text = found
    return Prompt(head["chunk"], head["phase"], head["worktree"], text, count - 1, request.items[index + 1 :])


def same(one: str, other: str) -> bool:
    """Whether two texts are one, but for the white space that quoting in a prompt loses."""
    return [line.rstrip() for line in one.strip().splitlines()] == [
        line.rstrip() for line in other.strip().splitlines()
    ]


def _section(text: str, heading: str) -> str:
    """The last section of that heading: text before it may quote the heading."""
    _, there, rest = text.rpartition(heading)
    return rest.partition("\n## ")[0] + "\n" if there else ""


def _unquoted(lines: str) -> str:
    return "\n".join(line[2:] for line in lines.splitlines())
