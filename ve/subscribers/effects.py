"""What a phase must have changed in its tree before it counts as done.

Rule: an agent that says "done" and changed nothing has not done it: sandboxes that ran no command at all end
with exit 0 and a friendly summary. A disposition of a review's issue is an effect, too.
"""

from __future__ import annotations

from pathlib import Path

from ve.chunks.document import folder_of
from ve.git.base import touched
from ve.subscribers import chunkdocs
from ve.unit import Phase, WorkUnit


def missing(unit: WorkUnit) -> str:
    """Why the phase that has just ended well is not done; empty when it is. Blocks for git."""
    if unit.worktree is None or unit.base_commit is None:
        return ""
    if unit.phase is Phase.COMPLETE:
        left = chunkdocs.obstacles(Path(unit.worktree), unit.chunk)
        return (
            f"the agent said that it is done, but its documents cannot be completed:\n{left}" if left else ""
        )
    own = {f"{folder_of(unit.chunk)}/{name}" for name in ("GOAL.md", "PLAN.md")}
    if unit.phase not in (Phase.PLAN, Phase.IMPLEMENT):
        return ""
    changed = set(touched(Path(unit.worktree), unit.base_commit))
    plan = f"{folder_of(unit.chunk)}/PLAN.md"
    if unit.phase is Phase.PLAN and plan not in changed:
        return f"the agent said that it is done, but it wrote no plan: {plan} is as it was"
    if unit.phase is Phase.IMPLEMENT and not unit.issues and not changed - own:
        return "the agent said that it is done, but nothing in its tree has changed"
    return ""
