"""Heads as typed values: every era is read, every mistake is said at once, with its place."""

from __future__ import annotations

import pytest

from tests.chunks.heads import FIRST, FOLDED, OLDEST, SHIPPED, document
from ve.chunks.kinds import (
    KINDS,
    Chunk,
    ChunkLink,
    CodeReference,
    Friction,
    FrictionLink,
    Investigation,
    Kind,
    Narrative,
    ProposedChunk,
    Subsystem,
    SubsystemLink,
    Theme,
    kind_of,
)  # fmt: skip
from ve.chunks.problems import RULES, Problem
from ve.chunks.typed import Read, read

CHUNK = KINDS["chunk"]


def chunk(head: str) -> Read:
    return read(document(head), "docs/chunks/x/GOAL.md", CHUNK)


def told(problems: list[Problem]) -> list[tuple[str, str, int, int]]:
    return [(problem.rule, problem.field, problem.line, problem.column) for problem in problems]


def test_a_chunk_of_today_is_read_whole() -> None:
    value = chunk(SHIPPED).value
    assert value == Chunk(
        status="ACTIVE",
        code_paths=("src/orchestrator/scheduler.py", "tests/test_orchestrator_scheduler.py"),
        code_references=(
            CodeReference(
                ref="src/orchestrator/scheduler.py#Scheduler",
                implements="WebSocket broadcasting invariant documentation in class docstring",
            ),
            CodeReference(
                ref="src/orchestrator/scheduler.py#Scheduler::_run_work_unit",
                implements="Broadcast RUNNING status when work unit is dispatched",
            ),
        ),
        subsystems=(SubsystemLink(subsystem_id="0001-validation", relationship="implements"),),
        friction_entries=(FrictionLink(entry_id="F001", scope="partial"),),
        created_after=("cluster_list_command", "cluster_naming_guidance"),
    )
    assert chunk(SHIPPED).problems == chunk(FIRST).problems == chunk(FOLDED).problems[1:] == []


def test_a_chunk_of_the_oldest_era_is_read_and_the_way_to_today_is_said() -> None:
    _, value, problems = chunk(OLDEST)
    assert isinstance(value, Chunk)
    assert (value.ticket, value.parent_chunk) == ("no", "0006-segment")
    assert value.code_references == (
        CodeReference(ref="src/segment/writer.rs", implements="Core write loop: buffers"),
        CodeReference(ref="src/segment/writer.rs", implements="Flush"),
        CodeReference(ref="src/lib.rs"),
    )
    assert told(problems) == [
        ("old-code-reference", "code_references[0]", 6, 5),
        ("old-code-reference", "code_references[1]", 12, 5),
        ("unknown-field", "dependents", 15, 1),
    ]
    assert [problem.level for problem in problems] == ["warning", "warning", "note"]
    assert "- ref: src/segment/writer.rs#Name" in problems[0].hint


def test_every_mistake_is_said_at_once_with_place_and_what_is_allowed() -> None:
    _, value, problems = chunk(
        """\
status: ACTIV
ticket: [a]
parent_chunk: docs/chunks/other
code_paths: src/a.py
code_references:
  - implements: "No place"
  - ref: src/a.py#A
    implments: "x"
  - src/b.py
  -
subsystems:
  - {subsystem_id: ../x, relationship: use}
friction_entries:
  - entry_id: 12
    scope: ful
bug_type: Semantic
depends_on: a
created_after: [ok, "not ok", ok]
background: perhaps
colour: red
"""
    )
    assert value is None
    assert told(problems) == [
        ("wrong-value", "status", 2, 9),
        ("wrong-type", "ticket", 3, 9),
        ("wrong-name", "parent_chunk", 4, 15),
        ("wrong-type", "code_paths", 5, 13),
        ("missing-field", "code_references[0].ref", 7, 5),
        ("missing-field", "code_references[1].implements", 8, 5),
        ("unknown-field", "code_references.implments", 9, 5),
        ("wrong-type", "code_references[2]", 10, 5),
        ("wrong-type", "code_references[3]", 11, 4),
        ("wrong-name", "subsystems[0].subsystem_id", 13, 20),
        ("wrong-value", "subsystems[0].relationship", 13, 40),
        ("wrong-value", "friction_entries[0].entry_id", 15, 15),
        ("wrong-value", "friction_entries[0].scope", 16, 12),
        ("wrong-value", "bug_type", 17, 11),
        ("wrong-type", "depends_on", 18, 13),
        ("wrong-name", "created_after[1]", 19, 21),
        ("wrong-value", "background", 20, 13),
        ("unknown-field", "colour", 21, 1),
    ]
    hints = {problem.field: problem.hint for problem in problems}
    assert hints["status"] == "Did you mean ACTIVE?"
    assert hints["parent_chunk"] == "Give the folder's name, not a path: other"
    assert hints["code_paths"] == "Write it as: code_paths: [src/a.py]"
    assert hints["code_references.implments"] == "Did you mean `implements`?"
    assert hints["subsystems[0].relationship"] == "Did you mean uses?"
    assert hints["friction_entries[0].entry_id"] == "Did you mean F012?"
    assert hints["bug_type"] == "Did you mean semantic?"
    assert problems[0].message == (
        "`status` is 'ACTIV'; "
        "allowed is one of FUTURE, IMPLEMENTING, ACTIVE, SUPERSEDED, HISTORICAL, COMPOSITE"
    )
    assert {problem.rule for problem in problems} <= RULES.keys()


def test_a_mistake_costs_its_field_or_item_alone() -> None:
    _, value, problems = chunk(
        "status: FUTURE\ncode_paths: [a, [b], c]\nsubsystems:\n- subsystem_id: s\n"
        "- {subsystem_id: t, relationship: uses}\ndepends_on: [a, '']\nticket: \"a\\0b\"\n"
    )
    assert value == Chunk(
        status="FUTURE",
        code_paths=("a", "c"),
        subsystems=(SubsystemLink(subsystem_id="t", relationship="uses"),),
        depends_on=("a",),
    )
    assert len(problems) == 4


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("", None),
        ("depends_on:", None),
        ("depends_on: null", None),
        ("depends_on: []", ()),
        ("depends_on: [b, b]", ("b",)),
    ],
)
def test_unknown_none_and_named_dependencies_are_three_things(line: str, meaning: object) -> None:
    value = chunk(f"status: FUTURE\n{line}\n").value
    assert isinstance(value, Chunk)
    assert value.depends_on == meaning


@pytest.mark.parametrize("written", ["12", "no", "0x1F", "2024-01-01", "1:30", "~x", "'null'", "fix it"])
def test_a_ticket_is_a_text_however_it_looks(written: str) -> None:
    found = chunk(f"status: FUTURE\nticket: {written}\n")
    assert isinstance(found.value, Chunk)
    assert found.value.ticket == written.strip("'")
    assert found.problems == []


def test_a_misspelt_name_of_a_needed_field_is_found() -> None:
    _, value, problems = chunk("statsu: FUTURE\n")
    assert value is None
    assert [problem.hint for problem in problems] == [
        "Is `statsu` meant to be `status`?",
        "Did you mean `status`?",
    ]


def test_a_background_flag_counts_unless_it_is_plainly_false() -> None:
    for word, meaning in {"true": True, "True": True, "false": False, "yes": True, "no": False}.items():
        value = chunk(f"status: FUTURE\nbackground: {word}\n").value
        assert isinstance(value, Chunk)
        assert value.background is meaning


def test_the_other_kinds_are_read() -> None:
    parts = "  - prompt: Do it\n    chunk_directory: null\n    depends_on: [0]\n"
    part = ProposedChunk(prompt="Do it", depends_on=("0",))
    made = {
        "narrative": (f"status: DRAFTING\nchunks:\n{parts}", Narrative(status="DRAFTING", chunks=(part,))),
        "investigation": (
            f"status: SOLVED\ntrigger: slow\nproposed_chunks:\n{parts}",
            Investigation(status="SOLVED", trigger="slow", proposed_chunks=(part,)),
        ),
        "subsystem": (
            "status: STABLE\nchunks:\n- chunk_id: a\n  relationship: uses\n"
            "code_references:\n- ref: a.py\n  implements: x\n  compliance: COMPLIANT\n",
            Subsystem(
                status="STABLE",
                chunks=(ChunkLink(chunk_id="a", relationship="uses"),),
                code_references=(CodeReference(ref="a.py", implements="x", compliance="COMPLIANT"),),
            ),
        ),
        "friction": (
            "themes:\n  - id: cli\n    name: The command line\nproposed_chunks: []\n",
            Friction(themes=(Theme(id="cli", name="The command line"),)),
        ),
    }
    for name, (head, value) in made.items():
        found = read(document(head), KINDS[name].path("x"), KINDS[name])
        assert (found.value, found.problems) == (value, []), name


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_the_example_of_every_field_is_valid(kind: Kind) -> None:
    for field in kind.fields:
        status = "" if field.name == "status" or not kind.statuses else f"status: {kind.statuses[0]}\n"
        found = read(document(f"{status}{field.name}: {field.example}\n"), kind.path("x"), kind)
        assert found.value is not None and found.problems == [], field.name
        assert set(kind.type.__struct_fields__) == {each.name for each in kind.fields}


def test_the_kind_of_a_document_is_told_by_its_path() -> None:
    for kind in KINDS.values():
        assert kind_of(kind.path("" if kind.name == "friction" else "a_name")) is kind
