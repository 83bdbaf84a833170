"""Runs the real Codex against the scripted model, once for each way to end, and keeps what it printed.

python -m tests.agents.record_codex        writes tests/agents/recorded/codex/<case>.jsonl anew
"""

from __future__ import annotations

import os
import signal
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
from ve.agents.codex import Codex
from ve.testing import Refusal, ScriptedModel, Turn, Use, usage_limit

RECORDED = Path(__file__).parent / "recorded" / "codex"
CLOSED = "http://127.0.0.1:9"
PATCH = "apply_patch <<'X'\n*** Begin Patch\n*** Add File: two.txt\n+two\n*** End Patch\nX"
ASK = Use("AskOperator", {"question": "Which colour?", "options": ["red", "blue"]})


def shell(command: str, text: str = "") -> Turn:
    """The model runs a command."""
    return Turn(text=text, uses=[Use("exec_command", {"cmd": command})])


class Case(NamedTuple):
    """One run. `stop_s`: it goes on for ever, so it is killed after so long."""

    turns: Sequence[Turn | Refusal]
    env: Mapping[str, str] = {}
    settings: Mapping[str, object] = {}
    resume: str = ""
    stop_s: float = 30.0


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


class Ran(NamedTuple):
    """What a run left."""

    lines: list[bytes]
    code: int
    stderr: str
    requests: int


def run(name: str, case: Case, root: Path, *, binary: Path | None = None) -> Ran:
    """Start the client as `ve` does, and wait for its end."""
    folder, tree = root / name, root / "tree"
    folder.mkdir()
    if not tree.exists():
        subprocess.run(["git", "init", "-q", str(tree)], check=True)
    with ScriptedModel(case.turns) as model:
        settings = msgspec.convert(
            {"base_url": model.url, "model": "scripted", **case.settings,
             "command": (str(binary or find("codex")),)},
            Settings,
        )  # fmt: skip
        before = root / case.resume / "stdout"
        session = thread(before.read_bytes().splitlines()) if case.resume in CASES else case.resume
        job = Job(
            run=name, unit="u1", chunk="greeting", attempt=1, phase="IMPLEMENT", worktree=str(tree),
            run_dir=str(folder), prompt="Do it.", session=session or None, resume=bool(session),
        )  # fmt: skip
        launch = Codex(settings).launch(job)
        (folder / "job.json").write_bytes(msgspec.json.encode(job))
        (folder / "prompt.md").write_text(job.prompt)
        env = {"PATH": os.environ["PATH"], "HOME": str(root), "OPENAI_API_KEY": "scripted", **launch.env,
               **case.env}  # fmt: skip
        with (
            (folder / "prompt.md").open() as prompt,
            (folder / "stdout").open("wb") as stdout,
            (folder / "stderr").open("wb") as stderr,
        ):
            process = subprocess.Popen(
                launch.argv, cwd=tree, env={name: text for name, text in env.items() if text},
                stdin=prompt, stdout=stdout, stderr=stderr,
            )  # fmt: skip
            try:
                code = process.wait(case.stop_s)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                code = process.wait()
        lines = (folder / "stdout").read_bytes().splitlines()
        return Ran(lines, code, (folder / "stderr").read_text(), len(model.asked))


def thread(lines: Sequence[bytes]) -> str:
    """The id of the conversation that these lines tell of."""
    return str(msgspec.json.decode(lines[0])["thread_id"])


def main() -> None:
    """All cases, one after the other."""
    RECORDED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="record-") as place:
        root = Path(place).resolve()
        for name, case in CASES.items():
            began = time.monotonic()
            ran = run(name, case, root)
            text = b"".join(line + b"\n" for line in ran.lines).replace(str(root).encode(), b"/home/op")
            (RECORDED / f"{name}.jsonl").write_bytes(text)
            said = ran.stderr.replace(str(root), "/home/op")
            if not ran.lines:
                (RECORDED / f"{name}.stderr").write_text(said)
            took = time.monotonic() - began
            print(f"{name}: exit code {ran.code}, {ran.requests} requests, {took:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
