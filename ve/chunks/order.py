"""What was there when a chunk was made: `created_after` as a graph, its tips, cycles, generations, tree.

Rule: nothing here reads a file. Names that nobody has are passed over, and a cycle never makes a chunk
disappear: those on it count as one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

SHIPPED = frozenset(("ACTIVE", "SUPERSEDED", "HISTORICAL", "COMPOSITE"))
"""Statuses of work that was merged once; the order runs over all of it."""

Chunks = Mapping[str, tuple[str, tuple[str, ...]]]
"""A chunk's status and its created_after, by name."""
Edges = Mapping[str, Iterable[str]]
"""What each name points to."""


class Row(NamedTuple):
    """A line of the tree."""

    name: str
    depth: int
    """How many side lines run to the left of it; a chain of a thousand stays in one column."""
    also_after: tuple[str, ...]
    """What it was created after besides the chunk that it stands under."""


def tips(chunks: Chunks) -> tuple[str, ...]:
    """What a chunk made now is created after: ACTIVE, and nothing that shipped came after it. Sorted.

    When the last one turns HISTORICAL or SUPERSEDED, those before it stay covered. Chunks on one cycle
    do not cover each other.
    """
    edges = {name: after for name, (_, after) in chunks.items()}
    groups = components(edges)
    group_of = {name: number for number, group in enumerate(groups) for name in group}
    covered = [False] * len(groups)
    shipped = [any(chunks[name][0] in SHIPPED for name in group) for group in groups]
    # A group comes after all that it points to, so backwards each is final when it is reached.
    for number in range(len(groups) - 1, -1, -1):
        if shipped[number] or covered[number]:
            for name in groups[number]:
                for before in edges[name]:
                    target = group_of.get(before, number)
                    covered[target] = covered[target] or target != number
    return tuple(
        sorted(
            name for name, (status, _) in chunks.items() if status == "ACTIVE" and not covered[group_of[name]]
        )
    )


def cycles(edges: Edges) -> list[tuple[str, ...]]:
    """One shortest cycle of each knot, first and last the same, begun at its least name; sorted."""
    found = []
    for group in components(edges):
        inside = frozenset(group)
        if len(group) > 1 or group[0] in edges[group[0]]:
            found.append(_shortest(min(group), edges, inside))
    return sorted(found)


def ancestors(name: str, edges: Edges) -> frozenset[str]:
    """All that is reached from `name`; itself only on a cycle."""
    seen: set[str] = set()
    pending = [name]
    while pending:
        for before in edges.get(pending.pop(), ()):
            if before in edges and before not in seen:
                seen.add(before)
                pending.append(before)
    return frozenset(seen)


def reversed_edges(edges: Edges) -> dict[str, list[str]]:
    """Who points to each name; names that nobody has are left out."""
    found: dict[str, list[str]] = {name: [] for name in edges}
    for name, targets in edges.items():
        for target in dict.fromkeys(targets):
            if target in found:
                found[target].append(name)
    return found


def generations(edges: Edges) -> dict[str, int]:
    """The length of the longest way down from each name: who came later has the higher number."""
    groups = components(edges)
    found: dict[str, int] = {}
    for group in groups:
        inside = frozenset(group)
        below = (found[b] for name in group for b in edges[name] if b in edges and b not in inside)
        number = max(below, default=-1) + 1
        found.update((name, number) for name in group)
    return found


def newest(edges: Edges) -> list[str]:
    """The names, the latest generation first, by name within one."""
    number = generations(edges)
    return sorted(number, key=lambda name: (-number[name], name))


def tree(chunks: Chunks) -> list[Row]:
    """Every chunk once, below the latest of those that it was created after.

    The line that goes on longest keeps its column; the others stand before it, one step in.
    """
    edges = {name: after for name, (_, after) in chunks.items()}
    number = generations(edges)
    groups = components(edges)
    above = _above(edges, groups, number)
    below: dict[str, list[str]] = {name: [] for name in edges}
    for name, parent in above.items():
        if parent:
            below[parent].append(name)
    height = dict.fromkeys(edges, 0)
    for name in sorted(edges, key=lambda name: -number[name]):
        parent = above[name]
        if parent:
            height[parent] = max(height[parent], height[name] + 1)
    rows: list[Row] = []
    roots = sorted(name for name, parent in above.items() if not parent)
    pending = [(root, 0) for root in reversed(roots)]
    while pending:
        name, depth = pending.pop()
        others = (before for before in edges[name] if before != above[name])
        rows.append(Row(name, depth, tuple(dict.fromkeys(others))))
        inner = sorted(below[name], key=lambda child: (height[child], child))
        if inner:
            main = inner.pop()
            pending.append((main, depth))
            pending += [(child, depth + 1) for child in reversed(inner)]
    return rows


def _above(edges: Edges, groups: list[tuple[str, ...]], number: Mapping[str, int]) -> dict[str, str]:
    """The chunk that each stands under; those on one cycle stand beside each other."""
    found = {}
    for group in groups:
        inside = frozenset(group)
        for name in group:
            befores = [before for before in edges[name] if before in edges and before not in inside]
            found[name] = max(befores, key=lambda before: (number[before], before), default="")
    return found


def components(edges: Edges) -> list[tuple[str, ...]]:
    """The names in groups that reach each other, a group after all that it points to (Tarjan, 1972).

    Without recursion, since a chain has as many links as there are chunks.
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    on_stack: set[str] = set()
    stack: list[str] = []
    found: list[tuple[str, ...]] = []
    for start in sorted(edges):
        if start in index:
            continue
        work: list[tuple[str, Iterator[str]]] = [(start, iter(edges[start]))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            name, targets = work[-1]
            target = next((one for one in targets if one in edges), None)
            if target is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    at = stack.index(name) if stack[-1] != name else len(stack) - 1
                    found.append(tuple(stack[at:]))
                    on_stack.difference_update(stack[at:])
                    del stack[at:]
            elif target not in index:
                index[target] = low[target] = len(index)
                stack.append(target)
                on_stack.add(target)
                work.append((target, iter(edges[target])))
            elif target in on_stack:
                low[name] = min(low[name], index[target])
    return found


def _shortest(start: str, edges: Edges, inside: frozenset[str]) -> tuple[str, ...]:
    """Breadth first from `start` back to it, within its knot."""
    came: dict[str, str] = {}
    pending = [start]
    for name in pending:
        for target in edges[name]:
            if target == start:
                path = [start]
                while name != start:
                    path.append(name)
                    name = came[name]
                return (start, *reversed(path[1:]), start)
            if target in inside and target not in came:
                came[target] = name
                pending.append(target)
    raise AssertionError(f"{start} is on no cycle")  # a knot has a way back to each of its names
