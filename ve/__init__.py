"""Takes documented units of work to a merge, with coding agents, many at once.

    import ve

    with ve.Orchestrator(".", start=True) as orch:
        (parser,) = orch.inject("parser")
        view = await parser.done()

Rule: `import ve` loads nothing else; each public name is loaded when it is first used, since the command
line begins here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ve.errors import (
        ConfigError,
        DocumentError,
        GitError,
        HistoryError,
        InvalidInput,
        NoDaemon,
        NotFound,
        RefusedError,
        RunError,
        UnavailableError,
        UsageError,
        VeError,
    )
    from ve.history import HistoryReader
    from ve.orchestrator import Orchestrator, Resync, Transition, Unit
    from ve.views import QuestionView, UnitView

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 - by what they are for
    # A repository and its units
    "Orchestrator",
    "Unit",
    "UnitView",
    "QuestionView",
    # What happens to them
    "Transition",
    "Resync",
    # What happened
    "HistoryReader",
    # What goes wrong; the tree is in ve/errors.py
    "VeError",
    "UsageError",
    "InvalidInput",
    "NotFound",
    "RefusedError",
    "UnavailableError",
    "NoDaemon",
    "ConfigError",
    "DocumentError",
    "GitError",
    "HistoryError",
    "RunError",
    # Which one this is
    "__version__",
]

_HOMES = {
    "Orchestrator": "ve.orchestrator",
    "Unit": "ve.orchestrator",
    "Transition": "ve.orchestrator",
    "Resync": "ve.orchestrator",
    "UnitView": "ve.views",
    "QuestionView": "ve.views",
    "HistoryReader": "ve.history",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 've' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "ve.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
