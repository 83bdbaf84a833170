"""Commands for narratives, investigations, subsystems and the friction log: one set, made for each kind.

ve narrative|investigation|subsystem create NAME… · list · show NAME · validate [NAME…] · status NAME STATUS
ve friction add TITLE · list [--open] · show ID
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ve.cli.chunk_acts import AsJson, here, written
from ve.cli.common import FROM_STDIN
from ve.cli.output import clean, colour, narrate, say, say_json, table

if TYPE_CHECKING:
    from ve.chunks.kinds import ChunkLink, Kind, ProposedChunk

Format = Literal["text", "json", "sarif"]
Name = Annotated[str, Parameter(help="Its folder's name, or the path of that folder.")]


def _kind(name: str) -> Kind:
    from ve.chunks.kinds import KINDS

    return KINDS[name]


# ── What each kind does ────────────────────────────────────────────────────────────────────────────


def _create(name: str, names: tuple[str, ...], as_json: bool) -> None:
    from ve.chunks import others

    documents, kind = here(), _kind(name)
    edits = others.create_other(documents, kind, names)
    written(documents, edits, dict.fromkeys(names, kind.statuses[0]), as_json)
    if not as_json:
        narrate(f"next: say in {kind.path(names[0])} what it is about")


def _list(name: str, as_json: bool) -> None:
    documents = here()
    rows = []
    for one in documents.names(name):
        value = documents.read(name, one).value
        parts = _parts(value)
        begun = [part for part in parts if part]
        rows.append((one, getattr(value, "status", None), begun, len(parts) - len(begun)))
    if as_json:
        keys = ("name", "status", "chunks", "not_begun")
        say_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    if not rows:
        narrate(f"there is no {name} yet; begin one: ve {name} create NAME")
        return
    cells = [
        (one, status or "cannot be read", str(len(begun)), str(waiting or ""))
        for one, status, begun, waiting in rows
    ]
    for line in table((name.upper(), "STATUS", "CHUNKS", "NOT BEGUN"), cells, shrink=(0,)):
        say(line)


def _parts(value: Any) -> list[str | None]:
    """The chunks that a document names; None for a proposal that nobody made a chunk of."""
    entries: list[ProposedChunk | ChunkLink] = [
        *getattr(value, "proposed_chunks", ()),
        *getattr(value, "chunks", ()),
    ]
    return [getattr(one, "chunk_id", None) or getattr(one, "chunk_directory", None) for one in entries]


def _show(name: str, which: str, as_json: bool) -> None:
    documents = here()
    which = documents.named(name, which)
    read, text = documents.read(name, which), documents.bytes(name, which).decode(errors="replace")
    if as_json:
        from msgspec import to_builtins

        head = to_builtins(read.value) if read.value is not None else None
        said = {"head": head, "problems": [to_builtins(one) for one in read.problems], "text": text}
        say_json({"name": which, "path": documents.path(name, which), **said})
        return
    say(colour(documents.path(name, which), "bold"))
    say(clean(text).rstrip())
    chunks = [part for part in _parts(read.value) if part]
    if chunks:
        order = documents.order()
        say()
        for chunk in chunks:
            say(f"{chunk}: {order[chunk][0] or 'cannot be read' if chunk in order else 'is not there'}")


def _validate(name: str, names: tuple[str, ...], format_: Format) -> int:
    from ve.chunks.references import Code
    from ve.chunks.validate import targets, validate
    from ve.cli.chunk import report

    documents = here()
    chosen = names or None
    found = validate(documents, Code(documents.root), chosen, name)
    report(found, len(targets(documents, chosen, name)), format_)
    return int(any(one.level == "error" for one in found))


def _status(name: str, which: str, status: str, as_json: bool) -> None:
    from ve.chunks import others

    documents = here()
    which = documents.named(name, which)
    edits = others.set_other_status(documents, _kind(name), which, status)
    written(documents, edits, {which: status.upper()}, as_json)


# ── The same for each ──────────────────────────────────────────────────────────────────────────────


def _made(name: str) -> dict[str, Callable[..., int | None]]:
    def create(
        *names: Annotated[str, Parameter(help="Names of the new folders: letters, digits, _ and -.")],
        as_json: AsJson = False,
    ) -> None:
        _create(name, names, as_json)

    def list_(*, as_json: AsJson = False) -> None:
        _list(name, as_json)

    def show(which: Name, /, *, as_json: AsJson = False) -> None:
        _show(name, which, as_json)

    def validate(
        *names: Annotated[str, Parameter(help="Their folders' names; without one, all of them.")],
        format_: Annotated[Format, Parameter(name="--format", help="sarif is for editors and CI.")] = "text",
    ) -> int:
        return _validate(name, names, format_)

    def status(
        which: Name,
        status: Annotated[str, Parameter(help="The status that it is to have.")],
        /,
        *,
        as_json: AsJson = False,
    ) -> None:
        _status(name, which, status, as_json)

    made: dict[str, Callable[..., int | None]] = {
        "create": create,
        "list": list_,
        "show": show,
        "validate": validate,
        "status": status,
    }
    for verb, function in made.items():
        function.__name__ = f"{name}_{verb}"
        function.__doc__ = SENTENCES[verb].format(kind=name, article="an" if name[0] in "aeiou" else "a")
    return made


SENTENCES = {
    "create": "Begin {article} {kind}: its OVERVIEW.md; all of those named, or none.",
    "list": "List them: status, and how many chunks they name.",
    "show": "Show {article} {kind}, and how far its chunks are.",
    "validate": "Check it: every problem at once, with its place; exit 1 where there is an error.",
    "status": "Set the status, where the present one leads there.",
}

narrative_create, narrative_list, narrative_show, narrative_validate, narrative_status = _made(
    "narrative"
).values()
investigation_create, investigation_list, investigation_show, investigation_validate, investigation_status = (
    _made("investigation").values()
)
subsystem_create, subsystem_list, subsystem_show, subsystem_validate, subsystem_status = _made(
    "subsystem"
).values()


# ── Friction ───────────────────────────────────────────────────────────────────────────────────────


def friction_add(
    title: Annotated[str, Parameter(help="What happened, in a sentence.")],
    /,
    *,
    theme: Annotated[str | None, Parameter(help="What it has in common with others.")] = None,
    text: Annotated[str | None, FROM_STDIN, Parameter(help="More of it; - reads it from stdin.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write down what got in the way, under the next number."""
    from ve.chunks import others

    words = sys.stdin.read() if text == "-" else text or ""
    documents = here()
    edits, entry = others.add_friction(documents, title, theme, words)
    written(documents, edits, {entry: "open"}, as_json)


def friction_list(
    *,
    open_: Annotated[bool, Parameter(name="--open", help="Only those that no chunk resolved.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the entries: which are open, and which chunks resolved the others."""
    found = [one for one in _entries() if not open_ or one["state"] != "resolved"]
    if as_json:
        say_json([{key: value for key, value in one.items() if key != "text"} for one in found])
        return
    if not found:
        narrate("nothing is written down; begin with: ve friction add TITLE")
        return
    rows = [(one["id"], one["state"], one["title"], ", ".join(one["chunks"])) for one in found]
    for line in table(("ENTRY", "STATE", "TITLE", "RESOLVED BY"), rows, shrink=(2, 3)):
        say(line)


def friction_show(
    entry: Annotated[str, Parameter(help="The entry's id, such as F001.")], /, *, as_json: AsJson = False
) -> None:
    """Show one entry."""
    from ve.errors import NotFound

    entries = _entries()
    found = next((one for one in entries if one["id"].lower() == entry.lower()), None)
    if found is None:
        known = ", ".join(one["id"] for one in entries) or "none"
        raise NotFound(f"there is no entry {entry}", hint=f"There are: {known}")
    if as_json:
        say_json(found)
        return
    say(colour(clean(f"{found['id']}: {found['title']}"), "bold") + f"  {found['state']}")
    if found["text"]:
        say(clean(found["text"]))


def _entries() -> list[dict[str, Any]]:
    """The log's entries; none where there is no log."""
    from ve.chunks.links import friction

    documents = here()
    if not documents.names("friction"):
        return []
    return [
        {
            "id": one.id,
            "title": one.title,
            "state": one.state,
            "chunks": [*one.resolved_by, *one.partly_by],
            "line": one.line,
            "text": one.text,
        }
        for one in friction(documents.bytes("friction", ""))
    ]
