"""Runs the real Claude Code against the scripted model, once for each way to end, and keeps what it printed.

python -m tests.agents.record_claude [CASE …]     writes tests/agents/recorded/claude/<case>.jsonl anew
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from tests.agents import recordings
from tests.agents.recordings import CLOSED, Recorder
from ve.agents.base import Launch
from ve.testing import Refusal, Turn, Use

SUBSCRIPTION = {"ANTHROPIC_API_KEY": "", "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-scripted"}
ASK = Turn(text="I need to know.", uses=[Use("AskOperator", {"question": "Which?", "options": ["a", "b"]})])
ECHO = Turn(uses=[Use("Bash", {"command": "echo hi"})])
RESET = 4102444800  # the year 2100


class Case(recordings.Case, frozen=True):
    """One run; without `tools` our tool server does not start."""

    tools: bool = True


def refused_window() -> Refusal:
    """How the API refuses a subscription whose window is used up."""
    claim = {"status": "rejected", "reset": str(RESET), "representative-claim": "five_hour"}
    return Refusal(429, headers={f"anthropic-ratelimit-unified-{name}": text for name, text in claim.items()})


CASES = {
    "done": Case([Turn(text="I look.", uses=[Use("Bash", {"command": "ls"})]), Turn(text="All done?")]),
    "asked": Case([ASK, Turn(text="went on")]),
    "answered": Case([Turn(text="Thank you.")], resume="asked"),
    "retried": Case([Refusal(529), Turn(text="fine")], env={"CLAUDE_CODE_MAX_RETRIES": "1"}),
    "unauthorized": Case([Refusal(401, "invalid x-api-key")]),
    "no-login": Case([Turn(text="x")], env={"ANTHROPIC_API_KEY": ""}),
    "no-credit": Case([Refusal(400, "Your credit balance is too low to access the Anthropic API.")]),
    "bad-request": Case([Refusal(400, "messages: nothing of line 512")]),
    "no-such-model": Case([Refusal(404, "model: nope")]),
    "rate-limited": Case([Refusal(429, headers={"retry-after": "3600"})]),
    "window-used-up": Case([refused_window()], env=SUBSCRIPTION),
    "overloaded": Case([Refusal(529)]),
    "server-error": Case([Refusal(500)]),
    "cut": Case(
        [Turn(text="half of this", cut=True)], env={"CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1"}
    ),
    "unreachable": Case([Turn()], settings={"base_url": CLOSED}),
    "model-declines": Case([Turn(text="I can't.", stop="refusal")]),
    "too-long": Case([Turn(text="on and on", stop="length")]),
    "turns": Case([ECHO], settings={"max_turns": 2}),
    "budget": Case([ECHO], settings={"budget_usd": 0.00001}),
    "session-gone": Case([Turn(text="x")], resume="5f0c8f5e-8f0e-4b63-9d5e-6f1d7f0c0a11"),
    "no-tools": Case([Turn(text="All is well.")], tools=False),
    "a-command": Case([Turn(text="x")], prompt="/help"),
}


class ClaudeCode(Recorder):
    """In a folder that is no repository."""

    name = "claude"
    cases = CASES
    session_field = "session_id"
    settings: ClassVar[Mapping[str, object]] = {}

    def prepare(self, tree: Path) -> None:
        tree.mkdir(exist_ok=True)

    def files(self, case: Case, launch: Launch) -> Mapping[str, str]:
        module = "ve.runtool" if case.tools else "ve.no_such_module"
        return {name: text.replace('"ve.runtool"', f'"{module}"') for name, text in launch.files.items()}

    def env(self, case: Case, launch: Launch, root: Path) -> Mapping[str, str]:
        own = {"CLAUDE_CODE_MAX_RETRIES": "0", "CLAUDE_CODE_TMPDIR": str(root)}
        return {"ANTHROPIC_API_KEY": "scripted", **launch.env, **own, **case.env}


CLAUDE = ClaudeCode()
RECORDED = CLAUDE.recorded

if __name__ == "__main__":
    CLAUDE.record()
