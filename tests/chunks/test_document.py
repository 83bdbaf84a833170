"""What a chunk's documents say, and where its work begins."""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ve.chunks import find_cycle, has_text, load, templates
from ve.errors import DocumentError, InvalidInput

HEAD = "---\nstatus: FUTURE\n---\n"
GOAL = HEAD + "# Goal\n\nPrint events.\n"
PLAN = "# Plan\n\n1. Print them.\n"


def files(goal: str | None, plan: str | None) -> dict[str, bytes]:
    both = {"docs/chunks/one/GOAL.md": goal, "docs/chunks/one/PLAN.md": plan}
    return {path: text.encode() for path, text in both.items() if text is not None}


@pytest.mark.parametrize(
    ("goal", "plan", "phase"),
    [
        (GOAL, PLAN, "IMPLEMENT"),
        (GOAL, "# Plan\n", "PLAN"),
        (GOAL, "", "PLAN"),
        (HEAD + "# Goal\n", PLAN, "GOAL"),
        (templates.GOAL, templates.PLAN, "GOAL"),
        (GOAL, templates.PLAN, "PLAN"),
    ],
)
def test_work_begins_with_the_first_document_that_says_nothing(goal: str, plan: str, phase: str) -> None:
    assert load("one", files(goal, plan).get).initial_phase == phase


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\ufeff",
        HEAD,
        "# Only\n\n## headings\n",
        "Title\n=====\n\nOther\n---\n",
        "<!-- a comment -->\n",
        "<!--\nover\n\nlines\n-->\n",
        "before <!-- never closed\n\nand on\n".replace("before ", ""),
        "<!-- a --> <!-- b\n --> \n",
        "---\n\n***\n\n- \n-\n> \n",
        "TBD\n\n- tbd.\n",
        "```\n```\n",
        templates.PLAN.replace("\n", "\r\n"),
        templates.GOAL,
        "## Approach\n\nHow will you build this? Describe the strategy at a high level.\n",
    ],
)
def test_templates_headings_comments_and_rules_are_no_content(text: str) -> None:
    assert not has_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "Do it.",
        "## Any heading\n\nDo it.\n",
        "<!-- a --> Do it.\n",
        "<!--\n-->\n- Do it\n---\n",
        "```\n<!-- code -->\n```\n",
        "```\nx = 1\n",
        "直す\n",
        "| a | b |\n|---|---|\n| 1 | 2 |\n",
        templates.PLAN + "\n1. Do it.\n",
        HEAD + "Do it.",
        b"\xff\xfe do it",
    ],
)
def test_text_anywhere_is_content(text: str | bytes) -> None:
    assert has_text(text)


def test_every_file_that_is_not_committed_is_named() -> None:
    with pytest.raises(DocumentError) as caught:
        load("one", files(None, PLAN).get)
    assert caught.value.where == "docs/chunks/one/GOAL.md"
    with pytest.raises(DocumentError) as caught:
        load("one", files(None, None).get)
    assert caught.value.where == "docs/chunks/one/GOAL.md and docs/chunks/one/PLAN.md"
    assert "git add docs/chunks/one" in caught.value.hint


def test_the_documents_count_as_they_are_at_the_commit_not_in_the_folder(tmp_path: Path) -> None:
    def git(*args: str) -> bytes:
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
        return subprocess.run(["git", *identity, *args], cwd=tmp_path, check=True, capture_output=True).stdout

    def committed(path: str) -> bytes | None:
        shown = subprocess.run(
            ["git", "show", f"HEAD:{path}"], cwd=tmp_path, capture_output=True, check=False
        )
        return shown.stdout if shown.returncode == 0 else None

    folder = tmp_path / "docs" / "chunks" / "one"
    folder.mkdir(parents=True)
    git("init", "-q")
    (folder / "GOAL.md").write_text(GOAL)
    (folder / "PLAN.md").write_text("# Plan\n")
    git("add", "-A")
    git("commit", "-q", "-m", "chunk")
    (folder / "PLAN.md").write_text(PLAN)
    assert load("one", committed).initial_phase == "PLAN"


def test_a_bad_name_never_reaches_the_reader() -> None:
    def reader(path: str) -> bytes | None:
        raise AssertionError(path)

    with pytest.raises(InvalidInput):
        load("../../etc", reader)


def test_a_mistake_in_the_head_names_the_chunks_file() -> None:
    with pytest.raises(DocumentError) as caught:
        load("one", files("---\nstatus: X\n---\n", PLAN).get)
    assert caught.value.where == "docs/chunks/one/GOAL.md:2:9"


@pytest.mark.parametrize(
    ("graph", "cycle"),
    [
        ({}, None),
        ({"a": ["b"], "b": ["c"]}, None),
        ({"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}, None),
        ({"a": ["a"]}, ("a", "a")),
        ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, ("a", "b", "c", "a")),
        ({"a": ["b"], "b": [], "c": ["d"], "d": ["b", "c"]}, ("c", "d", "c")),
    ],
)
def test_a_cycle_is_named_from_its_first_chunk_back_to_it(
    graph: dict[str, list[str]], cycle: tuple[str, ...] | None
) -> None:
    assert find_cycle(graph) == cycle


def test_a_chain_of_ten_thousand_chunks_is_no_problem() -> None:
    chain = {str(n): [str(n + 1)] for n in range(10_000)}
    assert find_cycle(chain) is None
    cycle = find_cycle({**chain, "10000": ["0"]})
    assert cycle is not None
    assert len(cycle) == 10_002


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg"))))
def test_a_cycle_found_is_one_and_none_found_means_an_order_exists(graph: dict[str, list[str]]) -> None:
    cycle = find_cycle(graph)
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert all(after in graph[before] for before, after in pairwise(cycle))
        return
    left = {name: set(needs) & set(graph) for name, needs in graph.items()}
    while left:
        free = {name for name, needs in left.items() if not needs & set(left)}
        assert free
        left = {name: needs for name, needs in left.items() if name not in free}


@given(st.text() | st.binary())
def test_any_document_has_text_or_has_not(text: str | bytes) -> None:
    assert has_text(text) in (True, False)
