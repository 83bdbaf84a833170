"""Merges: what git merges cleanly is merged the same way, what git refuses is a conflict."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.git.conftest import Project, assert_sound, git, write
from ve.errors import GitError
from ve.git import base, checkout, commit, merge
from ve.git.merge import Conflict, Merged


def sides(
    project: Project, ours: dict[str, str | bytes | None], theirs: dict[str, str | bytes | None]
) -> tuple[str, str]:
    start = project.head
    return project.commit_on("ours", start, ours), project.commit_on("theirs", start, theirs)


def test_changes_in_different_places_are_merged(project: Project) -> None:
    """Two branches that changed different files or lines give one commit with both, and no worktree moves."""
    project.commit({"list": "".join(f"{n}\n" for n in range(20))})
    lines = [f"{n}\n" for n in range(20)]
    ours, theirs = sides(
        project,
        {"list": "".join(["first\n", *lines[1:]]), "src/a.py": None},
        {"list": "".join([*lines[:-1], "last\n"]), "added/x": "x"},
    )

    merged = merge.merge(project.common, ours, theirs, message="Merge theirs")

    assert isinstance(merged, Merged)
    assert not merged.fast_forward
    assert git(project.root, "rev-parse", f"{merged.commit}^1", f"{merged.commit}^2").split() == [
        ours,
        theirs,
    ]
    expected = git(project.root, "merge-tree", "--write-tree", ours, theirs)
    assert git(project.root, "rev-parse", f"{merged.commit}^{{tree}}") == expected
    assert_sound(project.root, project.root)


def test_nothing_to_merge_makes_no_commit(project: Project) -> None:
    """When one side contains the other the result is that side, unless a merge commit is asked for."""
    old = project.head
    new = project.commit({"x": "x"})
    assert merge.merge(project.common, old, new, message="m") == Merged(new, True)
    assert merge.merge(project.common, new, old, message="m") == Merged(new, True)
    forced = merge.integrate(project.common, old, new, message="Land x")
    assert isinstance(forced, Merged)
    assert git(project.root, "log", "-1", "--format=%P", forced.commit) == f"{old} {new}"
    assert git(project.root, "diff", forced.commit, new) == ""


def test_the_same_line_changed_twice_is_a_conflict(project: Project) -> None:
    """A conflict names each file with what is on either side and in the common base."""
    ours, theirs = sides(project, {"src/a.py": "a = 2\n"}, {"src/a.py": "a = 3\n"})
    found = merge.merge(project.common, ours, theirs, message="m")
    assert isinstance(found, Conflict)
    assert found.files == (merge.ConflictFile("src/a.py", b"a = 2\n", b"a = 3\n", b"a = 1\n"),)


def test_changed_here_and_deleted_there_is_a_conflict(project: Project) -> None:
    """A file deleted on one side and changed on the other is never dropped in silence."""
    ours, theirs = sides(project, {"src/a.py": None, "src/b.py": None}, {"src/a.py": "a = 3\n"})
    found = merge.merge(project.common, ours, theirs, message="m")
    assert isinstance(found, Conflict)
    assert [(file.path, file.ours, file.theirs) for file in found.files] == [("src/a.py", None, b"a = 3\n")]


def test_a_rename_meets_an_edit(project: Project) -> None:
    """An edit follows a file that the other side renamed: git's second opinion."""
    text = "".join(f"line {n}\n" for n in range(30))
    project.commit({"old.txt": text})
    ours, theirs = sides(
        project, {"old.txt": None, "new.txt": text}, {"old.txt": text.replace("line 7", "line seven")}
    )
    merged = merge.merge(project.common, ours, theirs, message="m")
    assert isinstance(merged, Merged)
    assert b"line seven" in (base.read_file(project.common, merged.commit, "new.txt") or b"")
    assert base.read_file(project.common, merged.commit, "old.txt") is None


def test_a_merge_driver_named_by_attributes_is_used(project: Project, bare: Path) -> None:
    """`merge=union` keeps both lines, in a repository with a worktree as in a bare one."""
    project.commit({".gitattributes": "NEWS merge=union\n", "NEWS": "a\nb\n"})
    ours, theirs = sides(project, {"NEWS": "a\nours\nb\n"}, {"NEWS": "a\ntheirs\nb\n"})
    git(bare, "fetch", "-q", str(project.root), "ours:ours", "theirs:theirs")
    for repo in (project.common, bare):
        merged = merge.merge(repo, ours, theirs, message="m")
        assert isinstance(merged, Merged)
        assert base.read_file(repo, merged.commit, "NEWS") == b"a\nours\ntheirs\nb\n"


def test_binary_files_are_not_merged_by_lines(project: Project) -> None:
    """Two changes in one binary file conflict, even in different places."""
    data = b"\0\n" + b"".join(b"%d\n" % n for n in range(30))
    project.commit({"image": data})
    ours, theirs = sides(project, {"image": data + b"o\n"}, {"image": b"t\n" + data})
    assert isinstance(merge.merge(project.common, ours, theirs, message="m"), Conflict)


def test_folders_that_both_sides_empty_are_gone(project: Project) -> None:
    """No empty folder stays in the merged tree."""
    ours, theirs = sides(project, {"src/a.py": None}, {"src/b.py": None})
    merged = merge.merge(project.common, ours, theirs, message="m")
    assert isinstance(merged, Merged)
    assert base.list_dir(project.common, merged.commit, "") == ["README.md"]


def test_mode_and_content_changed_apart_are_merged(project: Project) -> None:
    """One side makes a file executable, the other edits it: both happen."""
    start = project.head
    place = project.root.parent / "mode"
    project.git("worktree", "add", "-q", "-b", "ours", str(place), start)
    (place / "src/a.py").chmod(0o755)
    ours = commit.commit_all(place, "mode")
    assert ours is not None
    theirs = project.commit_on("theirs", start, {"src/a.py": "a = 4\n"})
    merged = merge.merge(project.common, ours, theirs, message="m")
    assert isinstance(merged, Merged)
    assert git(project.root, "ls-tree", merged.commit, "src/a.py").startswith("100755")
    assert base.read_file(project.common, merged.commit, "src/a.py") == b"a = 4\n"


@pytest.mark.parametrize("seed", range(12))
def test_random_histories_merge_as_git_merges_them(project: Project, seed: int) -> None:
    """Whatever two branches do to a set of files, the tree is git's, or git too finds a conflict."""
    rng = random.Random(seed)
    names = [f"{folder}f{n}" for folder in ("", "d/", "d/e/") for n in range(4)]
    project.commit({name: "".join(f"{name} {n}\n" for n in range(12)) for name in names})

    def change() -> dict[str, str | bytes | None]:
        done: dict[str, str | bytes | None] = {}
        for name in rng.sample(names, 3):
            lines = [f"{name} {n}\n" for n in range(12)]
            lines[rng.randrange(12)] = f"changed {rng.randrange(9)}\n"
            done[name] = None if rng.random() < 0.2 else "".join(lines)
        done[f"d/new{rng.randrange(3)}"] = f"{rng.randrange(2)}\n"
        return done

    ours, theirs = sides(project, change(), change())
    merged = merge.merge(project.common, ours, theirs, message="m")
    judged = git(
        project.root, "merge-tree", "--write-tree", "--name-only", "--no-messages", ours, theirs, ok=False
    )
    tree, *conflicts = judged.splitlines()
    if isinstance(merged, Conflict):
        assert [file.path for file in merged.files] == conflicts != []
    else:
        assert git(project.root, "rev-parse", f"{merged.commit}^{{tree}}") == tree


def conflicted(project: Project) -> tuple[checkout.Tree, str]:
    checkout.ensure_root(project.trees)
    tree = checkout.add(project.common, project.trees / "a-1", "ve/a-1", "a-1", project.head)
    write(tree.path, {"src/a.py": "a = 2\n"})
    commit.commit_all(tree.path, "two")
    return tree, project.commit_on("theirs", project.head, {"src/a.py": "a = 3\n"})


def test_a_conflict_is_put_before_an_agent(project: Project) -> None:
    """The worktree gets markers and counts as unresolved until they are gone, staged or not."""
    tree, theirs = conflicted(project)

    assert merge.merge_into_worktree(tree.path, theirs) == ["src/a.py"]
    assert merge.merge_into_worktree(tree.path, theirs) == ["src/a.py"]
    assert merge.merge_in_progress(tree.path)
    assert b"<<<<<<< " in (tree.path / "src/a.py").read_bytes()
    git(tree.path, "add", "-A")
    assert merge.unmerged(tree.path) == ["src/a.py"]
    write(tree.path, {"src/a.py": "a = 5\n"})
    assert merge.unmerged(tree.path) == []
    made = commit.commit_all(tree.path, "Merge main")

    assert made is not None
    assert git(tree.path, "log", "-1", "--format=%P").split()[1] == theirs
    assert not merge.merge_in_progress(tree.path)
    assert_sound(project.root, tree.path)


def test_a_merge_in_a_worktree_can_be_abandoned(project: Project) -> None:
    """Aborting puts the worktree back to its branch."""
    tree, theirs = conflicted(project)
    merge.merge_into_worktree(tree.path, theirs)
    merge.abort_merge(tree.path)
    assert_sound(project.root, tree.path)
    assert (tree.path / "src/a.py").read_text() == "a = 2\n"


def test_a_heading_underlined_with_equal_signs_is_no_conflict(project: Project) -> None:
    """A title with seven equal signs below it is text."""
    write(project.root, {"README.md": "Heading\n=======\ntext\n"})
    assert merge.unmerged(project.root) == []


def test_nothing_is_merged_into_uncommitted_changes(project: Project) -> None:
    """Uncommitted work is never mixed into a merge."""
    tree, theirs = conflicted(project)
    write(tree.path, {"src/b.py": "half done"})
    with pytest.raises(GitError, match="not committed"):
        merge.merge_into_worktree(tree.path, theirs)
