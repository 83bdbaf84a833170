"""Two commits brought together without a working tree, and conflicts put before an agent.

A merge is made in the object store: the trees entry by entry, the lines of a file that both sides
changed by merge3. What that cannot do without a conflict is asked of `git merge-tree`, which knows
renames; only what git refuses too is a conflict. Where attributes name merge drivers, git decides.
Nothing points at a merge commit yet when it is returned: give it a ref soon.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from dulwich.errors import NotTreeError
from dulwich.merge import merge_blobs
from dulwich.objects import Blob, ObjectID, SubmoduleEncountered, Tree
from dulwich.repo import Repo

from ve.errors import GitError
from ve.git import attributes
from ve.git.commit import write_commit
from ve.git.landing import fast_forward_worktree as fast_forward_worktree
from ve.git.repo import commit_of, common_dir, git_dir, hexname, identity, merge_bases, opened, reaches
from ve.git.run import git, git_bytes, run, z_paths

EXCERPT_BYTES = 4_000
_MARKERS = re.compile(rb"^<{7} .*?^>{7} ", re.MULTILINE | re.DOTALL)
_Entry = tuple[int, ObjectID]
_FILE = (0o100644, 0o100755)
_DRIVERS = frozenset({b"merge", b"binary"})


class ConflictFile(msgspec.Struct, frozen=True):
    """A file in conflict: its content on each side, at most EXCERPT_BYTES; None where it is not there."""

    path: str
    ours: bytes | None
    theirs: bytes | None
    base: bytes | None


class Merged(msgspec.Struct, frozen=True):
    """The commit that holds both sides; `fast_forward`: it is one of the two, no commit was made."""

    commit: str
    fast_forward: bool


class Conflict(msgspec.Struct, frozen=True):
    """Both sides changed the same places; nothing was written that anything points at."""

    files: tuple[ConflictFile, ...]


def merge(repo: Path, ours: str, theirs: str, *, message: str, no_ff: bool = False) -> Merged | Conflict:
    """Merge commit `theirs` into commit `ours`.

    When one contains the other the result is that one; with `no_ff` a merge commit is made all the
    same if `theirs` is the later one. No worktree, index or ref is touched.
    """
    with opened(repo) as opened_repo:
        if reaches(opened_repo, theirs, ours):
            return Merged(ours, True)
        if reaches(opened_repo, ours, theirs):
            if not no_ff:
                return Merged(theirs, True)
            tree = commit_of(opened_repo, theirs).tree
        else:
            found = _merged_tree(opened_repo, repo, hexname(ours), hexname(theirs))
            if isinstance(found, Conflict):
                return found
            tree = found
        return Merged(write_commit(opened_repo, tree, [ours, theirs], message).decode(), False)


def integrate(
    repo: Path, base_tip: str, branch_tip: str, *, message: str, no_ff: bool = True
) -> Merged | Conflict:
    """Return the commit that the base is to move to: the base with the branch merged into it.

    Its first parent is the base. Where the branch contains the base already and `no_ff` is False, it
    is the branch's own tip.
    """
    return merge(repo, base_tip, branch_tip, message=message, no_ff=no_ff)


def _merged_tree(repo: Repo, common_dir: Path, ours: ObjectID, theirs: ObjectID) -> ObjectID | Conflict:
    bases = merge_bases(repo, ours, theirs)
    base = commit_of(repo, bases[0]).tree if bases else None
    merger = _Trees(repo)
    tree = merger.merge(base, commit_of(repo, ours).tree, commit_of(repo, theirs).tree, b"")
    # A criss-cross history has several bases; git merges those with each other first.
    if len(bases) == 1 and not merger.conflicts and not merger.drivers:
        return _store(repo, Tree()) if tree is None else tree
    second = _second_opinion(common_dir, ours, theirs, merger.attributes if merger.drivers else {})
    if isinstance(second, bytes):
        return ObjectID(second)
    paths = second or merger.conflicts or [b""]
    return Conflict(tuple(_excerpts(repo, path, [ours, theirs, *bases[:1]]) for path in paths))


class _Trees:
    """A three-way merge of trees, entry by entry; what cannot be merged is listed in `conflicts`."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self.conflicts: list[bytes] = []
        self.attributes: dict[bytes, bytes] = {}
        self.drivers = False

    def merge(
        self, base: ObjectID | None, ours: ObjectID | None, theirs: ObjectID | None, prefix: bytes
    ) -> ObjectID | None:
        """Return the merged tree, None when nothing is left in it; a missing side is an empty one."""
        sides = [self._entries(tree) for tree in (base, ours, theirs)]
        self._note_attributes(sides[1].get(b".gitattributes"), prefix)
        merged = Tree()
        for name in sorted(set().union(*sides)):
            b, o, t = (side.get(name) for side in sides)
            kept = o if o == t or b == t else t if b == o else self._entry(b, o, t, prefix + name)
            if kept is not None:
                merged.add(name, *kept)
        return _store(self._repo, merged) if len(merged) else None

    def _entry(self, b: _Entry | None, o: _Entry | None, t: _Entry | None, path: bytes) -> _Entry | None:
        present = [entry for entry in (o, t) if entry is not None]
        if all(stat.S_ISDIR(mode) for mode, _ in present) and (b is None or stat.S_ISDIR(b[0])):
            trees = [None if entry is None else entry[1] for entry in (b, o, t)]
            tree = self.merge(trees[0], trees[1], trees[2], path + b"/")
            return None if tree is None else (stat.S_IFDIR, tree)
        if o is None or t is None or any(mode not in _FILE for mode, _ in present):
            self.conflicts.append(path)
            return o
        mode = t[0] if b is not None and b[0] == o[0] else o[0]
        if b is None and o[0] != t[0]:
            self.conflicts.append(path)
        return mode, self._content(b if b is not None and b[0] in _FILE else None, o, t, path)

    def _content(self, b: _Entry | None, o: _Entry, t: _Entry, path: bytes) -> ObjectID:
        if o[1] == t[1] or (b is not None and b[1] == t[1]):
            return o[1]
        if b is not None and b[1] == o[1]:
            return t[1]
        blobs = [None if entry is None else self._blob(entry) for entry in (b, o, t)]
        # Git never merges the lines of a binary file, and takes a zero byte near the start for its sign.
        if any(blob is not None and b"\0" in blob.data[:8000] for blob in blobs):
            self.conflicts.append(path)
            return o[1]
        content, conflict = merge_blobs(blobs[0], blobs[1], blobs[2])
        if conflict:
            self.conflicts.append(path)
            return o[1]
        return _store(self._repo, Blob.from_string(content))

    def _blob(self, entry: _Entry) -> Blob:
        blob = self._repo.object_store[entry[1]]
        assert isinstance(blob, Blob)
        return blob

    def _entries(self, tree: ObjectID | None) -> dict[bytes, _Entry]:
        if tree is None:
            return {}
        found = self._repo.object_store[tree]
        assert isinstance(found, Tree)
        return {entry.path: (entry.mode, entry.sha) for entry in found.items()}

    def _note_attributes(self, entry: _Entry | None, prefix: bytes) -> None:
        """Remember attribute files on the way to what both sides changed: they may name merge drivers."""
        if entry is not None and entry[0] in _FILE:
            content = self._blob(entry).data
            self.attributes[prefix + b".gitattributes"] = content
            self.drivers = self.drivers or bool(_DRIVERS & attributes.names([content]))


def _store(repo: Repo, made: Blob | Tree) -> ObjectID:
    repo.object_store.add_object(made)
    return made.id


def _second_opinion(
    common_dir: Path, ours: ObjectID, theirs: ObjectID, attribute_files: Mapping[bytes, bytes]
) -> bytes | list[bytes]:
    """Return the tree that git makes of it, or the paths that git finds in conflict.

    The list is empty when this git is older than 2.38, which has no such command. Attributes are read
    from a folder that holds nothing else, because git reads them from a worktree only.
    """
    with tempfile.TemporaryDirectory(prefix="ve-merge-") as folder:
        for path, content in attribute_files.items():
            target = Path(folder) / os.fsdecode(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        where = [f"--git-dir={common_dir.resolve()}", f"--work-tree={folder}"]
        flags = ["--write-tree", "-z", "--no-messages", "--allow-unrelated-histories"]
        status, out = run(
            [*where, "merge-tree", *flags, ours.decode(), theirs.decode()], Path(folder), ok=(0, 1, 128, 129)
        )
    tree, *entries = [part for part in out.split(b"\0") if part] or [b""]
    if status == 0:
        return tree
    return list(dict.fromkeys(entry.partition(b"\t")[2] for entry in entries)) if status == 1 else []


def _excerpts(repo: Repo, path: bytes, commits: Sequence[ObjectID]) -> ConflictFile:
    found: list[bytes | None] = []
    for commit in commits:
        tree = repo.object_store[commit_of(repo, commit).tree]
        assert isinstance(tree, Tree)
        try:
            mode, sha = tree.lookup_path(repo.object_store.__getitem__, path)
            found.append(repo.object_store[sha].as_raw_string()[:EXCERPT_BYTES] if mode in _FILE else None)
        except (KeyError, NotTreeError, SubmoduleEncountered):
            found.append(None)
    base = found[2] if len(found) > 2 else None
    return ConflictFile(os.fsdecode(path), found[0], found[1], base)


def merge_into_worktree(worktree: Path, theirs: str, *, message: str = "") -> list[str]:
    """Merge commit `theirs` into a worktree and stop before the commit; return the paths in conflict.

    What conflicts has git's markers in it, for an agent to resolve; `commit_all` concludes the merge.
    None in conflict and nothing to merge leaves the worktree as it was. Called again during the merge
    it says what is still unmerged. Raises GitError when the worktree has uncommitted changes.
    """
    if merge_in_progress(worktree):
        return unmerged(worktree)
    if git_bytes(["status", "--porcelain=v1", "-z", "--untracked-files=no"], worktree):
        raise GitError(
            "the worktree has changes that are not committed, so nothing can be merged into it",
            where=str(worktree),
            hint=f"See them with: git -C {worktree} status",
        )
    with opened(common_dir(worktree)) as repo:
        name, _, mail = identity(repo).decode(errors="replace").partition(" <")
    who = ["-c", f"user.name={name}", "-c", f"user.email={mail.rstrip('>')}"]
    flags = ["--no-commit", "--no-ff", "--no-verify", "--no-stat", "--no-rerere-autoupdate", "--quiet"]
    text = ["-m", message] if message else []
    git([*who, "-c", "merge.conflictStyle=diff3", "merge", *flags, *text, theirs], worktree, ok=(0, 1))
    left = unmerged(worktree)
    if not left and not merge_in_progress(worktree) and not _contains(worktree, theirs):
        raise GitError(
            "git refused the merge", where=str(worktree), hint=f"git -C {worktree} merge {theirs[:12]}"
        )
    return left


def _contains(worktree: Path, commit: str) -> bool:
    head = git(["rev-parse", "HEAD"], worktree).strip()
    with opened(common_dir(worktree)) as repo:
        return reaches(repo, commit, head)


def merge_in_progress(worktree: Path) -> bool:
    """Whether a merge was begun in a worktree and neither committed nor aborted."""
    return (git_dir(worktree) / "MERGE_HEAD").exists()


def abort_merge(worktree: Path) -> None:
    """Put a worktree back to where it was before `merge_into_worktree`; nothing when none is in progress."""
    if merge_in_progress(worktree):
        git(["merge", "--abort"], worktree)


def unmerged(worktree: Path) -> list[str]:
    """Return the paths in conflict: unmerged in the index, or with conflict markers that were added.

    So a file that an agent staged with the markers still in it counts.
    """
    entries = z_paths(git_bytes(["ls-files", "--unmerged", "-z"], worktree))
    paths = {entry.partition("\t")[2] for entry in entries}
    flags = ["--no-ext-diff", "--no-textconv", "--name-only", "-z", "--diff-filter=AMU", "--no-renames"]
    for path in z_paths(git_bytes(["diff", *flags, "HEAD"], worktree)):
        if path not in paths and _has_markers(worktree / path):
            paths.add(path)
    return sorted(paths)


def has_conflict_markers(worktree: Path) -> bool:
    """Whether anything is left to resolve in a worktree."""
    return bool(unmerged(worktree))


def _has_markers(file: Path) -> bool:
    if file.is_symlink():
        return False
    with contextlib.suppress(OSError):
        return _MARKERS.search(file.read_bytes()) is not None
    return False
