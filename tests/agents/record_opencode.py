"""Runs the real OpenCode against the scripted model, once for each way to end, and keeps what it printed.

python -m tests.agents.record_opencode [CASE …]     writes tests/agents/recorded/opencode/<case>.jsonl anew
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.agents import recordings
from tests.agents.recordings import CLOSED, Recorder
from ve.agents.base import Launch
from ve.testing import Refusal, Turn, Use, usage_limit

QUIET = {"npm_config_registry": CLOSED, "OPENCODE_API_KEY": "scripted"}
"""It would fetch a package of 63 MB into each new home."""
ASK = Use("AskOperator", {"question": "Which colour?", "options": ["red", "blue"]})


def shell(command: str, text: str = "") -> Turn:
    """The model runs a command."""
    return Turn(text=text, uses=[Use("bash", {"command": command, "description": "a command"})])


def read(path: str) -> Turn:
    """The model reads a file."""
    return Turn(uses=[Use("read", {"filePath": path})])


class Case(recordings.Case, frozen=True):
    """One run; `config` is set over the adapter's own."""

    config: Mapping[str, object] = {}


CASES = {
    "asked": Case([
        shell("echo one > one.txt; ls; cat missing"), read("one.txt"), Turn(uses=[ASK]),
        Turn(text="I asked. Was it right? Two errors failed before: see line 512."),
    ]),
    "answered": Case([shell("echo blue > colour.txt", "Blue it is."), Turn(text="Done.")], resume="asked"),
    "retried": Case([Refusal(503, headers={"retry-after": "0"}), Turn(text="fine")]),
    "session-gone": Case([Turn(text="x")], resume="ses_e01e77331ffecBcSXQL9FMpaXX"),
    "unauthorized": Case([Refusal(401)]),
    "forbidden": Case([Refusal(403)]),
    "bad-request": Case([Refusal(400, "nothing of line 512")]),
    "no-credit": Case([Refusal(429, kind="insufficient_quota", headers={"retry-after": "0"})]),
    "no-such-model": Case([Refusal(404)]),
    "rate-limited": Case([Refusal(429, headers={"retry-after": "0"})]),
    "told-to-wait": Case([Refusal(429, headers={"retry-after": "3600"})]),
    "usage-limit-until": Case([usage_limit(7200)]),
    "server-error": Case([Refusal(500, headers={"retry-after": "0"})]),
    "overloaded": Case([Refusal(529, headers={"retry-after": "0"})]),
    "unreachable": Case([Turn()], settings={"base_url": CLOSED}),
    "cut": Case([Turn(text="half of this", cut=True)]),
    "never-ends": Case([Turn(text="half of this", stop="nothing it knows")], stop_at=12),
    "too-long-for-it": Case([Refusal(400, kind="context_length_exceeded")], stop_at=20),
    "fails-in-the-stream": Case([Turn(stream_error="server_error")]),
    "model-declines": Case([Turn(text="I can't.", stop="refusal")]),
    "too-long": Case([Turn(text="on and on", stop="length")]),
    "rejected": Case(
        [read("/etc/hostname"), Turn(text="never said")], config={"permission": {"external_directory": "ask"}}
    ),
    "model-unknown-to-it": Case([Turn(text="x")], settings={"model": "nope/nope", "base_url": ""}),
    "no-tools": Case([Turn(text="All is well.")], config={"mcp": {"ve": {"command": ["/bin/false"]}}}),
}  # fmt: skip


class OpenCodeRun(Recorder):
    """In a repository with instructions and a tool server of its own."""

    name = "opencode"
    cases = CASES
    session_field = "sessionID"

    def prepare(self, tree: Path) -> None:
        if tree.exists():
            return
        super().prepare(tree)
        (tree / "AGENTS.md").write_text("The word is xylophone.\n")
        theirs = {"type": "local", "command": ["touch", "ran"]}
        (tree / "opencode.json").write_text(json.dumps({"mcp": {"theirs": theirs}}))

    def env(self, case: Case, launch: Launch, root: Path) -> Mapping[str, str]:
        config = over(json.loads(launch.env["OPENCODE_CONFIG_CONTENT"]), case.config)
        return {**QUIET, **launch.env, **case.env, "OPENCODE_CONFIG_CONTENT": json.dumps(config)}


def over(config: dict[str, Any], more: Mapping[str, object]) -> dict[str, Any]:
    """`more` set into `config`, key by key."""
    for key, value in more.items():
        inner = config.get(key)
        config[key] = over(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return config


OPENCODE = OpenCodeRun()

if __name__ == "__main__":
    OPENCODE.record()
