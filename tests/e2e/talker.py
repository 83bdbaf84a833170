"""A small agent program with conversations of its own, and the adapter for it: what a test writes, it does.

The program runs docs/chunks/<chunk>/agent.py of its worktree, which finds in its names: `phase`, `prompt`,
`heard` (the prompts of this conversation before this one), `say(**line)`, `tool(name, **arguments)`, `write`,
`finish` and `wait` (until it is ended). Its conversations are files in $TALKS. Like real clients it ends with
exit code 1 and a typed error when it is to go on with a conversation that is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
from pathlib import Path
from typing import Any, ClassVar

from ve.agents.base import (
    Abilities,
    Event,
    Finished,
    Fitness,
    Job,
    Launch,
    ModelEvent,
    SessionStarted,
    Settings,
)


class Talker:
    """The adapter. It resumes, it starts the tool server itself, and its success has an error flag."""

    name: ClassVar[str] = "talker"
    title: ClassVar[str] = "Talker"
    install: ClassVar[str] = ""
    abilities: ClassVar[Abilities] = Abilities(own_tools=True, usage=False)

    def __init__(self, settings: Settings) -> None:
        self._env = settings.env

    def check(self) -> Fitness:
        return Fitness(ok=True, login="not needed")

    def launch(self, job: Job) -> Launch:
        resume = ("--resume", job.session) if job.session and job.resume else ()
        argv = (sys.executable, "-P", __file__, job.chunk, job.phase, *resume)
        return Launch(argv=argv, env=self._env, stdin=f"{job.run_dir}/prompt.md")

    def parse(self, line: bytes) -> tuple[Event, ...]:
        said = json.loads(line)
        if said["type"] == "session":
            return (SessionStarted(said["id"]),)
        if said["type"] == "model":
            return (ModelEvent(said["text"]),)
        if said["type"] == "result":
            good = said["subtype"] == "success" and not said["is_error"]
            return (Finished(good, said["text"], "" if good else said.get("kind", "agent")),)
        return ()


class Talk:
    """One run of the program."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.tools: Any = None

    def say(self, **line: Any) -> None:
        print(json.dumps(line), flush=True)

    def begin(self) -> None:
        """The tool server, and the first sign of the model."""
        from ve.agents.script_agent import Tools

        self.tools = Tools()
        self.say(type="model", text="I begin")

    def tool(self, name: str, **arguments: Any) -> str:
        """The tool's reply, also where it is an error."""
        result = self.tools._request("tools/call", {"name": name, "arguments": arguments})
        return str(result["content"][0]["text"])

    def finish(
        self, text: str = "done", *, is_error: bool = False, kind: str = "agent", exit: int = 0
    ) -> None:
        self.say(type="result", subtype="success", is_error=is_error, kind=kind, text=text)
        sys.exit(exit)


def write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


def wait() -> None:
    while True:
        signal.pause()


def main() -> None:
    chunk, phase, *resume = sys.argv[1:]
    prompt, talks = sys.stdin.read(), Path(os.environ["TALKS"])
    talk = Talk(resume[1] if resume else str(uuid.uuid4()))
    place = talks / talk.session
    if resume and not place.exists():
        talk.finish(f"no conversation {talk.session}", is_error=True, kind="session", exit=1)
    heard = json.loads(place.read_text()) if resume else []
    place.write_text(json.dumps([*heard, prompt]))
    talk.say(type="session", id=talk.session)
    names = {
        "phase": phase, "prompt": prompt, "heard": heard, "write": write, "wait": wait, "talk": talk,
        "say": talk.say, "begin": talk.begin, "tool": talk.tool, "finish": talk.finish,
    }  # fmt: skip
    exec(Path(f"docs/chunks/{chunk}/agent.py").read_text(), names)  # noqa: S102 - this is what it is for


if __name__ == "__main__":
    main()
