"""Repositories for the tests of `ve.git`: real ones, made and judged by the real git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


def git(cwd: Path, *args: str, ok: bool = True, data: bytes | None = None) -> str:
    """Run git as a user would and return its output without the last line end."""
    run = subprocess.run(["git", *args], cwd=cwd, capture_output=True, check=False, input=data)
    if ok and run.returncode != 0:
        raise AssertionError(f"git {args}: {run.stderr.decode()}")
    return run.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


def write(root: Path, files: dict[str, str | bytes]) -> None:
    """Write files below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


class Project:
    """A repository with a main worktree, for a test to change as an operator would."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.common = root / ".git"

    def git(self, *args: str, ok: bool = True) -> str:
        return git(self.root, *args, ok=ok)

    def commit(self, files: dict[str, str | bytes], message: str = "change") -> str:
        """Write files, commit everything with a user named for this one command, return the commit."""
        write(self.root, files)
        self.git("add", "-A")
        self.git("-c", "user.name=Op", "-c", "user.email=op@example.org", "commit", "-qm", message)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    @property
    def trees(self) -> Path:
        return self.root / ".ve" / "worktrees"

    def commit_on(
        self, branch: str, start: str, files: dict[str, str | bytes | None], message: str = "work"
    ) -> str:
        """Make a commit on a branch in a worktree of its own, which is gone afterwards."""
        place = self.root.parent / "elsewhere"
        self.git("worktree", "add", "-q", "-B", branch, str(place), start)
        write(place, {name: content for name, content in files.items() if content is not None})
        for name, content in files.items():
            if content is None:
                (place / name).unlink()
        git(place, "add", "-A")
        git(place, "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-qm", message)
        commit = git(place, "rev-parse", "HEAD")
        self.git("worktree", "remove", "--force", str(place))
        return commit


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """Return a maker of repositories; the folder's name has a space in it."""

    def make(name: str = "my project", **files: str) -> Project:
        root = tmp_path / name
        root.mkdir()
        git(root, "init", "-q", "-b", "main")
        project = Project(root)
        project.commit(
            {"README.md": "hello\n", "src/a.py": "a = 1\n", "src/b.py": "b = 1\n", **files}, "first"
        )
        return project

    return make


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    """A repository with three files, one commit and no user.name."""
    return make_project()


@pytest.fixture
def bare(project: Project, tmp_path: Path) -> Path:
    """A bare repository with the same history, its refs packed."""
    path = tmp_path / "bare repo.git"
    git(tmp_path, "clone", "-q", "--bare", str(project.root), str(path))
    git(path, "pack-refs", "--all")
    return path


def assert_sound(repo: Path, tree: Path | None = None) -> None:
    """Assert that git finds nothing wrong with the repository and nothing changed in the worktree."""
    problems = git(repo, "fsck", "--full", "--strict")
    assert not [line for line in problems.splitlines() if not line.startswith("dangling")]
    if tree is not None:
        assert git(tree, "status", "--porcelain", "--untracked-files=all") == ""
        assert git(tree, "diff-files", "--name-only") == "", "the index's stat data is not right"


def edit_in_the_same_instant(file: Path, text: str, index: Path) -> None:
    """Edit a file so that only its content differs from what the index noted, at the time of the index."""
    moment = 1_700_000_000_000_000_000
    git(file.parent, "config", "core.trustctime", "false")
    os.utime(file, ns=(moment, moment))
    git(file.parent, "update-index", "--refresh")
    file.write_text(text)
    os.utime(file, ns=(moment, moment))
    os.utime(index, ns=(moment, moment))
