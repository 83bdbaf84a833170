"""The texts of new documents: a chunk's GOAL.md and PLAN.md, the other kinds' OVERVIEW.md, FRICTION.md.

Rule: whatever stands here is no content: `document.has_text` passes over each of these lines, so
a document that nobody filled in is never taken for a goal or a plan. The comment block after a head
is the schema in words for whoever fills it in; `ve chunk complete` removes a chunk's.
"""

from __future__ import annotations

_BOX = """\
╔══════════════════════════════════════════════════════════════════════════════╗
║  Leave this comment where it is: `ve` takes it away when the work is done.   ║
║  Change the fields above and the sections below one at a time; never write   ║
║  the file anew.                                                              ║
╚══════════════════════════════════════════════════════════════════════════════╝
"""

_BOX_OF_OTHERS = """\
╔══════════════════════════════════════════════════════════════════════════════╗
║  Leave this comment where it is: it says what the fields above mean.         ║
║  Change the fields above and the sections below one at a time; never write   ║
║  the file anew.                                                              ║
╚══════════════════════════════════════════════════════════════════════════════╝
"""

GOAL = f"""\
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
bug_type: null
depends_on: null
created_after: []
---

<!--
{_BOX}
STATUS: written by commands, never by hand
- FUTURE: described and queued, not begun
- IMPLEMENTING: in work; at most one in a worktree (`ve chunk activate`)
- ACTIVE: says what the code does and why (`ve chunk complete`)
- SUPERSEDED: another chunk changed what this one governed (`ve chunk supersede`)
- HISTORICAL: kept to be read, governs nothing

TICKET: an id in another tool, or null.

PARENT_CHUNK: the chunk that this one corrects or changes, or null.

CODE_PATHS: files that the plan expects to create or change; written with the plan.
- code_paths: ["src/segment/writer.rs", "src/segment/format.rs"]

CODE_REFERENCES: where the work is in the code; written when it is done, checked by `ve chunk complete`.
- path, then # and the symbol, nested ones after ::
- code_references:
    - ref: src/segment/writer.rs#SegmentWriter::fsync
      implements: "Durability guarantees"

NARRATIVE, INVESTIGATION: the folder's name that this chunk came from, or null; `ve chunk create --narrative`
and `--investigation` write both sides.

SUBSYSTEMS: relationship is implements or uses; completion adds the chunk to those that it implements.
- subsystems:
    - subsystem_id: "validation"
      relationship: implements

FRICTION_ENTRIES: entries of docs/trunk/FRICTION.md that this chunk resolves; scope is full or partial.
- friction_entries:
    - entry_id: F001
      scope: full

BUG_TYPE: null for anything but the repair of a bug.
- semantic: we had understood the intent wrongly; references are required, ends ACTIVE
- implementation: the code did not do what was meant; references may be left out, ends HISTORICAL

DEPENDS_ON: what must be merged before this can begin. null: not known. []: nothing. Else chunks' names.

CREATED_AFTER: what had shipped when this was created; computed, never typed, and no dependency.

BACKGROUND: `true` where the chunk was queued without its GOAL.md having been read by a person; one has to
read and approve it before it can be queued for an agent (`ve chunk approve`).

Scripts that are used once belong in this folder, beside GOAL.md.
-->

# Chunk Goal

## Minor Goal

<!-- What is different for a user once this is done, and why it is worth doing now. -->

## Success Criteria

<!-- Sentences that can be checked, one a line. -->
"""

PLAN = """\
# Implementation Plan

## Approach

<!-- How the goal is reached, and what was decided against. -->

## Sequence

<!-- Steps in order; each leaves the tests passing. -->

## Files

<!-- Files to create or to change; the same as code_paths in GOAL.md. -->

## Risks and Open Questions

<!-- What could turn out otherwise, and what to ask before it is built. -->

## Deviations

<!-- Written while it is built: where the work differs from this plan, and why. -->
"""

NARRATIVE = f"""\
---
status: DRAFTING
advances_trunk_goal: null
proposed_chunks: []
created_after: []
---

<!--
{_BOX_OF_OTHERS}
STATUS
- DRAFTING: its chunks are being found
- ACTIVE: chunks of it are being worked on
- COMPLETED: every chunk of it shipped; written by the completion of the last one

ADVANCES_TRUNK_GOAL: the sentence of docs/trunk/GOAL.md that this serves, or null.

PROPOSED_CHUNKS: the pieces in the order in which they are to be built.
- prompt: what to build, in words; written by people
- chunk_directory: null until `ve chunk create --narrative` makes the chunk and fills this in
- depends_on: places in this list (0 is the first) that come before
-->

# Narrative

## Advances Trunk Goal

<!-- What the project comes closer to, and for whom. -->

## Driving Ambition

<!-- Why now, and what will be true at the end that is not true today. -->

## Chunks

<!-- The pieces in order, and why in this order. -->

## Completion Criteria

<!-- How to see that the whole is done. -->
"""

INVESTIGATION = f"""\
---
status: ONGOING
trigger: null
proposed_chunks: []
created_after: []
---

<!--
{_BOX_OF_OTHERS}
STATUS
- ONGOING: being looked into
- SOLVED: the question is answered, and its chunks are proposed
- NOTED: the finding is kept, nothing follows from it
- DEFERRED: put aside; the text says what would take it up again

TRIGGER: what made somebody look, in a sentence.

PROPOSED_CHUNKS: the work that follows from it, as in a narrative.
- prompt, chunk_directory (null until `ve chunk create --investigation` fills it in), depends_on
-->

# Investigation

## Trigger

<!-- What was seen, where, and how often. -->

## Success Criteria

<!-- Which question is answered when this is done. -->

## Testable Hypotheses

<!-- What could be the cause, and what would show that it is not. -->

## Exploration Log

<!-- What was tried, when, and what came of it. -->

## Findings

<!-- What is known now, apart from what is believed. -->

## Resolution

<!-- What follows from it. -->
"""

SUBSYSTEM = f"""\
---
status: DISCOVERING
chunks: []
code_references: []
created_after: []
---

<!--
{_BOX_OF_OTHERS}
STATUS
- DISCOVERING: what belongs to it is being found
- DOCUMENTED: described as it is; deviations are known and may stay
- REFACTORING: being brought in line with its invariants
- STABLE: the code is as this page says
- DEPRECATED: to be used no more; the text says what in place of it

CHUNKS: who built and who uses it; completion of a chunk that implements it adds the chunk.
- chunk_id, relationship (implements or uses)

CODE_REFERENCES: as in a chunk, with compliance: COMPLIANT, PARTIAL or NON_COMPLIANT.
-->

# Subsystem

## Intent

<!-- The problem that it solves for all who use it. -->

## Scope

<!-- What is in it, and what is not. -->

## Invariants

<!-- What always holds, and what breaks where it does not. -->

## Implementation Locations

<!-- Where the code is, in words; the references are above. -->
"""

FRICTION = """\
---
themes: []
proposed_chunks: []
---

<!--
What gets in the way of people who work here. One entry each, never renumbered:

    ### F001: What happened, in a sentence

    **Theme**: id-of-a-theme

    When it happens, what it costs, what was done instead.

`ve friction add` writes an entry with the next number. A chunk that names the entry in its friction_entries
marks it when it is completed, in a line under the heading: `**Resolved by**: chunk` for scope full,
`**Partly resolved by**: chunk` for scope partial. An entry without such a line is open.

THEMES: what entries have in common; id and name.
-->

# Friction Log

## Entries
"""

OLDER_LINES = (
    "What does this chunk accomplish? Frame it in terms of why this chunk is the right next step.",
    "How will you know this chunk is done? Be specific and verifiable.",
    "How will you build this? Describe the strategy at a high level.",
    "Ordered steps to implement this chunk.",
    "Describe the goal here.",
    "Describe the approach here.",
)
"""Prompts that templates of earlier eras put outside comments."""
