"""The environment of an agent: an allow-list, never what the daemon happens to have.

A secret or a session variable of the operator's shell must not reach an agent by accident, and GIT_DIR
in the environment makes any git command in the worktree write to another repository.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from ve.errors import RunError

PASSED: frozenset[str] = frozenset(
    {
        # who and where
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TERM", "LANG", "LANGUAGE", "TZ",
        # where programs keep their configuration and caches
        "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME",
        # how to reach the network
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy",
        "all_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE",
        # toolchains that are found by a variable
        "PYENV_ROOT", "CARGO_HOME", "RUSTUP_HOME", "GOPATH", "GOROOT", "JAVA_HOME", "NVM_DIR",
    }
)  # fmt: skip

FORBIDDEN: frozenset[str] = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR"})


def environment(
    extra: Mapping[str, str] | None = None,
    *,
    passes: Collection[str] = (),
    source: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """What of `source` (the daemon's own environment) an agent may see, with `extra` on top.

    `passes` names what this agent needs beyond the list that holds for all: its own key, for example.

    Raises RunError when `extra` sets a variable that would point git at another repository.
    """
    origin = os.environ if source is None else source
    allowed = PASSED | (set(passes) - FORBIDDEN)
    result = {name: value for name, value in origin.items() if name in allowed or name.startswith("LC_")}
    for name, value in (extra or {}).items():
        if name in FORBIDDEN:
            raise RunError(
                f"{name} must not be set for an agent",
                hint="Remove it from [agents.NAME] env in ve.toml: it makes git write to another repository.",
            )
        result[name] = value
    return result
