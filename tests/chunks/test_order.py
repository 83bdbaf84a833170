"""created_after as a graph: which chunks are tips, what comes after what, which cycles there are.

The tips of random histories (chunks made on branches that are merged later, statuses changed since) are
compared with a definition that is slow and plain.
"""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ve.chunks.order import ancestors, components, cycles, generations, newest, tips, tree

Chunks = dict[str, tuple[str, tuple[str, ...]]]
SHIPPED = ("ACTIVE", "SUPERSEDED", "HISTORICAL", "COMPOSITE")
STATUSES = ("FUTURE", "IMPLEMENTING", *SHIPPED)


def edges(chunks: Chunks) -> dict[str, tuple[str, ...]]:
    return {name: after for name, (_, after) in chunks.items()}


def tips_by_definition(chunks: Chunks) -> tuple[str, ...]:
    """ACTIVE, and no chunk that shipped reaches it, unless it is reached back (then they are on a cycle)."""
    reach = {name: ancestors(name, edges(chunks)) for name in chunks}
    return tuple(
        sorted(
            name
            for name, (status, _) in chunks.items()
            if status == "ACTIVE"
            and not any(
                chunks[other][0] in SHIPPED and name in reach[other] and other not in reach[name]
                for other in chunks
                if other != name
            )
        )
    )


def merged(*histories: Chunks) -> Chunks:
    return {name: told for history in histories for name, told in history.items()}


def shipped_on(history: Chunks, *names: str) -> Chunks:
    """The history after chunks were created and completed on it, one after the other."""
    for name in names:
        history = {**history, name: ("ACTIVE", tips(history))}
    return history


@st.composite
def histories(draw: st.DrawFn) -> Chunks:
    """Chunks made on branches, each after the tips that its branch knew; then branches are merged."""
    source = random.Random(draw(st.integers(0, 2**32)))
    branches: list[Chunks] = [{}]
    for number in range(draw(st.integers(1, 40))):
        act = source.random()
        if act < 0.15 and len(branches) < 5:
            branches.append(dict(source.choice(branches)))
        elif act < 0.3 and len(branches) > 1:
            one, other = source.sample(range(len(branches)), 2)
            branches[one] = merged(branches[one], branches[other])
        else:
            branch = source.choice(branches)
            status = source.choices(STATUSES, (3, 1, 8, 1, 1, 1))[0]
            branch[f"c{number}"] = (status, tips(branch))
    return merged(*branches)


def test_the_first_chunk_of_a_repository_comes_after_nothing() -> None:
    assert tips({}) == ()
    assert tips(shipped_on({}, "first")) == ("first",)


def test_each_chunk_that_ships_covers_the_one_before() -> None:
    assert tips(shipped_on({}, "a", "b", "c")) == ("c",)


@pytest.mark.parametrize("status", ["FUTURE", "IMPLEMENTING"])
def test_work_that_has_not_shipped_is_no_tip_and_covers_none(status: str) -> None:
    assert tips({"a": ("ACTIVE", ()), "b": (status, ("a",))}) == ("a",)


@pytest.mark.parametrize("status", ["SUPERSEDED", "HISTORICAL", "COMPOSITE"])
def test_when_the_last_tip_goes_out_of_force_those_before_it_do_not_come_back(status: str) -> None:
    assert tips({"a": ("ACTIVE", ()), "b": ("ACTIVE", ("a",)), "c": (status, ("b",))}) == ()
    assert tips({"a": ("ACTIVE", ()), "b": (status, ("a",)), "c": ("ACTIVE", ())}) == ("c",)


def test_a_chunk_that_was_taken_back_still_lets_what_came_after_it_cover_what_came_before() -> None:
    chunks: Chunks = {"a": ("ACTIVE", ()), "b": ("IMPLEMENTING", ("a",)), "c": ("ACTIVE", ("b",))}
    assert tips(chunks) == ("c",)


def test_after_a_merge_the_tips_are_those_of_both_branches_and_one_chunk_later_that_one() -> None:
    start = shipped_on({}, "base")
    both = merged(shipped_on(start, "ours1", "ours2"), shipped_on(start, "theirs1", "theirs2"))
    assert tips(both) == ("ours2", "theirs2")
    assert tips(shipped_on(both, "after")) == ("after",)


def test_a_branch_without_chunks_of_its_own_changes_no_tip() -> None:
    start = shipped_on({}, "base")
    assert tips(merged(start, shipped_on(start, "ours"))) == ("ours",)


def test_a_name_that_nobody_has_is_passed_over() -> None:
    chunks: Chunks = {"a": ("ACTIVE", ("gone",)), "b": ("ACTIVE", ("gone", "a"))}
    assert tips(chunks) == ("b",)
    assert [row.name for row in tree(chunks)] == ["a", "b"]


def test_a_cycle_is_named_from_its_least_name_and_empties_no_list() -> None:
    chunks: Chunks = {"z": ("ACTIVE", ("b",)), "b": ("ACTIVE", ("c",)), "c": ("ACTIVE", ("b",))}
    assert cycles(edges(chunks)) == [("b", "c", "b")]
    assert tips(chunks) == ("z",)
    del chunks["z"]
    assert tips(chunks) == ("b", "c")
    assert {row.name for row in tree(chunks)} == {"b", "c"}


def test_a_chunk_after_itself_is_a_cycle_of_one() -> None:
    chunks: Chunks = {"a": ("ACTIVE", ("a",))}
    assert cycles(edges(chunks)) == [("a", "a")]
    assert tips(chunks) == ("a",)


def test_two_knots_are_two_cycles_each_as_short_as_it_can_be() -> None:
    knots = {"a": "b", "b": "ca", "c": "a", "x": "y", "y": "x", "alone": ""}
    assert cycles({name: tuple(after) for name, after in knots.items()}) == [("a", "b", "a"), ("x", "y", "x")]


@settings(max_examples=150, deadline=None)
@given(histories())
def test_the_tips_of_any_history_of_branches_are_those_of_the_definition(chunks: Chunks) -> None:
    assert tips(chunks) == tips_by_definition(chunks)
    assert cycles(edges(chunks)) == []
    assert "next" in tips(shipped_on(chunks, "next"))


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from("abcdefgh"),
        st.tuples(st.sampled_from(STATUSES), st.lists(st.sampled_from("abcdefghxy"), max_size=4).map(tuple)),
    )
)
def test_no_graph_however_odd_loses_a_chunk_or_hides_a_cycle(chunks: Chunks) -> None:
    graph = edges(chunks)
    assert tips(chunks) == tips_by_definition(chunks)
    assert sorted(row.name for row in tree(chunks)) == sorted(chunks)
    assert sorted(newest(graph)) == sorted(chunks)
    assert sorted(name for group in components(graph) for name in group) == sorted(chunks)
    found = cycles(graph)
    assert {name for name in chunks if name in ancestors(name, graph)} >= {n for c in found for n in c}
    assert bool(found) == any(name in ancestors(name, graph) for name in chunks)
    for cycle in found:
        assert cycle[0] == cycle[-1]
        assert all(after in graph[name] for name, after in pairwise(cycle))


@settings(max_examples=100, deadline=None)
@given(histories())
def test_who_came_later_is_newer_and_stands_further_down_the_tree(chunks: Chunks) -> None:
    number = generations(edges(chunks))
    place = {row.name: at for at, row in enumerate(tree(chunks))}
    last_first = newest(edges(chunks))
    for name, (_, after) in chunks.items():
        for before in after:
            assert number[before] < number[name]
            assert last_first.index(name) < last_first.index(before)
        if after:
            assert any(place[before] < place[name] for before in after)


def test_the_line_that_goes_on_longest_keeps_its_column() -> None:
    chunks = shipped_on({}, "a", "b")
    side = {"side": ("ACTIVE", ("a",)), "side_2": ("ACTIVE", ("side",))}
    chunks = shipped_on(merged(shipped_on(chunks, "c", "d"), side), "joined", "last")
    assert [(row.name, row.depth) for row in tree(chunks)] == [
        ("a", 0), ("side", 1), ("side_2", 1), ("b", 0), ("c", 0), ("d", 0), ("joined", 0), ("last", 0),
    ]  # fmt: skip
    assert next(row.also_after for row in tree(chunks) if row.name == "joined") == ("side_2",)


def test_a_thousand_chunks_in_a_chain_and_on_merged_branches_are_in_order() -> None:
    chain: Chunks = {}
    for number in range(1000):
        before = (f"c{number - 1}",) if number else ()
        chain[f"c{number}"] = ("ACTIVE", before)
    branches = [dict(chain) for _ in range(10)]
    for number, branch in enumerate(branches):
        for step in range(100):
            before = f"b{number}_{step - 1}" if step else "c999"
            branch[f"b{number}_{step}"] = ("ACTIVE", (before,))
    everything = merged(*branches)
    assert len(everything) == 2000
    assert tips(everything) == tuple(sorted(f"b{number}_99" for number in range(10)))
    assert cycles(edges(everything)) == []
    assert max(row.depth for row in tree(everything)) == 1
    assert newest(edges(everything))[-1] == "c0"
    everything["c0"] = ("ACTIVE", ("c999",))
    assert [(len(cycle), cycle[0]) for cycle in cycles(edges(everything))] == [(1001, "c0")]
    assert len(tips(everything)) == 10
