"""A worktree is made when a unit first runs, from the base of that moment, and never before."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.given import ME, Gate, Orch, Project
from ve.commands import Prioritize


async def test_none_is_made_at_inject_nor_while_the_board_is_paused(project: Project, orch: Orch) -> None:
    project.chunk("a")
    await orch.ops.board("pause", actor=ME)
    await orch.inject("a")
    await orch.verb("a", "prioritize", priority=3)
    assert orch.unit("a").status == "READY"
    assert orch.unit("a").worktree is None
    assert project.trees() == []
    assert (await orch.ops.why("a")).why == "the board is paused"

    mine = project.commit({"later.txt": "after the inject\n"})
    await orch.ops.board("unpause", actor=ME)
    await orch.done("a")
    made = next(t.unit for t in orch.seen if t.command == "WorktreeReady" and t.unit)
    assert made.base_commit == mine, "from HEAD at the moment of RUNNING, not of inject"


async def test_none_is_made_for_a_unit_that_waits_for_a_slot(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    await orch.ops.set_config("slots", "1", actor=ME)
    gate = Gate(tmp_path / "gate")
    project.chunk("a", gate.step)
    project.chunk("b")
    await orch.inject("a")
    await gate.reached()
    await orch.inject("b")
    await orch.core.stream.submit(Prioritize(unit=orch.unit("b").id, priority=9), ME)
    assert orch.unit("b").status == "READY"
    assert project.trees() == ["a-1"]
    assert orch.unit("b").worktree is None
    assert "slot" in (await orch.ops.why("b")).why
    gate.open()
    await orch.done("a", "b")


async def test_a_blocked_unit_gets_one_only_when_it_runs_and_it_holds_its_dependencys_merge(
    project: Project, orch: Orch, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    project.chunk("a", gate.step + '[[IMPLEMENT]]\nwrite = "a.txt"\ntext = "from a\\n"\n')
    project.chunk("b", '[[IMPLEMENT]]\nrun = "cat a.txt > b.txt"\n', depends_on=["a"])
    project.chunk("c", '[[IMPLEMENT]]\nrun = "cat a.txt > c.txt"\n', created_after=["a"])
    await orch.inject("a", "b", "c")
    await gate.reached()
    for name in ("b", "c"):
        assert orch.unit(name).status == "BLOCKED"
        assert orch.unit(name).blocked_by == ("a",)
        assert orch.unit(name).worktree is None
    assert project.trees() == ["a-1"]

    gate.open()
    await orch.done("a", "b", "c")

    assert (project.root / "b.txt").read_text() == "from a\n"
    assert (project.root / "c.txt").read_text() == "from a\n"
    for name in ("b", "c"):
        made = next(t for t in orch.seen if t.command == "WorktreeReady" and t.unit and t.unit.chunk == name)
        order = [t.command for t in orch.seen if t.unit and t.unit.chunk == name and t.seq <= made.seq]
        assert order == ["Inject", "Unblock", "Dispatch", "WorktreeReady"]
        assert made.unit is not None and made.unit.base_commit is not None
        project.git("merge-base", "--is-ancestor", str(orch.unit("a").merged_commit), made.unit.base_commit)


async def test_a_unit_that_waits_for_its_operator_keeps_its_tree_with_the_work_in_it(
    project: Project, orch: Orch
) -> None:
    project.chunk("a", '[[IMPLEMENT]]\nwrite = "half.txt"\ntext = "half\\n"\n[[IMPLEMENT]]\nask = "go on?"\n')
    await orch.inject("a")
    asking = await orch.status("a", "NEEDS_ATTENTION", "question")
    assert (Path(asking.worktree or "") / "half.txt").read_text() == "half\n"
    assert project.trees() == ["a-1"]
    await orch.verb("a", "answer", text="yes")
    await orch.done("a")
    assert (project.root / "half.txt").exists()
