"""The YAML block of a document: read without guesses, with places, fast where it is plain."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.chunks.heads import FOLDED, OLDEST, REAL, SHIPPED, document
from ve.chunks.head import Head, Mapping, Scalar, Sequence, parse, split
from ve.chunks.quick import quick

NO_YAML = "import sys, ve.chunks.typed, ve.chunks.quick; print('yaml' in sys.modules)"


def texts(head: Head, name: str) -> list[str]:
    value = head.fields[name].value
    assert isinstance(value, Sequence)
    return [item.text for item in value.items if isinstance(item, Scalar)]


@pytest.mark.parametrize("text", REAL)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_heads_of_every_era_are_read_with_any_line_end(text: str, end: str, bom: str) -> None:
    head = parse(bom + document(text).replace("\n", end), "GOAL.md")
    assert head.problems == []
    assert list(head.fields) == list(parse(document(text), "GOAL.md").fields)
    assert head.document[head.body :].strip().startswith("# Goal")


def test_values_are_texts_as_they_are_written() -> None:
    lines = "a: no\nb: 010\nc: 2024-02-30\nd: 1:30\ne: 'it''s'\nf: \"\\u2014\"\ng: ~\nh: 'null'\ni:\n"
    found = {name: field.value for name, field in parse(document(lines), "x").fields.items()}
    assert [node.text for node in found.values() if isinstance(node, Scalar)] == [
        "no", "010", "2024-02-30", "1:30", "it's", "—", "~", "null", "",
    ]  # fmt: skip
    assert [name for name, node in found.items() if isinstance(node, Scalar) and node.is_null] == ["g", "i"]


def test_lists_folded_texts_and_anchors_are_read() -> None:
    head = parse(document(FOLDED), "x")
    assert texts(head, "depends_on") == ["a", "b", "c"]
    assert texts(head, "created_after") == ["one", "two"]
    references = head.fields["code_references"].value
    assert isinstance(references, Sequence) and isinstance(references.items[0], Mapping)
    key, told = references.items[0].entries[0]
    assert (key.text, told.text) == (
        "implements",
        "A long sentence that a tool broke after eighty columns, as tools do with texts like this one",
    )


@pytest.mark.parametrize("text", REAL)
def test_a_place_leads_back_to_what_stands_there(text: str) -> None:
    head = parse("\ufeff" + document(text), "x")
    for name, (key, value) in head.fields.items():
        assert head.document[key.start : key.end] == name
        if isinstance(value, Scalar) and not value.quoted:
            assert head.document[value.start : value.end] == value.text
        line, column = head.place(key.start)
        assert head.document.split("\n")[line - 1][column - 1 :].startswith(name)


def test_a_mistake_in_one_field_spoils_no_other() -> None:
    head = parse(document('status: ACTIVE\nticket: @me\nnarrative: "open\ncreated_after:\n- a\n'), "GOAL.md")
    assert list(head.fields) == ["status", "created_after"]
    assert [(p.rule, p.field, p.line, p.column) for p in head.problems] == [
        ("yaml", "ticket", 3, 9),
        ("yaml", "narrative", 4, 12),
    ]
    assert head.problems[1].message == "`narrative` is not YAML: what begins with '\"' does not end"


@pytest.mark.parametrize(
    ("text", "rule", "hint"),
    [
        ("", "no-head", "Begin with a line"),
        ("# Goal\n", "no-head", "Begin with a line"),
        ("\n---\nstatus: ACTIVE\n---\n", "no-head", "nothing before it"),
        ("---\nstatus: ACTIVE\n# Goal\n", "head-not-closed", "Put a line `---`"),
        ("---", "no-head", ""),
        (b"\xff\xfe-\0-\0-\0\n\0", "no-head", "UTF-8"),
        (document("x: " + "y" * 270_000 + "\n"), "head-too-long", ""),
        (document("- a\n- b\n"), "yaml", ""),
        (document("status: ACTIVE\nstatus: FUTURE\n"), "duplicate-field", "Keep one"),
        (document("status: ACTIVE\n").encode() + b"\xe4", "not-utf-8", "UTF-8"),
    ],
)  # fmt: skip
def test_a_head_that_cannot_be_read_says_why(text: str | bytes, rule: str, hint: str) -> None:
    (problem,) = parse(text, "GOAL.md").problems
    assert problem.rule == rule
    assert hint in problem.hint


def test_nesting_without_end_is_refused_in_the_field_that_has_it() -> None:
    head = parse(document(f"status: ACTIVE\nticket: {'[' * 90_000}\nx: {'{a: ' * 100}\n"), "x")
    assert list(head.fields) == ["status"]
    assert ["nested too deeply" in problem.message for problem in head.problems] == [True, True]


def test_a_head_ends_at_its_first_line_of_dashes() -> None:
    text = "---\nticket: a---b\nnarrative: --- c\n---  \n---\nbody\n"
    bounds = split(text)
    assert bounds is not None
    assert text[bounds[2] :] == "---\nbody\n"


def test_reading_loads_the_yaml_library_only_for_heads_that_need_it() -> None:
    shown = subprocess.run([sys.executable, "-c", NO_YAML], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"


def test_what_a_list_needs_is_read_from_plain_heads_alone() -> None:
    assert quick(document(SHIPPED).encode()) == (
        "ACTIVE",
        ("cluster_list_command", "cluster_naming_guidance"),
    )
    assert quick(document(OLDEST).encode()) == ("HISTORICAL", ())
    assert quick(document(FOLDED).encode()) is None
    assert quick(document("status: OTHER\n").encode()) is None
    assert quick(document("ticket: 'a\nstatus: ACTIVE\n'\n").encode()) is None
