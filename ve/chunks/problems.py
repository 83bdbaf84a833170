"""One thing that is wrong in a document, and the rules that there are.

Rule: a problem names its place as an editor shows it (line and column from 1, the column in
characters), the value that was met and what is allowed there; its rule's id never changes, since
editors, CI and people's notes refer to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Level = Literal["error", "warning", "note"]


class Problem(Struct, frozen=True, kw_only=True):
    """One finding. `error`: the document must change. `warning`: it should. `note`: to know of."""

    path: str
    line: int = 1
    column: int = 1
    field: str = ""
    """As `code_references[1].ref`; empty when it concerns no field."""
    rule: str
    message: str
    hint: str = ""
    """What to do about it; it stands alone."""
    level: Level = "error"

    @property
    def where(self) -> str:
        """The place as `path:line:column`."""
        return f"{self.path}:{self.line}:{self.column}"


RULES: dict[str, str] = {
    "no-head": "A document begins with a line `---`, its fields, and a line `---`.",
    "head-not-closed": "The head ends with a line `---` of its own.",
    "head-too-long": "A head has at most 256 KiB.",
    "not-utf-8": "A document is text in UTF-8.",
    "yaml": "The head is YAML: one `name: value` a line.",
    "duplicate-field": "A field is there once.",
    "unknown-field": "A name that is no field of this document is kept and left alone.",
    "missing-field": "A field that every document or item needs is there.",
    "wrong-type": "A field holds the type that is said for it: a text, a list, or a list of items.",
    "wrong-value": "A field with fixed values holds one of them.",
    "wrong-name": "The name of a document is its folder's name.",
    "wrong-text": "A text has no control characters, and is not empty where it is needed.",
    "old-code-reference": "A reference names a symbol, not a range of lines.",
    "missing-document": "Each folder of a document has the document in it, a file that can be read.",
    "missing-plan": "A chunk has a PLAN.md beside its GOAL.md.",
    "wrong-folder-name": "A folder's name is a name that commands, branches and addresses can take.",
    "unknown-chunk": "A chunk that is named is there.",
    "unknown-narrative": "A narrative that is named is there.",
    "unknown-investigation": "An investigation that is named is there.",
    "unknown-subsystem": "A subsystem that is named is there.",
    "unknown-friction": "An entry of the friction log that is named is there.",
    "not-linked-back": "Two documents that belong together name each other.",
    "not-shipped": "created_after names work that has shipped, never work that is queued.",
    "cycle": "No chunk comes before itself.",
    "several-implementing": "One chunk at most is IMPLEMENTING in a worktree.",
    "wrong-reference": "A reference is written as path, path#symbol or path#outer::inner.",
    "unresolved-reference": "What a reference names is in the code.",
    "unchecked-reference": "A reference is looked up where a grammar for its language is installed.",
    "missing-reference": "A chunk that is ACTIVE says where it is in the code.",
    "absent-path": "The files that a finished chunk names are there.",
    "wrong-final-status": "The repair of known-wrong code ends HISTORICAL.",
    "comment-block": "The template's comment goes when a chunk is completed.",
    "lost-back-reference": "A comment in the code leads to a document that is there.",
}


def nearest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that was probably meant; None if none is near."""
    import difflib  # only a document with a mistake needs it

    words = {each.lower(): each for each in allowed}
    near = difflib.get_close_matches(word.lower()[:80], words, n=1)
    return words[near[0]] if near else None


def shown(value: str) -> str:
    """A value for a message: quoted, on one line, shortened."""
    return repr(value if len(value) <= 40 else value[:37] + "...")
