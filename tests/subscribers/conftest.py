"""The project and the core of the end-to-end tests, for what only shows on a whole core."""

from __future__ import annotations

from tests.e2e.conftest import orch, project

__all__ = ["orch", "project"]
