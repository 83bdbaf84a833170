"""The one configuration: typed, frozen, validated whole.

Rule: a value is described once, as a field below. Reading, errors, environment names, `flatten`
and the documentation all come from the fields. Three sources, later ones win: `ve.toml` in the
repository's root (committed), `config.toml` in the state folder (what `ve orch config set`
writes), then environment variables `VE_…`. One bad line anywhere and nothing is applied.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from ve import configfile
from ve.errors import ConfigError
from ve.paths import Places

PHASES = ("GOAL", "PLAN", "IMPLEMENT", "REBASE", "REVIEW", "COMPLETE")
"""The names that a section `[phase.NAME]` may have; `unit.Phase` builds on this file, a test compares."""

RESERVED_VARIABLES = ("VE_RUN_", "VE_FAULT")
"""Prefixes of variables that `ve` itself sets for its runs: never configuration."""

_SECONDS = {"allowed": "a number of seconds above 0, at most 31536000 (a year)"}
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}\Z"
_REF = r"^(?!-)(?!.*\.\.)[^\s\x00-\x1f\x7f~^:?*\[\\]+\Z"
_RELATIVE = r"^(?!/)(?!(?:.*/)?\.\.(?:/|\Z))[^\x00-\x1f\x7f]+\Z"

Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
Command = Annotated[str, Meta(min_length=1, pattern=r"^[^\x00]*\S[^\x00]*\Z")]
AgentName = Annotated[str, Meta(pattern=_NAME)]
RelativePath = Annotated[str, Meta(pattern=_RELATIVE)]
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


class AgentConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """How one agent is started."""

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
    agents: dict[str, AgentConfig] = {}


class Loaded(NamedTuple):
    """A valid configuration, and where each of its values was set."""

    config: Config
    origins: dict[str, str]
    """Dotted key → `default`, `<file>:<line>` or `environment VE_…`; the keys of `flatten(config)`."""


class Setting(NamedTuple):
    """One key as documented; `NAME` stands in it for a phase's or an agent's name."""

    key: str
    type: Any
    default: Any
    description: str
    allowed: str


class _Value(NamedTuple):
    value: Any
    where: str
    origin: str


@cache
def settings() -> tuple[Setting, ...]:
    """Every key there is, in the order of the fields."""
    return tuple(_settings(Config, ""))


def load(
    places: Places, environ: Mapping[str, str] | None = None, *, known_agents: Collection[str] = ()
) -> Loaded:
    """Read, check and merge all sources.

    With `known_agents`, an `agent` must be one of them or have a section `[agents.NAME]`.
    Raises `ConfigError`, which names file and line or the variable, and what is allowed there.
    """
    texts = {path: configfile.read_text(path) for path in _files(places)}
    return _load(texts, os.environ if environ is None else environ, known_agents)


def preview(
    places: Places,
    key: str,
    text: str,
    environ: Mapping[str, str] | None = None,
    *,
    known_agents: Collection[str] = (),
) -> Loaded:
    """What `load` will give once `set_value` has written this; nothing is written. Raises `ConfigError`."""
    texts = {path: configfile.read_text(path) for path in _files(places)}
    texts[places.config_file] = _edited(places, key, text)[0]
    return _load(texts, os.environ if environ is None else environ, known_agents)


def _load(texts: Mapping[Path, str | None], environ: Mapping[str, str], known: Collection[str]) -> Loaded:
    values: dict[str, _Value] = {}
    for path, text in texts.items():
        if text is not None:
            values.update(_check_text(text, path))
    values.update(_from_environment(environ, values))
    if known:
        _check_agents(values, known)
    return _merge(values)


def set_value(places: Places, key: str, text: str | None) -> Any:
    """Write `key` into the state folder's `config.toml`, or take it out if `text` is None.

    Keeps every other line. The whole file is validated before it replaces the old one. Returns
    the value as typed. Raises `ConfigError`.
    """
    after, value = _edited(places, key, text)
    configfile.replace(places.config_file, after)
    return value


def _edited(places: Places, key: str, text: str | None) -> tuple[str, Any]:
    setting = _setting_of(key)
    if setting is None:
        raise _unknown(key, "", named=key)
    value = None if text is None else _typed(setting, key, _from_text(setting, key, text, key), key)
    path = places.config_file
    before = configfile.read_text(path) or ""
    plain = list(value) if isinstance(value, tuple) else value
    after = configfile.edit(before, tuple(key.split(".")), plain, str(path))
    _check_text(after, path)
    return after, value


def flatten(config: Config) -> dict[str, Any]:
    """Every value by its dotted key; phases and agents as far as they are configured."""
    flat: dict[str, Any] = {}
    for name in Config.__struct_fields__:
        value = getattr(config, name)
        if isinstance(value, Struct):
            flat.update({f"{name}.{key}": item for key, item in _fields_of(value)})
        elif isinstance(value, dict):
            for inner, section in value.items():
                flat.update({f"{name}.{inner}.{key}": item for key, item in _fields_of(section)})
        else:
            flat[name] = value
    return flat


def _fields_of(section: Struct) -> list[tuple[str, Any]]:
    return [(key, getattr(section, key)) for key in section.__struct_fields__]


def _settings(section: type[Struct], prefix: str) -> Iterator[Setting]:
    for field in msgspec.structs.fields(section):
        key = prefix + field.encode_name
        inner: tuple[Any, ...] = getattr(field.type, "__args__", ())
        if isinstance(field.type, type) and issubclass(field.type, Struct):
            yield from _settings(field.type, f"{key}.")
        elif not prefix and len(inner) == 2 and isinstance(inner[1], type) and issubclass(inner[1], Struct):
            yield from _settings(inner[1], f"{key}.NAME.")
        else:
            meta = next(item for item in reversed(field.type.__metadata__) if item.description)
            default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            yield Setting(key, field.type, default, meta.description, meta.extra["allowed"])


def _setting_of(key: str) -> Setting | None:
    parts = key.split(".")
    if len(parts) == 3:
        if parts[0] == "phase" and parts[1] not in PHASES:
            return None
        if parts[0] == "agents" and not re.match(_NAME, parts[1]):
            return None
        parts[1] = "NAME"
    generic = ".".join(parts)
    return next((item for item in settings() if item.key == generic), None)


def _files(places: Places) -> list[Path]:
    committed = [places.main_worktree / "ve.toml"] if places.main_worktree else []
    return [*committed, places.config_file]


def _check_text(text: str, path: Path) -> dict[str, _Value]:
    """The values of one file by dotted key, each of them valid."""
    document = configfile.parse(text, str(path))
    statements = configfile.statements(text)
    found: dict[str, _Value] = {}
    for parts, value in _leaves(document, ()):
        key = ".".join(parts)
        origin = f"{path}:{configfile.line_of(statements, parts)}"
        setting = _setting_of(key) if all("." not in part for part in parts) else None
        if setting is None:
            raise _unknown(key, origin, named=key)
        found[key] = _Value(_typed(setting, key, value, origin), origin, origin)
    return found


def _leaves(table: dict[str, Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Paths with their values; a table that is a value itself (`agents.NAME.env`) is not entered."""
    for name, value in table.items():
        path = (*above, name)
        is_section = not above or (len(above) == 1 and above[0] in ("phase", "agents"))
        if isinstance(value, dict) and is_section:
            yield from _leaves(value, path)
        else:
            yield path, value


def _typed(setting: Setting, key: str, value: Any, where: str) -> Any:
    try:
        typed = msgspec.convert(value, setting.type)
    except msgspec.ValidationError as error:
        raise _wrong(setting, key, value, where) from error
    if isinstance(typed, float) and typed != typed:  # NaN passes every range
        raise _wrong(setting, key, value, where)
    return typed


def _wrong(setting: Setting, key: str, value: Any, where: str) -> ConfigError:
    shown = configfile.encode(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "…"
    return ConfigError(
        f"`{key}` is {shown}; allowed is {setting.allowed}",
        where=where,
        hint="See every key with: ve orch config",
    )


def _unknown(key: str, where: str, *, named: str) -> ConfigError:
    import difflib

    known = [item.key for item in settings()]
    parts = key.split(".")
    if len(parts) > 1 and parts[0] == "phase":
        known = [f"phase.{phase}.agent" for phase in PHASES]
    elif len(parts) > 2 and parts[0] == "agents":
        known = [item.replace("NAME", parts[1]) for item in known]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    if not near:
        near = difflib.get_close_matches(key.lower(), [item.lower() for item in known], n=1, cutoff=0.0)
    advice = f"The nearest key is `{near[0]}`. " if near else ""
    return ConfigError(
        f"there is no key `{named}`", where=where, hint=f"{advice}See every key with: ve orch config"
    )


def _from_environment(environ: Mapping[str, str], below: Mapping[str, _Value]) -> dict[str, _Value]:
    found: dict[str, _Value] = {}
    for name in sorted(environ):
        if not name.startswith("VE_") or name.startswith(RESERVED_VARIABLES):
            continue
        where = f"environment {name}"
        key = _key_of_variable(name, below)
        setting = _setting_of(key)
        if setting is None:
            raise _unknown(name.removeprefix("VE_").lower().replace("_", "."), where, named=name)
        value = _from_text(setting, key, environ[name], where)
        found[key] = _Value(_typed(setting, key, value, where), where, where)
    return found


def _key_of_variable(name: str, below: Mapping[str, _Value]) -> str:
    """`VE_LIMITS_IDLE_S` → `limits.idle_s`, `VE_AGENTS_CLAUDE_MODEL` → `agents.claude.model`."""
    for item in settings():
        head, is_named, field = item.key.partition(".NAME.")
        if not is_named and name == "VE_" + item.key.upper().replace(".", "_"):
            return item.key
        prefix, suffix = f"VE_{head.upper()}_", f"_{field.upper()}"
        if is_named and name.startswith(prefix) and name.endswith(suffix):
            inner = name[len(prefix) : -len(suffix)]
            return f"{head}.{inner if head == 'phase' else _agent_named(inner, below)}.{field}"
    return name


def _agent_named(variable: str, below: Mapping[str, _Value]) -> str:
    """An agent of the files, whose `-` a variable's name cannot hold; else the name in lower case."""
    for key in below:
        parts = key.split(".")
        if parts[0] == "agents" and parts[1].upper().replace("-", "_") == variable.upper():
            return parts[1]
    return variable.lower()


def _from_text(setting: Setting, key: str, text: str, where: str) -> Any:
    """What a person typed: a text as it is, everything else as TOML, a list also as shell words."""
    default = setting.default
    if default is None or isinstance(default, str):
        return text
    try:
        if isinstance(default, tuple) and not text.lstrip().startswith("["):
            return shlex.split(text)
        return configfile.parse(f"value = {text.strip()}", where)["value"]
    except (ConfigError, ValueError) as error:
        raise _wrong(setting, key, text, where) from error


def _check_agents(values: Mapping[str, _Value], known: Collection[str]) -> None:
    names = {key.split(".")[1] for key in values if key.startswith("agents.")} | set(known)
    for key, item in values.items():
        if (key == "agent" or key.startswith("phase.")) and item.value not in names:
            raise ConfigError(
                f"`{key}` is {item.value!r}, which is no agent; there are {', '.join(sorted(names))}",
                where=item.where,
                hint=f"Describe it in a section [agents.{item.value}]",
            )


def _merge(values: Mapping[str, _Value]) -> Loaded:
    tree: dict[str, Any] = {}
    for key, item in values.items():
        *above, name = key.split(".")
        table = tree
        for part in above:
            table = table.setdefault(part, {})
        table[name] = item.value
    config = msgspec.convert(tree, Config)
    origins = dict.fromkeys(flatten(config), "default")
    origins.update({key: item.origin for key, item in values.items()})
    return Loaded(config, origins)
