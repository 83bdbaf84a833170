"""Runs the real Codex against the scripted model, once for each way to end, and keeps what it printed.

python -m tests.agents.record_codex [CASE …]     writes tests/agents/recorded/codex/<case>.jsonl anew
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.agents.recordings import CLOSED, Case, Recorder
from ve.agents.base import Launch
from ve.testing import Refusal, Turn, Use, usage_limit

PATCH = "apply_patch <<'X'\n*** Begin Patch\n*** Add File: two.txt\n+two\n*** End Patch\nX"
ASK = Use("AskOperator", {"question": "Which colour?", "options": ["red", "blue"]})


def shell(command: str, text: str = "") -> Turn:
    """The model runs a command."""
    return Turn(text=text, uses=[Use("exec_command", {"cmd": command})])


CASES = {
    "asked": Case([
        shell("echo one > one.txt; ls; cat missing"), shell(PATCH, "Now the patch."), Turn(uses=[ASK]),
        Turn(text="I asked. Was it right? Two errors failed before: see line 512."),
    ]),
    "answered": Case([shell("echo blue > colour.txt", "Blue it is."), Turn(text="Done.")], resume="asked"),
    "session-gone": Case([Turn(text="x")], resume="3f0c8f5e-8f0e-4b63-9d5e-6f1d7f0c0a11"),
    "no-key": Case([Turn(text="x")], env={"OPENAI_API_KEY": ""}),
    "unauthorized": Case([Refusal(401)]),
    "forbidden": Case([Refusal(403)]),
    "bad-request": Case([Refusal(400, "nothing of line 512")]),
    "no-such-model": Case([Refusal(404)]),
    "rate-limited": Case([Refusal(429)]),
    "told-to-wait": Case([Refusal(429, headers={"retry-after": "3600"})], stop_s=3),
    "limit-in-the-stream": Case([Turn(stream_error="rate_limit_exceeded")]),
    "usage-limit": Case([Refusal(429, kind="usage_limit_reached")]),
    "usage-limit-until": Case([usage_limit(7200)]),
    "no-credit": Case([Refusal(429, kind="insufficient_quota")]),
    "server-error": Case([Refusal(500)]),
    "overloaded": Case([Refusal(529)]),
    "at-capacity": Case([Refusal(503)]),
    "cut": Case([Turn(text="half of this", cut=True)]),
    "unreachable": Case([Turn()], settings={"base_url": CLOSED}),
    "waiting-for-network": Case(
        [Turn()], stop_s=4,
        settings={"base_url": CLOSED, "args": ["-c", "features.unbounded_connection_retries=true"]},
    ),
    "model-declines": Case([Turn(text="I can't.", stop="refusal")]),
    "too-long": Case([Turn(text="on and on", stop="length")]),
    "no-room": Case([Turn(stream_error="context_length_exceeded")]),
}  # fmt: skip


class CodexExec(Recorder):
    """With a key for the scripted model."""

    name = "codex"
    cases = CASES
    session_field = "thread_id"

    def env(self, case: Case, launch: Launch, root: Path) -> Mapping[str, str]:
        return {"OPENAI_API_KEY": "scripted", **launch.env, **case.env}


CODEX = CodexExec()

if __name__ == "__main__":
    CODEX.record()
