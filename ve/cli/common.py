"""What commands share: the repository they stand in, its daemon, and the commands that may come next."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ve.cli.output import narrate
from ve.client import Client
from ve.paths import Places, find

_NEXT = {
    "answer": "ve orch answer {chunk} 'TEXT'",
    "retry": "ve orch retry {chunk}",
    "resolve": "ve orch resolve {chunk} {choice}",
    "approve": "ve orch approve {chunk}",
    "prioritize": "ve orch prioritize {chunk} N",
    "pause": "ve orch pause {chunk}",
    "unpause": "ve orch unpause {chunk}",
    "cancel": "ve orch cancel {chunk}",
    "merged": "ve orch merged {chunk} COMMIT --reason 'WHY'",
}
ENDED = ("DONE", "CANCELLED")


def _no_option(_: Any, text: str | None) -> None:
    """`-` is allowed where text is, for stdin; a mistyped option must not become the text."""
    if text and text != "-" and text.startswith("-") and not any(c.isspace() for c in text):
        raise ValueError(f"{text} is no option here; a text that begins so: use --edit, or - and stdin")


FROM_STDIN = Parameter(allow_leading_hyphen=True, validator=_no_option)
Chunk = Annotated[str, Parameter(help="The chunk's name; it means its live unit, else its latest.")]
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
    commands: list[str] = []
    for verb in verbs:
        chunk = shlex.quote(str(unit["chunk"]))
        if verb == "answer" and unit.get("options"):
            commands += [
                f"ve orch answer {chunk} --option {number}" for number, _ in enumerate(unit["options"], 1)
            ]
        if verb == "resolve":
            choices = [shlex.quote(str(choice)) for choice in unit.get("options") or ["CHOICE"]]
            commands += [_NEXT[verb].format(chunk=chunk, choice=choice) for choice in choices]
        elif verb in ("pause", "unpause"):
            if bool(unit.get("paused")) == (verb == "unpause"):
                commands.append(_NEXT[verb].format(chunk=chunk))
        else:
            commands.append(_NEXT.get(verb, f"ve orch {verb} {{chunk}}").format(chunk=chunk))
    return commands


def units_in(reply: Any) -> list[dict[str, Any]]:
    """The units of an answer."""
    found = reply.get("units", []) if isinstance(reply, dict) else reply
    return list(found)
