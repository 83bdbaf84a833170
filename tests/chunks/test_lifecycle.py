"""A chunk from its creation to its end, in a folder of files: what is written, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ve.chunks import has_text, lifecycle, links, others, templates
from ve.chunks.frontmatter import read
from ve.chunks.kinds import KINDS
from ve.chunks.tree import Documents
from ve.chunks.typed import read as read_typed
from ve.chunks.writing import Edit, write
from ve.errors import DocumentError, InvalidInput, NotFound, RefusedError


class Docs:
    """A repository's documents, for a test to change as people do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / ".git").mkdir()

    @property
    def documents(self) -> Documents:
        """As they are now."""
        return Documents(self.root)

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def goal(self, name: str) -> str:
        return self.text(f"docs/chunks/{name}/GOAL.md")

    def status(self, name: str) -> str:
        return read(self.goal(name)).status

    def change(self, name: str, old: str, new: str) -> None:
        path = self.root / "docs/chunks" / name / "GOAL.md"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def create(self, *names: str, **how: object) -> list[str]:
        return write(self.root, lifecycle.create(self.documents, names, **how))  # type: ignore[arg-type]

    def other(self, kind: str, *names: str) -> None:
        write(self.root, others.create_other(self.documents, KINDS[kind], names))

    def complete(self, name: str) -> list[str]:
        return write(self.root, lifecycle.complete(self.documents, None, name))

    def shipped(self, name: str, *after: str, status: str = "ACTIVE") -> None:
        """A chunk as an earlier merge left it."""
        folder = self.root / "docs/chunks" / name
        folder.mkdir(parents=True)
        (folder / "GOAL.md").write_text(f"---\nstatus: {status}\ncreated_after: [{', '.join(after)}]\n---\n")

    @property
    def everything(self) -> dict[str, bytes]:
        files = (path for path in (self.root / "docs").rglob("*") if path.is_file())
        return {str(path.relative_to(self.root)): path.read_bytes() for path in files}


@pytest.fixture
def docs(tmp_path: Path) -> Docs:
    return Docs(tmp_path)


# ── Creation ───────────────────────────────────────────────────────────────────────────────────────


def test_a_new_chunk_is_in_work_with_its_schema_and_without_content(docs: Docs) -> None:
    assert docs.create("one", ticket="0012") == ["docs/chunks/one/PLAN.md", "docs/chunks/one/GOAL.md"]
    goal = docs.goal("one")
    assert read(goal).status == "IMPLEMENTING"
    assert 'ticket: "0012"' in goal and "STATUS: written by commands" in goal
    assert not has_text(goal) and not has_text(docs.text("docs/chunks/one/PLAN.md"))
    assert read_typed(goal, "docs/chunks/one/GOAL.md", KINDS["chunk"]).problems == []


@pytest.mark.parametrize("kind", ["narrative", "investigation", "subsystem", "friction"])
def test_the_other_kinds_templates_are_valid_and_say_nothing_yet(kind: str) -> None:
    text = lifecycle.TEMPLATES[kind]
    assert read_typed(text, KINDS[kind].path("x"), KINDS[kind]).problems == []
    assert not has_text(text)
    assert text in (templates.NARRATIVE, templates.INVESTIGATION, templates.SUBSYSTEM, templates.FRICTION)


def test_created_after_is_what_shipped_and_has_no_successor(docs: Docs) -> None:
    docs.shipped("first")
    docs.shipped("second", "first")
    docs.shipped("side", "first")
    docs.shipped("old", "second", status="HISTORICAL")
    docs.create("later", future=True)
    docs.create("new")
    assert read(docs.goal("new")).created_after == ("side",)
    assert read(docs.goal("later")).created_after == ("side",)


def test_a_cycle_in_created_after_is_named_and_nothing_is_written(docs: Docs) -> None:
    docs.shipped("a", "b")
    docs.shipped("b", "a")
    with pytest.raises(DocumentError, match="a -> b -> a"):
        lifecycle.create(docs.documents, ("new",))


def test_a_batch_is_written_whole_or_not_at_all_and_every_name_is_judged(docs: Docs) -> None:
    docs.shipped("there")
    before = docs.everything
    with pytest.raises(InvalidInput) as caught:
        docs.create("good", "There", "bad name", "there", "twice", "twice", future=True)
    assert [field for field, _ in caught.value.errors] == ["There", "bad name", "there", "twice"]
    assert docs.everything == before
    docs.create("good", "better", future=True)
    assert docs.status("good") == docs.status("better") == "FUTURE"


def test_one_worktree_has_one_chunk_in_work(docs: Docs) -> None:
    with pytest.raises(RefusedError, match="several chunks"):
        docs.create("one", "two")
    docs.create("one")
    with pytest.raises(RefusedError) as caught:
        docs.create("two")
    for way_out in ("--future", "ve chunk complete one", "ve chunk pause one"):
        assert way_out in caught.value.hint
    docs.create("two", future=True)
    with pytest.raises(RefusedError, match="one is IMPLEMENTING"):
        lifecycle.activate(docs.documents, "two")
    write(docs.root, lifecycle.pause(docs.documents, "one"))
    write(docs.root, lifecycle.activate(docs.documents, "two"))
    assert (docs.status("one"), docs.status("two")) == ("FUTURE", "IMPLEMENTING")
    assert lifecycle.current(docs.documents) == "two"


def test_a_background_chunk_is_future_and_says_so(docs: Docs) -> None:
    docs.create("quiet", background=True)
    assert docs.status("quiet") == "FUTURE"
    assert read(docs.goal("quiet")).background


@pytest.mark.parametrize("kind", ["narrative", "investigation"])
def test_the_document_that_a_chunk_comes_from_lists_it(docs: Docs, kind: str) -> None:
    docs.other(kind, "big")
    docs.create("one", **{kind: "big"})
    path = KINDS[kind].path("big")
    assert links.directories(docs.text(path).encode(), path) == ["one"]
    assert f"{kind}: big" in docs.goal("one")


@pytest.mark.parametrize("kind", ["narrative", "investigation"])
def test_a_document_that_is_not_there_is_refused_with_the_near_name(docs: Docs, kind: str) -> None:
    docs.other(kind, "parsing")
    with pytest.raises(NotFound) as caught:
        docs.create("one", **{kind: "parsin"})
    assert "Did you mean parsing?" in caught.value.hint
    assert not (docs.root / "docs/chunks").exists()


# ── Completion ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("bug_type", "final"), [("null", "ACTIVE"), ("implementation", "HISTORICAL"), ("semantic", "ACTIVE")]
)
def test_the_bug_type_decides_the_final_status(docs: Docs, bug_type: str, final: str) -> None:
    docs.create("one")
    docs.change("one", "bug_type: null", f"bug_type: {bug_type}")
    if bug_type == "semantic":
        with pytest.raises(RefusedError, match="semantic"):
            docs.complete("one")
        (docs.root / "code.py").write_text("def run() -> None: ...\n")
        docs.change(
            "one", "code_references: []", "code_references:\n  - ref: code.py#run\n    implements: it"
        )
    docs.complete("one")
    assert docs.status("one") == final


def test_the_comment_block_stays_until_the_end_and_then_goes_alone(docs: Docs) -> None:
    docs.create("one")
    begun = docs.goal("one")
    docs.complete("one")
    head, rest = begun.split("<!--\n", 1)
    assert docs.goal("one") == head.replace("IMPLEMENTING", "ACTIVE") + rest.split("-->\n\n", 1)[1]


def test_a_comment_of_ones_own_stays(docs: Docs) -> None:
    docs.create("one")
    goal = docs.root / "docs/chunks/one/GOAL.md"
    own = "---\nstatus: IMPLEMENTING\n---\n\n<!-- Read the plan first. -->\n\n# Goal\n"
    goal.write_text(own)
    docs.complete("one")
    assert goal.read_text() == own.replace("IMPLEMENTING", "ACTIVE")


def test_references_that_do_not_resolve_are_told_all_at_once_with_the_likely_place(docs: Docs) -> None:
    (docs.root / "code.py").write_text("class Reader:\n    def read_all(self) -> None: ...\n")
    docs.create("one")
    docs.change(
        "one",
        "code_references: []",
        "code_references:\n  - ref: code.py#Reader::read_al\n    implements: reading\n"
        "  - ref: gone.py\n    implements: nothing",
    )
    before = docs.everything
    with pytest.raises(RefusedError) as caught:
        docs.complete("one")
    assert "code.py#Reader::read_all" in caught.value.what and "gone.py" in caught.value.what
    assert docs.everything == before


def test_what_the_chunk_names_says_so_in_turn(docs: Docs) -> None:
    docs.other("narrative", "big")
    docs.other("subsystem", "parser", "writer")
    write(docs.root, others.add_friction(docs.documents, "Slow", None, "")[0])
    write(docs.root, others.add_friction(docs.documents, "Dark", None, "")[0])
    docs.create("one", narrative="big")
    docs.change(
        "one",
        "subsystems: []",
        "subsystems:\n  - {subsystem_id: 0001-parser, relationship: implements}\n"
        "  - {subsystem_id: writer, relationship: uses}",
    )
    docs.change(
        "one",
        "friction_entries: []",
        "friction_entries: [{entry_id: F001}, {entry_id: F002, scope: partial}]",
    )
    changed = docs.complete("one")
    assert changed[-1] == "docs/chunks/one/GOAL.md", "it comes last, so that a repetition does the rest"
    assert "  - chunk_id: one\n    relationship: implements\n" in docs.text(
        "docs/subsystems/parser/OVERVIEW.md"
    )
    assert "chunks: []" in docs.text("docs/subsystems/writer/OVERVIEW.md")
    entries = links.friction(docs.text("docs/trunk/FRICTION.md").encode())
    assert [(one.id, one.state) for one in entries] == [("F001", "resolved"), ("F002", "partly")]
    assert "status: COMPLETED" in docs.text("docs/narratives/big/OVERVIEW.md")


def test_a_narrative_is_closed_by_the_last_of_its_chunks(docs: Docs) -> None:
    docs.other("narrative", "big")
    docs.create("one", "two", narrative="big", future=True)
    for name, status in (("one", "DRAFTING"), ("two", "COMPLETED")):
        write(docs.root, lifecycle.activate(docs.documents, name))
        docs.complete(name)
        assert f"status: {status}" in docs.text("docs/narratives/big/OVERVIEW.md")


def test_links_to_what_is_not_there_are_told_together_and_nothing_is_written(docs: Docs) -> None:
    docs.create("one")
    docs.change("one", "narrative: null", "narrative: gone")
    docs.change("one", "subsystems: []", "subsystems: [{subsystem_id: none, relationship: implements}]")
    docs.change("one", "friction_entries: []", "friction_entries: [{entry_id: F009}]")
    before = docs.everything
    with pytest.raises(RefusedError) as caught:
        docs.complete("one")
    assert all(what in caught.value.what for what in ("narrative gone", "subsystem none", "entry F009"))
    assert docs.everything == before


@pytest.mark.parametrize("status", ["FUTURE", "ACTIVE", "HISTORICAL"])
def test_only_what_is_in_work_can_be_completed(docs: Docs, status: str) -> None:
    docs.shipped("one", status=status)
    with pytest.raises(RefusedError, match=f"one is {status}"):
        docs.complete("one")


# ── Supersession, other kinds ──────────────────────────────────────────────────────────────────────


def test_a_superseded_chunk_is_the_parent_of_the_one_that_changed_it(docs: Docs) -> None:
    docs.shipped("old")
    docs.create("new")
    write(docs.root, lifecycle.supersede(docs.documents, "old", "new"))
    assert docs.status("old") == "SUPERSEDED"
    assert "parent_chunk: old" in docs.goal("new")


def test_what_is_not_begun_supersedes_nothing(docs: Docs) -> None:
    docs.shipped("old")
    docs.create("new", future=True)
    with pytest.raises(RefusedError, match="new is FUTURE"):
        lifecycle.supersede(docs.documents, "old", "new")


def test_the_other_kinds_go_where_their_statuses_lead(docs: Docs) -> None:
    docs.other("subsystem", "parser")
    with pytest.raises(RefusedError, match="DISCOVERING and cannot become REFACTORING"):
        others.set_other_status(docs.documents, KINDS["subsystem"], "parser", "REFACTORING")
    write(docs.root, others.set_other_status(docs.documents, KINDS["subsystem"], "parser", "documented"))
    assert "status: DOCUMENTED" in docs.text("docs/subsystems/parser/OVERVIEW.md")


# ── Writing ────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_written_when_one_of_the_files_changed_since_it_was_read(docs: Docs) -> None:
    docs.other("narrative", "big")
    edits = lifecycle.create(docs.documents, ("one",), narrative="big")
    overview = docs.root / "docs/narratives/big/OVERVIEW.md"
    overview.write_text(overview.read_text() + "\nMine.\n")
    with pytest.raises(RefusedError, match="changed while"):
        write(docs.root, edits)
    assert not (docs.root / "docs/chunks").exists()


def test_a_link_that_leads_out_of_the_repository_is_not_followed(docs: Docs, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (docs.root / "docs").mkdir()
    (docs.root / "docs/chunks").symlink_to(outside)
    with pytest.raises(RefusedError, match="leads elsewhere"):
        docs.create("one")
    assert list(outside.iterdir()) == []


def test_a_file_keeps_its_mode_and_leaves_nothing_beside_it(docs: Docs) -> None:
    docs.create("one")
    goal = docs.root / "docs/chunks/one/GOAL.md"
    goal.chmod(0o600)
    docs.complete("one")
    assert goal.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in goal.parent.iterdir()) == ["GOAL.md", "PLAN.md"]


def test_a_file_that_appeared_meanwhile_is_not_overwritten(docs: Docs) -> None:
    (docs.root / "a.md").write_text("mine")
    with pytest.raises(RefusedError, match="is there meanwhile"):
        write(docs.root, [Edit("a.md", None, b"theirs")])
    assert docs.text("a.md") == "mine"


@pytest.mark.parametrize("killed_after", range(6))
def test_a_creation_that_was_killed_can_be_repeated(docs: Docs, killed_after: int) -> None:
    """Whatever was written when it was killed, the same command for what is missing does the rest."""
    docs.other("narrative", "story")
    edits = lifecycle.create(docs.documents, ("one", "two"), future=True, narrative="story")
    write(docs.root, edits[:killed_after])
    (docs.root / "docs/chunks/two").mkdir(parents=True, exist_ok=True)
    (docs.root / "docs/chunks/two/.PLAN.md.0123abcd").write_text("# Impl")
    there = [name for name in ("one", "two") if (docs.root / f"docs/chunks/{name}/GOAL.md").exists()]
    missing = [name for name in ("one", "two") if name not in there]
    if missing:
        docs.create(*missing, future=True, narrative="story")
    assert [docs.status(name) for name in ("one", "two")] == ["FUTURE", "FUTURE"]
    text = (docs.root / "docs/narratives/story/OVERVIEW.md").read_bytes()
    assert links.directories(text, "story") == ["one", "two"]


def test_a_folder_with_somebodys_files_in_it_is_no_interrupted_creation(docs: Docs) -> None:
    folder = docs.root / "docs/chunks/one"
    folder.mkdir(parents=True)
    (folder / "PLAN.md").write_text("# My plan\n")
    with pytest.raises(InvalidInput, match="is there, without a GOAL"):
        docs.create("one")


@pytest.mark.parametrize(
    "words", ["story", "story/", "docs/narratives/story", "docs/narratives/story/OVERVIEW.md"]
)
def test_a_narrative_may_be_given_by_its_folder_and_its_name_is_what_is_written(
    docs: Docs, words: str
) -> None:
    docs.other("narrative", "story")
    docs.create("one", narrative=words)
    assert "\nnarrative: story\n" in docs.goal("one")


@pytest.mark.parametrize("words", ["", ".", "..", "../narratives/story", "../../elsewhere"])
def test_a_narrative_outside_of_its_folder_is_none(docs: Docs, words: str) -> None:
    docs.other("narrative", "story")
    (docs.root / "elsewhere").mkdir()
    (docs.root / "elsewhere/OVERVIEW.md").write_text("---\nstatus: ACTIVE\n---\n")
    before = docs.everything
    with pytest.raises(NotFound):
        docs.create("one", narrative=words)
    assert docs.everything == before


@pytest.mark.parametrize("ticket", ["a\nb", "\x1b[31m", "a\0"])
def test_a_ticket_that_the_check_would_refuse_is_refused_at_once(docs: Docs, ticket: str) -> None:
    with pytest.raises(InvalidInput, match="one line"):
        docs.create("one", ticket=ticket)
