"""Runs a real ACP agent, OpenCode, against the scripted model, and keeps what our client of it printed.

python -m tests.agents.record_acp [CASE …]        writes tests/agents/recorded/acp/<case>.jsonl anew
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.agents.clients import find
from ve.agents.acp import Acp
from ve.agents.base import Job, Settings
from ve.testing import Refusal, ScriptedModel, Turn, Use

RECORDED = Path(__file__).parent / "recorded" / "acp"
WRITE = Use("bash", {"command": "echo hello > hello.txt", "description": "write"})
ASK = Use("ve_AskOperator", {"question": "Which?", "options": ["a", "b"]})


class Case(NamedTuple):
    """One run."""

    turns: Sequence[Turn | Refusal]
    model: str = "p/m"
    resume: str = ""
    """The case whose session this one resumes, or an id."""


CASES = {
    "done": Case([Turn(text="I write.", uses=[WRITE]), Turn(text="All done?\nYes.")]),
    "asked": Case([Turn(text="I need to know.", uses=[ASK]), Turn(text="I wait.")]),
    "answered": Case([Turn(text="Thank you.")], resume="asked"),
    "permission-refused": Case([Turn(uses=[Use("read", {"filePath": "/etc/hostname"})]), Turn(text="x")]),
    "unauthorized": Case([Refusal(401)]),
    "no-such-model": Case([Turn(text="x")], model="p/nope"),
    "session-gone": Case([Turn(text="x")], resume="ses_nope"),
}


def settings(program: Path, url: str, model: str = "p/m") -> Settings:
    """OpenCode with one provider, the scripted model, and nothing from the repository or the network."""
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{url}/v1", "apiKey": "none"},
        "models": {"m": {}},
    }
    disabled = ("PROJECT_CONFIG", "MODELS_FETCH", "AUTOUPDATE", "LSP_DOWNLOAD")
    env = {f"OPENCODE_DISABLE_{name}": "true" for name in disabled}
    env["OPENCODE_CONFIG_CONTENT"] = json.dumps({"provider": {"p": provider}, "model": "p/m"})
    return Settings(command=(str(program), "acp"), model=model, env=env)


def run(root: Path, settings: Settings, session: str | None) -> list[bytes]:
    """One run in a fresh folder, in the same home and worktree."""
    run_dir = Path(tempfile.mkdtemp(prefix="run-", dir=root))
    job = Job(
        run="r", unit="u", chunk="c", attempt=1, phase="IMPLEMENT", worktree=str(root / "tree"),
        run_dir=str(run_dir), prompt="Do it.", session=session, resume=session is not None,
    )  # fmt: skip
    launch = Acp(settings).launch(job)
    for name, text in {**launch.files, "job.json": msgspec.json.encode(job).decode()}.items():
        (run_dir / name).write_text(text)
    own = {"PATH": os.environ["PATH"], "HOME": str(root / "home"), "VE_RUN_DIR": str(run_dir)}
    done = subprocess.run(
        launch.argv, cwd=job.worktree, env={**own, **launch.env}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout.splitlines(keepends=True)


def session_of(lines: Sequence[bytes]) -> str:
    return next(str(line["id"]) for line in map(json.loads, lines) if line["type"] == "session")


def main() -> int:
    """Record every case."""
    RECORDED.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:] or CASES
    sessions: Mapping[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="record-") as folder:
        root = Path(folder)
        for name in ("home", "tree"):
            (root / name).mkdir()
        subprocess.run(["git", "init", "-q"], cwd=root / "tree", check=True)
        for name in wanted:
            case = CASES[name]
            with ScriptedModel(case.turns) as model:
                own = settings(find("opencode"), model.url, case.model)
                lines = run(root, own, sessions.get(case.resume, case.resume) or None)
            if name == "asked":
                sessions = {name: session_of(lines)}
            kept = re.sub(re.escape(folder.encode()), b"/home/me", b"".join(lines))
            (RECORDED / f"{name}.jsonl").write_bytes(kept)
            print(f"{name}: {kept.decode().splitlines()[-1][:150]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
