"""`docs/chunks/<chunk>/script.toml`: what the script agent does, an array of tables for each phase.

    [[IMPLEMENT]]
    write = "hello.txt"
    text = "hello {answer}"

Each table is a step with exactly one verb. The whole file is checked before the first step runs, also the
phases that are not at hand, so a typing mistake shows at once and names its place.
"""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from typing import Any

from msgspec import Struct

from ve.agents.base import PHASES

VERBS: dict[str, tuple[type | tuple[type, ...], dict[str, type | tuple[type, ...]]]] = {
    "write": (str, {"text": str}),
    "append": (str, {"text": str}),
    "run": (str, {}),
    "ask": (str, {"options": list, "context": str}),
    "decide": (str, {"issues": list, "reason": str}),
    "dispose": (str, {"disposition": str, "reason": str}),
    "fail": (str, {"exit": int}),
    "sleep": ((int, float), {}),
    "commit": (str, {}),
    "limit": ((int, float), {"reason": str}),
}
"""Verb -> type of its value, and the further keys of its step with their types. `visit` fits every step."""


class ScriptError(Exception):
    """The script is wrong, or a step failed; the text is the run's message."""

    def __init__(self, message: str, exit: int = 1) -> None:
        super().__init__(message)
        self.exit = exit


class Step(Struct, frozen=True):
    """One step: its place for messages, its verb, the verb's value, the other keys."""

    place: str
    verb: str
    value: Any
    keys: dict[str, Any]

    def text(self, key: str, default: str = "") -> str:
        """A further key as text."""
        return str(self.keys.get(key, default))


def read(text: str, path: str, phase: str, visit: int) -> list[Step]:
    """The steps of that phase and visit, in order. Raises ScriptError naming file, step and key."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScriptError(f"{path}: not valid TOML: {error}") from error
    steps: list[Step] = []
    for name, tables in data.items():
        if name not in PHASES:
            raise ScriptError(f"{path}: [[{name}]] is no phase{_near(name, PHASES)}; one of {_list(PHASES)}")
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise ScriptError(f"{path}: write [[{name}]] (two brackets): a phase is a list of steps")
        for number, table in enumerate(tables, 1):
            step = _step(f"{path}: [[{name}]] step {number}", table)
            if name == phase and step.keys.get("visit", visit) == visit:
                steps.append(step)
    return steps


def _step(place: str, table: dict[str, Any]) -> Step:
    verbs = [key for key in table if key in VERBS]
    if len(verbs) > 1:
        raise ScriptError(f"{place}: has {_list(verbs)}; a step has exactly one verb")
    if not verbs:
        odd = next(iter(table), "")
        raise ScriptError(f"{place}: unknown verb `{odd}`{_near(odd, VERBS)}; one of {_list(VERBS)}")
    verb = verbs[0]
    kind, further = VERBS[verb]
    allowed = {**further, "visit": int}
    for key, value in table.items():
        wanted = kind if key == verb else allowed.get(key)
        if wanted is None:
            raise ScriptError(
                f"{place}: unknown key `{key}`{_near(key, allowed)}; with `{verb}` go {_list(allowed)}"
            )
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ScriptError(f"{place}: `{key}` must be {_type_name(wanted)}, not {value!r}")
    if verb == "decide" and table["decide"] not in ("approve", "feedback", "escalate"):
        raise ScriptError(f"{place}: `decide` is one of approve, feedback, escalate")
    return Step(place, verb, table[verb], {key: value for key, value in table.items() if key != verb})


def _near(name: str, known: Any) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def _list(names: Any) -> str:
    return ", ".join(names)


def _type_name(wanted: type | tuple[type, ...]) -> str:
    names = {str: "a text", int: "a whole number", list: "a list", (int, float): "a number"}
    return names[wanted]
