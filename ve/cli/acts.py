"""Commands that change something: inject, and the operator's verbs on a unit or the board."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

from cyclopts import Parameter

from ve.cli.common import FROM_STDIN, AsJson, Chunk, Target, client, next_commands, units_in
from ve.cli.look import reason_of, status_of
from ve.cli.output import indented, narrate, one_line, say, say_json
from ve.client import Client, unit_path
from ve.errors import RefusedError, UsageError, VeError

if TYPE_CHECKING:
    from ve.cli.answering import Written

Text = Annotated[str | None, FROM_STDIN, Parameter(help="The words themselves; - reads them from stdin.")]
Reason = Annotated[str | None, Parameter(help="Why; kept in the history.")]


def inject(
    *names: Annotated[str, Parameter(help="Chunks: folders of docs/chunks, committed.")],
    priority: Annotated[int | None, Parameter(help="Higher goes first; 0 if not given.")] = None,
    depends_on: Annotated[
        str | None,
        Parameter(help="Chunks to wait for, with commas, in place of what the documents say; '' for none."),
    ] = None,
    all_future: Annotated[
        bool, Parameter(help="Also every FUTURE chunk, but for background ones that nobody approved.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Queue chunks: all of them, or none."""
    if not names and not all_future:
        raise UsageError("which chunk?", hint="Name one or more: ve orch inject NAME")
    wanted = None if depends_on is None else [name.strip() for name in depends_on.split(",") if name.strip()]
    body = {"chunks": list(names), "priority": priority, "depends_on": wanted}
    if all_future:
        body["all_future"] = True
    reply = client().post("/work-units", body)
    if as_json:
        say_json(reply)
        return
    for unit in units_in(reply):
        say(_line(unit))
    for left in reply.get("left_out", ()):
        narrate(f"left out: {one_line(left['chunk'])}: {one_line(left['why'])}")
    if not units_in(reply):
        narrate("nothing was queued")


def answer(
    chunk: Chunk,
    text: Text = None,
    /,
    *,
    option: Annotated[int | None, Parameter(help="Answer by an option's number; 1 is the first.")] = None,
    question: Annotated[
        str | None, Parameter(help="Which question, by its id, where several are open.")
    ] = None,
    edit: Annotated[bool, Parameter(help="Write the answer in $VISUAL or $EDITOR.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer an agent's question."""
    if (text is not None) + (option is not None) + edit > 1:
        raise UsageError("TEXT, --option and --edit are three ways to answer; one of them is enough")
    daemon = client()
    if chunk.startswith("@"):
        _act(daemon, chunk, "answer", {"text": text, "option": option, "question": question}, as_json)
        return
    from ve.cli import answering

    asked = daemon.get(unit_path(chunk))["unit"]
    if edit:
        _send_written(daemon, chunk, answering.written(asked, question), as_json)
        return
    if text is None and option is None:
        raise answering.ask_back(asked, question, f"what is the answer to {asked['chunk']}?")
    if question is None and len(answering.open_questions(asked)) > 1:
        raise answering.ask_back(asked, None, f"{asked['chunk']} asks several questions; which one is it?")
    _act(daemon, chunk, "answer", {"text": _given(text), "option": option, "question": question}, as_json)


def _send_written(daemon: Client, chunk: str, answers: list[Written], as_json: bool) -> None:
    """Send them one by one. What could not be sent is shown, so that it can be used again."""
    for number, one in enumerate(answers):
        try:
            _act(daemon, chunk, "answer", one.body, as_json)
        except VeError as error:
            left = "\n".join(f"  to {it.question}:\n{indented(it.text, '    ')}" for it in answers[number:])
            error.hint = "\n".join(part for part in (error.hint, f"Not sent:\n{left}") if part)
            raise


def retry(
    chunk: Target,
    /,
    *,
    fresh: Annotated[
        bool, Parameter(help="A new attempt from the base; what there is goes under a salvage ref.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Go on where a unit stopped."""
    _act(client(), chunk, "retry", {"fresh": fresh or None}, as_json)


def resolve(
    chunk: Target,
    choice: Annotated[
        Literal["serialize", "approve", "feedback", "drop"],
        Parameter(help="conflict: serialize; review: approve, feedback; dependency: drop."),
    ],
    /,
    *,
    text: Text = None,
    as_json: AsJson = False,
) -> None:
    """Decide what ve may not."""
    _act(client(), chunk, "resolve", {"choice": choice, "text": _given(text)}, as_json)


def approve(
    chunk: Target,
    /,
    *,
    hash_: Annotated[
        str | None, Parameter(name="--hash", help="Only if this is what waits, as work-unit show names it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say yes to a merge, or to a setup or check command."""
    _act(client(), chunk, "approve", {"hash": hash_}, as_json)


def prioritize(
    chunk: Target,
    priority: Annotated[int, Parameter(help="Higher goes first.", allow_leading_hyphen=True)],
    /,
    *,
    as_json: AsJson = False,
) -> None:
    """Higher goes first."""
    _act(client(), chunk, "prioritize", {"priority": priority}, as_json)


MaybeChunk = Annotated[
    str | None, Parameter(help="The chunk, or @ and a group; without one, the whole board.")
]


def pause(chunk: MaybeChunk = None, /, *, as_json: AsJson = False) -> None:
    """Dispatch and land nothing; runs end their phase."""
    _act(client(), chunk, "pause", {}, as_json)


def unpause(chunk: MaybeChunk = None, /, *, as_json: AsJson = False) -> None:
    """Dispatch and land again."""
    _act(client(), chunk, "unpause", {}, as_json)


def cancel(chunk: Target, /, *, reason: Reason = None, as_json: AsJson = False) -> None:
    """End a unit without a merge; its work is kept under a salvage ref."""
    _act(client(), chunk, "cancel", {"reason": reason}, as_json)


def merged(
    chunk: Chunk,
    commit: Annotated[
        str | None, Parameter(help="What holds the work; the branch's tip if not given.")
    ] = None,
    /,
    *,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Declare a unit's work done by hand: the commit is in the base already."""
    _act(client(), chunk, "merged", {"commit": commit, "reason": reason}, as_json)


def _given(text: str | None) -> str | None:
    return sys.stdin.read().strip() if text == "-" else text


def _act(daemon: Client, chunk: str | None, verb: str, body: dict[str, Any], as_json: bool) -> None:
    """Send a verb and say what became of the unit; a refusal names what is possible instead."""
    if chunk is not None and chunk.startswith("@"):
        _act_on_group(daemon, chunk[1:], verb, body, as_json)
        return
    if chunk is None:
        reply = daemon.post(f"/board/{verb}")
        line = f"the board is {'paused' if verb == 'pause' else 'not paused'}"
    else:
        try:
            reply = daemon.post(unit_path(chunk, verb), body)
        except RefusedError as error:
            if not error.legal:
                raise
            unit = daemon.get(unit_path(chunk))["unit"]
            instead = "\n".join(f"  {command}" for command in next_commands(error.legal, unit))
            hint = "\n".join(part for part in (error.hint, f"Possible now:\n{instead}") if part)
            raise RefusedError(error.what, where=error.where, hint=hint, legal=error.legal) from error
        line = _line(reply["unit"])
    if as_json:
        say_json(reply)
    else:
        say(line)


def _act_on_group(daemon: Client, name: str, verb: str, body: dict[str, Any], as_json: bool) -> None:
    """Send a verb to a group and say what became of each unit. Raises RefusedError if one refused it."""
    reply = daemon.post(f"/attention/{quote(name, safe='')}/{verb}", body)
    results = reply["results"]
    if as_json:
        say_json(reply)
    else:
        for result in results:
            if result["unit"]:
                say(_line(result["unit"]))
    refused = [f"  {one_line(r['chunk'])}: {one_line(r['refused'])}" for r in results if r["refused"]]
    if refused:
        raise RefusedError(f"{len(refused)} of {len(results)} units refused it", hint="\n".join(refused))


def _line(unit: dict[str, Any]) -> str:
    """What a unit is now, on one line."""
    waits = f", waits for {', '.join(unit['blocked_by'])}" if unit["blocked_by"] else ""
    reason = reason_of(unit)
    return one_line(
        f"{unit['chunk']}: {status_of(unit)} in {unit['phase']}{waits}{f': {reason}' if reason else ''}"
    )
