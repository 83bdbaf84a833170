"""The real coding agents for tests: pinned versions, installed once into a cache, each by its own package.

    client("claude") -> Path        the native program; skips the test, with its reason, where there is none

The cache is $VE_TEST_CLIENTS, else ~/.cache/ve-test-clients; each client takes 350 to 400 MB and some ten
seconds, once. Several workers may ask at once: a lock lets one of them install, the others wait for it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

CACHE = Path(os.environ.get("VE_TEST_CLIENTS") or "~/.cache/ve-test-clients").expanduser()
"""Of the HOME before any test set its own."""
WHOLE = bool(os.environ.get("CLIENTS"))
"""`just clients`: also what costs many runs of a slow client."""
many_runs = pytest.mark.skipif(not WHOLE, reason="for `just clients`: some ten seconds of a core")
INSTALL_S = 100
"""Below the 120 s that pytest gives a test."""


class Client(NamedTuple):
    """A package of npm, and where the native program may be in it: the first that runs is taken."""

    package: str
    version: str
    programs: Sequence[str]


CLIENTS = {
    "claude": Client("@anthropic-ai/claude-code", "2.1.329", ["@anthropic-ai/claude-code-*-*/claude"]),
    "codex": Client("@openai/codex", "0.169.0", ["@openai/codex-*-*/vendor/*/bin/codex"]),
    "opencode": Client("opencode-ai", "1.18.33", ["opencode-*-*/bin/opencode"]),
}


class Missing(Exception):
    """The client cannot be installed here; the text says why."""


def client(name: str) -> Path:
    """The program of that client, in its pinned version. Skips the test where it cannot be installed."""
    try:
        return find(name)
    except Missing as reason:
        pytest.skip(f"{name} cannot be installed here: {reason}")


@cache
def find(name: str) -> Path:
    """Like `client`, for use outside of tests. Raises Missing."""
    known = CLIENTS[name]
    place = CACHE / f"{name}-{known.version}"
    if program := _installed(place):
        return program
    _failed_before(name)
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / f"{place.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return _installed(place) or _install(known, place)
    except OSError as error:
        _FAILED[name] = f"{CACHE}: {error.strerror}"
    except Missing as error:
        _FAILED[name] = str(error)
    _failed_before(name)
    raise AssertionError


_FAILED: dict[str, str] = {}
"""What this process could not install; it is not tried again."""


def _failed_before(name: str) -> None:
    if name in _FAILED:
        raise Missing(_FAILED[name])


def _installed(place: Path) -> Path | None:
    """The program that an earlier, whole installation left a link to."""
    link = place / "program"
    return link.resolve() if link.exists() else None


def _install(known: Client, place: Path) -> Path:
    """Install beside `place`, then rename: what has that name is whole."""
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("there is no npm")
    fresh = Path(tempfile.mkdtemp(prefix=f"{place.name}.part-", dir=place.parent))
    try:
        _run_npm(npm, known, fresh)
        program = _program(known, fresh / "node_modules")
        (fresh / "program").symlink_to(program.relative_to(fresh))
        if place.exists():
            shutil.rmtree(place)
        fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return (place / "program").resolve()


def _run_npm(npm: str, known: Client, place: Path) -> None:
    """Scripts of the packages are not run: they only copy the program once more."""
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--fetch-retries=1"]
    argv = [npm, "install", "--prefix", str(place), *options, f"{known.package}@{known.version}"]
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"npm was not done after {INSTALL_S} s") from None
    if done.returncode != 0:
        code = re.search(rb"error code (\w+)", done.stderr)
        raise Missing(f"npm ended with {code[1].decode() if code else f'exit code {done.returncode}'}")


def _program(known: Client, packages: Path) -> Path:
    """The first program for this machine that runs; for some processors there are several builds."""
    found = [path for pattern in known.programs for path in packages.glob(pattern)]
    with tempfile.TemporaryDirectory() as home:
        for path in sorted(found, key=lambda path: len(str(path))):
            path.chmod(0o755)
            env = {"PATH": os.defpath, "HOME": home}
            try:
                done = subprocess.run(
                    [path, "--version"],
                    env=env,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    timeout=30,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired):
                continue
            if known.version in done.stdout.decode(errors="replace"):
                return path
    raise Missing(f"no program of {known.package} {known.version} runs on this machine")
