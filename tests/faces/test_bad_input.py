"""What a person may get wrong: said clearly, with what to do instead, and nothing is queued by it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.given import Project, git
from tests.faces.terminal import WAIT_S, Terminal
from tests.faces.terminal import project as new_project
from ve import daemon


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Chunks that are fine, and chunks that are not."""
    made = new_project(tmp_path_factory.mktemp("bad-input") / "repo")
    for name in ("fine", "other", "queued", "changed"):
        made.chunk(name)
    made.chunk("round_a", depends_on=["round_b"])
    made.chunk("round_b", depends_on=["round_c"])
    made.chunk("round_c", depends_on=["round_a"])
    made.chunk("itself", depends_on=["itself"])
    made.chunk("orphan", depends_on=["nowhere"])
    goal = "docs/chunks/changed/GOAL.md"
    made.write({goal: (made.root / goal).read_text() + "\nAnd more.\n"})
    made.write({f"docs/chunks/fresh/{name}.md": "new\n" for name in ("GOAL", "PLAN")})
    return made


@pytest.fixture(scope="module")
def desk(given: Project) -> Iterator[Terminal]:
    """A daemon whose board is paused, with one unit queued: it holds still."""
    terminal = Terminal(given.root)
    terminal.start()
    terminal.said("orch", "pause")
    terminal.said("orch", "inject", "queued")
    yield terminal
    terminal.end()


def refused(desk: Terminal, code: int, *words: str) -> list[str]:
    """The lines on stderr of a command that fails so, and that changes nothing."""
    before = desk.client.get("/work-units")
    done = desk.ve(*words)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert desk.client.get("/work-units") == before, "not even the cursor moved"
    first, *rest = done.stderr.splitlines()
    assert first.startswith("ve: ")
    return [first, *rest]


# ── Chunks that cannot be queued ───────────────────────────────────────────────────────────────────


def test_a_chunk_that_does_not_exist_names_the_files_that_it_would_have(desk: Terminal) -> None:
    what, *advice = refused(desk, 1, "orch", "inject", "nowhere")
    assert "docs/chunks/nowhere/GOAL.md and docs/chunks/nowhere/PLAN.md" in what
    assert "not committed" in what
    assert "write both files" in advice[0]


@pytest.mark.parametrize(("chunk", "files"), [("fresh", ["GOAL", "PLAN"]), ("changed", ["GOAL"])])
def test_a_chunk_that_is_not_committed_names_the_files_and_how_to_commit_them(
    desk: Terminal, chunk: str, files: list[str]
) -> None:
    what, *advice = refused(desk, 1, "orch", "inject", chunk)
    assert "not committed" in what
    named = [name for name in ("GOAL", "PLAN") if f"docs/chunks/{chunk}/{name}.md" in what]
    assert named == files
    assert advice[0].startswith(f"git add docs/chunks/{chunk}")
    assert advice[0].endswith("&& git commit")


def test_a_chunk_that_is_queued_already_says_which_unit_has_it_and_how_to_see_it(desk: Terminal) -> None:
    unit = desk.json("orch", "work-unit", "show", "queued")["unit"]["id"]
    what, *advice = refused(desk, 1, "orch", "inject", "queued")
    assert what == f"ve: queued is already queued as unit {unit}"
    assert "ve orch work-unit show queued" in "\n".join(advice)


@pytest.mark.parametrize(
    ("chunks", "cycle"),
    [
        (("round_a", "round_b", "round_c"), "round_a -> round_b -> round_c -> round_a"),
        (("fine", "round_c", "round_b", "round_a"), "round_c -> round_a -> round_b -> round_c"),
        (("itself",), "itself -> itself"),
    ],
    ids=["three", "among-others", "itself"],
)
def test_a_cycle_is_shown_whole(desk: Terminal, chunks: tuple[str, ...], cycle: str) -> None:
    what, *advice = refused(desk, 1, "orch", "inject", *chunks)
    assert what == f"ve: a cycle of dependencies: {cycle}"
    assert "depends_on" in advice[0]


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (("orphan",), "nowhere"),
        (("round_a",), "round_b"),
        (("fine", "--depends-on", "other"), "other"),
    ],
    ids=["by-its-document", "of-a-cycle", "by-option"],
)
def test_a_dependency_that_nothing_will_finish_is_named(
    desk: Terminal, words: tuple[str, ...], missing: str
) -> None:
    said = "\n".join(refused(desk, 1, "orch", "inject", *words))
    assert f"{words[0]} depends on {missing}" in said
    assert f"inject {missing} first" in said


@pytest.mark.parametrize(
    ("chunks", "code", "culprit"),
    [
        (("fine", "nowhere"), 1, "nowhere"),
        (("nowhere", "fine"), 1, "nowhere"),
        (("fine", "other", "queued"), 1, "queued"),
        (("fine", "fresh", "other"), 1, "fresh"),
        (("fine", "itself"), 1, "itself"),
        (("fine", "orphan"), 1, "orphan"),
        (("fine", ".."), 2, "'..'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_of_a_batch_with_one_bad_chunk_nothing_is_queued(
    desk: Terminal, chunks: tuple[str, ...], code: int, culprit: str
) -> None:
    what, *_ = refused(desk, code, "orch", "inject", *chunks)
    assert culprit in what
    assert [unit["chunk"] for unit in desk.json("orch", "ps")["units"]] == ["queued"]


# ── Names ──────────────────────────────────────────────────────────────────────────────────────────

NAMES = [
    ("..", "it means another folder"),
    (".", "it means another folder"),
    ("../fine", "character 1 is `.`"),
    ("fine/..", "character 5 is `/`; give the name of the folder under docs/chunks, not a path"),
    ("docs/chunks/fine", "character 5 is `/`"),
    ("-fine", "programs would take it for an option"),
    ("--force", "programs would take it for an option"),
    ("fine other", "character 5 is a space"),
    (" fine", "character 1 is a space"),
    ("fine ", "character 5 is a space"),
    ("fine\u3000other", "character 5 is U+3000"),
    ("\u3000", "character 1 is U+3000"),
    ("fine\n", "character 5 is U+000A"),
    ("fine\x1b[31m", "character 5 is U+001B"),
    ("f\u00efne", "character 2 is U+00EF"),
    ("fine~1", "character 5 is `~`"),
    ("", "it is empty"),
    ("x" * 81, "it has 81 characters, 80 are allowed"),
]


@pytest.mark.parametrize(("name", "reason"), NAMES, ids=[ascii(name)[:20] for name, _ in NAMES])
def test_a_name_that_no_chunk_may_have_says_what_is_wrong_with_it(
    desk: Terminal, name: str, reason: str
) -> None:
    what, *advice = refused(desk, 2, "orch", "inject", "--", name)
    assert f"cannot be a chunk's name: {reason}" in what
    assert what.isascii() and what.isprintable()
    assert advice == [
        "A name is 1 to 80 ASCII letters, digits, `_` and `-`, and begins with a letter or a digit."
    ]


def test_a_name_whose_bytes_are_no_text_is_refused_before_it_is_sent(desk: Terminal) -> None:
    what, *advice = refused(desk, 2, "orch", "inject", os.fsdecode(b"fine\xff"))
    assert "not UTF-8" in what
    assert what.isascii() and advice == ["Write it in UTF-8."]


def test_a_leading_dash_is_taken_for_an_option_and_help_is_named(desk: Terminal) -> None:
    what, *advice = refused(desk, 2, "orch", "inject", "-fine")
    assert "-f" in what
    assert advice == ["See: ve orch inject --help"]


def test_names_to_depend_on_are_held_to_the_same_rule(desk: Terminal) -> None:
    what, *_ = refused(desk, 2, "orch", "inject", "fine", "--depends-on", "other,..")
    assert "'..' cannot be a chunk's name" in what


def test_no_name_at_all_asks_for_one(desk: Terminal) -> None:
    assert refused(desk, 2, "orch", "inject") == [
        "ve: which chunk?",
        "Name one or more: ve orch inject NAME",
    ]


# ── Configuration ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("slotts", "slots"),
        ("Slots", "slots"),
        ("limit.idle_s", "limits.idle_s"),
        ("worktree.retian", "worktree.retain"),
        ("phase.REVEIW.agent", "phase.REVIEW.agent"),
        ("agents.claude.comand", "agents.claude.command"),
    ],
)
def test_an_unknown_key_names_the_nearest_and_sets_nothing(desk: Terminal, key: str, nearest: str) -> None:
    settings = desk.json("orch", "config")
    what, *advice = refused(desk, 2, "orch", "config", "set", key, "3")
    assert what == f"ve: there is no key `{key}`"
    assert advice == [f"The nearest key is `{nearest}`. See every key with: ve orch config"]
    assert desk.json("orch", "config") == settings


def test_an_unknown_key_in_the_file_keeps_the_daemon_from_starting_and_names_the_line(tmp_path: Path) -> None:
    made = new_project(tmp_path / "repo")
    made.commit({"ve.toml": "slots = 2\n\n[worktree]\nretian = true\n"})
    desk = Terminal(made.root)
    try:
        done = desk.ve("orch", "start")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"ve: {made.root}/ve.toml:4: there is no key `worktree.retian`\n"
            "The nearest key is `worktree.retain`. See every key with: ve orch config\n"
        )
        assert daemon.running(desk.places) is None
        made.commit({"ve.toml": "slots = 2\n\n[worktree]\nretain = true\n"})
        desk.start()
    finally:
        desk.end()


# ── Repositories ───────────────────────────────────────────────────────────────────────────────────


def test_with_a_detached_head_there_is_no_branch_to_work_for(desk: Terminal, given: Project) -> None:
    given.git("checkout", "-q", "--detach")
    try:
        what, *advice = refused(desk, 1, "orch", "inject", "fine")
    finally:
        given.git("checkout", "-q", "main")
    assert what.startswith(f"ve: {given.root}: HEAD is detached")
    assert "git switch BRANCH" in advice[0]


def test_a_repository_without_commits_is_told_to_make_the_first(tmp_path: Path) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    desk = Terminal(root)
    try:
        desk.start()
        what, *advice = refused(desk, 1, "orch", "inject", "fine")
        assert what == f"ve: {root}: the branch main has no commit yet"
        assert advice == ['Make the first one: git add -A && git commit -m "Start"']
        assert desk.json("orch", "ps")["units"] == []
    finally:
        desk.end()


def test_a_repository_with_a_path_of_300_characters_works_from_start_to_stop(tmp_path: Path) -> None:
    """Unix sockets allow 107: the socket is elsewhere."""
    root = tmp_path
    while (left := 300 - len(str(root)) - 1) > 0:
        root /= "d" * (left if left <= 120 else min(120, left - 2))
    assert len(str(root)) == 300
    made = new_project(root)
    made.chunk("fine")
    desk = Terminal(made.root)
    found = desk.start()
    try:
        desk.said("orch", "inject", "fine")
        desk.status("fine", "DONE")
        assert [unit["status"] for unit in desk.json("orch", "ps", "--all")["units"]] == ["DONE"]
        assert (made.root / "work" / "fine.txt").read_text() == "fine\n"
        with desk.running("orch", "stop") as stopping:
            assert stopping.wait(WAIT_S) == 0
        assert daemon.running(desk.places) is None
        assert daemon.process_start_time(found["pid"]) == 0
    finally:
        desk.end()
    made.judged_sound()
