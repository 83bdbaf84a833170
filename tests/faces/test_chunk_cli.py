"""The commands that look at chunks: what they show, what scripts and editors get, and what they cost."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.chunks.generator import make
from tests.chunks.test_validate import Repository, check_sarif
from tests.faces.terminal import WAIT_S, Terminal
from ve.cli.__main__ import main

CODE = """class Writer:
    class Options:
        depth = 2

    def run(self):
        # Chunk: docs/chunks/parser - the loop
        return 1


def helper():
    return 2
"""
BROKEN = {
    "status": "---\nstatus: ACTIV\n---\n",
    "colon": "---\nstatus: ACTIVE\nticket: see: below\ncode_references:\n- ref: src/a.py#Writer\n"
    "  implements: it\n---\n",
    "references": "---\nstatus: ACTIVE\ncode_references:\n- ref: src/a.py#Writer::rnu\n  implements: loop\n"
    "- ref: src/gone.py\n  implements: nothing\ncreated_after: [parser, cycle]\n---\n",
    "cycle": "---\nstatus: SUPERSEDED\nparent_chunk: praser\ncreated_after:\n  - references\n---\n",
    "old": "---\nstatus: HISTORICAL\ncode_references:\n  - file: src/a.py\n    ranges:\n      - lines: 1-9\n"
    "        implements: all\nnarrative: story\n---\n\n<!-- STATUS VALUES -->\n",
    "headless": "# Just text\n\nüber alles\n",
}
"""Six documents, each broken in its own way, as they are met in repositories that have grown."""


def git_folder(root: Path) -> None:
    subprocess.run(["git", "init", "-q", "-b", "main", str(root)], check=True)


@pytest.fixture
def desk(tmp_path: Path) -> Terminal:
    """Six chunks in each state, a narrative, and code."""
    here = Repository(tmp_path)
    git_folder(tmp_path)
    here.file("src/a.py", CODE)
    here.overview(
        "narratives/story",
        "status: ACTIVE\nproposed_chunks:\n- prompt: Make the parser\n  chunk_directory: parser\n",
    )
    refer = '\n  - ref: {}\n    implements: "It"'
    here.chunk(
        "parser", narrative="story", ticket="VE-1", code_references=refer.format("src/a.py#Writer::run")
    )
    here.chunk("writer", created_after="[parser]", code_references=refer.format("src/a.py#Writer"))
    here.chunk("whole", created_after="[parser]", code_references=refer.format("src/a.py"))
    here.chunk(
        "loop", status="HISTORICAL", created_after="[parser]",
        code_references=refer.format("src/a.py#Writer::run"),
    )  # fmt: skip
    here.chunk("joined", created_after="[writer, whole]", code_references=refer.format("src/a.py#helper"))
    here.chunk(
        "now", status="IMPLEMENTING", code_references="[]", code_paths="[src/a.py]", depends_on="[joined]",
        created_after="[joined]",
    )  # fmt: skip
    here.chunk("later", status="FUTURE", code_references="[]", depends_on="[now]", created_after="[joined]")
    return Terminal(tmp_path)


@pytest.fixture
def broken(tmp_path: Path) -> Terminal:
    """One document that is right, and six that are not."""
    here = Repository(tmp_path)
    git_folder(tmp_path)
    here.file("src/a.py", CODE)
    here.chunk("parser", code_references="\n- ref: src/a.py#Writer::run\n  implements: The loop")
    for name, text in BROKEN.items():
        here.file(f"docs/chunks/{name}/GOAL.md", text)
        here.file(f"docs/chunks/{name}/PLAN.md", "# Plan\n\nIn one step.\n")
    return Terminal(tmp_path)


Here = Callable[..., tuple[int, str, str]]


@pytest.fixture
def here(desk: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Runs a command in this process, which is quicker: its exit code, stdout and stderr."""
    monkeypatch.chdir(desk.root)
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        return code, *capsys.readouterr()

    return run


# ── Looking ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "words",
    [
        ("list",), ("list", "--recent"), ("list", "--tree"), ("list", "--status", "FUTURE"),
        ("list", "--json"),
        ("show", "parser"), ("show", "now"), ("show", "parser", "--json"),
        ("overlap", "parser"), ("overlap", "now"), ("overlap", "parser", "--json"),
        ("graph",), ("graph", "parser"), ("graph", "--format", "mermaid"),
        ("graph", "now", "--format", "dot"),
        ("validate", "parser"), ("validate",), ("validate", "--all"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_a_command_shows(here: Here, words: tuple[str, ...], snapshot: SnapshotAssertion) -> None:
    code, said, _ = here("chunk", *words)
    assert code == 0
    assert said == snapshot


def test_commands_work_from_any_folder_and_take_a_folder_as_a_name(desk: Terminal) -> None:
    folder = desk.root / "docs" / "chunks" / "parser"
    named = desk.ve("chunk", "show", "docs/chunks/parser/", cwd=folder)
    assert named.returncode == 0, named.stderr
    assert named.stdout == desk.said("chunk", "show", "parser")


def test_looking_creates_nothing(desk: Terminal, here: Here) -> None:
    def files() -> set[Path]:
        return {path for path in desk.root.rglob("*") if "__pycache__" not in path.parts}

    before = files()
    for words in (("list",), ("show", "now"), ("validate", "--all"), ("overlap", "now"), ("graph",)):
        assert here("chunk", *words)[0] == 0
    assert files() == before


def test_a_repository_without_chunks_is_told_how_to_begin(tmp_path: Path) -> None:
    git_folder(tmp_path)
    terminal = Terminal(tmp_path)
    for words in (("list",), ("list", "--tree"), ("graph",)):
        done = terminal.ve("chunk", *words)
        assert (done.returncode, done.stdout) == (0, "")
        assert "ve chunk create" in done.stderr
    assert terminal.json("chunk", "list") == {"chunks": []}
    assert terminal.said("chunk", "validate", "--all") == "nothing is wrong in 0 documents\n"


def test_a_name_that_there_is_not_is_told_with_the_near_one(here: Here) -> None:
    for verb in ("show", "validate", "overlap", "graph"):
        code, _, complaint = here("chunk", verb, "praser")
        assert code == 1
        assert "there is no chunk 'praser'" in complaint and "Did you mean parser?" in complaint


def test_outside_of_a_repository_the_message_says_so(tmp_path: Path) -> None:
    done = Terminal(tmp_path).ve("chunk", "list")
    assert done.returncode == 1
    assert "is not in a git repository" in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(desk: Terminal) -> None:
    line = f"{sys.executable} -P -m ve.cli.__main__ chunk list | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], cwd=desk.root, env=desk.env, capture_output=True, text=True,
        timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


# ── Validation ─────────────────────────────────────────────────────────────────────────────────────


def test_six_broken_documents_are_explained_at_once(broken: Terminal, snapshot: SnapshotAssertion) -> None:
    done = broken.ve("chunk", "validate", "--all")
    assert done.returncode == 1
    assert done.stdout == snapshot
    for name in BROKEN:
        assert f"docs/chunks/{name}/GOAL.md:" in done.stdout


def test_six_broken_documents_for_editors_and_ci(broken: Terminal, snapshot: SnapshotAssertion) -> None:
    done = broken.ve("chunk", "validate", "--all", "--format", "sarif")
    assert done.returncode == 1
    log = json.loads(done.stdout)
    check_sarif(log)
    del log["runs"][0]["tool"]["driver"]["semanticVersion"]
    assert json.dumps(log, indent=1, ensure_ascii=False) == snapshot


def test_json_has_the_same_problems_as_the_text(broken: Terminal) -> None:
    text = broken.ve("chunk", "validate", "--all").stdout
    told = json.loads(broken.ve("chunk", "validate", "--all", "--format", "json").stdout)
    places = re.findall(r"^(\S+):(\d+):(\d+): (\w+): .* \[([\w-]+)\]$", text, re.MULTILINE)
    assert places == [
        (one["path"], str(one["line"]), str(one["column"]), one["level"], one["rule"])
        for one in told["problems"]
    ]
    assert told["errors"] == sum(place[3] == "error" for place in places) > 0


def test_only_errors_fail_unless_warnings_are_to_count(desk: Terminal, here: Here) -> None:
    path = desk.root / "docs" / "chunks" / "parser" / "GOAL.md"
    path.write_text(path.read_text().replace("ticket: VE-1", "bug_type: implementation"))
    assert here("chunk", "validate", "parser")[0] == 0
    assert here("chunk", "validate", "parser", "--strict")[0] == 1


def test_without_a_name_the_chunk_in_work_is_checked_not_the_newest(desk: Terminal) -> None:
    path = desk.root / "docs" / "chunks" / "later" / "GOAL.md"
    path.write_text("nothing\n")
    assert desk.said("chunk", "validate").endswith("nothing is wrong in 1 document\n")
    path = desk.root / "docs" / "chunks" / "now" / "GOAL.md"
    path.write_text(path.read_text().replace("IMPLEMENTING", "FUTURE"))
    done = desk.ve("chunk", "validate")
    assert done.returncode == 1
    assert "no chunk is IMPLEMENTING" in done.stderr and "ve chunk validate --all" in done.stderr


def test_what_a_document_holds_cannot_move_the_terminals_cursor(desk: Terminal, here: Here) -> None:
    path = desk.root / "docs" / "chunks" / "parser" / "GOAL.md"
    path.write_text(path.read_text().replace("ticket: VE-1", 'narrative: "\\e[2Jgone"'))
    for words in (("validate", "parser"), ("show", "parser"), ("list",), ("graph",)):
        assert "\x1b" not in here("chunk", *words)[1]


# ── Cost ───────────────────────────────────────────────────────────────────────────────────────────


def loaded(root: Path, *words: str) -> set[str]:
    """The modules that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-P", "-m", "ve.cli.__main__", *words],
        cwd=root, capture_output=True, text=True, timeout=WAIT_S, check=True,
    )  # fmt: skip
    return set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))


def test_a_list_loads_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    """`ast` is there already: the command line's own library inspects signatures with it."""
    make(tmp_path, chunks=60, seed=1, git=True)
    heavy = {"yaml", "tree_sitter", "duckdb", "litestar", "reactivex", "dulwich", "http.client", "subprocess"}
    ours = {"ve.chunks.typed", "ve.chunks.symbols", "ve.chunks.references", "ve.chunks.validate", "ve.client"}
    for words in (("list",), ("list", "--tree"), ("list", "--json")):
        found = loaded(tmp_path, "chunk", *words)
        assert "ve.chunks.tree" in found
        assert not found & (heavy | ours), words
        assert not {name for name in found if name.startswith("tree_sitter")}


def test_checking_plain_documents_loads_no_yaml(tmp_path: Path) -> None:
    make(tmp_path, chunks=30, seed=1, eras=(1,), git=True)
    found = loaded(tmp_path, "chunk", "validate", "--all")
    assert not found & {"yaml", "duckdb", "litestar", "reactivex", "dulwich", "http.client"}


def test_a_folder_with_a_line_end_in_its_name_makes_no_line_of_its_own(tmp_path: Path) -> None:
    git_folder(tmp_path)
    folder = tmp_path / "docs/chunks/x\ndocs/chunks"
    folder.mkdir(parents=True)
    forged = tmp_path / "docs/chunks/a\nb"
    forged.mkdir()
    done = Terminal(tmp_path).ve("chunk", "validate", "--all")
    assert done.returncode == 1
    assert all(re.match(r"docs/|    |\d+ error", line) for line in done.stdout.splitlines()), done.stdout
