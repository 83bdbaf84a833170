"""Runs the real Claude Code against the scripted model, once for each way to end, and keeps what it printed.

python -m tests.agents.record_claude        writes tests/agents/recorded/claude/<case>.jsonl anew
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.agents.clients import find
from ve.agents.base import Job, Settings
from ve.agents.claude import Claude
from ve.testing import Refusal, ScriptedModel, Turn, Use

RECORDED = Path(__file__).parent / "recorded" / "claude"
SUBSCRIPTION = {"ANTHROPIC_API_KEY": "", "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-scripted"}
ASK = Turn(text="I need to know.", uses=[Use("AskOperator", {"question": "Which?", "options": ["a", "b"]})])
ECHO = Turn(uses=[Use("Bash", {"command": "echo hi"})])
RESET = 4102444800  # the year 2100


class Case(NamedTuple):
    """One run."""

    turns: Sequence[Turn | Refusal]
    env: Mapping[str, str] = {}
    settings: Mapping[str, object] = {}
    resume: str = ""
    tools: bool = True
    prompt: str = "Do it."


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
    "unreachable": Case([Turn()], settings={"base_url": "http://127.0.0.1:9"}),
    "model-declines": Case([Turn(text="I can't.", stop="refusal")]),
    "too-long": Case([Turn(text="on and on", stop="length")]),
    "turns": Case([ECHO], settings={"max_turns": 2}),
    "budget": Case([ECHO], settings={"budget_usd": 0.00001}),
    "session-gone": Case([Turn(text="x")], resume="5f0c8f5e-8f0e-4b63-9d5e-6f1d7f0c0a11"),
    "no-tools": Case([Turn(text="All is well.")], tools=False),
    "a-command": Case([Turn(text="x")], prompt="/help"),
}


class Ran(NamedTuple):
    """What a run left."""

    lines: list[bytes]
    code: int
    folder: Path
    requests: int


def run(name: str, case: Case, root: Path, *, binary: Path | None = None) -> Ran:
    """Start the client as `ve` does, and wait for its end."""
    folder, tree = root / name, root / "tree"
    folder.mkdir()
    tree.mkdir(exist_ok=True)
    with ScriptedModel(case.turns) as model:
        settings = msgspec.convert(
            {"base_url": model.url, **case.settings, "command": (str(binary or find("claude")),)}, Settings
        )
        session = str(root / case.resume) if case.resume in CASES else case.resume
        job = Job(
            run=name, unit="u1", chunk="greeting", attempt=1, phase="IMPLEMENT", worktree=str(tree),
            run_dir=str(folder), prompt=case.prompt, session=session or str(folder), resume=bool(case.resume),
        )  # fmt: skip
        launch = Claude(settings).launch(job)
        (folder / "job.json").write_bytes(msgspec.json.encode(job))
        (folder / "prompt.md").write_text(job.prompt)
        for file, text in launch.files.items():
            wrong = text.replace('"ve.runtool"', '"ve.no_such_module"')
            (folder / file).write_text(text if case.tools else wrong)
        base = {"PATH": os.environ["PATH"], "HOME": str(root), "ANTHROPIC_API_KEY": "scripted"}
        env = {
            **base,
            **launch.env,
            "CLAUDE_CODE_MAX_RETRIES": "0",
            "CLAUDE_CODE_TMPDIR": str(root),
            **case.env,
        }
        with (folder / "prompt.md").open() as prompt, (folder / "stderr").open("wb") as stderr:
            done = subprocess.run(
                launch.argv, env={name: text for name, text in env.items() if text}, cwd=tree, stdin=prompt,
                stdout=subprocess.PIPE, stderr=stderr, timeout=60, check=False,
            )  # fmt: skip
        return Ran(done.stdout.splitlines(), done.returncode, folder, len(model.asked))


def main() -> None:
    """All cases, one after the other."""
    RECORDED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="record-") as place:
        root = Path(place).resolve()
        for name, case in CASES.items():
            began = time.monotonic()
            ran = run(name, case, root)
            text = b"".join(line + b"\n" for line in ran.lines).replace(str(root).encode(), b"/home/op")
            (RECORDED / f"{name}.jsonl").write_bytes(text.replace(str(root).replace("/", "-").encode(), b"-"))
            took = time.monotonic() - began
            print(f"{name}: exit code {ran.code}, {ran.requests} requests, {took:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
