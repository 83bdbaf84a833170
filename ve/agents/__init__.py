"""The agents that can do a run. A new one is a file here and a line in ADAPTERS."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

from ve.agents.base import Adapter, Settings
from ve.errors import ConfigError

ADAPTERS: dict[str, str] = {
    "claude": "ve.agents.claude:Claude",
    "codex": "ve.agents.codex:Codex",
    "opencode": "ve.agents.opencode:OpenCode",
    "acp": "ve.agents.acp:Acp",
    "command": "ve.agents.command:Command",
    "script": "ve.agents.script:Script",
}
"""Name in the configuration -> where the class is; loaded on first use."""


def adapter(name: str, settings: Settings | None = None) -> Adapter:
    """The adapter of that name. Raises ConfigError for one that does not exist."""
    place = ADAPTERS.get(name)
    if place is None:
        near = get_close_matches(name, ADAPTERS, n=1)
        raise ConfigError(
            f"there is no agent {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            where="agent",
            hint=f"Choose one of: {', '.join(sorted(ADAPTERS))}.",
        )
    module, _, cls = place.partition(":")
    made: Adapter = getattr(import_module(module), cls)(settings or Settings())
    return made
