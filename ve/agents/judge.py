"""What a run came to, from typed facts only: the agent's events, the exit record, the tools' records.

Rule: a reason must let an operator act without opening a log. It says what happened, who said it, the last
line of stderr where it helps, and what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from ve.agents.base import Abilities, ErrorKind, Event, Finished, LimitReached, Stuck

TRANSIENT: frozenset[str] = frozenset({"overloaded", "connection"})

FailureKind: TypeAlias = Literal["error", "setup", "stalled", "limit", "lost", "stopped"]


EVIDENCE = 2000
"""Characters of its output that an operator is shown."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Where an operator looks: the run, the last lines of its output, its exit, the end of its stderr."""

    run: str
    lines: str
    exit_code: int | None
    stderr_tail: str


class Clean(msgspec.Struct, frozen=True, tag="clean"):
    """The run ended well: typed terminal event, no error flag, exit 0, our tools were there."""

    message: str = ""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """Anything else. `kind` is the kind of attention, `cause` the agent's typed class of error;
    `transient`: the same run later may work, so a retry with back-off makes sense."""

    kind: FailureKind
    reason: str
    evidence: Evidence
    cause: ErrorKind = ""
    transient: bool = False


class Limited(msgspec.Struct, frozen=True, tag="limited"):
    """The backend's usage limit ended the run; the unit is not to blame."""

    until: str | None
    reason: str


Outcome: TypeAlias = Clean | Failed | Limited


class Ended(Protocol):
    """What `judge` needs of an exit record (`ve.proc.runfolder.Exit` is one)."""

    @property
    def how(self) -> str: ...
    @property
    def code(self) -> int | None: ...
    @property
    def signal(self) -> int | None: ...
    @property
    def message(self) -> str: ...


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What else is known of the run, for the words of a reason and its evidence."""

    run: str = ""
    chunk: str = ""
    agent: str = "The agent"
    """How people call it."""
    name: str = "NAME"
    """How the configuration calls it."""
    lines: str = ""
    """The last lines of `output`."""
    stderr_tail: str = ""
    disk_full: bool = False
    """Hardly anything can be written where the run worked."""


class Judgement(msgspec.Struct, frozen=True):
    """A failure before its evidence: its kind, what happened, what to do next."""

    kind: FailureKind
    what: str
    advice: str
    cause: ErrorKind = ""


def judge(
    events: Sequence[Event],
    exit: Ended | None,
    tools_ready: bool,
    seen: Seen = Seen(),  # noqa: B008 - frozen
    abilities: Abilities = Abilities(),  # noqa: B008 - frozen
) -> Outcome:
    """What a finished run came to. Pure; never raises.

    `exit` is None when the run was lost: its supervisor died without an exit record. The phase's effect
    in the worktree is judged elsewhere.
    """
    finished = next((event for event in reversed(events) if isinstance(event, Finished)), None)
    ready = tools_ready or not abilities.ask
    if exit is not None and exit.how == "exited" and exit.code == 0 and ready:
        if finished is None and not abilities.events:
            return Clean()
        if finished is not None and finished.ok:
            return Clean(finished.message)
    limit = next((event for event in reversed(events) if isinstance(event, LimitReached)), None)
    if limit is not None:
        return Limited(limit.until, limit.reason)
    stuck = next((event for event in events if isinstance(event, Stuck)), None)
    if stuck is not None:
        return given_up(stuck, seen)
    return _failed(_failure(events, finished, exit, ready, seen, abilities), exit, seen)


def given_up(stuck: Stuck, seen: Seen) -> Failed:
    """A run that `ve` ends because it cannot succeed."""
    told = _told(stuck.error_kind, seen)
    what = f"{seen.agent} was stopped: {_said(stuck.message)}."
    return _failed(Judgement(told[0], what, told[1], stuck.error_kind), None, seen)


def _failed(found: Judgement, exit: Ended | None, seen: Seen) -> Failed:
    quoted = "" if seen.disk_full else _last_line(seen.stderr_tail)
    return Failed(
        kind=found.kind,
        reason=" ".join(part for part in (found.what, quoted, found.advice) if part),
        evidence=Evidence(
            run=seen.run,
            lines=seen.lines[-EVIDENCE:],
            exit_code=None if exit is None else exit.code,
            stderr_tail=seen.stderr_tail[-4000:],
        ),
        cause=found.cause,
        transient=found.cause in TRANSIENT and found.kind == "error",
    )


def _failure(
    events: Sequence[Event],
    finished: Finished | None,
    exit: Ended | None,
    ready: bool,
    seen: Seen,
    abilities: Abilities,
) -> Judgement:
    again, read = f"`ve orch retry {seen.chunk or 'CHUNK'}`", _read(seen)
    who = seen.agent
    if seen.disk_full:
        what = f"The disk is full where {who} worked ({'lost' if exit is None else _ending(exit)})."
        return Judgement("setup", what, f"Make room, then {again}.")
    if exit is None:
        what = (
            "The run was lost: its supervisor died without an exit record (killed, or the machine stopped)."
        )
        return Judgement("lost", what, f"Nothing of it is left running; {again}.")
    if exit.how == "start_failed":
        advice = f"See `ve orch agents`, mend [agents.{seen.name}], then {again}."
        return Judgement("setup", f"{who} did not start: {exit.message}.", advice)
    if exit.how in ("wall_limit", "idle_limit"):
        limit = exit.how.removesuffix("_limit") + "_s"
        key = f"`limits.{limit}` (or `phase.NAME.{limit}` where that is set)"
        what = f"{who} was ended: {exit.message}."
        return Judgement("stalled", what, f"{read}, raise {key} if it needs longer, then {again}.")
    if exit.how == "stopped":
        return Judgement("stopped", f"{who} was stopped ({_ending(exit)}).", f"Go on with {again}.")
    if finished is not None and not finished.ok:
        kind, advice = _told(finished.error_kind, seen)
        what = f"{who} reported a failure: {_said(finished.message)} ({_ending(exit)})."
        return Judgement(kind, what, advice, finished.error_kind)
    if exit.how == "signalled":
        advice = f"Look whether memory ran out (`dmesg`), then {again}." if exit.signal == 9 else ""
        advice = advice or f"{read}, then {again}."
        return Judgement("error", f"{who} was killed by signal {exit.signal}, not by `ve`.", advice)
    if not events and exit.code != 0 and abilities.events:
        what = f"{who} refused to begin: {_ending(exit)} before its first event."
        advice = f"Mend [agents.{seen.name}] args or the client's version (`ve orch agents`), then {again}."
        return Judgement("setup", what, advice)
    if not ready:
        what = f"{who} never asked for the tools of `ve`, so it could not have asked ({_ending(exit)})."
        return Judgement("setup", what, _told("tools", seen)[1], "tools")
    if finished is None and abilities.events:
        return Judgement(
            "error", f"{who} ended without its terminal event ({_ending(exit)}).", f"{read}, then {again}."
        )
    what = f"{who} reported success but ended with {_ending(exit)}."
    if finished is None:
        what = f"{who} ended with {_ending(exit)}."
    return Judgement("error", what, f"{read}, then {again}.")


def _told(cause: ErrorKind, seen: Seen) -> tuple[FailureKind, str]:
    """The kind of attention for a typed class of error, and what an operator does about it."""
    again, section = f"`ve orch retry {seen.chunk or 'CHUNK'}`", f"[agents.{seen.name}]"
    table: dict[str, tuple[FailureKind, str]] = {
        "auth": ("setup", f"Log it in or set its key (`ve orch agents` says how), then {again}."),
        "billing": ("setup", f"The account has no credit; settle it, then {again}."),
        "model": ("setup", f"Choose another model in {section} of ve.toml, then {again}."),
        "turns": ("limit", f"{_read(seen)}; {again} lets it go on, {section} max_turns raises the limit."),
        "budget": ("limit", f"Raise {section} budget_usd, or let it go on with {again}."),
        "tools": ("setup", f"Run `ve orch agents`, start the client by hand in the worktree, then {again}."),
        "session": (
            "error",
            f"Its conversation is gone; {again} goes on with a new one that quotes the answers.",
        ),
        "refused": (
            "error",
            f"Reword the goal or the plan, then {again}, or choose another model in {section}.",
        ),
        "overloaded": ("error", f"The backend is overloaded; wait, then {again}."),
        "connection": ("error", f"See whether the backend can be reached from here, then {again}."),
    }
    return table.get(cause, ("error", f"{_read(seen)}, then {again}."))


def _read(seen: Seen) -> str:
    return f"Read what it did with `ve orch tail {seen.chunk or 'CHUNK'}`"


def _said(message: str) -> str:
    return message.strip().rstrip(".") or "no message"


def _ending(exit: Ended) -> str:
    return f"signal {exit.signal}" if exit.signal is not None else f"exit code {exit.code}"


def _last_line(stderr_tail: str) -> str:
    lines = [line.strip() for line in stderr_tail.splitlines() if line.strip()]
    return f"Its last line on stderr: {lines[-1][:300]} ·" if lines else ""
