"""The head of GOAL.md: every era is read, mistakes are placed, a status changes one line."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ve.chunks import TRANSITIONS, Status, read, set_status
from ve.chunks.frontmatter import STATUSES
from ve.errors import DocumentError, RefusedError

FIRST_ERA = """\
---
status: FUTURE
ticket: null
parent_chunk: null
code_paths: []
code_references: []
narrative: null
investigation: null
subsystems: []
friction_entries: []
created_after: ["cluster_list_command", "cluster_naming_guidance"]
---

# Chunk Goal
"""
LATER_ERA = """\
---
status: ACTIVE
ticket: VE-12
code_paths:
- src/a.py
- tests/test_a.py
code_references:
  - ref: src/a.py#A::run
    implements: "Text: with a colon"
subsystems:
  - subsystem_id: "0001-validation"
    relationship: uses
bug_type: semantic
depends_on:
- parser
- 006-segment
created_after:
- a
---
"""


def head(*lines: str) -> str:
    return "---\n" + "\n".join(lines) + "\n---\n\n# Goal\n"


def test_documents_of_both_eras_are_read() -> None:
    first = read(FIRST_ERA)
    assert (first.status, first.depends_on, first.bug_type) == ("FUTURE", None, None)
    assert first.created_after == ("cluster_list_command", "cluster_naming_guidance")
    later = read(LATER_ERA)
    assert (later.status, later.bug_type) == ("ACTIVE", "semantic")
    assert later.depends_on == ("parser", "006-segment")
    assert later.code_paths == ("src/a.py", "tests/test_a.py")
    assert first.warnings == later.warnings == ()


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("ticket: x", None),
        ("depends_on: null", None),
        ("depends_on: ~", None),
        ("depends_on:", None),
        ("depends_on: []", ()),
        ("depends_on: [a, b, a]", ("a", "b")),
        ("depends_on: [no, 010]", ("no", "010")),
    ],
)
def test_dependencies_unsaid_none_and_named_are_three_things(
    line: str, meaning: tuple[str, ...] | None
) -> None:
    assert read(head("status: FUTURE", line)).depends_on == meaning


@pytest.mark.parametrize("status", get_args(Status))
def test_every_status_is_read(status: str) -> None:
    assert read(head(f"status: {status}")).status == status


@pytest.mark.parametrize(
    "odd",
    [
        "ticket: no",
        "ticket: 0123",
        "ticket: 2024-02-30",
        "ticket: 1:30",
        "ticket: @me",
        "ticket: fix: the parser",
        "ticket: [WIP] fix",
        "ticket: `x`",
        "ticket: %s",
        'ticket: "open',
        "ticket: {",
        "ticket: !unknown x",
        "ticket: *nobody",
        "ticket:\tx",
        "ticket: é\u2028\x85x",
        "ticket: a\nticket: b",
        "code_paths: 3",
        "subsystems: {a: [}",
        "narrative: - x",
    ],
)
def test_an_odd_value_in_any_other_field_makes_nothing_unreadable(odd: str) -> None:
    text = head("status: FUTURE", odd, "depends_on: [a]")
    found = read(text)
    assert (found.status, found.depends_on) == ("FUTURE", ("a",))
    assert set_status(text, "IMPLEMENTING") == text.replace("FUTURE", "IMPLEMENTING")


def test_what_was_passed_over_is_said_once() -> None:
    found = read(head("status: FUTURE", "colour: red", "ticket: @me", "narrative: a", "narrative: b"))
    assert len(found.warnings) == 3
    assert found.warnings[0] == "line 3: `colour` is not a field of a chunk; it is kept"
    assert found.warnings[1].startswith("line 4: `ticket` is not YAML: ")
    assert "`narrative` is there twice, on lines 5 and 6" in found.warnings[2]


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("# Goal\n", "1:1", "no frontmatter"),
        ("", "1:1", "no frontmatter"),
        ("---\nstatus: FUTURE\n", "1:1", "does not end"),
        (head("ticket: x"), "1:1", "no `status`"),
        (head("status: DONE"), "2:9", "'DONE'"),
        (head("# c", "status:   future"), "3:11", "'future'"),
        (head("status: [FUTURE]"), "2:9", "a list"),
        (head("status:"), "2:8", "''"),
        (head("status: FUTURE", "status: ACTIVE"), "3:1", "twice, on lines 2 and 3"),
        (head("status: FUTURE", "depends_on: parser"), "3:13", "must be a list"),
        (head("status: FUTURE", "depends_on: {a: b}"), "3:13", "must be a list"),
        (head("status: FUTURE", "depends_on: [a, '../x']"), "3:17", "cannot be a chunk's name"),
        (head("status: FUTURE", "depends_on: [[a]]"), "3:14", "names"),
        (head("status: FUTURE", "created_after: [", " a, -b c ]"), "4:5", "cannot be a chunk's name"),
        (head("status: FUTURE", "bug_type: nasty"), "3:11", "semantic, implementation"),
        (head("status: FUTURE", "depends_on: [a"), "3:13", "'[' does not end"),
        (head("- a", "- b"), "2:1", "name: value"),
        (head("just text"), "2:1", "name: value"),
    ],
)
def test_a_mistake_is_placed_by_line_and_column(text: str, place: str, what: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read(text, "docs/chunks/x/GOAL.md")
    assert caught.value.where == f"docs/chunks/x/GOAL.md:{place}"
    assert what in caught.value.what


def test_a_misspelt_status_gets_the_one_that_was_meant() -> None:
    with pytest.raises(DocumentError) as caught:
        read(head("status: implementng"))
    assert caught.value.hint == "Did you mean IMPLEMENTING?"


def test_lines_are_counted_as_editors_count_them() -> None:
    with pytest.raises(DocumentError) as caught:
        read(head("ticket: a\x85b\u2028c", "status: X"))
    assert caught.value.where == "GOAL.md:3:9"


def test_very_deep_and_very_long_frontmatter_is_refused_not_crashed_on() -> None:
    deep = "[" * 5000
    assert read(head("status: FUTURE", f"ticket: {deep}")).status == "FUTURE"
    with pytest.raises(DocumentError):
        read(head("status: FUTURE", f"depends_on: {deep}"))
    with pytest.raises(DocumentError, match="KiB"):
        read(head("status: FUTURE", "x: " + "y" * 300_000))


def test_aliases_that_multiply_cost_nothing() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    assert read(head("status: FUTURE", *lines)).status == "FUTURE"


@pytest.mark.parametrize("old", STATUSES)
@pytest.mark.parametrize("new", STATUSES)
def test_only_the_changes_of_the_table_are_made(old: str, new: str) -> None:
    text = head(f"status: {old}")
    if old == new:
        assert set_status(text, new) == text
    elif new in TRANSITIONS[old]:
        assert read(set_status(text, new)).status == new
    else:
        with pytest.raises(RefusedError) as caught:
            set_status(text, new)
        assert caught.value.legal == TRANSITIONS[old]


def test_a_status_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RefusedError):
        set_status(FIRST_ERA, "DONE")


@pytest.mark.parametrize(
    "line",
    [
        "status: FUTURE",
        "status:   FUTURE   # not yet",
        'status: "FUTURE" # not yet',
        "status: 'FUTURE'",
        "'status': FUTURE",
        "{status: FUTURE, ticket: x}",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_a_status_change_changes_its_word_and_nothing_else(line: str, end: str, bom: str) -> None:
    text = bom + head("# FUTURE stays here", line, "# größe\u3000FUTURE").replace("\n", end)
    before, after = text.split(line)
    changed = line.replace("FUTURE", "IMPLEMENTING")
    assert set_status(text, "IMPLEMENTING") == before + changed + after
    data = text.encode() + b"\xff\x00 not UTF-8"
    assert set_status(data, "IMPLEMENTING") == ((before + changed + after).encode() + b"\xff\x00 not UTF-8")


def test_a_status_goes_there_and_back_without_a_trace() -> None:
    text = LATER_ERA.replace("ACTIVE", "FUTURE")
    assert set_status(set_status(text, "IMPLEMENTING"), "FUTURE") == text


@pytest.mark.parametrize(
    "line",
    [
        "status: &s FUTURE\nnarrative: *s",
        "narrative: &s FUTURE\nstatus: *s",
        "status: !!str FUTURE",
        "status:\n  FUTURE",
        "status: |-\n  FUTURE",
        "? status\n: FUTURE",
        'status: "FUT\\x55RE"',
    ],
)
def test_a_status_in_an_unusual_form_is_read_but_not_changed_in_place(line: str) -> None:
    text = head(*line.split("\n"))
    assert read(text).status == "FUTURE"
    with pytest.raises(DocumentError, match="cannot be changed in place"):
        set_status(text, "IMPLEMENTING")


YAMLISH = st.text(
    alphabet=st.sampled_from("status: FUTUREdepnds_on[]{}&*!|>'\"#-?,\n\r\t\x85\ufeff@`%~é\x00")
)


@given(YAMLISH | st.text() | st.binary())
def test_any_head_is_read_or_refused_with_our_own_error(middle: str | bytes) -> None:
    data = middle if isinstance(middle, bytes) else middle.encode("utf-8", "surrogatepass")
    for text in (data, b"---\n" + data + b"\n---\n", b"---\nstatus: FUTURE\n" + data + b"\n---\n"):
        try:
            read(text)
            changed = set_status(text, "IMPLEMENTING")
        except (DocumentError, RefusedError):
            continue
        assert read(changed).status == "IMPLEMENTING"
        before, after = text.split(b"\n"), changed.split(b"\n")
        assert sum(old != new for old, new in zip(before, after, strict=True)) <= 1
