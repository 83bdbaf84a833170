"""What an inject takes from the chunks' documents: their dependencies, their order, their files on disk."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ve.chunks.document import ChunkDocument, find_cycle, folder_of, load
from ve.chunks.frontmatter import without_status
from ve.commands import Inject
from ve.errors import DocumentError, InvalidInput, RefusedError
from ve.git import base as git
from ve.paths import Places
from ve.unit import Frozen, Phase

FINISHED_DOCUMENTS = ("ACTIVE", "SUPERSEDED", "HISTORICAL", "COMPOSITE")
_FUTURE = re.compile(rb"^status:[ \t]*[\"']?FUTURE\b", re.MULTILINE)


class LeftOut(Frozen, frozen=True, kw_only=True):
    """A FUTURE chunk that was not queued with the others, and why."""

    chunk: str
    why: str


class FileText(Frozen, frozen=True, kw_only=True):
    """A file as committed, as text."""

    path: str
    text: str


class ChunkText(Frozen, frozen=True, kw_only=True):
    """A chunk to be read by a person, and the hash that an approval of it names."""

    chunk: str
    base_ref: str
    commit: str
    status: str
    background: bool
    hash: str
    approved: bool
    files: tuple[FileText, ...]


class Base(NamedTuple):
    """The commit that new work begins from."""

    repo: Path
    ref: str
    commit: str
    main: Path | None

    def read(self, path: str) -> bytes | None:
        """A file as committed there."""
        return git.read_file(self.repo, self.commit, path)


def base_of(places: Places, configured: str | None) -> Base:
    """The configured base, else the branch that is checked out. Raises GitError."""
    repo, main = places.common_dir, places.main_worktree
    ref = configured or git.current_branch(main or repo)
    return Base(repo, ref, git.resolve(repo, ref), main)


def new_unit_id() -> str:
    """`u` and 12 base32 characters."""
    return "u" + base64.b32encode(secrets.token_bytes(8)).decode().lower()[:12]


def files_of(main: Path, folder: str) -> list[str]:
    """A chunk's files as they are on disk, and the two that it must have."""
    there = [path for path in (main / folder).rglob("*") if path.is_file()]
    required = [f"{folder}/GOAL.md", f"{folder}/PLAN.md"]
    return sorted({*required, *(str(path.relative_to(main)) for path in there)})


def uncommitted(base: Base, names: Iterable[str]) -> list[str]:
    """Files of these chunks that a worktree made from the base would not have as they are on disk."""
    if base.main is None or base.main not in git.checkouts_of(base.repo, base.ref):
        return []
    main = base.main
    return git.uncommitted(main, [path for name in names for path in files_of(main, folder_of(name))])


def refuse_uncommitted(base: Base, names: Sequence[str]) -> None:
    """Raises DocumentError that names every such file, and how to commit them."""
    paths = uncommitted(base, names)
    if paths:
        folders = [folder_of(name) for name in names]
        wanted = [folder for folder in folders if any(path.startswith(f"{folder}/") for path in paths)]
        raise DocumentError(
            f"not committed, so a worktree would not have it: {', '.join(paths)}",
            where=str(base.main),
            hint=f"git add {' '.join(wanted)} && git commit",
        )


def dependencies(document: ChunkDocument, override: Sequence[str] | None) -> tuple[str, ...]:
    """What a chunk depends on: as the operator said, else as its document says."""
    return tuple(override) if override is not None else (document.frontmatter.depends_on or ())


def finished(
    base: Base, documents: Iterable[ChunkDocument], override: Sequence[str] | None
) -> frozenset[str]:
    """Those of the dependencies whose documents say that their work is in the base."""
    named = {name for document in documents for name in dependencies(document, override)}
    return frozenset(name for name in named if is_finished(name, base.read))


def is_finished(name: str, read: Any) -> bool:
    """Whether a chunk's document says that its work is in the base."""
    try:
        return load(name, read).frontmatter.status in FINISHED_DOCUMENTS
    except (DocumentError, InvalidInput):
        return False


def in_order(documents: Sequence[ChunkDocument], override: Sequence[str] | None) -> list[ChunkDocument]:
    """Dependencies before those that name them. Raises RefusedError naming a cycle."""
    names = {document.name: document for document in documents}
    wants = {
        document.name: [
            name
            for name in (*dependencies(document, override), *document.frontmatter.created_after)
            if name in names
        ]
        for document in documents
    }
    cycle = find_cycle(wants)
    if cycle:
        raise RefusedError(
            f"a cycle of dependencies: {' -> '.join(cycle)}", hint="Remove one of them from depends_on."
        )
    ordered: dict[str, ChunkDocument] = {}

    def place(name: str) -> None:
        if name not in ordered:
            for wanted in wants[name]:
                place(wanted)
            ordered[name] = names[name]

    for name in names:
        place(name)
    return list(ordered.values())


def injects(base: Base, names: Sequence[str], override: Sequence[str] | None) -> list[Inject]:
    """The commands that queue these chunks, dependencies first.

    Raises DocumentError for what is missing, unreadable or not committed, RefusedError for a cycle.
    """
    refuse_uncommitted(base, names)
    documents = [load(name, base.read) for name in names]
    done = finished(base, documents, override)
    return [
        Inject(
            unit=new_unit_id(),
            chunk=document.name,
            base_ref=base.ref,
            phase=Phase(document.initial_phase),
            depends_on=dependencies(document, override),
            created_after=document.frontmatter.created_after,
            satisfied=tuple(d for d in dependencies(document, override) if d in done),
            approval=approval_of(base, document),
        )
        for document in in_order(documents, override)
    ]


# ── Approval of background work ────────────────────────────────────────────────────────────────────


def chunk_files(base: Base, name: str) -> dict[str, bytes]:
    """Every file of a chunk's folder as committed, by path."""
    found: dict[str, bytes] = {}
    pending = [folder_of(name)]
    while pending:
        folder = pending.pop()
        for entry in git.list_dir(base.repo, base.commit, folder):
            path = f"{folder}/{entry}"
            data = base.read(path)
            if data is None:
                pending.append(path)
            else:
                found[path] = data
    return dict(sorted(found.items()))


def chunk_hash(files: dict[str, bytes]) -> str:
    """What a chunk is approved by: its files' names and contents, whatever its status."""
    digest = hashlib.sha256()
    for path, data in files.items():
        content = without_status(data, path) if path.endswith("/GOAL.md") else data
        for part in (path.encode("utf-8", "surrogateescape"), content):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def approval_of(base: Base, document: ChunkDocument) -> str | None:
    """The hash that a person must have approved before the chunk is queued; None where none has to."""
    if not document.frontmatter.background:
        return None
    return chunk_hash(chunk_files(base, document.name))


def read_chunk(base: Base, name: str, approved: Collection[str]) -> ChunkText:
    """A chunk for a person to read. Raises DocumentError."""
    refuse_uncommitted(base, [name])
    head = load(name, base.read).frontmatter
    files = chunk_files(base, name)
    digest = chunk_hash(files)
    return ChunkText(
        chunk=name,
        base_ref=base.ref,
        commit=base.commit,
        status=head.status,
        background=head.background,
        hash=digest,
        approved=digest in approved,
        files=tuple(FileText(path=path, text=data.decode(errors="replace")) for path, data in files.items()),
    )


def all_future(
    base: Base, approved: Collection[str], queued: Collection[str]
) -> tuple[list[str], list[LeftOut]]:
    """The FUTURE chunks of the base that can be queued, and those that cannot, with the reason."""
    documents: dict[str, ChunkDocument] = {}
    left: dict[str, str] = {}
    for name in git.list_dir(base.repo, base.commit, "docs/chunks"):
        goal = base.read(f"{folder_of(name)}/GOAL.md")
        if goal is None or name in queued or not _FUTURE.search(goal):
            continue
        try:
            document = load(name, base.read)
        except (DocumentError, InvalidInput) as error:
            left[name] = f"{error.where}: {error.what}" if error.where else error.what
            continue
        needed = approval_of(base, document)
        if document.frontmatter.status != "FUTURE":
            continue
        if needed is not None and needed not in approved:
            left[name] = f"nobody approved it as it is now; read it: ve chunk approve {name}"
        else:
            documents[name] = document
    for path in uncommitted(base, documents):
        name = path.removeprefix("docs/chunks/").split("/")[0]
        if documents.pop(name, None) is not None:
            left[name] = f"{path} is not committed as it is"
    _leave_dependents(documents, left)
    return list(documents), [LeftOut(chunk=name, why=why) for name, why in sorted(left.items())]


def _leave_dependents(documents: dict[str, ChunkDocument], left: dict[str, str]) -> None:
    """Whoever depends on what is left out is left out as well."""
    while True:
        gone = {
            name: wanted
            for name, document in documents.items()
            for wanted in dependencies(document, None)
            if wanted in left
        }
        if not gone:
            return
        for name, wanted in gone.items():
            del documents[name]
            left[name] = f"it depends on {wanted}, which is left out"
