"""What the adapters of "any program" share: whether it is there, and which variables it gets.

Rule: a secret need not stand in a file. `NAME = "$NAME"` in `[agents.NAME.env]` passes that variable of the
daemon's environment on; any other text is the value as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import NamedTuple

from ve.agents.base import Fitness


class Variables(NamedTuple):
    """Variables with their values, and the names of those that pass from the daemon's environment."""

    env: dict[str, str]
    passes: tuple[str, ...]


def variables(configured: Mapping[str, str]) -> Variables:
    """What `[agents.NAME.env]` sets, and what it lets through."""
    passes = tuple(name for name, value in configured.items() if value == f"${name}")
    return Variables({name: value for name, value in configured.items() if name not in passes}, passes)


def fitness(agent: str, command: tuple[str, ...], env: Mapping[str, str], example: str) -> Fitness:
    """Whether the configured program is there. A relative path is one of each worktree, so not looked for."""
    if not command:
        return Fitness(
            ok=False,
            reason=f"no program is configured for the agent `{agent}`",
            hint=f"Name one: ve orch config set agents.{agent}.command '{example}'",
        )
    program = command[0]
    if "/" in program and not program.startswith("/"):
        return Fitness(ok=True, version=f"{program} of each worktree")
    found = shutil.which(program, path=env.get("PATH"))
    if found is None:
        return Fitness(
            ok=False,
            reason=f"{program} is not installed",
            hint=f"Install it, or choose another program: ve orch config set agents.{agent}.command PROGRAM",
        )
    return Fitness(ok=True, version=found)
