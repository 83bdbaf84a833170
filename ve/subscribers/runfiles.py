"""Turns what a run left in its folder into commands: the only place where an agent's files are read.

Every question, decision and disposition is read from the tools' own records, never out of text. All
commands are idempotent, so a folder may be read again from its beginning.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from ve import commands as c
from ve.agents import base as agent
from ve.agents.base import Adapter, judge
from ve.proc import runfolder, watch
from ve.proc.tail import Tail
from ve.unit import Evidence, ReviewDecision, ReviewIssue, utcnow

UNKNOWN_LIMIT = timedelta(minutes=15)  # where a backend does not say when its limit resets
KEPT = (agent.Finished, agent.LimitReached, agent.UsageEvent)


class RunFiles:
    """A run's folder, read step by step. Used by one thread at a time."""

    def __init__(self, folder: Path, unit: str, adapter: Adapter) -> None:
        self.folder = folder
        self.run = folder.name
        self.unit = unit
        self.ready = False
        self._adapter = adapter
        self._output = Tail(folder / "output")
        self._tools_offset = 0
        self._events: list[agent.Event] = []
        self._model_seen = False
        self._last_line = b""

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
            self._last_line = next((line for line in reversed(lines) if line.strip()), self._last_line)
            for line in lines:
                for event in self._adapter.parse(line):
                    found.extend(self._of_event(event))
        return found

    def _of_event(self, event: agent.Event) -> list[c.Command]:
        if isinstance(event, KEPT):
            self._events.append(event)
        if isinstance(event, agent.SessionStarted):
            return [c.SessionKnown(unit=self.unit, run=self.run, session=event.id)]
        if isinstance(event, agent.ModelEvent) and not self._model_seen:
            self._model_seen = True
            return [c.Delivered(unit=self.unit, run=self.run)]
        return []

    def ended(self, state: watch.Ended | watch.Lost) -> c.RunEnded:
        """What the run came to; call `read_new` to its end before."""
        record = state.exit if isinstance(state, watch.Ended) else None
        outcome = judge(
            self._events,
            record,
            self.ready,
            run=self.run,
            line=self._last_line.decode(errors="replace"),
            stderr_tail=runfolder.stderr_tail(self.folder),
        )
        ended_at = datetime.fromisoformat(record.ended_at) if record else utcnow()
        return c.RunEnded(
            unit=self.unit, run=self.run, exit=exit_of(outcome), usage=self._usage(), ended_at=ended_at
        )

    def _usage(self) -> c.Usage | None:
        events = [event for event in self._events if isinstance(event, agent.UsageEvent)]
        if not events:
            return None
        counted = events[-1:] if events[-1].cumulative else events
        return c.Usage(
            input_tokens=sum(e.tokens_in for e in counted),
            output_tokens=sum(e.tokens_out for e in counted),
            cached_tokens=sum(e.tokens_cached for e in counted),
            cost_usd=sum(e.cost_usd for e in counted),
            estimated=any(e.estimated for e in counted),
        )


def exit_of(outcome: agent.Outcome) -> c.Exit:
    """An agent's outcome as the state machine knows it."""
    if isinstance(outcome, agent.Clean):
        return c.Clean()
    if isinstance(outcome, agent.Limited):
        until = datetime.fromisoformat(outcome.until) if outcome.until else utcnow() + UNKNOWN_LIMIT
        return c.Limited(until=until.astimezone(UTC), reason=outcome.reason)
    seen = outcome.evidence
    evidence = Evidence(
        run=seen.run or None,
        line=seen.line or None,
        exit_code=seen.exit_code,
        stderr_tail=seen.stderr_tail or None,
    )
    if outcome.kind == "stalled":
        return c.Stalled(reason=outcome.reason, evidence=evidence)
    if outcome.kind == "lost":
        return c.Lost(reason=outcome.reason, evidence=evidence)
    if outcome.kind in ("setup", "limit"):
        return c.Failed(kind=outcome.kind, reason=outcome.reason, evidence=evidence, retry=False)
    return c.Failed(kind="error", reason=outcome.reason, evidence=evidence)
