"""Where everything of one repository lies, found from any folder inside it.

Rule: looking creates nothing, starts nothing and imports next to nothing, since each command
of the command line begins here. So git's own few files are read by hand. `GIT_DIR` and its
like are never obeyed: the repository is the one that the caller stands in, whatever a hook or
an agent exported.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ve.errors import NotFound, RefusedError

SOCKET_PATH_LIMIT = 107
"""Bytes that fit into a Unix socket's address on Linux, its closing zero left out."""


class Places(NamedTuple):
    """The paths of one repository; all absolute, with symbolic links resolved, none created."""

    common_dir: Path
    """Git's own folder, shared by the main worktree and all linked ones."""
    state_dir: Path
    main_worktree: Path | None
    """None for a bare repository."""
    worktrees_root: Path
    """Where units' worktrees go unless the configuration says otherwise."""
    socket: Path
    history: Path
    token: Path
    config_file: Path
    daemon_json: Path
    daemon_lock: Path
    log: Path
    runs_dir: Path


def find(start: Path, *, environ: Mapping[str, str] | None = None) -> Places:
    """The places of the repository that `start`, a folder or a file, is in.

    Raises `NotFound` if no folder from `start` upwards is a git repository, or if the one that
    is cannot be read or names a git folder that is gone.
    """
    try:
        common_dir, opened_at = _find_common_dir(start.resolve())
        main = _main_worktree(common_dir, opened_at)
    except (OSError, RuntimeError, ValueError) as error:
        raise NotFound(f"cannot be opened: {error}", where=repr(str(start))) from error
    state = common_dir / "ve"
    return Places(
        common_dir=common_dir,
        state_dir=state,
        main_worktree=main,
        worktrees_root=_worktrees_root(common_dir, main),
        socket=_socket_path(state, os.environ if environ is None else environ),
        history=state / "history.duckdb",
        token=state / "token",
        config_file=state / "config.toml",
        daemon_json=state / "daemon.json",
        daemon_lock=state / "daemon.lock",
        log=state / "daemon.log",
        runs_dir=state / "runs",
    )


def make_socket_dir(socket: Path) -> Path:
    """Make the folder of `socket`, mode 0700, and return it; an existing one is checked first.

    Raises `RefusedError` if it is a symbolic link, no folder, or somebody else's: whoever owns
    it could put a socket of their own in the daemon's place.
    """
    folder = socket.parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        check_socket_dir(folder)
    folder.chmod(0o700)
    return folder


def check_socket_dir(folder: Path) -> None:
    """Raise `RefusedError` unless `folder` is a real folder of this user's (a missing one is fine)."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        raise RefusedError("is not a folder", where=str(folder), hint=f"See what it is: ls -ld {folder}")
    if found.st_uid != os.geteuid():
        raise RefusedError(
            f"belongs to user {found.st_uid}, not to you ({os.geteuid()})",
            where=str(folder),
            hint="Set XDG_RUNTIME_DIR to a folder of your own: export XDG_RUNTIME_DIR=$HOME/.run",
        )


def _find_common_dir(start: Path) -> tuple[Path, Path]:
    """Git's common folder, and the folder in which it was met (a worktree's root, or itself)."""
    for folder in (start, *start.parents):
        git_dir = _git_dir_at(folder)
        if git_dir is not None:
            return _common_dir(git_dir, folder), folder
    raise NotFound(
        "is not in a git repository", where=str(start), hint="Make it one with: git init, then: ve init"
    )


def _git_dir_at(folder: Path) -> Path | None:
    """The git folder that `folder` has or is."""
    entry = folder / ".git"
    if entry.is_file():
        return _follow(entry)
    for candidate in (entry, folder):
        if _is_git_dir(candidate):
            return candidate.resolve()
    return None


def _follow(entry: Path) -> Path:
    """The folder that a `.git` file names, as in linked worktrees and submodules."""
    text = entry.read_text(encoding="utf-8", errors="surrogateescape")
    if not text.startswith("gitdir: "):
        raise NotFound(
            "is neither a git folder nor a `gitdir:` line", where=str(entry), hint="See: git status"
        )
    target = (entry.parent / text.removeprefix("gitdir: ").rstrip("\r\n")).resolve()
    if not _is_git_dir(target):
        raise NotFound(
            f"names the git folder {target}, which is not there",
            where=str(entry),
            hint="If the repository or the worktree was moved, run in the repository: git worktree repair",
        )
    return target


def _is_git_dir(folder: Path) -> bool:
    """By git's own rule; a linked worktree's folder has no objects of its own but a `commondir`."""
    if not os.path.lexists(folder / "HEAD"):
        return False
    return (folder / "commondir").is_file() or ((folder / "objects").is_dir() and (folder / "refs").is_dir())


def _common_dir(git_dir: Path, folder: Path) -> Path:
    pointer = git_dir / "commondir"
    if not pointer.is_file():
        return git_dir
    text = pointer.read_text(encoding="utf-8", errors="surrogateescape")
    common = (git_dir / text.rstrip("\r\n")).resolve()
    if not _is_git_dir(common):
        raise NotFound(
            f"belongs to the repository {common}, which is not there",
            where=str(folder),
            hint="If the repository was moved, run in it: git worktree repair",
        )
    return common


def _main_worktree(common_dir: Path, opened_at: Path) -> Path | None:
    core = _core_settings(common_dir)
    if core.get("worktree"):
        return (common_dir / core["worktree"]).resolve()
    if core.get("bare", "false").lower() in ("true", "yes", "on", "1", ""):
        return None
    if common_dir.name == ".git":
        return common_dir.parent
    entry = opened_at / ".git"
    if entry.is_file() and _follow(entry) == common_dir:
        return opened_at
    # `git init --separate-git-dir` leaves no way back from the git folder to its worktree.
    raise NotFound(
        "does not say where its main worktree is",
        where=str(common_dir),
        hint=f"Say it once: git --git-dir={common_dir} config core.worktree /path/of/the/main/worktree",
    )


def _core_settings(common_dir: Path) -> dict[str, str]:
    """The `[core]` section of the repository's own configuration, keys in lower case."""
    found: dict[str, str] = {}
    for name in ("config", "config.worktree"):
        try:
            text = (common_dir / name).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            continue
        found.update(_core_section(text))
    return found


def _core_section(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    inside = False
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("["):
            header, _, line = line[1:].partition("]")
            inside = header.strip().lower() == "core"
            line = line.strip()
        if inside and line and line[0] not in "#;":
            key, equals, value = line.partition("=")
            found[key.strip().lower()] = _unquote(value.strip()) if equals else "true"
    return found


def _unquote(value: str) -> str:
    if value.startswith('"'):
        return value[1:].partition('"')[0]
    for mark in (" #", " ;", "\t#", "\t;"):
        value = value.partition(mark)[0]
    return value.strip()


def _worktrees_root(common_dir: Path, main: Path | None) -> Path:
    if main is not None:
        return main / ".ve" / "worktrees"
    # A bare repository kept as `project/.git` or `project/.bare` has its worktrees beside it anyway.
    name = common_dir.name.lstrip(".").removesuffix(".git") or "git"
    return common_dir.parent / f".ve-{name}" / "worktrees"


def _socket_path(state: Path, environ: Mapping[str, str]) -> Path:
    """Short whatever the repository's path: the hash of the state folder names the socket."""
    from hashlib import blake2b

    name = blake2b(os.fsencode(state), digest_size=8).hexdigest() + ".sock"
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and Path(runtime).is_dir():
        path = Path(runtime) / "ve" / name
        if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
            return path
    return Path(f"/tmp/ve-{os.geteuid()}") / name
