"""The document commands as MCP tools: what `ve mcp` serves over stdio.

Rule: a tool is a command with `--json`, called in this process: its own function, with typed arguments, and
what it says is the reply. So neither can do what the other cannot. Each call reads the documents as they are
then, and imports only what it needs. Approving is no tool: it is there because a person has to do it.
"""

from __future__ import annotations

import contextlib
import io
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ve import __version__
from ve.errors import InvalidInput, UsageError, VeError
from ve.toolserver import Reply, Server, Tool, ToolError

INSTRUCTIONS = (
    "Pieces of work (chunks) and what belongs to them (narratives, investigations, subsystems, friction log) "
    "are documents under docs/. Look with chunk_list and chunk_show before you create or plan; call "
    "chunk_validate after every edit. Never write `status` or `created_after` into a document by hand."
)
READS = {"readOnlyHint": True, "openWorldHint": False}
ADDS = {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": False, "openWorldHint": False}
CHANGES = {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
"""Nothing is lost by a change: it concerns lines of files in git, and is refused where it does not fit."""

Name = Annotated[str, Meta(description="The name of its folder.", min_length=1, max_length=200)]


class Nothing(Struct, forbid_unknown_fields=True):
    """No arguments."""


class OfChunk(Struct, forbid_unknown_fields=True):
    """A chunk."""

    name: Annotated[str, Meta(description="The chunk: the name of its folder in docs/chunks.", min_length=1)]


class Named(Struct, forbid_unknown_fields=True):
    """A document of another kind."""

    name: Name


class ChunkList(Struct, forbid_unknown_fields=True):
    """What `chunk_list` takes."""

    status: Annotated[
        list[Literal["FUTURE", "IMPLEMENTING", "ACTIVE", "SUPERSEDED", "HISTORICAL", "COMPOSITE"]],
        Meta(description="Only chunks of these statuses."),
    ] = []
    recent: Annotated[bool, Meta(description="Only the ten that came last.")] = False


class ChunkCreate(Struct, forbid_unknown_fields=True):
    """What `chunk_create` takes."""

    names: Annotated[
        list[str],
        Meta(description="New folders in docs/chunks; all are made or none.", min_length=1, max_length=50),
    ]
    future: Annotated[bool, Meta(description="For later: FUTURE instead of IMPLEMENTING.")] = False
    ticket: Annotated[str | None, Meta(description="The ticket that it is about.")] = None
    narrative: Annotated[str | None, Meta(description="The narrative that it is part of.")] = None
    investigation: Annotated[str | None, Meta(description="The investigation that it comes from.")] = None
    entry: Annotated[
        int | None,
        Meta(description="Which entry of the narrative's or investigation's list it is, from 1."),
    ] = None
    background: Annotated[
        bool,
        Meta(description="Nobody asked for it: FUTURE, and a person must approve it before it is worked on."),
    ] = False


class ChunkValidate(Struct, forbid_unknown_fields=True):
    """What `chunk_validate` takes."""

    names: Annotated[
        list[str], Meta(description="Chunks to check; left out: the one in work.", max_length=500)
    ] = []
    all: Annotated[bool, Meta(description="Check every document of the repository instead.")] = False


class Entry(Struct, forbid_unknown_fields=True):
    """What `friction_show` takes."""

    entry: Annotated[str, Meta(description="The entry's id, as F001.", min_length=1)]


class FrictionList(Struct, forbid_unknown_fields=True):
    """What `friction_list` takes."""

    open: Annotated[bool, Meta(description="Only those that no chunk resolved.")] = False


# ── The tools ──────────────────────────────────────────────────────────────────────────────────────


def tools() -> dict[str, Tool]:
    """All tools by name, in the order in which they are used."""
    found = {
        "chunk_list": _tool(
            "The chunks of this repository with their status and what they were created after.",
            ChunkList, READS, _chunk_list,
        ),
        "chunk_show": _tool(
            "A chunk whole: its fields, what is wrong with it, and the text of its goal and its plan.",
            OfChunk, READS, _chunk_show,
        ),
        "chunk_overlap": _tool(
            "Which other chunks refer to the same code. Read their goals before you change it.",
            OfChunk, READS, lambda given: _command("chunk", "overlap")(given.name, as_json=True),
        ),
        "chunk_validate": _tool(
            "Check documents: every problem with file, line, column and what is allowed there.",
            ChunkValidate, READS, _chunk_validate,
        ),
        "chunk_create": _tool(
            "Create chunks: a folder with GOAL.md and PLAN.md to be filled in; created_after is computed.",
            ChunkCreate, ADDS, _chunk_create,
        ),
        "chunk_activate": _tool(
            "Begin a chunk: FUTURE becomes IMPLEMENTING, one at a time in a worktree.",
            OfChunk, CHANGES, lambda given: _command("chunk", "activate")(given.name, as_json=True),
        ),
        "chunk_complete": _tool(
            "End a chunk: checks its references, sets the final status, and brings narrative, subsystems and "
            "friction log in line.",
            OfChunk, CHANGES, lambda given: _command("chunk", "complete")(given.name, as_json=True),
        ),
    }  # fmt: skip
    for kind, what in (
        ("narrative", "a goal that takes several chunks"),
        ("investigation", "a question that was looked into"),
        ("subsystem", "a part of the code with rules of its own"),
    ):
        found[f"{kind}_list"] = _tool(
            f"The {kind}s with their status and their chunks. Each is {what}.", Nothing, READS, _lister(kind)
        )
        found[f"{kind}_show"] = _tool(f"One {kind} whole.", Named, READS, _shower(kind))
    found["friction_list"] = _tool(
        "The friction log: what gets in the way of work here, and which chunks resolved it.",
        FrictionList,
        READS,
        lambda given: _command("friction", "list")(open_=given.open, as_json=True),
    )
    found["friction_show"] = _tool(
        "One entry of the friction log.",
        Entry,
        READS,
        lambda given: _command("friction", "show")(given.entry, as_json=True),
    )
    return found


def _chunk_list(given: ChunkList) -> None:
    _command("chunk", "list")(status=tuple(given.status), recent=given.recent, as_json=True)


def _chunk_show(given: OfChunk) -> tuple[str, ...]:
    """The texts come as they are, beside the JSON."""
    from ve.chunks.tree import Documents

    documents = Documents(Path.cwd())
    name = documents.named("chunk", given.name)
    _command("chunk", "show")(name, as_json=True)
    folder = documents.path("chunk", name).rpartition("/")[0]
    paths = (f"{folder}/GOAL.md", f"{folder}/PLAN.md")
    texts = ((path, documents.file(path)) for path in paths)
    return tuple(f"{path}:\n\n{text.decode('utf-8', 'replace')}" for path, text in texts if text is not None)


def _chunk_validate(given: ChunkValidate) -> None:
    if given.all and given.names:
        raise UsageError("`all` and `names` are both set", hint="Leave one of them out.")
    _command("chunk", "validate")(*given.names, all_=given.all, format_="json")


def _chunk_create(given: ChunkCreate) -> None:
    options = msgspec.structs.asdict(given)
    _command("chunk", "create")(*options.pop("names"), **options, as_json=True)


def _lister(kind: str) -> Callable[[Any], None]:
    def run(_: Any) -> None:
        _command(kind, "list")(as_json=True)

    return run


def _shower(kind: str) -> Callable[[Any], None]:
    def run(given: Named) -> None:
        _command(kind, "show")(given.name, as_json=True)

    return run


def _command(group: str, name: str) -> Callable[..., Any]:
    """The function of a command, as the command line has it; imported when it is called."""
    from ve.cli.app import app

    found = app[group][name].default_command
    assert found is not None
    return found


# ── Serving ────────────────────────────────────────────────────────────────────────────────────────


def serve(root: Path) -> None:
    """Serve the documents below `root` over stdin and stdout until stdin ends."""
    os.chdir(root)  # commands work on the repository that they are called in
    Server(tools(), version=__version__, instructions=INSTRUCTIONS).serve()


def _tool(
    description: str,
    arguments: type[Struct],
    annotations: dict[str, Any],
    run: Callable[[Any], tuple[str, ...] | None],
) -> Tool:
    def call(given: Any) -> Reply:
        said, told = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
                more = run(given) or ()
        except VeError as error:
            raise ToolError(_words(error)) from error
        except OSError as error:
            raise ToolError(f"{error.filename or 'a file'}: {error.strerror}") from error
        except Exception as error:
            # A mistake of ours in one call must not take the other tools from the agent; it is told as one.
            traceback.print_exc()
            raise ToolError(f"a mistake in ve, not in the call: {type(error).__name__}: {error}") from error
        parts = (said.getvalue().strip(), told.getvalue().strip(), *more)
        return tuple(part for part in parts if part)

    return Tool(description, arguments, call, _schema(arguments), annotations)


def _words(error: VeError) -> str:
    """What, where and what to do next, as on the command line."""
    lines = [f"{error.where}: {error.what}" if error.where else error.what]
    if isinstance(error, InvalidInput):
        lines += [f"  {field}: {message}" for field, message in error.errors if message not in error.what]
    text = "\n".join([*lines, *error.hint.splitlines()])
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _schema(arguments: type[Struct]) -> dict[str, Any]:
    """The type's own, without the reference around it, which some clients do not follow."""
    found: dict[str, Any] = msgspec.json.schema(arguments)["$defs"][arguments.__name__]
    return {"required": []} | {
        name: part for name, part in found.items() if name not in ("title", "description")
    }
