"""Commands that change a chunk's documents: create, activate, pause, complete, supersede, approve."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from cyclopts import Parameter

from ve.cli.output import colour, indented, narrate, one_line, say, say_json
from ve.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from ve.chunks.tree import Documents
    from ve.chunks.writing import Edit

AsJson = Annotated[bool, Parameter(name="--json", help="JSON, for scripts.")]
Name = Annotated[str, Parameter(help="The chunk: its folder's name, or the path of that folder.")]
MaybeName = Annotated[
    str | None, Parameter(help="The chunk; without one, the one that is IMPLEMENTING in this worktree.")
]
Owner = Annotated[str | None, Parameter(help="Its folder's name; it lists the chunk from then on.")]


def create(
    *names: Annotated[str, Parameter(help="Names of the new chunks: letters, digits, _ and -.")],
    future: Annotated[bool, Parameter(help="For later: FUTURE in place of IMPLEMENTING.")] = False,
    ticket: Annotated[str | None, Parameter(help="The ticket that asked for it.")] = None,
    narrative: Owner = None,
    investigation: Owner = None,
    entry: Annotated[
        int | None, Parameter(help="Which entry of that list it is; 1 is the first. A new one if not given.")
    ] = None,
    background: Annotated[
        bool, Parameter(help="FUTURE, and a person has to approve it before it can be queued.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Begin chunks: GOAL.md and PLAN.md each; all of them, or none."""
    from ve.chunks import lifecycle

    documents = here()
    edits = lifecycle.create(
        documents, names, future=future, ticket=ticket, narrative=narrative, investigation=investigation,
        background=background, entry=entry,
    )  # fmt: skip
    status = "FUTURE" if future or background else "IMPLEMENTING"
    written(documents, edits, dict.fromkeys(names, status), as_json)
    if not as_json:
        first = f"docs/chunks/{names[0]}"
        narrate(f"next: say in {first}/GOAL.md what it is for, and in PLAN.md how it is done")
        if background:
            narrate(f"then commit it, and have a person read it: ve chunk approve {names[0]}")


def activate(name: Name, /, *, as_json: AsJson = False) -> None:
    """Begin work on a FUTURE chunk in this worktree."""
    from ve.chunks import lifecycle

    documents = here()
    name = documents.named("chunk", name)
    written(documents, lifecycle.activate(documents, name), {name: "IMPLEMENTING"}, as_json)


def pause(name: MaybeName = None, /, *, as_json: AsJson = False) -> None:
    """Put a chunk back: FUTURE again, so that another can be worked on here."""
    from ve.chunks import lifecycle

    documents = here()
    name = documents.named("chunk", name) if name else lifecycle.current(documents)
    written(documents, lifecycle.pause(documents, name), {name: "FUTURE"}, as_json)


def complete(name: MaybeName = None, /, *, as_json: AsJson = False) -> None:
    """End a chunk: references checked, final status, and whatever names it kept in step."""
    from ve.chunks import lifecycle
    from ve.chunks.kinds import Chunk

    documents = here()
    name = documents.named("chunk", name) if name else lifecycle.current(documents)
    chunk = lifecycle.value_of(documents, lifecycle.CHUNK, name, Chunk)
    edits = lifecycle.complete(documents, None, name)
    warnings = lifecycle.warnings(documents, chunk)
    final = lifecycle.final_status(chunk)
    written(documents, edits, {name: final}, as_json)
    for one in warnings:
        narrate(one_line(one))


def supersede(
    name: Name,
    /,
    *,
    by: Annotated[str, Parameter(help="The chunk that changed what this one governed.")],
    as_json: AsJson = False,
) -> None:
    """Say that another chunk changed what this one governed."""
    from ve.chunks import lifecycle

    documents = here()
    name, by = documents.named("chunk", name), documents.named("chunk", by)
    written(documents, lifecycle.supersede(documents, name, by), {name: "SUPERSEDED"}, as_json)


def approve(
    name: Name,
    /,
    *,
    yes: Annotated[bool, Parameter(name="--yes", help="Do not ask: it has been read.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read a background chunk as committed, and say yes to it; kept in the history with who and when."""
    from ve.chunks.tree import bare_name
    from ve.cli.common import client

    if os.environ.get("VE_RUN_ID"):
        raise RefusedError("a run of an agent cannot approve; a person has to read it")
    daemon = client()
    route = f"/chunks/{quote(bare_name(name), safe='')}"
    found: dict[str, Any] = daemon.get(route)
    if not as_json:
        _show(found)
    if not found["approved"]:
        if not yes and not _agreed(found["chunk"]):
            narrate("not approved")
            raise SystemExit(1)
        daemon.post(f"{route}/approve", {"hash": found["hash"]})
    if as_json:
        say_json({name: found[name] for name in ("chunk", "commit", "hash")} | {"approved": True})
    else:
        say(f"{found['chunk']}: approved {'already ' if found['approved'] else ''}as {found['hash'][:16]}")
        narrate(f"next: ve orch inject {found['chunk']}")


def _show(found: dict[str, Any]) -> None:
    """GOAL.md and PLAN.md as a person reads them; other files by their names."""
    for file in sorted(found["files"], key=lambda file: not file["path"].endswith("/GOAL.md")):
        said = file["path"].endswith(("/GOAL.md", "/PLAN.md"))
        say(colour(one_line(file["path"]), "bold") + ("" if said else f"  {len(file['text'])} characters"))
        if said:
            say(indented(file["text"]))
            say()


def _agreed(chunk: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            "nobody is here to ask", hint=f"If you have read it, say so: ve chunk approve {chunk} --yes"
        )
    print("Approve it? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


# ── Shared with the other kinds ────────────────────────────────────────────────────────────────────


def here() -> Documents:
    """The documents of the worktree that the command was called in. Raises NotFound."""
    from pathlib import Path

    from ve.chunks.tree import Documents, root_of

    return Documents(root_of(Path.cwd()))


def written(documents: Documents, edits: list[Edit], now: dict[str, str], as_json: bool) -> None:
    """Write the edits, and say what became of what; `now` is the status of each document named."""
    from ve.chunks.writing import write

    before = {one.path for one in edits if one.before is not None}
    paths = write(documents.root, edits)
    if as_json:
        say_json({"documents": [{"name": n, "status": s} for n, s in now.items()], "written": paths})
        return
    for name, status in now.items():
        say(f"{name}: {status}" if status else name)
    for path in paths:
        say(f"  {'changed' if path in before else 'created'} {path}")
    if not paths:
        say("  nothing to change")
