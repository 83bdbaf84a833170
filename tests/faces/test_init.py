"""`ve init` and the files that coding agents read: what it writes, what it leaves alone, what it says."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.faces.terminal import Terminal
from ve import skills
from ve.cli.__main__ import main

SKILLS = [f"{folder}/ve-{name}/SKILL.md" for folder in skills.FOLDERS for name in skills.NAMES]
FILES = ["AGENTS.md", "CLAUDE.md", *SKILLS]


class Here:
    """A person in a repository; commands run in this process, since none of them needs another one."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.capsys = capsys

    def ve(self, *words: str) -> tuple[int, str, str]:
        code = main(words)
        said = self.capsys.readouterr()
        return code, said.out, said.err

    def states(self) -> tuple[int, dict[str, str]]:
        code, out, _ = self.ve("init", "--check", "--json")
        return code, {file["path"]: file["state"] for file in json.loads(out)["files"]}

    def text(self, path: str) -> str:
        return (self.root / path).read_text()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    root = tmp_path / "project"
    root.mkdir()
    subprocess.run(["git", "init", "-q", "-b", "main", str(root)], check=True)
    monkeypatch.chdir(root)
    return Here(root, capsys)


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(root).parts
    }


def test_init_writes_what_agents_read_and_a_second_time_nothing(here: Here) -> None:
    code, out, _ = here.ve("init")

    assert code == 0
    made = {line.removeprefix(f"made {here.root}/") for line in out.splitlines()}
    assert made >= {*FILES, "ve.toml", "docs/chunks"}
    assert "`ve chunk list`" in here.text("AGENTS.md")
    assert "\n@AGENTS.md\n" in here.text("CLAUDE.md")

    before = files(here.root)
    assert here.ve("init")[1] == "everything is there already\n"
    assert files(here.root) == before
    assert here.states() == (0, dict.fromkeys(FILES, "current"))


def test_init_as_json_says_what_it_made(here: Here) -> None:
    code, out, _ = here.ve("init", "--json")

    said = json.loads(out)
    assert code == 0
    assert str(here.root / "AGENTS.md") in said["made"]
    assert [file["path"] for file in said["files"]] == FILES


def test_what_the_user_wrote_around_the_block_stays(here: Here) -> None:
    (here.root / "AGENTS.md").write_bytes(b"# Mine\r\n\r\nBuild with make.\r\n")
    here.ve("init")
    made = (here.root / "AGENTS.md").read_bytes()
    assert made.startswith(b"# Mine\r\n\r\nBuild with make.\r\n\r\n<!-- ve:begin agents ")

    (here.root / "AGENTS.md").write_bytes(made.replace(b"ve chunk list", b"ls") + b"More of mine.\r\n")
    code, out, _ = here.ve("init")

    assert (code, out) == (0, f"updated {here.root}/AGENTS.md\n")
    assert (here.root / "AGENTS.md").read_bytes() == made + b"More of mine.\r\n"


def test_check_writes_nothing_and_says_what_is_not_up_to_date(here: Here) -> None:
    before = files(here.root)
    code, out, _ = here.ve("init", "--check")
    assert code == 1
    assert "AGENTS.md: missing\n" in out and out.endswith("not up to date; to change that: ve init\n")
    assert files(here.root) == before

    here.ve("init")
    (here.root / "CLAUDE.md").write_text("# Claude\n")
    code, out, _ = here.ve("init", "--check")
    assert (code, out.splitlines()[0]) == (1, "CLAUDE.md: outdated (has no block of ve)")


def test_damaged_markers_are_refused_and_nothing_at_all_is_written(here: Here) -> None:
    (here.root / "AGENTS.md").write_text("# Mine\n<!-- ve:begin agents -->\nx\n")
    before = files(here.root)

    code, _, err = here.ve("init")

    assert code == 1
    assert err.startswith("ve: AGENTS.md:2: the markers of the managed block are damaged: `ve:begin agents`")
    assert files(here.root) == before
    code, states = here.states()
    assert (code, states["AGENTS.md"]) == (1, "damaged")


def test_a_skill_that_was_changed_by_hand_is_kept_and_said(here: Here) -> None:
    here.ve("init")
    path = here.root / SKILLS[1]
    ours = path.read_text()
    path.write_text(ours.replace("Plan a chunk", "Plan a chunk our way"))

    code, out, err = here.ve("init")
    assert (code, out) == (0, "everything is there already\n")
    assert f"{SKILLS[1]}: changed by hand: kept; for ours, ve init --force" in err
    assert "our way" in path.read_text()
    assert here.states()[0] == 0, "a decision of the user's is not out of date"

    assert here.ve("init", "--force")[1] == f"updated {path}\n"
    assert path.read_text() == ours


def test_a_skill_of_another_version_is_renewed_in_its_own_line_ends(here: Here) -> None:
    from ve import managed

    here.ve("init")
    path = here.root / SKILLS[0]
    ours = path.read_bytes()
    path.write_bytes(managed.seal("---\nname: ve-create\n---\n\nOlder.\n", "by ve").replace(b"\n", b"\r\n"))

    assert here.states()[1][SKILLS[0]] == "outdated"
    here.ve("init")
    assert path.read_bytes() == ours.replace(b"\n", b"\r\n")
    assert here.states()[0] == 0


@pytest.mark.parametrize("way", ["CLAUDE.md", "AGENTS.md"])
def test_one_file_under_both_names_gets_one_block(here: Here, way: str) -> None:
    real = "AGENTS.md" if way == "CLAUDE.md" else "CLAUDE.md"
    (here.root / real).write_text("# Mine\n")
    (here.root / real).chmod(0o640)
    (here.root / way).symlink_to(real)

    here.ve("init")

    assert (here.root / way).is_symlink()
    assert (here.root / real).stat().st_mode & 0o777 == 0o640
    assert here.text("AGENTS.md").count("ve:begin") == 1
    assert "@AGENTS.md" not in here.text("AGENTS.md")


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("Read @AGENTS.md first.\n", True),
        ("@./AGENTS.md\n", True),
        ("`@AGENTS.md`\n", False),
        ("```\n@AGENTS.md\n```\n", False),
        ("see @AGENTS.md.old\n", False),
    ],
)
def test_a_claude_file_that_points_to_agents_already_is_left_alone(
    here: Here, text: str, points: bool
) -> None:
    (here.root / "CLAUDE.md").write_text(text)

    here.ve("init")

    assert (here.text("CLAUDE.md") == text) is points


def test_a_link_out_of_the_repository_is_not_written_through(here: Here, tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    (here.root / ".claude").symlink_to(tmp_path / "dotfiles")

    code, _, err = here.ve("init")

    assert code == 0 and "a link leads out of the repository" in err
    assert not list((tmp_path / "dotfiles").iterdir())
    assert (here.root / SKILLS[-1]).exists()


def test_skills_that_are_shared_by_a_link_are_written_once(here: Here) -> None:
    (here.root / ".claude").mkdir()
    (here.root / ".agents").symlink_to(".claude")

    here.ve("init")

    assert here.states() == (0, dict.fromkeys(FILES[: -len(skills.NAMES)], "current"))


def test_a_worktree_gets_the_files_of_its_own_branch(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    who = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *who, "commit", "-q", "--allow-empty", "-m", "start"], check=True)
    subprocess.run(["git", "worktree", "add", "-q", "../other", "-b", "other"], check=True)
    monkeypatch.chdir(here.root.parent / "other")

    here.ve("init")

    assert (here.root.parent / "other" / "AGENTS.md").exists()
    assert not (here.root / "AGENTS.md").exists()
    assert (here.root / "ve.toml").exists(), "the daemon reads it there"


def test_the_command_says_the_same_as_a_process_of_its_own(here: Here) -> None:
    done = Terminal(here.root).ve("init", "--check", cwd=here.root)

    assert done.returncode == 1
    assert done.stdout.endswith("not up to date; to change that: ve init\n")


# ── What is shipped ────────────────────────────────────────────────────────────────────────────────


def head(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_skills_have_the_form_that_clients_read(here: Here) -> None:
    """As agentskills.io says: nothing before the head, `name` is the folder's, a short `description`."""
    here.ve("init")
    for path in SKILLS:
        text = here.text(path)
        assert text.startswith("---\nname: ")
        found = head(text)
        assert set(found) == {"name", "description"}
        assert found["name"] == Path(path).parent.name
        assert "Use when" in found["description"] and len(found["description"]) <= 1024
        assert text.count("\n") < 60


def test_every_skill_and_block_is_in_the_wheel(tmp_path: Path) -> None:
    """Built without a network, by the backend that a release is built by."""
    build = pytest.importorskip("hatchling.build", reason="the backend is not in this environment")
    root = Path(__file__).parents[2]
    before = Path.cwd()
    os.chdir(root)
    try:
        wheel = tmp_path / build.build_wheel(str(tmp_path))
    finally:
        os.chdir(before)
    names = set(zipfile.ZipFile(wheel).namelist())

    wanted = {str(path.relative_to(root)) for path in (root / "ve" / "skills").rglob("*.md")}
    assert len(wanted) == 7
    assert wanted <= names
