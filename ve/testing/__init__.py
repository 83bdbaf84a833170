"""A model that follows a script, for tests of whatever talks to a model: docs/howto/scripted-model.md.

    from ve.testing import Refusal, ScriptedModel, Turn, Use

    with ScriptedModel(turns=[Turn(uses=[Use("Bash", {"command": "ls"})]), Turn(text="done")]) as model:
        ...  # start the agent with model.url as its base URL

Rule: nothing of `ve` itself imports this package but `ve demo`, and each name is loaded when it is first
used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ve.testing.performer import Performer
    from ve.testing.request import Called, Item, Request, Returned, Said, Tool
    from ve.testing.server import Perform, ScriptedModel, Seen
    from ve.testing.turns import Refusal, Turn, Usage, Use, usage_limit

__all__ = [  # noqa: RUF022 - by what they are for
    # The server, and what it saw
    "ScriptedModel",
    "Seen",
    # What the model says
    "Turn",
    "Use",
    "Usage",
    "Refusal",
    "usage_limit",
    # A model that decides by the request
    "Perform",
    "Request",
    "Item",
    "Said",
    "Called",
    "Returned",
    "Tool",
    "Performer",
]

_HOMES = {
    **dict.fromkeys(("ScriptedModel", "Seen", "Perform"), "server"),
    **dict.fromkeys(("Turn", "Use", "Usage", "Refusal", "usage_limit"), "turns"),
    **dict.fromkeys(("Request", "Item", "Said", "Called", "Returned", "Tool"), "request"),
    "Performer": "performer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 've.testing' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ve.testing.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
