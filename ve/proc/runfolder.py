"""The folder of a run: every file that the daemon, the supervisor and the tools share, and its format.

Rule: the folder is the truth about a run. It is complete before the supervisor claims it, each file has
one writer, and a reader takes a torn last line (a crash, a full disk) for a line that is not there yet.

    job.json  prompt.md  spec.json     written by `create`, then never changed
    lock  agent.json  output  stderr  exit.json     written by the supervisor
    tools.jsonl                        written by the tool process, a line is durable before its reply
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import msgspec

from ve.errors import RunError


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Hard limits of a run; the supervisor enforces them also while no daemon runs. 0 means none."""

    wall_s: float = 0.0
    idle_s: float = 0.0
    """Seconds without a byte of output."""
    output_bytes: int = 64 * 1024 * 1024
    grace_s: float = 10.0
    """Seconds from SIGTERM to SIGKILL."""


class NudgeTo(msgspec.Struct, frozen=True):
    """Where the supervisor and the tools say that there is something to read."""

    socket: str
    token: str


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor starts."""

    run: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    stdin: str | None = None
    limits: Limits = Limits()
    nudge: NudgeTo | None = None


class Lock(msgspec.Struct, frozen=True):
    """Which process claimed the run."""

    pid: int
    start_time: int
    boot_id: str


class AgentRecord(msgspec.Struct, frozen=True):
    """The agent's process; written before its program starts."""

    pid: int
    start_time: int
    started_at: str


How: TypeAlias = Literal["exited", "signalled", "wall_limit", "idle_limit", "start_failed", "stopped"]


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How the run ended; when it is there, nothing of the run is left."""

    how: How
    code: int | None
    signal: int | None
    message: str
    started_at: str
    ended_at: str
    cpu_s: float = 0.0
    max_rss_kb: int = 0
    leftover_killed: int = 0


class ToolsReady(msgspec.Struct, frozen=True, tag="ready"):
    """The agent asked for the list of tools."""

    at: str


class Asked(msgspec.Struct, frozen=True, kw_only=True, tag="ask"):
    """A question for the operator."""

    id: str
    text: str
    options: tuple[str, ...] = ()
    context: str = ""
    at: str


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """One finding of a review."""

    id: str
    place: str = ""
    concern: str
    suggestion: str = ""


class Decided(msgspec.Struct, frozen=True, kw_only=True, tag="decision"):
    """The decision of a review; there is at most one in a run."""

    decision: Literal["approve", "feedback", "escalate"]
    issues: tuple[Issue, ...] = ()
    reason: str = ""
    at: str


class Disposed(msgspec.Struct, frozen=True, kw_only=True, tag="dispose"):
    """What became of a review issue."""

    issue: str
    disposition: Literal["fixed", "declined"]
    reason: str = ""
    at: str


ToolRecord: TypeAlias = ToolsReady | Asked | Decided | Disposed

_tool: msgspec.json.Decoder[ToolRecord] = msgspec.json.Decoder(ToolRecord)
_T = TypeVar("_T", bound=msgspec.Struct)


def create(
    run_dir: Path, job: msgspec.Struct, prompt: str, spec: Spec, files: Mapping[str, str] | None = None
) -> None:
    """Make the folder: files 0600, folder 0700. `files` are the agent's own: its settings, by name.

    Safe to repeat as long as nobody claimed the run. Raises RunError when it is claimed already, or when
    the disk does not take it.
    """
    if (run_dir / "lock").exists():
        raise RunError("this run was started already", where=str(run_dir))
    try:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(run_dir / "job.json", msgspec.json.encode(job))
        _write(run_dir / "prompt.md", prompt.encode())
        for name, text in (files or {}).items():
            _write(run_dir / name, text.encode())
        _write(run_dir / "spec.json", msgspec.json.encode(spec))
    except OSError as error:
        raise RunError(
            f"the run's folder cannot be written: {error.strerror}",
            where=str(run_dir),
            hint="Make room on that disk or allow writing there, then `ve orch retry`.",
        ) from error


class Started(msgspec.Struct):
    """What of job.json is needed to read the run's output."""

    agent: str = ""


def read_agent_name(run_dir: Path) -> str:
    """The agent that the run was started with; empty when job.json does not say."""
    job = _read(run_dir / "job.json", Started)
    return job.agent if job else ""


def read_spec(run_dir: Path) -> Spec | None:
    """None: not there, or torn."""
    return _read(run_dir / "spec.json", Spec)


def read_lock(run_dir: Path) -> Lock | None:
    """None: nobody claimed the run. A torn lock is one of process 0, which is nobody's."""
    try:
        return msgspec.json.decode((run_dir / "lock").read_bytes(), type=Lock)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        return Lock(0, 0, "")


def read_agent(run_dir: Path) -> AgentRecord | None:
    """None: the agent's program was never started."""
    return _read(run_dir / "agent.json", AgentRecord)


def read_exit(run_dir: Path) -> Exit | None:
    """None: the run has not ended, or is lost."""
    return _read(run_dir / "exit.json", Exit)


def tool_record(line: bytes) -> ToolRecord | None:
    """A line of tools.jsonl; None for one that holds no record (torn by a crash)."""
    try:
        return _tool.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return None


def read_tools(run_dir: Path, offset: int = 0) -> tuple[Sequence[ToolRecord], int]:
    """The records from `offset` on, whole lines only, and the offset to go on from."""
    try:
        with (run_dir / "tools.jsonl").open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return (), offset
    end = data.rfind(b"\n") + 1
    found = (tool_record(line) for line in data[:end].splitlines())
    return tuple(record for record in found if record is not None), offset + end


def stderr_tail(run_dir: Path, limit: int = 4000) -> str:
    """The last `limit` bytes of the agent's stderr as text; empty when there is none."""
    try:
        with (run_dir / "stderr").open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _read(path: Path, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, also under kill -9. Not synced: after a power loss no run is alive, and one
    whose agent never began is written and started again; each fsync would delay every start."""
    fresh = path.with_name(path.name + ".tmp")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    fresh.replace(path)
