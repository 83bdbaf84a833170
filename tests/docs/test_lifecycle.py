"""docs/lifecycle.md is what the code says."""

from __future__ import annotations

import re
import runpy
import typing
from pathlib import Path

from ve import commands as c
from ve import unit as u
from ve.transitions import TABLE

DOCS = Path(__file__).parent.parent.parent / "docs"
MADE = runpy.run_path(str(DOCS / "generate_lifecycle.py"))["page"]()


def test_the_page_is_as_the_code_would_make_it() -> None:
    written = (DOCS / "lifecycle.md").read_text(encoding="utf-8")
    assert written == MADE, "run: python docs/generate_lifecycle.py"


def test_every_state_and_every_command_has_a_sentence() -> None:
    rows = [line.strip("| ").split(" | ") for line in MADE.splitlines() if line.startswith("| ")]
    said = {cells[0].strip("`"): cells[-1] for cells in reversed(rows) if len(cells) in (2, 3)}
    states = {state.__struct_config__.tag for state in typing.get_args(u.State)}
    for name in states | {row.command.__name__ for row in TABLE}:
        assert len(said[name].split()) >= 3


def test_every_row_is_in_the_table_and_every_way_in_the_diagram() -> None:
    assert all(f"| `{row.command.__name__}` | " in MADE and row.note in MADE for row in TABLE)
    assert "    [*] --> READY: Inject" in MADE
    assert "    LANDING --> DONE: Landed" in MADE


def test_the_operators_verbs_are_marked_as_theirs() -> None:
    for verb in c.OPERATOR_VERBS.values():
        assert re.search(rf"^\| `{verb.__name__}` \| operator", MADE, re.MULTILINE)
