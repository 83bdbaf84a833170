"""The process of the script agent: `python -I -m ve.agents.script_agent` in the worktree.

It reads the job from $VE_RUN_DIR/job.json, the steps from the worktree's script.toml, talks to the tools as
every agent does (MCP over stdio), and says what it does as JSON lines on stdout.

Rule: a run may be repeated after a crash. Writes write the same again, an append whose text is there
already is skipped, so is a commit without a change and a question that is answered.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ve.agents.base import Job
from ve.agents.lines import say
from ve.agents.script_file import ScriptError, Step, read

SHOWN = 4000  # characters of a command's output that are shown or reported


class Tools:
    """A client of `ve.runtool`, a process of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-m", "ve.runtool"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._number = 0
        self._request("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}})
        self._send({"method": "notifications/initialized"})
        self._request("tools/list", {})

    def call(self, name: str, arguments: dict[str, Any]) -> str:
        """The tool's reply. Raises ScriptError when it is an error."""
        id = f"t{self._number + 1}"
        say(type="tool", id=id, name=name, text=str(next(iter(arguments.values()), "")))
        result = self._request("tools/call", {"name": name, "arguments": arguments})
        text = "".join(part["text"] for part in result["content"])
        say(type="tool_result", id=id, ok=not result["isError"], text=text)
        if result["isError"]:
            raise ScriptError(f"{name}: {text}")
        return text

    def close(self) -> None:
        """End the tool process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params})
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ScriptError(f"the tools ended at {method} (exit code {self._process.wait()})")
        reply = msgspec.json.decode(line)
        if "error" in reply:
            raise ScriptError(f"the tools refused {method}: {reply['error']['message']}")
        result: dict[str, Any] = reply["result"]
        return result

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode({"jsonrpc": "2.0", **message}) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise ScriptError("the tools have ended") from error


class Script:
    """One run: its steps, in order, until the end or a question."""

    def __init__(self, job: Job, tools: Tools, steps: Sequence[Step]) -> None:
        self.job = job
        self.tools = tools
        self.steps = steps
        self.root = Path(job.worktree).resolve()

    def go(self) -> str:
        """Do the steps; returns what the run says at its end."""
        left = [step for step in self.steps if not self._answered(step)]
        if not left and self.job.phase == "REVIEW":
            self.tools.call("ReviewDecision", {"decision": "approve"})
            return "approved: the script has no step for this review"
        for step in self.steps:
            if self._answered(step):
                continue
            getattr(self, f"_{step.verb}")(step)
            if step.verb == "ask":
                return f"asked: {step.value}"
        return f"{len(left)} steps done"

    def _answered(self, step: Step) -> bool:
        return step.verb == "ask" and any(answer.text == step.value for answer in self.job.answers)

    def _fill(self, text: str) -> str:
        """The latest answer in place of {answer}; without an answer the text stays as it is."""
        return text.replace("{answer}", self.job.answers[-1].answer) if self.job.answers else text

    def _place(self, step: Step) -> Path:
        place = (self.root / str(step.value)).resolve()
        if not place.is_relative_to(self.root) or ".git" in place.relative_to(self.root).parts:
            raise ScriptError(f"{step.place}: `{step.value}` is outside of the worktree")
        if place.is_dir():
            raise ScriptError(f"{step.place}: `{step.value}` is a folder")
        return place

    def _put(self, step: Step, place: Path, text: str) -> None:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ScriptError(f"{step.place}: `{step.value}` cannot be written: {error.strerror}") from error

    def _write(self, step: Step) -> None:
        say(type="tool", id=step.place, name="write", text=str(step.value))
        self._put(step, self._place(step), self._fill(step.text("text")))

    def _append(self, step: Step) -> None:
        say(type="tool", id=step.place, name="append", text=str(step.value))
        place = self._place(step)
        there = place.read_text(encoding="utf-8") if place.exists() else ""
        # Later appends of this run may stand behind this one's text when the run is repeated.
        ending = ""
        for later in self.steps[self.steps.index(step) :]:
            if later.verb == "append" and later.value == step.value:
                ending += self._fill(later.text("text"))
                if there.endswith(ending):
                    return
        self._put(step, place, there + self._fill(step.text("text")))

    def _run(self, step: Step) -> None:
        say(type="tool", id=step.place, name="run", text=str(step.value))
        code, output = self._command(["/bin/sh", "-c", str(step.value)])
        say(type="tool_result", id=step.place, ok=code == 0, text=output)
        if code != 0:
            raise ScriptError(f"{step.place}: `{step.value}` ended with exit code {code}: {output}")

    def _ask(self, step: Step) -> None:
        arguments = {"question": step.value, **_given(step, "options", "context")}
        self.tools.call("AskOperator", arguments)

    def _decide(self, step: Step) -> None:
        issues = [
            {"concern": issue} if isinstance(issue, str) else issue for issue in step.keys.get("issues", [])
        ]
        arguments = {"decision": step.value, "issues": issues, **_given(step, "reason")}
        self.tools.call("ReviewDecision", arguments)

    def _dispose(self, step: Step) -> None:
        ids = [issue.id for issue in self.job.issues] if step.value == "*" else [step.value]
        for id in ids:
            disposition = step.text("disposition", "fixed")
            self.tools.call("Dispose", {"issue": id, "disposition": disposition, **_given(step, "reason")})

    def _fail(self, step: Step) -> None:
        raise ScriptError(self._fill(str(step.value)), step.keys.get("exit", 1))

    def _sleep(self, step: Step) -> None:
        time.sleep(step.value)

    def _limit(self, step: Step) -> None:
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + step.value))
        reason = step.text("reason", "usage limit reached")
        say(type="limit", until=until, message=reason)
        raise ScriptError(reason)

    def _commit(self, step: Step) -> None:
        say(type="tool", id=step.place, name="commit", text=str(step.value))
        self._git("add", "-A")
        if self._command(["git", "diff", "--cached", "--quiet"])[0] == 0:
            return
        known = self._command(["git", "config", "user.email"])[0] == 0
        identity = () if known else ("-c", "user.name=ve script", "-c", "user.email=script@localhost")
        self._git(*identity, "-c", "commit.gpgsign=false", "commit", "-q", "-m", self._fill(str(step.value)))

    def _git(self, *arguments: str) -> None:
        code, output = self._command(["git", *arguments])
        if code != 0:
            raise ScriptError(f"git {' '.join(arguments)}: {output}")

    def _command(self, argv: list[str]) -> tuple[int, str]:
        """Into a file, not a pipe: a child left in the background must not keep us waiting."""
        with tempfile.TemporaryFile() as file:
            done = subprocess.run(
                argv, cwd=self.root, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False
            )
            file.seek(0)
            output = file.read().decode("utf-8", "replace").strip()
        return done.returncode, output[-SHOWN:]


def _given(step: Step, *keys: str) -> dict[str, Any]:
    return {key: step.keys[key] for key in keys if key in step.keys}


def _steps(job: Job) -> list[Step]:
    path = f"docs/chunks/{job.chunk}/script.toml"
    try:
        text = (Path(job.worktree) / path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ScriptError(
            f"{path} does not exist; the agent `script` does what it says. Write and commit it, or choose "
            "another agent (`ve orch config set agent NAME`)"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"{path} cannot be read: {error}") from error
    return read(text, path, job.phase, job.visit)


def main() -> int:
    """Do the job of $VE_RUN_DIR; returns the exit code."""
    job = msgspec.json.decode((Path(os.environ["VE_RUN_DIR"]) / "job.json").read_bytes(), type=Job)
    say(type="session", id=job.session or f"script-{uuid.uuid4()}")
    tools = None
    try:
        tools = Tools()
        say(type="model", text=f"{job.phase} of {job.chunk}, visit {job.visit}")
        message = Script(job, tools, _steps(job)).go()
    except ScriptError as error:
        say(type="usage")
        say(type="finished", ok=False, message=str(error))
        return error.exit
    finally:
        if tools is not None:
            tools.close()
    say(type="usage")
    say(type="finished", ok=True, message=message)
    return 0


if __name__ == "__main__":
    sys.exit(main())
