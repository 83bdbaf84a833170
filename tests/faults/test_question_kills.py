"""`kill -9` of agent, tool process, supervisor or daemon between a question and its answer.

One unit asks one question after the other; each is interrupted once. Whatever is killed, whenever: each
question is in the history once, each answer is delivered once, and no phase goes on without it. `SOAK=1`
(`just soak`) does it five times at each point.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.given import carriers
from tests.faults import asking_agent
from tests.faults.driver import WAIT_S, Died, Ground, Life

SOAK = bool(os.environ.get("SOAK"))
TOOL_POINTS = tuple(asking_agent.TOOL_FAULTS)
AGENT_POINTS = (
    "agent-before-call", "agent-sent", "agent-replied", "agent-before-model", "agent-after-model",
    "supervisor",
)  # fmt: skip
DAEMON_POINTS = (
    "down-while-asked", "ask-before-commit", "ask-after-commit", "asked", "asked-and-ended",
    "answer-before-commit", "answer-after-commit", "answered", "dispatched", "delivered",
)  # fmt: skip
POINTS = (*TOOL_POINTS, *AGENT_POINTS, *DAEMON_POINTS)
AFTER_THE_ANSWER = ("agent-before-model", "agent-after-model")
HELD = {
    "down-while-asked": (0, "agent-before-call"),
    "ask-before-commit": (0, "agent-before-call"),
    "ask-after-commit": (0, "agent-before-call"),
    "supervisor": (0, "agent-replied"),
    "dispatched": (1, "agent-before-model"),
    "delivered": (1, "agent-after-model"),
}
"""Where the agent waits until the test has killed: in the run that asks, or in the one with the answer."""


class Way:
    """One unit, on its way through all of its questions."""

    def __init__(self, ground: Ground, points: Sequence[str]) -> None:
        self.ground = ground
        self.points = points
        self.orders = ground.root.parent / "orders"
        self.orders.mkdir()
        (self.orders / "questions").write_text(str(len(points)))
        for number, point in enumerate(points):
            self._order(number, point)
        program = shlex.join([sys.executable, "-P", str(Path(asking_agent.__file__)), str(self.orders)])
        settings = (
            f"[limits]\nretry_s = 0.02\nretries = 99\n[agents.script]\ncommand = {json.dumps(program)}\n"
        )
        ground.project.commit({"ve.toml": settings})
        ground.project.chunk("a")
        self.life = self.start()
        self.life.client.post("/work-units", {"chunks": ["a"]})

    def _order(self, number: int, point: str) -> None:
        if point in HELD:
            later, where = HELD[point]
            os.mkfifo(self.orders / f"{number + later}-{where}")
        elif point in TOOL_POINTS or point in AGENT_POINTS:
            number += point in AFTER_THE_ANSWER
            (self.orders / f"{number}-{point}").touch()

    def start(self, fault: str | None = None) -> Life:
        life = self.ground.start(fault)
        assert life.ready, life.error
        return life

    def go(self) -> Life:
        """Through all of it; the daemon that lives at the end."""
        for number, point in enumerate(self.points):
            if point in DAEMON_POINTS:
                getattr(self, "_" + point.replace("-", "_"))(number)
                continue
            if point == "supervisor":
                self._supervisor(number)
            self.asked(number)
            self.answer(number)
            self.ground.kills += 1
        self.life.done("a")
        assert [left.name for left in self.orders.iterdir()] == ["questions"], "each of them was killed"
        return self.life

    # ── Steps ──────────────────────────────────────────────────────────────────────────────────────

    @property
    def unit(self) -> dict[str, Any]:
        (unit,) = self.life.units.values()
        return unit

    def until(self, predicate: Any) -> None:
        self.life.until(lambda: bool(self.life.units) and predicate(self.unit))

    def asked(self, number: int) -> None:
        """Its question is open, and the only one."""

        def there(unit: dict[str, Any]) -> bool:
            states = [question["state"] for question in unit["questions"]]
            return len(states) == number + 1 and states[-1] == "open"

        self.until(there)
        assert (self.unit["status"], self.unit["attention_kind"]) == ("NEEDS_ATTENTION", "question")

    def answer(self, number: int, key: str | None = None) -> None:
        body = {"text": f"answer {number}", "question": self.unit["questions"][number]["id"]}
        assert self.life.post("/work-units/a/answer", body, key) is not None

    def killed(self, fault: str | None = None) -> None:
        """The daemon is killed and started again."""
        self.life.kill()
        self.ground.kills += 1
        self.life = self.start(fault)

    def died(self) -> None:
        """The daemon has died at its fault; the next one has none."""
        assert self.life.end() == -signal.SIGKILL
        self.ground.kills += 1
        self.life = self.start()

    def gate(self, number: int, point: str) -> int:
        """The agent waits there, until this file is closed."""
        later, where = HELD[point]
        return os.open(self.orders / f"{number + later}-{where}", os.O_WRONLY)

    def supervisor(self) -> int:
        run = self.life.client.get("/work-units/a")["unit"]["run_id"]
        return os.pidfd_open(json.loads((self.life.places.runs_dir / run / "lock").read_text())["pid"])

    # ── What is killed, and when ───────────────────────────────────────────────────────────────────

    def _supervisor(self, number: int) -> None:
        """The agent has its reply; with its supervisor it dies, too."""
        gate, supervisor = self.gate(number, "supervisor"), self.supervisor()
        signal.pidfd_send_signal(supervisor, signal.SIGKILL)
        ended(supervisor)
        os.close(gate)
        (self.orders / f"{number}-agent-replied").unlink(missing_ok=True)

    def _asks_without_daemon(self, number: int, point: str) -> None:
        gate, supervisor = self.gate(number, point), self.supervisor()
        self.life.kill()
        os.close(gate)
        ended(supervisor)

    def _down_while_asked(self, number: int) -> None:
        self._asks_without_daemon(number, "down-while-asked")
        self.ground.kills += 1
        self.life = self.start()
        self.asked(number)
        self.answer(number)

    def _ask_before_commit(self, number: int, point: str = "ask-before-commit") -> None:
        """Read from the run's folder by the next daemon, which dies with its first commit."""
        self._asks_without_daemon(number, point)
        self.life = self.ground.start(f"{point.removeprefix('ask-')}:1")
        self.died()
        self.asked(number)
        self.answer(number)

    def _ask_after_commit(self, number: int) -> None:
        self._ask_before_commit(number, "ask-after-commit")

    def _asked(self, number: int) -> None:
        """As soon as the question shows; the agent still lives."""
        self.asked(number)
        self.killed()
        self.asked(number)
        self.answer(number)

    def _asked_and_ended(self, number: int) -> None:
        self._at_rest(number)
        self.killed()
        self.asked(number)
        self.answer(number)

    def _at_rest(self, number: int) -> None:
        """The question is open, the run has ended, and all of that is durable."""
        self.asked(number)
        self.until(lambda unit: unit["run_id"] is None)
        # What is acknowledged is durable, and with it all that was before.
        self.life.client.post("/work-units/a/prioritize", {"priority": number + 1})

    def _answer_before_commit(self, number: int, fault: str = "before-commit:1") -> None:
        """Whoever answers gets no reply, so says it again; the key makes it the same answer."""
        self._at_rest(number)
        self.killed(fault)
        self.asked(number)
        with pytest.raises(Died):
            self.answer(number, f"answer-{number}")
        body = {"text": f"answer {number}", "question": self.unit["questions"][number]["id"]}
        self.died()
        assert self.life.post("/work-units/a/answer", body, f"answer-{number}") is not None

    def _answer_after_commit(self, number: int) -> None:
        self._answer_before_commit(number, "after-commit:1")

    def _answered(self, number: int) -> None:
        """Acknowledged, and not yet given to a run."""
        self.asked(number)
        self.life.client.post("/board/pause")
        self.answer(number)
        self.killed()
        self.life.client.post("/board/unpause")

    def _dispatched(self, number: int) -> None:
        """The run that carries the answer lives; its model has said nothing yet."""
        self.asked(number)
        self.answer(number)
        gate = self.gate(number, "dispatched")
        self.killed()
        os.close(gate)

    def _delivered(self, number: int) -> None:
        self.asked(number)
        self.answer(number)
        gate = self.gate(number, "delivered")
        self.until(lambda unit: unit["questions"][number]["state"] == "delivered")
        self.killed()
        os.close(gate)


def ended(process: int) -> None:
    """Wait for the end of a process, and let go of it."""
    try:
        assert select.select([process], [], [], WAIT_S)[0], "the process did not end"
    finally:
        os.close(process)


def judge(way: Way) -> None:
    """What has to be true however it was interrupted."""
    count, life = len(way.points), way.life
    rows = life.sql(
        "select seq, command, phase, status, detail from transitions where chunk = 'a' order by seq"
    )
    details = [json.loads(row[4]) if isinstance(row[4], str) else row[4] for row in rows]
    texts = [f"Question {number}?" for number in range(count)]
    asked = [
        (one["text"], row[0])
        for row, detail in zip(rows, details, strict=True)
        if row[1] == "Ask"
        for one in detail["questions"]
    ]
    assert [text for text, _ in asked] == texts, "each question is in the history once, with its text"
    questions = life.client.get("/work-units/a")["unit"]["questions"]
    assert [(q["state"], q["answer"]) for q in questions] == [
        ("delivered", f"answer {number}") for number in range(count)
    ]
    assert all(q["options"] == ["this", "that"] for q in questions)
    at = {
        command: [row[0] for row in rows if row[1] == command]
        for command in ("Answer", "Delivered", "Dispatch")
    }
    assert len(at["Answer"]) == len(at["Delivered"]) == count, "once each"
    for (_, ask), answer, delivered in zip(asked, at["Answer"], at["Delivered"], strict=True):
        assert ask < answer < delivered
        assert not [seq for seq in at["Dispatch"] if ask < seq < answer], "nothing goes on without the answer"
    assert {row[2] for row in rows if row[0] < at["Delivered"][-1]} == {"IMPLEMENT"}, "no phase on a guess"
    assert rows[-1][3] == "DONE"
    assert (way.ground.root / "answers.txt").read_text() == "".join(f"answer {n}\n" for n in range(count))
    folders = list(life.places.runs_dir.iterdir())
    recorded = Counter(
        record["text"]
        for folder in folders
        for line in (folder / "tools.jsonl").read_bytes().splitlines()
        if (record := json.loads(line))["type"] == "ask"
    )
    assert recorded == dict.fromkeys(texts, 1), "no half record, and none twice"
    assert not carriers(folder.name for folder in folders), "processes of runs are left"
    way.ground.project.judged_sound()


@pytest.mark.parametrize(
    "points", [(*TOOL_POINTS, *AGENT_POINTS), DAEMON_POINTS], ids=["tool, agent, supervisor", "daemon"]
)
def test_killed_between_question_and_answer_each_is_there_once(
    ground: Ground, points: tuple[str, ...]
) -> None:
    way = Way(ground, points)
    life = way.go()
    judge(way)
    assert ground.kills >= len(points)
    life.stop()


@pytest.mark.skipif(not SOAK, reason="for `just soak`")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", POINTS)
def test_killed_five_times_at_one_point_each_is_there_once(ground: Ground, point: str) -> None:
    way = Way(ground, [point] * 5)
    life = way.go()
    judge(way)
    assert ground.kills >= 5
    print(f"{point}: {ground.kills} kills")
    life.stop()
