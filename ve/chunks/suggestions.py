"""Where a reference that does not resolve probably points now: moved, renamed, or written differently.

Rule: cheap first. Which files have the name at all is looked up in an index of their words, built once
for a language; only those are parsed, and at most `MOST_PARSED` of them for one name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from posixpath import basename, dirname
from weakref import WeakKeyDictionary

from ve.chunks.references import Code, Reference, parse_reference, source_files
from ve.chunks.symbols import language_of, related
from ve.errors import InvalidInput

MOST_PARSED = 50
"""Files that are parsed for one name."""
MOST_READ = 32_000_000
"""Bytes of source that are searched for names; what a repository has beyond is not suggested."""

Found = tuple[str, str]  # the suggestion, and what speaks for it; both "" when there is none
NOTHING: Found = ("", "")

_COMMON = frozenset(("__init__.py", "mod.rs", "lib.rs", "main.rs", "main.go", "main.py", "doc.go"))
_INDEX_FILE = re.compile(r"index\.\w+")
_NOT_WORDS = bytes(byte if chr(byte).isalnum() or byte in b"_$" or byte > 127 else 32 for byte in range(256))
_ARGUMENTS = re.compile(r"\([^()]*\)|<[^<>]*>")

Words = dict[bytes, list[str]]
_indexes: WeakKeyDictionary[Code, dict[frozenset[str], Words]] = WeakKeyDictionary()


def for_form(text: str, code: Code) -> str:
    """The reference that a text of the wrong form means, if that one resolves; else ""."""
    tidy = re.sub(r"\s*#\s*", "#", text.strip()).replace("\\", "/")
    place, mark, symbol = tidy.partition("#")
    place = re.sub(r"/{2,}", "/", place)
    place = place.removeprefix(str(code.root)).lstrip("/")
    while place.startswith("./"):
        place = place[2:]
    if "::" in place and not mark:
        place, _, symbol = place.partition("::")
    symbol = "::".join(part for part in symbol.split("::") if part)
    meant = f"{place}#{symbol}" if symbol else place
    try:
        reference = parse_reference(meant)
    except InvalidInput:
        return ""
    return meant if meant != text and not reference.repo and code.resolve(meant).ok else ""


def for_symbol(reference: Reference, names: frozenset[str], code: Code) -> Found:
    """The file is there, the symbol is not in it."""
    wanted = "::".join(reference.symbol)
    if (written := _written(wanted, names)) or (written := _suffix(wanted, names)):
        return _here(reference, written), f"{written} is there"
    language = language_of(reference.path)
    if moved := _moved(reference, language, code):
        return moved
    return _renamed(reference, names)


def for_path(reference: Reference, code: Code) -> Found:
    """The file is not there."""
    lowered = [path for path in code.files if path.lower() == reference.path.lower().rstrip("/")]
    if lowered:
        return _checked(reference, lowered[0], code, "the case of the letters differs")
    language = language_of(reference.path)
    if reference.symbol and language and (moved := _moved(reference, language, code)):
        return moved
    same = _same_name(reference.path, code)
    if same:
        return _checked(reference, same, code, "a file of that name is there")
    folder = dirname(reference.path)
    beside = {basename(path): path for path in code.files if dirname(path) == folder}
    close = get_close_matches(basename(reference.path), list(beside), n=1, cutoff=0.75)
    return _checked(reference, beside[close[0]], code, "its name is close") if close else NOTHING


def _here(reference: Reference, name: str) -> str:
    return str(reference._replace(symbol=tuple(name.split("::"))))


def _written(wanted: str, names: frozenset[str]) -> str:
    """The same symbol in our way of writing: `A.b`, `A::b()`, `Box<T>::get`, a crate before it."""
    plain = _ARGUMENTS.sub("", wanted).replace("::<locals>", "")
    for form in (plain, plain.replace(".", "::"), plain.replace("/", "::"), plain.replace("#", "::")):
        if form in names:
            return form
    return ""


def _suffix(wanted: str, names: frozenset[str]) -> str:
    """The one name of the file that ends with what is wanted."""
    found = [name for name in names if name.endswith(f"::{wanted}")]
    return min(found, key=lambda name: (name.count("::"), name)) if found else ""


def _moved(reference: Reference, language: str, code: Code) -> Found | None:
    """The same symbol in another file of the same language, the nearest first."""
    wanted = "::".join(reference.symbol)
    if not language:
        return None
    holders = _words(code, related(language)).get(
        reference.symbol[-1].lstrip("#").encode("utf-8", "replace"), []
    )
    nearest = sorted((path for path in holders if path != reference.path), key=_nearness(reference.path))
    having = [path for path in nearest[:MOST_PARSED] if wanted in _names(code, path)]
    if not having:
        return None
    others = f" and in {len(having) - 1} more" if len(having) > 1 else ""
    return str(reference._replace(path=having[0])), f"{wanted} is in {having[0]}{others}"


def _renamed(reference: Reference, names: frozenset[str]) -> Found:
    """The name that is closest, in the same class before elsewhere in the file."""
    *outer, last = reference.symbol
    prefix = "".join(f"{part}::" for part in outer)
    elsewhere = sorted(name for name in names if outer and name.rpartition("::")[2] == last)
    if elsewhere and prefix[:-2] not in names:
        return _here(reference, elsewhere[0]), f"{elsewhere[0]} is there"
    beside = {
        name[len(prefix) :]: name
        for name in sorted(names)
        if name.startswith(prefix) and "::" not in name[len(prefix) :]
    }
    anywhere = {name.rpartition("::")[2]: name for name in sorted(names, reverse=True)}
    for candidates in (beside, anywhere):
        close = get_close_matches(last, list(candidates), n=1, cutoff=0.7)
        if close:
            name = candidates[close[0]]
            return _here(reference, name), f"{name} is close"
    if elsewhere:
        return _here(reference, elsewhere[0]), f"{elsewhere[0]} is there"
    return NOTHING


def _names(code: Code, path: str) -> frozenset[str]:
    found = code.outline(path)
    return frozenset() if isinstance(found, str) else found.names


def _nearness(path: str) -> Callable[[str], tuple[bool, int, str]]:
    """Sorts paths: the same file name first, then by how many folders they share."""
    name, folders = basename(path), dirname(path).split("/")

    def key(other: str) -> tuple[bool, int, str]:
        shared = 0
        for one, two in zip(folders, dirname(other).split("/"), strict=False):
            if one != two:
                break
            shared += 1
        return basename(other) != name, -shared, other

    return key


def _same_name(path: str, code: Code) -> str:
    """The nearest file of the same name; a name that every package has must share its folder too."""
    name = basename(path.rstrip("/"))
    tail = name
    if name in _COMMON or _INDEX_FILE.fullmatch(name):
        tail = f"{basename(dirname(path))}/{name}"
    found = [other for other in code.files if other == tail or other.endswith(f"/{tail}")]
    return min(found, key=_nearness(path), default="")


def _checked(reference: Reference, path: str, code: Code, why: str) -> Found:
    """`path` with the symbol if it is there; without it, or nothing, if it is not."""
    meant = str(reference._replace(path=path))
    resolution = code.resolve(meant)
    if resolution.ok:
        return meant, f"{path} is there: {why}"
    if resolution.suggestion:
        return resolution.suggestion, f"{path} is there: {why}"
    return NOTHING


def _words(code: Code, suffixes: frozenset[str]) -> Words:
    """Which files have a word, for the files with these suffixes; built at the first question."""
    known = _indexes.setdefault(code, {})
    if suffixes not in known:
        index: Words = {}
        known[suffixes] = index
        left = MOST_READ
        for path in source_files(code, suffixes):
            data = code.read(path)
            if isinstance(data, bytes):
                left -= len(data)
                for word in set(data.translate(_NOT_WORDS).split()):
                    index.setdefault(word, []).append(path)
            if left < 0:
                break
    return known[suffixes]
