"""A chunk's documents as a whole: what they say, where its work begins, and cycles between chunks.

Rule: text of a template and HTML comments count as content nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Literal

from msgspec import Struct

from ve.chunks import templates
from ve.chunks.frontmatter import Frontmatter, read, split
from ve.chunks.names import check_name
from ve.errors import DocumentError

Reader = Callable[[str], bytes | None]
"""The bytes of a file by its path in the repository, `/` between folders; None if there is none."""
InitialPhase = Literal["GOAL", "PLAN", "IMPLEMENT"]

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}#{1,6}(?:[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)[ \t]*$")
_LIST_ITEM = re.compile(r"\s*(?:[-*+>]|\d+[.)])\s")
_NO_WORDS = re.compile(r"[\W_]+")
_PLACEHOLDERS = frozenset(("", "tbd", "todo", "to be done", "to be written", "placeholder", "n a", "na"))


class ChunkDocument(Struct, frozen=True):
    """One chunk at one commit."""

    name: str
    frontmatter: Frontmatter
    goal_has_text: bool
    plan_has_text: bool

    @property
    def initial_phase(self) -> InitialPhase:
        """The first phase whose document is not there yet."""
        if not self.goal_has_text:
            return "GOAL"
        return "IMPLEMENT" if self.plan_has_text else "PLAN"


def folder_of(chunk: str) -> str:
    """The chunk's folder, relative to the repository's root."""
    return f"docs/chunks/{chunk}"


def load(chunk: str, reader: Reader) -> ChunkDocument:
    """Read a chunk's GOAL.md and PLAN.md through `reader`.

    Raises `InvalidInput` for the name, `DocumentError` if a file is missing or cannot be read;
    the error names every file that is missing.
    """
    folder = folder_of(check_name(chunk))
    goal_path, plan_path = f"{folder}/GOAL.md", f"{folder}/PLAN.md"
    goal, plan = reader(goal_path), reader(plan_path)
    if goal is None or plan is None:
        missing = [path for path, data in ((goal_path, goal), (plan_path, plan)) if data is None]
        raise DocumentError(
            "is not committed where the work would begin",
            where=" and ".join(missing),
            hint=f"If it is there, commit it: git add {folder} && git commit; "
            "else write both files, GOAL.md with its frontmatter",
        )
    return ChunkDocument(chunk, read(goal, goal_path), has_text(goal), has_text(plan))


def has_text(document: str | bytes) -> bool:
    """Whether anything but frontmatter, headings, comments, templates and placeholders is in it."""
    text = document if isinstance(document, str) else document.decode("utf-8", "surrogateescape")
    bounds = split(text)
    return any(True for _ in _content(text[bounds[2] :] if bounds else text))


def find_cycle(dependencies: Mapping[str, Iterable[str]]) -> tuple[str, ...] | None:
    """A cycle among the names, first and last the same; None if there is none.

    Names that are only depended on are allowed. The first cycle in the order given is returned.
    """
    finished: set[str] = set()
    for start in dependencies:
        path: list[str] = []
        on_path: set[str] = set()
        pending: list[Iterator[str]] = [iter((start,))]
        while pending:
            name = next(pending[-1], None)
            if name is None:
                pending.pop()
                if path:
                    finished.add(path[-1])
                    on_path.discard(path.pop())
            elif name in on_path:
                return (*path[path.index(name) :], name)
            elif name not in finished:
                path.append(name)
                on_path.add(name)
                pending.append(iter(dependencies.get(name, ())))
    return None


def _content(text: str) -> Iterator[str]:
    lines = _without_comments(text)
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        underlined = line.strip() and not _LIST_ITEM.match(line) and _UNDERLINE.match(following)
        if _HEADING.match(line) or underlined:
            continue
        words = _NO_WORDS.sub(" ", line).strip().lower()
        if words not in _PLACEHOLDERS and line.strip() not in _template_lines():
            yield line


def _without_comments(text: str) -> list[str]:
    """The lines, comments cut out; inside a code fence `<!--` is code, and the fence is dropped."""
    kept: list[str] = []
    fence = ""
    commented = False
    for line in text.splitlines():
        if fence:
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
            else:
                kept.append(line)
            continue
        opened = None if commented else _FENCE.match(line)
        if opened:
            fence = opened[1]
            continue
        shown, commented = _uncommented(line, commented)
        kept.append(shown)
    return kept


def _uncommented(line: str, commented: bool) -> tuple[str, bool]:
    shown = ""
    while line:
        if commented:
            _, closed, line = line.partition("-->")
            commented = not closed
        else:
            before, opened, line = line.partition("<!--")
            shown += before
            commented = bool(opened)
    return shown, commented


@cache
def _template_lines() -> frozenset[str]:
    texts = (*templates.OLDER_LINES, *templates.GOAL.splitlines(), *templates.PLAN.splitlines())
    return frozenset(line.strip() for line in texts)
