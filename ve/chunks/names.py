"""The names that a chunk may have.

Rule: a name becomes a folder, a branch, an argument and part of a URL, so an allow-list decides,
never a list of what is bad.
"""

from __future__ import annotations

import re

from ve.errors import InvalidInput

MAX_LENGTH = 80
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
_HINT = "A name is 1 to 80 ASCII letters, digits, `_` and `-`, and begins with a letter or a digit."


def check_name(name: str) -> str:
    """`name` as it is; raises `InvalidInput`, which says what is wrong with it."""
    if _NAME.fullmatch(name):
        return name
    what = f"{_shown(name)} cannot be a chunk's name: {_reason(name)}"
    raise InvalidInput(what, hint=_HINT, errors=(("chunk", what),))


def _reason(name: str) -> str:
    if not name:
        return "it is empty"
    if len(name) > MAX_LENGTH:
        return f"it has {len(name)} characters, {MAX_LENGTH} are allowed"
    if name in (".", ".."):
        return "it means another folder"
    if name[0] == "-":
        return "programs would take it for an option"
    for at, character in enumerate(name, start=1):
        if not re.match(r"[A-Za-z0-9_-]", character):
            return f"character {at} is {_named(character)}"
    return f"it begins with {_named(name[0])}"


def _named(character: str) -> str:
    if character == " ":
        return "a space"
    if character == "/":
        return "`/`; give the name of the folder under docs/chunks, not a path"
    if character.isascii() and character.isprintable():
        return f"`{character}`"
    return f"U+{ord(character):04X}"


def _shown(name: str) -> str:
    return ascii(name if len(name) <= MAX_LENGTH else name[:40] + "...")
