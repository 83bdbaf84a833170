"""Landing: the base ref moves by compare-and-swap, and a checkout that has it open follows.

The steps, each of which can be repeated, with the caller's durable record between them:

    prepare          takes the checkout's index.lock, marked as ours, and judges: exactly the files that
                     change must be as in `old`, in the index and on disk, and nothing may lie in the way
    move_base        the compare-and-swap; until here nothing has happened, `release` undoes it all
    update_checkout  the files, then the index, then the lock goes

From `prepare` to the end no other git command can change that index. What the operator has changed or
staged elsewhere stays as it is, byte for byte. After a kill -9 `recover` goes on from wherever it was:
the base has moved, so the files follow; it has not, so the lock goes. It removes no lock but ours.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from dulwich.refs import Ref
from dulwich.repo import Repo

from ve.errors import GitError
from ve.git import changes as files
from ve.git import index
from ve.git.changes import Change, State
from ve.git.checkout import head_of, is_clean
from ve.git.refs import swap_ref
from ve.git.repo import common_dir, full_ref, git_dir, head_ref, identity, now, opened, reaches
from ve.git.run import git, git_bytes, z_paths

LOCK_WAIT_S = 2.0
_MARK = "ve landing"
_NEW_INDEX = "index.ve-landing"
_BUSY = {
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
}


class Prepared(msgspec.Struct, frozen=True):
    """The locks of all checkouts are held and nothing stands in the way."""


class Swapped(msgspec.Struct, frozen=True):
    """The base is at `commit`. `kept`: files that the operator changed meanwhile, left as they are."""

    commit: str
    kept: tuple[str, ...] = ()


class BaseMoved(msgspec.Struct, frozen=True):
    """The base is elsewhere (None: gone); nothing was done. Integrate with `tip` and try again."""

    tip: str | None


class Refused(msgspec.Struct, frozen=True):
    """A checkout is in no state to follow; nothing was done. `paths` are the files that it is about."""

    reason: str
    paths: tuple[str, ...] = ()


def checkout_plan(checkout: Path, old: str, new: str) -> tuple[Change, ...]:
    """Return the files of a checkout that change from one commit to the other."""
    with opened(common_dir(checkout)) as repo:
        return files.between(repo, old, new)


def swap(
    repo: Path, ref: str, old: str, new: str, checkouts: Sequence[Path], *, message: str = "landed by ve"
) -> Swapped | BaseMoved | Refused:
    """Do all steps at once. A caller that must survive a kill calls them one by one and records each."""
    ready = prepare(repo, ref, old, new, checkouts)
    if not isinstance(ready, Prepared):
        return ready
    try:
        moved = move_base(repo, ref, old, new, message=message)
    except BaseException:
        recover(repo, ref, old, new, checkouts)
        raise
    if isinstance(moved, BaseMoved):
        release(checkouts, old, new)
        return moved
    kept = [path for checkout in checkouts for path in update_checkout(checkout, old, new, message=message)]
    return Swapped(new, tuple(kept))


def prepare(
    repo: Path, ref: str, old: str, new: str, checkouts: Sequence[Path]
) -> Prepared | BaseMoved | Refused:
    """Lock the checkouts that have `ref` open and judge whether they can follow it from old to new.

    All are locked, or none. Repeated for the same two commits it takes over the locks it left.
    """
    with opened(repo) as opened_repo:
        tip = opened_repo.refs.read_ref(Ref(os.fsencode(full_ref(ref))))
        if tip is not None and reaches(opened_repo, new, tip):
            # A repeat after the swap: the locks stay until the checkouts have followed.
            return Prepared()
        if tip is None or tip.decode() != old:
            release(checkouts, old, new)
            return BaseMoved(None if tip is None else tip.decode())
        changes = files.between(opened_repo, old, new)
        for checkout in checkouts:
            refused = _prepare_one(checkout, full_ref(ref), old, new, changes)
            if refused is not None:
                release(checkouts, old, new)
                return refused
    return Prepared()


def _prepare_one(checkout: Path, ref: str, old: str, new: str, changes: Sequence[Change]) -> Refused | None:
    admin = git_dir(checkout)
    for name, what in _BUSY.items():
        if (admin / name).exists():
            return Refused(f"{what} is in progress in {checkout}")
    if not _take_lock(admin, old, new):
        return Refused(f"another git command holds the index of {checkout}: {admin / 'index.lock'}")
    if head_ref(admin) != ref:
        return Refused(f"{checkout} has just changed to another branch")
    skipped = _skipped(checkout, admin)
    paths = {change.path for change in changes}
    staged = sorted(paths & set(_staged_against(checkout, old)))
    if staged:
        return Refused(f"files that are to change have staged changes in {checkout}", tuple(staged))
    present = [change for change in changes if change.path not in skipped]
    judged = files.states(checkout, present)
    blocked = set(files.in_the_way(checkout, present))
    wrong = [change.path for change in present if change.path in blocked or not _is_old(change, judged)]
    if wrong:
        reason = f"files that are to change hold other changes, or are not committed, in {checkout}"
        return Refused(reason, tuple(wrong))
    return None


def _is_old(change: Change, judged: dict[str, State]) -> bool:
    state = judged[change.path]
    if change.old is None:
        return state is State.ABSENT or (change.new is not None and change.new.mode == 0o160000)
    return state is State.OLD or change.old.mode == 0o160000


def move_base(
    repo: Path, ref: str, old: str, new: str, *, message: str = "landed by ve"
) -> Swapped | BaseMoved:
    """Move the ref from old to new; Swapped also when it has `new` already, from before a kill."""
    with opened(repo) as opened_repo:
        if swap_ref(opened_repo, full_ref(ref), old, new, message):
            return Swapped(new)
        tip = opened_repo.refs.read_ref(Ref(os.fsencode(full_ref(ref))))
        if tip is not None and reaches(opened_repo, new, tip):
            return Swapped(new)
        return BaseMoved(None if tip is None else tip.decode())


def update_checkout(checkout: Path, old: str, new: str, *, message: str = "landed by ve") -> tuple[str, ...]:
    """Bring a checkout whose ref has moved from old to new after it, and give up its lock.

    Returns the files that were left alone because somebody changed them since `prepare`. They show as
    modified. Raises GitError, with the lock still held, when the disk refuses; call it again then.
    """
    admin = git_dir(checkout)
    with opened(common_dir(checkout)) as repo:
        changes = files.between(repo, old, new)
        if not _held(admin, old, new):
            if not _index_is_old(checkout, changes, old):
                return ()
            if not _take_lock(admin, old, new):
                raise GitError(
                    "another git command holds the index",
                    where=str(admin / "index.lock"),
                    hint=f"Once it has ended: git -C {checkout} status",
                )
        skipped = _skipped(checkout, admin)
        try:
            kept = files.apply(repo, checkout, changes, skip=skipped)
        except OSError as error:
            raise GitError(
                f"the checkout cannot be updated: {error.strerror}: {error.filename}", where=str(checkout)
            ) from error
        _write_index(checkout, admin, changes, old, new, skipped)
        _log_head(repo, admin, old, new, message)
    _give_up_lock(admin, old, new)
    return kept


def recover(
    repo: Path, ref: str, old: str, new: str, checkouts: Sequence[Path], *, message: str = "landed by ve"
) -> Swapped | BaseMoved:
    """After a kill: finish the checkouts if the base has `new`, else give up our locks.

    BaseMoved says that the swap did not take place; its `tip` is `old` when nobody else moved it.
    """
    with opened(repo) as opened_repo:
        tip = opened_repo.refs.read_ref(Ref(os.fsencode(full_ref(ref))))
        landed = tip is not None and reaches(opened_repo, new, tip)
    if not landed:
        release(checkouts, old, new)
        return BaseMoved(None if tip is None else tip.decode())
    kept: list[str] = []
    for checkout in checkouts:
        if head_ref(git_dir(checkout)) == full_ref(ref):
            kept += update_checkout(checkout, old, new, message=message)
    release(checkouts, old, new)
    return Swapped(new, tuple(kept))


def release(checkouts: Sequence[Path], old: str, new: str) -> None:
    """Give up the locks that `prepare` took for these two commits; others stay."""
    for checkout in checkouts:
        with contextlib.suppress(GitError):
            _give_up_lock(git_dir(checkout), old, new)


def pending(checkout: Path) -> tuple[str, str] | None:
    """Return (old, new) of the landing that holds this checkout's lock, None when none of ours does."""
    try:
        text = (git_dir(checkout) / "index.lock").read_text(errors="replace")
    except FileNotFoundError:
        return None
    words = text.split()
    return (words[2], words[3]) if text.startswith(_MARK) and len(words) == 4 else None


def fast_forward_worktree(worktree: Path, commit: str) -> None:
    """Move a clean worktree and its branch to a commit that contains it, as a merge of the base.

    Repeated after a kill it finishes. Raises GitError when the tree is not clean, HEAD is detached, or
    the commit does not contain the branch.
    """
    repo, ref = common_dir(worktree), head_ref(git_dir(worktree))
    if ref is None:
        raise GitError("HEAD is detached there", where=str(worktree), hint=f"git -C {worktree} status")
    half_done = pending(worktree)
    if half_done is not None:
        recover(repo, ref, *half_done, [worktree])
    head = head_of(worktree)
    if head == commit:
        return
    with opened(repo) as opened_repo:
        if not reaches(opened_repo, head, commit):
            raise GitError(f"{commit[:12]} does not contain the branch's commits", where=str(worktree))
    if not is_clean(worktree):
        raise GitError("the worktree is not clean", where=str(worktree), hint=f"git -C {worktree} status")
    done = swap(repo, ref, head, commit, [worktree], message="moved by ve")
    if isinstance(done, Refused):
        raise GitError(done.reason, where=str(worktree), hint=f"git -C {worktree} status")
    if isinstance(done, BaseMoved):
        raise GitError("the branch moved meanwhile", where=str(worktree), hint="Try again.")


def _take_lock(admin: Path, old: str, new: str) -> bool:
    """Take index.lock as git does, with our mark in it from its first moment; False when it is taken."""
    lock = admin / "index.lock"
    draft = admin / f"{_NEW_INDEX}-{secrets.token_hex(6)}"
    draft.write_text(f"{_MARK} {old} {new}\n")
    deadline = time.monotonic() + LOCK_WAIT_S
    try:
        while True:
            try:
                lock.hardlink_to(draft)
                return True
            except FileExistsError:
                if _held(admin, old, new):
                    return True
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.02)
    finally:
        draft.unlink()


def _held(admin: Path, old: str, new: str) -> bool:
    try:
        return (admin / "index.lock").read_text(errors="replace") == f"{_MARK} {old} {new}\n"
    except FileNotFoundError:
        return False


def _give_up_lock(admin: Path, old: str, new: str) -> None:
    if _held(admin, old, new):
        for left in admin.glob(f"{_NEW_INDEX}*"):
            left.unlink(missing_ok=True)
        (admin / "index.lock").unlink()


def _staged_against(checkout: Path, commit: str) -> list[str]:
    flags = ["--cached", "--name-only", "--no-renames", "--no-ext-diff", "-z"]
    return z_paths(git_bytes(["diff-index", *flags, commit, "--"], checkout))


def _index_is_old(checkout: Path, changes: Sequence[Change], old: str) -> bool:
    """Whether the index has none of the changes yet, so that this checkout has still to follow."""
    return not {change.path for change in changes} & set(_staged_against(checkout, old))


def _skipped(checkout: Path, admin: Path) -> set[str]:
    """Return the paths that a sparse checkout leaves out."""
    if not (admin / "info" / "sparse-checkout").exists():
        return set()
    entries = z_paths(git_bytes(["ls-files", "-t", "-z"], checkout))
    return {entry[2:] for entry in entries if entry.startswith("S ")}


def _write_index(
    checkout: Path, admin: Path, changes: Sequence[Change], old: str, new: str, skipped: set[str]
) -> None:
    """Install an index in which the changed paths are as in `new`; every other entry stays as it was.

    Git edits a copy, since it alone knows all kinds of index. A path that is staged as something else
    than old or new stays staged.
    """
    copy = admin / _NEW_INDEX
    copy.with_name(f"{_NEW_INDEX}.lock").unlink(missing_ok=True)
    index.copy(admin / "index", copy)
    others = set(_staged_against(checkout, old)) & set(_staged_against(checkout, new))
    # A file that becomes a folder, or the other way round, must go before the other comes.
    going = [f"0 {'0' * len(old)}\t{change.path}" for change in changes if change.new is None]
    coming = [(change.new, change.path) for change in changes if change.new is not None]
    lines = [
        *(line for line in going if line.partition("\t")[2] not in others),
        *(f"{side.mode:o} {side.sha}\t{path}" for side, path in coming if path not in others),
    ]
    env = {"GIT_INDEX_FILE": str(copy.absolute())}
    whole = ["-c", "core.splitIndex=false"]
    text = b"".join(os.fsencode(line) + b"\0" for line in lines)
    git([*whole, "update-index", "-z", "--index-info"], checkout, env=env, input=text)
    hidden = [change.path for change in changes if change.path in skipped and change.new is not None]
    if hidden:
        names = b"".join(os.fsencode(path) + b"\0" for path in hidden)
        git([*whole, "update-index", "--skip-worktree", "-z", "--stdin"], checkout, env=env, input=names)
    git([*whole, "update-index", "-q", "--refresh"], checkout, env=env, ok=(0, 1))
    copy.rename(admin / "index")


def _log_head(repo: Repo, admin: Path, old: str, new: str, message: str) -> None:
    """Add the move to HEAD's reflog, where the operator looks for it; the branch's own has it already."""
    log = admin / "logs" / "HEAD"
    try:
        last = log.read_bytes().rstrip(b"\n").rpartition(b"\n")[2]
    except OSError:
        return
    if last.split(b" ")[1:2] == [new.encode()]:
        return
    seconds, zone = now()
    sign, minutes = "-" if zone < 0 else "+", abs(zone) // 60
    stamp = f" {seconds} {sign}{minutes // 60:02}{minutes % 60:02}\t{message}\n".encode()
    with log.open("ab") as file:
        file.write(f"{old} {new} ".encode() + identity(repo) + stamp)
