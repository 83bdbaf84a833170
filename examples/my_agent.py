"""An adapter in fifty lines, to start from: a copy of examples/my_agent.py becomes ve/agents/NAME.py.

It drives Claude Code, and leaves out what only classes errors better: that is in ve/agents/claude.py.
"""

from __future__ import annotations

import json
import shutil
from typing import Any, ClassVar

from ve.agents import base


class MyAgent:
    name: ClassVar[str] = "mine"
    title: ClassVar[str] = "My agent"
    install: ClassVar[str] = "npm install -g @anthropic-ai/claude-code"
    abilities: ClassVar[base.Abilities] = base.Abilities()

    def __init__(self, settings: base.Settings) -> None:
        self.settings = settings
        self.program = settings.command or ("claude",)

    def check(self) -> base.Fitness:
        found = shutil.which(self.program[0])
        if found is None:
            return base.Fitness(ok=False, reason=f"{self.program[0]} is not installed", hint=self.install)
        return base.Fitness(ok=True, version=found)

    def launch(self, job: base.Job) -> base.Launch:
        server = base.tool_server(job)  # the tools of `ve`: the agent must start this as an MCP server
        tools = {"command": server.command, "args": server.args, "env": server.env, "alwaysLoad": True}
        session = ["--resume", job.session] if job.session and job.resume else []
        options = ["-p", "--verbose", "--output-format", "stream-json", "--permission-mode", "acceptEdits"]
        denied = ["--setting-sources", "", "--strict-mcp-config", "--disallowedTools", "AskUserQuestion"]
        ours = ["--mcp-config", f"{job.run_dir}/mcp.json", "--allowedTools", "Bash,mcp__ve"]
        return base.Launch(
            argv=(*self.program, *options, *denied, *ours, *session, *self.settings.args),
            env=self.settings.env,
            stdin=f"{job.run_dir}/prompt.md",
            files={"mcp.json": json.dumps({"mcpServers": {base.TOOL_SERVER: tools}})},
            passes=("ANTHROPIC_API_KEY",),
        )

    def parse(self, line: bytes) -> tuple[base.Event, ...]:
        try:
            return self.events(json.loads(line))
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            return ()  # a line of another kind, a newer one, or half of one

    def events(self, said: dict[str, Any]) -> tuple[base.Event, ...]:
        if said["type"] == "system" and said["subtype"] == "init":
            return (base.SessionStarted(said["session_id"]),)
        if said["type"] == "assistant" and said["message"]["model"] != "<synthetic>":
            return (base.ModelEvent(),)  # what it says in its own name is an error, and no sign of the model
        if said["type"] == "result":
            cost = base.UsageEvent(cost_usd=said["total_cost_usd"], cumulative=True)
            good = said["is_error"] is False and said["terminal_reason"] == "completed"
            return (cost, base.Finished(good, str(said.get("result", "")), "" if good else "agent"))
        return ()
