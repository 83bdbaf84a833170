"""A small ACP agent, written with the SDK's agent side: a real peer of the protocol, without a model.

    python -m tests.agents.acp_peer STEPS FOLDER [ABILITY …]

It does the steps of the JSON text STEPS, in order, and keeps its conversations in FOLDER. ABILITY is what it
says it can do: `resume`, `load`, `models`; or `login`: it needs one.

    {"say": TEXT}  {"call": [TOOL, ARGUMENTS]}  {"permit": TOOL_CALL}  {"cost": DOLLARS}
    {"stop": REASON}  {"error": [CODE, MESSAGE, DATA]}  {"wait": true}, until it is cancelled
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import acp
from acp import helpers, schema

OPTIONS = [
    schema.PermissionOption(option_id="yes", name="Allow", kind="allow_once"),
    schema.PermissionOption(option_id="always", name="Always", kind="allow_always"),
    schema.PermissionOption(option_id="no", name="Reject", kind="reject_once"),
]


class Tools:
    """The tool server that the client named in `session/new`."""

    def __init__(self, server: schema.McpServerStdio) -> None:
        env = {one.name: one.value for one in server.env}
        self._server = subprocess.Popen(
            [server.command, *server.args], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.request("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}})
        self.request("tools/list", {})

    def close(self) -> None:
        with self._server as server:
            assert server.stdin is not None
            server.stdin.close()

    def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        assert self._server.stdin is not None and self._server.stdout is not None
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self._server.stdin.write(json.dumps(message).encode() + b"\n")
        self._server.stdin.flush()
        result: dict[str, Any] = json.loads(self._server.stdout.readline())["result"]
        return result


class Peer:
    """The agent."""

    def __init__(self, steps: list[dict[str, Any]], folder: Path, abilities: set[str]) -> None:
        self.steps = steps
        self.folder = folder
        self.abilities = abilities
        self.model = "small"
        self.cancelled = asyncio.Event()
        self.tools: Tools | None = None

    def on_connect(self, client: Any) -> None:
        self.client = client

    def close(self) -> None:
        """End the tool server."""
        if self.tools is not None:
            self.tools.close()

    async def initialize(self, protocol_version: int, **_: Any) -> schema.InitializeResponse:
        resume = schema.SessionResumeCapabilities() if "resume" in self.abilities else None
        can = schema.AgentCapabilities(
            load_session="load" in self.abilities,
            session_capabilities=schema.SessionCapabilities(resume=resume),
        )
        login = schema.AuthMethodAgent(id="login", name="peer login")
        return schema.InitializeResponse(
            protocol_version=protocol_version, agent_capabilities=can, auth_methods=[login]
        )

    def _options(self) -> list[Any] | None:
        if "models" not in self.abilities:
            return None
        models = [schema.SessionConfigSelectOption(value=name, name=name) for name in ("small", "large")]
        return [
            schema.SessionConfigOptionSelect(
                id="m", name="Model", category="model", type="select", current_value=self.model,
                options=models,
            )
        ]  # fmt: skip

    async def new_session(self, cwd: str, mcp_servers: list[Any], **_: Any) -> schema.NewSessionResponse:
        if "login" in self.abilities:
            raise acp.RequestError.auth_required()
        self.tools = Tools(mcp_servers[0])
        session = str(uuid.uuid4())
        (self.folder / session).write_text("")
        return schema.NewSessionResponse(session_id=session, config_options=self._options())

    def _reopen(self, session_id: str, mcp_servers: list[Any]) -> None:
        if not (self.folder / session_id).exists():
            raise acp.RequestError.resource_not_found(session_id)
        self.tools = Tools(mcp_servers[0])

    async def resume_session(
        self, session_id: str, mcp_servers: list[Any], **_: Any
    ) -> schema.ResumeSessionResponse:
        self._reopen(session_id, mcp_servers)
        return schema.ResumeSessionResponse()

    async def load_session(
        self, session_id: str, mcp_servers: list[Any], **_: Any
    ) -> schema.LoadSessionResponse:
        self._reopen(session_id, mcp_servers)
        await self.client.session_update(session_id, helpers.update_agent_message_text("from before\n"))
        return schema.LoadSessionResponse()

    async def set_config_option(self, config_id: str, value: str, **_: Any) -> Any:
        self.model = value
        return schema.SetSessionConfigOptionResponse(config_options=self._options() or [])

    async def cancel(self, session_id: str, **_: Any) -> None:
        self.cancelled.set()

    async def prompt(self, session_id: str, prompt: list[Any], **_: Any) -> schema.PromptResponse:
        with (self.folder / session_id).open("a") as file:
            file.write(f"{self.model}: {prompt[0].text}\n")
        reason: Any = "end_turn"
        for number, step in enumerate(self.steps):
            ((verb, value),) = step.items()
            reason = await getattr(self, f"_{verb}")(session_id, value, f"call-{number}") or reason
        usage = schema.Usage(input_tokens=60, output_tokens=7, cached_read_tokens=40, total_tokens=107)
        return schema.PromptResponse(stop_reason=reason, usage=usage)

    async def _say(self, session: str, text: str, _: str) -> None:
        for piece in (text[:3], text[3:]):
            await self.client.session_update(session, helpers.update_agent_message_text(piece))

    async def _call(self, session: str, call: list[Any], id: str) -> None:
        assert self.tools is not None
        name, arguments = call
        started = helpers.start_tool_call(id, name, kind="other", status="pending", raw_input=arguments)
        await self.client.session_update(session, started)
        result = self.tools.request("tools/call", {"name": name, "arguments": arguments})
        content = [helpers.tool_content(helpers.text_block(result["content"][0]["text"]))]
        status: Any = "failed" if result["isError"] else "completed"
        await self.client.session_update(
            session, helpers.update_tool_call(id, status=status, content=content)
        )

    async def _permit(self, session: str, call: dict[str, Any], id: str) -> None:
        tool_call = schema.ToolCallUpdate.model_validate({"toolCallId": id, **call})
        await self.client.request_permission(session_id=session, tool_call=tool_call, options=OPTIONS)

    async def _cost(self, session: str, amount: float, _: str) -> None:
        cost = schema.Cost(amount=amount, currency="USD")
        update = schema.UsageUpdate(session_update="usage_update", used=107, size=1000, cost=cost)
        await self.client.session_update(session, update)

    async def _stop(self, _: str, reason: str, __: str) -> str:
        return reason

    async def _error(self, _: str, error: list[Any], __: str) -> None:
        raise acp.RequestError(*error)

    async def _wait(self, _: str, __: bool, ___: str) -> str:
        await self.cancelled.wait()
        return "cancelled"


if __name__ == "__main__":
    peer: Any = Peer(json.loads(sys.argv[1]), Path(sys.argv[2]), set(sys.argv[3:]))
    asyncio.run(acp.run_agent(peer, use_unstable_protocol=True))
