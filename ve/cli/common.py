"""What commands share: the repository they stand in, its daemon, and the commands that may come next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ve.cli.output import narrate
from ve.client import Client
from ve.nextsteps import command_lines
from ve.paths import Places, find

ENDED = ("DONE", "CANCELLED")


def _no_option(_: Any, text: str | None) -> None:
    """`-` is allowed where text is, for stdin; a mistyped option must not become the text."""
    if text and text != "-" and text.startswith("-") and not any(c.isspace() for c in text):
        raise ValueError(f"{text} is no option here; a text that begins so: use --edit, or - and stdin")


FROM_STDIN = Parameter(allow_leading_hyphen=True, validator=_no_option)
Chunk = Annotated[str, Parameter(help="The chunk's name; it means its live unit, else its latest.")]
Target = Annotated[
    str, Parameter(help="The chunk's name; or @ and a group of units, as ve orch attention names it.")
]
AsJson = Annotated[bool, Parameter(name="--json", help="JSON, in the shape of the HTTP API.")]
UnitId = Annotated[str | None, Parameter(name="--unit", help="An earlier unit of the chunk, by its id.")]


def places() -> Places:
    """The repository that the command was called in. Raises NotFound."""
    return find(Path.cwd())


def client() -> Client:
    """The daemon of this repository."""
    return Client(places(), notice=narrate)


def next_commands(verbs: Iterable[str], unit: Mapping[str, Any]) -> list[str]:
    """The verbs that are legal now, as commands to type."""
    asked = [one["id"] for one in unit.get("questions") or () if one["state"] == "open"]
    options, paused = unit.get("options") or (), bool(unit.get("paused"))
    return command_lines(verbs, str(unit["chunk"]), options=options, paused=paused, questions=asked)


def units_in(reply: Any) -> list[dict[str, Any]]:
    """The units of an answer."""
    found = reply.get("units", []) if isinstance(reply, dict) else reply
    return list(found)
