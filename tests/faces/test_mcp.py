"""`ve mcp`, judged by the official MCP client: the document commands, for an agent that a person talks to."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.faces.terminal import VE
from ve.cli.app import app
from ve.documents_mcp import tools

READING = {
    "chunk_list", "chunk_show", "chunk_overlap", "chunk_validate", "narrative_list", "narrative_show",
    "investigation_list", "investigation_show", "subsystem_list", "subsystem_show", "friction_list",
    "friction_show",
}  # fmt: skip
CHANGING = {"chunk_create", "chunk_activate", "chunk_complete"}

FRICTION = """---
themes: []
proposed_chunks: []
---

# Friction Log

## Entries

### F001: Builds take an hour

Every one of them.
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with code, a narrative and a friction log."""
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    write(tmp_path, "pay.py", "class Bill:\n    def round(self):\n        return 0\n")
    write(tmp_path, "docs/trunk/FRICTION.md", FRICTION)
    write(
        tmp_path,
        "docs/narratives/billing/OVERVIEW.md",
        "---\nstatus: ACTIVE\nadvances_trunk_goal: null\nchunks: []\ncreated_after: []\n---\n\n# Billing\n",
    )
    return tmp_path


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@asynccontextmanager
async def agent(root: Path, *words: str, cwd: Path | None = None) -> AsyncIterator[Client]:
    """An agent whose client started `ve mcp` in the repository."""
    command, *arguments = [*VE, "mcp", *words]
    server = StdioServerParameters(command=command, args=arguments, cwd=cwd or root, env=dict(os.environ))
    async with Client(stdio_client(server)) as client:
        yield client


async def texts(client: Client, tool: str, **arguments: Any) -> list[str]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return [part.text for part in result.content]  # type: ignore[union-attr]


async def said(client: Client, tool: str, **arguments: Any) -> Any:
    return json.loads((await texts(client, tool, **arguments))[0])


async def refused(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error, result.content
    return "".join(part.text for part in result.content)  # type: ignore[union-attr]


async def test_the_tools_say_what_they_take_and_which_only_read(root: Path) -> None:
    async with agent(root) as client:
        assert "chunk_validate" in (client.instructions or "")
        found = {tool.name: tool for tool in (await client.list_tools()).tools}

    assert set(found) == READING | CHANGING
    reading = {name for name, tool in found.items() if tool.annotations and tool.annotations.read_only_hint}
    assert reading == READING
    for name, tool in found.items():
        schema = tool.input_schema
        assert tool.description and schema["type"] == "object" and "$ref" not in json.dumps(schema), name
        assert schema["additionalProperties"] is False
        assert all("description" in field for field in schema["properties"].values()), name
        assert tool.annotations and (name in READING or tool.annotations.destructive_hint is False)
    assert found["chunk_create"].input_schema["required"] == ["names"]


async def test_a_chunk_from_its_creation_to_its_end(root: Path) -> None:
    goal = root / "docs/chunks/rounding/GOAL.md"
    async with agent(root) as client:
        made = await said(
            client, "chunk_create", names=["rounding"], future=True, narrative="billing", ticket="T-1"
        )
        assert made["documents"] == [{"name": "rounding", "status": "FUTURE"}]
        assert "docs/chunks/rounding/GOAL.md" in made["written"]
        assert "ticket: T-1" in goal.read_text()

        assert (await said(client, "narrative_show", name="billing"))["name"] == "billing"
        assert [one["name"] for one in await said(client, "narrative_list")] == ["billing"]

        begun = await said(client, "chunk_activate", name="rounding")
        assert begun["documents"] == [{"name": "rounding", "status": "IMPLEMENTING"}]

        text = goal.read_text()
        goal.write_text(text.replace("narrative: billing", "narrative: biling"))
        checked = await said(client, "chunk_validate")
        (problem,) = (one for one in checked["problems"] if one["level"] == "error")
        place = problem["path"], problem["column"], problem["field"]
        assert place == ("docs/chunks/rounding/GOAL.md", 12, "narrative")
        assert "billing" in problem["hint"]

        wrong = text.replace(
            "code_references: []",
            "code_references:\n  - ref: pay.py#Bil::round\n    implements: rounding of sums",
        )
        goal.write_text(wrong)
        assert "pay.py#Bill::round" in await refused(client, "chunk_complete", name="rounding")

        goal.write_text(wrong.replace("Bil::", "Bill::"))
        done = await said(client, "chunk_complete", name="rounding")
        assert done["documents"] == [{"name": "rounding", "status": "ACTIVE"}]
        assert (await said(client, "chunk_list", status=["ACTIVE"]))["chunks"][0]["chunk"] == "rounding"


async def test_reading_shows_texts_and_who_else_is_there(root: Path) -> None:
    for name in ("one", "two"):
        write(
            root,
            f"docs/chunks/{name}/GOAL.md",
            "---\nstatus: ACTIVE\ncode_references:\n  - ref: pay.py#Bill\n    implements: x\n"
            f"created_after: []\n---\n\n# Goal of {name}\n",
        )
    write(root, "docs/chunks/one/PLAN.md", "# Plan of one\n")

    async with agent(root) as client:
        facts, goal, plan = await texts(client, "chunk_show", name="one")
        overlap = await said(client, "chunk_overlap", name="one")
        entries = await said(client, "friction_list", open=True)
        entry = await said(client, "friction_show", entry="F001")
        nothing = [await said(client, f"{kind}_list") for kind in ("investigation", "subsystem")]

    assert json.loads(facts)["fields"]["code_references"][0]["ref"] == "pay.py#Bill"
    assert goal.startswith("docs/chunks/one/GOAL.md:\n\n---\n") and goal.endswith("# Goal of one\n")
    assert plan == "docs/chunks/one/PLAN.md:\n\n# Plan of one\n"
    assert [one["chunk"] for one in overlap["overlaps"]] == ["two"]
    assert [one["id"] for one in entries] == ["F001"]
    assert "Every one of them." in entry["text"]
    assert nothing == [[], []]


async def test_what_is_refused_says_what_where_and_what_to_do(root: Path) -> None:
    write(root, "docs/chunks/rounding/GOAL.md", "---\nstatus: FUTURE\ncreated_after: []\n---\n")

    async with agent(root) as client:
        unknown = await refused(client, "chunk_show", name="roundin")
        many = await refused(client, "chunk_create", names=["rounding", "a b"])
        mistyped = await refused(client, "chunk_list", status=["DONE"])
        strange = await refused(client, "chunk_list", tree=True)
        both = await refused(client, "chunk_validate", all=True, names=["rounding"])
        no_tool = await refused(client, "chunk_approve", name="rounding")
        alive = await said(client, "chunk_list")

    assert "docs/chunks/roundin/GOAL.md: there is no chunk 'roundin'" in unknown
    assert "Did you mean rounding?" in unknown
    assert "exists already" in many and "character 2 is a space" in many
    assert "`status[0]`: Invalid enum value 'DONE'" in mistyped
    assert "unknown field `tree`" in strange
    assert "Leave one of them out." in both
    assert "no such tool; there are chunk_list" in no_tool
    assert [one["chunk"] for one in alive["chunks"]] == ["rounding"]
    assert not (root / "docs/chunks/a b").exists()


async def test_it_serves_the_repository_it_is_told(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (root / "deep").mkdir()

    async with agent(root, "--root", str(root / "deep"), cwd=elsewhere) as client:
        assert len(await said(client, "friction_list")) == 1


def test_outside_of_a_repository_it_does_not_start() -> None:
    done = subprocess.run([*VE, "mcp", "--root", "/"], input=b"", capture_output=True, check=False)

    assert done.returncode == 1 and b"/: is not in a git repository" in done.stderr


def test_each_tool_is_a_command_with_the_same_name() -> None:
    for name in tools():
        group, _, verb = name.partition("_")
        assert app[group][verb].default_command is not None


def test_the_page_about_agents_names_every_tool() -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "use-from-an-agent.md").read_text()
    assert set(re.findall(r"`([a-z]+_[a-z]+)`", page)) == set(tools())


def test_the_tools_are_there_before_anything_heavy_is_imported() -> None:
    """A client waits for the list: Codex drops a server that is not ready within a second."""
    program = "import sys; from ve.documents_mcp import tools; tools(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)

    heavy = {"asyncio", "mcp", "yaml", "tree_sitter", "duckdb", "litestar", "reactivex", "dulwich"}
    assert not heavy & set(done.stdout.split())
