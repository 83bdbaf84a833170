"""The texts of a new chunk's documents.

Rule: whatever stands here is no content: `document.has_text` passes over each of these lines, so
a document that nobody filled in is never taken for a goal or a plan.
"""

from __future__ import annotations

GOAL = """\
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
created_after: []
---

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

<!-- Files to create or to change. -->
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
