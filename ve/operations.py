"""What an operator may ask of a running core, in plain words: every face is thin over this file.

Rule: a request is checked whole before anything is submitted, and what it needs from git, the
documents and the history is read here, off the loop, so that `decide` stays pure.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from ve import config as configuration
from ve import documents
from ve.agents import ADAPTERS
from ve.attention import Attention, GroupOutcome, UnitResult, group_outcome, group_verb, meant_of, survey
from ve.choose import choose
from ve.chunks.names import check_name
from ve.commands import (
    OPERATOR_VERBS,
    Answer,
    Approve,
    BoardPaused,
    BoardUnpaused,
    Command,
    ConfigSet,
    HashApproved,
    Inject,
    MarkMerged,
    Verb,
)
from ve.core import Core
from ve.documents import ChunkText, LeftOut
from ve.errors import InvalidInput, NotFound, RefusedError, UnavailableError
from ve.git import base as git
from ve.rules.base import Refused
from ve.store.query import QueryResult, run_query
from ve.stream import Accepted, Reply, Unavailable
from ve.subscribers.runs import RunLog
from ve.transitions import decide, legal_verbs
from ve.unit import Frozen, NeedsAttention, WorkUnit, status_name, utcnow
from ve.views import UnitView, view

NOT_FROM_BODY = {"unit", "by", "in_base"}


class Outcome(Frozen, frozen=True, kw_only=True):
    """A request took effect, durably: where in the one order, and the units after it."""

    cursor: str
    units: tuple[UnitView, ...]
    left_out: tuple[LeftOut, ...] = ()


class Why(Frozen, frozen=True, kw_only=True):
    """Why a unit does not run at the moment, or that it does."""

    chunk: str
    status: str
    why: str
    looks_again_at: datetime | None
    legal: tuple[str, ...]


class ActiveRun(Frozen, frozen=True, kw_only=True):
    """A run that has not ended."""

    chunk: str
    phase: str
    run_id: str
    slot: int
    since: datetime


class Status(Frozen, frozen=True, kw_only=True):
    """How the daemon is."""

    pid: int
    version: str
    repository: str
    cursor: str
    durable_cursor: str
    outage: str | None
    broken: tuple[str, ...]
    draining: bool
    paused: bool
    slots: int
    slots_used: int
    counts: dict[str, int]
    running: tuple[ActiveRun, ...]


class Setting(Frozen, frozen=True, kw_only=True):
    """One configuration key: its value now, and where that comes from."""

    key: str
    value: Any
    origin: str


class Operations:
    """See the module's text. Methods raise VeError's children and nothing else."""

    def __init__(self, core: Core, version: str) -> None:
        self.core = core
        self.version = version

    # ── Into the queue ─────────────────────────────────────────────────────────────────────────────

    async def inject(
        self,
        chunks: Sequence[str],
        *,
        actor: str,
        priority: int = 0,
        depends_on: Sequence[str] | None = None,
        all_future: bool = False,
        key: str | None = None,
        key_hash: str | None = None,
    ) -> Outcome:
        """Queue chunks: all of them, numbered and saved as one, or none.

        With `all_future` also every FUTURE chunk that can be queued; the others are named in the outcome.

        Raises InvalidInput, DocumentError, GitError, RefusedError, UnavailableError.
        """
        repeated = await self._repeated(key, key_hash)
        if repeated:
            return repeated
        names = tuple(dict.fromkeys(map(check_name, chunks)))
        for name in depends_on or ():
            check_name(name)
        if not names and not all_future:
            raise InvalidInput("no chunk was named", errors=(("chunks", "at least one"),))
        commands, left_out = await self.core.git(self._read_documents, names, depends_on, all_future)
        queued = [replace(command, priority=priority) for command in commands]
        reply = await self.core.stream.submit_all(queued, actor, key=key, key_hash=key_hash)
        return replace(outcome(reply), left_out=tuple(left_out))

    def _read_documents(
        self, chunks: Sequence[str], depends_on: Sequence[str] | None, all_future: bool
    ) -> tuple[list[Inject], list[LeftOut]]:
        """What is to be queued, dependencies first, as the documents say at the base."""
        base = documents.base_of(self.core.places, self.core.config.base)
        names, left_out = list(chunks), list[LeftOut]()
        if all_future:
            queued = {unit.chunk for unit in self.core.stream.index.live()}
            further, left_out = documents.all_future(base, self.core.stream.board.approved, queued)
            names = list(dict.fromkeys((*names, *further)))
        return documents.injects(base, names, depends_on), left_out

    async def chunk(self, name: str) -> ChunkText:
        """A chunk as committed where work would begin, with what it is approved by.

        Raises InvalidInput, DocumentError, GitError.
        """
        return await self.core.git(self._chunk, check_name(name))

    def _chunk(self, name: str) -> ChunkText:
        base = documents.base_of(self.core.places, self.core.config.base)
        return documents.read_chunk(base, name, self.core.stream.board.approved)

    async def approve_chunk(self, name: str, hash: str, *, actor: str) -> Outcome:
        """Record that a person read a chunk and says yes to it, as it is now.

        Raises RefusedError where it is not what was read, and as `chunk`.
        """
        found = await self.chunk(name)
        if found.hash != hash:
            raise RefusedError(
                f"{name} is not what was shown any more", hint=f"Read it again: ve chunk approve {name}"
            )
        return outcome(await self.core.stream.submit(HashApproved(hash=hash, chunk=name), actor))

    # ── Verbs ──────────────────────────────────────────────────────────────────────────────────────

    async def verb(
        self,
        chunk: str,
        verb: str,
        body: Mapping[str, Any],
        *,
        actor: str,
        unit: str | None = None,
        key: str | None = None,
        key_hash: str | None = None,
    ) -> Outcome:
        """Apply one of the operator's verbs to a unit, named by its chunk or its id.

        Raises NotFound, InvalidInput, RefusedError (with the legal verbs), UnavailableError.
        """
        repeated = await self._repeated(key, key_hash)
        if repeated:
            return repeated
        kind = OPERATOR_VERBS.get(verb)
        if kind is None:
            raise NotFound(f"there is no verb {verb}", hint=f"There are: {', '.join(OPERATOR_VERBS)}")
        target = self._in_memory(chunk, unit)
        if target is None:
            ended = await self.find(chunk, unit)
            raise RefusedError(f"{chunk} has ended: {ended.status}")
        commands = await self._commands(kind, target, dict(body), actor)
        return outcome(await self.core.stream.submit_all(commands, actor, key=key, key_hash=key_hash))

    async def _commands(
        self, kind: type[Verb], target: WorkUnit, body: dict[str, Any], actor: str
    ) -> list[Command]:
        fields: dict[str, Any] = {}
        if kind is Answer:
            fields["by"] = actor
        if kind is MarkMerged:
            fields.update(
                await self.core.git(self._merged_facts, target, body.get("commit"), body.get("reason"))
            )
            body.pop("commit", None)
        return self._converted(kind, target, body, fields)

    def _converted(
        self, kind: type[Verb], target: WorkUnit, body: dict[str, Any], found: dict[str, Any]
    ) -> list[Command]:
        if kind is Approve:
            body.setdefault("hash", getattr(target.state, "approve_hash", None) or "")
        command = convert(kind, {**body, **found, "unit": target.id}, allowed=set(body))
        if isinstance(command, Approve):
            return self._approvals(command, target)
        return [command]

    def _approvals(self, command: Approve, target: WorkUnit) -> list[Command]:
        """A setup or check command is approved once, for every unit that waits for it."""
        state = target.state
        if not isinstance(state, NeedsAttention) or state.kind != "setup" or not state.approve_hash:
            return [command]
        same = [
            unit.id
            for unit in self.core.stream.index.live()
            if unit.id != target.id
            and isinstance(unit.state, NeedsAttention)
            and unit.state.kind == "setup"
            and unit.state.approve_hash == command.hash
        ]
        return [command, HashApproved(hash=command.hash), *(Approve(unit=u, hash=command.hash) for u in same)]

    def _merged_facts(self, target: WorkUnit, commit: str | None, reason: str | None) -> dict[str, Any]:
        repo = self.core.places.common_dir
        wanted = commit or target.branch
        if wanted is None:
            raise InvalidInput(
                f"{target.chunk} has no branch yet, so say which commit holds its work",
                errors=(("commit", "required while the unit has no branch"),),
            )
        full = git.resolve(repo, wanted)
        if target.branch is not None and not reason and full != git.tip(repo, target.branch):
            raise InvalidInput(
                f"{wanted} is not what the unit worked out; say why it counts",
                errors=(("reason", "required for a commit other than the branch's own"),),
            )
        return {"commit": full, "in_base": git.is_ancestor(repo, full, git.resolve(repo, target.base_ref))}

    async def group_verb(
        self,
        fingerprint: str,
        verb: str,
        body: Mapping[str, Any],
        *,
        actor: str,
        key: str | None = None,
        key_hash: str | None = None,
    ) -> GroupOutcome:
        """Apply a verb to the units that need attention for one cause: each takes it or refuses it.

        `units` in the body, where given, names those that are meant: whoever joined since is left alone.
        What is accepted is saved as one. Raises NotFound, InvalidInput, RefusedError, UnavailableError.
        """
        repeated = await self._repeated(key, key_hash)
        if repeated:
            return group_outcome(repeated.cursor, repeated.units)
        kind = group_verb(verb)
        group = self.attention().group(fingerprint)
        fields = dict(body)
        meant, refused = meant_of(group, fields.pop("units", None))
        stream = self.core.stream
        commands: dict[Command, None] = {}
        for member in meant:
            # Decided here and emitted below in the same turn of the loop, so nothing comes in between.
            target = stream.index.units[member.id]
            wanted = self._converted(kind, target, dict(fields), {})
            told = decide(target, wanted[0], stream.index.facts(target, wanted[0], utcnow()))
            if isinstance(told, Refused):
                refused.append(
                    UnitResult(id=member.id, chunk=member.chunk, refused=told.why, legal=told.legal)
                )
            else:
                commands.update(dict.fromkeys(wanted))
        if not commands:
            return group_outcome(stream.cursor, (), refused)
        done = outcome(await stream.submit_all(list(commands), actor, key=key, key_hash=key_hash))
        return group_outcome(done.cursor, done.units, refused)

    async def board(self, verb: str, *, actor: str) -> Outcome:
        """Pause or unpause everything. Raises NotFound, UnavailableError."""
        kinds: dict[str, type[Command]] = {"pause": BoardPaused, "unpause": BoardUnpaused}
        if verb not in kinds:
            raise NotFound(f"the board has no verb {verb}", hint="There are: pause, unpause")
        return outcome(await self.core.stream.submit(kinds[verb](), actor))

    async def set_config(self, key: str, value: str, *, actor: str) -> Outcome:
        """Set one configuration key for this repository, live. Raises ConfigError, UnavailableError."""
        loaded = await asyncio.to_thread(
            configuration.preview, self.core.places, key, value, os.environ, known_agents=ADAPTERS
        )
        return outcome(
            await self.core.stream.submit(ConfigSet(config=loaded.config, key=key, value=value), actor)
        )

    async def _repeated(self, key: str | None, key_hash: str | None) -> Outcome | None:
        """The answer that an idempotency key got before this start of the daemon."""
        if key is None:
            return None
        found = await self.core.read_history(self.core.history.find_group, key)
        if not found:
            return None
        if found[-1][0] != key_hash:
            raise RefusedError(f"the idempotency key {key} was used with another body")
        units = [self.core.stream.unit(unit_id) for _, _, unit_id in found if unit_id]
        views = tuple(view(unit) for unit in units if unit is not None)
        return Outcome(cursor=f"{self.core.stream.epoch}.{found[-1][1]}", units=views)

    # ── Looking ────────────────────────────────────────────────────────────────────────────────────

    def units(self) -> list[UnitView]:
        """The live units and the ones that ended last, oldest first."""
        units = sorted(self.core.stream.index.units.values(), key=lambda u: (u.created_at, u.id))
        return [view(unit) for unit in units]

    async def find(self, chunk: str, unit: str | None = None) -> UnitView:
        """A chunk's live unit, else its latest; or a unit by its id. Raises NotFound."""
        known = self._in_memory(chunk, unit)
        if known is not None:
            return view(known)
        text = await self.core.read_history(self.core.history.find_unit, chunk, unit)
        if text is None:
            raise NotFound(
                f"{chunk} was never queued here",
                hint=f"Queue it: ve orch inject {chunk}; see all: ve orch ps",
            )
        return view(msgspec.json.decode(text, type=WorkUnit))

    def _in_memory(self, chunk: str, unit: str | None) -> WorkUnit | None:
        units = self.core.stream.index.units
        if unit or chunk in units:
            return units.get(unit or chunk)
        same = [u for u in units.values() if u.chunk == chunk]
        return max(same, key=lambda u: (u.live, u.created_at, u.seq), default=None)

    def attention(self) -> Attention:
        """What needs a person, grouped by cause: first what most work waits for, then the oldest."""
        index = self.core.stream.index
        return survey(index.live(), index.board.lanes, self.core.backend_of, utcnow())

    async def why(self, chunk: str) -> Why:
        """Why a unit does not run now. Raises NotFound."""
        unit = self._in_memory(chunk, None)
        if unit is None:
            ended = await self.find(chunk)
            return Why(chunk=chunk, status=ended.status, why="it has ended", looks_again_at=None, legal=())
        choice = choose(self.core.stream.index, self.core.backend_of, utcnow())
        reason = choice.why.get(unit.id) or ("it is dispatched next" if unit.live else "it has ended")
        return Why(
            chunk=unit.chunk,
            status=status_name(unit.state),
            why=reason,
            looks_again_at=choice.wake_at,
            legal=legal_verbs(unit) if unit.live else (),
        )

    async def query(self, sql: str) -> QueryResult:
        """One SELECT over the history, read-only. Raises InvalidInput, HistoryError."""
        return await self.core.ask_history(run_query, self.core.history, sql)

    def status(self) -> Status:
        """How the daemon is."""
        stream = self.core.stream
        counts: dict[str, int] = {}
        for unit in stream.index.units.values():
            name = status_name(unit.state)
            counts[name] = counts.get(name, 0) + 1
        return Status(
            pid=os.getpid(),
            version=self.version,
            repository=str(self.core.places.main_worktree or self.core.places.common_dir),
            cursor=stream.cursor,
            durable_cursor=f"{stream.epoch}.{stream.durable_seq}",
            outage=stream.outage,
            broken=tuple(stream.broken),
            draining=self.core.scheduler.draining,
            paused=stream.board.paused,
            slots=stream.board.config.slots,
            slots_used=stream.index.slots_used,
            counts=counts,
            running=tuple(self._running()),
        )

    def _running(self) -> list[ActiveRun]:
        return [
            ActiveRun(
                chunk=unit.chunk, phase=unit.phase, run_id=unit.run, slot=unit.slot, since=unit.changed_at
            )
            for unit in self.core.stream.index.live()
            if unit.run is not None and unit.slot is not None
        ]

    def settings(self) -> list[Setting]:
        """Every configuration key with its value now and its origin. Raises ConfigError."""
        loaded = configuration.load(self.core.places, os.environ)
        values = configuration.flatten(self.core.config)
        return [
            Setting(key=key, value=value, origin=str(loaded.origins.get(key, "default")))
            for key, value in values.items()
        ]

    def log(self, run_id: str, offset: int = 0) -> RunLog:
        """What a run printed, from a byte offset on. Raises NotFound."""
        return self.core.runs.log(run_id, offset)

    async def nudge(self, run_id: str, token: str) -> None:
        """A run says that there is something to read; the token is good for that run only."""
        await self.core.runs.nudge(run_id, token)

    # ── The end ────────────────────────────────────────────────────────────────────────────────────

    async def stop(self, mode: str) -> None:
        """Come to rest: `drain` waits for the runs, `detach` leaves them alive, `kill` ends them."""
        if mode not in ("drain", "detach", "kill"):
            raise InvalidInput(
                f"there is no way to stop called {mode}", errors=(("mode", "drain, detach, kill"),)
            )
        self.core.scheduler.draining = True
        if mode == "detach":
            return
        if mode == "kill":
            await self.core.runs.stop_all()
        await self.core.runs.all_ended()


def convert(kind: type[Verb], values: dict[str, Any], *, allowed: set[str]) -> Verb:
    """A verb from a request's body. Raises InvalidInput that names the field."""
    fields = {f.name for f in msgspec.structs.fields(kind)} - NOT_FROM_BODY
    unknown = sorted(allowed - fields)
    if unknown:
        known = ", ".join(sorted(fields)) or "none"
        raise InvalidInput(
            f"unknown field {unknown[0]}",
            errors=tuple((name, f"unknown; there are: {known}") for name in unknown),
        )
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        field = text.rpartition("`$.")[2].rstrip("`") if "`$." in text else "body"
        raise InvalidInput(text, errors=((field, text.partition(" - at ")[0]),)) from error


def outcome(reply: Reply) -> Outcome:
    """What a face answers. Raises RefusedError, UnavailableError."""
    if isinstance(reply, Accepted):
        return Outcome(cursor=reply.cursor, units=tuple(view(unit) for unit in reply.units))
    if isinstance(reply, Refused):
        raise RefusedError(reply.why, hint=reply.hint, legal=reply.legal)
    assert isinstance(reply, Unavailable)
    doubt = (
        "it may still take effect, so repeat it with the same key" if reply.uncertain else "nothing was done"
    )
    raise UnavailableError(
        f"the history cannot be written ({reply.reason}); {doubt}",
        hint="See ve orch status; it goes on by itself once the file can be written.",
    )
