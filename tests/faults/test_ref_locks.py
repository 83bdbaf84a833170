"""What a kill leaves in the middle of a write to git: locks of refs, half of an object."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.given import Project
from ve.errors import GitError
from ve.git import refs
from ve.git.commit import edited_tree
from ve.git.repo import opened

HOLD = """
import sys
from pathlib import Path
from ve.git import reflock
with reflock.held(Path(sys.argv[1]), Path(sys.argv[1]) / sys.argv[2], b"x"):
    print("held", flush=True)
    sys.stdin.read()
"""


def killed_while_it_holds(common: Path, ref: str) -> Path:
    """A process that took the lock as the daemon does, and was killed with it; the lock that is left."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(common), ref], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.kill()
    return common / f"{ref}.lock"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "repo")


def test_a_lock_that_a_killed_daemon_left_stands_in_nobodys_way(project: Project) -> None:
    common, old = project.root / ".git", project.head
    lock = killed_while_it_holds(common, "refs/heads/main")
    assert lock.exists()
    new = project.git("commit-tree", "-p", old, "-m", "next", f"{old}^{{tree}}")
    assert refs.compare_and_swap(common, "main", old, new, "moved")
    assert project.head == new
    assert not lock.exists()
    lock = killed_while_it_holds(common, "refs/heads/main")
    project.git("branch", "other")
    assert refs.delete_ref(common, "refs/heads/other", new)
    assert lock.exists(), "one that is in nobody's way waits for the one that needs the ref"


@pytest.mark.parametrize("content", [b"", b"somebody else's"])
def test_a_lock_of_anybody_else_stays(
    project: Project, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(refs, "LOCK_WAIT_S", 0.1)
    common, old = project.root / ".git", project.head
    killed_while_it_holds(common, "refs/heads/another")
    new = project.git("commit-tree", "-p", old, "-m", "next", f"{old}^{{tree}}")
    lock = common / "refs/heads/main.lock"
    lock.write_bytes(content)
    with pytest.raises(GitError, match="locked"):
        refs.compare_and_swap(common, "main", old, new, "moved")
    assert lock.read_bytes() == content


def test_a_lock_that_a_living_process_holds_stays(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refs, "LOCK_WAIT_S", 0.1)
    common, old = project.root / ".git", project.head
    new = project.git("commit-tree", "-p", old, "-m", "next", f"{old}^{{tree}}")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(common), "refs/heads/main"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(GitError, match="locked"):
            refs.compare_and_swap(common, "main", old, new, "moved")
    assert refs.compare_and_swap(common, "main", old, new, "moved"), "once it has let go"
    assert project.head == new


def test_an_object_whose_writer_was_killed_is_written_by_the_next_one(project: Project) -> None:
    """Content decides the name, so the same work meets the same file that a kill left."""
    common = project.root / ".git"
    (project.root / "new.txt").write_text("new\n")
    blob = project.git("hash-object", "new.txt")
    left = common / "objects" / blob[:2] / f"{blob[2:]}.lock"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(b"")
    with opened(common) as repo:
        tree = edited_tree(repo, project.head, {"new.txt": b"new\n"})
    assert project.git("cat-file", "-p", f"{tree.decode()}:new.txt") == "new"
    assert not list((common / "objects").glob("tmp_obj_*"))
    project.git("fsck", "--strict", "--no-dangling")
