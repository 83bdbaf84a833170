"""Which agent does what, what it may see, how long it may take, and what happens when it is not there."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.e2e.given import SETTINGS, Orch, Project
from ve.proc import runfolder

WHO = """
[[PLAN]]
write = "docs/chunks/{chunk}/PLAN.md"
text = "# Implementation Plan\\n\\n## Approach\\n\\nSay who works.\\n"

[[IMPLEMENT]]
run = "echo $WHO >> {chunk}.txt"
"""


def specs(orch: Orch) -> dict[str, runfolder.Spec]:
    """What was started, by chunk and phase."""
    found = {}
    for folder in orch.places.runs_dir.iterdir():
        job = msgspec.json.decode((folder / "job.json").read_bytes())
        spec = runfolder.read_spec(folder)
        assert spec is not None
        found[f"{job['chunk']} {job['phase']}"] = spec
    return found


async def test_an_agent_is_chosen_for_the_repository_a_phase_or_a_chunk(project: Project) -> None:
    # given: three agents of one kind, told apart by a variable
    project.commit(
        {
            "ve.toml": SETTINGS
            + """
            [phase.REVIEW]
            agent = "reviewer"
            wall_s = 60
            [phase.IMPLEMENT]
            idle_s = 30
            [chunk.special]
            agent = "expert"
            [agents.reviewer]
            adapter = "script"
            env = { WHO = "reviewer" }
            [agents.expert]
            adapter = "script"
            env = { WHO = "expert" }
            [agents.script]
            env = { WHO = "everybody" }
            """
        }
    )
    project.chunk("usual", WHO.format(chunk="usual"), plan=False)
    project.chunk("special", WHO.format(chunk="special"))
    orch = await Orch(project.root).start()

    # when
    await orch.inject("usual", "special")
    await orch.done("usual", "special")
    started = specs(orch)
    dispatched = await orch.sql(
        "select chunk, phase, json_extract_string(detail, '$.backend') from transitions"
        " where command = 'Dispatch' order by seq"
    )
    await orch.stop()

    # then: each did what it was chosen for, within its limits
    assert (project.root / "usual.txt").read_text() == "everybody\n"
    assert (project.root / "special.txt").read_text() == "expert\n"
    assert started["usual REVIEW"].env["WHO"] == "reviewer"
    assert started["special REVIEW"].env["WHO"] == "expert"
    assert {(chunk, phase): agent for chunk, phase, agent in dispatched} == {
        ("usual", "PLAN"): "script",
        ("usual", "IMPLEMENT"): "script",
        ("usual", "REVIEW"): "reviewer",
        ("usual", "COMPLETE"): "script",
        ("special", "IMPLEMENT"): "expert",
        ("special", "REVIEW"): "expert",
        ("special", "COMPLETE"): "expert",
    }
    assert (started["usual REVIEW"].limits.wall_s, started["usual REVIEW"].limits.idle_s) == (60, 900)
    assert (started["usual IMPLEMENT"].limits.wall_s, started["usual IMPLEMENT"].limits.idle_s) == (7200, 30)


async def test_a_silent_agent_is_ended_by_the_limit_of_its_phase_and_the_reason_says_so(
    project: Project,
) -> None:
    project.commit(
        {"ve.toml": "[limits]\nretries = 0\n[phase.IMPLEMENT]\nidle_s = 0.5\n[agents.script]\nenv = {}\n"}
    )
    project.chunk("hangs", "[[IMPLEMENT]]\nsleep = 60\n")
    orch = await Orch(project.root).start()

    await orch.inject("hangs")
    unit = await orch.status("hangs", "NEEDS_ATTENTION", "stalled")
    await orch.stop()

    assert unit.attention_reason == (
        "The script agent was ended: no output for 0.5 s. Read what it did with `ve orch tail hangs`, "
        "raise `limits.idle_s` (or `phase.NAME.idle_s` where that is set) if it needs longer, "
        "then `ve orch retry hangs`."
    )


async def test_an_agent_sees_the_key_that_it_is_meant_to_see_and_no_other(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # given: two secrets in the daemon's environment, one of them passed on by name
    monkeypatch.setenv("THIS_AGENTS_KEY", "for it")
    monkeypatch.setenv("ANOTHER_KEY", "not for it")
    project.commit(
        {
            "ve.toml": SETTINGS
            + """
            [chunk.a]
            agent = "shell"
            [phase.REVIEW]
            agent = "script"
            [agents.shell]
            adapter = "command"
            command = "sh -c"
            args = ["env > seen.txt"]
            env = { THIS_AGENTS_KEY = "$THIS_AGENTS_KEY" }
            """
        }
    )
    project.chunk("a")
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    orch = await Orch(project.root).start()

    # when
    await orch.inject("a")
    unit = await orch.until(lambda: orch.unit("a") if orch.unit("a").phase != "IMPLEMENT" else None)
    seen = (Path(unit.worktree or "") / "seen.txt").read_text()
    await orch.stop()

    # then
    assert "THIS_AGENTS_KEY=for it" in seen
    assert "ANOTHER_KEY" not in seen
    assert "GIT_DIR" not in seen


async def test_a_missing_client_is_found_before_anything_is_started(project: Project) -> None:
    project.commit(
        {"ve.toml": 'agent = "mine"\n[agents.mine]\nadapter = "command"\ncommand = "no-such-agent"\n'}
    )
    project.chunk("a")
    orch = await Orch(project.root).start()

    await orch.inject("a")
    unit = await orch.status("a", "NEEDS_ATTENTION", "setup")

    assert unit.attention_reason is not None
    assert unit.attention_reason.startswith("no-such-agent is not installed. ")
    assert unit.attention_reason.endswith("Then: ve orch retry a")
    assert unit.worktree is None and not list(orch.places.runs_dir.glob("*"))

    # and once there is one that works, a retry goes on
    await orch.ops.set_config("agent", "script", actor="operator:me")
    await orch.verb("a", "retry")
    await orch.done("a")
    await orch.stop()
