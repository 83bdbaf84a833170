"""Writes docs/reference/documents/ from the types of ve/chunks. Run: python docs/generate_documents.py

A test compares the pages with what this makes, and reads each example, so no page names a field, a value
or a rule that the reader does not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from ve.chunks.frontmatter import TRANSITIONS
from ve.chunks.kinds import KINDS, FieldDoc, Kind
from ve.chunks.lifecycle import TEMPLATES
from ve.chunks.others import ONWARD
from ve.chunks.problems import RULES
from ve.chunks.templates import PLAN

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Made by docs/generate_documents.py from ve/chunks: change it there, then run `just docs`. -->\n"
SECTION = re.compile(r"^## ([^\n]+)\n+<!-- (.+?) -->", re.MULTILINE | re.DOTALL)
EXAMPLE_STATUS = {"chunk": "ACTIVE"}
"""Where the first status would not go with the other fields of an example."""
NOT_IN_EXAMPLE = {("narrative", "chunks")}
"""The older of two names for one list."""

RULES_INTRODUCTION = """\
What `ve chunk validate` checks. A problem names its place (`path:line:column`, as editors count), its
level, its rule, what was met and what is allowed. The names of the rules stay what they are, in text, JSON
and SARIF. How severe a finding is depends on the document: a reference that leads nowhere is an error in
an ACTIVE chunk, and a warning in one that is only history.

| level | meaning | `ve chunk validate` | with `--strict` |
| --- | --- | ---: | ---: |
| error | the document must change | exit 1 | exit 1 |
| warning | it should | exit 0 | exit 1 |
| note | to know of | exit 0 | exit 0 |
"""


def kind_page(kind: Kind) -> str:
    """The reference of one kind of document."""
    title = "Friction log" if kind.name == "friction" else kind.name.capitalize()
    where = kind.path("" if kind.name == "friction" else "NAME")
    group = "" if kind.name == "chunk" else f" Commands: [`ve {kind.name}`](../cli.md#ve-{kind.name})."
    lines = [f"# {title}", "", NOTE, kind.about, "", f"Its place: `{where}`.{group or CHUNK}", ""]
    lines += ["## Fields", "", *fields_table(kind), ""]
    if kind.statuses:
        lines += ["## Status", "", *status_table(kind), ""]
    lines += ["## Text", "", *text_part(kind), "## Example", "", "```yaml", *example(kind), "```"]
    return "\n".join(lines) + "\n"


CHUNK = """
Commands: [`ve chunk`](../cli.md#ve-chunk). How one comes about:
[from an idea to a merged chunk](../../howto/from-idea-to-merged-chunk.md)."""


def fields_table(kind: Kind) -> Iterator[str]:
    """A row a field, and one for each field of a list's items."""
    yield "| field | type | default | who writes it | meaning |"
    yield "| --- | --- | --- | --- | --- |"
    for field in kind.fields:
        yield row(field, field.name)
        for part in field.parts:
            yield row(part, f"{field.name}[].{part.name}")
    yield ""
    yield "A field without a default has to be there. Any other name is kept and left alone."


def row(field: FieldDoc, name: str) -> str:
    allowed = "" if name == "status" or not field.allowed else f": {', '.join(map(code, field.allowed))}"
    typed = f"{field.type}{allowed}"
    meaning = "See [below](#status)." if name == "status" else field.meaning
    cells = (code(name), typed, field.default, field.writer, meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def code(word: str) -> str:
    return f"`{word}`"


def status_table(kind: Kind) -> Iterator[str]:
    """Each status with what it means and where it leads."""
    status = next(field for field in kind.fields if field.name == "status")
    meanings = dict(re.findall(r"([A-Z]+): (.+?)(?=\.?(?: [A-Z]+: |$))", status.meaning))
    onward: Mapping[str, tuple[str, ...]] = TRANSITIONS if kind.name == "chunk" else ONWARD[kind.name]
    yield "| status | meaning | leads to |"
    yield "| --- | --- | --- |"
    for one in status.allowed:
        yield f"| `{one}` | {meanings[one]} | {', '.join(map(code, onward[one])) or 'nothing'} |"


def text_part(kind: Kind) -> Iterator[str]:
    """What stands below the head, by the sections of the template."""
    yield "What stands in comments, and the lines of the template, count as nothing."
    yield ""
    if kind.name == "friction":
        yield "One entry each, never renumbered; what a chunk resolved has a line that says so:"
        yield ""
        yield "```markdown"
        yield from FRICTION_ENTRY.splitlines()
        yield "```"
        yield ""
        return
    yield "| section | what stands there |"
    yield "| --- | --- |"
    for name, sentence in sections(TEMPLATES[kind.name]):
        yield f"| {name} | {sentence} |"
    if kind.name == "chunk":
        for name, sentence in sections(PLAN):
            yield f"| {name}, in PLAN.md | {sentence} |"
        yield ""
        yield "Any text is a plan, under any heading. A chunk with one begins at IMPLEMENT, else at PLAN."
    yield ""


FRICTION_ENTRY = """\
### F001: A head with a colon in a title is refused

**Resolved by**: head_parser

**Theme**: cli

The message names the line, and not what is wrong with it."""


def sections(template: str) -> list[tuple[str, str]]:
    """The headings of a template, each with the prompt below it."""
    return [(name, " ".join(said.split())) for name, said in SECTION.findall(template)]


def example(kind: Kind) -> Iterator[str]:
    """A whole head, from the examples of its fields."""
    yield "---"
    for field in kind.fields:
        if (kind.name, field.name) in NOT_IN_EXAMPLE:
            continue
        value = EXAMPLE_STATUS.get(kind.name, field.example) if field.name == "status" else field.example
        yield from f"{field.name}:{'' if value.startswith(chr(10)) else ' '}{value}".splitlines()
    yield "---"


def rules_page() -> str:
    """Every rule of the check."""
    lines = ["# Rules of the check", "", NOTE, RULES_INTRODUCTION]
    lines += ["| rule | what it asks for |", "| --- | --- |"]
    lines += [f"| `{rule}` | {sentence} |" for rule, sentence in sorted(RULES.items())]
    return "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    **{f"documents/{name}.md": partial(kind_page, kind) for name, kind in KINDS.items()},
    "documents/rules.md": rules_page,
}


def main() -> None:
    """Write all pages."""
    (FOLDER / "documents").mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")
        print(f"docs/reference/{name}")


if __name__ == "__main__":
    main()
