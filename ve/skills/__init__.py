"""What `ve init` gives coding agents to read: a block of AGENTS.md, and a skill for each step of a chunk.

Rule: a skill names nothing but what exists: each command is in ve/cli/app.py. A skill is NAME/SKILL.md here
and `ve-NAME/SKILL.md` in the repository, in the form of agentskills.io: frontmatter with `name`, the same
as its folder's, and `description`, from which a client decides when to read the rest.
"""

from __future__ import annotations

from importlib.resources import files

NAMES = ("create", "plan", "implement", "review", "complete")
FOLDERS = (".claude/skills", ".agents/skills")
"""Where clients look in a repository: Claude Code in the first; Codex in the second; OpenCode in both."""


def skill(name: str) -> str:
    """The text of a skill."""
    return files("ve.skills").joinpath(name, "SKILL.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    """What stands between the markers: `agents` for AGENTS.md, `claude` for CLAUDE.md."""
    return files("ve.skills").joinpath(f"{name}-block.md").read_text(encoding="utf-8")
