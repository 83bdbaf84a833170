"""A daemon that starts again takes over the runs that the last one left, whatever they are at."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.e2e.given import Gate, carriers
from tests.faults.driver import Died, Ground
from ve import demo_project
from ve.demo_project import CHUNKS


def test_the_demo_comes_home_though_the_daemon_is_killed_in_the_middle_of_it(
    ground: Ground, tmp_path: Path
) -> None:
    root = demo_project.create(tmp_path / "events")
    life = ground.life(root)
    life.client.post("/work-units", {"chunks": list(CHUNKS)})
    kills = 0
    for command in ("RunStarted", "Ask", "LandingStep"):
        try:
            life.until(lambda life=life, wanted=command: any(t["command"] == wanted for t in life.seen))  # type: ignore[misc]
        except Died:
            raise AssertionError("the daemon ended by itself") from None
        life.kill()
        kills += 1
        life = ground.life(root)
        assert life.ready, life.error
    assert kills == 3
    life.done(*CHUNKS)
    lost = life.sql("select count(*) from transitions where attention_kind = 'lost'")
    assert lost == [[0]]
    dispatched = life.sql(
        "select chunk, phase, count(*) from transitions where command = 'Dispatch'"
        " group by all having count(*) > 2"
    )
    assert dispatched == [], "nothing ran more often than the demo has it"
    life.stop()
    assert not carriers(place.name for place in life.places.runs_dir.glob("*"))


def test_an_agent_that_works_on_while_there_is_no_daemon_is_adopted(ground: Ground, tmp_path: Path) -> None:
    """The same process goes on; what it did meanwhile counts."""
    gate = Gate(tmp_path / "gate")
    ground.project.chunk("a", gate.step + '[[IMPLEMENT]]\nask = "Which?"\n[[IMPLEMENT]]\nrun = "true"\n')
    life = ground.start()
    life.client.post("/work-units", {"chunks": ["a"]})
    fd = os.open(gate.path, os.O_WRONLY)  # returns once the agent is there
    run = life.client.get("/work-units/a")["unit"]["run_id"]
    before = carriers([run])
    life.kill()
    assert set(carriers([run])) == set(before)

    life = ground.start()
    assert set(carriers([run])) == set(before)
    os.close(fd)
    life.until(lambda: any(u["attention_kind"] == "question" for u in life.units.values()))
    gate.path.unlink()
    gate.path.write_text("")
    life.done("a")
    life.stop()


def test_an_agent_that_ended_while_there_was_no_daemon_is_not_run_again(
    ground: Ground, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    ground.chunk("a")
    script = ground.root / "docs/chunks/a/script.toml"
    ground.project.commit({"docs/chunks/a/script.toml": gate.step + script.read_text()})
    life = ground.start()
    life.client.post("/work-units", {"chunks": ["a"]})
    fd = os.open(gate.path, os.O_WRONLY)
    run = life.client.get("/work-units/a")["unit"]["run_id"]
    lock = json.loads((life.places.runs_dir / run / "lock").read_text())
    life.kill()
    supervisor = os.pidfd_open(lock["pid"])
    os.close(fd)
    wait_readable(supervisor)

    life = ground.start()
    life.done("a")
    ground.judge(life, {"a": 1})
    life.stop()


def test_a_run_whose_supervisor_died_with_the_daemon_is_lost_and_tried_again(
    ground: Ground, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    ground.project.chunk("a", gate.step + '[[IMPLEMENT]]\nwrite = "work/a.txt"\ntext = "a\\n"\n')
    life = ground.start()
    life.client.post("/work-units", {"chunks": ["a"]})
    fd = os.open(gate.path, os.O_WRONLY)
    run = life.client.get("/work-units/a")["unit"]["run_id"]
    lock = json.loads((life.places.runs_dir / run / "lock").read_text())
    life.kill()
    supervisor = os.pidfd_open(lock["pid"])
    signal.pidfd_send_signal(supervisor, signal.SIGKILL)
    wait_readable(supervisor)

    life = ground.start()
    life.until(lambda: all(u["run_id"] != run for u in life.units.values()) and bool(life.units))
    assert not carriers([run]), "it counts as ended only when nothing of it is left"
    os.close(fd)
    os.close(os.open(gate.path, os.O_WRONLY))
    life.done("a")
    whys = life.sql("select why from transitions where command = 'RunEnded' order by seq limit 1")
    assert "supervisor" in whys[0][0] or "lost" in whys[0][0]
    life.stop()
    ground.project.judged_sound()


def wait_readable(fd: int) -> None:
    import select

    try:
        assert select.select([fd], [], [], 30)[0], "the process did not end"
    finally:
        os.close(fd)
