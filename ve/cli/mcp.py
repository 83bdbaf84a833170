"""`ve mcp`: the document commands as tools for an agent that a person talks to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def mcp(
    *,
    root: Annotated[
        Path | None, Parameter(help="A folder of the repository, if it is not the current one.")
    ] = None,
) -> None:
    """Serve the documents of this repository to an agent, as MCP tools over stdin and stdout.

    For the agent's configuration: command `ve`, argument `mcp`. Needs no daemon; ends when stdin ends.
    """
    from ve.chunks.tree import root_of
    from ve.documents_mcp import serve

    serve(root_of(root or Path.cwd()))
