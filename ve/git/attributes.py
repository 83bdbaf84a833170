"""What stands between a blob and its file: attributes and settings that change bytes on the way.

Rule: in doubt git does it. Nothing here converts; it only says who may write the files.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable
from pathlib import Path

from dulwich.config import StackedConfig
from dulwich.repo import Repo

_TEXT_ONLY = frozenset({b"text", b"eol", b"crlf"})
_CONVERTING = frozenset({b"filter", b"ident", b"working-tree-encoding"})


class Conversion(enum.IntEnum):
    """How a file comes from its blob."""

    NONE = 0
    """The file is the blob, both ways."""
    ON_COMMIT = 1
    """The file is the blob when it is written, but an unchanged file elsewhere may differ from it."""
    ON_CHECKOUT = 2
    """Bytes are converted on the way out, or files are left out: only git can write them exactly."""


def of_repository(repo: Repo, common_dir: Path) -> Conversion:
    """Return what the configuration and the attribute files outside the tree ask for."""
    config = repo.get_config_stack()
    if (
        config.get_boolean((b"extensions",), b"worktreeconfig", False)
        and (common_dir / "config.worktree").exists()
    ):
        config = StackedConfig([repo.get_worktree_config(), *config.backends])
    unusual = (
        _lower(config, b"core", b"eol") == b"crlf"
        or _lower(config, b"core", b"autocrlf") not in (b"", b"false", b"input", b"no", b"off", b"0")
        or not config.get_boolean((b"core",), b"symlinks", True)
        or not config.get_boolean((b"core",), b"filemode", True)
        or config.get_boolean((b"core",), b"ignorecase", False)
        or config.get_boolean((b"core",), b"precomposeunicode", False)
        or config.get_boolean((b"core",), b"sparsecheckout", False)
    )
    if unusual:
        return Conversion.ON_CHECKOUT
    found = Conversion.ON_COMMIT if _lower(config, b"core", b"autocrlf") == b"input" else Conversion.NONE
    return max(found, of_files(_read(path) for path in _outside(config, common_dir)))


def of_files(contents: Iterable[bytes]) -> Conversion:
    """Return what the lines of attribute files ask for, whatever files they apply to."""
    found = Conversion.NONE
    for content in contents:
        for line in content.splitlines():
            found = max(found, _of_line(line))
    return found


def names(contents: Iterable[bytes]) -> frozenset[bytes]:
    """Return the names of all attributes that attribute files set."""
    return frozenset(
        word.lstrip(b"-!").partition(b"=")[0]
        for content in contents
        for line in content.splitlines()
        for word in _words(line)
    )


def _words(line: bytes) -> list[bytes]:
    line = line.strip()
    if not line or line.startswith(b"#"):
        return []
    if line.startswith(b'"'):
        # A quoted pattern may hold spaces; what follows the last quote are attributes.
        return line.rpartition(b'"')[2].split()
    return line.split()[1:]


def _of_line(line: bytes) -> Conversion:
    found = Conversion.NONE
    for word in _words(line):
        name, _, value = word.lstrip(b"-!").partition(b"=")
        if name in _CONVERTING and not word.startswith((b"-", b"!")):
            return Conversion.ON_CHECKOUT
        if name == b"eol" and value == b"crlf":
            return Conversion.ON_CHECKOUT
        if name in _TEXT_ONLY:
            found = Conversion.ON_COMMIT
    return found


def _outside(config: StackedConfig, common_dir: Path) -> list[Path]:
    try:
        own = Path(os.fsdecode(config.get((b"core",), b"attributesfile"))).expanduser()
    except KeyError:
        base = os.environ.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser())
        own = Path(base) / "git" / "attributes"
    return [Path("/etc/gitattributes"), own, common_dir / "info" / "attributes"]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _lower(config: StackedConfig, section: bytes, name: bytes) -> bytes:
    try:
        return config.get((section,), name).lower()
    except KeyError:
        return b""
