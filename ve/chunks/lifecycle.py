"""A chunk's life: created, activated, paused, completed, superseded.

Rule: nothing is written here but by `write`. Every other function reads, checks everything, and returns
the edits that would do it, or raises; so a batch is done whole or not begun, and a command can show what
it would do. A status changes through `frontmatter.set_status` and nowhere else.

`write` replaces one file after the other, each whole. The chunk's own document comes last, so whatever is
interrupted can be repeated: what stands already is not said twice.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ve.chunks import edit, links, order, templates, typed
from ve.chunks.frontmatter import set_status
from ve.chunks.head import parse
from ve.chunks.kinds import KINDS, Chunk, Document, Investigation, Kind, Narrative
from ve.chunks.names import check_name
from ve.chunks.nodes import Sequence as Items
from ve.chunks.problems import Problem
from ve.chunks.tree import Documents
from ve.chunks.writing import BESIDE, Edit, write
from ve.errors import DocumentError, InvalidInput, NotFound, RefusedError

if TYPE_CHECKING:
    from ve.chunks.references import Code

CHUNK, NARRATIVE, INVESTIGATION, SUBSYSTEM, FRICTION = (
    KINDS[name] for name in ("chunk", "narrative", "investigation", "subsystem", "friction")
)
TEMPLATES = {
    "chunk": templates.GOAL,
    "narrative": templates.NARRATIVE,
    "investigation": templates.INVESTIGATION,
    "subsystem": templates.SUBSYSTEM,
    "friction": templates.FRICTION,
}
_NEEDED = (
    "status", "code_references", "bug_type", "narrative", "investigation", "subsystems", "friction_entries",
)  # fmt: skip
"""The fields that completion reads: a mistake in another one is for `validate`."""
_SCHEMA = re.compile(r"\s*<!--(?:(?!-->).)*\bSTATUS\b", re.DOTALL)
__all__ = ["Edit", "write"]
D = TypeVar("D", bound=Document)


class Plan:
    """Edits as they come together: a file that is changed twice is one edit."""

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self._edits: dict[str, Edit] = {}

    def make(self, path: str, text: str | bytes) -> None:
        """A new file, or one that an interrupted creation left."""
        after = text.encode() if isinstance(text, str) else text
        self._edits[path] = Edit(path, self.documents.file(path), after)

    def change(self, kind: Kind, name: str, how: Callable[[bytes, str], bytes]) -> None:
        """A document as `how(text, path)` leaves it. Raises NotFound if there is none."""
        path = kind.path(name)
        known = self._edits.get(path)
        if known is None:
            before = text_of(self.documents, kind, name)
            known = Edit(path, before, before)
        assert known.after is not None
        self._edits[path] = known._replace(after=how(known.after, path))

    @property
    def edits(self) -> list[Edit]:
        """What differs; the chunks' own documents come last."""
        changed = [one for one in self._edits.values() if one.before != one.after]
        return sorted(changed, key=lambda one: one.path.startswith(f"{CHUNK.folder}/"))


# ── Reading ────────────────────────────────────────────────────────────────────────────────────────


def text_of(documents: Documents, kind: Kind, name: str) -> bytes:
    """A document's bytes. Raises NotFound, with the near names."""
    path = documents.root / kind.path(name)
    try:
        if path.is_file() or path.is_dir() or not path.exists():
            return path.read_bytes()
        raise DocumentError("is no file that can be read", where=kind.path(name), hint=f"See: ls -l {path}")
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise DocumentError(f"cannot be read: {error.strerror}", where=kind.path(name)) from error
    if kind is FRICTION:
        raise NotFound("there is no friction log yet", where=kind.path(), hint="ve friction add TITLE")
    from difflib import get_close_matches

    near = get_close_matches(name, documents.names(kind), 1)
    hint = f"Did you mean {near[0]}?" if near else f"See all: ve {kind.name} list"
    raise NotFound(f"there is no {kind.name} {name}", where=kind.path(name), hint=hint)


def value_of(documents: Documents, kind: Kind, name: str, expected: type[D]) -> D:
    """A document's head. Raises NotFound; DocumentError with all that makes it unreadable."""
    text = text_of(documents, kind, name)
    found = typed.read(text, kind.path(name), kind)
    if not isinstance(found.value, expected):
        errors = [one for one in found.problems if one.level == "error"] or list(found.problems)
        first = errors[0] if errors else Problem(path=kind.path(name), rule="no-head", message="has no head")
        more = "".join(f"\n{one.where}: {one.message}" for one in errors[1:])
        raise DocumentError(
            first.message + more, where=first.where,
            hint=first.hint or f"Look at all of it: ve {kind.name} validate {name}".strip(),
        )  # fmt: skip
    return found.value


def statuses(documents: Documents) -> dict[str, tuple[str, tuple[str, ...]]]:
    """(status, created_after) of every chunk whose head can be read."""
    return {name: found for name, found in documents.order().items() if found[0]}


def status_of(documents: Documents, name: str) -> str:
    """The same of one chunk, empty where its head cannot be read; so a landing reads no thousand others."""
    try:
        text = text_of(documents, CHUNK, name)
    except (NotFound, DocumentError):
        return ""
    plain = typed.quick(text)
    return plain[0] if plain is not None else getattr(documents.read(CHUNK, name).value, "status", "")


def current(documents: Documents) -> str:
    """The chunk in work. Raises NotFound where there is none, RefusedError where there are several."""
    found = documents.current()
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotFound(
            "no chunk is being implemented here", hint="Name one, or begin: ve chunk activate NAME"
        )
    raise RefusedError(f"several chunks are IMPLEMENTING: {', '.join(found)}", hint="Name the one you mean.")


# ── Chunks ─────────────────────────────────────────────────────────────────────────────────────────


def create(
    documents: Documents,
    names: Sequence[str],
    *,
    future: bool = False,
    ticket: str | None = None,
    narrative: str | None = None,
    investigation: str | None = None,
    background: bool = False,
    entry: int | None = None,
) -> list[Edit]:
    """New chunks, with what their narrative and investigation say of them; `entry` is their place there.

    Raises InvalidInput with everything that is wrong with the names, NotFound, DocumentError, and
    RefusedError where a second chunk would be IMPLEMENTING.
    """
    future = future or background
    refuse_names(documents, CHUNK, names)
    if entry is not None and (len(names) > 1 or not (narrative or investigation)):
        raise InvalidInput("an entry's number goes with one chunk and its narrative or investigation")
    if ticket is not None and not ticket.isprintable():
        what = "a ticket is one line, without control characters"
        raise InvalidInput(what, errors=(("ticket", ascii(ticket)),))
    narrative = None if narrative is None else documents.named(NARRATIVE, narrative)
    investigation = None if investigation is None else documents.named(INVESTIGATION, investigation)
    known = statuses(documents)
    if not future:
        _refuse_second(documents, known, names)
    cycle = next(iter(order.cycles({name: after for name, (_, after) in known.items()})), None)
    if cycle:
        raise DocumentError(
            f"created_after goes in a circle: {' -> '.join(cycle)}", where=CHUNK.path(cycle[0]),
            hint="Take one of them out of the other's created_after.",
        )  # fmt: skip
    tips = order.tips(known)
    plan = Plan(documents)
    for kind, owner, expected in (
        (NARRATIVE, narrative, Narrative),
        (INVESTIGATION, investigation, Investigation),
    ):
        if owner is not None:
            value_of(documents, kind, owner, expected)
            for name in names:
                plan.change(kind, owner, _taking_up(name, entry))
    for name in names:
        path = CHUNK.path(name)
        text = TEMPLATES["chunk"].encode()
        fields = {"ticket": ticket, "narrative": narrative, "investigation": investigation}
        for field, value in fields.items():
            if value is not None:
                text = edit.set_field(text, field, value, path)
        if background:
            text = edit.set_field(text, "background", True, path)
        text = edit.set_field(text, "created_after", list(tips), path)
        plan.make(f"{CHUNK.folder}/{name}/PLAN.md", templates.PLAN)
        plan.make(path, text if future else set_status(text, "IMPLEMENTING", path))
    return plan.edits


def activate(documents: Documents, name: str) -> list[Edit]:
    """FUTURE becomes IMPLEMENTING. Raises RefusedError where another chunk is in work here."""
    text_of(documents, CHUNK, name)
    _refuse_second(documents, statuses(documents), (name,))
    return _with_status(documents, name, "IMPLEMENTING")


def pause(documents: Documents, name: str) -> list[Edit]:
    """IMPLEMENTING becomes FUTURE again."""
    return _with_status(documents, name, "FUTURE")


def complete(documents: Documents, code: Code | None, name: str) -> list[Edit]:
    """The end of a chunk: final status, and what its subsystems, narrative and friction entries say of it.

    `code` is the code of the same root where it is known already.
    Raises RefusedError with every reference that does not resolve and all else that stands in the way,
    DocumentError, NotFound.
    """
    chunk = value_of(documents, CHUNK, name, Chunk)
    path = CHUNK.path(name)
    if chunk.status != "IMPLEMENTING":
        raise RefusedError(
            f"{name} is {chunk.status}, so there is nothing to complete", where=path,
            hint=f"Begin it: ve chunk activate {name}" if chunk.status == "FUTURE" else "",
        )  # fmt: skip
    wrong = obstacles(documents, code, name)
    if wrong:
        raise RefusedError(
            f"{name} cannot be completed:\n{described(wrong)}",
            hint=f"Correct {path}, then: ve chunk complete {name}",
        )
    plan = Plan(documents)
    known = documents.names(SUBSYSTEM) if chunk.subsystems else ()
    for link in chunk.subsystems:
        folder = links.subsystem_of(link.subsystem_id, known)
        if link.relationship == "implements" and folder is not None:
            plan.change(SUBSYSTEM, folder, lambda text, where: links.implement(text, where, name))
    if chunk.narrative is not None:
        plan.change(NARRATIVE, chunk.narrative, _taking_up(name, None))
        plan.change(NARRATIVE, chunk.narrative, _closing(documents, name))
    if chunk.investigation is not None:
        plan.change(INVESTIGATION, chunk.investigation, _taking_up(name, None))
    for friction in chunk.friction_entries:
        plan.change(FRICTION, "", _resolving(friction.entry_id, name, friction.scope))
    final = final_status(chunk)
    plan.change(CHUNK, name, lambda text, where: _without_schema(set_status(text, final, where), where))
    return plan.edits


def final_status(chunk: Chunk) -> str:
    """What a chunk becomes: the repair of code that did not do what was meant governs nothing."""
    return "HISTORICAL" if chunk.bug_type == "implementation" else "ACTIVE"


def obstacles(documents: Documents, code: Code | None, name: str) -> list[Problem]:
    """What stands in the way of a chunk's completion."""
    text = text_of(documents, CHUNK, name)
    path = CHUNK.path(name)
    read = typed.read(text, path, CHUNK)
    chunk = read.value
    if not isinstance(chunk, Chunk):
        return list(read.problems)
    found = [
        one for one in read.problems if one.level == "error" and re.split(r"\W", one.field)[0] in _NEEDED
    ]
    place = _Places(read, path)
    for number, reference in enumerate(chunk.code_references):
        from ve.chunks.references import Code, resolve  # what they load is needed for references only

        code = code or Code(documents.root)
        resolved = resolve(reference.ref, code)
        if not resolved.ok:
            hint = f"Did you mean {resolved.suggestion}?" if resolved.suggestion else ""
            found.append(
                place.problem("unresolved-reference", "code_references", resolved.reason, hint, number)
            )
    if chunk.bug_type == "semantic" and not chunk.code_references:
        found.append(
            place.problem(
                "missing-reference", "code_references",
                "is empty, and a semantic bug's repair says where in the code the new understanding is",
                "Add the places, or say bug_type: implementation",
            )
        )  # fmt: skip
    found += _missing_links(documents, chunk, place)
    return found


def warnings(documents: Documents, chunk: Chunk) -> list[str]:
    """What to look at when a chunk is completed; nothing that stands in its way."""
    return [
        f"{path} is in code_paths, but not there"
        for path in chunk.code_paths
        if not (documents.root / path).exists()
    ]


def supersede(documents: Documents, name: str, by: str) -> list[Edit]:
    """ACTIVE becomes SUPERSEDED; `by`, whose parent_chunk says so, is in work or has shipped."""
    value_of(documents, CHUNK, name, Chunk)
    successor = value_of(documents, CHUNK, by, Chunk)
    if name == by:
        raise InvalidInput(f"{name} cannot supersede itself")
    if successor.status == "FUTURE":
        raise RefusedError(
            f"{by} is FUTURE, so it changed nothing yet", where=CHUNK.path(by),
            hint=f"Supersede {name} once {by} is in work: ve chunk activate {by}",
        )  # fmt: skip
    plan = Plan(documents)
    plan.change(CHUNK, name, lambda text, where: set_status(text, "SUPERSEDED", where))
    if successor.parent_chunk is None:
        plan.change(CHUNK, by, lambda text, where: edit.set_field(text, "parent_chunk", name, where))
    return plan.edits


# ── What is refused ────────────────────────────────────────────────────────────────────────────────


def refuse_names(documents: Documents, kind: Kind, names: Sequence[str]) -> None:
    """Everything that is wrong with a batch, at once."""
    if not names:
        raise InvalidInput(f"which {kind.name}?", hint=f"Name one or more: ve {kind.name} create NAME")
    wrong: list[tuple[str, str]] = []
    there = {name.lower(): name for name in documents.names(kind)}
    seen: set[str] = set()
    for name in names:
        try:
            check_name(name)
        except InvalidInput as error:
            wrong.append((name, error.what))
            continue
        known = there.get(name.lower())
        folder = documents.root / kind.folder / name
        begun = known == name and not os.path.lexists(documents.root / kind.path(name))
        if name.lower() in seen and (begun or not known):
            wrong.append((name, f"{name} is named twice"))
        elif begun and not _interrupted(folder):
            wrong.append((name, f"{kind.folder}/{name} is there, without a {kind.document}"))
        elif known is not None and not begun:
            same = "exists already" if known == name else f"differs from {known} in case only"
            wrong.append((name, f"{kind.name} {name} {same}"))
        elif not known and os.path.lexists(folder):
            wrong.append((name, f"{kind.folder}/{name} is there, and no folder"))
        seen.add(name.lower())
    if wrong:
        what = wrong[0][1] if len(wrong) == 1 else f"{len(wrong)} of the names cannot be used"
        raise InvalidInput(what, hint="Nothing was written.", errors=tuple(wrong))


def _interrupted(folder: Path) -> bool:
    """Whether a folder without its document is all that a creation had written when it was killed."""
    left = [one for one in folder.iterdir() if not BESIDE.fullmatch(one.name)]
    plan = templates.PLAN.encode()
    return all(one.name == "PLAN.md" and one.is_file() and one.read_bytes() == plan for one in left)


def _refuse_second(
    documents: Documents, known: Mapping[str, tuple[str, tuple[str, ...]]], names: Sequence[str]
) -> None:
    """At most one chunk of a worktree is in work."""
    busy = [name for name, (status, _) in known.items() if status == "IMPLEMENTING" and name not in names]
    if busy:
        raise RefusedError(
            f"{busy[0]} is IMPLEMENTING already, and one worktree has at most one such chunk",
            where=CHUNK.path(busy[0]),
            hint=f"Queue the new one for later with --future; or first: ve chunk complete {busy[0]}; "
            f"or put that one back: ve chunk pause {busy[0]}",
        )
    if len(names) > 1:
        raise RefusedError(
            "several chunks cannot be IMPLEMENTING in one worktree",
            hint="Make them with --future, then begin with one: ve chunk activate NAME",
        )


def _missing_links(documents: Documents, chunk: Chunk, place: _Places) -> list[Problem]:
    """Documents that the completion has to change, and that are not there or cannot be read."""
    found: list[Problem] = []
    known = documents.names(SUBSYSTEM) if chunk.subsystems else ()
    for link in chunk.subsystems:
        if links.subsystem_of(link.subsystem_id, known) is None:
            why = f"there is no subsystem {link.subsystem_id}"
            found.append(place.problem("unknown-subsystem", "subsystems", why, "See all: ve subsystem list"))
    others: tuple[tuple[str, Kind, str | None, type[Document]], ...] = (
        ("narrative", NARRATIVE, chunk.narrative, Narrative),
        ("investigation", INVESTIGATION, chunk.investigation, Investigation),
    )
    for field, kind, owner, expected in others:
        if owner is not None:
            try:
                value_of(documents, kind, owner, expected)
            except (NotFound, DocumentError) as error:
                found.append(place.problem(f"unknown-{field}", field, str(error).split("\n")[0], error.hint))
    if chunk.friction_entries:
        try:
            ids = {one.id for one in links.friction(text_of(documents, FRICTION, ""))}
        except (NotFound, DocumentError):
            ids = set()
        found += [
            place.problem(
                "unknown-friction", "friction_entries", f"there is no entry {link.entry_id}",
                "See all: ve friction list",
            )
            for link in chunk.friction_entries
            if link.entry_id not in ids
        ]  # fmt: skip
    return found


class _Places:
    """Where a field stands, for problems."""

    def __init__(self, read: typed.Read, path: str) -> None:
        self._read, self._path = read, path

    def problem(self, rule: str, field: str, message: str, hint: str, item: int | None = None) -> Problem:
        head = self._read.head
        found = head.fields.get(field)
        at = found.key.start if found else 0
        if found and item is not None and isinstance(found.value, Items) and item < len(found.value.items):
            at, field = found.value.items[item].start, f"{field}[{item}]"
        line, column = head.place(at)
        return Problem(
            path=self._path, line=line, column=column, field=field, rule=rule, message=message, hint=hint
        )  # fmt: skip


def described(problems: Iterable[Problem]) -> str:
    """Problems a line each, for an error's text."""
    return "\n".join(map(_line, problems))


def _line(problem: Problem) -> str:
    hint = f" ({problem.hint})" if problem.hint else ""
    field = f"`{problem.field}`: " if problem.field else ""
    return f"  {problem.where}: {field}{problem.message}{hint}"


# ── Changes ────────────────────────────────────────────────────────────────────────────────────────


def _with_status(documents: Documents, name: str, status: str) -> list[Edit]:
    plan = Plan(documents)
    plan.change(CHUNK, name, lambda text, where: set_status(text, status, where))
    return plan.edits


def _without_schema(text: bytes, where: str) -> bytes:
    """Only the template's comment goes; what somebody wrote in its place stays."""
    head = parse(text, where)
    return edit.drop_comment_block(text) if _SCHEMA.match(head.document, head.body) else text


def _taking_up(name: str, entry: int | None) -> Callable[[bytes, str], bytes]:
    return lambda text, where: links.take_up(text, where, name, entry=entry)


def _resolving(entry: str, name: str, scope: str) -> Callable[[bytes, str], bytes]:
    return lambda text, where: links.resolve_friction(text, where, entry, name, scope)


def _closing(documents: Documents, finished: str) -> Callable[[bytes, str], bytes]:
    """A narrative is COMPLETED once every entry of it has a chunk and every one of these has shipped."""

    def close(text: bytes, where: str) -> bytes:
        for name in links.directories(text, where):
            if not name or (name != finished and status_of(documents, name) not in order.SHIPPED):
                return text
        return edit.set_field(text, "status", "COMPLETED", where)

    return close
