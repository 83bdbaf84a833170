"""What other documents say of a chunk: written once, in place, and nowhere else."""

from __future__ import annotations

import pytest

from ve.chunks import links
from ve.errors import DocumentError, InvalidInput

PATH = "docs/narratives/big/OVERVIEW.md"
NARRATIVE = b"""---
status: ACTIVE
proposed_chunks:   # in this order
  - prompt: "Read the heads, as `head_reader`"
    chunk_directory: null
  - prompt: 'Write them'   # later
    chunk_directory: null
    depends_on: [0]
  - {prompt: Check them, chunk_directory: checks}
---

# Narrative
"""
FRICTION = """---
themes: []
---

<!-- ### F009: an example in a comment -->

# Friction Log

### F001: Tests are slow

They take ten minutes.

### F002: No way to see why
Nobody knows.
#### Workaround
Ask.

```
### F008: in a code block
```

### F010: Last
"""


def differing(before: bytes, after: bytes) -> list[str]:
    """The lines of `after` that `before` has not."""
    old = before.decode().splitlines()
    return [line for line in after.decode().splitlines() if line not in old]


def test_a_proposal_whose_prompt_names_the_chunk_becomes_its_entry() -> None:
    after = links.take_up(NARRATIVE, PATH, "head_reader")
    assert after == NARRATIVE.replace(b"chunk_directory: null", b"chunk_directory: head_reader", 1)


def test_an_entry_is_chosen_by_its_number() -> None:
    after = links.take_up(NARRATIVE, PATH, "writer", entry=2)
    before, second = NARRATIVE.split(b"  - prompt: 'Write them'")
    assert after == before + b"  - prompt: 'Write them'" + second.replace(b"null", b"writer", 1)


@pytest.mark.parametrize(("entry", "why"), [(3, "is checks already"), (4, "there are 3"), (0, "there are 3")])
def test_an_entry_that_is_anothers_or_not_there_is_refused(entry: int, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        links.take_up(NARRATIVE, PATH, "writer", entry=entry)


def test_a_chunk_that_no_entry_waits_for_is_added_at_the_end() -> None:
    after = links.take_up(NARRATIVE, PATH, "brand-new")
    assert links.directories(after, PATH) == [None, None, "checks", "brand-new"]
    assert after.startswith(NARRATIVE.split(b"---\n\n# Narrative")[0])


def test_an_entry_without_the_field_gets_it_and_other_eras_lists_are_kept() -> None:
    older = b"---\r\nstatus: ACTIVE\r\nchunks:\r\n  - prompt: do one\r\n---\r\n"
    after = links.take_up(older, PATH, "one")
    assert after == older.replace(b"do one\r\n", b"do one\r\n    chunk_directory: one\r\n")


def test_saying_it_twice_changes_nothing() -> None:
    once = links.take_up(NARRATIVE, PATH, "head_reader")
    assert links.take_up(once, PATH, "head_reader") == once
    subsystem = links.implement(b"---\nstatus: STABLE\nchunks: []\n---\n", "x", "one")
    assert links.implement(subsystem, "x", "one") == subsystem
    log = links.resolve_friction(FRICTION.encode(), "x", "F001", "one", "full")
    assert links.resolve_friction(log, "x", "F001", "one", "full") == log


def test_a_subsystem_names_the_chunk_that_implements_it() -> None:
    path = "docs/subsystems/parser/OVERVIEW.md"
    before = b"---\nstatus: STABLE\nchunks:\n  - chunk_id: old\n    relationship: uses\n---\n\n# Subsystem\n"
    after = links.implement(before, path, "new")
    assert differing(before, after) == ["  - chunk_id: new", "    relationship: implements"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("parser", "0001-parser"), ("0001-parser", "0001-parser"), ("0007-parser", "0001-parser"), ("no", None)],
)
def test_a_subsystem_is_found_by_the_ids_of_both_eras(wanted: str, found: str | None) -> None:
    assert links.subsystem_of(wanted, ("0001-parser", "0002-writer")) == found


def test_entries_of_the_log_are_its_headings_outside_of_comments_and_code() -> None:
    assert [(one.id, one.state) for one in links.friction(FRICTION.encode())] == [
        ("F001", "open"),
        ("F002", "open"),
        ("F010", "open"),
    ]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_an_entry_is_marked_by_a_line_under_its_heading(line_end: str) -> None:
    log = FRICTION.replace("\n", line_end).encode()
    for entry, chunk, scope in (("F001", "a", "partial"), ("F001", "b", "full"), ("F001", "c", "full")):
        log = links.resolve_friction(log, "x", entry, chunk, scope)
    log = links.resolve_friction(log, "x", "F002", "b", "full")
    log = links.resolve_friction(log, "x", "F010", "b", "partial")
    found = {one.id: one for one in links.friction(log)}
    assert (found["F001"].state, found["F001"].resolved_by, found["F001"].partly_by) == (
        "resolved",
        ("b", "c"),
        ("a",),
    )
    assert [found[name].state for name in ("F002", "F010")] == ["resolved", "partly"]
    added = differing(FRICTION.encode(), log)
    assert added == [
        "**Resolved by**: b, c",
        "**Partly resolved by**: a",
        "**Resolved by**: b",
        "**Partly resolved by**: b",
    ]
    assert log.count(b"\r") == (log.count(b"\n") if line_end == "\r\n" else 0)


def test_an_entry_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(DocumentError, match="F001, F002, F010"):
        links.resolve_friction(FRICTION.encode(), "x", "F003", "a", "full")


def test_a_new_entry_takes_the_next_number_at_the_end() -> None:
    log, name = links.add_friction(FRICTION.encode(), "Colours are wrong", "cli", "On a light terminal.\n")
    assert name == "F011"
    assert log.endswith(
        b"### F010: Last\n\n### F011: Colours are wrong\n\n**Theme**: cli\n\nOn a light terminal.\n"
    )


@pytest.mark.parametrize(
    ("title", "words"),
    [("Slow <!--", ""), ("Slow", "<!-- why"), ("Slow", "```\ncode"), ("Slow", "### F500: forged\n")],
)
def test_an_entry_that_would_hide_others_or_forge_one_is_refused(title: str, words: str) -> None:
    with pytest.raises(InvalidInput, match="could not be told from what is around it"):
        links.add_friction(FRICTION.encode(), title, None, words)


def test_an_entry_may_have_code_and_comments_that_end() -> None:
    text, name = links.add_friction(
        FRICTION.encode(), "Slow", None, "```\n### F500: code\n```\n<!-- seen twice -->"
    )
    assert [one.id for one in links.friction(text)][-1] == name


def test_no_entry_is_added_to_a_log_whose_last_comment_does_not_end() -> None:
    with pytest.raises(InvalidInput, match="could not be told"):
        links.add_friction(FRICTION.encode() + b"\n<!-- open\n", "Slow", None, "")
