"""Units to begin with, in the states that the tests talk about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ve import unit as u
from ve.configfields import Config, Limits
from ve.rules.base import Facts

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
RUN = "a-1-run"
TREE: dict[str, Any] = {
    "worktree": "/repo/.ve/worktrees/a-1",
    "branch": "ve/a-1",
    "base_commit": "base0",
    "runs": 1,
}


def board(*, land: str = "auto", retries: int = 2, rounds: int = 2, **changes: Any) -> u.Board:
    limits = Limits(retries=retries, review_rounds=rounds)
    return u.Board(config=Config(land=land, limits=limits), **changes)  # type: ignore[arg-type]


def facts(**changes: Any) -> Facts:
    """Nothing is waited for and two slots are free, unless the test says otherwise."""
    return Facts(**{"now": NOW, "board": board(), "free_slots": (1, 2), **changes})


def unit(state: u.State, phase: u.Phase = u.Phase.IMPLEMENT, **changes: Any) -> u.WorkUnit:
    return u.WorkUnit(
        **{
            "id": "u1", "chunk": "a", "attempt": 1, "phase": phase, "first_phase": u.Phase.PLAN,
            "state": state, "base_ref": "refs/heads/main", "created_at": NOW, "changed_at": NOW, **changes,
        }
    )  # fmt: skip


def ready(**changes: Any) -> u.WorkUnit:
    return unit(u.Ready(), **changes)


def running(phase: u.Phase = u.Phase.IMPLEMENT, **changes: Any) -> u.WorkUnit:
    return unit(u.Running(run=RUN, slot=1), phase, **{**TREE, **changes})


def rebasing(*, again: bool = False) -> u.WorkUnit:
    return unit(u.Rebasing(again=again), u.Phase.REBASE, **TREE)


def landing(step: u.Step, **changes: Any) -> u.WorkUnit:
    return unit(u.Landing(step=step), u.Phase.COMPLETE, **{**TREE, **changes})


def attention(kind: Any, resume_at: Any = u.Phase.IMPLEMENT, **changes: Any) -> u.WorkUnit:
    """NEEDS_ATTENTION; `detail` goes to the state, everything else to the unit."""
    detail = changes.pop("detail", {})
    state = u.NeedsAttention(kind=kind, reason=f"a {kind}", resume_at=resume_at, **detail)
    return unit(state, resume_at, **{**TREE, **changes})


def question(ident: str = "q1", **changes: Any) -> u.Question:
    return u.Question(
        **{"id": ident, "run": RUN, "text": f"{ident}?", "options": ("yes", "no"), "asked_at": NOW, **changes}
    )


def asking(*questions: u.Question, phase: u.Phase = u.Phase.IMPLEMENT, **changes: Any) -> u.WorkUnit:
    return attention("question", phase, questions=questions or (question(),), **changes)


ENDING = u.Ending(run=RUN, slot=1)
APPROVED = u.ReviewDecision(decision="approve")
WANTED = u.ReviewDecision(decision="feedback", issues=(u.ReviewIssue(id="i1", concern="no test"),))

COMMITTED = u.Committed(commit="c1")
INTEGRATED = u.Integrated(commit="c1", base="base0", merge="m1")
CHECKED = u.Checked(commit="c1", base="base0", merge="m1")
SWAPPING = u.Swapping(old="base0", new="m1")
BASE_MOVED = u.BaseMoved(old="base0", new="m1")
CHECKOUT_UPDATED = u.CheckoutUpdated(new="m1")
