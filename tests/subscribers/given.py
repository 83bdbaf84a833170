"""A stream without a daemon around it: the test itself says what is durable."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from ve import commands as c
from ve.configfields import Config
from ve.core import Core
from ve.stream import Stream
from ve.unit import Board, Phase, WorkUnit
from ve.views import Transition

ME = "operator:me"


def inject(chunk: str, **fields: Any) -> c.Inject:
    """A unit whose id is `u-<chunk>`, so that tests can name it."""
    defaults: dict[str, Any] = {"unit": f"u-{chunk}", "chunk": chunk, "base_ref": "refs/heads/main"}
    return c.Inject(**{**defaults, "phase": Phase.IMPLEMENT, **fields})


def bare(slots: int = 4, **options: Any) -> Stream:
    """A stream with an empty board, unless told otherwise."""
    options.setdefault("board", Board(config=Config(slots=slots)))
    return Stream(epoch="e1", **options)


def around(stream: Stream) -> Core:
    """All of a core that a subscriber needs which only reads and submits."""
    return cast(Core, SimpleNamespace(stream=stream, backend_of=lambda unit: "script"))


def dispatch(stream: Stream, chunk: str, run: str | None = None) -> None:
    """Give the chunk's unit a run."""
    unit = stream.unit(f"u-{chunk}")
    assert unit is not None
    stream.submit(
        c.Dispatch(
            unit=unit.id,
            run=run or f"r-{chunk}-{unit.runs + 1}",
            slot=stream.index.free_slots()[0],
            backend="script",
        ),
        "scheduler",
    )


def unit(stream: Stream, chunk: str) -> WorkUnit:
    found = stream.unit(f"u-{chunk}")
    assert found is not None
    return found


def told(seen: list[Transition]) -> list[tuple[int, str]]:
    return [(t.seq, t.command) for t in seen]
