"""Fixtures that every test shares. Git sees no configuration of the machine's user."""

from __future__ import annotations

import os

_KEPT = "VE_TEST_CLIENTS"
for _name in [name for name in os.environ if name.startswith(("GIT_", "VE_")) and name != _KEPT]:
    del os.environ[_name]
os.environ["GIT_CONFIG_GLOBAL"] = "/dev/null"
os.environ["GIT_CONFIG_SYSTEM"] = "/dev/null"
os.environ["GIT_TERMINAL_PROMPT"] = "0"
