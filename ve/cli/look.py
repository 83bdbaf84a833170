"""Commands that look: ps, work-unit show, attention, why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

from cyclopts import Parameter

from ve.cli.common import ENDED, AsJson, Chunk, UnitId, client, next_commands, units_in
from ve.cli.output import (
    OF_STATUS,
    clean,
    colour,
    indented,
    moment,
    narrate,
    one_line,
    say,
    say_json,
    since,
    span,
    table,
)
from ve.client import unit_path

Unit = Mapping[str, Any]


def ps(
    *,
    all_: Annotated[bool, Parameter(name="--all", help="Also those that ended last.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the units."""
    reply = client().get("/work-units")
    units = [unit for unit in units_in(reply) if all_ or unit["status"] not in ENDED]
    if as_json:
        say_json({**reply, "units": units})
        return
    if not units:
        narrate("nothing is queued; queue a chunk: ve orch inject NAME")
        return
    headers = ("CHUNK", "PHASE", "STATUS", "AGE", "SLOT", "BLOCKED BY", "REASON")
    rows = [
        (
            unit["chunk"],
            unit["phase"],
            status_of(unit),
            since(unit["created_at"]),
            "" if unit["slot"] is None else str(unit["slot"]),
            ", ".join(unit["blocked_by"]),
            reason_of(unit),
        )
        for unit in sorted(units, key=lambda unit: (unit["created_at"], unit["chunk"]))
    ]
    for line in table(headers, rows, shrink=(-1, -2, 0), colour_of=OF_STATUS):
        say(line)


def status_of(unit: Unit) -> str:
    """The status, with what is special about it."""
    stage = unit.get("stage")
    notes = [stage] if stage and stage != "agent" else []
    notes += ["paused"] if unit["paused"] else []
    notes += ["stopping"] if unit.get("stopping") else []
    return f"{unit['status']} ({', '.join(notes)})" if notes else str(unit["status"])


def reason_of(unit: Unit) -> str:
    """Why a unit is where it is, in one sentence; empty where its status says it all."""
    if unit["attention_reason"] is not None:
        return f"{unit['attention_kind']}: {unit['attention_reason']}"
    if unit.get("merged_commit"):
        return f"merged as {unit['merged_commit'][:10]}"
    if unit.get("retry_at"):
        return f"again {when(unit['retry_at'])}: {unit.get('cause') or 'it failed'}"
    return ""


def when(text: str) -> str:
    """A coming time, in words."""
    then = moment(text)
    left = (then - datetime.now(UTC)).total_seconds() if then else 0
    return f"in {span(left)}" if left > 0 else "now"


def show(chunk: Chunk, /, *, unit: UnitId = None, as_json: AsJson = False) -> None:
    """Show everything about a unit."""
    daemon = client()
    reply = daemon.get(unit_path(chunk), unit=unit)
    if as_json:
        say_json(reply)
        return
    found = reply["unit"]
    verbs = () if found["status"] in ENDED else daemon.get(f"/why/{found['id']}")["legal"]
    for line in describe(found):
        say(line)
    commands = next_commands(verbs, found)
    if commands:
        say()
        say("possible now")
        for command in commands:
            say(f"  {command}")


def describe(unit: Unit) -> list[str]:
    """Every field of a unit that says something, for people."""
    state = status_of(unit)
    lines = [f"{colour(unit['chunk'], 'bold')}  {colour(state, OF_STATUS.get(unit['status'], ''))}"]
    facts = {
        "unit": unit["id"],
        "phase": unit["phase"],
        "attempt": unit["attempt"],
        "priority": unit["priority"],
        "blocked by": ", ".join(unit["blocked_by"]),
        "queued": _ago(unit["created_at"]),
        "changed": _ago(unit["changed_at"]),
        "run": unit["run_id"],
        "slot": unit["slot"],
        "session": unit["session_id"],
        "worktree": unit["worktree"],
        "branch": unit["branch"],
        "base": " at ".join(filter(None, (unit["base_ref"], (unit["base_commit"] or "")[:10]))),
        "merged as": unit["merged_commit"],
        "tried again": when(unit["retry_at"]) if unit.get("retry_at") else "",
        "goes on at": unit.get("resume_at"),
        "to approve": unit.get("approve_hash"),
        "last cause": one_line(unit.get("cause") or ""),
    }
    lines += [
        f"  {name:<12}{one_line(str(value))}"
        for name, value in facts.items()
        if value is not None and value != ""
    ]
    if unit["attention_reason"] is not None:
        lines += ["", f"needs attention: {unit['attention_kind']}", indented(unit["attention_reason"])]
    lines += _evidence(unit.get("evidence") or {})
    for question in unit.get("questions") or ():
        lines += ["", *_question(question)]
    if unit.get("options") and unit["attention_kind"] != "question":
        lines += ["", "choices", *(f"  {one_line(option)}" for option in unit["options"])]
    return lines


def _ago(text: str) -> str:
    return f"{since(text)} ago ({text})"


def _evidence(evidence: Unit) -> list[str]:
    facts = [
        f"  {label:<12}{one_line(str(evidence[name]))}"
        for name, label in (("run", "run"), ("exit_code", "exit code"), ("line", "line"))
        if evidence.get(name) is not None
    ]
    if evidence.get("stderr_tail"):
        facts += ["  stderr", indented(evidence["stderr_tail"], "    ")]
    return ["", "evidence", *facts] if facts else []


def _question(question: Unit) -> list[str]:
    lines = [f"question {question['id']} ({question['state']}, {since(question['asked_at'])} ago)"]
    lines.append(indented(question["text"]))
    lines += [f"  {number}. {one_line(text)}" for number, text in enumerate(question["options"], 1)]
    if question["context"]:
        lines += ["  context", indented(question["context"], "    ")]
    if question["answer"] is not None:
        lines.append(indented(f"answered by {question['answered_by']}: {question['answer']}"))
    return lines


def attention(*, as_json: AsJson = False) -> None:
    """List the units that need a person, the most urgent first."""
    daemon = client()
    reply = daemon.get("/attention")
    if as_json:
        say_json(reply)
        return
    units = units_in(reply)
    if not units:
        narrate("nobody needs you")
        return
    for place, unit in enumerate(units):
        if place:
            say()
        waited = since(unit["changed_at"])
        say(f"{colour(unit['chunk'], 'bold')}  {colour(unit['attention_kind'], 'yellow')}  waits {waited}")
        for line in _what_is_wanted(unit):
            say(line)
        for command in next_commands(daemon.get(f"/why/{unit['id']}")["legal"], unit):
            if not command.startswith(("ve orch pause", "ve orch prioritize", "ve orch merged")):
                say(f"  {colour('>', 'dim')} {command}")


def _what_is_wanted(unit: Unit) -> list[str]:
    asked = [question for question in unit.get("questions") or () if question["state"] == "open"]
    if unit["attention_kind"] != "question" or not asked:
        return [indented(unit["attention_reason"])]
    lines = []
    for question in asked:
        lines.append(indented(question["text"]))
        lines += [f"  {number}. {one_line(text)}" for number, text in enumerate(question["options"], 1)]
    return lines


def why(chunk: Chunk, /, *, as_json: AsJson = False) -> None:
    """Say why a unit does not run at the moment."""
    reply = client().get(f"/why/{quote(chunk, safe='')}")
    if as_json:
        say_json(reply)
        return
    say(clean(f"{reply['chunk']} is {reply['status']}: {reply['why']}"))
    if reply["looks_again_at"]:
        say(f"looked at again {when(reply['looks_again_at'])}, or as soon as something changes")
