"""The chunks' documents in a unit's worktree: begun, set aside, restored, completed. Blocks for git.

Rule: agents do not change a status, these functions do. One chunk of a worktree is IMPLEMENTING: the
unit's own. Another one that the base has in work (the operator's) is FUTURE in the tree while agents
work in it, and is again what the base says before anything is merged, so that nothing of it changes.
"""

from __future__ import annotations

from pathlib import Path

from ve.chunks import lifecycle
from ve.chunks.document import folder_of
from ve.chunks.frontmatter import read, reopen, set_status
from ve.chunks.tree import Documents
from ve.chunks.writing import write
from ve.errors import DocumentError, NotFound, RefusedError
from ve.git import base as git
from ve.unit import WorkUnit

_IN_WORK = "^status:[ \t]*[\"']?IMPLEMENTING"


def goal_of(chunk: str) -> str:
    """Where a chunk says what it is for."""
    return f"{folder_of(chunk)}/GOAL.md"


def begin(repo: Path, base: str, chunk: str) -> dict[str, bytes]:
    """What a new tree has otherwise than its base: the chunk is IMPLEMENTING, and no other is."""
    goal = goal_of(chunk)
    edits = {path: set_status(text, "FUTURE", path) for path, text in _others(repo, base, chunk).items()}
    text = git.read_file(repo, base, goal)
    if text is not None and read(text, goal).status == "FUTURE":
        edits[goal] = set_status(text, "IMPLEMENTING", goal)
    return edits


def restore(repo: Path, tree: Path, unit: WorkUnit) -> None:
    """Say again what the base says of the chunks that were set aside."""
    for path in _others(repo, unit.base_commit, unit.chunk) if unit.base_commit else ():
        _change(tree, path, "FUTURE", "IMPLEMENTING")


def set_aside(repo: Path, tree: Path, commit: str, chunk: str) -> bool:
    """Make FUTURE in the tree what `commit` has in work besides the chunk; whether there was any."""
    paths = _others(repo, commit, chunk)
    return sum(_change(tree, path, "IMPLEMENTING", "FUTURE") for path in paths) > 0


def complete(tree: Path, chunk: str) -> None:
    """The chunk's final status, and what its subsystems, narrative and friction entries say of it.

    A status that is neither in work nor one that completion gives stays. Raises VeError's children
    where a reference does not resolve or a document cannot be changed; nothing was completed then.
    """
    path = tree / goal_of(chunk)
    text = path.read_bytes()
    opened = reopen(text, goal_of(chunk))
    if opened != text:
        path.write_bytes(opened)
    if read(opened, goal_of(chunk)).status == "IMPLEMENTING":
        try:
            edits = lifecycle.complete(Documents(tree), None, chunk)
        except RefusedError as error:
            hint = f"Correct it in {tree}; it is tried again every minute, or now: ve orch retry {chunk}"
            raise RefusedError(error.what, where=error.where, hint=hint) from error
        write(tree, edits)


def obstacles(tree: Path, chunk: str) -> str:
    """What completion would refuse, a line each; empty where nothing stands in its way."""
    try:
        found = lifecycle.obstacles(Documents(tree), None, chunk)
    except NotFound as error:
        return f"{error.where}: {error.what}"
    return lifecycle.described(found)


def _others(repo: Path, commit: str, chunk: str) -> dict[str, bytes]:
    """The documents that are in work at a commit besides the chunk's own, with their texts."""
    found: dict[str, bytes] = {}
    for path in git.grep_files(repo, commit, _IN_WORK, "docs/chunks"):
        if path.count("/") != 3 or not path.endswith("/GOAL.md") or path == goal_of(chunk):
            continue
        text = git.read_file(repo, commit, path)
        try:
            if text is not None and read(text, path).status == "IMPLEMENTING":
                found[path] = text
        except DocumentError:
            continue  # one that cannot be read is nobody's work
    return found


def _change(tree: Path, path: str, old: str, new: str) -> bool:
    file = tree / path
    try:
        text = file.read_bytes()
        if read(text, path).status != old:
            return False
        changed = set_status(text, new, path)
    except (OSError, DocumentError):
        return False
    file.write_bytes(changed)
    return True
