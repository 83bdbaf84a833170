"""Refs, salvage, commits and what a repository says of itself."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.git.conftest import Project, assert_sound, edit_in_the_same_instant, git, write
from ve.errors import GitError
from ve.git import base, checkout, commit, refs, run
from ve.git.salvage import salvage


@pytest.fixture
def tree(project: Project) -> checkout.Tree:
    checkout.ensure_root(project.trees)
    return checkout.add(project.common, project.trees / "a-1", "ve/a-1", "a-1", project.head)


def test_only_one_of_many_swaps_wins(project: Project) -> None:
    """Eight writers add to one ref at once: each addition is there in the end, none overwrote another."""
    project.git("branch", "counter")
    tree = git(project.root, "rev-parse", "HEAD^{tree}")

    def add_five() -> None:
        for _ in range(5):
            while True:
                old = base.resolve(project.common, "counter")
                new = commit.commit_tree(project.common, tree, [old], f"by {threading.get_ident()}")
                if refs.compare_and_swap(project.common, "refs/heads/counter", old, new, "add"):
                    break

    threads = [threading.Thread(target=add_five) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert git(project.root, "rev-list", "--count", "main..counter") == "40"
    assert_sound(project.root)


def test_a_swap_with_the_wrong_old_value_does_nothing(project: Project) -> None:
    """The expected value decides; "must not exist" is an expectation too."""
    first, second = project.head, project.commit({"x": "x"})
    assert not refs.compare_and_swap(project.common, "refs/heads/main", first, first, "back")
    assert not refs.compare_and_swap(project.common, "refs/heads/main", None, first, "new")
    assert base.tip(project.common, "main") == second
    with pytest.raises(GitError, match="exists already"):
        refs.create_branch(project.common, "main", first)
    with pytest.raises(GitError, match="not in this repository"):
        refs.compare_and_swap(project.common, "refs/heads/other", None, "0" * 40, "x")


def test_a_ref_that_stays_locked_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that does not go away ends in an error that says which file it is."""
    monkeypatch.setattr(refs, "LOCK_WAIT_S", 0.05)
    lock = project.common / "refs/heads/main.lock"
    lock.write_bytes(b"")
    with pytest.raises(GitError, match="locked") as error:
        refs.compare_and_swap(
            project.common, "main", project.head, project.commit_on("o", "main", {"x": "x"}), "m"
        )
    assert str(lock) in str(error.value)


def test_deleting_a_ref_that_moved_is_refused(bare: Path) -> None:
    """A ref, packed or not, goes only from the value that was expected; deleting it twice is fine."""
    start = base.resolve(bare, "main")
    refs.create_branch(bare, "ve/gone", start)
    git(bare, "pack-refs", "--all")
    assert not refs.delete_ref(bare, "refs/heads/ve/gone", "1" * 40)
    assert refs.delete_ref(bare, "refs/heads/ve/gone", start)
    assert refs.delete_ref(bare, "refs/heads/ve/gone", start)
    assert base.tip(bare, "ve/gone") is None
    assert_sound(bare)


def test_salvage_keeps_everything(project: Project, tree: checkout.Tree) -> None:
    """Commits, staged content, edits, deletions and untracked files are all in one ref, ignored ones not."""
    write(tree.path, {".gitignore": "junk\n", "committed": "c\n"})
    commit.commit_all(tree.path, "work")
    write(tree.path, {"src/a.py": "staged version\n"})
    git(tree.path, "add", "src/a.py")
    write(tree.path, {"src/a.py": "later version\n", "untracked": "u\n", "junk": "j\n"})
    (tree.path / "src/b.py").unlink()
    before = git(tree.path, "status", "--porcelain")

    ref = salvage(project.common, tree.path, "a-1", branch=tree.branch, keep=[project.head])

    assert ref == "refs/ve/salvage/a-1"
    show = lambda name: git(project.root, "show", name)  # noqa: E731
    assert show(f"{ref}:src/a.py") == "later version"
    assert show(f"{ref}:untracked") == "u"
    assert show(f"{ref}:committed") == "c"
    assert "staged version" in git(project.root, "log", "-p", "--all", "--format=", "-m", "--", "src/a.py")
    files = git(project.root, "ls-tree", "-r", "--name-only", ref).split()
    assert "src/b.py" not in files
    assert "junk" not in files
    assert git(tree.path, "status", "--porcelain") == before
    assert_sound(project.root)


def test_salvage_of_nothing_makes_nothing(project: Project, tree: checkout.Tree) -> None:
    """A worktree that holds only what the base has needs no salvage; one that is gone neither."""
    assert salvage(project.common, tree.path, "a-1", branch=tree.branch, keep=[project.head]) is None
    assert salvage(project.common, project.trees / "nowhere", "n", keep=[project.head]) is None


def test_salvage_twice_never_loses_the_first(project: Project, tree: checkout.Tree) -> None:
    """Unchanged, a second salvage is the same commit; changed, it contains the first."""
    write(tree.path, {"one": "1\n"})
    ref = salvage(project.common, tree.path, "a-1", keep=[project.head])
    assert ref is not None
    first = git(project.root, "rev-parse", ref)
    assert salvage(project.common, tree.path, "a-1", keep=[project.head]) == ref
    assert git(project.root, "rev-parse", ref) == first
    (tree.path / "one").unlink()
    write(tree.path, {"two": "2\n"})
    salvage(project.common, tree.path, "a-1", keep=[project.head])
    assert git(project.root, "show", f"{ref}:two") == "2"
    assert base.is_ancestor(project.common, first, git(project.root, "rev-parse", ref))


def test_salvage_in_the_middle_of_a_conflict(project: Project, tree: checkout.Tree) -> None:
    """A worktree with unresolved conflicts, or a detached HEAD, is salvaged as it lies there."""
    theirs = project.commit_on("theirs", project.head, {"src/a.py": "a = 3\n"})
    write(tree.path, {"src/a.py": "a = 2\n"})
    commit.commit_all(tree.path, "two")
    git(tree.path, "-c", "user.name=x", "-c", "user.email=x@x", "merge", "-q", theirs, ok=False)
    git(tree.path, "update-ref", "--no-deref", "HEAD", "HEAD")
    ref = salvage(project.common, tree.path, "a-1", branch=tree.branch, keep=[project.head])
    assert ref is not None
    assert "<<<<<<<" in git(project.root, "show", f"{ref}:src/a.py")
    assert base.is_ancestor(project.common, theirs, git(project.root, "rev-parse", ref))


def test_salvage_refuses_a_nested_repository(project: Project, tree: checkout.Tree) -> None:
    """A repository that an agent made inside its tree cannot be kept in a commit, so it is named."""
    nested = tree.path / "vendor"
    nested.mkdir()
    git(nested, "init", "-q")
    git(nested, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "--allow-empty", "-m", "x")
    with pytest.raises(GitError, match="vendor"):
        salvage(project.common, tree.path, "a-1", keep=[project.head])


def test_commit_all_takes_everything_but_the_excluded(project: Project, tree: checkout.Tree) -> None:
    """Untracked, changed and deleted files are committed; excluded ones not, even when staged."""
    write(
        tree.path, {"new file": "n", "src/a.py": "changed\n", ".env": "SECRET=1", "logs/x": "x", "-odd": "o"}
    )
    git(tree.path, "add", ".env")
    (tree.path / "src/b.py").unlink()

    made = commit.commit_all(tree.path, "Work\n\nof an agent", exclude=[".env", "logs"])

    assert made == checkout.head_of(tree.path)
    assert git(tree.path, "diff", "--name-status", "HEAD~1").split("\n") == [
        "A\t-odd", "A\tnew file", "M\tsrc/a.py", "D\tsrc/b.py",
    ]  # fmt: skip
    assert git(tree.path, "status", "--porcelain") == "?? .env\n?? logs/"
    assert commit.commit_all(tree.path, "again", exclude=[".env", "logs"]) is None


def test_commit_runs_no_hook(project: Project, tree: checkout.Tree) -> None:
    """Hooks, which an agent could have written, do not run in ve's commits."""
    for name in ("pre-commit", "commit-msg", "post-commit", "post-index-change", "reference-transaction"):
        hook = project.common / "hooks" / name
        write(project.common, {f"hooks/{name}": '#!/bin/sh\ntouch "$PWD/hook-ran"\nexit 1\n'})
        hook.chmod(0o755)
    project.git("config", "core.fsmonitor", str(project.common / "hooks" / "pre-commit"))
    write(tree.path, {"x": "x"})
    assert commit.commit_all(tree.path, "x")
    assert not (tree.path / "hook-ran").exists()


def test_an_index_lock_is_waited_for_and_broken_only_on_request(
    tree: checkout.Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of a killed agent stops a commit, unless the caller knows that nobody is left."""
    monkeypatch.setattr(commit, "LOCK_WAIT_S", 0.05)
    write(tree.path, {"x": "x"})
    lock = Path(git(tree.path, "rev-parse", "--absolute-git-dir")) / "index.lock"
    lock.write_bytes(b"")
    with pytest.raises(GitError, match="holds this worktree's index"):
        commit.commit_all(tree.path, "x")
    assert commit.commit_all(tree.path, "x", break_lock=True)


def test_commit_on_a_detached_head_is_refused(tree: checkout.Tree) -> None:
    """A commit that no branch would hold is not made."""
    git(tree.path, "checkout", "-q", "--detach")
    with pytest.raises(GitError, match="detached"):
        commit.commit_all(tree.path, "x")


def test_the_current_branch(project: Project, bare: Path, tmp_path: Path) -> None:
    """The branch of a worktree or bare repository; a detached HEAD and an empty repository say what to do."""
    assert base.current_branch(project.root) == "refs/heads/main" == base.current_branch(bare)
    project.git("checkout", "-q", "--detach")
    with pytest.raises(GitError, match="detached") as detached:
        base.current_branch(project.root)
    assert "git switch" in detached.value.hint
    git(tmp_path, "init", "-q", "-b", "trunk", "empty")
    with pytest.raises(GitError, match="no commit yet") as empty:
        base.current_branch(tmp_path / "empty")
    assert "git commit" in empty.value.hint


def test_files_and_folders_at_a_commit(project: Project) -> None:
    """What a commit holds is read without a checkout; what it does not hold is None or empty."""
    head = project.head
    write(project.root, {"src/a.py": "uncommitted"})
    assert base.read_file(project.common, head, "src/a.py") == b"a = 1\n"
    assert base.read_file(project.common, head, "src") is None
    assert base.read_file(project.common, head, "README.md/x") is None
    assert base.list_dir(project.common, head, "src") == ["a.py", "b.py"]
    assert base.list_dir(project.common, head, "/") == ["README.md", "src"]
    assert base.list_dir(project.common, head, "nowhere") == []
    assert base.resolve(project.common, "main") == base.resolve(project.common, head) == head
    with pytest.raises(GitError, match="no branch or commit"):
        base.resolve(project.common, "--upload-pack=evil")


def test_what_is_not_committed_is_named(project: Project) -> None:
    """Changed, staged, deleted, untracked and ignored paths are found, folders by what is in them."""
    project.commit(
        {".gitignore": "*.secret\n", "docs/chunks/one/GOAL.md": "g\n", "docs/chunks/two/GOAL.md": "g\n"}
    )
    write(project.root, {"docs/chunks/one/PLAN.md": "p\n", "x.secret": "s", "docs/chunks/two/y.secret": "s"})
    (project.root / "src/a.py").unlink()
    asked = ["docs/chunks/one", "docs/chunks/two", "src/a.py", "src/b.py", "x.secret", "nowhere"]
    assert base.uncommitted(project.root, asked) == ["docs/chunks/one", "src/a.py", "x.secret"]


def test_line_counts(project: Project) -> None:
    """The size of a difference is told per file; binary files have none."""
    old = project.head
    new = project.commit({"src/a.py": "a = 2\nb\n", "bin": b"\0"})
    found = base.diffstat(project.common, old, new)
    assert found == (base.FileStat("bin", None, None), base.FileStat("src/a.py", 2, 1))


def test_git_is_ended_when_it_takes_too_long(project: Project) -> None:
    """A git that hangs, with what it started, is ended after its time and named."""
    project.git("config", "alias.hang", "!sleep 600")
    with pytest.raises(GitError, match="took longer than"):
        run.git(["hang"], project.root, timeout_s=0.2)


def test_an_inherited_git_dir_is_not_followed(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIT_DIR in the daemon's environment does not lead git to another repository."""
    git(tmp_path, "init", "-q", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "other"))
    assert run.git(["rev-parse", "HEAD"], project.root).strip()
    assert Path(run.git(["rev-parse", "--show-toplevel"], project.root).strip()) == project.root


def test_salvage_sees_an_edit_in_the_same_instant(project: Project, tree: checkout.Tree) -> None:
    """An edit of the same size and time as the indexed file is saved: times alone prove nothing."""
    index = Path(git(tree.path, "rev-parse", "--absolute-git-dir")) / "index"
    edit_in_the_same_instant(tree.path / "src/a.py", "a = 7\n", index)
    ref = salvage(project.common, tree.path, "a-1", keep=[project.head])
    assert ref is not None
    assert git(project.root, "show", f"{ref}:src/a.py") == "a = 7"


def test_only_one_module_starts_git() -> None:
    """Processes start in run.py alone, with its rules; its docstring says why each one must."""
    folder = Path(run.__file__).parent
    others = [file.name for file in folder.glob("*.py") if "subprocess" in file.read_text()]
    assert others == ["run.py"]


def test_repositories_that_ve_cannot_write_are_refused(tmp_path: Path) -> None:
    """SHA-256 names are refused with the reason, and a folder that is no repository too."""
    git(tmp_path, "init", "-q", "--object-format=sha256", "new")
    with pytest.raises(GitError, match="SHA-256"):
        base.tip(tmp_path / "new/.git", "main")
    with pytest.raises(GitError, match="common directory"):
        base.tip(tmp_path, "main")
