"""Commands that look at chunks: list, show, validate, overlap, graph.

Rule: they work on the files as they are, need no daemon, and create nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ve.chunks.tree import Documents, root_of
from ve.cli.output import clean, colour, narrate, one_line, say, say_json, table

if TYPE_CHECKING:
    from ve.chunks.problems import Problem

STATUSES = ("IMPLEMENTING", "FUTURE", "ACTIVE", "SUPERSEDED", "HISTORICAL", "COMPOSITE", "")
"""In the order in which a list shows them; empty where it cannot be read."""
OF_STATUS = {"IMPLEMENTING": "cyan", "FUTURE": "yellow", "ACTIVE": "green", "unreadable": "red"}
OF_LEVEL = {"error": "red", "warning": "yellow", "note": "blue"}
RECENT = 10

Name = Annotated[str, Parameter(help="The chunk's name, or its folder.")]
AsJson = Annotated[bool, Parameter(name="--json", help="JSON, for scripts.")]
Status = Literal["FUTURE", "IMPLEMENTING", "ACTIVE", "SUPERSEDED", "HISTORICAL", "COMPOSITE"]


def documents() -> Documents:
    """The documents of the repository that the command was called in. Raises NotFound."""
    return Documents(root_of(Path.cwd()))


def list_chunks(
    *,
    status: Annotated[tuple[Status, ...], Parameter(help="Only these; can be given several times.")] = (),
    recent: Annotated[bool, Parameter(help="The ten that came last by created_after.")] = False,
    tree: Annotated[bool, Parameter(help="Each below what it was created after.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the chunks by status; or the latest ones, or as a tree."""
    from ve.chunks import order

    chunks = documents().order()
    tips = frozenset(order.tips(chunks))
    if recent or tree:
        edges = {name: after for name, (_, after) in chunks.items()}
        names = order.newest(edges) if recent else [row.name for row in order.tree(chunks)]
    else:
        place = {word: number for number, word in enumerate(STATUSES)}
        names = sorted(chunks, key=lambda name: (place.get(chunks[name][0], len(place)), name))
    names = [name for name in names if not status or chunks[name][0] in status]
    names = names[:RECENT] if recent else names
    if as_json:
        rows = [
            {
                "chunk": name,
                "status": chunks[name][0] or None,
                "created_after": chunks[name][1],
                "tip": name in tips,
            }
            for name in names
        ]
        say_json({"chunks": rows})
    elif not names:
        narrate(
            "there are no such chunks here" if chunks else "there are no chunks yet: ve chunk create NAME"
        )
    elif tree and not recent:
        _say_tree(chunks, tips, frozenset(names))
    else:
        cells = [(name, chunks[name][0] or "unreadable", ", ".join(chunks[name][1])) for name in names]
        for line in table(("CHUNK", "STATUS", "CREATED AFTER"), cells, shrink=(-1, 0), colour_of=OF_STATUS):
            say(line)


def _say_tree(
    chunks: Mapping[str, tuple[str, tuple[str, ...]]], tips: frozenset[str], shown: frozenset[str]
) -> None:
    from ve.chunks.drawings import tree_lines

    for lead, row in tree_lines(chunks):
        if row.name in shown:
            status = chunks[row.name][0] or "unreadable"
            notes = [f"also after {', '.join(row.also_after)}"] if row.also_after else []
            notes += ["tip"] if row.name in tips else []
            said = f"  {colour('; '.join(map(clean, notes)), 'dim')}" if notes else ""
            say(f"{lead}{clean(row.name)}  {colour(status, OF_STATUS.get(status, 'dim'))}{said}")


def show(chunk: Name, /, *, as_json: AsJson = False) -> None:
    """Show a chunk: its fields, what names it, what is wrong with it."""
    here = documents()
    name = here.named("chunk", chunk)
    read = here.read("chunk", name)
    known = here.order()
    followers = sorted(other for other, (_, after) in known.items() if name in after)
    if as_json:
        import msgspec

        from ve.chunks.reports import as_json as reported

        fields = None if read.value is None else msgspec.to_builtins(read.value)
        told = {
            "chunk": name,
            "path": here.path("chunk", name),
            "fields": fields,
            "has_plan": here.plan(name) is not None,
            "followed_by": followers,
        }
        say_json({**told, "problems": reported(read.problems, 1)["problems"]})
        return
    status = known[name][0] or "unreadable"
    say(f"{colour(clean(name), 'bold')}  {colour(status, OF_STATUS.get(status, ''))}")
    for field, text in _facts(read.value):
        say(f"  {field:<17}{text}")
    if followers:
        say(f"  {'followed by':<17}{', '.join(followers)}")
    plan = "" if here.plan(name) is not None else ", without a PLAN.md"
    say(f"  {'document':<17}{one_line(here.path('chunk', name))}{plan}")
    if read.problems:
        say()
        _say_problems(read.problems)


def _facts(value: object) -> Iterable[tuple[str, str]]:
    """The fields that say something, each on a line; items of a list on lines of their own."""
    for field in getattr(value, "__struct_fields__", ()):
        said = getattr(value, field)
        if field == "status" or said is None or said is False or said == ():
            continue
        if not isinstance(said, tuple) or all(isinstance(item, str) for item in said):
            yield field, one_line(", ".join(said) if isinstance(said, tuple) else str(said))
            continue
        for number, item in enumerate(said):
            words = [str(getattr(item, part)) for part in item.__struct_fields__ if getattr(item, part)]
            yield "" if number else field, one_line("  ".join(words))


def validate(
    *names: Annotated[str, Parameter(help="Chunks, or their folders; without one, the chunk in work.")],
    all_: Annotated[
        bool, Parameter(name="--all", help="Every document of every kind, and the code.")
    ] = False,
    format_: Annotated[
        Literal["text", "json", "sarif"], Parameter(name="--format", help="sarif is for editors and CI.")
    ] = "text",
    strict: Annotated[bool, Parameter(help="Warnings count as errors do.")] = False,
) -> int:
    """Check documents and print all that is wrong with them; exits 1 if there is an error."""
    from ve.chunks.references import Code
    from ve.chunks.validate import targets
    from ve.chunks.validate import validate as check

    here = documents()
    chosen = None if all_ else names or _current(here)
    checked = targets(here, chosen)
    problems = check(here, Code(here.root), chosen)
    report(problems, len(checked), format_)
    failing = ("error", "warning") if strict else ("error",)
    return int(any(problem.level in failing for problem in problems))


def _current(here: Documents) -> tuple[str, ...]:
    from ve.errors import NotFound

    found = here.current()
    if not found:
        raise NotFound(
            "no chunk is IMPLEMENTING here, so there is none to check",
            hint="Name one: ve chunk validate NAME; or check everything: ve chunk validate --all",
        )
    return found


def report(problems: list[Problem], checked: int, format_: str) -> None:
    """Print problems as text, JSON or SARIF; `checked` is how many documents were looked at."""
    from ve.chunks import reports

    if format_ == "json":
        say_json(reports.as_json(problems, checked))
    elif format_ == "sarif":
        from ve import __version__

        say_json(reports.as_sarif(problems, __version__))
    else:
        _say_problems(problems)
        say(reports.summary(problems, checked))


def _say_problems(problems: Iterable[Problem]) -> None:
    from ve.chunks.reports import as_text

    for problem in problems:
        first, *hints = as_text([problem])
        level = f" {problem.level}: "
        say(one_line(first).replace(level, f" {colour(problem.level, OF_LEVEL[problem.level])}: ", 1))
        for line in hints:
            say(clean(line))


def overlap(chunk: Name, /, *, as_json: AsJson = False) -> None:
    """Show who else refers to the same code: the symbol, one inside it or around it, the file."""
    from ve.chunks.overlap import overlaps, places

    here = documents()
    name = here.named("chunk", chunk)
    found = overlaps(here, name)
    if as_json:
        rows: list[dict[str, Any]] = [
            {
                "chunk": one.chunk,
                "status": one.status,
                "how": one.how,
                "mine": str(one.mine),
                "theirs": str(one.theirs),
            }
            for one in found
        ]
        say_json({"chunk": name, "overlaps": rows})
    elif not found:
        why = "nobody else refers to that code" if places(here, name) else "it names no code yet"
        narrate(f"{name}: {why}")
    else:
        cells = [(str(one.mine), one.how, one.chunk, one.status, str(one.theirs)) for one in found]
        for line in table(("CODE", "HOW", "CHUNK", "STATUS", "ITS REFERENCE"), cells, shrink=(-1, 0, 2)):
            say(line)


def graph(
    chunk: Annotated[str | None, Parameter(help="Only this one, what came before it and after it.")] = None,
    /,
    *,
    format_: Annotated[
        Literal["text", "mermaid", "dot"],
        Parameter(name="--format", help="mermaid, dot: for drawing programs."),
    ] = "text",
) -> None:
    """Show what each chunk was created after and depends on."""
    from ve.chunks import drawings
    from ve.chunks.checks import Run

    here = documents()
    run = Run(here, None)
    around = None if chunk is None else here.named("chunk", chunk)
    drawn = drawings.nodes(run.order, run.edges("depends_on"), around)
    if not drawn:
        narrate("there are no chunks yet: ve chunk create NAME")
        return
    draw = {"text": drawings.as_text, "mermaid": drawings.as_mermaid, "dot": drawings.as_dot}[format_]
    for line in draw(drawn):
        say(clean(line))
