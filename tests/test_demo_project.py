"""The demo's project: a real repository whose six chunks come home whatever the order of merges."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ve.chunks import find_cycle, load
from ve.demo_project import CHUNKS, create
from ve.errors import RefusedError

VERBS = {"write", "append", "run", "ask", "decide", "dispose", "fail", "sleep", "commit"}
PHASES = ("PLAN", "IMPLEMENT", "REBASE", "REVIEW", "COMPLETE")
ANSWER = "%d.%m.%Y"


def git(folder: Path, *args: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", *identity, *args], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def unittest(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "-q"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def script(folder: Path, chunk: str) -> dict[str, list[dict[str, Any]]]:
    return tomllib.loads((folder / "docs" / "chunks" / chunk / "script.toml").read_text())


def steps(folder: Path, chunk: str, phase: str, visit: int) -> Iterator[dict[str, Any]]:
    for step in script(folder, chunk).get(phase, []):
        if step.get("visit", visit) == visit:
            yield step


def act(folder: Path, chunk: str, phase: str, visit: int = 1) -> list[dict[str, Any]]:
    """Do one run of a phase as the demo's agent does; returns its decisions, dispositions, failures."""
    said = []
    for step in steps(folder, chunk, phase, visit):
        if "write" in step:
            path = folder / step["write"]
            path.write_text(step["text"].replace("{answer}", ANSWER))
        elif "append" in step:
            path = folder / step["append"]
            path.write_text(path.read_text() + step["text"])
        elif "run" in step:
            words = shlex.split(step["run"])
            assert words[0] == "python3"
            subprocess.run([sys.executable, *words[1:]], cwd=folder, check=True, capture_output=True)
        elif "commit" in step:
            git(folder, "add", "--all")
            git(folder, "commit", "-q", "-m", step["commit"])
        elif "fail" in step:
            return [*said, step]
        elif {"decide", "dispose", "ask"} & set(step):
            said.append(step)
    return said


def bring_home(folder: Path, chunk: str) -> None:
    """One chunk from its first phase to the end of its last."""
    if load(chunk, lambda path: (folder / path).read_bytes()).initial_phase == "PLAN":
        act(folder, chunk, "PLAN")
        assert load(chunk, lambda path: (folder / path).read_bytes()).initial_phase == "IMPLEMENT"
    visit = review = 1
    while any("fail" in said for said in act(folder, chunk, "IMPLEMENT", visit)):
        visit += 1
    unittest(folder)
    decisions = act(folder, chunk, "REVIEW", review)
    while decisions[-1]["decide"] == "feedback":
        visit, review = visit + 1, review + 1
        disposed = {said["dispose"] for said in act(folder, chunk, "IMPLEMENT", visit)}
        assert disposed == {issue["id"] for issue in decisions[-1]["issues"]}
        unittest(folder)
        decisions = act(folder, chunk, "REVIEW", review)
    assert [step["decide"] for step in decisions] == ["approve"]
    assert not act(folder, chunk, "COMPLETE")
    assert git(folder, "status", "--porcelain") == ""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return create(tmp_path / "events")


def test_the_project_is_a_clean_repository_whose_tests_pass(project: Path) -> None:
    assert git(project, "symbolic-ref", "--short", "HEAD") == "main"
    assert git(project, "log", "--format=%an %s") == "ve demo Events, and six chunks to do"
    assert "OK" in unittest(project)
    assert git(project, "status", "--porcelain") == ""
    git(project, "fsck", "--strict")


def test_it_is_made_without_a_name_a_home_or_templates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path / "none"))
    folder = create(tmp_path / "a" / "b")
    assert (folder / ".git").is_dir()
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(RefusedError, match="not an empty folder"):
        create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_every_chunk_is_committed_readable_and_part_of_no_cycle(project: Path) -> None:
    found = {path.name for path in (project / "docs" / "chunks").iterdir()}
    assert found == set(CHUNKS)
    documents = {name: load(name, lambda path: (project / path).read_bytes()) for name in CHUNKS}
    assert {name: chunk.frontmatter.status for name, chunk in documents.items()} == dict.fromkeys(
        CHUNKS, "FUTURE"
    )
    assert not [chunk.frontmatter.warnings for chunk in documents.values() if chunk.frontmatter.warnings]
    depends = {name: chunk.frontmatter.depends_on for name, chunk in documents.items()}
    assert depends == {
        "parser": (), "formatter": (), "config_file": (), "errors": (),
        "cli": ("parser", "formatter"), "usage": ("cli",),
    }  # fmt: skip
    assert find_cycle({name: needs or () for name, needs in depends.items()}) is None
    phases = {name: chunk.initial_phase for name, chunk in documents.items()}
    assert [name for name in CHUNKS if phases[name] == "PLAN"] == ["formatter", "errors", "usage"]
    assert set(phases.values()) == {"PLAN", "IMPLEMENT"}


def test_every_step_has_one_verb_and_a_phase(project: Path) -> None:
    for chunk in CHUNKS:
        for phase, table in script(project, chunk).items():
            assert phase in PHASES
            for step in table:
                assert len(VERBS & set(step)) == 1, step
                assert step.get("sleep", 0) <= 0.6


def test_the_board_has_something_of_everything_to_show(project: Path) -> None:
    def has(chunk: str, phase: str, verb: str) -> bool:
        return any(verb in step for step in script(project, chunk).get(phase, []))

    assert has("formatter", "IMPLEMENT", "ask")
    assert has("config_file", "IMPLEMENT", "fail")
    assert has("errors", "REVIEW", "issues")
    assert has("errors", "IMPLEMENT", "dispose")


def worktree(project: Path, chunk: str) -> Path:
    folder = project.parent / chunk
    git(project, "worktree", "add", "-q", "-b", chunk, str(folder), "main")
    return folder


def merge(project: Path, chunk: str) -> None:
    git(project, "merge", "-q", "--no-ff", "-m", f"Merge {chunk}", chunk)
    unittest(project)


@pytest.mark.parametrize("last", [("usage", "errors", "config_file"), ("errors", "config_file", "usage")])
def test_chunks_done_side_by_side_merge_cleanly_in_any_order(project: Path, last: tuple[str, ...]) -> None:
    for chunk in ("parser", "formatter", "config_file", "errors"):
        bring_home(worktree(project, chunk), chunk)
    for chunk in ("formatter", "parser"):
        merge(project, chunk)
    bring_home(worktree(project, "cli"), "cli")
    merge(project, "cli")
    bring_home(worktree(project, "usage"), "usage")
    for chunk in last:
        merge(project, chunk)
    readme = (project / "README.md").read_text()
    assert "Nothing is explained yet." not in readme
    assert "## The command" in readme
    assert f'r"""{ANSWER}"""' in (project / "events" / "formatter.py").read_text()
    shown = subprocess.run(
        [sys.executable, "-m", "events", "/dev/stdin"],
        cwd=project,
        input="2026-11-30 Release\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "30.11.2026  Release\n"
