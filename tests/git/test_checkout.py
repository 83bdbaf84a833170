"""Worktrees: git must agree with every one that ve makes, and nothing of anybody's may be lost."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.git.conftest import Project, assert_sound, git, write
from ve.errors import GitError
from ve.git import base, checkout, commit, content, salvage

STEPS = ["admin", "branch", "folder", "files", "index", "finish"]


def add(project: Project, name: str = "one-1", **more: object) -> checkout.Tree:
    checkout.ensure_root(project.trees)
    return checkout.add(
        project.common,
        project.trees / name,
        f"ve/{name}",
        name,
        project.head,
        **more,  # type: ignore[arg-type]
    )


def test_git_agrees_with_a_new_worktree(project: Project) -> None:
    """A new worktree is clean, listed, on its branch, and the operator's own checkout stays clean."""
    tree = add(project)

    assert_sound(project.root, tree.path)
    assert git(tree.path, "symbolic-ref", "HEAD") == "refs/heads/ve/one-1" == tree.branch
    listed = project.git("worktree", "list", "--porcelain")
    assert f"worktree {tree.path}" in listed
    assert "locked" not in listed
    assert project.git("status", "--porcelain") == ""
    assert (tree.path / "src/a.py").read_text() == "a = 1\n"


def test_the_same_files_as_git_makes(project: Project, tmp_path: Path) -> None:
    """Modes, symlinks, folders, submodules and odd names come out as `git worktree add` makes them."""
    write(
        project.root,
        {"run.sh": "#!/bin/sh\n", "Case": "upper", "case": "lower", "deep/er/est/x": "x", "empty": ""},
    )
    (project.root / "run.sh").chmod(0o755)
    (project.root / "link").symlink_to("src/a.py")
    (project.root / "broken link").symlink_to("/nowhere/at all")
    Path(os.fsdecode(os.fsencode(project.root) + b"/\xff\xfe latin")).write_text("not UTF-8")
    project.git("add", "-A")
    project.git("update-index", "--add", "--cacheinfo", f"160000,{project.head},sub")
    project.git("-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "odd")

    tree = add(project)
    project.git("worktree", "add", "-q", "--detach", str(tmp_path / "by git"))

    assert_sound(project.root, tree.path)
    assert contents(tree.path) == contents(tmp_path / "by git")


def contents(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of everything below a folder but `.git`."""
    found = {}
    for path in root.rglob("*"):
        if path.name == ".git":
            continue
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            data = os.fsencode(path.readlink())
        else:
            data = b"" if stat.S_ISDIR(mode) else path.read_bytes()
        found[str(path.relative_to(root))] = (mode, data)
    return found


def test_files_of_another_branch_do_not_leak_in(project: Project) -> None:
    """A worktree for an older commit has none of the files that main got since."""
    first = project.head
    project.commit({"new.txt": "new\n"})
    checkout.ensure_root(project.trees)

    tree = checkout.add(project.common, project.trees / "x-1", "ve/x-1", "x-1", first)

    assert not (tree.path / "new.txt").exists()
    assert_sound(project.root, tree.path)


@pytest.mark.parametrize(
    "attributes", ["*.txt text eol=crlf\n", "*.txt ident\n", "*.txt working-tree-encoding=UTF-16LE\n"]
)
def test_attributes_are_applied_as_git_applies_them(
    project: Project, tmp_path: Path, attributes: str
) -> None:
    """Line ends, ident and encodings come out as git makes them, with nothing shown as changed."""
    project.commit({".gitattributes": attributes})
    blob = git(project.root, "hash-object", "-w", "--no-filters", "--stdin", data=b"one $Id$\ntwo\n")
    project.git("update-index", "--add", "--cacheinfo", f"100644,{blob},f.txt")
    project.git("-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "text")

    tree = add(project)
    project.git("worktree", "add", "-q", "--detach", str(tmp_path / "by git"))

    assert contents(tree.path) == contents(tmp_path / "by git")
    assert (tree.path / "f.txt").read_bytes() != b"one $Id$\ntwo\n"
    assert_sound(project.root, tree.path)


def test_a_clean_and_smudge_filter_runs(project: Project) -> None:
    """A filter of the operator's (as Git LFS is one) writes the worktree's file and reads the commit's."""
    project.git("config", "filter.shout.smudge", "tr a-z A-Z")
    project.git("config", "filter.shout.clean", "tr A-Z a-z")
    project.commit({".gitattributes": "*.loud filter=shout\n", "x.loud": "quiet\n"})

    tree = add(project)
    assert (tree.path / "x.loud").read_text() == "QUIET\n"
    assert_sound(project.root, tree.path)

    (tree.path / "x.loud").write_text("MORE\n")
    made = commit.commit_all(tree.path, "louder")
    assert made is not None
    assert base.read_file(project.common, made, "x.loud") == b"more\n"


def test_copied_files_are_those_of_the_commit(project: Project) -> None:
    """Copying from the main worktree never carries its uncommitted edits along."""
    project.commit({f"many/{n}.txt": f"{n}\n" for n in range(50)})
    os.utime(project.root / "many/1.txt", ns=(1, 1))
    write(project.root, {"many/2.txt": "edited\n"})
    (project.root / "many/3.txt").unlink()
    (project.root / "many/4.txt").unlink()
    (project.root / "many/4.txt").symlink_to("/etc/passwd")

    tree = add(project, copy_from=project.root)

    assert_sound(project.root, tree.path)
    assert (tree.path / "many/2.txt").read_text() == "2\n"
    assert not (tree.path / "many/4.txt").is_symlink()


def test_many_files_are_written_by_git(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a number of files on git writes them, with the same result."""
    monkeypatch.setattr(content, "MANY", 3)
    project.commit({f"many/{n}.txt": f"{n}\n" for n in range(10)})
    tree = add(project)
    assert_sound(project.root, tree.path)
    assert (tree.path / "many/9.txt").read_text() == "9\n"


def test_sparse_checkout_is_taken_over(project: Project) -> None:
    """Where the main worktree is sparse the new one is, as git does it."""
    project.commit({"big/1": "1", "big/2": "2"})
    project.git("sparse-checkout", "set", "src")
    tree = add(project)
    assert not (tree.path / "big").exists()
    assert (tree.path / "src/a.py").exists()
    assert git(tree.path, "status", "--porcelain") == ""


def test_first_commit_with_edits(project: Project) -> None:
    """With edits the branch starts one commit above the base; modes stay."""
    (project.root / "src/a.py").chmod(0o755)
    project.commit({})
    tree = add(
        project, edits={"src/a.py": b"a = 2\n", "docs/new.md": b"new\n"}, message="Mark as IMPLEMENTING"
    )

    assert_sound(project.root, tree.path)
    assert tree.base_commit == project.head
    assert git(tree.path, "rev-parse", "HEAD~1") == project.head
    assert git(tree.path, "log", "-1", "--format=%s") == "Mark as IMPLEMENTING"
    assert git(tree.path, "log", "-1", "--format=%an <%ae>") == "ve <ve@localhost>"
    assert git(tree.path, "diff", "--name-only", "HEAD~1") == "docs/new.md\nsrc/a.py"
    assert os.access(tree.path / "src/a.py", os.X_OK)


def test_works_where_git_wants_to_sign(project: Project) -> None:
    """commit.gpgsign without a key stops neither a first commit nor the commit of an agent's work."""
    project.git("config", "commit.gpgsign", "true")
    project.git("config", "user.signingkey", "nobody")
    tree = add(project, edits={"x": b"x"}, message="x")
    write(tree.path, {"y": "y"})
    assert commit.commit_all(tree.path, "y")


def test_worktrees_of_a_bare_repository(bare: Path, tmp_path: Path) -> None:
    """A bare main with packed refs gives worktrees that git agrees with."""
    root = tmp_path / ".ve-bare" / "worktrees"
    checkout.ensure_root(root)
    start = base.resolve(bare, "main")
    tree = checkout.add(bare, root / "b-1", "ve/b-1", "b-1", start)
    assert_sound(bare, tree.path)
    assert git(bare, "worktree", "list").count("b-1") == 2
    checkout.remove(bare, tree.path, "b-1", "ve/b-1", merged_into=start)
    assert_sound(bare)
    assert "b-1" not in git(bare, "worktree", "list")


def test_an_existing_branch_or_folder_is_refused(project: Project) -> None:
    """A branch, folder or id of somebody else's is never taken over, and nothing of it changes."""
    checkout.ensure_root(project.trees)
    project.git("branch", "ve/one-1")
    with pytest.raises(GitError, match="exists already"):
        add(project)
    write(project.trees / "two-1", {"precious": "data"})
    with pytest.raises(GitError, match="something is there"):
        add(project, "two-1")
    project.git("worktree", "add", "-q", str(project.root.parent / "three-1"), "-b", "mine")
    with pytest.raises(GitError, match="another worktree"):
        add(project, "three-1")

    assert (project.trees / "two-1/precious").read_text() == "data"
    assert base.tip(project.common, "ve/two-1") is None
    assert_sound(project.root)


def test_called_again_it_returns_the_finished_worktree_untouched(project: Project) -> None:
    """A second call, as after a restart, keeps commits and uncommitted work."""
    tree = add(project)
    write(tree.path, {"work.txt": "work\n"})
    made = commit.commit_all(tree.path, "work")
    write(tree.path, {"src/a.py": "in progress\n"})

    again = add(project)

    assert again.head == made
    assert (tree.path / "src/a.py").read_text() == "in progress\n"


CHILD = """
import os, signal, sys
from pathlib import Path
from ve.git import checkout
common, path, base, kill_at = sys.argv[1:]
def progress(step):
    if step == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
edits = {"e.txt": b"e"}
checkout.add(Path(common), Path(path), "ve/k-1", "k-1", base, edits=edits, message="e", progress=progress)
"""


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_is_finished_by_the_next_call(project: Project, step: str) -> None:
    """kill -9 before any step leaves nothing that the same call cannot bring to its end."""
    project.commit({f"many/{n}.txt": f"{n}\n" for n in range(20)})
    checkout.ensure_root(project.trees)
    path = project.trees / "k-1"
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(project.common), str(path), project.head, step], check=False
    )
    assert child.returncode == -signal.SIGKILL
    assert_sound(project.root)

    tree = checkout.add(
        project.common, path, "ve/k-1", "k-1", project.head, edits={"e.txt": b"e"}, message="e"
    )

    assert_sound(project.root, tree.path)
    assert git(tree.path, "log", "--format=%s", "-2") == "e\nchange"
    assert [entry.name for entry in project.trees.iterdir()] == ["k-1"]
    assert project.git("status", "--porcelain") == ""


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_can_be_removed(project: Project, step: str) -> None:
    """An attempt that was cancelled while its worktree was half made leaves nothing behind."""
    checkout.ensure_root(project.trees)
    path = project.trees / "k-1"
    subprocess.run(
        [sys.executable, "-c", CHILD, str(project.common), str(path), project.head, step], check=False
    )
    checkout.remove(project.common, path, "k-1", "ve/k-1", merged_into=project.head)
    assert list(project.trees.iterdir()) == []
    assert base.tip(project.common, "ve/k-1") is None
    assert project.git("worktree", "list").count("\n") == 0


def test_two_attempts_at_once(project: Project) -> None:
    """Two calls for one attempt give one worktree; of two that want one branch, one is refused."""
    checkout.ensure_root(project.trees)
    results: list[object] = []

    def attempt(name: str) -> None:
        try:
            results.append(checkout.add(project.common, project.trees / name, "ve/same", name, project.head))
        except GitError as error:
            results.append(error)

    threads = [threading.Thread(target=attempt, args=(name,)) for name in ("x-1", "x-1", "y-1")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    trees = {result.admin_id for result in results if isinstance(result, checkout.Tree)}
    assert len(trees) == 1
    assert_sound(project.root, project.trees / trees.pop())


def test_removal_refuses_what_would_be_lost(project: Project) -> None:
    """Uncommitted files, or commits that are not merged, keep the worktree."""
    tree = add(project)
    write(tree.path, {"untracked": "x"})
    with pytest.raises(GitError, match="not committed"):
        checkout.remove(project.common, tree.path, "one-1", "ve/one-1", merged_into=project.head)
    commit.commit_all(tree.path, "work")
    with pytest.raises(GitError, match="neither merged nor salvaged"):
        checkout.remove(project.common, tree.path, "one-1", "ve/one-1", merged_into=project.head)
    assert (tree.path / "untracked").exists()


def test_removal_after_salvage(project: Project) -> None:
    """What was salvaged may go, uncommitted files too; what changed since may not."""
    tree = add(project)
    write(tree.path, {"untracked": "x", "src/a.py": "edited\n"})
    ref = salvage.salvage(project.common, tree.path, "one-1", branch=tree.branch, keep=[project.head])
    assert ref is not None
    write(tree.path, {"later": "y"})
    with pytest.raises(GitError, match="not committed"):
        checkout.remove(project.common, tree.path, "one-1", "ve/one-1", salvaged=ref)
    (tree.path / "later").unlink()

    checkout.remove(project.common, tree.path, "one-1", "ve/one-1", salvaged=ref)
    checkout.remove(project.common, tree.path, "one-1", "ve/one-1", salvaged=ref)

    assert not tree.path.exists()
    assert project.git("show", f"{ref}:untracked") == "x"
    assert_sound(project.root)


def test_read_only_folders_are_removed(project: Project) -> None:
    """What a tool made read-only, as module caches are, does not stay behind."""
    project.commit({".gitignore": "cache/\n"})
    tree = add(project)
    write(tree.path, {"cache/mod/file": "x"})
    (tree.path / "cache/mod").chmod(0o555)
    checkout.remove(project.common, tree.path, "one-1", "ve/one-1", merged_into=project.head)
    assert list(project.trees.iterdir()) == []


def test_trees_are_listed_by_what_they_are(project: Project) -> None:
    """The list has ve's worktrees only, with where they stand."""
    project.git("worktree", "add", "-q", str(project.root.parent / "mine"), "-b", "mine")
    one, two = add(project), add(project, "two-1")
    write(two.path, {"x": "x"})
    made = commit.commit_all(two.path, "x")
    found = checkout.list_trees(project.common, project.trees)
    assert [(tree.admin_id, tree.head, tree.finished) for tree in found] == [
        ("one-1", one.head, True),
        ("two-1", made, True),
    ]


def test_a_tree_that_leads_out_of_the_worktree_is_refused(project: Project) -> None:
    """A commit with a file named .git, as an attacker could make one, is not checked out."""
    blob = git(project.root, "hash-object", "-w", "--stdin", data=b"evil")
    evil = git(project.root, "mktree", data=f"100644 blob {blob}\t.git\n".encode())
    hostile = commit.commit_tree(project.common, evil, [project.head], "hostile")
    checkout.ensure_root(project.trees)
    with pytest.raises(GitError, match="no worktree may have"):
        checkout.add(project.common, project.trees / "h-1", "ve/h-1", "h-1", hostile)
    assert (project.trees / "h-1/.git").read_text().startswith("gitdir: ")


def test_make_project_helper_is_isolated(make_project: Callable[..., Project]) -> None:
    """Two worktrees whose folders have one basename do not take each other's place."""
    project = make_project("other")
    for n in (1, 2):
        root = project.root / ".ve" / f"u{n}"
        checkout.ensure_root(root)
        checkout.add(project.common, root / "work", f"ve/u{n}", f"u-{n}", project.head)
    for n in (1, 2):
        assert git(project.root / f".ve/u{n}/work", "symbolic-ref", "--short", "HEAD") == f"ve/u{n}"


def test_settings_of_the_main_worktree_alone_are_not_taken_over(bare: Path, tmp_path: Path) -> None:
    """With per-worktree configuration a worktree of a bare repository is not bare itself."""
    git(bare, "config", "extensions.worktreeConfig", "true")
    git(bare, "config", "--unset", "core.bare")
    git(bare, "config", "--worktree", "core.bare", "true")
    git(bare, "config", "--worktree", "some.thing", "kept")
    root = tmp_path / "trees" / "worktrees"
    checkout.ensure_root(root)
    tree = checkout.add(bare, root / "b-1", "ve/b-1", "b-1", base.resolve(bare, "main"))
    assert_sound(bare, tree.path)
    assert git(tree.path, "config", "some.thing") == "kept"
    assert git(tree.path, "rev-parse", "--is-bare-repository") == "false"
