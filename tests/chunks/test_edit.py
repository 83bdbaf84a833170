"""One field changes, and everything else in the document stays byte for byte."""

from __future__ import annotations

import pytest

from tests.chunks.heads import FIRST, FOLDED, OLDEST, REAL, SHIPPED, document
from ve.chunks.edit import append_item, drop_comment_block, remove_item, set_field, set_in_item
from ve.chunks.head import Head, parse
from ve.chunks.kinds import KINDS, FieldDoc
from ve.chunks.render import Value
from ve.chunks.typed import read
from ve.errors import DocumentError


def changed(before: str, after: str) -> list[str]:
    """The lines that are new, and with a minus those that are gone."""
    old, new = before.split("\n"), after.split("\n")
    return [f"-{line}" for line in old if line not in new] + [line for line in new if line not in old]


@pytest.mark.parametrize(
    ("line", "value", "becomes"),
    [
        ("status: FUTURE", "ACTIVE", "status: ACTIVE"),
        ("status:   'FUTURE'   # not yet", "ACTIVE", "status:   'ACTIVE'   # not yet"),
        ('ticket: "a"', None, "ticket: null"),
        ("ticket:", "VE-1", "ticket: VE-1"),
        ("ticket:   # none yet", "VE-1", "ticket: VE-1   # none yet"),
        ("ticket: x", "no", 'ticket: "no"'),
        ("ticket: x", "012", 'ticket: "012"'),
        ("ticket: x", "a: b # c", 'ticket: "a: b # c"'),
        ("ticket: 'x'", "it's", "ticket: 'it''s'"),
        ("ticket: x", 'say "é"\n', 'ticket: "say \\"é\\"\\n"'),
        ("background: false", True, "background: true"),
        ("created_after: [a, 'b', \"c\"]  # tips", ["a", "b", "d"], "created_after: [a, 'b', d]  # tips"),
        ('created_after: ["a"]', ["a", "d"], 'created_after: ["a", "d"]'),
        ("created_after: []", ["a", "b"], 'created_after: ["a", "b"]'),
        ("created_after: null # x", [], "created_after: [] # x"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_field_on_one_line_changes_in_that_line(line: str, value: Value, becomes: str, end: str) -> None:
    name = line.partition(":")[0]
    others = "# before\n", "own: [x ,y]   # kept\n"
    before = ("\ufeff" + document(others[0] + line + "\n" + others[1])).replace(
        "\n", end
    ).encode() + b"\xe4\0"
    after = ("\ufeff" + document(others[0] + becomes + "\n" + others[1])).replace(
        "\n", end
    ).encode() + b"\xe4\0"
    assert set_field(before, name, value) == after
    assert set_field(after, name, value) == after


@pytest.mark.parametrize("text", REAL)
@pytest.mark.parametrize("field", KINDS["chunk"].fields, ids=lambda field: field.name)
def test_every_field_of_every_era_can_be_set(text: str, field: FieldDoc) -> None:
    value: Value = {
        "word": field.allowed[-1] if field.allowed else "",
        "text": "VE 1: x",
        "name": "other",
        "flag": True,
        "texts": ["a b", "c"],
        "names": ["one", "new"],
        "items": [{part.name: part.example.strip('"') for part in field.parts}],
    }[field.form]
    before = document(text)
    if field.name == "created_after" and text is FOLDED:
        with pytest.raises(DocumentError, match="cannot be changed in place"):
            set_field(before, field.name, value)
        return
    after = set_field(before, field.name, value)
    found = read(after, "GOAL.md", KINDS["chunk"])
    assert not [problem for problem in found.problems if problem.field.startswith(field.name)]
    assert getattr(found.value, field.name)
    old, new = parse(before, "x"), parse(after, "x")
    for name in old.fields.keys() - {field.name}:
        assert source(old, name) == source(new, name)


def source(head: Head, name: str) -> str:
    key, value = head.fields[name]
    return head.document[key.start : head.document.find("\n", value.end)]


def test_a_field_that_is_absent_is_added_in_its_place() -> None:
    with_type = set_field(document(FIRST), "bug_type", "semantic")
    assert changed(document(FIRST), with_type) == ["bug_type: semantic"]
    assert "friction_entries: []\nbug_type: semantic\ncreated_after" in with_type
    in_oldest = set_field(document(OLDEST), "created_after", ["a"])
    assert 'subsystems: []\ncreated_after: ["a"]\n# written by hand\n' in in_oldest
    only = set_field("---\r\n---\r\n", "status", "FUTURE")
    assert only == "---\r\nstatus: FUTURE\r\n---\r\n"


def test_items_come_and_go_one_by_one() -> None:
    before = document(SHIPPED)
    one = append_item(before, "code_references", {"ref": "src/a.py#A", "implements": "It: all"})
    assert changed(before, one) == ["  - ref: src/a.py#A", '    implements: "It: all"']
    assert append_item(one, "code_references", {"ref": "src/a.py#A"}) == one
    assert remove_item(one, "code_references", {"ref": "src/a.py#A"}) == before
    two = append_item(before, "created_after", "third")
    assert changed(before, two) == ["- third"]
    assert set_field(two, "created_after", ["third"]).endswith(
        "created_after:\n- third\n---\n" + two.split("---\n")[2]
    )
    assert changed(before, remove_item(before, "code_paths", "src/orchestrator/scheduler.py")) == [
        "-- src/orchestrator/scheduler.py"
    ]
    none = remove_item(before, "friction_entries", {"entry_id": "F001"})
    assert "friction_entries: []\n" in none
    assert remove_item(none, "friction_entries", {"entry_id": "F001"}) == none


def test_items_in_brackets_keep_their_quotes() -> None:
    before = document("status: FUTURE\ncreated_after: ['a', \"b\" ,c] # tips\n")
    assert (
        changed(before, append_item(before, "created_after", "d"))[1]
        == "created_after: ['a', \"b\" ,c, 'd'] # tips"
    )
    assert changed(before, remove_item(before, "created_after", "b"))[1] == "created_after: ['a' ,c] # tips"
    assert changed(before, remove_item(before, "created_after", "a"))[1] == 'created_after: ["b" ,c] # tips'


def test_comments_of_items_that_stay_stay() -> None:
    before = document("status: FUTURE\ncreated_after:\n- a # first\n# between\n- b\n- c # last\nticket: x\n")
    after = set_field(before, "created_after", ["a", "c", "d"])
    assert changed(before, after) == ["-- b", "- d"]
    assert set_field(before, "created_after", []) == document(
        "status: FUTURE\ncreated_after: []\nticket: x\n"
    )


def test_one_field_of_one_item_is_set() -> None:
    before = document(
        "status: ACTIVE\nchunks:\n- prompt: |\n    Long\n\n    text\n"
        "  chunk_directory: null # none\n- prompt: b\n"
    )
    after = set_in_item(before, "chunks", 0, "chunk_directory", "made_of_it")
    assert changed(before, after) == [
        "-  chunk_directory: null # none",
        "  chunk_directory: made_of_it # none",
    ]
    more = set_in_item(after, "chunks", 1, "chunk_directory", "second")
    assert changed(after, more) == ["  chunk_directory: second"]
    assert set_in_item(more, "chunks", 1, "chunk_directory", "second") == more
    flow = document("chunks: [{prompt: a}]\n")
    assert changed(flow, set_in_item(flow, "chunks", 0, "chunk_directory", "x"))[1] == (
        'chunks: [{prompt: a, chunk_directory: "x"}]'
    )
    with pytest.raises(DocumentError, match="has no item 2"):
        set_in_item(before, "chunks", 2, "chunk_directory", "x")


@pytest.mark.parametrize(
    ("head", "name", "place"),
    [
        ("status: &s FUTURE\nnarrative: *s\n", "status", "2:9"),
        ("status: &s FUTURE\nnarrative: *s\n", "narrative", "3:12"),
        ("? status\n: FUTURE\n", "status", "3:3"),
        ("status: !!str FUTURE\n", "status", "2:9"),
        ("status: A\nstatus: B\n", "status", "3:1"),
        ("status: @x\n", "status", "2:9"),
        ("{status: FUTURE}\n", "ticket", "1:1"),
    ],
)
def test_what_cannot_be_changed_in_place_is_refused_with_its_place(head: str, name: str, place: str) -> None:
    with pytest.raises(DocumentError) as caught:
        set_field(document(head), name, "x", "a/GOAL.md")
    assert caught.value.where == f"a/GOAL.md:{place}"


def test_a_document_without_a_head_is_refused() -> None:
    with pytest.raises(DocumentError, match="has no frontmatter"):
        set_field(b"# Goal\n", "status", "ACTIVE")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_comment_block_after_the_head_is_dropped_and_no_other(end: str) -> None:
    body = "\n# Goal\n\n<!-- another -->\n"
    before = document(FIRST, f"\n<!--\n  Schema -> it\n-->\n{body}").replace("\n", end).encode() + b"\xff"
    after = document(FIRST, body).replace("\n", end).encode() + b"\xff"
    assert drop_comment_block(before) == after
    assert drop_comment_block(after) == after
    unclosed = document(FIRST, "\n<!-- open\n").encode()
    assert drop_comment_block(unclosed) == unclosed
