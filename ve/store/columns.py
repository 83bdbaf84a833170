"""The columns of `transitions` as data: name, type, and where the JSON text of a transition has it.

Rule: the way from text into the table and the way back (for replay) are made from this one list, so
they cannot disagree. A field that the text has and this list lacks is not kept: a new field is one
line here and one migration.
"""

from __future__ import annotations

import json
from typing import Final, Literal, NamedTuple

Kind = Literal["BIGINT", "INTEGER", "BOOLEAN", "TIMESTAMP", "VARCHAR", "JSON"]


class Column(NamedTuple):
    """A column; `place` is the object of the text that has it, `key` its name there.

    A column of kind JSON is a VARCHAR that holds JSON text: JSON-typed columns cost a third of the
    speed. TIMESTAMP is UTC without a zone.
    """

    name: str
    kind: Kind
    place: Literal["", "unit"]
    key: str


def _head(name: str, kind: Kind = "VARCHAR", key: str = "") -> Column:
    return Column(name, kind, "", key or name)


def _unit(name: str, kind: Kind = "VARCHAR", key: str = "") -> Column:
    return Column(name, kind, "unit", key or name)


HEAD: Final = (
    _head("seq", "BIGINT"),
    _head("epoch"),
    _head("occurred_at", "TIMESTAMP", "at"),
    _head("command"),
    _head("actor"),
    _head("why"),
    _head("from_status", key="from"),
    _head("detail", "JSON"),
    _head("idempotency_key", key="key"),
    _head("key_hash"),
)
UNIT: Final = (
    _unit("unit_id", key="id"),
    _unit("chunk"),
    _unit("attempt", "INTEGER"),
    _unit("phase"),
    _unit("status"),
    _unit("attention_kind"),
    _unit("attention_reason"),
    _unit("blocked_by", "JSON"),
    _unit("priority", "INTEGER"),
    _unit("paused", "BOOLEAN"),
    _unit("worktree"),
    _unit("branch"),
    _unit("base_ref"),
    _unit("base_commit"),
    _unit("session_id"),
    _unit("run_id"),
    _unit("slot", "INTEGER"),
    _unit("created_at", "TIMESTAMP"),
    _unit("changed_at", "TIMESTAMP"),
    # The unit's own `seq` stands here in the text; it is the transition's, so it has no second column.
    _unit("stage"),
    _unit("stopping", "BOOLEAN"),
    _unit("retry_at", "TIMESTAMP"),
    _unit("merged_commit"),
    _unit("questions", "JSON"),
    _unit("options", "JSON"),
    _unit("evidence", "JSON"),
    _unit("resume_at"),
    _unit("approve_hash"),
    _unit("cause"),
)
TABLE: Final = (*HEAD, *UNIT, _head("board", "JSON"))
COLUMNS: Final = tuple(column.name for column in TABLE)
UNIT_KEYS: Final = (*(c.key for c in UNIT[:19]), "seq", *(c.key for c in UNIT[19:]))
"""The fields of the flat view of a unit that survive a round trip through the file, in its order."""


def _spec() -> str:
    """What `from_json` has to look for, as it wants it: a JSON object of names and types."""
    spec: dict[str, object] = {c.key: c.kind for c in TABLE if not c.place}
    spec["unit"] = {c.key: c.kind for c in UNIT}
    return json.dumps(spec)


def _parsed(where: str) -> str:
    values = ["seq", *(f'r.unit."{c.key}"' if c.place else f'r."{c.key}"' for c in TABLE[1:])]
    return (
        f"select {', '.join(f'{v} as {n}' for v, n in zip(values, COLUMNS, strict=True))} from "
        f"(select seq, from_json(text, '{_spec()}') as r from journal where kind = 'transition'{where})"
    )


FOLD_TRANSITIONS: Final = f"insert into transition_log ({', '.join(COLUMNS)}) {_parsed(' and seq <= $1')}"
"""From the journal into columns; the parsing runs without the GIL."""

VIEW: Final = f"""
create or replace view transitions as
select {", ".join(COLUMNS)} from transition_log union all {_parsed("")}
"""
"""All transitions, whether folded already or still in the journal only."""


def _back(column: Column) -> str:
    if column.kind == "JSON":
        return f"{column.name}::JSON"
    if column.kind == "TIMESTAMP":
        return f"strftime({column.name}, '%Y-%m-%dT%H:%M:%S.%fZ')"
    return column.name


def _text_of_row() -> str:
    unit = [f"'{c.key}': {_back(c)}" for c in UNIT]
    unit.insert(19, "'seq': seq")
    fields = ["'type': 'transition'", "'cursor': epoch || '.' || seq"]
    fields += [f"'{c.key}': {_back(c)}" for c in HEAD]
    fields += [f"'unit': case when unit_id is not null then {{{', '.join(unit)}}} end"]
    fields += ["'board': board::JSON"]
    return f"to_json({{{', '.join(fields)}}})"


SELECT_TEXT: Final = f"""
with page as (
    select seq from transition_log where seq > $1
    union all select seq from journal where kind = 'transition' and seq > $1
    order by seq limit $2
), last as (select max(seq) as seq from page)
select text from (
    select seq, {_text_of_row()}::VARCHAR as text from transition_log
    where seq > $1 and seq <= (select seq from last)
    union all
    select seq, text from journal where kind = 'transition' and seq > $1 and seq <= (select seq from last)
) order by seq
"""
"""The JSON texts of the transitions after a seq, as the feed had them."""
