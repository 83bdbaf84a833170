"""Commands on the configuration: show it with the origin of each value, set one key."""

from __future__ import annotations

import textwrap
from typing import Annotated, Any

from cyclopts import App, Parameter

from ve.cli.common import AsJson, client
from ve.cli.output import narrate, say, say_json, table
from ve.errors import ConfigError, NoDaemon

config = App(name="config", help="Every setting with its value and its origin; set one.")


@config.default
def show(
    key: Annotated[str | None, Parameter(help="Only this one, or this section.")] = None,
    /,
    *,
    as_json: AsJson = False,
) -> None:
    """Every setting with its value and its origin."""
    found = [
        item for item in _settings() if key is None or item["key"] == key or item["key"].startswith(f"{key}.")
    ]
    if not found and key is not None:
        raise ConfigError(f"there is no key `{key}`", hint="See every key with: ve orch config")
    if as_json:
        say_json({"settings": found})
        return
    if len(found) == 1 and found[0]["key"] == key:
        say(_shown(found[0]["value"]))
        narrate(f"{key} comes from: {found[0]['origin']}")
        return
    rows = [(item["key"], _shown(item["value"]), item["origin"]) for item in found]
    for line in table(("KEY", "VALUE", "ORIGIN"), rows, shrink=(1, -1)):
        say(line)


@config.command(name="set", help="Set one key for this repository, at once.")
def set_(
    key: Annotated[str, Parameter(help="Such as slots or limits.idle_s.")],
    value: Annotated[
        str, Parameter(help="As in ve.toml; a text needs no quotes.", allow_leading_hyphen=True)
    ],
    /,
    *,
    as_json: AsJson = False,
) -> None:
    """Write a key into the state folder's config.toml; a running daemon obeys at once."""
    daemon = client()
    try:
        reply = daemon.post("/config", {"key": key, "value": value})
        note = ""
    except NoDaemon:
        from ve.config import set_value

        daemon.places.state_dir.mkdir(parents=True, exist_ok=True)
        set_value(daemon.places, key, value)
        reply, note = {"cursor": None}, " from the next start on"
    if as_json:
        say_json(reply)
    else:
        say(f"{key} = {value}{note}")


def _settings() -> list[dict[str, Any]]:
    """From the daemon, else out of the files: the same list."""
    daemon = client()
    try:
        found: list[dict[str, Any]] = daemon.get("/config")["settings"]
        return found
    except NoDaemon:
        import msgspec

        from ve.config import flatten, load

        loaded = load(daemon.places)
        values = flatten(loaded.config).items()
        return [
            {"key": key, "value": msgspec.to_builtins(value), "origin": loaded.origins.get(key, "default")}
            for key, value in values
        ]


def _shown(value: Any) -> str:
    from ve.configfile import encode

    return "" if value is None else encode(value)


def commented_settings() -> str:
    """A ve.toml in which every setting stands with its default, commented out."""
    from ve.config import settings
    from ve.configfile import encode

    lines = [
        "# Settings of ve for this repository. Every value here is the default: uncomment what differs.",
        "# Later ones win: this file, then `ve orch config set`, then variables VE_...",
    ]
    section = ""
    for item in settings():
        head, _, name = item.key.rpartition(".")
        if head != section:
            section = head
            lines += ["", f"# [{section}]"]
        lines.append("")
        lines += textwrap.wrap(
            f"{item.description} Allowed: {item.allowed}.", 100, initial_indent="# ", subsequent_indent="# "
        )
        value = item.default
        lines.append(f"# {name} =   (not set)" if value is None else f"# {name} = {encode(value)}")
    return "\n".join(lines) + "\n"
