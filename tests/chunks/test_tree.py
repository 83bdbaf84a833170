"""The documents of a repository: found from anywhere in it, whatever lies around, and nothing is made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chunks.generator import make, wanted
from ve.chunks import lifecycle
from ve.chunks.kinds import KINDS
from ve.chunks.tree import Documents, bare_name, root_of
from ve.errors import DocumentError, NotFound

GOAL = "---\nstatus: {status}\ncreated_after: [{after}]\n---\n\n# Chunk Goal\n"


def chunk(root: Path, name: str, status: str = "ACTIVE", after: str = "") -> Path:
    folder = root / "docs" / "chunks" / name
    folder.mkdir(parents=True)
    (folder / "GOAL.md").write_text(GOAL.format(status=status, after=after))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    return tmp_path


def test_the_root_is_found_from_every_folder_below_it(root: Path) -> None:
    deep = chunk(root, "a") / "artifacts"
    deep.mkdir()
    assert root_of(deep) == root_of(root) == root


def test_in_a_linked_worktree_the_root_is_that_worktree(root: Path) -> None:
    worktree = root / ".ve" / "worktrees" / "a-1"
    worktree.mkdir(parents=True)
    (worktree / ".git").write_text("gitdir: elsewhere\n")
    assert root_of(worktree) == worktree


def test_outside_of_a_repository_there_is_no_root(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()  # empty, so it is no repository to git either
    with pytest.raises(NotFound, match="not in a git repository"):
        root_of(tmp_path)


def test_a_repository_without_documents_is_empty_and_stays_so(root: Path) -> None:
    documents = Documents(root)
    assert all(documents.names(kind) == () for kind in KINDS)
    assert documents.order() == {}
    assert documents.current() == ()
    assert documents.friction_ids() == {}
    assert documents.plan("a") is None
    assert [path.name for path in root.iterdir()] == [".git"]


def test_names_are_folders_sorted_also_those_without_their_document(root: Path) -> None:
    for name in ("b", "a", "no name"):
        chunk(root, name)
    (root / "docs" / "chunks" / "empty").mkdir()
    (root / "docs" / "chunks" / ".cache").mkdir()
    (root / "docs" / "chunks" / "README.md").write_text("not a chunk\n")
    assert Documents(root).names("chunk") == ("a", "b", "empty", "no name")
    assert Documents(root).names(KINDS["chunk"]) == ("a", "b", "empty", "no name")


def test_what_stands_in_a_documents_place_is_a_problem_and_stops_nobody(root: Path) -> None:
    for name in ("nothing", "folder", "link", "pipe"):
        (root / "docs" / "chunks" / name).mkdir(parents=True)
    (root / "docs" / "chunks" / "folder" / "GOAL.md").mkdir()
    (root / "docs" / "chunks" / "link" / "GOAL.md").symlink_to("nowhere")
    os.mkfifo(root / "docs" / "chunks" / "pipe" / "GOAL.md")
    documents = Documents(root)
    said = {name: documents.read("chunk", name).problems[0] for name in documents.names("chunk")}
    assert {name: problem.rule for name, problem in said.items() if name != "pipe"} == dict.fromkeys(
        ("folder", "link", "nothing"), "missing-document"
    )
    assert "is a folder" in said["folder"].message
    assert "leads nowhere" in said["link"].message
    assert documents.order() == dict.fromkeys(("folder", "link", "nothing", "pipe"), ("", ()))


def test_a_document_is_read_once_and_its_bytes_are_those_on_disk(root: Path) -> None:
    path = chunk(root, "a") / "GOAL.md"
    data = b"\xef\xbb\xbf---\r\nstatus: ACTIVE\r\n---\r\n\xff\r\n"
    path.write_bytes(data)
    documents = Documents(root)
    assert documents.bytes("chunk", "a") == data
    assert documents.read("chunk", "a") is documents.read(KINDS["chunk"], "a")
    assert documents.path("chunk", "a") == "docs/chunks/a/GOAL.md"
    assert documents.path("friction", "") == "docs/trunk/FRICTION.md"


def test_the_list_of_chunks_says_what_reading_each_whole_says(tmp_path: Path) -> None:
    """The quick way to the two fields that a list needs agrees with the whole reader, on every era."""
    made = make(tmp_path, chunks=250, seed=5, defects=wanted("all"))
    documents = Documents(made.root)
    order = documents.order()
    assert len(order) >= 250
    for name, told in order.items():
        value = Documents(made.root).read("chunk", name).value
        assert told == (("", ()) if value is None else (value.status, value.created_after)), name


def test_a_head_longer_than_the_first_part_that_is_read_is_still_read(root: Path) -> None:
    path = chunk(root, "a") / "GOAL.md"
    paths = "".join(f"- src/file_{number}.py\n" for number in range(2000))
    path.write_text(f"---\nstatus: ACTIVE\ncode_paths:\n{paths}created_after: [b]\n---\n")
    assert Documents(root).order() == {"a": ("ACTIVE", ("b",))}


def test_friction_entries_are_known_with_their_lines(root: Path) -> None:
    log = root / "docs" / "trunk" / "FRICTION.md"
    log.parent.mkdir(parents=True)
    log.write_text(
        "---\nthemes: []\n---\n\n### F001: slow\n\n<!--\n### F009: an example\n-->\n### F012: loud\n"
    )
    assert Documents(root).friction_ids() == {"F001": 5, "F012": 10}
    assert Documents(root).names("friction") == ("FRICTION",)


@pytest.mark.parametrize(
    "words",
    ["a_name", "a_name/", "docs/chunks/a_name", "docs/chunks/a_name/", "./docs/chunks/a_name/GOAL.md",
     "/somewhere/else/docs/chunks/a_name/PLAN.md"],
)  # fmt: skip
def test_a_chunk_can_be_named_by_its_folder(words: str) -> None:
    assert bare_name(words) == "a_name"


def test_a_name_that_there_is_not_is_told_with_the_one_that_is_near(root: Path) -> None:
    chunk(root, "parser")
    documents = Documents(root)
    assert documents.named("chunk", "docs/chunks/parser/") == "parser"
    with pytest.raises(NotFound) as told:
        documents.named("chunk", "paser")
    assert told.value.hint == "Did you mean parser?"
    with pytest.raises(NotFound) as told:
        documents.bytes("chunk", "other")
    assert told.value.where == "docs/chunks/other/GOAL.md"


def test_the_chunk_in_work_is_the_one_that_is_implementing_not_the_newest(root: Path) -> None:
    chunk(root, "a")
    chunk(root, "b", "IMPLEMENTING", "a")
    chunk(root, "c", "FUTURE", "a")
    assert Documents(root).current() == ("b",)


def test_a_link_that_leads_to_itself_hides_no_other_chunk(root: Path) -> None:
    chunk(root, "a")
    (root / "docs/chunks/loop").symlink_to("loop")
    assert Documents(root).names("chunk") == ("a",)


def test_a_document_that_never_ends_or_waits_for_a_writer_is_one_that_cannot_be_read(root: Path) -> None:
    for name in ("endless", "pipe"):
        (root / "docs/chunks" / name).mkdir(parents=True)
    (root / "docs/chunks/endless/GOAL.md").symlink_to("/dev/zero")
    os.mkfifo(root / "docs/chunks/pipe/GOAL.md")
    documents = Documents(root)
    assert [documents.order()[name][0] for name in ("endless", "pipe")] == ["", ""]
    for name in ("endless", "pipe"):
        assert [one.rule for one in documents.read("chunk", name).problems] == ["missing-document"]
        with pytest.raises(DocumentError, match="no file that can be read"):
            lifecycle.activate(documents, name)
