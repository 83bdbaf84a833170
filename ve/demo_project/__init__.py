"""The project that `ve demo` works on: a small real repository with six chunks to bring home.

Rule: what `project/` holds is what the repository holds, file by file; nothing is generated.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from ve.errors import GitError, RefusedError

CHUNKS = ("parser", "formatter", "config_file", "errors", "cli", "usage")
"""The chunks in an order in which each comes after those that it depends on."""

_SOURCE = Path(__file__).parent / "project"
# A file of this name in the package would be obeyed by git here, and left out when the package is built.
_RENAMED = {"dot_gitignore": ".gitignore"}
_SETTINGS = {
    "user.name": "ve demo",
    "user.email": "demo@localhost",
    "commit.gpgSign": "false",
    "core.hooksPath": os.devnull,
    "core.autocrlf": "false",
    "init.defaultBranch": "main",
    "init.templateDir": "",
}


def create(folder: Path) -> Path:
    """Make the demo's repository in `folder`, which must be missing or empty; returns its real path.

    Needs no network and no configuration of git. Raises `RefusedError` if something is there,
    `GitError` if git is missing or fails.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RefusedError(
            "is not an empty folder", where=str(folder), hint="Give another one: ve demo --folder FOLDER"
        )
    folder.mkdir(parents=True, exist_ok=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(_SOURCE, folder, dirs_exist_ok=True, ignore=ignored)
    for name, real in _RENAMED.items():
        (folder / name).rename(folder / real)
    for arguments in (
        ["init", "-q"],
        ["add", "--all"],
        ["commit", "-q", "-m", "Events, and six chunks to do"],
    ):
        _git(folder, *arguments)
    return folder.resolve()


def _git(folder: Path, *arguments: str) -> None:
    # dulwich has no `add --all` that obeys ignore files in one step; this runs once, in a fresh folder.
    settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            ["git", *settings, *arguments],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except FileNotFoundError as error:
        raise GitError("there is no `git` to run", hint="Install git, then try again.") from error
    except subprocess.TimeoutExpired as error:
        raise GitError(f"`git {arguments[0]}` did not end within 60 seconds", where=str(folder)) from error
    if done.returncode:
        raise GitError(f"`git {arguments[0]}` failed: {done.stderr.strip()}", where=str(folder))
