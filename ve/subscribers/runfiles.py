"""Turns what a run left in its folder into commands: the only place where an agent's files are read.

Every question, decision and disposition is read from the tools' own records, never out of text. All
commands are idempotent, so a folder may be read again from its beginning.
"""

from __future__ import annotations

import shutil
from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ve import commands as c
from ve.agents import base as agent
from ve.agents import judge as verdict
from ve.agents.base import Adapter
from ve.proc import runfolder, watch
from ve.proc.tail import Tail
from ve.unit import Evidence, Meter, ReviewDecision, ReviewIssue, WorkUnit, utcnow

UNKNOWN_LIMIT = timedelta(minutes=15)  # where a backend does not say when its limit resets
KEPT = (agent.Finished, agent.LimitReached, agent.Stuck, agent.UsageEvent)
WORK = (agent.ModelEvent, agent.ToolCall)
LAST_LINES, LINE_BYTES = 5, 1000  # of the output, as evidence
FULL = 1 << 20  # bytes: with less than this, agents fail in ways that say nothing of it


class RunFiles:
    """A run's folder, read step by step. Used by one thread at a time."""

    def __init__(self, folder: Path, unit: WorkUnit, backend: str, adapter: Adapter) -> None:
        """`backend` is the agent's name in the configuration; `adapter` an object for this run alone."""
        self.folder = folder
        self.run = folder.name
        self.unit = unit.id
        self.backend = backend
        self.ready = False
        self._chunk = unit.chunk
        self._worktree = unit.worktree
        self._meter = unit.meter
        self._session = unit.session or ""
        self._given_up = False
        self._adapter = adapter
        self._output = Tail(folder / "output")
        self._tools_offset = 0
        self._events: list[agent.Event] = []
        self._model_seen = False
        self._last_lines: deque[bytes] = deque(maxlen=LAST_LINES)

    def read_new(self) -> list[c.Command]:
        """What was added since, as commands, tools first. Blocks for file reads."""
        return [*self._read_tools(), *self._read_output()]

    def _read_tools(self) -> list[c.Command]:
        records, self._tools_offset = runfolder.read_tools(self.folder, self._tools_offset)
        return [command for record in records for command in self._of_tool(record)]

    def _of_tool(self, record: runfolder.ToolRecord) -> list[c.Command]:
        unit, run = self.unit, self.run
        if isinstance(record, runfolder.ToolsReady):
            self.ready = True
            return [c.RunStarted(unit=unit, run=run)]
        if isinstance(record, runfolder.Asked):
            asked = c.Asked(id=record.id, text=record.text, options=record.options, context=record.context)
            return [c.Ask(unit=unit, run=run, questions=(asked,))]
        if isinstance(record, runfolder.Decided):
            issues = tuple(
                ReviewIssue(id=i.id, place=i.place, concern=i.concern, suggestion=i.suggestion)
                for i in record.issues
            )
            decision = ReviewDecision(decision=record.decision, issues=issues, reason=record.reason)
            return [c.ReviewDecided(unit=unit, run=run, decision=decision)]
        return [
            c.Disposed(
                unit=unit, run=run, issue=record.issue, disposition=record.disposition, reason=record.reason
            )
        ]

    def _read_output(self) -> list[c.Command]:
        found: list[c.Command] = []
        while lines := self._output.read_new():
            self._last_lines.extend(line for line in lines if line.strip())
            for line in lines:
                for event in self._adapter.parse(line):
                    found.extend(self._of_event(event))
        return found

    def _of_event(self, event: agent.Event) -> list[c.Command]:
        if isinstance(event, KEPT):
            self._events.append(event)
        if isinstance(event, agent.Stuck):
            return self._give_up(event)
        if isinstance(event, agent.SessionStarted):
            self._session = event.id
            return [c.SessionKnown(unit=self.unit, run=self.run, session=event.id)]
        if not isinstance(event, WORK) or self._model_seen:
            return []
        self._model_seen = True
        found = [] if self.ready or not self._adapter.abilities.ask else self._read_tools()
        if not self.ready and self._adapter.abilities.ask:
            missing = agent.Stuck("it works without the tools of `ve`: their server did not start", "tools")
            self._events.append(missing)
            return [*found, *self._give_up(missing)]
        return [*found, c.Delivered(unit=self.unit, run=self.run)]

    def _give_up(self, stuck: agent.Stuck) -> list[c.Command]:
        """The run is stopped at once, with this as its reason."""
        if self._given_up:
            return []
        self._given_up = True
        failure = exit_of(verdict.given_up(stuck, self._seen()))
        assert isinstance(failure, c.Failed)
        return [c.Fail(unit=self.unit, run=self.run, alive=True, failure=failure)]

    def _shown_lines(self) -> str:
        return "\n".join(line[:LINE_BYTES].decode(errors="replace") for line in self._last_lines)

    def _seen(self) -> verdict.Seen:
        return verdict.Seen(
            run=self.run,
            chunk=self._chunk,
            agent=self._adapter.title,
            name=self.backend,
            lines=self._shown_lines(),
            stderr_tail=runfolder.stderr_tail(self.folder),
            disk_full=any(_full(Path(place)) for place in (self.folder, self._worktree) if place),
        )

    @property
    def effect_required(self) -> bool:
        return self._adapter.abilities.effect

    def without_effect(self, why: str) -> c.Failed:
        """A clean end that changed nothing."""
        advice = f"Read what it did with `ve orch tail {self._chunk}`, then `ve orch retry {self._chunk}`."
        evidence = Evidence(run=self.run, lines=self._shown_lines()[-verdict.EVIDENCE :], exit_code=0)
        return c.Failed(reason=f"{self._adapter.title}: {why}. {advice}", evidence=evidence)

    def _explain(self) -> None:
        """A client that refused to start says why on stderr, not among its events."""
        if not isinstance(self._adapter, agent.Explains):
            return
        silent = not any(isinstance(event, agent.Finished) for event in self._events)
        if silent and (finished := self._adapter.explain(runfolder.stderr_tail(self.folder))):
            self._events.append(finished)

    def ended(self, state: watch.Ended | watch.Lost) -> c.RunEnded:
        """What the run came to; call `read_new` to its end before."""
        record = state.exit if isinstance(state, watch.Ended) else None
        self._explain()
        outcome = verdict.judge(self._events, record, self.ready, self._seen(), self._adapter.abilities)
        ended_at = datetime.fromisoformat(record.ended_at) if record else utcnow()
        usage, meter = self._usage()
        return c.RunEnded(
            unit=self.unit, run=self.run, exit=exit_of(outcome), usage=usage, meter=meter, ended_at=ended_at
        )

    def _usage(self) -> tuple[c.Usage | None, Meter | None]:
        """What this run consumed, and how far its conversation's own counters have come."""
        events = [event for event in self._events if isinstance(event, agent.UsageEvent)]
        if not events:
            return None, None
        single = [event for event in events if not event.cumulative]
        total = next((event for event in reversed(events) if event.cumulative), agent.UsageEvent())
        meter = Meter(
            session=self._session, input_tokens=total.tokens_in, output_tokens=total.tokens_out,
            cached_tokens=total.tokens_cached, cost_usd=total.cost_usd,
        )  # fmt: skip
        before = self._meter if self._meter and self._meter.session == self._session else Meter(session="")
        usage = c.Usage(
            input_tokens=sum(e.tokens_in for e in single) + max(0, meter.input_tokens - before.input_tokens),
            output_tokens=sum(e.tokens_out for e in single)
            + max(0, meter.output_tokens - before.output_tokens),
            cached_tokens=sum(e.tokens_cached for e in single)
            + max(0, meter.cached_tokens - before.cached_tokens),
            cost_usd=sum(e.cost_usd for e in single) + max(0.0, meter.cost_usd - before.cost_usd),
            estimated=any(e.estimated for e in events),
        )
        return usage, meter if total in events else None


def _full(place: Path) -> bool:
    try:
        return shutil.disk_usage(place).free < FULL
    except OSError:
        return False


def exit_of(outcome: verdict.Outcome) -> c.Exit:
    """An agent's outcome as the state machine knows it."""
    if isinstance(outcome, verdict.Clean):
        return c.Clean()
    if isinstance(outcome, verdict.Limited):
        until = datetime.fromisoformat(outcome.until) if outcome.until else utcnow() + UNKNOWN_LIMIT
        return c.Limited(until=until.astimezone(UTC), reason=outcome.reason)
    seen = outcome.evidence
    evidence = Evidence(
        run=seen.run or None,
        lines=seen.lines or None,
        exit_code=seen.exit_code,
        stderr_tail=seen.stderr_tail or None,
    )
    if outcome.kind == "stalled":
        return c.Stalled(reason=outcome.reason, evidence=evidence)
    if outcome.kind == "lost":
        return c.Lost(reason=outcome.reason, evidence=evidence)
    if outcome.kind in ("setup", "limit"):
        return c.Failed(kind=outcome.kind, reason=outcome.reason, evidence=evidence, retry=False)
    return c.Failed(
        kind="error",
        reason=outcome.reason,
        evidence=evidence,
        retry=outcome.cause != "refused",
        session_gone=outcome.cause == "session",
    )
