"""The documents' commands as a person has them, from an idea to a completed chunk; approvals by a daemon."""

from __future__ import annotations

import difflib
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.faces.terminal import VE, WAIT_S, Terminal, lines_until, plain, project

WORDS = {
    "<!-- What is different for a user once this is done, and why it is worth doing now. -->": (
        "Events can be read from a file, so that nobody types them."
    ),
    "<!-- Sentences that can be checked, one a line. -->": "- An event in the file is shown.",
    "code_references: []": (
        "code_references:\n  - ref: reader.py#Reader::read_all\n    implements: reads the events of a file"
    ),
    "subsystems: []": "subsystems:\n  - subsystem_id: events\n    relationship: implements",
    "friction_entries: []": "friction_entries:\n  - entry_id: F001",
}
READER = (
    'class Reader:\n    """Reads events."""\n\n    def reads_all(self) -> list[str]:\n        return []\n'
)


class Record:
    """What a person types and is told."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.lines: list[str] = []

    def run(self, *words: str) -> None:
        done = self.terminal.ve(*words)
        shown = " ".join(f'"{word}"' if " " in word else word for word in words)
        self.lines += [f"$ ve {shown}", *done.stdout.splitlines(), *done.stderr.splitlines()]
        if done.returncode:
            self.lines.append(f"(exit {done.returncode})")
        self.lines.append("")

    def note(self, text: str) -> None:
        self.lines += [f"# {text}", ""]

    def diff(self, path: str, before: str) -> None:
        """How a file differs from what it was."""
        after = (self.terminal.root / path).read_text()
        found = difflib.unified_diff(
            before.splitlines(), after.splitlines(), f"{path} before", f"{path} after", n=0, lineterm=""
        )
        self.lines += [*found, ""]

    @property
    def text(self) -> str:
        return plain("\n".join(self.lines), self.terminal.root)


@pytest.fixture
def desk(tmp_path: Path) -> Terminal:
    """A repository without chunks and without a daemon."""
    return Terminal(project(tmp_path / "repo").root)


def test_from_an_idea_to_a_completed_chunk(desk: Terminal, snapshot: SnapshotAssertion) -> None:
    record = Record(desk)
    record.run("subsystem", "create", "events")
    record.run("narrative", "create", "less_typing")
    record.run("friction", "add", "Events have to be typed", "--theme", "input")
    record.run("chunk", "create", "event_reader", "--narrative", "less_typing", "--ticket", "0042")
    record.run("chunk", "create", "second_one")
    record.run("chunk", "create", "second_one", "--future", "--narrative", "less_typing")

    goal = desk.root / "docs/chunks/event_reader/GOAL.md"
    begun = goal.read_text()
    text = begun
    for old, new in WORDS.items():
        assert old in text
        text = text.replace(old, new)
    goal.write_text(text)
    (desk.root / "reader.py").write_text(READER)
    record.note("GOAL.md is filled in, and the reader is written, under another name than the reference says")
    record.run("chunk", "complete")
    (desk.root / "reader.py").write_text(READER.replace("reads_all", "read_all"))
    record.note("the method is renamed")
    record.run("chunk", "complete")
    record.diff("docs/chunks/event_reader/GOAL.md", begun)

    record.run("friction", "list")
    record.run("narrative", "list")
    record.run("narrative", "show", "less_typing")
    record.run("chunk", "activate", "second_one")
    record.run("chunk", "complete", "second_one", "--json")
    record.run("narrative", "list")
    record.run("chunk", "supersede", "event_reader", "--by", "second_one")
    assert record.text == snapshot


def test_the_other_kinds_can_be_looked_at_from_any_subfolder(
    desk: Terminal, snapshot: SnapshotAssertion
) -> None:
    record = Record(desk)
    record.run("investigation", "create", "slow_start", "memory")
    record.run("investigation", "status", "slow_start", "solved")
    record.run("investigation", "status", "slow_start", "deferred")
    record.run("investigation", "list")
    record.run("investigation", "list", "--json")
    record.run("investigation", "show", "slow_strat")
    record.run("investigation", "validate")
    record.run("subsystem", "list")
    record.run("friction", "list")
    record.run("friction", "show", "F001")
    assert record.text == snapshot
    inner = desk.root / "docs/investigations"
    assert "memory" in desk.ve("investigation", "list", cwd=inner).stdout


def test_what_only_looks_creates_nothing(desk: Terminal) -> None:
    before = sorted(desk.root.rglob("*"))
    for words in (("narrative", "list"), ("friction", "list"), ("subsystem", "validate")):
        assert desk.ve(*words).returncode == 0
    assert sorted(desk.root.rglob("*")) == before


def test_the_words_of_a_friction_entry_can_come_from_stdin(desk: Terminal) -> None:
    assert desk.ve("friction", "add", "Slow", "--text", "-", stdin="Very slow.\n").returncode == 0
    assert "Very slow." in desk.said("friction", "show", "F001")


def test_an_answer_that_cannot_be_written_is_an_error_in_words(desk: Terminal) -> None:
    desk.said("chunk", "create", "one")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*VE, "chunk", "list"], cwd=desk.root, env=desk.env, stdout=full, stderr=subprocess.PIPE,
            text=True, timeout=WAIT_S, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("ve: stdout: the answer cannot be written")
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *VE, "chunk", "list"], cwd=desk.root, env=desk.env,
        stderr=subprocess.PIPE, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert (closed.returncode, closed.stderr) == (0, "")


# ── Background work ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Terminal]:
    """A paused daemon, two background chunks and a plain one, all described and committed."""
    given = project(tmp_path / "repo")
    terminal = Terminal(given.root)
    terminal.said("chunk", "create", "quiet", "other", "--background")
    terminal.said("chunk", "create", "plain", "--future")
    for name in ("quiet", "other", "plain"):
        goal = given.root / f"docs/chunks/{name}/GOAL.md"
        said = next(iter(WORDS))
        goal.write_text(goal.read_text().replace(said, f"Say {name}."))
    given.git("add", "-A")
    given.git("commit", "-qm", "three chunks")
    terminal.start()
    terminal.said("orch", "pause")
    yield terminal
    terminal.end()


def commit(terminal: Terminal, path: str, more: str) -> None:
    file = terminal.root / path
    file.write_text(file.read_text() + more)
    identity = ("-c", "user.name=Op", "-c", "user.email=op@example.org")
    subprocess.run(["git", *identity, "commit", "-qam", "change"], cwd=terminal.root, check=True)


def test_a_background_chunk_is_queued_only_as_a_person_approved_it(office: Terminal) -> None:
    refused = office.ve("orch", "inject", "quiet")
    assert refused.returncode == 1
    assert "ve chunk approve quiet" in refused.stderr

    agent = office.ve("chunk", "approve", "quiet", "--yes", VE_RUN_ID="u1-1-plan-1-abc")
    assert agent.returncode == 1 and "a person has to read it" in agent.stderr
    nobody = office.ve("chunk", "approve", "quiet")
    assert nobody.returncode == 2 and "--yes" in nobody.stderr
    assert "Say quiet." in nobody.stdout and "docs/chunks/quiet/PLAN.md" in nobody.stdout
    assert "approved as" in office.said("chunk", "approve", "quiet", "--yes")

    commit(office, "docs/chunks/quiet/GOAL.md", "\nAnd more.\n")
    assert office.ve("orch", "inject", "quiet").returncode == 1, "an edit asks again"
    office.said("chunk", "approve", "quiet", "--yes")
    assert "quiet: READY" in office.said("orch", "inject", "quiet")

    rows = office.json(
        "history",
        "query",
        "SELECT actor, why, detail FROM transitions WHERE command = 'HashApproved' ORDER BY seq",
    )["rows"]
    assert [(actor, why) for actor, why, _ in rows] == [("operator:ada", "chunk quiet")] * 2
    assert len({detail for _, _, detail in rows}) == 2, "each names the content that was read"


def test_an_edit_between_queue_and_dispatch_asks_again(office: Terminal) -> None:
    office.said("chunk", "approve", "quiet", "--yes")
    office.said("orch", "inject", "quiet")
    commit(office, "docs/chunks/quiet/PLAN.md", "\nAnd take everything away.\n")
    office.said("orch", "unpause")
    unit = office.status("quiet", "NEEDS_ATTENTION")
    assert "changed after it was approved" in unit["attention_reason"]
    assert unit["worktree"] is None, "no agent saw it"
    office.said("chunk", "approve", "quiet", "--yes")
    office.said("orch", "retry", "quiet")
    assert office.until(lambda units: next(u for u in units.values() if u["chunk"] == "quiet")["worktree"])


def test_an_approval_stays_good_whatever_the_status_says(office: Terminal) -> None:
    office.said("chunk", "approve", "quiet", "--yes")
    goal = office.root / "docs/chunks/quiet/GOAL.md"
    goal.write_text(goal.read_text().replace("status: FUTURE", "status: IMPLEMENTING"))
    commit(office, "README.md", "more\n")
    assert "approved already" in office.said("chunk", "approve", "quiet")


def test_what_is_read_is_what_is_committed(office: Terminal) -> None:
    goal = office.root / "docs/chunks/quiet/GOAL.md"
    goal.write_text(goal.read_text() + "\nNot committed.\n")
    refused = office.ve("chunk", "approve", "quiet", "--yes")
    assert refused.returncode == 1
    assert "not committed" in refused.stderr and "docs/chunks/quiet/GOAL.md" in refused.stderr


def test_all_future_takes_what_needs_no_approval_or_has_it_and_names_the_rest(office: Terminal) -> None:
    office.said("chunk", "approve", "quiet", "--yes")
    done = office.ve("orch", "inject", "--all-future")
    assert done.returncode == 0, done.stderr
    assert sorted(line.split(":")[0] for line in done.stdout.splitlines()) == ["plain", "quiet"]
    assert "left out: other" in done.stderr and "ve chunk approve other" in done.stderr
    again = office.ve("orch", "inject", "--all-future")
    assert again.returncode == 0 and again.stdout == "" and "nothing was queued" in again.stderr


def test_on_a_terminal_the_person_is_asked(office: Terminal) -> None:
    mine, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [*VE, "chunk", "approve", "quiet"], cwd=office.root, env=office.env, stdin=theirs, stdout=theirs,
            stderr=theirs,
        ) as asking:  # fmt: skip
            with os.fdopen(os.dup(mine), "rb") as screen:
                shown = lines_until(screen, r"Approve it\? \[y/N\]")
            assert any("Say quiet." in line for line in shown)
            os.write(mine, b"y\n")
            assert asking.wait(WAIT_S) == 0
    finally:
        os.close(mine)
        os.close(theirs)
    assert "quiet: READY" in office.said("orch", "inject", "quiet")
