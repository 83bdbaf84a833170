"""Landing: the base and the operator's checkout move together, or not at all; nothing of theirs is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.git.conftest import Project, assert_sound, edit_in_the_same_instant, git, write
from ve.errors import GitError
from ve.git import base, checkout, commit, landing
from ve.git.landing import BaseMoved, Prepared, Refused, Swapped

MAIN = "refs/heads/main"


def branch_with_everything(project: Project) -> tuple[str, str]:
    """Return (old, new): a change of every kind, from main to a branch that contains it."""
    old = project.commit(
        {"gone/deep/x": "x\n", "file-to-dir": "f\n", "dir-to-file/y": "y\n", "mode.sh": "m\n"}
    )
    place = project.root.parent / "feature"
    project.git("worktree", "add", "-q", "-b", "feature", str(place))
    write(place, {"src/a.py": "a = 2\n", "added/new.txt": "new\n", "name with\nline end": "odd\n"})
    git(place, "rm", "-rq", "gone", "file-to-dir", "dir-to-file")
    write(place, {"file-to-dir/inner": "i\n", "dir-to-file": "now a file\n"})
    (place / "mode.sh").chmod(0o755)
    (place / "link").symlink_to("src/a.py")
    git(place, "add", "-A")
    git(place, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "feature")
    new = git(place, "rev-parse", "HEAD")
    project.git("worktree", "remove", str(place))
    return old, new


def land(project: Project, old: str, new: str) -> Swapped | BaseMoved | Refused:
    return landing.swap(project.common, MAIN, old, new, base.checkouts_of(project.common, MAIN))


def test_a_clean_checkout_follows_the_base(project: Project) -> None:
    """Files of every kind change on disk, git sees nothing changed, no lock or temporary file is left."""
    old, new = branch_with_everything(project)

    assert land(project, old, new) == Swapped(new)

    assert project.head == new
    assert_sound(project.root, project.root)
    assert (project.root / "dir-to-file").read_text() == "now a file\n"
    assert (project.root / "link").is_symlink()
    assert os.access(project.root / "mode.sh", os.X_OK)
    assert not (project.root / "gone").exists()
    assert not list(project.common.glob("index.*"))
    assert "landed by ve" in project.git("reflog", "-1")


def test_a_base_that_nobody_has_open_moves_too(bare: Path, project: Project) -> None:
    """With no checkout, as in a bare repository, only the ref moves."""
    start = base.resolve(bare, "main")
    tree = base.resolve(bare, MAIN)
    new = commit.commit_tree(bare, git(bare, "rev-parse", "main^{tree}"), [start], "empty")
    checkouts = base.checkouts_of(bare, MAIN)
    assert checkouts == []
    assert landing.swap(bare, MAIN, tree, new, checkouts) == Swapped(new)
    assert base.tip(bare, "main") == new
    assert_sound(bare)


def test_other_changes_of_the_operator_stay_byte_for_byte(project: Project) -> None:
    """Edits, staged edits, untracked files and staged deletions elsewhere survive a landing as they were."""
    project.commit(
        {"other/edited": "1\n", "other/staged": "1\n", "other/both": "1\n", "other/removed": "1\n"}
    )
    old, new = branch_with_everything(project)
    write(
        project.root, {"other/edited": "2\n", "other/staged": "2\n", "other/both": "2\n", "untracked": "u\n"}
    )
    project.git("add", "other/staged", "other/both")
    project.git("rm", "-q", "--cached", "other/removed")
    write(project.root, {"other/both": "3\n"})
    before = project.git("status", "--porcelain"), project.git("diff"), project.git("diff", "--cached")

    assert land(project, old, new) == Swapped(new)

    after = project.git("status", "--porcelain"), project.git("diff"), project.git("diff", "--cached")
    assert after == before
    assert (project.root / "other/both").read_text() == "3\n"


def test_an_edit_in_the_same_instant_still_shows_after_a_landing(project: Project) -> None:
    """An edit that only its content gives away is not hidden by the index that a landing writes."""
    project.commit({"other": "1\n"})
    old, new = branch_with_everything(project)
    edit_in_the_same_instant(project.root / "other", "2\n", project.common / "index")
    assert land(project, old, new) == Swapped(new)
    assert project.git("status", "--porcelain") == " M other"


@pytest.mark.parametrize(
    ("path", "prepare"),
    [
        ("src/a.py", lambda root: write(root, {"src/a.py": "mine\n"})),
        ("src/a.py", lambda root: (root / "src/a.py").unlink()),
        ("src/a.py", lambda root: (write(root, {"src/a.py": "mine\n"}), git(root, "add", "src/a.py"))),
        ("gone/deep/x", lambda root: write(root, {"gone/deep/x": "mine\n"})),
        ("added/new.txt", lambda root: write(root, {"added/new.txt": "mine\n"})),
        ("added/new.txt", lambda root: write(root, {"added": "a file of mine\n"})),
        ("added/new.txt", lambda root: (root / "added").symlink_to("/tmp")),
        ("dir-to-file", lambda root: write(root, {"dir-to-file/mine": "mine\n"})),
        ("mode.sh", lambda root: (root / "mode.sh").chmod(0o755)),
        ("link", lambda root: (root / "link").mkdir() or write(root, {"link/mine": "m"})),
    ],
    ids=[
        "edited",
        "deleted",
        "staged",
        "edited-goes",
        "untracked",
        "file-for-folder",
        "symlink",
        "in-folder",
        "mode",
        "folder",
    ],
)
def test_a_file_in_the_way_refuses_everything(project: Project, path: str, prepare: object) -> None:
    """One file that is not as in the old base: nothing moves, the file is named, all stays as it was."""
    old, new = branch_with_everything(project)
    prepare(project.root)  # type: ignore[operator]
    before = project.git("status", "--porcelain")

    refused = land(project, old, new)

    assert isinstance(refused, Refused)
    assert path in refused.paths
    assert project.head == old
    assert project.git("status", "--porcelain") == before
    assert not (project.common / "index.lock").exists()


def test_a_merge_in_progress_refuses(project: Project) -> None:
    """A checkout in the middle of a merge is left alone."""
    old, new = branch_with_everything(project)
    (project.common / "MERGE_HEAD").write_text(old + "\n")
    refused = land(project, old, new)
    assert isinstance(refused, Refused)
    assert "a merge" in refused.reason


def test_a_base_that_moved_is_reported(project: Project) -> None:
    """The swap never overwrites what somebody else landed; it says where the base is now."""
    old, new = branch_with_everything(project)
    other = project.commit({"theirs": "t\n"})
    assert land(project, old, new) == BaseMoved(other)
    assert project.head == other
    assert_sound(project.root, project.root)


def test_a_lock_of_another_git_is_respected(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another git command holds the index nothing lands, and its lock stays, also in recovery."""
    monkeypatch.setattr(landing, "LOCK_WAIT_S", 0.05)
    old, new = branch_with_everything(project)
    (project.common / "index.lock").write_bytes(b"")
    refused = land(project, old, new)
    assert isinstance(refused, Refused)
    assert "index" in refused.reason
    landing.recover(project.common, MAIN, old, new, [project.root])
    assert (project.common / "index.lock").exists()


def test_git_is_locked_out_between_the_steps(project: Project) -> None:
    """From prepare to the end the operator's git cannot change the index; release gives it back."""
    old, new = branch_with_everything(project)
    assert landing.prepare(project.common, MAIN, old, new, [project.root]) == Prepared()
    with pytest.raises(AssertionError, match=r"index\.lock"):
        project.commit({"x": "x"})
    landing.release([project.root], old, new)
    (project.root / "x").unlink()
    assert_sound(project.root, project.root)


CHILD = """
import os, signal, sys
from pathlib import Path
from ve.git import changes, landing
root, old, new, kill_at = sys.argv[1:]
root = Path(root)
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
calls = 0
def third_write(*args, **more):
    global calls
    calls += 1
    if calls == 3:
        die()
    return write(*args, **more)
write = changes._write
landing.prepare(root / ".git", "refs/heads/main", old, new, [root])
if kill_at == "prepared": die()
landing.move_base(root / ".git", "refs/heads/main", old, new)
if kill_at == "moved": die()
if kill_at == "files": changes._write = third_write
if kill_at == "index": landing._write_index = die
if kill_at == "lock": landing._give_up_lock = die
landing.update_checkout(root, old, new)
die()
"""


@pytest.mark.parametrize("step", ["prepared", "moved", "files", "index", "lock", "end"])
@pytest.mark.parametrize("edit", [False, True], ids=["untouched", "with-edits-elsewhere"])
def test_killed_at_any_step_it_recovers(project: Project, step: str, edit: bool) -> None:
    """kill -9 anywhere: recovery finishes a swap that took place, undoes one that did not; never twice."""
    project.commit({"other": "1\n"})
    old, new = branch_with_everything(project)
    if edit:
        write(project.root, {"other": "2\n"})
    child = subprocess.run([sys.executable, "-c", CHILD, str(project.root), old, new, step], check=False)
    assert child.returncode == -signal.SIGKILL

    found = landing.recover(project.common, MAIN, old, new, [project.root])

    assert found == (BaseMoved(old) if step == "prepared" else Swapped(new))
    assert not (project.common / "index.lock").exists()
    if step == "prepared":
        assert land(project, old, new) == Swapped(new)
    assert landing.recover(project.common, MAIN, old, new, [project.root]) == Swapped(new)
    assert project.git("status", "--porcelain") == (" M other" if edit else "")
    assert not list(project.root.rglob(".ve-landing-*"))
    assert_sound(project.root)


def test_a_file_edited_after_a_kill_is_kept(project: Project) -> None:
    """What the operator changes between the swap and recovery is left alone, and named."""
    old, new = branch_with_everything(project)
    subprocess.run([sys.executable, "-c", CHILD, str(project.root), old, new, "moved"], check=False)
    write(project.root, {"src/a.py": "mine\n"})
    assert landing.recover(project.common, MAIN, old, new, [project.root]) == Swapped(new, ("src/a.py",))
    assert (project.root / "src/a.py").read_text() == "mine\n"
    assert project.git("status", "--porcelain") == " M src/a.py"


def test_a_filter_writes_the_landed_file(project: Project) -> None:
    """With a filter the checkout gets the smudged file, and a file that is only smudged counts as clean."""
    project.git("config", "filter.shout.smudge", "tr a-z A-Z")
    project.git("config", "filter.shout.clean", "tr A-Z a-z")
    project.commit(
        {".gitattributes": "*.loud filter=shout\n*.dos text eol=crlf\n", "x.loud": "QUIET\n", "y.dos": "1\n"}
    )
    (project.root / "x.loud").unlink()
    (project.root / "y.dos").unlink()
    project.git("checkout", "--", ".")
    assert (project.root / "y.dos").read_bytes() == b"1\r\n"
    old = project.head
    new = project.commit_on("feature", old, {"x.loud": "MORE\n", "y.dos": "1\n2\n"})

    assert land(project, old, new) == Swapped(new)

    assert (project.root / "x.loud").read_text() == "MORE\n"
    assert (project.root / "y.dos").read_bytes() == b"1\r\n2\r\n"
    assert_sound(project.root, project.root)


def test_a_sparse_checkout_stays_sparse(project: Project) -> None:
    """Files that the checkout leaves out are not written, and do not show as deleted."""
    old = project.commit({"big/1": "1\n", "src/c.py": "c\n"})
    new = project.commit_on("feature", old, {"big/1": "2\n", "src/c.py": "d\n"})
    project.git("sparse-checkout", "set", "src")
    assert land(project, old, new) == Swapped(new)
    assert not (project.root / "big").exists()
    assert (project.root / "src/c.py").read_text() == "d\n"
    assert project.git("status", "--porcelain") == ""


def test_a_base_open_in_a_linked_worktree(project: Project) -> None:
    """The checkout that follows may be a linked worktree; the main one is on another branch."""
    project.git("switch", "-qc", "elsewhere")
    linked = project.root.parent / "release"
    project.git("worktree", "add", "-q", str(linked), "main")
    old = project.head
    new = project.commit_on("feature", old, {"src/a.py": "a = 5\n"})
    assert base.checkouts_of(project.common, "main") == [linked]
    assert landing.swap(project.common, MAIN, old, new, [linked]) == Swapped(new)
    assert_sound(project.root, linked)
    assert (linked / "src/a.py").read_text() == "a = 5\n"


@pytest.mark.parametrize("version", ["2", "3", "4", "split"])
def test_every_kind_of_index_is_kept(project: Project, version: str) -> None:
    """Index versions 2 to 4 and a split index work, with an intent-to-add entry kept."""
    old, new = branch_with_everything(project)
    write(project.root, {"planned": "p\n"})
    project.git("add", "--intent-to-add", "planned")
    options = ["--split-index"] if version == "split" else [f"--index-version={version}"]
    project.git("update-index", *options)
    assert land(project, old, new) == Swapped(new)
    assert project.git("status", "--porcelain") == " A planned"


def test_an_agents_worktree_is_moved_to_the_integrated_commit(project: Project) -> None:
    """A clean worktree and its branch go to a commit that contains them; a dirty one does not."""
    checkout.ensure_root(project.trees)
    tree = checkout.add(project.common, project.trees / "a-1", "ve/a-1", "a-1", project.head)
    new = project.commit_on("other", tree.head, {"src/a.py": "a = 9\n"})
    write(tree.path, {"scratch": "s"})
    with pytest.raises(GitError, match="not clean"):
        landing.fast_forward_worktree(tree.path, new)
    (tree.path / "scratch").unlink()

    landing.fast_forward_worktree(tree.path, new)
    landing.fast_forward_worktree(tree.path, new)

    assert checkout.head_of(tree.path) == new
    assert_sound(project.root, tree.path)
    with pytest.raises(GitError, match="does not contain"):
        landing.fast_forward_worktree(tree.path, project.head)
