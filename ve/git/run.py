"""The only place where a `git` process starts.

dulwich does the work on objects and refs. `git` runs only for what dulwich cannot do, or cannot do
as git does it:

    what                              where               why not dulwich
    ────────────────────────────────  ──────────────────  ─────────────────────────────────────────
    read-tree -u                      checkout            filters, LFS, eol, ident, encodings and sparse
                                                          checkouts, exactly as git applies them; from
                                                          4,000 files on its workers (0.75 of the time)
    status                            base, checkout      17 to 42 times slower there
    add -A, write-tree, commit        commit, salvage     clean filters, ignore rules; 3 to 8 times slower
    merge-base                        repo                dulwich goes by commit times, and errs in one second
    merge-tree --write-tree           merge               renames: it has no rename detection; merge drivers
    merge --no-commit, ls-files -u,   merge               conflicts in a worktree for an agent to resolve
    diff --check
    diff-index, update-index          landing             every index version, split and sparse index, and
                                                          the operator's staged entries kept as they are
    hash-object, cat-file --filters,  changes             the operator's filters on the changed files
    ls-files
    diff-tree --numstat               base                git's own line counts; difflib's differ
    grep                              base                a thousand documents in 20 ms; 0.3 s there

Rules for every call: an argv, never a shell; hooks, fsmonitor, background gc, signing and
prompts off, because the worktree may be an agent's; no GIT_DIR or GIT_WORK_TREE (a test suite that
inherited them once rewrote its host repository); a time limit; optional locks not taken, so a
reader never stands in the operator's way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ve.errors import GitError

TIMEOUT_S = 120.0
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "core.pager=cat",
    "gc.auto=0",
    "maintenance.auto=false",
    "commit.gpgSign=false",
    "submodule.recurse=false",
    "advice.addEmbeddedRepo=false",
)
_PREFIX = ["git", *(word for setting in _SETTINGS for word in ("-c", setting))]
# What tells git which configuration to read stays; what tells it which repository does not.
_KEPT = frozenset({"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_EXEC_PATH"})


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a git process: ours without any GIT_ variable that redirects it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in _KEPT}
    env.update(
        LC_ALL="C",
        GIT_TERMINAL_PROMPT="0",
        GIT_ASKPASS="true",
        SSH_ASKPASS="true",
        GIT_EDITOR=":",
        GIT_SEQUENCE_EDITOR=":",
        GIT_OPTIONAL_LOCKS="0",
        GIT_LITERAL_PATHSPECS="1",
    )
    env.update(extra or {})
    return env


def git_bytes(
    args: Sequence[str],
    cwd: Path,
    *,
    timeout_s: float = TIMEOUT_S,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    ok: Sequence[int] = (0,),
) -> bytes:
    """Run `git ARGS` in `cwd` and return its standard output.

    Raises GitError, with git's own words, when git is missing, takes longer than `timeout_s`
    seconds (it and what it started are ended) or exits with a status that is not in `ok`.
    """
    return run(args, cwd, timeout_s=timeout_s, input=input, env=env, ok=ok)[1]


def git(
    args: Sequence[str],
    cwd: Path,
    *,
    timeout_s: float = TIMEOUT_S,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    ok: Sequence[int] = (0,),
) -> str:
    """As `git_bytes`, as text; bytes that are not UTF-8 come as surrogates, as in file names."""
    return os.fsdecode(git_bytes(args, cwd, timeout_s=timeout_s, input=input, env=env, ok=ok))


def run(
    args: Sequence[str],
    cwd: Path,
    *,
    timeout_s: float = TIMEOUT_S,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    ok: Sequence[int] = (0,),
) -> tuple[int, bytes]:
    """As `git_bytes`, with the exit status before the output, for commands that answer by status."""
    try:
        process = subprocess.Popen(
            [*_PREFIX, *args],
            cwd=cwd,
            env=environment(env),
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        if not cwd.is_dir():
            raise GitError("the folder is not there", where=str(cwd)) from error
        raise GitError("git is not installed, or not on PATH", hint="Install git 2.39 or later.") from error
    except OSError as error:
        raise GitError(f"git cannot be started: {error.strerror}", where=str(cwd)) from error
    try:
        out, err = process.communicate(input, timeout=timeout_s)
    except BaseException as error:
        _end(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise GitError(
                f"git {args[0]} took longer than {timeout_s:g} s and was ended",
                where=str(cwd),
                hint=f"See what it waits for: git -C {cwd} {args[0]}",
            ) from error
        raise
    if process.returncode not in ok:
        said = os.fsdecode(err).strip() or os.fsdecode(out).strip() or f"exit status {process.returncode}"
        raise GitError(f"git {args[0]}: {said}", where=str(cwd), hint=_hint(said))
    return process.returncode, out


def _end(process: subprocess.Popen[bytes]) -> None:
    """End git and its filters. TERM first: git then removes its lock files, which KILL would leave."""
    for number, wait_s in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=wait_s)
            return


def _hint(said: str) -> str:
    if "index.lock" in said:
        return "Another git command holds this worktree's index. If none runs, remove that file."
    if "dubious ownership" in said:
        return "Git does not trust this folder's owner: git config --global --add safe.directory PATH"
    return ""


def z_paths(output: bytes) -> list[str]:
    """Split the output of a `-z` command into paths."""
    return [os.fsdecode(item) for item in output.split(b"\0") if item]
