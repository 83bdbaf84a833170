"""The files of a repository that `ve init` keeps for coding agents: AGENTS.md, CLAUDE.md, the skills.

Rule: planned whole before anything is written, so a refusal leaves everything as it was. What a person
changed is theirs: outside of the markers always, and a skill from the first change on, until `--force`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ve import managed, skills
from ve.chunks import writing
from ve.errors import DocumentError

State = Literal["current", "missing", "outdated", "edited", "elsewhere", "damaged"]

_BLOCK_NOTE = "kept by ve init; what you write between these two lines is lost"
_SEAL_NOTE = "kept by ve init until you change this file"
_IMPORT = re.compile(r"(?:^|\s)@(?:\./)?AGENTS\.md(?![\w/.-])")
_CODE = re.compile(r"^ {0,3}(`{3,}|~{3,}).*?(?:^ {0,3}\1|\Z)|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_HARMLESS: tuple[State, ...] = ("current", "edited", "elsewhere")


class AgentFile(NamedTuple):
    """One file: how it is, and what it shall hold."""

    path: str
    state: State
    detail: str
    before: bytes | None = None
    after: bytes | None = None
    """What to write; None: nothing."""
    error: DocumentError | None = None

    @property
    def ok(self) -> bool:
        """Whether there is nothing to do."""
        return self.state in _HARMLESS and self.after is None

    def shown(self) -> dict[str, Any]:
        """As JSON says it."""
        return {"path": self.path, "state": self.state, "detail": self.detail}


def plan(root: Path, *, force: bool = False) -> list[AgentFile]:
    """How each of the files is, and what would be written. Writes nothing and raises for nothing damaged."""
    return list(_planned(root, force))


def write(root: Path, files: Sequence[AgentFile]) -> list[str]:
    """Write what was planned; returns the paths.

    Raises, before anything is written, the first file's error, or RefusedError if a file has changed since.
    """
    for file in files:
        if file.error is not None:
            raise file.error
    changed = [file for file in files if file.after is not None]
    inside = root.resolve()
    # A link inside of the repository is followed here: it stays one.
    writing.write(
        inside,
        [
            writing.Edit(str((root / file.path).resolve().relative_to(inside)), file.before, file.after)
            for file in changed
        ],
    )
    return [file.path for file in changed]


def _planned(root: Path, force: bool) -> Iterator[AgentFile]:
    seen: set[Path] = set()
    for path in ("AGENTS.md", "CLAUDE.md"):
        real = (root / path).resolve()
        if real in seen:
            continue  # one is a link to the other: the block is there once
        seen.add(real)
        yield _guarded(root, path, _block_file)
    for folder in skills.FOLDERS:
        for name in skills.NAMES:
            path = f"{folder}/ve-{name}/SKILL.md"
            real = (root / path).resolve()
            if real not in seen:
                seen.add(real)
                yield _guarded(root, path, _skill_file, name, force)


def _guarded(root: Path, path: str, look: Any, *more: Any) -> AgentFile:
    """What `look` finds, unless the path leads out of the repository or cannot be read."""
    if not (root / path).resolve().is_relative_to(root.resolve()):
        return AgentFile(path, "elsewhere", "a link leads out of the repository: left alone")
    try:
        try:
            before: bytes | None = (root / path).read_bytes()
        except FileNotFoundError:
            before = None
        found: AgentFile = look(path, before, *more)
        return found
    except OSError as error:
        refused = DocumentError(f"cannot be read: {error.strerror}", where=path, hint="Then: ve init")
        return AgentFile(path, "damaged", refused.what, error=refused)
    except DocumentError as error:
        where = error.where.removeprefix(f"{path}:")
        return AgentFile(path, "damaged", f"line {where}: {error.what}", error=error)


def _block_file(path: str, before: bytes | None) -> AgentFile:
    name = path.partition(".")[0].lower()
    held = before or b""
    present = managed.find_block(held, name, path)
    if name == "claude" and present is None and _imports_agents(held):
        return AgentFile(path, "current", "points to AGENTS.md already")
    after = managed.put_block(held, name, skills.block(name), path, _BLOCK_NOTE)
    if after == before:
        return AgentFile(path, "current", "")
    if before is None:
        return AgentFile(path, "missing", "", None, after)
    detail = "the block of ve is not the one of this version" if present else "has no block of ve"
    return AgentFile(path, "outdated", detail, before, after)


def _imports_agents(data: bytes) -> bool:
    """Whether Claude Code would read AGENTS.md; it follows no `@` in code."""
    return _IMPORT.search(_CODE.sub("", data.decode("utf-8", "surrogateescape"))) is not None


def _skill_file(path: str, before: bytes | None, name: str, force: bool) -> AgentFile:
    wanted = managed.seal(skills.skill(name), _SEAL_NOTE)
    if before is None:
        return AgentFile(path, "missing", "", None, wanted)
    after = managed.with_newlines_of(before, wanted)
    if managed.same_text(before, wanted):
        return AgentFile(path, "current", "")
    if managed.seal_state(before) == "ours":
        return AgentFile(path, "outdated", "from another version of ve", before, after)
    detail = "changed by hand: kept; for ours, ve init --force"
    return AgentFile(path, "edited", detail, before, after if force else None)
