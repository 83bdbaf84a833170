"""An agent that asks one question after the other, and that a test can end or hold at any point of its way.

    asking_agent.py FOLDER      FOLDER/questions says how many; the number of answers says which is next

A file FOLDER/<number>-<point> is an order for the first that comes there: it takes the file away, and is
killed as `kill -9` would (a plain file), or waits for a writer (a fifo). The number counts the answers that
the run was given. Every phase but IMPLEMENT is the script agent's.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

import msgspec

from ve.agents import script_agent
from ve.agents.base import Job
from ve.agents.script_agent import ScriptError, Tools, say

TOOL_FAULTS = {"tool-before-record": 2, "tool-recorded": 2, "tool-replied": 3}
"""How often each is reached: the list of the tools comes before the question."""


class Orders:
    """What the test wants of this run."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        self.number = number

    def taken(self, point: str) -> bool:
        """Whether something is to happen here; it happens once. Returns after the wait at a fifo."""
        place = self.folder / f"{self.number}-{point}"
        if not place.exists():
            return False
        held = stat.S_ISFIFO(place.stat().st_mode)
        if held:
            place.read_bytes()
        place.unlink()
        return not held

    def reach(self, point: str) -> None:
        if self.taken(point):
            end()


def end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ask(orders: Orders, tools: Tools) -> str:
    """Ask the next question; returns an error, empty if it was recorded."""
    arguments = {"question": f"Question {orders.number}?", "options": ["this", "that"]}
    orders.reach("agent-before-call")
    if orders.taken("agent-sent"):
        tools._send(
            {"id": 9, "method": "tools/call", "params": {"name": "AskOperator", "arguments": arguments}}
        )
        end()
    try:
        tools.call("AskOperator", arguments)
    except ScriptError as error:
        if os.environ.pop("VE_FAULT") != "tool-recorded:2":
            return str(error)
        Tools().call("AskOperator", arguments)  # as a client does that starts its server again
    orders.reach("agent-replied")
    return ""


def implement(job: Job, folder: Path) -> int:
    orders = Orders(folder, len(job.answers))
    for point, times in TOOL_FAULTS.items():
        if orders.taken(point):
            os.environ["VE_FAULT"] = f"{point}:{times}"
    say(type="session", id=f"s-{job.run}")
    tools = Tools()
    orders.reach("agent-before-model")
    say(type="model", text=f"{orders.number} answers")
    orders.reach("agent-after-model")
    if orders.number < int((folder / "questions").read_text()):
        error = ask(orders, tools)
        if error:
            say(type="finished", ok=False, message=error)
            return 1
    else:
        (Path(job.worktree) / "answers.txt").write_text("".join(f"{one.answer}\n" for one in job.answers))
    say(type="finished", ok=True, message="done")
    return 0


def main() -> int:
    job = msgspec.json.decode((Path(os.environ["VE_RUN_DIR"]) / "job.json").read_bytes(), type=Job)
    if job.phase != "IMPLEMENT":
        return script_agent.main()
    return implement(job, Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
