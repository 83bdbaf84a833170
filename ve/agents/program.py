"""What the adapters of programs share: whether one is there, what it answers, which variables it gets.

Rule: a secret need not stand in a file. `NAME = "$NAME"` in `[agents.NAME.env]` passes that variable of the
daemon's environment on; any other text is the value as it is.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

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


def missing(title: str, command: Sequence[str], install: str) -> Fitness | None:
    """What is to be said of a client that is not there; None where it is."""
    if shutil.which(command[0]) is not None:
        return None
    return Fitness(ok=False, reason=f"{title} is not installed: no {command[0]}", hint=install)


def versionless(command: Sequence[str], install: str) -> Fitness:
    """What is to be said of a client that does not tell its version."""
    hint = f"Try `{' '.join(command)} --version`, or install it anew: {install}"
    return Fitness(ok=False, reason=f"{command[0]} does not tell its version", hint=hint)


class Answer(NamedTuple):
    """What a program printed."""

    code: int | None
    """None: it was not started, or did not end in time; then `text` says why."""
    text: str


def ask(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    within_s: float = 4.5,
    cwd: str | None = None,
    with_stderr: bool = False,
) -> Answer:
    """Start a program for an answer, at most for so long. Never raises."""
    try:
        done = subprocess.run(
            argv,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if with_stderr else subprocess.DEVNULL,
            timeout=within_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Answer(None, str(error))
    return Answer(done.returncode, done.stdout.decode(errors="replace"))


def api_url(base_url: str) -> str:
    """The address with its version, as the clients want it; one without a path gets it."""
    return base_url if urlsplit(base_url).path.strip("/") else f"{base_url.rstrip('/')}/v1"
