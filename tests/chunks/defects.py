"""The defects that the generator of repositories can plant, each with documents of its own.

A defect says where it has to be reported (the line on which a text stands first) and by which rule.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.chunks.generator import Draft, Maker

Plant = Callable[[Maker, str], None]


def _chunk(maker: Maker, status: str = "ACTIVE") -> Draft:
    """A chunk of a later era with all fields, which names no other document and is named by none."""
    draft = maker.chunk(status, (), era=2)
    for field in ("parent_chunk", "narrative", "investigation"):
        draft.plain(field, None)
    draft.items("subsystems", [])
    _unlink(maker, draft)
    return draft


def _gone(maker: Maker, kind: str) -> str:
    return f"gone_{kind.replace('-', '_')}_{len(maker.defects)}"


def _unknown_name(field: str, rule: str, as_list: bool = False) -> Plant:
    def plant(maker: Maker, kind: str) -> None:
        draft, name = _chunk(maker), _gone(maker, kind)
        if as_list:
            draft.texts(field, [name])
        else:
            draft.plain(field, name)
        maker.plant(kind, draft, name, rule)

    return plant


def _unknown_item(field: str, key: str, text: str, also: dict[str, str], rule: str) -> Plant:
    def plant(maker: Maker, kind: str) -> None:
        draft = _chunk(maker)
        name = text.format(n=len(maker.defects))
        draft.items(field, [{key: name, **also}])
        maker.plant(kind, draft, f"{key}: {name}", rule)

    return plant


def _field(field: str, written: str, *rules: str, status: str = "ACTIVE", at: str = "") -> Plant:
    """A field that is written so, as it stands; reported on its last line, or where `at` stands first."""

    def plant(maker: Maker, kind: str) -> None:
        draft = _chunk(maker, status)
        draft.fields[field] = written.split("\n")
        maker.plant(kind, draft, at or written.split("\n")[-1], *rules)

    return plant


def _raw(data: bytes, *rules: str, at: str = "") -> Plant:
    """A GOAL.md with just these bytes; reported on its first line, or where `at` stands first."""

    def plant(maker: Maker, kind: str) -> None:
        draft = _chunk(maker)
        draft.raw = data
        maker.plant(kind, draft, at, *rules)

    return plant


def _created_after_future(maker: Maker, kind: str) -> None:
    future = _chunk(maker, "FUTURE").path.split("/")[2]
    draft = _chunk(maker)
    draft.texts("created_after", [future])
    maker.plant(kind, draft, future, "not-shipped")


def _cycle(field: str) -> Plant:
    def plant(maker: Maker, kind: str) -> None:
        drafts = [_chunk(maker) for _ in range(3)]
        names = [draft.path.split("/")[2] for draft in drafts]
        for number, draft in enumerate(drafts):
            draft.texts(field, [names[number - 1]])
        least = names.index(min(names))
        maker.plant(kind, drafts[least], names[least - 1], "cycle")

    return plant


def _several_implementing(maker: Maker, kind: str) -> None:
    for _ in range(2):
        maker.plant(kind, _chunk(maker, "IMPLEMENTING"), "status:", "several-implementing")


def _not_linked(owner: str) -> Plant:
    def plant(maker: Maker, kind: str) -> None:
        draft = _chunk(maker)
        path = next(path for path in maker.parts if path.startswith(f"docs/{owner}s/"))
        if owner == "subsystem":
            value = {"subsystem_id": path.split("/")[2], "relationship": "implements"}
            draft.items("subsystems", [value])
            maker.plant(kind, draft, "subsystem_id:", "not-linked-back")
        else:
            draft.plain(owner, path.split("/")[2])
            maker.plant(kind, draft, f"{owner}:", "not-linked-back")

    return plant


def _missing_goal(maker: Maker, kind: str) -> None:
    draft = _chunk(maker)
    del maker.drafts[draft.path]
    maker.plant(kind, draft.path, "", "missing-document")


def _missing_plan(maker: Maker, kind: str) -> None:
    draft = _chunk(maker, "FUTURE")
    folder = draft.path.rpartition("/")[0]
    maker.plans.discard(folder.rpartition("/")[2])
    maker.plant(kind, f"{folder}/PLAN.md", "", "missing-plan")


def _folder_name(maker: Maker, kind: str) -> None:
    draft = maker.chunk("ACTIVE", (), era=1, name=f"no name, {len(maker.defects)}")
    _unlink(maker, draft)
    draft.plain("narrative", None)
    draft.plain("investigation", None)
    draft.items("subsystems", [])
    maker.plant(kind, draft, "", "wrong-folder-name")


def _unlink(maker: Maker, draft: Draft) -> None:
    """Nothing else names the chunk."""
    name = draft.path.split("/")[2]
    for path, named in maker.parts.items():
        maker.parts[path] = [pair for pair in named if pair[0] != name]


def _without(field: str, rule: str) -> Plant:
    def plant(maker: Maker, kind: str) -> None:
        draft = _chunk(maker)
        del draft.fields[field]
        maker.plant(kind, draft, "", rule)

    return plant


def _no_references(bug_type: str) -> Plant:
    def plant(maker: Maker, kind: str) -> None:
        draft = _chunk(maker)
        draft.word("bug_type", bug_type)
        draft.items("code_references", [])
        maker.plant(kind, draft, "code_references:", "missing-reference")

    return plant


def _comment_block(maker: Maker, kind: str) -> None:
    draft = _chunk(maker)
    draft.body = "\n<!-- DO NOT DELETE THIS COMMENT BLOCK -->\n" + draft.body
    maker.plant(kind, draft, "<!--", "comment-block")


def _latin1(maker: Maker, kind: str) -> None:
    draft = _chunk(maker)
    draft.body += "Gr\udcfc\udcdfe aus der ersten Zeit.\n"
    maker.plant(kind, draft, "Gr\udcfc", "not-utf-8")


def _back_reference(maker: Maker, kind: str) -> None:
    name = _gone(maker, kind)
    path = f"src/lost_{len(maker.defects)}.py"
    maker.files[path] = f"def f():\n    # Chunk: docs/chunks/{name} - no more\n    return 1\n".encode()
    maker.plant(kind, path, name, "lost-back-reference")


def _narrative_unknown_chunk(maker: Maker, kind: str) -> None:
    name = _gone(maker, kind)
    path = f"docs/narratives/lost_{len(maker.defects)}/OVERVIEW.md"
    maker.overview(path, [(name, "")])
    maker.plant(kind, maker.drafts[path], f"chunk_directory: {name}", "unknown-chunk")


def _reference(ref: str, rule: str) -> Plant:
    return _unknown_item("code_references", "ref", ref, {"implements": '"Nothing any more"'}, rule)


DEFECTS: dict[str, Plant] = {
    "unknown-parent": _unknown_name("parent_chunk", "unknown-chunk"),
    "unknown-narrative": _unknown_name("narrative", "unknown-narrative"),
    "unknown-investigation": _unknown_name("investigation", "unknown-investigation"),
    "unknown-created-after": _unknown_name("created_after", "unknown-chunk", as_list=True),
    "unknown-dependency": _unknown_name("depends_on", "unknown-chunk", as_list=True),
    "unknown-subsystem": _unknown_item(
        "subsystems", "subsystem_id", "gone_area_{n}", {"relationship": "uses"}, "unknown-subsystem"
    ),
    "unknown-friction": _unknown_item("friction_entries", "entry_id", "F9{n:03}", {}, "unknown-friction"),
    "created-after-future": _created_after_future,
    "cycle": _cycle("created_after"),
    "dependency-cycle": _cycle("depends_on"),
    "several-implementing": _several_implementing,
    "narrative-not-linked": _not_linked("narrative"),
    "investigation-not-linked": _not_linked("investigation"),
    "subsystem-not-linked": _not_linked("subsystem"),
    "narrative-unknown-chunk": _narrative_unknown_chunk,
    "gone-file": _reference("src/gone_{n}.py#Gone", "unresolved-reference"),
    "gone-symbol-python": _reference("src/pkg_0/mod_0.py#Service0::gone_{n}", "unresolved-reference"),
    "gone-symbol-typescript": _reference("web/views/part_1.ts#Panel1::gone_{n}", "unresolved-reference"),
    "no-reference": _reference('"#only_{n}"', "wrong-reference"),
    "absent-path": _field("code_paths", 'code_paths: ["src/never_made.py"]', "absent-path"),
    "missing-goal": _missing_goal,
    "missing-plan": _missing_plan,
    "folder-name": _folder_name,
    "bad-status": _field("status", "status: ACTIV", "wrong-value"),
    "lower-status": _field("status", "status: active", "wrong-value"),
    "no-status": _without("status", "missing-field"),
    "bad-bug-type": _field("bug_type", "bug_type: cosmetic", "wrong-value"),
    "bad-relationship": _field(
        "subsystems", "subsystems:\n- subsystem_id: area_0\n  relationship: extends", "wrong-value"
    ),
    "bad-scope": _field(
        "friction_entries", "friction_entries:\n- entry_id: F001\n  scope: half", "wrong-value"
    ),
    "bad-entry": _field("friction_entries", "friction_entries:\n- entry_id: 17", "wrong-value", "wrong-name"),
    "text-for-list": _field("code_paths", "code_paths: src/pkg_0/mod_0.py", "wrong-type"),
    "list-for-text": _field("narrative", "narrative: [story_0, story_1]", "wrong-type"),
    "map-for-list": _field("created_after", "created_after: {}", "wrong-type"),
    "duplicate-field": _field("ticket", "ticket: VE-1\nticket: VE-2", "duplicate-field"),
    "unknown-field": _field("ticket", "ticket: VE-1\npriority: 3", "unknown-field"),
    "colon": _field("ticket", "ticket: see: below", "yaml"),
    "open-bracket": _field("code_paths", "code_paths: [src/a.py", "yaml"),
    "open-quote": _field("ticket", 'ticket: "half', "yaml"),
    "tab": _field("code_paths", "code_paths:\n\t- src/a.py", "yaml"),
    "alias": _field("ticket", "ticket: *nowhere", "yaml"),
    "old-reference": _field(
        "code_references",
        "code_references:\n- file: src/pkg_0/mod_0.py\n  ranges: []",
        "old-code-reference",
        status="HISTORICAL",
        at="- file:",
    ),
    "semantic-without-references": _no_references("semantic"),
    "without-references": _no_references("null"),
    "implementation-active": _field(
        "bug_type", "bug_type: implementation", "wrong-final-status", at="status:"
    ),
    "comment-block": _comment_block,
    "latin-1": _latin1,
    "empty": _raw(b"", "no-head"),
    "no-head": _raw(b"# Goal\n\nJust text.\n", "no-head"),
    "open-head": _raw(b"---\nstatus: ACTIVE\n\n# Goal\n", "head-not-closed"),
    "utf-16": _raw("---\nstatus: ACTIVE\n---\n".encode("utf-16"), "no-head"),
    "zeros": _raw(b"\0" * 64, "no-head"),
    "no-fields": _raw(b"---\n- status\n- ACTIVE\n---\n", "yaml", at="- status"),
    "back-reference": _back_reference,
}
