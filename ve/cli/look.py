"""Commands that look: ps, work-unit show, attention, why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
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
    terminal_width,
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
    facts = _evidence_facts(evidence)
    return ["", "evidence", *facts] if facts else []


def _evidence_facts(evidence: Unit) -> list[str]:
    facts = [
        f"  {label:<12}{one_line(str(evidence[name]))}"
        for name, label in (("run", "run"), ("exit_code", "exit code"))
        if evidence.get(name) is not None
    ]
    for name, label in (("lines", "output"), ("stderr_tail", "stderr")):
        if evidence.get(name):
            facts += [f"  {label}", indented(evidence[name], "    ")]
    return facts


def _question(question: Unit) -> list[str]:
    lines = [f"question {question['id']} ({question['state']}, {since(question['asked_at'])} ago)"]
    lines += asked_lines(question)
    if question["answer"] is not None:
        lines.append(indented(f"answered by {question['answered_by']}: {question['answer']}"))
    return lines


def asked_lines(question: Unit) -> list[str]:
    """The text of a question, its options by number, and its context."""
    lines = [indented(question["text"])]
    lines += [f"  {number}. {one_line(text)}" for number, text in enumerate(question["options"], 1)]
    if question["context"]:
        lines += ["  context", indented(question["context"], "    ")]
    return lines


def attention(*, as_json: AsJson = False) -> None:
    """Show what needs a person, by cause; what most work waits for comes first."""
    reply = client().get("/attention")
    if as_json:
        say_json(reply)
        return
    blocks = [[_lane(lane)] for lane in reply["lanes"]]
    blocks += [list(_group(group)) for group in reply["groups"]]
    for place, lines in enumerate(blocks):
        if place:
            say()
        for line in lines:
            say(line)
    if not reply["groups"]:
        narrate("nobody needs you")


def _lane(lane: Unit) -> str:
    """A backend that takes nothing, once for all that wait for it."""
    then = moment(lane["until"])
    assert then is not None
    here, left = then.astimezone(), then - datetime.now(UTC)
    until = f"{here:%H:%M}" if left < timedelta(hours=20) else f"{here:%a %d %b %H:%M}"
    why = f" ({one_line(lane['reason'])})" if lane["reason"] else ""
    waits = _counted(len(lane["chunks"]), "{n} unit waits for it", "{n} units wait for it")
    behind = f", {lane['waiting']} more behind" if lane["waiting"] else ""
    return f"{colour(clean(lane['backend']), 'bold')} takes nothing until {until}{why}; {waits}{behind}"


def _group(group: Unit) -> Iterator[str]:
    """A cause: whom it holds up, what it is, what can be done."""
    units = group["units"]
    one = len(units) == 1
    name = units[0]["chunk"] if one else f"@{group['fingerprint']}"
    facts = [colour(name, "bold"), colour(group["kind"], "yellow")]
    facts += [] if one else [f"{len(units)} units"]
    facts += [f"waits {since(group['since'])}"]
    if group["waiting"]:
        facts.append(_counted(group["waiting"], "{n} unit waits behind", "{n} units wait behind"))
    if group["retry_at"]:
        facts.append(f"tried again {when(group['retry_at'])}")
    yield "  ".join(facts)
    if not one:
        yield from _names(unit["chunk"] for unit in units)
    yield from _what_is_wanted(group)
    for command in group["next"]:
        yield f"  {colour('>', 'dim')} {clean(command)}"


def _names(chunks: Iterable[str]) -> list[str]:
    import textwrap

    names = ", ".join(map(clean, chunks))
    return textwrap.wrap(
        names, terminal_width(), initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
    )


def _counted(number: int, one: str, several: str) -> str:
    return (one if number == 1 else several).format(n=number)


def _what_is_wanted(group: Unit) -> Iterator[str]:
    unit = group["units"][0]
    asked = [question for question in unit.get("questions") or () if question["state"] == "open"]
    if group["kind"] == "question" and asked:
        for question in asked:
            yield from [f"  question {question['id']}"] if len(asked) > 1 else []
            yield from asked_lines(question)
        return
    yield indented(group["reason"])
    facts = _evidence_facts(unit.get("evidence") or {})
    if facts and len(group["units"]) > 1:
        yield f"  for example, {unit['chunk']}"
    yield from facts


def why(chunk: Chunk, /, *, as_json: AsJson = False) -> None:
    """Say why a unit does not run at the moment."""
    reply = client().get(f"/why/{quote(chunk, safe='')}")
    if as_json:
        say_json(reply)
        return
    say(clean(f"{reply['chunk']} is {reply['status']}: {reply['why']}"))
    if reply["looks_again_at"]:
        say(f"looked at again {when(reply['looks_again_at'])}, or as soon as something changes")
