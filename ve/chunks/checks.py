"""What is checked in one document: whether what it names is there, and what its status asks for.

Rule: a check reads nodes, not types, so one broken field hides no problem of another, and each problem
stands at the very name or reference that it is about. Where the types found a mistake already, nothing
is said a second time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ve.chunks import nodes
from ve.chunks.links import subsystem_of
from ve.chunks.nodes import Node, Scalar
from ve.chunks.problems import Level, Problem, nearest
from ve.chunks.tree import PLACES, Documents
from ve.errors import InvalidInput

if TYPE_CHECKING:
    from ve.chunks.head import Head
    from ve.chunks.references import Code

NOT_DONE: Final = ("FUTURE", "IMPLEMENTING")
_FINISHED: Final = ("ACTIVE", "SUPERSEDED", "HISTORICAL")
_NUMBERED: Final = re.compile(r"\d{3,4}-")
_PATTERN: Final = re.compile(r"[*?\[]")
_COMMENT: Final = re.compile(r"\s*(<!--)")


def scalars(head: Head, field: str) -> list[Scalar]:
    """The texts of a field: its one value, or those of its list; nulls are left out."""
    found = head.fields.get(field)
    if found is None:
        return []
    value = found.value
    items = value.items if isinstance(value, nodes.Sequence) else (value,)
    return [item for item in items if isinstance(item, Scalar) and not item.is_null]


def entries(head: Head, field: str, key: str) -> list[tuple[int, Scalar]]:
    """The text under `key` of each item of a list that has one, with the item's number from 0."""
    found = head.fields.get(field)
    if found is None or not isinstance(found.value, nodes.Sequence):
        return []
    return [
        (number, value)
        for number, item in enumerate(found.value.items)
        if isinstance(item, nodes.Mapping)
        for name, value in item.entries
        if name.text == key and isinstance(value, Scalar) and not value.is_null
    ]


def plain(name: str) -> str:
    """A name from a document that may be written as a path: `docs/chunks/NAME/` is `NAME`."""
    return name.rstrip("/").rpartition("/")[2] if name.startswith("docs/") else name


class Run:
    """What the checks of one run share: statuses, names, links, and the problems that come together."""

    def __init__(self, documents: Documents, code: Code | None) -> None:
        self.documents = documents
        self.code = code
        self.problems: list[Problem] = []
        self.order = documents.order()
        self._links: dict[tuple[str, str], dict[str, str]] = {}
        self._friction: dict[str, int] | None = None
        self._unchecked: dict[str, list[Problem]] = {}

    def subject(self, kind: str, name: str) -> Subject:
        """A document, ready to be checked."""
        return Subject(self, kind, name)

    def add(self, problem: Problem) -> None:
        self.problems.append(problem)

    def known(self, kind: str, name: str) -> str | None:
        """The folder that a name means; None if there is none. Subsystems had numbers once."""
        if self.documents.has(kind, name):
            return name
        return subsystem_of(name, self.documents.names(kind)) if kind == "subsystem" else None

    def suggestion(self, kind: str, name: str) -> str:
        """What was probably meant, as a sentence; empty if nothing is near."""
        names = self.documents.names(kind)
        bare = _NUMBERED.sub("", name, count=1)
        same = [one for one in names if _NUMBERED.sub("", one, count=1) == bare]
        near = same[0] if same else nearest(name, names)
        return f"Did you mean {near}?" if near else ""

    @property
    def friction(self) -> dict[str, int]:
        """The friction log's entries with their lines."""
        if self._friction is None:
            self._friction = self.documents.friction_ids()
        return self._friction

    def links(self, kind: str, name: str) -> dict[str, str]:
        """The chunks that a document names, each with its relationship (empty where there is none)."""
        key = kind, name
        if key not in self._links:
            head = self.documents.read(kind, name).head
            if kind == "subsystem":
                said = dict(entries(head, "chunks", "relationship"))
                found = {
                    plain(node.text): said[number].text if number in said else ""
                    for number, node in entries(head, "chunks", "chunk_id")
                }
            else:
                listed = ("chunks", "proposed_chunks")
                found = {
                    plain(one.text): ""
                    for field in listed
                    for _, one in entries(head, field, "chunk_directory")
                }
                found |= {plain(one.text): "" for field in listed for one in scalars(head, field)}
            self._links[key] = found
        return self._links[key]

    def edges(self, field: str) -> dict[str, tuple[str, ...]]:
        """A field's names, of every chunk."""
        if field == "created_after":
            return {name: after for name, (_, after) in self.order.items()}
        names = self.documents.names("chunk")
        return {
            name: tuple(one.text for one in scalars(self.documents.read("chunk", name).head, field))
            for name in names
        }

    def unchecked(self, key: str, problem: Problem) -> None:
        """A reference that nothing here can look up; told once for each `key`."""
        self._unchecked.setdefault(key, []).append(problem)

    def unchecked_references(self) -> None:
        """Add the notes on what could not be looked up: the first of each language stands for all."""
        for problems in self._unchecked.values():
            first, more = problems[0], len(problems) - 1
            told = f"{first.message}; {more} more such references" if more else first.message
            self.add(
                Problem(
                    **{name: getattr(first, name) for name in first.__struct_fields__} | {"message": told}
                )
            )


class Subject:
    """One document with what its checks need."""

    def __init__(self, run: Run, kind: str, name: str) -> None:
        read = run.documents.read(kind, name)
        self.run, self.kind, self.name = run, kind, name
        self.path = run.documents.path(kind, name)
        self.head = read.head
        self.status: str = getattr(read.value, "status", "") if read.value is not None else ""
        self._said = {(one.line, one.column) for one in read.problems}
        self.readable = not any(one.rule == "missing-document" for one in read.problems)

    def add(
        self, rule: str, message: str, at: Node | None, field: str, *, hint: str = "", level: Level = "error"
    ) -> None:
        """A problem at a node, else at the field, else at the beginning."""
        start = None if at is None else at.start
        if start is None and field.partition("[")[0] in self.head.fields:
            start = self.head.fields[field.partition("[")[0]].key.start
        line, column = (1, 1) if start is None else self.head.place(start)
        if (line, column) not in self._said or start is None:
            self.run.add(self.problem(rule, message, line, column, field, hint, level))

    def problem(
        self, rule: str, message: str, line: int, column: int, field: str, hint: str, level: Level
    ) -> Problem:
        return Problem(
            path=self.path, line=line, column=column, field=field, rule=rule, message=message, hint=hint,
            level=level,
        )  # fmt: skip

    def must_exist(self, kind: str, node: Scalar, field: str, *, level: Level = "error") -> str | None:
        """The folder that the node names; a problem and None if there is none."""
        found = self.run.known(kind, plain(node.text))
        if found is None:
            self.add(
                f"unknown-{kind}",
                f"`{field}` names {node.text!r}, and there is no such {kind}",
                node,
                field,
                hint=self.run.suggestion(kind, plain(node.text)),
                level=level,
            )
        return found


# ── Chunks ─────────────────────────────────────────────────────────────────────────────────────────


def chunk(subject: Subject) -> None:
    """Everything that is checked in one chunk."""
    if subject.readable:
        for node in scalars(subject.head, "parent_chunk"):
            subject.must_exist("chunk", node, "parent_chunk")
        for number, node in enumerate(scalars(subject.head, "depends_on")):
            subject.must_exist("chunk", node, f"depends_on[{number}]")
        _created_after(subject)
        _linked_back(subject)
        _subsystems(subject)
        _friction(subject)
        if subject.status not in ("", *NOT_DONE):
            references(subject, "error" if subject.status == "ACTIVE" else "warning")
        elif subject.status:
            _forms(subject)
        _code_paths(subject)
        _final_status(subject)
        _comment_block(subject)
    _plan(subject)


def _created_after(subject: Subject) -> None:
    for number, node in enumerate(scalars(subject.head, "created_after")):
        field = f"created_after[{number}]"
        name = subject.must_exist("chunk", node, field)
        status = subject.run.order[name][0] if name in subject.run.order else ""
        if name is not None and status in NOT_DONE and name != subject.name:
            subject.add(
                "not-shipped",
                f"`{field}` names {name}, which is {status}; it names only work that has shipped",
                node,
                field,
                hint="What must be done first belongs into depends_on",
                level="error" if status == "FUTURE" else "warning",
            )


def _linked_back(subject: Subject) -> None:
    """A narrative and an investigation name the chunk in turn."""
    for kind in ("narrative", "investigation"):
        for node in scalars(subject.head, kind):
            owner = subject.must_exist(kind, node, kind)
            if owner is None or subject.run.documents.read(kind, owner).value is None:
                continue
            if subject.name not in subject.run.links(kind, owner):
                subject.add(
                    "not-linked-back",
                    f"{kind} {owner} does not name this chunk",
                    node,
                    kind,
                    hint=f"Add chunk_directory: {subject.name} to {subject.run.documents.path(kind, owner)}",
                    level="warning",
                )


def _subsystems(subject: Subject) -> None:
    relationship = dict(entries(subject.head, "subsystems", "relationship"))
    for number, node in entries(subject.head, "subsystems", "subsystem_id"):
        field = f"subsystems[{number}].subsystem_id"
        name = subject.must_exist("subsystem", node, field)
        said = relationship.get(number)
        if name is None or said is None or said.text != "implements" or subject.status != "ACTIVE":
            continue
        readable = subject.run.documents.read("subsystem", name).value is not None
        if readable and subject.name not in subject.run.links("subsystem", name):
            subject.add(
                "not-linked-back",
                f"subsystem {name} does not name this chunk, which implements a part of it",
                node,
                field,
                hint=f"Add it to `chunks` of {subject.run.documents.path('subsystem', name)}",
                level="warning",
            )


def _friction(subject: Subject) -> None:
    for number, node in entries(subject.head, "friction_entries", "entry_id"):
        if node.text not in subject.run.friction:
            field = f"friction_entries[{number}].entry_id"
            folder, document = PLACES["friction"]
            near = nearest(node.text, subject.run.friction)
            subject.add(
                "unknown-friction",
                f"`{field}` names {node.text!r}, and {folder}/{document} has no such entry",
                node,
                field,
                hint=f"Did you mean {near}?" if near else "See which there are: ve friction list",
            )


def references(subject: Subject, level: Level) -> None:
    """Each reference is looked up in the code."""
    code = subject.run.code
    if code is None:
        return
    from ve.chunks.references import parse_reference, resolve

    for number, node in entries(subject.head, "code_references", "ref"):
        field = f"code_references[{number}].ref"
        try:
            parsed = parse_reference(node.text)
        except InvalidInput as error:
            subject.add("wrong-reference", error.what, node, field, hint=error.hint, level=level)
            continue
        found = resolve(node.text, code)
        if not found.ok:
            meant = f"Did you mean {found.suggestion}?" if found.suggestion else ""
            subject.add("unresolved-reference", found.reason, node, field, hint=meant, level=level)
        elif not found.checked and not parsed.repo:
            line, column = subject.head.place(node.start)
            suffix = parsed.path.rpartition(".")[2]
            note = subject.problem("unchecked-reference", found.reason, line, column, field, "", "note")
            subject.run.unchecked(suffix, note)


def _forms(subject: Subject) -> None:
    """Before the work is done a reference may lead nowhere yet, but it has a form."""
    if subject.run.code is None:
        return
    from ve.chunks.references import parse_reference

    for number, node in entries(subject.head, "code_references", "ref"):
        try:
            parse_reference(node.text)
        except InvalidInput as error:
            field = f"code_references[{number}].ref"
            subject.add("wrong-reference", error.what, node, field, hint=error.hint, level="warning")


def _code_paths(subject: Subject) -> None:
    if subject.status != "ACTIVE":
        return
    root = os.fspath(subject.run.documents.root)
    for number, node in enumerate(scalars(subject.head, "code_paths")):
        path = os.path.normpath(node.text.split("#")[0]) if "\0" not in node.text else ".."
        outside = path.startswith(("/", ".."))
        if outside or not (_PATTERN.search(path) or os.path.lexists(f"{root}/{path}")):
            what = "leads out of the repository" if outside else "is not there"
            subject.add(
                "absent-path",
                f"`code_paths[{number}]`: {node.text} {what}",
                node,
                f"code_paths[{number}]",
                hint="Name the files that the chunk changed in the end",
                level="warning",
            )


def _final_status(subject: Subject) -> None:
    """What ends ACTIVE says where it is in the code; a repair of known-wrong code does not end ACTIVE."""
    if subject.status != "ACTIVE":
        return
    head = subject.head
    bug_type = next((one.text for one in scalars(head, "bug_type")), "")
    status = next(iter(scalars(head, "status")), None)
    if bug_type == "implementation":
        subject.add(
            "wrong-final-status",
            "a chunk with bug_type: implementation ends HISTORICAL, and this one is ACTIVE",
            status,
            "status",
            hint="Set it to HISTORICAL, or its bug_type to semantic",
            level="warning",
        )
    listed = head.fields.get("code_references")
    if bug_type != "implementation" and not (
        listed and isinstance(listed.value, nodes.Sequence) and listed.value.items
    ):
        because = " with bug_type: semantic" if bug_type == "semantic" else ""
        subject.add(
            "missing-reference",
            f"an ACTIVE chunk{because} says where it is in the code, and `code_references` is empty",
            status if listed is None else listed.value,
            "code_references",
            hint="Add the places, each with what it implements",
            level="error" if bug_type == "semantic" else "warning",
        )


def _comment_block(subject: Subject) -> None:
    if subject.status in _FINISHED:
        head = subject.head
        match = _COMMENT.match(head.document, head.body)
        if match:
            line, column = head.place(match.start(1))
            subject.run.add(
                subject.problem(
                    "comment-block", "the template's comment is still there in a chunk that is finished",
                    line, column, "", "Take it away; completing a chunk does", "note",
                )
            )  # fmt: skip


def _plan(subject: Subject) -> None:
    documents = subject.run.documents
    folder = documents.path("chunk", subject.name).rpartition("/")[0]
    if not (documents.root / folder / "PLAN.md").is_file():
        waiting = subject.status in NOT_DONE
        subject.run.add(
            Problem(
                path=f"{folder}/PLAN.md",
                rule="missing-plan",
                message="there is no PLAN.md beside the chunk's GOAL.md",
                hint="Write it; without it the chunk cannot be queued" if waiting else "",
                level="warning" if waiting or not subject.status else "note",
            )
        )


# ── Narratives, investigations, subsystems, the friction log ───────────────────────────────────────


def names_of(subject: Subject, field: str, key: str) -> None:
    """The chunks that a list names are there."""
    for number, node in entries(subject.head, field, key):
        subject.must_exist("chunk", node, f"{field}[{number}].{key}")


def linked_forward(subject: Subject) -> None:
    """Each chunk that is named here names this document in turn."""
    for field, number, node, key in _linked(subject):
        name = plain(node.text)
        run = subject.run
        if not run.documents.has("chunk", name):
            continue
        read = run.documents.read("chunk", name)
        if read.value is None:
            continue
        if subject.kind == "subsystem":
            said = [one.text for _, one in entries(read.head, "subsystems", "subsystem_id")]
        else:
            said = [one.text for one in scalars(read.head, subject.kind)]
        if subject.name not in {run.known(subject.kind, plain(one)) for one in said}:
            meant = "subsystems" if subject.kind == "subsystem" else subject.kind
            subject.add(
                "not-linked-back",
                f"chunk {name} does not name this {subject.kind}",
                node,
                f"{field}[{number}].{key}",
                hint=f"Name {subject.name} in `{meant}` of {run.documents.path('chunk', name)}",
                level="warning",
            )


def _linked(subject: Subject) -> Iterator[tuple[str, int, Scalar, str]]:
    key = "chunk_id" if subject.kind == "subsystem" else "chunk_directory"
    for field in ("chunks", "proposed_chunks"):
        for number, node in entries(subject.head, field, key):
            yield field, number, node, key
