"""Whatever stands in a document: reading ends in problems, writing in a document or our own error."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from tests.chunks.heads import HEADS, REAL, document
from ve.chunks import nodes
from ve.chunks.composed import YamlProblem, read_yaml
from ve.chunks.edit import append_item, drop_comment_block, remove_item, set_field, set_in_item
from ve.chunks.head import Head, parse, split
from ve.chunks.kinds import KINDS
from ve.chunks.nodes import Node
from ve.chunks.plain import read_plain
from ve.chunks.quick import quick
from ve.chunks.render import Value
from ve.chunks.spans import says
from ve.chunks.typed import read
from ve.errors import DocumentError


def data(node: Node) -> object:
    if isinstance(node, nodes.Scalar):
        return node.text
    if isinstance(node, nodes.Sequence):
        return [data(each) for each in node.items]
    return [(key.text, data(each)) for key, each in node.entries]


def yaml_data(node: yaml.Node) -> object:
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if isinstance(node, yaml.SequenceNode):
        return [yaml_data(each) for each in node.value]
    return [(yaml_data(key), yaml_data(each)) for key, each in node.value]


@given(HEADS)
def test_the_fast_reader_gives_what_the_whole_reader_gives_or_declines(text: str) -> None:
    plain = read_plain(text, 0, len(text))
    if plain is not None:
        assert plain == read_yaml(text, 0, len(text))


@given(HEADS)
def test_the_whole_reader_gives_what_the_library_composes_or_refuses(text: str) -> None:
    try:
        ours = read_yaml(text, 0, len(text))
    except YamlProblem as error:
        assert 0 <= error.index <= len(text)
        return
    composed = yaml.compose(text, Loader=yaml.SafeLoader)
    theirs = [] if composed is None else yaml_data(composed)
    assert [(key.text, data(value)) for key, value in ours] == theirs
    for key, value in ours:
        assert 0 <= key.start <= key.end <= value.start <= value.end <= len(text) or text[value.start] == "*"


def test_real_heads_are_read_fast() -> None:
    """Given heads of several eras, when they are read, then one with an anchor alone needs YAML."""
    declined = [text for text in REAL if read_plain(text, 0, len(text)) is None]
    assert declined == [REAL[-1]]


@given(HEADS)
def test_what_a_list_needs_is_read_quickly_as_it_is_read_wholly(text: str) -> None:
    found = quick(document(text).encode("utf-8", "surrogateescape"))
    if found is not None:
        value = read(document(text), "GOAL.md", KINDS["chunk"]).value
        assert found == (value.status, value.created_after)


@given(
    HEADS.map(lambda text: document(text).encode("utf-8", "surrogateescape")) | st.binary(),
    st.sampled_from(list(KINDS)),
)
@example(b"", "chunk")
@example(b"---\n---\n", "friction")
@example(b"---\nstatus: \xff\n---\n", "chunk")
@example(b"---\n? [a]\n: b\n---", "chunk")
@example(b"---\nstatus: &a [*a]\n---\n", "chunk")
@example(b'---\nstatus: "\\ud800 \\U0011ffff"\nticket: "\\0"\n---\n', "chunk")
@example(b"---\n%YAML 99999999999999999999.1\n---\n", "chunk")
@example(b"---\ncreated_after: !!%ff x\n---\n", "chunk")
def test_reading_never_raises_and_places_every_problem(text: bytes, kind: str) -> None:
    head, value, problems = read(text, "docs/GOAL.md", KINDS[kind])
    lines = head.document.split("\n")
    for problem in problems:
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert problem.message and "\n" not in problem.message
        problem.message.encode() and problem.hint.encode() and problem.field.encode()
    if value is None:
        assert any(problem.level == "error" for problem in problems)
    elif any(problem.level == "error" for problem in problems):
        assert head.body


VALUES = (
    st.sampled_from(
        [
            "x",
            "ACTIVE",
            "",
            "null",
            "no",
            "007",
            "a b",
            "a: b # c",
            'q"q',
            "it's",
            "é\u2028",
            "l\nl",
            "- x",
            "[x",
            "\\",
            "\x07",
        ]
    )
    | st.sampled_from([None, True, False])
    | st.lists(st.sampled_from(["a", "b-1", "src/a.py#A", "two words", "é", "no"]), max_size=3)
)
ITEMS = st.sampled_from(["a", "b c", {"ref": "src/a.py#A", "implements": "x: y"}, {"ref": "a"}])


@given(HEADS, st.data(), st.booleans(), st.booleans())
def test_a_change_of_any_field_changes_that_field_alone_or_is_refused(
    text: str, draws: st.DataObject, crlf: bool, bom: bool
) -> None:
    whole = ("\ufeff" if bom else "") + document(text)
    before = (whole.replace("\n", "\r\n") if crlf else whole).encode("utf-8", "surrogateescape") + b"\xff\0"
    head = parse(before, "GOAL.md")
    name = draws.draw(st.sampled_from([*head.fields, "ticket", "own_key"]))
    act = draws.draw(st.sampled_from(["set", "append", "remove", "in"]))
    try:
        if act == "set":
            value = draws.draw(VALUES)
            after = set_field(before, name, value)
            again = set_field(after, name, value)
        else:
            item = draws.draw(ITEMS)
            if act == "in":
                after = again = set_in_item(before, name, 0, "implements", "new: text")
            else:
                change = append_item if act == "append" else remove_item
                after = change(before, name, item)
                again = change(after, name, item)
    except DocumentError:
        return
    assert again == after
    now = parse(after, "GOAL.md")
    assert now.document[now.body :] == head.document[head.body :]
    assert others(now, name) == others(head, name)
    if act != "remove" or name in head.fields:
        assert outside(now, name, head) == outside(head, name, head)


@given(HEADS, VALUES, st.data())
def test_a_field_that_stands_plainly_is_never_refused(text: str, value: Value, draws: st.DataObject) -> None:
    head = parse(document(text), "GOAL.md")
    top = head.document[head.start : head.end].lstrip()
    odd = {"&", "*", "!", "?"} & set(head.document[head.start : head.end]) or top.startswith(("{", "#"))
    if odd or head.problems or not head.fields:
        return
    name = draws.draw(st.sampled_from([*head.fields, "ticket", "own_key"]))
    after = parse(set_field(head.document, name, value), "GOAL.md")
    assert says(after.fields[name].value, value)


def others(head: Head, name: str) -> list[tuple[str, object]]:
    return sorted((each, repr(data(field.value))) for each, field in head.fields.items() if each != name)


def outside(head: Head, name: str, first: Head) -> str:
    """The document without the lines of one field."""
    if name not in head.fields:
        return head.document
    key, value = head.fields[name]
    if name not in first.fields and not value.end:
        return head.document
    start = head.document.rfind("\n", 0, key.start) + 1
    end = head.document.find("\n", max(key.end, value.end)) + 1
    return head.document[:start] + head.document[end:]


@given(
    st.binary()
    | HEADS.map(
        lambda text: document(text, "\n<!--\nsee --> \n\n# Goal\n").encode("utf-8", "surrogateescape")
    )
)
def test_dropping_the_comment_block_takes_nothing_else(text: bytes) -> None:
    after = drop_comment_block(text)
    assert drop_comment_block(after) == after or b"<!--" in after
    bounds = split(text.decode("utf-8", "surrogateescape"))
    if bounds and after != text:
        assert (
            after.decode("utf-8", "surrogateescape")[: bounds[2]]
            == text.decode("utf-8", "surrogateescape")[: bounds[2]]
        )


@pytest.mark.parametrize(
    "middle",
    [
        "x: " + "[" * 100_000,
        "x: " + "{a: " * 50_000,
        "- " * 100_000,
        "? " * 100_000,
        "".join(" " * n + "a:\n" for n in range(700)),
        "x: [" + "a, " * 80_000 + "]",
        "x: '" + "y" * 250_000,
        'x: "' + "\\n" * 120_000 + '"',
        "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
        "a: b\n" * 20_000,
        "a: @\n" * 20_000,
        "created_after: [" + '"a", ' * 40_000,
        "status: " + "-" * 250_000,
        "a:" * 120_000,
        "&a " * 80_000,
    ],
    ids=lambda text: text[:8].strip(),
)
def test_heads_made_to_be_slow_are_not(middle: str) -> None:
    text = document(f"status: FUTURE\n{middle}\nticket: x\n").encode()
    begun = time.process_time()
    read(text, "GOAL.md", KINDS["chunk"])
    quick(text)
    assert time.process_time() - begun < 8
