"""The symbols that a source file defines, by the language of its suffix.

Rule: nothing is imported before a file of that language is looked at, no input makes this raise, and
what could not be read is said instead of guessed. Python goes through `ast`; the others go through
tree-sitter grammars, which the extra `symbols` installs.
"""

from __future__ import annotations

from typing import NamedTuple

EXTRA = "symbols"
"""The extra of this package that installs the grammars."""

_LANGUAGES = {
    "Python": (".py", ".pyi", ".pyw"),
    "TypeScript": (".ts", ".mts", ".cts"),
    "TSX": (".tsx",),
    "JavaScript": (".js", ".mjs", ".cjs", ".jsx"),
    "Rust": (".rs",),
    "Go": (".go",),
    "Java": (".java",),
    "C": (".c", ".h"),
    "C++": (".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx"),
}
SUFFIXES = {suffix: language for language, suffixes in _LANGUAGES.items() for suffix in suffixes}
"""Each known suffix and its language."""

_FAMILIES = (("TypeScript", "TSX", "JavaScript"), ("C", "C++"))
_INTERPRETERS = {b"python": "Python", b"node": "JavaScript"}


class Outline(NamedTuple):
    """What a file defines: names as `Outer::inner`, and what kept it from being read whole, or ""."""

    names: frozenset[str]
    problem: str


def language_of(path: str, source: bytes = b"") -> str:
    """The language's name by the suffix, else by the `#!` line; "" when it is not known."""
    file = path[path.rfind("/") + 1 :]
    dot = file.rfind(".")
    if dot > 0:
        return SUFFIXES.get(file[dot:].lower(), "")
    if source.startswith(b"#!"):
        first = source[: source.find(b"\n")] if b"\n" in source else source
        return next((name for word, name in _INTERPRETERS.items() if word in first), "")
    return ""


def related(language: str) -> frozenset[str]:
    """The suffixes among which a symbol of `language` may have moved: TypeScript to TSX, C to C++."""
    family = next((names for names in _FAMILIES if language in names), (language,))
    return frozenset(suffix for name in family for suffix in _LANGUAGES.get(name, ()))


def outline(path: str, source: bytes) -> Outline | None:
    """What `source` defines; None when the language is unknown or its grammar is not installed."""
    language = language_of(path, source)
    if not language:
        return None
    if language == "Python":
        from ve.chunks.symbols import python

        return Outline(*python.read(source))
    from ve.chunks.symbols import grammars

    found = grammars.read(language, source)
    return None if found is None else Outline(*found)


def symbols(path: str, source: bytes) -> frozenset[str] | None:
    """The names as `Outer::inner`; None when the language is unknown or its grammar is not installed."""
    found = outline(path, source)
    return None if found is None else found.names


def grammar_missing(path: str, source: bytes = b"") -> str:
    """The extra to install when the language is known but its grammar is not installed, else ""."""
    language = language_of(path, source)
    if language in ("", "Python"):
        return ""
    from ve.chunks.symbols import grammars

    return "" if grammars.installed(language) else EXTRA
