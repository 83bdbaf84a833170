"""`ve orch agents`: which agents there are, which can be used here, and which are chosen for what."""

from __future__ import annotations

import os
from typing import Any

from ve.cli.common import AsJson, places
from ve.cli.output import colour, say, say_json, table

HEADER = ("AGENT", "PROGRAM", "VERSION", "LOGGED IN", "CAN", "CHOSEN FOR")


def agents(*, as_json: AsJson = False) -> int:
    """The agents, whether each can be used here, and what each can do.

    Exit code 1 when one that the configuration chooses cannot be used. Needs no daemon; starts each
    client once, to ask it for its version.
    """
    found = _look()
    broken = [item for item in found if item["chosen_for"] and not item["usable"]]
    if as_json:
        say_json({"agents": found})
    else:
        _show(found)
    return 1 if broken else 0


def _look() -> list[dict[str, Any]]:
    from concurrent.futures import ThreadPoolExecutor

    from ve import clients
    from ve.agents import ADAPTERS
    from ve.config import load

    config = load(places(), os.environ, known_agents=ADAPTERS).config
    names = clients.names(config)
    with ThreadPoolExecutor(len(names)) as pool:
        fitness = pool.map(lambda name: clients.check(config, name), names)
        return [_one(config, name, fit) for name, fit in zip(names, fitness, strict=True)]


def _one(config: Any, name: str, fit: Any) -> dict[str, Any]:
    from ve import clients

    adapter = clients.make(config, name)
    able = adapter.abilities
    return {
        "agent": name,
        "program": adapter.title,
        "usable": fit.ok,
        "version": fit.version,
        "login": fit.login,
        "can": {
            "resume": able.resume,
            "ask": able.ask,
            "usage": able.usage,
            "turn_limit": able.turn_limit,
            "budget": able.budget,
        },
        "chosen_for": _chosen(config, name),
        "reason": fit.reason,
        "hint": fit.hint,
        "install": adapter.install,
    }


def _chosen(config: Any, name: str) -> list[str]:
    """Everything that this agent is configured to do."""
    found = ["everything else"] if config.agent == name else []
    found += [phase for phase, section in config.phase.items() if section.agent == name]
    found += [f"chunk {chunk}" for chunk, section in config.chunk.items() if section.agent == name]
    if found == ["everything else"] and not any(
        s.agent for s in (*config.phase.values(), *config.chunk.values())
    ):
        return ["everything"]
    return found


def _show(found: list[dict[str, Any]]) -> None:
    rows = []
    for item in found:
        can = ", ".join(what.replace("_", " ") for what, able in item["can"].items() if able)
        version = item["version"] or ("?" if item["usable"] else "not usable")
        rows.append(
            (item["agent"], item["program"], version, item["login"], can, ", ".join(item["chosen_for"]))
        )
    for line in table(HEADER, rows, shrink=(4, 5)):
        say(line)
    for item in found:
        if not item["usable"]:
            say(f"\n{colour(item['agent'], 'yellow')}: {item['reason']}")
            for line in item["hint"].splitlines():
                say(f"  {line}")
