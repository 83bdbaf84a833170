"""Runs the real OpenCode against the scripted model, once for each way to end, and keeps what it printed.

python -m tests.agents.record_opencode [CASE …]     writes tests/agents/recorded/opencode/<case>.jsonl anew
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tests.agents.clients import find
from ve.agents.base import Job, Settings
from ve.agents.opencode import OpenCode
from ve.testing import Refusal, ScriptedModel, Seen, Turn, Use, usage_limit

RECORDED = Path(__file__).parent / "recorded" / "opencode"
CLOSED = "http://127.0.0.1:9"
QUIET = {"npm_config_registry": CLOSED, "OPENCODE_API_KEY": "scripted"}
"""It would fetch a package of 63 MB into each new home."""
ASK = Use("AskOperator", {"question": "Which colour?", "options": ["red", "blue"]})


def shell(command: str, text: str = "") -> Turn:
    """The model runs a command."""
    return Turn(text=text, uses=[Use("bash", {"command": command, "description": "a command"})])


def read(path: str) -> Turn:
    """The model reads a file."""
    return Turn(uses=[Use("read", {"filePath": path})])


class Case(NamedTuple):
    """One run. `config` is set over the adapter's own; what does not end is killed after `stop_at` lines."""

    turns: Sequence[Turn | Refusal]
    env: Mapping[str, str] = {}
    settings: Mapping[str, object] = {}
    config: Mapping[str, object] = {}
    resume: str = ""
    stop_at: int = 1000


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


class Ran(NamedTuple):
    """What a run left, and what the model was asked."""

    lines: list[bytes]
    code: int
    stderr: str
    asked: list[Seen]
    tree: Path
    folder: Path


def run(name: str, case: Case, root: Path, *, binary: Path | None = None) -> Ran:
    """Start the client as `ve` does, and wait for its end."""
    folder, tree = root / name, root / "tree"
    folder.mkdir()
    if not tree.exists():
        subprocess.run(["git", "init", "-q", str(tree)], check=True)
        (tree / "AGENTS.md").write_text("The word is xylophone.\n")
        (tree / "opencode.json").write_text(
            '{"mcp": {"theirs": {"type": "local", "command": ["touch", "ran"]}}}'
        )
    with ScriptedModel(case.turns) as model:
        settings = msgspec.convert(
            {"base_url": model.url, "model": "scripted", **case.settings,
             "command": (str(binary or find("opencode")),)},
            Settings,
        )  # fmt: skip
        before = root / case.resume / "stdout"
        session = session_of(before.read_bytes().splitlines()) if case.resume in CASES else case.resume
        job = Job(
            run=name, unit="u1", chunk="greeting", attempt=1, phase="IMPLEMENT", worktree=str(tree),
            run_dir=str(folder), prompt="Do it.", session=session or None, resume=bool(session),
        )  # fmt: skip
        launch = OpenCode(settings).launch(job)
        for file, text in launch.files.items():
            (folder / file).write_text(text)
        (folder / "job.json").write_bytes(msgspec.json.encode(job))
        (folder / "prompt.md").write_text(job.prompt)
        config = over(json.loads(launch.env["OPENCODE_CONFIG_CONTENT"]), case.config)
        env = {"PATH": os.environ["PATH"], "HOME": str(root), **QUIET, **launch.env, **case.env,
               "OPENCODE_CONFIG_CONTENT": json.dumps(config)}  # fmt: skip
        with (
            (folder / "prompt.md").open() as prompt,
            (folder / "stdout").open("wb") as stdout,
            (folder / "stderr").open("wb") as stderr,
        ):
            process = subprocess.Popen(
                launch.argv, cwd=tree, env=env, stdin=prompt, stdout=stdout, stderr=stderr
            )
            code = wait(process, folder / "stdout", case.stop_at)
        lines = (folder / "stdout").read_bytes().splitlines()
        return Ran(lines, code, (folder / "stderr").read_text(), model.asked, tree, folder)


def wait(process: subprocess.Popen[bytes], stdout: Path, stop_at: int) -> int:
    """Its exit code; it is killed when it has printed so many lines, or after a minute."""
    for _ in range(300):
        try:
            return process.wait(0.2)
        except subprocess.TimeoutExpired:
            if stdout.read_bytes().count(b"\n") >= stop_at:
                break
    process.kill()
    return process.wait()


def over(config: dict[str, Any], more: Mapping[str, object]) -> dict[str, Any]:
    """`more` set into `config`, key by key."""
    for key, value in more.items():
        inner = config.get(key)
        config[key] = over(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return config


def session_of(lines: Sequence[bytes]) -> str:
    """The id of the conversation that these lines tell of."""
    return str(msgspec.json.decode(lines[0])["sessionID"])


def main() -> None:
    """The cases named, or all, one after the other."""
    RECORDED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="record-") as place:
        root = Path(place).resolve()
        for name in sys.argv[1:] or CASES:
            began = time.monotonic()
            ran = run(name, CASES[name], root)
            text = b"".join(line + b"\n" for line in ran.lines[: CASES[name].stop_at]).replace(
                str(root).encode(), b"/home/op"
            )
            (RECORDED / f"{name}.jsonl").write_bytes(text)
            if not ran.lines:
                (RECORDED / f"{name}.stderr").write_text(ran.stderr.replace(str(root), "/home/op"))
            took = time.monotonic() - began
            print(f"{name}: exit code {ran.code}, {len(ran.asked)} requests, {took:.1f} s", file=sys.stderr)
            print(ran.stderr[-600:], file=sys.stderr)


if __name__ == "__main__":
    main()
