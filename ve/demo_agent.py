"""The demo's agent: the one that follows a script, or a real client.

Rule: money is spent only on an account that the client is logged in to, and that is said first. Where there
is none, the client talks to a model of ours on this machine, which plays the chunks' scripts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ve import agents
from ve.agents.base import Adapter, Fitness, Settings
from ve.errors import ConfigError, RefusedError

CLIENTS = ("claude", "codex", "opencode")
SCRIPTED_LIMIT_S, ACCOUNT_LIMIT_S = 900.0, 3600.0
UNSANDBOXED = ("--sandbox", "danger-full-access")
KEYS = {"claude": {"ANTHROPIC_API_KEY": "scripted"}, "codex": {"OPENAI_API_KEY": "scripted"}}
"""What these want to see before they talk to any model."""


class Casting(NamedTuple):
    """Who plays: lines for a person, the text of the state folder's config.toml, and how long to wait."""

    told: tuple[str, ...]
    config: str
    limit_s: float


@contextmanager
def cast(name: str, folder: Path, *, scripted: bool) -> Iterator[Casting]:
    """The client with its model for as long as the context lasts. `folder` becomes its HOME if scripted.

    Raises RefusedError when the client cannot be used here; the hint says how to get it.
    """
    if name not in CLIENTS:
        raise RefusedError(f"the demo has no agent {name}", hint=f"Choose one of: {', '.join(CLIENTS)}")
    adapter = agents.adapter(name)
    found = adapter.check()
    # The version is what a client that is here tells; what else is wrong may be the missing login alone.
    if not found.version:
        raise RefusedError(found.reason, hint=f"Install it, then try again: {found.hint or adapter.install}")
    if found.ok and found.login == "yes" and not scripted:
        told = f"{adapter.title} {found.version}, with your own account: it costs what six small chunks cost"
        yield Casting((f"agent       {told}",), f'agent = "{name}"\n', ACCOUNT_LIMIT_S)
        return
    from ve.testing import Performer, ScriptedModel

    folder.mkdir()
    with ScriptedModel(perform=Performer()) as model:
        yield _scripted(adapter, found, model.url, folder)


def _scripted(adapter: Adapter, found: Fitness, url: str, home: Path) -> Casting:
    env = {"HOME": str(home), **KEYS.get(adapter.name, {})}
    args = () if _fit(adapter.name, url, env, ()) else UNSANDBOXED
    if args and not _fit(adapter.name, url, env, args):
        raise RefusedError(found.reason or f"{adapter.title} cannot be used here", hint=found.hint)
    why = "you ask for it" if found.ok and found.login == "yes" else "no login or key was found"
    told = [
        f"agent       {adapter.title} {found.version}, the real client",
        f"model       scripted, on {url}, since {why}: no network, no cost",
    ]
    if args:
        told.append(
            "sandbox     off: it does not work on this machine; nothing but the script of the demo is run"
        )
    lines = [
        f'agent = "{adapter.name}"',
        f"[agents.{adapter.name}]",
        f"base_url = {json.dumps(url)}",
        f"args = {json.dumps(list(args))}",
        f"env = {{ {', '.join(f'{key} = {json.dumps(value)}' for key, value in env.items())} }}",
        *(['model = "scripted"'] if adapter.name == "codex" else []),
    ]
    return Casting(tuple(told), "\n".join(lines) + "\n", SCRIPTED_LIMIT_S)


def _fit(name: str, url: str, env: dict[str, str], args: tuple[str, ...]) -> bool:
    """Whether the client can be used with the scripted model; only Codex knows a way without its sandbox."""
    if args and name != "codex":
        return False
    try:
        return agents.adapter(name, Settings(base_url=url, env=env, args=args)).check().ok
    except ConfigError:
        return False
