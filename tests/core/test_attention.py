"""What needs a person: one group for each cause, ranked by what waits behind it and then by age."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.core.given import LATER, NOW, attention, question, ready, unit
from ve import unit as u
from ve.attention import GROUP_VERBS, Attention, group_verb, meant_of, survey
from ve.errors import InvalidInput, NotFound, RefusedError


def needy(chunk: str, reason: str, kind: Any = "error", *, age: int = 0, **changes: Any) -> u.WorkUnit:
    """A unit that came to need a person `age` seconds ago."""
    found = attention(kind, **{**of(chunk), "changed_at": NOW - timedelta(seconds=age), **changes})
    return with_reason(found, reason)


def with_reason(found: u.WorkUnit, reason: str) -> u.WorkUnit:
    return replace(found, state=replace(found.state, reason=reason))


def of(chunk: str) -> dict[str, Any]:
    """The names of a unit whose chunk has begun."""
    return {
        "id": f"u{chunk}7q",
        "chunk": chunk,
        "worktree": f"/repo/.ve/worktrees/{chunk}-1",
        "branch": f"ve/{chunk}-1",
        "base_commit": "c0ffee" + f"{sum(chunk.encode()):x}".ljust(34, "0"),
    }


def waiting(chunk: str, *names: str) -> u.WorkUnit:
    """A unit that waits for others."""
    return unit(u.Blocked(by=names), id=f"u{chunk}7q", chunk=chunk, depends_on=names)


def surveyed(units: Sequence[u.WorkUnit], *lanes: u.Lane) -> Attention:
    return survey(units, lanes, lambda unit: "script", NOW)


def chunks(found: Attention) -> list[list[str]]:
    return [[unit.chunk for unit in group.units] for group in found.groups]


# ── Causes ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_reason_in_other_words_for_each_unit_is_one_cause() -> None:
    """Its own chunk, tree, branch, runs and commits are what the reason may differ in."""
    units = [needy(chunk, "", age=age) for chunk, age in (("alpha", 9), ("beta", 5))]
    units = [
        with_reason(
            found,
            f"{found.id}-1-implement-1-0af3 of {found.chunk} could not write {found.worktree}/out.txt for "
            f"docs/chunks/{found.chunk}/GOAL.md on {found.branch} from {(found.base_commit or '')[:10]}",
        )
        for found in units
    ]
    (group,) = surveyed(units).groups
    assert [one.chunk for one in group.units] == ["alpha", "beta"]
    assert group.reason == (
        "RUN of CHUNK could not write WORKTREE/out.txt for docs/chunks/CHUNK/GOAL.md on BRANCH from COMMIT"
    )
    assert group.fingerprint == "3d76cfb6", "it is the same after a restart and on another machine"
    assert group.next == (
        f"ve orch retry @{group.fingerprint}",
        f"ve orch cancel @{group.fingerprint}",
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("exit code 3", "exit code 4"),
        ("alphabet is missing", "betabet is missing"),
        ("alpha-2 is in the way", "beta-2 is in the way"),
        ("beta is missing", "beta is missing"),
        ("deadbeef0 is no commit", "deadbeef1 is no commit"),
    ],
    ids=["numbers", "longer words", "other chunks", "the other's name", "foreign commits"],
)
def test_what_is_not_the_units_own_name_makes_another_cause(first: str, second: str) -> None:
    assert len(surveyed([needy("alpha", first), needy("beta", second)]).groups) == 2


def test_the_kind_is_part_of_the_cause_and_a_question_is_one_of_its_own() -> None:
    assert len(surveyed([needy("a", "no", "error"), needy("b", "no", "stalled")]).groups) == 2
    asks = [needy(chunk, "Which?", "question", questions=(question("q1"),)) for chunk in ("a", "b")]
    assert chunks(surveyed(asks)) == [["a"], ["b"]]
    first, again = (
        surveyed([needy("a", "Which?", "question", questions=(question(ident),))]).groups[0].fingerprint
        for ident in ("q1", "q2")
    )
    assert first != again, "who meant the first question does not act on the second"


def test_merges_that_wait_for_approval_are_one_group_and_setup_commands_one_each() -> None:
    def approval(chunk: str, merge: str) -> u.WorkUnit:
        detail = {"approve_hash": merge, "options": ("approve",)}
        return needy(chunk, f"merge {merge[:12]} is ready for main", "approval", detail=detail)

    (group,) = surveyed([approval("a", "1f" * 20), approval("b", "2f" * 20)]).groups
    assert group.reason == "merge COMMIT is ready for main"
    assert "retry" not in group.verbs
    assert group.next[0] == f"ve orch approve @{group.fingerprint}"
    setups = [
        needy(chunk, "not approved yet", "setup", detail={"approve_hash": content})
        for chunk, content in (("a", "h1"), ("b", "h1"), ("c", "h2"))
    ]
    assert sorted(chunks(surveyed(setups))) == [["a", "b"], ["c"]]


def test_a_group_offers_what_is_possible_for_each_of_its_units() -> None:
    both = ("serialize",)
    units = [needy(chunk, "conflict in x.py", "conflict", detail={"options": both}) for chunk in ("a", "b")]
    (group,) = surveyed(units).groups
    assert (group.verbs, group.options) == (
        ("resolve", "retry", "pause", "unpause", "prioritize", "cancel"),
        both,
    )
    assert group.next[0] == f"ve orch resolve @{group.fingerprint} serialize"
    landing = u.Landing(step=u.BaseMoved(old="o", new="n"))
    swapped = [needy("a", "no"), needy("b", "no", detail={"landing": landing})]
    (group,) = surveyed(swapped).groups
    assert "cancel" not in group.verbs, "one of them may be in the base already"


def test_one_unit_is_named_by_its_chunk_with_its_reason_in_full() -> None:
    (group,) = surveyed(
        [needy("alpha", "alpha: no", "review", detail={"options": ("approve", "feedback")})]
    ).groups
    assert group.reason == "alpha: no"
    assert group.next == (
        "ve orch resolve alpha approve",
        "ve orch resolve alpha feedback --text 'WHAT TO CHANGE'",
        "ve orch retry alpha",
        "ve orch cancel alpha",
    )


# ── Rank ───────────────────────────────────────────────────────────────────────────────────────────


def test_what_most_work_waits_for_comes_first_then_the_oldest() -> None:
    units = [
        needy("old", "1", age=900),
        needy("young", "2", age=5),
        needy("base", "3", age=1),
        waiting("mid", "base"),
        waiting("top", "mid", "base"),
        waiting("far", "top"),
    ]
    found = surveyed(units)
    assert chunks(found) == [["base"], ["old"], ["young"]]
    assert [group.waiting for group in found.groups] == [3, 0, 0]


def test_what_waits_for_several_of_a_group_is_counted_once_and_its_own_units_not_at_all() -> None:
    units = [needy("a", "no"), needy("b", "no"), waiting("c", "a", "b"), waiting("d", "a")]
    unbegun = needy("e", "no", worktree=None, branch=None, base_commit=None, depends_on=("a",))
    (group,) = surveyed([*units, unbegun]).groups
    assert (len(group.units), group.waiting) == (3, 2)


def test_a_question_is_as_old_as_when_it_was_asked() -> None:
    asked = question(asked_at=NOW - timedelta(hours=1))
    asks = needy("asks", "Which?", "question", questions=(asked,), age=0)
    assert chunks(surveyed([needy("fails", "no", age=60), asks])) == [["asks"], ["fails"]]


# ── Closed lanes ───────────────────────────────────────────────────────────────────────────────────


def test_a_closed_backend_is_told_once_with_who_waits_for_it() -> None:
    lane = u.Lane(backend="script", until=LATER, reason="usage limit reached")
    units = [ready(id=f"u{name}", chunk=name) for name in ("a", "b")]
    units += [waiting("c", "a"), ready(id="up", chunk="p", paused=True), needy("n", "no")]
    found = surveyed(units, lane, u.Lane(backend="script", until=NOW, reason="over"))
    (closed,) = found.lanes
    assert (closed.reason, closed.chunks, closed.waiting) == ("usage limit reached", ("a", "b"), 1)
    assert chunks(found) == [["n"]], "and none of them is shown as if it needed somebody"


# ── Verbs ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_fingerprint_that_fits_nothing_is_told_the_ones_that_there_are() -> None:
    found = surveyed([needy("a", "no")])
    name = found.groups[0].fingerprint
    assert found.group(f"@{name.upper()}") is found.groups[0]
    with pytest.raises(NotFound) as none:
        found.group("00000000")
    assert f"@{name} (error)" in none.value.hint
    with pytest.raises(NotFound, match="no group @00000000"):
        surveyed([]).group("00000000")


@pytest.mark.parametrize("verb", ["answer", "merged"])
def test_what_is_one_units_own_is_refused_for_a_group_with_the_reason(verb: str) -> None:
    with pytest.raises(RefusedError) as refused:
        group_verb(verb)
    assert refused.value.what
    assert refused.value.legal == GROUP_VERBS
    assert f"ve orch {verb} CHUNK" in refused.value.hint


def test_a_verb_can_be_meant_for_those_that_were_seen_only() -> None:
    (group,) = surveyed([needy(chunk, "no") for chunk in "abc"]).groups
    meant, gone = meant_of(group, ["ub7q", "ua7q", "left"])
    assert [one.chunk for one in meant] == ["b", "a"]
    assert [(one.id, bool(one.refused)) for one in gone] == [("left", True)]
    assert meant_of(group, None) == (list(group.units), [])
    with pytest.raises(InvalidInput):
        meant_of(group, "ua7q")


# ── Any units, in any order ────────────────────────────────────────────────────────────────────────

NAMES = [f"c{n}" for n in range(9)]
KINDS = ["error", "conflict", "landing", "question", "setup", "approval", "dependency"]
REASONS = [
    "no",
    "in {chunk}",
    "in {worktree}/x",
    "see {chunk}-2",
    "c1 broke",
    "\udc80 {branch}",
    "in {base_commit}",
]


@st.composite
def boards(draw: st.DrawFn) -> list[u.WorkUnit]:
    """Some units that need a person and some that wait, also for each other."""
    units = []
    for chunk in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        depends_on = tuple(draw(st.lists(st.sampled_from(NAMES), max_size=3)))
        if draw(st.booleans()):
            units.append(waiting(chunk, *depends_on))
            continue
        kind = draw(st.sampled_from(KINDS))
        reason = draw(st.sampled_from(REASONS)).format(**of(chunk))
        asked = (question(f"q{chunk}"),) if kind == "question" else ()
        units.append(needy(chunk, reason, kind, age=draw(st.integers(0, 3)), questions=asked))
    return units


@given(boards(), st.randoms(use_true_random=False))
def test_the_order_of_the_units_makes_no_difference(units: list[u.WorkUnit], random: Any) -> None:
    shuffled = list(units)
    random.shuffle(shuffled)
    assert surveyed(shuffled) == surveyed(units)


@given(boards())
def test_every_unit_that_needs_a_person_is_in_exactly_one_group(units: list[u.WorkUnit]) -> None:
    found = surveyed(units)
    shown = [one.id for group in found.groups for one in group.units]
    assert sorted(shown) == sorted(one.id for one in units if isinstance(one.state, u.NeedsAttention))
    assert len({group.fingerprint for group in found.groups}) == len(found.groups)
    ranks = [(-group.waiting, group.since) for group in found.groups]
    assert ranks == sorted(ranks)
    for group in found.groups:
        assert len({one.attention_kind for one in group.units}) == 1
        assert len(group.units) == 1 or (group.kind != "question" and set(group.verbs) <= set(GROUP_VERBS))
        assert found.group(group.fingerprint) is group
