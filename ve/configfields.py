"""Every value of the configuration: its type, its default, what is allowed, in a line each.

Rule: a value is described here and nowhere else; `config` reads, checks and documents it from the field.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

PHASES = ("GOAL", "PLAN", "IMPLEMENT", "REBASE", "REVIEW", "COMPLETE")
"""The names that a section `[phase.NAME]` may have; `unit.Phase` builds on this file, a test compares."""


_SECONDS = {"allowed": "a number of seconds above 0, at most 31536000 (a year)"}
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}\Z"
_REF = r"^(?!-)(?!.*\.\.)[^\s\x00-\x1f\x7f~^:?*\[\\]+\Z"
_RELATIVE = r"^(?!/)(?!(?:.*/)?\.\.(?:/|\Z))[^\x00-\x1f\x7f]+\Z"

Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
Command = Annotated[str, Meta(min_length=1, pattern=r"^[^\x00]*\S[^\x00]*\Z")]
AgentName = Annotated[str, Meta(pattern=NAME)]
RelativePath = Annotated[str, Meta(pattern=_RELATIVE)]
Address = Annotated[str, Meta(pattern=r"^https?://[^\s]+\Z")]
CHUNK = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,79}\Z"
_AGENT_ALLOWED = {"allowed": "an agent's name: letters, digits, `_` and `-`, at most 40"}
_COMMAND_ALLOWED = {"allowed": "a command line for the shell, not empty"}


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """How long and how often a run may try."""

    idle_s: Annotated[
        Seconds, Meta(description="A run without any output for this long is ended.", extra=_SECONDS)
    ] = 900.0
    wall_s: Annotated[Seconds, Meta(description="A run that takes this long is ended.", extra=_SECONDS)] = (
        7200.0
    )
    retries: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="How often a failed phase is tried again before a person is asked.",
            extra={"allowed": "a whole number from 0 to 100"},
        ),
    ] = 2
    review_rounds: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="Rounds of review feedback before a person is asked.",
            extra={"allowed": "a whole number from 1 to 100"},
        ),
    ] = 3
    retry_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="Seconds before the first retry; each later one waits twice as long.",
            extra={"allowed": "a number of seconds from 0 to 86400 (a day)"},
        ),
    ] = 1.0


class Worktree(Struct, frozen=True, forbid_unknown_fields=True):
    """Where units work, and what their folders need."""

    root: Annotated[
        Command | None,
        Meta(
            description="The folder for worktrees; relative to the main worktree.",
            extra={"allowed": "a path, not empty"},
        ),
    ] = None
    retain: Annotated[
        bool,
        Meta(
            description="Keep a unit's worktree after its merge.",
            extra={"allowed": "true or false"},
        ),
    ] = False
    copy: Annotated[
        tuple[RelativePath, ...],
        Meta(
            description="Files copied into each new worktree, such as .env; never committed by `ve`.",
            extra={"allowed": "a list of paths inside the repository, without `..`"},
        ),
    ] = ()
    setup: Annotated[
        Command | None,
        Meta(
            description="A command run in each new worktree, once a person approved it.",
            extra=_COMMAND_ALLOWED,
        ),
    ] = None


class Landing(Struct, frozen=True, forbid_unknown_fields=True):
    """What a merge must pass."""

    check: Annotated[
        Command | None,
        Meta(
            description="A command that must succeed on the merged tree, once a person approved it.",
            extra=_COMMAND_ALLOWED,
        ),
    ] = None


class Server(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the daemon listens beside its Unix socket."""

    host: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9.:_-]+\Z",
            description="The address to listen on; only this machine unless told otherwise.",
            extra={"allowed": "a host name or address, such as 127.0.0.1"},
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(
            ge=0,
            le=65_535,
            description="The port to listen on; 0 takes a free one.",
            extra={"allowed": "a whole number from 0 to 65535"},
        ),
    ] = 0


class PhaseConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """What is different in one phase."""

    agent: Annotated[AgentName | None, Meta(description="The agent of this phase.", extra=_AGENT_ALLOWED)] = (
        None
    )
    idle_s: Annotated[
        Seconds | None,
        Meta(description="A run of this phase without any output for this long is ended.", extra=_SECONDS),
    ] = None
    wall_s: Annotated[
        Seconds | None, Meta(description="A run of this phase that takes this long is ended.", extra=_SECONDS)
    ] = None


class ChunkConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """What is different for one chunk."""

    agent: Annotated[
        AgentName | None,
        Meta(description="The agent of this chunk, whatever the phase.", extra=_AGENT_ALLOWED),
    ] = None


class AgentConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How one agent is started."""

    adapter: Annotated[
        AgentName | None,
        Meta(description="The kind of agent; else the section's own name.", extra=_AGENT_ALLOWED),
    ] = None
    command: Annotated[
        Command | None,
        Meta(
            description="The program to run, by name or path.",
            extra={"allowed": "a program's name or path, not empty"},
        ),
    ] = None
    model: Annotated[
        Command | None,
        Meta(description="The model to ask for.", extra={"allowed": "a model's name, not empty"}),
    ] = None
    args: Annotated[
        tuple[str, ...],
        Meta(description="Arguments added to the agent's own.", extra={"allowed": "a list of texts"}),
    ] = ()
    env: Annotated[
        dict[str, str],
        Meta(
            description="Environment variables for the agent.",
            extra={"allowed": "a table of names and texts"},
        ),
    ] = {}
    base_url: Annotated[
        Address | None,
        Meta(
            description="Where the model's API is; else the client's own.",
            extra={"allowed": "an address that begins with http:// or https://"},
        ),
    ] = None
    max_turns: Annotated[
        int,
        Meta(
            ge=0,
            le=100_000,
            description="Turns of the model in one run; 0: only time limits it.",
            extra={"allowed": "a whole number from 0 to 100000"},
        ),
    ] = 0
    budget_usd: Annotated[
        float,
        Meta(
            ge=0,
            le=1_000_000,
            description="US dollars that one run may cost, for a client that can tell; 0: no limit.",
            extra={"allowed": "a number from 0 to 1000000"},
        ),
    ] = 0.0
    repo_config: Annotated[
        bool,
        Meta(
            description="Let the repository's own configuration of the agent run code: hooks, tool servers.",
            extra={"allowed": "true or false"},
        ),
    ] = False


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings; a section is a struct, a section per name a mapping of structs."""

    base: Annotated[
        Annotated[str, Meta(pattern=_REF)] | None,
        Meta(
            description="The branch that units start from and land on; else the one checked out.",
            extra={"allowed": "a branch's name"},
        ),
    ] = None
    slots: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            description="How many runs may be alive at once.",
            extra={"allowed": "a whole number from 1 to 256"},
        ),
    ] = 4
    agent: Annotated[AgentName, Meta(description="The agent that does the work.", extra=_AGENT_ALLOWED)] = (
        "script"
    )
    land: Annotated[
        Literal["auto", "approve"],
        Meta(
            description="Whether finished work lands by itself or once a person approved it.",
            extra={"allowed": "auto or approve"},
        ),
    ] = "auto"
    limits: Limits = Limits()
    worktree: Worktree = Worktree()
    landing: Landing = Landing()
    server: Server = Server()
    phase: dict[str, PhaseConfig] = {}
    chunk: dict[str, ChunkConfig] = {}
    agents: dict[str, AgentConfig] = {}
