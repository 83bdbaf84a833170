"""What every adapter must pass. Subclass `AdapterExercise` in tests/agents/test_<name>.py and give it

    adapter    the adapter
    success    the lines of a real run that ended well
    failures   name -> the lines of a real run that did not end well

and pytest runs every claim below for it. Lines are recorded from the real program, never made up.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from itertools import chain

import msgspec
import pytest

from ve.agents.base import (
    Abilities,
    Adapter,
    AnsweredQuestion,
    Event,
    Finished,
    Fitness,
    Job,
    Launch,
    ModelEvent,
    ReviewIssue,
    SessionStarted,
    UsageEvent,
)
from ve.agents.judge import Clean, Outcome, Seen, judge

GARBAGE = (
    b"", b" ", b"\xff\xfe\x00", b"null", b"[]", b"1", b'"text"', b"{}", b'{"type":null}', b'{"type":7}',
    b'{"type":"no such type"}', b'{"type":', b"[ve: output limit of 10 bytes reached]", b"{" * 5000,
    b'{"type":"finished"', b'{"type":"result","subtype":[]}', b'{"a":' * 2000 + b"1" + b"}" * 2000,
)  # fmt: skip


class Exited(msgspec.Struct):
    """An exit record as the supervisor leaves it."""

    how: str = "exited"
    code: int | None = 0
    signal: int | None = None
    message: str = ""


def job(**changes: object) -> Job:
    """A job with every field set."""
    fields: dict[str, object] = {
        "run": "u1-1-implement-1-x", "unit": "u1", "chunk": "greeting", "attempt": 1, "phase": "IMPLEMENT",
        "visit": 2, "worktree": "/tmp/tree", "run_dir": "/tmp/run", "prompt": "-do --this\n\"now\" 'ü'",
        "session": "3f0c8f5e-8f0e-4b63-9d5e-6f1d7f0c0a11", "resume": False, "cause": "review",
        "answers": (AnsweredQuestion("q1", "Which?", "this"),),
        "issues": (ReviewIssue("i1", "a.py:1", "bad"),),
    }  # fmt: skip
    return Job(**{**fields, **changes})  # type: ignore[arg-type]


def parse(adapter: Adapter, lines: Sequence[bytes]) -> list[Event]:
    """The events of one run: read by an object of its own, as the daemon does."""
    return list(chain.from_iterable(map(copy.deepcopy(adapter).parse, lines)))


class AdapterExercise:
    """The claims."""

    @pytest.fixture
    def adapter(self) -> Adapter:
        raise NotImplementedError

    @pytest.fixture
    def success(self) -> Sequence[bytes]:
        raise NotImplementedError

    @pytest.fixture
    def failures(self) -> Mapping[str, Sequence[bytes]]:
        raise NotImplementedError

    @staticmethod
    def outcome(
        adapter: Adapter, events: Sequence[Event], exit: Exited | None = None, *, ready: bool = True
    ) -> Outcome:
        return judge(events, exit or Exited(), ready, Seen(), adapter.abilities)

    def test_it_is_an_adapter_with_a_name(self, adapter: Adapter) -> None:
        assert isinstance(adapter, Adapter)
        assert adapter.name.isidentifier()
        assert adapter.title
        assert isinstance(adapter.abilities, Abilities)

    def test_check_says_what_to_do_when_the_program_is_not_usable(self, adapter: Adapter) -> None:
        began = time.monotonic()

        fitness = adapter.check()

        assert time.monotonic() - began < 10
        assert isinstance(fitness, Fitness)
        assert fitness.version if fitness.ok else fitness.reason and fitness.hint

    def test_launch_is_pure(self, adapter: Adapter) -> None:
        assert adapter.launch(job()) == adapter.launch(job())

    @pytest.mark.parametrize("resume", [False, True])
    @pytest.mark.parametrize("phase", ["GOAL", "PLAN", "IMPLEMENT", "REBASE", "REVIEW", "COMPLETE"])
    def test_launch_is_a_command_without_a_shell(self, adapter: Adapter, phase: str, resume: bool) -> None:
        launch = adapter.launch(job(phase=phase, resume=resume))

        assert isinstance(launch, Launch)
        assert launch.argv and all(isinstance(word, str) and "\0" not in word for word in launch.argv)
        assert not [name for name in launch.env if name.startswith("GIT_")]
        assert not {"VE_RUN_ID", "VE_RUN_DIR", "VE_RUN_TOKEN"} & set(launch.env)
        assert not [name for name in launch.files if "/" in name or name.startswith(".")]
        assert not [name for name in launch.passes if name.startswith(("GIT_", "VE_"))]

    def test_the_tools_of_ve_reach_the_agent(self, adapter: Adapter) -> None:
        launch = adapter.launch(job())
        told = " ".join((*launch.argv, *launch.env.values(), *launch.files.values()))

        assert not adapter.abilities.ask or "ve.runtool" in told or adapter.abilities.own_tools

    def test_launch_works_without_a_session(self, adapter: Adapter) -> None:
        assert adapter.launch(job(session=None)).argv

    @pytest.mark.parametrize("line", GARBAGE)
    def test_a_line_that_is_not_its_own_is_no_event(self, adapter: Adapter, line: bytes) -> None:
        assert adapter.parse(line) == ()

    def test_a_line_cut_anywhere_never_raises_and_never_finishes(
        self, adapter: Adapter, success: Sequence[bytes]
    ) -> None:
        for line in success:
            for cut in range(0, len(line), max(1, len(line) // 50)):
                events = adapter.parse(line[:cut])
                assert not [event for event in events if isinstance(event, Finished)]

    def test_a_good_run_is_clean(self, adapter: Adapter, success: Sequence[bytes]) -> None:
        assert isinstance(self.outcome(adapter, parse(adapter, success)), Clean)

    def test_a_good_run_names_its_session_before_the_model_speaks(
        self, adapter: Adapter, success: Sequence[bytes]
    ) -> None:
        events = parse(adapter, success)
        kinds = [type(event) for event in events]

        if not adapter.abilities.events:
            return
        assert {event.id for event in events if isinstance(event, SessionStarted)} - {""}
        assert kinds.index(SessionStarted) < kinds.index(ModelEvent) < kinds.index(Finished)

    def test_usage_is_never_negative(self, adapter: Adapter, success: Sequence[bytes]) -> None:
        for usage in parse(adapter, success):
            if isinstance(usage, UsageEvent):
                assert min(usage.tokens_in, usage.tokens_out, usage.tokens_cached, usage.cost_usd) >= 0

    def test_a_good_run_that_was_cut_before_its_end_is_not_clean(
        self, adapter: Adapter, success: Sequence[bytes]
    ) -> None:
        events = [event for event in parse(adapter, success) if not isinstance(event, Finished)]

        assert not adapter.abilities.events or not isinstance(self.outcome(adapter, events), Clean)

    def test_a_good_run_without_our_tools_or_with_an_exit_code_is_not_clean(
        self, adapter: Adapter, success: Sequence[bytes]
    ) -> None:
        events = parse(adapter, success)

        signalled = Exited(how="signalled", code=None, signal=15)
        assert not adapter.abilities.ask or not isinstance(self.outcome(adapter, events, ready=False), Clean)
        assert not isinstance(self.outcome(adapter, events, Exited(code=1)), Clean)
        assert not isinstance(self.outcome(adapter, events, signalled), Clean)
        assert not isinstance(judge(events, None, True, Seen(), adapter.abilities), Clean)

    def test_a_bad_run_is_never_clean_even_with_exit_0(
        self, adapter: Adapter, failures: Mapping[str, Sequence[bytes]]
    ) -> None:
        for name, lines in failures.items():
            assert not isinstance(self.outcome(adapter, parse(adapter, lines)), Clean), name
