"""The chunks with what each was created after and depends on, drawn: as text, for Mermaid, for Graphviz."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ve.chunks import order


class Node(NamedTuple):
    """A chunk in a drawing."""

    name: str
    status: str
    after: tuple[str, ...]
    needs: tuple[str, ...]
    tip: bool


def nodes(
    chunks: Mapping[str, tuple[str, tuple[str, ...]]],
    needs: Mapping[str, tuple[str, ...]],
    around: str | None,
) -> list[Node]:
    """Every chunk, the earliest generation first; with `around`, that one, all before it and all after it."""
    edges = {name: (*after, *needs.get(name, ())) for name, (_, after) in chunks.items()}
    tips = frozenset(order.tips(chunks))
    kept = frozenset(edges)
    if around is not None:
        kept = (
            order.ancestors(around, edges) | order.ancestors(around, order.reversed_edges(edges)) | {around}
        )
    return [
        Node(name, chunks[name][0] or "unreadable", chunks[name][1], needs.get(name, ()), name in tips)
        for _, name in sorted((number, name) for name, number in order.generations(edges).items())
        if name in kept
    ]


def tree_lines(chunks: Mapping[str, tuple[str, tuple[str, ...]]]) -> Iterator[tuple[str, order.Row]]:
    """Each row of the tree with the lines to its left."""
    for row in order.tree(chunks):
        yield "│ " * row.depth + "● ", row


def as_text(drawn: Sequence[Node]) -> list[str]:
    """A line each: name, status, what it was created after, what it depends on."""
    widest = max((len(node.name) for node in drawn), default=0)
    lines = []
    for node in drawn:
        said = [f"after {', '.join(node.after)}"] if node.after else []
        said += [f"needs {', '.join(node.needs)}"] if node.needs else []
        said += ["tip"] if node.tip else []
        lines.append(f"{node.name:<{widest}}  {node.status:<12}  {'; '.join(said)}".rstrip())
    return lines


def as_mermaid(drawn: Sequence[Node]) -> list[str]:
    """A flowchart: lines for created_after, dotted ones for depends_on."""
    place = {node.name: f"c{number}" for number, node in enumerate(drawn)}
    lines = ["flowchart TD"]
    lines += [f'    {place[node.name]}["{_entity(node.name)}<br/>{_entity(node.status)}"]' for node in drawn]
    for node in drawn:
        lines += [f"    {place[one]} --> {place[node.name]}" for one in node.after if one in place]
        lines += [f"    {place[one]} -.-> {place[node.name]}" for one in node.needs if one in place]
    lines += [f"    style {place[node.name]} stroke-width:3px" for node in drawn if node.tip]
    return lines


def as_dot(drawn: Sequence[Node]) -> list[str]:
    """A digraph: lines for created_after, dashed ones for depends_on; tips are bold."""
    there = {node.name for node in drawn}
    lines = ["digraph chunks {", "  node [shape=box];"]
    for node in drawn:
        bold = ", style=bold" if node.tip else ""
        lines.append(f"  {_quoted(node.name)} [label={_quoted(f'{node.name} ({node.status})')}{bold}];")
    for node in drawn:
        lines += [f"  {_quoted(one)} -> {_quoted(node.name)};" for one in node.after if one in there]
        lines += [
            f"  {_quoted(one)} -> {_quoted(node.name)} [style=dashed];" for one in node.needs if one in there
        ]
    return [*lines, "}"]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _entity(text: str) -> str:
    """As Mermaid writes characters that it would read itself."""
    return "".join(c if c.isalnum() or c in "_-. " else f"#{ord(c)};" for c in text)
