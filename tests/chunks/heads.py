"""Heads to try readers and writers on: real ones of several eras, made ones, and their mutations."""

from __future__ import annotations

from hypothesis import strategies as st

FIRST = """\
status: FUTURE
ticket: null
parent_chunk: null
code_paths: []
code_references: []
narrative: null
investigation: parallel_agent_orchestration
subsystems: []
friction_entries: []
created_after: ["cluster_list_command", "cluster_naming_guidance", "friction_chunk_workflow"]
"""
SHIPPED = """\
status: ACTIVE
ticket: null
parent_chunk: null
code_paths:
- src/orchestrator/scheduler.py
- tests/test_orchestrator_scheduler.py
code_references:
  - ref: src/orchestrator/scheduler.py#Scheduler
    implements: "WebSocket broadcasting invariant documentation in class docstring"
  - ref: src/orchestrator/scheduler.py#Scheduler::_run_work_unit
    implements: "Broadcast RUNNING status when work unit is dispatched"
narrative: null
investigation: null
subsystems:
  - subsystem_id: "0001-validation"
    relationship: implements
friction_entries:
  - entry_id: F001
    scope: partial
bug_type: null
created_after:
- cluster_list_command
- cluster_naming_guidance
"""
OLDEST = """\
status: HISTORICAL
ticket: no
parent_chunk: 0006-segment
code_references:
  - file: src/segment/writer.rs
    ranges:
      - lines: 45-120
        implements: "Core write loop: buffers"
      - lines: 130-140
        implements: Flush
  - file: src/lib.rs
subsystems: []
# written by hand
dependents: [a, b]
"""
FOLDED = """\
status: COMPOSITE
ticket: 'it''s #12'   # from the board
code_references:
- implements: A long sentence that a tool broke after eighty columns, as tools
    do with texts like this one
  ref: src/a.py#A
- {ref: src/b.py#B, implements: "b \\u2014 b"}
narrative: |
  two
  lines
depends_on: [a, 'b',
  c]   # why
created_after: &tips
  - one

  # a remark
  - two
background: true
"""
REAL = (FIRST, SHIPPED, OLDEST, FOLDED)

KEYS = st.sampled_from(
    [
        "status",
        "ticket",
        "code_paths",
        "code_references",
        "subsystems",
        "created_after",
        "depends_on",
        "background",
        "own_key",
        "x-y",
    ]
)
WORDS = st.sampled_from([
    'FUTURE', 'ACTIVE', 'null', '~', 'a', '0001-validation', 'src/a.py#A::b', 'no', '1:30', '-5', 'é–ü',
    "\U0001f600", 'a#b', 'a:b', '[]', '{}', '[a]', '-x', 'two words', 'a, b', 'say "x"', "it's",
    '[ a, b ]', '["a", \'b\', c]', '[a, ]', '"q # q"', "'q: q'", '{ }', '[a b]', 'x # remark', 'x #',
    'a: b', '"open', 'a:', '- a', '[a', '"a" b', "''''", '&n v', '*n', '!!str v',
])  # fmt: skip
SPACES = st.sampled_from(["", " ", "  ", "    "])


@st.composite
def made(draw: st.DrawFn) -> str:
    """A head of lines as they are met, often valid, sometimes not."""
    lines: list[str] = []
    for key in draw(st.lists(KEYS, min_size=1, max_size=6)):
        form = draw(st.sampled_from(["scalar", "scalar", "list", "items", "folded", "empty", "other"]))
        indent = draw(st.sampled_from(["", "  "]))
        if form in ("scalar", "folded"):
            lines.append(f"{key}: {draw(SPACES)}{draw(WORDS)}{draw(SPACES)}")
        if form == "folded":
            lines += [f"{draw(SPACES)}{draw(WORDS)}" for _ in range(draw(st.integers(1, 2)))]
        if form in ("list", "items", "empty"):
            lines.append(f"{key}:{draw(SPACES)}{draw(st.sampled_from(['', '', ' # c', '#c']))}")
        if form == "list":
            lines += [f"{indent}- {draw(WORDS)}" for _ in range(draw(st.integers(1, 3)))]
        if form == "items":
            for _ in range(draw(st.integers(1, 3))):
                lines.append(f"{indent}- ref: {draw(WORDS)}")
                lines += [f"{indent}  implements: {draw(WORDS)}"] * draw(st.integers(0, 2))
        if form == "other":
            lines.append(
                draw(st.sampled_from(["", "# remark", "  ", "  # c", "-", "- ", "...", "? a", "\t", "x"]))
            )
    return "\n".join(lines) + "\n"


PUT = [
    "", " ", "\n", "\n\n", "- ", ": ", "#", " #", "'", '"', "[", "]", "{", "}", ",", "\t", "\r\n", "\r", "\0",
    "\x85", "\u2028", "\ufeff", "\udc80", "&a ", "*a", "|\n", ">-\n", "\\", "%", "@", "---\n",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A real head or a made one with a few characters or lines put in, taken out or repeated."""
    text = draw(st.sampled_from(REAL) | made())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        until = min(len(text), at + draw(st.integers(0, 12)))
        put = draw(st.sampled_from(PUT) | st.just(text[at:until]))
        text = text[:at] + put + text[until:] if draw(st.booleans()) else text[:at] + put + text[at:]
    return text


HEADS = made() | mutated()


def document(head: str, body: str = "\n# Goal\n\nText – größer.\n") -> str:
    return f"---\n{head}---\n{body}"
