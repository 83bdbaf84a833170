"""Every command that a message, a prompt or a page tells a user to run exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ve.cli.app import app

ROOT = Path(__file__).parents[2]
GROUPS = "init|demo|orch|history|chunk|narrative|investigation|subsystem|friction|mcp|work-unit"
WORDS = re.compile(rf"\bve ((?:{GROUPS})\b(?: [a-z][a-z-]*)*)")
# What begins with `ve` and a word, where it is marked as something to type.
TYPED = re.compile(r"`ve ([a-z][a-z-]*)")
PLACES = [
    *sorted((ROOT / "ve").rglob("*.py")),
    *sorted((ROOT / "ve").rglob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "README.md",
    ROOT / "AGENTS.md",
]


def exists(words: list[str]) -> bool:
    """Whether the words lead to a command; what follows a command are its arguments."""
    here = app
    for word in words:
        if word not in set(here):
            return here is not app and here.default_command is not None
        here = here[word]
        if not set(here) - {"--help", "-h", "--version"}:
            return True
    return True


@pytest.mark.parametrize("place", PLACES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_that_are_named_can_be_run(place: Path) -> None:
    named = {match[1] for match in WORDS.finditer(place.read_text(encoding="utf-8"))}
    unknown = sorted(words for words in named if not exists(words.split()))
    assert not unknown, f"{place.relative_to(ROOT)} names {unknown}, which ve/cli/app.py does not have"


@pytest.mark.parametrize("folder", ["skills", "prompts"])
def test_what_agents_are_told_to_run_is_checked_too(folder: str) -> None:
    """A word that is no group of commands at all would pass the test above unseen."""
    texts = sorted((ROOT / "ve" / folder).rglob("*.md"))
    assert len(texts) > 5 and set(texts) <= set(PLACES)
    for text in texts:
        unknown = set(TYPED.findall(text.read_text(encoding="utf-8"))) - set(app)
        assert not unknown, f"{text.relative_to(ROOT)} names ve {unknown}"


def test_skills_name_only_skills_that_there_are() -> None:
    from ve import skills

    said = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "ve" / "skills").rglob("*.md"))
    named = set(re.findall(r"\bve-[a-z]+", said))
    assert named == {f"ve-{name}" for name in skills.NAMES}
