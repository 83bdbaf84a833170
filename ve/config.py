"""The one configuration: typed, frozen, validated whole.

Rule: a value is described once, as a field of `configfields`. Reading, errors, environment names, `flatten`
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
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from ve import configfile
from ve.configfields import CHUNK, NAME, PHASES, Config
from ve.errors import ConfigError
from ve.paths import Places

RESERVED_VARIABLES = ("VE_RUN_", "VE_FAULT")
"""Prefixes of variables that `ve` itself sets for its runs: never configuration."""


NAMED = ("phase", "chunk", "agents")
"""Tables that hold a section for each name."""


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
        pattern = {"agents": NAME, "chunk": CHUNK}.get(parts[0])
        if pattern and not re.match(pattern, parts[1]):
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
        is_section = not above or (len(above) == 1 and above[0] in NAMED)
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
        known = [item.replace("NAME", phase) for item in known for phase in PHASES if item[:6] == "phase."]
    elif len(parts) > 2 and parts[0] in NAMED:
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
            return f"{head}.{inner if head == 'phase' else _named(head, inner, below)}.{field}"
    return name


def _named(head: str, variable: str, below: Mapping[str, _Value]) -> str:
    """A section of the files, whose `-` a variable's name cannot hold; else the name in lower case."""
    for key in below:
        parts = key.split(".")
        if parts[0] == head and parts[1].upper().replace("-", "_") == variable.upper():
            return parts[1]
    return variable.lower()


def _from_text(setting: Setting, key: str, text: str, where: str) -> Any:
    """What a person typed: a text as it is, everything else as TOML, a list also as shell words."""
    if _is_text(setting.type):
        return text
    try:
        if isinstance(setting.default, tuple) and not text.lstrip().startswith("["):
            return shlex.split(text)
        return configfile.parse(f"value = {text.strip()}", where)["value"]
    except (ConfigError, ValueError) as error:
        raise _wrong(setting, key, text, where) from error


def _is_text(kind: Any) -> bool:
    """Whether a value of that type is a text, perhaps an annotated one or one that may be left out."""
    if get_origin(kind) in (Union, UnionType, Annotated, Literal):
        return any(_is_text(inner) or isinstance(inner, str) for inner in get_args(kind))
    return kind is str


def _check_agents(values: Mapping[str, _Value], known: Collection[str]) -> None:
    sections = {key.split(".")[1]: item for key, item in values.items() if key.startswith("agents.")}
    for name, item in sections.items():
        adapter = values.get(f"agents.{name}.adapter", _Value(name, "", "")).value
        if adapter not in known:
            raise ConfigError(
                f"`agents.{name}` is no agent that there is: {', '.join(sorted(known))}",
                where=item.where,
                hint=f'Say which kind it is: adapter = "…" in the section [agents.{name}]',
            )
    names = {*sections, *known}
    for key, item in values.items():
        if (key == "agent" or key.endswith(".agent")) and item.value not in names:
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
