"""Every check over a repository's documents, all problems at once.

    each document    its own types (`typed`), its folder's name, its files
    each chunk       what it names, its references, what its status asks for (`checks`)
    each other one   the chunks that it names
    all together     cycles, several chunks in work, comments in the code that lead nowhere

Rule: documents are material of any age and in any state, so whatever is in them is a problem with a place
and never an exception. Errors are what must change; warnings and notes leave a repository valid.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from ve.chunks import checks, order
from ve.chunks.checks import Run, scalars
from ve.chunks.names import check_name
from ve.chunks.problems import Problem
from ve.chunks.tree import PLACES, Documents
from ve.errors import InvalidInput

if TYPE_CHECKING:
    from ve.chunks.references import Code

Target = tuple[str, str]
"""A kind and a name."""
KINDS: Final = tuple(PLACES)
_CODE: Final = re.compile(
    r"(?:.*/)?(?:[^/]*\.(?:pyi?|pyx|[mc]?[jt]sx?|rs|go|java|kts?|scala|groovy|[ch]|cc|[ch]pp|cxx|hh|cs|swift|mm?"
    r"|rb|php|p[lm]|lua|r|jl|exs?|dart|zig|nim|v|sh|bash|zsh|fish|ps1|tf|proto|toml|ya?ml|cmake|mk|vue|svelte"
    r"|s[ac]ss|less)|Makefile|Dockerfile|[jJ]ustfile|Rakefile|Gemfile)",
    re.DOTALL,
)
_LONGEST_CODE: Final = 2_000_000
_NARRATIVE_LISTS: Final = ("chunks", "proposed_chunks")


def targets(
    documents: Documents, names: Sequence[str] | None = None, kind: str | None = None
) -> list[Target]:
    """The documents that are checked: those named (chunks unless `kind` says otherwise), else all.

    A name can be a path of the document's folder. Raises `NotFound` for one that there is not.
    """
    if names is not None:
        chosen = kind or "chunk"
        return [(chosen, name) for name in dict.fromkeys(documents.named(chosen, words) for words in names)]
    return [(one, name) for one in ([kind] if kind else KINDS) for name in documents.names(one)]


def validate(
    documents: Documents,
    code: Code | None,
    names: Sequence[str] | None = None,
    kind: str | None = None,
) -> list[Problem]:
    """The problems of the documents that `targets` chooses, by path, line and column.

    Without `code` no reference is looked up. Raises `NotFound` for a name that there is not.
    """
    chosen = targets(documents, names, kind)
    run = Run(documents, code)
    for one, name in chosen:
        _document(run, one, name)
    chunks = {name for one, name in chosen if one == "chunk"}
    _cycles(run, chunks)
    _several_implementing(run, chunks)
    run.unchecked_references()
    if code is not None and names is None and kind is None:
        _back_references(run, code.files)
    unique = dict.fromkeys(run.problems)
    return sorted(unique, key=lambda one: (one.path, one.line, one.column, one.rule, one.message))


def _document(run: Run, kind: str, name: str) -> None:
    documents = run.documents
    read = documents.read(kind, name)
    run.problems += read.problems
    if kind != "friction":
        _folder_name(run, kind, name)
    subject = run.subject(kind, name)
    if kind == "chunk":
        checks.chunk(subject)
        return
    if kind == "subsystem":
        checks.names_of(subject, "chunks", "chunk_id")
        checks.references(subject, "warning")
    else:
        for field in _NARRATIVE_LISTS if kind == "narrative" else ("proposed_chunks",):
            checks.names_of(subject, field, "chunk_directory")
    if kind in ("narrative", "investigation", "subsystem"):
        checks.linked_forward(subject)


def _folder_name(run: Run, kind: str, name: str) -> None:
    try:
        check_name(name)
    except InvalidInput as error:
        run.add(
            Problem(
                path=run.documents.path(kind, name),
                rule="wrong-folder-name",
                message=error.what.replace("a chunk's name", f"a {kind}'s name"),
                hint=error.hint,
                level="error" if kind == "chunk" else "warning",
            )
        )


def _cycles(run: Run, chunks: set[str]) -> None:
    """Each cycle once, at the name that closes it in the first of the chosen chunks that is on it."""
    for field in ("created_after", "depends_on", "parent_chunk"):
        edges = run.edges(field)
        for cycle in order.cycles(edges):
            at = next((place for place, name in enumerate(cycle[:-1]) if name in chunks), None)
            if at is None:
                continue
            turned = cycle[at:-1] + cycle[: at + 1]
            subject = run.subject("chunk", turned[0])
            node = next((one for one in scalars(subject.head, field) if one.text == turned[1]), None)
            subject.add(
                "cycle",
                f"`{field}` goes in a circle: {' -> '.join(turned)}",
                node,
                field,
                hint="Take one of these names out of the document that should not have it",
            )


def _several_implementing(run: Run, chunks: set[str]) -> None:
    busy = [name for name, (status, _) in run.order.items() if status == "IMPLEMENTING"]
    if len(busy) < 2:
        return
    for name in busy:
        if name in chunks:
            others = [other for other in busy if other != name]
            subject = run.subject("chunk", name)
            subject.add(
                "several-implementing",
                f"one chunk at most is IMPLEMENTING in a worktree, and so {_are(others)}",
                next(iter(scalars(subject.head, "status")), None),
                "status",
                hint="Complete one of them, or set it to FUTURE again",
            )


def _are(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{'is' if len(names) == 1 else 'are'} {shown}"


def _back_references(run: Run, files: Iterable[str]) -> None:
    """Comments such as `# Chunk: docs/chunks/NAME` whose document is gone."""
    from ve.chunks.backreferences import back_references

    documents = run.documents
    for path in files:
        text = documents.file(path) if _CODE.fullmatch(path) else None
        if text is None or b"docs/" not in text or len(text) > _LONGEST_CODE:
            continue
        for line, kind, target in back_references(path, text):
            if run.known(kind, target) is not None:
                continue
            begin = _line(text, line).find(b"docs/")
            run.add(
                Problem(
                    path=path,
                    line=line,
                    column=len(_line(text, line)[:begin].decode("utf-8", "replace")) + 1,
                    rule="lost-back-reference",
                    message=f"this comment leads to {PLACES[kind][0]}/{target}, and there is no such {kind}",
                    hint=run.suggestion(kind, target) or "Take the comment away, or name the right document",
                    level="warning",
                )
            )


def _line(text: bytes, number: int) -> bytes:
    return text.split(b"\n", number)[number - 1]
