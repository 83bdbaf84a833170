"""The YAML block at the head of GOAL.md: read without guesses, changed in one place at a time.

Rule: only the fields below can make a document unreadable. Values are taken as they are written
(`no`, `010` and `2024-01-01` are texts), since YAML's own guesses changed what people meant. A
status changes through `set_status` and nowhere else.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeVar, cast, get_args

import yaml
from msgspec import Struct

from ve.chunks.names import check_name
from ve.errors import DocumentError, InvalidInput, RefusedError

Status = Literal["FUTURE", "IMPLEMENTING", "ACTIVE", "SUPERSEDED", "HISTORICAL", "COMPOSITE"]
BugType = Literal["semantic", "implementation"]
STATUSES: tuple[str, ...] = get_args(Status)
BUG_TYPES: tuple[str, ...] = get_args(BugType)

TRANSITIONS: Mapping[str, tuple[str, ...]] = {
    "FUTURE": ("IMPLEMENTING", "HISTORICAL"),
    "IMPLEMENTING": ("ACTIVE", "HISTORICAL", "FUTURE"),
    "ACTIVE": ("SUPERSEDED", "HISTORICAL"),
    "SUPERSEDED": ("HISTORICAL",),
    "HISTORICAL": (),
    "COMPOSITE": (),  # met in later files; nothing is known of where it leads
}
TERMINAL = tuple(status for status, onward in TRANSITIONS.items() if not onward)

FIELDS = (
    "status", "ticket", "parent_chunk", "code_paths", "code_references", "narrative", "investigation",
    "subsystems", "friction_entries", "bug_type", "depends_on", "created_after",
)  # fmt: skip
VALIDATED = ("status", "depends_on", "created_after", "bug_type")
_MAX_YAML = 256 * 1024
Text = TypeVar("Text", str, bytes)


class Frontmatter(Struct, frozen=True, kw_only=True):
    """What the orchestrator needs of a GOAL.md's head."""

    status: Status
    depends_on: tuple[str, ...] | None = None
    """None: not said, so dependencies are unknown. Empty: said to be independent."""
    created_after: tuple[str, ...] = ()
    bug_type: BugType | None = None
    code_paths: tuple[str, ...] = ()
    """Files that the plan expects to touch, as far as they can be read."""
    warnings: tuple[str, ...] = ()
    """Sentences about what was passed over: unknown keys, fields that are not YAML."""


class _Entry(NamedTuple):
    key: yaml.ScalarNode
    value: yaml.Node
    offset: int
    """Where the text that the nodes' marks count from begins in the document."""


class _Head(NamedTuple):
    entries: dict[str, _Entry]
    warnings: tuple[str, ...]


def read(text: str | bytes, where: str = "GOAL.md") -> Frontmatter:
    """The frontmatter of a document; raises `DocumentError` with `where:line:column`."""
    document = _decoded(text)
    head = _head(document, where)
    entries = head.entries
    if "status" not in entries:
        raise DocumentError(
            "has no `status`", where=f"{where}:1:1", hint=f"Add one of: {', '.join(STATUSES[:5])}"
        )
    status = _word(document, entries["status"], where, STATUSES)
    bug_type = entries.get("bug_type")
    has_type = bug_type is not None and not _is_null(bug_type.value)
    return Frontmatter(
        status=cast(Status, status),
        depends_on=_names(document, entries.get("depends_on"), where),
        created_after=_names(document, entries.get("created_after"), where) or (),
        bug_type=cast(BugType, _word(document, bug_type, where, BUG_TYPES))
        if bug_type and has_type
        else None,
        code_paths=_texts(entries.get("code_paths")),
        warnings=head.warnings,
    )


def set_status(text: Text, new: str, where: str = "GOAL.md") -> Text:
    """The document with its status changed to `new`: one line differs, in its value alone.

    The same status again is no change. Raises `RefusedError` if the change is not one of
    `TRANSITIONS`, `DocumentError` if the document cannot be read or its status stands in a form
    that cannot be changed in place.
    """
    document = _decoded(text)
    old = read(document, where).status
    if new == old:
        return text
    if new not in TRANSITIONS[old]:
        legal = TRANSITIONS[old]
        raise RefusedError(
            f"a chunk that is {old} cannot become {new}",
            where=where,
            hint=f"From {old} it can become: {', '.join(legal) or 'nothing else, this is final'}",
            legal=legal,
        )
    return _with_status(text, document, new, where)


def reopen(text: Text, where: str = "GOAL.md") -> Text:
    """Undo the final status that landing wrote, for a unit that goes back to work: IMPLEMENTING again.

    A document with any other status stays as it is. Raises `DocumentError` as `set_status` does.
    """
    document = _decoded(text)
    if read(document, where).status not in ("ACTIVE", "HISTORICAL"):
        return text
    return _with_status(text, document, "IMPLEMENTING", where)


def _with_status(text: Text, document: str, new: str, where: str) -> Text:
    entry = _head(document, where).entries["status"]
    start, end = _span(document, entry, where)
    changed = document[:start] + new + document[end:]
    if isinstance(text, bytes):
        return changed.encode("utf-8", "surrogateescape")
    return changed


def split(document: str) -> tuple[int, int, int] | None:
    """Where the YAML begins and ends and where the body begins; None without a frontmatter."""
    start = 1 if document.startswith("\ufeff") else 0
    opening = re.compile(r"---[ \t]*\r?\n").match(document, start)
    if opening is None:
        return None
    closing = re.compile(r"^(?:---|\.\.\.)[ \t]*\r?$", re.MULTILINE).search(document, opening.end())
    if closing is None:
        return None
    after = document.find("\n", closing.start())
    return opening.end(), closing.start(), len(document) if after < 0 else after + 1


def _decoded(text: str | bytes) -> str:
    # Bytes that are not UTF-8 come through unchanged; in a validated field they are an error there.
    return text if isinstance(text, str) else text.decode("utf-8", "surrogateescape")


def _head(document: str, where: str) -> _Head:
    bounds = split(document)
    if bounds is None:
        begun = document.lstrip("\ufeff").startswith("---")
        what = "has a frontmatter that does not end" if begun else "has no frontmatter"
        raise DocumentError(
            what, where=f"{where}:1:1", hint="Begin with a line `---`, the fields, and a line `---`"
        )
    start, end, _ = bounds
    if end - start > _MAX_YAML:
        raise DocumentError(f"has a frontmatter of over {_MAX_YAML // 1024} KiB", where=f"{where}:1:1")
    try:
        pairs = _pairs(document[start:end], start)
    except _YamlError as whole:
        return _head_by_field(document, start, end, where, whole)
    return _collected(document, where, pairs, [])


def _head_by_field(document: str, start: int, end: int, where: str, whole: _YamlError) -> _Head:
    """Each top field on its own, so that an odd value in one of them spoils no other."""
    pairs: list[_Entry] = []
    warnings: list[str] = []
    blocks = list(
        re.finditer(r"^([A-Za-z_][\w-]*|\"[^\"\n]*\"|'[^'\n]*')[ \t]*:(?=\s)", document[start:end], re.M)
    )
    if not blocks:
        raise _error(document, whole.index, whole.problem, where)
    for number, block in enumerate(blocks):
        until = blocks[number + 1].start() if number + 1 < len(blocks) else end - start
        name = block[1].strip("\"'")
        try:
            pairs += _pairs(document[start + block.start() : start + until], start + block.start())
        except _YamlError as broken:
            if name in VALIDATED:
                raise _error(document, broken.index, f"`{name}`: {broken.problem}", where) from broken
            line = document.count("\n", 0, start + block.start()) + 1
            warnings.append(
                f"`{name}` on line {line} is not YAML ({broken.problem}); put its value in quotes"
            )
    return _collected(document, where, pairs, warnings)


class _YamlError(Exception):
    """YAML refused; `index` is where in the document."""

    def __init__(self, problem: str, index: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.index = index


def _pairs(text: str, offset: int) -> list[_Entry]:
    """The top fields of one YAML text, as nodes; raises `_YamlError`."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem or error.context or "it is not YAML")
        raise _YamlError(problem, offset + (mark.index if mark else 0)) from error
    except yaml.reader.ReaderError as error:
        raise _YamlError("a character that YAML does not allow", offset + error.position) from error
    except (RecursionError, ValueError) as error:
        raise _YamlError("it is nested too deeply, or no text", offset) from error
    if node is None:
        return []
    if not isinstance(node, yaml.MappingNode):
        raise _YamlError("fields of the form `name: value` belong here", offset + node.start_mark.index)
    return [_Entry(key, value, offset) for key, value in node.value if isinstance(key, yaml.ScalarNode)]


def _collected(document: str, where: str, pairs: list[_Entry], warnings: list[str]) -> _Head:
    entries: dict[str, _Entry] = {}
    for entry in pairs:
        name = str(entry.key.value)
        line = _line(document, entry.key, entry.offset)
        if name not in entries:
            entries[name] = entry
            if name not in FIELDS:
                warnings.append(f"`{name}` on line {line} is not a field of a chunk; it is kept")
            continue
        first = _line(document, entries[name].key, entries[name].offset)
        twice = f"`{name}` is there twice, on lines {first} and {line}"
        if name in VALIDATED:
            raise _error(document, _index(entry.key, entry.offset), twice, where, hint="Keep one of them.")
        warnings.append(twice)
    return _Head(entries, tuple(warnings))


def _word(document: str, entry: _Entry, where: str, allowed: tuple[str, ...]) -> str:
    name = entry.key.value
    value = entry.value
    if isinstance(value, yaml.ScalarNode) and value.value in allowed:
        return str(value.value)
    shown = repr(_shortened(value.value)) if isinstance(value, yaml.ScalarNode) else "a list or a mapping"
    near = difflib.get_close_matches(str(value.value).upper(), [word.upper() for word in allowed], n=1)
    meant = next((word for word in allowed if near and word.upper() == near[0]), None)
    raise _error(
        document,
        _index(value, entry.offset),
        f"`{name}` is {shown}; allowed is one of {', '.join(allowed)}",
        where,
        hint=f"Did you mean {meant}?" if meant else "",
    )


def _names(document: str, entry: _Entry | None, where: str) -> tuple[str, ...] | None:
    """A list of chunks; None if the field is absent or null."""
    if entry is None or _is_null(entry.value):
        return None
    field, value = entry.key.value, entry.value
    if not isinstance(value, yaml.SequenceNode):
        raise _error(
            document,
            _index(value, entry.offset),
            f"`{field}` must be a list of chunks",
            where,
            hint=f"Write it as: {field}: [name, other_name]",
        )
    found: dict[str, None] = {}
    for item in value.value:
        index = _index(item, entry.offset)
        if not isinstance(item, yaml.ScalarNode):
            raise _error(document, index, f"`{field}` must be a list of chunks' names", where)
        try:
            found[check_name(str(item.value))] = None
        except InvalidInput as error:
            raise _error(document, index, f"`{field}`: {error.what}", where, hint=error.hint) from error
    return tuple(found)


def _texts(entry: _Entry | None) -> tuple[str, ...]:
    if entry is None or not isinstance(entry.value, yaml.SequenceNode):
        return ()
    return tuple(str(item.value) for item in entry.value.value if isinstance(item, yaml.ScalarNode))


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _span(document: str, entry: _Entry, where: str) -> tuple[int, int]:
    """Where the status's letters stand; an anchor, an alias or a block there is not changed in place."""
    start, end = _index(entry.value, entry.offset), entry.offset + entry.value.end_mark.index
    written = document[start:end]
    value = str(entry.value.value)
    between = document[entry.offset + entry.key.end_mark.index : start]
    for quote in ("", '"', "'"):
        if written == quote + value + quote and re.fullmatch(r"[ \t]*:[ \t]*", between):
            return start + len(quote), end - len(quote)
    raise _error(
        document, start, "`status` is written in a form that cannot be changed in place", where,
        hint=f"Write it plainly on one line: status: {value}",
    )  # fmt: skip


def _index(node: yaml.Node, offset: int) -> int:
    return offset + int(node.start_mark.index)


def _line(document: str, node: yaml.Node, offset: int) -> int:
    return document.count("\n", 0, _index(node, offset)) + 1


def _error(document: str, index: int, what: str, where: str, *, hint: str = "") -> DocumentError:
    # YAML also counts U+0085 and U+2028 as line ends; editors do not, so lines are counted here.
    line = document.count("\n", 0, index) + 1
    column = index - (document.rfind("\n", 0, index) + 1) + 1
    return DocumentError(what, where=f"{where}:{line}:{column}", hint=hint)


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
