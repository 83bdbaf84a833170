"""What people see of the command line, and what scripts rely on; each on a real daemon."""

from __future__ import annotations

import json
import os
import pty
import re
import runpy
import select
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.e2e.given import Gate
from tests.faces.terminal import VE, WAIT_S, Terminal, columns_plain, lines_until, plain, project
from ve import __version__, daemon
from ve.cli import output

ROOT = Path(__file__).parent.parent.parent
GENERATOR = runpy.run_path(str(ROOT / "docs" / "generate_cli.py"))
COMMANDS = list(GENERATOR["commands"](GENERATOR["app"]))

ASKS = """
[[IMPLEMENT]]
ask = "Which form of dates? 日付の形式は?"
options = ["2026-11-30", "30.11.2026"]
context = "events/formatter.py writes them."

[[IMPLEMENT]]
write = "answer.txt"
text = "{answer}"
"""
FAILS = '[[IMPLEMENT]]\nfail = "the compiler said \\u001b[31mno\\u001b[0m"\nexit = 3\n'


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Units in every state that holds still: one asks, one failed, one waits, one is done, one paused."""
    given = project(tmp_path_factory.mktemp("cli") / "repo")
    given.commit({"ve.toml": "slots = 3\n[limits]\nretries = 0\n"})
    given.chunk("asks", ASKS)
    given.chunk("fails", FAILS)
    given.chunk("waits", depends_on=["asks"])
    given.chunk("merges")
    given.chunk("rests")
    terminal = Terminal(given.root)
    terminal.start()
    terminal.said("orch", "inject", "asks", "fails", "waits", "merges")
    terminal.status("merges", "DONE")
    asks = terminal.status("asks", "NEEDS_ATTENTION")
    fails = terminal.status("fails", "NEEDS_ATTENTION")
    terminal.settled(asks["id"])
    terminal.settled(fails["id"])
    terminal.said("orch", "pause")
    terminal.said("orch", "inject", "rests", "--priority", "-1")
    terminal.said("orch", "pause", "rests")
    yield terminal
    terminal.end()


@pytest.fixture
def quiet(tmp_path: Path) -> Terminal:
    """A repository without a daemon."""
    return Terminal(project(tmp_path / "repo").root)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[tuple[Terminal, Gate]]:
    """A daemon with one run that waits at a gate."""
    given = project(tmp_path / "repo")
    gate = Gate(tmp_path / "gate")
    given.chunk("slow", gate.step + '[[IMPLEMENT]]\nwrite = "slow.txt"\ntext = "done"\n')
    terminal = Terminal(given.root)
    terminal.start()
    terminal.said("orch", "inject", "slow")
    yield terminal, gate
    gate.close()
    terminal.end()


# ── Help ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(("ve", *words)))
def test_every_command_explains_itself(words: tuple[str, ...], snapshot: SnapshotAssertion) -> None:
    assert GENERATOR["help_page"](words) == snapshot


def test_every_command_that_is_registered_is_documented_as_it_explains_itself() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert page == GENERATOR["cli_page"](), "run: python docs/generate_cli.py"
    assert all(f"`{' '.join(('ve', *words))}`" in page for words in COMMANDS)


def test_help_and_ps_load_none_of_the_heavy_libraries(desk: Terminal) -> None:
    heavy = {"duckdb", "litestar", "uvicorn", "msgspec", "dulwich", "reactivex", "websockets", "http.client"}
    for words in (["--help"], ["orch", "--help"], ["orch", "ps", "--json"], ["orch", "answer", "--help"]):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-P", "-m", "ve.cli.__main__", *words],
            cwd=desk.root,
            env=desk.env,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=True,
        )
        loaded = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
        assert "cyclopts" in loaded
        assert not loaded & heavy, words
    assert "rich.console" not in loaded or words[-1] == "--help"


def test_the_version_is_that_of_the_package(quiet: Terminal) -> None:
    assert quiet.said("--version") == f"ve {__version__}\n"
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert declared == __version__


# ── Looking ────────────────────────────────────────────────────────────────────────────────────────


def test_ps_shows_phase_status_and_reason_of_every_live_unit(
    desk: Terminal, snapshot: SnapshotAssertion
) -> None:
    assert columns_plain(desk.said("orch", "ps", COLUMNS="160")) == snapshot


def test_ps_all_shows_those_that_ended_too(desk: Terminal) -> None:
    assert re.search(
        r"^merges .* DONE .* merged as [0-9a-f]{10}$", desk.said("orch", "ps", "--all"), re.MULTILINE
    )
    assert "merges" not in desk.said("orch", "ps")


@pytest.mark.parametrize("columns", ["40", "72", "200"])
def test_ps_keeps_to_the_width_it_has(desk: Terminal, columns: str) -> None:
    lines = desk.said("orch", "ps", "--all", COLUMNS=columns).splitlines()
    assert max(map(output.width, lines)) <= int(columns)
    assert len(lines) == 6


def test_ps_is_100_columns_wide_without_a_terminal_and_aligned_with_wide_characters(desk: Terminal) -> None:
    head, *rows = desk.said("orch", "ps").splitlines()
    assert max(map(output.width, rows)) <= 100
    place = head.index("STATUS")
    assert {row[place:].split()[0] for row in rows} == {"NEEDS_ATTENTION", "BLOCKED", "READY"}


def test_ps_json_is_what_the_http_api_answers(desk: Terminal) -> None:
    answer = desk.client.get("/work-units")
    live = [unit for unit in answer["units"] if unit["status"] != "DONE"]
    assert desk.json("orch", "ps") == {"cursor": answer["cursor"], "units": live}
    assert desk.json("orch", "ps", "--all") == answer
    assert list(answer["units"][0])[:8] == [
        "id", "chunk", "attempt", "phase", "status", "attention_kind", "attention_reason", "blocked_by",
    ]  # fmt: skip


@pytest.mark.parametrize("chunk", ["asks", "fails", "waits", "merges", "rests"])
def test_show_tells_everything_about_a_unit_and_what_may_be_done(
    desk: Terminal, chunk: str, snapshot: SnapshotAssertion
) -> None:
    assert plain(desk.said("orch", "work-unit", "show", chunk), desk.root) == snapshot


def test_show_json_is_what_the_http_api_answers(desk: Terminal) -> None:
    assert desk.json("orch", "work-unit", "show", "asks") == desk.client.get("/work-units/asks")


def test_attention_shows_the_question_its_options_and_the_commands(
    desk: Terminal, snapshot: SnapshotAssertion
) -> None:
    assert plain(desk.said("orch", "attention"), desk.root) == snapshot
    groups = desk.json("orch", "attention")["groups"]
    assert [group["units"][0]["chunk"] for group in groups] == ["asks", "fails"]


def test_why_says_what_a_unit_waits_for(desk: Terminal, snapshot: SnapshotAssertion) -> None:
    said = "".join(desk.said("orch", "why", chunk) for chunk in ("asks", "waits", "merges", "rests"))
    assert plain(said) == snapshot
    assert desk.json("orch", "why", "waits")["status"] == "BLOCKED"


def test_status_says_how_the_daemon_is(desk: Terminal, snapshot: SnapshotAssertion) -> None:
    assert plain(desk.said("orch", "status"), desk.root) == snapshot
    assert desk.json("orch", "status") == desk.client.get("/status")


def test_url_prints_a_fresh_address_of_the_board(desk: Terminal) -> None:
    first, second = desk.said("orch", "url"), desk.said("orch", "url")
    assert plain(first) == "http://127.0.0.1:<port>/login?code=<code>\n"
    assert first != second


def test_nothing_that_an_agent_wrote_can_steer_the_terminal(desk: Terminal) -> None:
    """The reason of `fails` holds escape sequences; people see the words only."""
    for words in (["orch", "ps"], ["orch", "attention"], ["orch", "work-unit", "show", "fails"]):
        said = desk.said(*words, COLUMNS="300")
        assert "the compiler said no" in said
        assert "\x1b" not in said
    assert "\x1b[31m" in desk.json("orch", "work-unit", "show", "fails")["unit"]["attention_reason"]


def in_a_terminal(desk: Terminal, *words: str, **env: str) -> str:
    """What a command shows on a terminal of its own."""
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(desk.root)
        os.execve(VE[0], [*VE, *words], desk.env | env)
    return terminal_until(pid, fd, None)


def terminal_until(pid: int, fd: int, pattern: str | None) -> str:
    """What a terminal shows until that appears, or to the end of the command."""
    shown = ""
    while select.select([fd], [], [], WAIT_S)[0]:
        try:
            some = os.read(fd, 65536)
        except OSError:
            some = b""
        shown += some.decode(errors="replace")
        if pattern and re.search(pattern, shown):
            return shown
        if not some:
            os.waitpid(pid, 0)
            os.close(fd)
            return shown
    os.kill(pid, signal.SIGKILL)
    raise AssertionError(f"no {pattern!r} in {shown!r}")


def test_colours_are_for_terminals_and_never_with_no_color(desk: Terminal) -> None:
    assert "\x1b[33mNEEDS_ATTENTION\x1b[0m" in in_a_terminal(desk, "orch", "ps")
    assert "\x1b" not in in_a_terminal(desk, "orch", "ps", NO_COLOR="1")
    assert "\x1b" not in desk.said("orch", "ps")


# ── Errors and exit codes ──────────────────────────────────────────────────────────────────────────

WRONG: list[tuple[int, list[str]]] = [
    (1, ["orch", "inject", "asks"]),
    (1, ["orch", "inject", "nowhere"]),
    (1, ["orch", "retry", "waits"]),
    (1, ["orch", "resolve", "asks", "serialize"]),
    (1, ["orch", "cancel", "merges"]),
    (1, ["orch", "work-unit", "show", "nowhere"]),
    (1, ["orch", "merged", "asks", "HEAD~1"]),
    (2, ["orch", "answer", "asks"]),
    (1, ["orch", "answer", "asks", "--option", "9"]),
    (2, ["orch", "answer", "asks", "--optoin=1"]),
    (2, ["orch", "answer", "asks", "yes", "--option", "1"]),
    (2, ["orch", "config", "set", "slots", "0"]),
    (2, ["orch", "config", "set", "slotz", "3"]),
    (2, ["orch", "prioritize", "asks", "high"]),
    (2, ["orch", "resolve", "asks", "whatever"]),
    (2, ["orch", "stop", "--detach", "--kill"]),
    (2, ["orch", "inject"]),
    (2, ["orch", "fly"]),
    (2, ["orch", "ps", "--fast"]),
    (2, ["history", "query", "delete from transitions"]),
    (2, ["history", "query", "select nothing from nowhere"]),
]


@pytest.mark.parametrize(
    ("code", "words"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_an_error_says_what_where_and_what_to_do_next(
    desk: Terminal, code: int, words: list[str], snapshot: SnapshotAssertion
) -> None:
    done = desk.ve(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("ve: ")
    assert plain(done.stderr, desk.root) == snapshot


NEEDS_A_DAEMON = [
    ["orch", "ps"],
    ["orch", "ps", "--json"],
    ["orch", "status"],
    ["orch", "url"],
    ["orch", "stop"],
    ["orch", "inject", "a"],
    ["orch", "attention"],
    ["orch", "why", "a"],
    ["orch", "work-unit", "show", "a"],
    ["orch", "tail", "-f"],
    ["orch", "pause"],
    ["orch", "cancel", "a"],
]


@pytest.mark.parametrize("words", NEEDS_A_DAEMON, ids=" ".join)
def test_without_a_daemon_each_command_names_the_one_that_starts_it(
    quiet: Terminal, words: list[str]
) -> None:
    done = quiet.ve(*words)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (f"ve: {quiet.root}: no daemon runs for this repository\nStart it: ve orch start\n")


def test_outside_of_a_repository_that_is_said(tmp_path: Path) -> None:
    done = Terminal(tmp_path).ve("orch", "ps")
    assert done.returncode == 1
    assert f"ve: {tmp_path}: is not in a git repository" in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(desk: Terminal) -> None:
    with desk.running("history", "query", "select * from range(200000)", "--csv") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(WAIT_S) == 0
        assert process.stderr is not None
        assert "Broken" not in process.stderr.read()
        process.stdout = None


# ── Acting ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["text", "stdin", "option", "edit"])
def test_a_question_is_answered_by_text_by_number_or_in_the_editor(tmp_path: Path, how: str) -> None:
    given = project(tmp_path / "repo")
    given.chunk("asks", ASKS)
    desk = Terminal(given.root)
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\ngrep -q "Which form" "$1" && printf "by hand\\n%s" "$(cat "$1")" > "$1"\n')
    editor.chmod(0o755)
    desk.start()
    try:
        desk.said("orch", "inject", "asks")
        desk.status("asks", "NEEDS_ATTENTION")
        words, stdin, meant = {
            "text": (["by hand"], "", "by hand"),
            "stdin": (["-"], "by hand\n", "by hand"),
            "option": (["--option", "2"], "", "30.11.2026"),
            "edit": (["--edit"], "", "by hand"),
        }[how]
        done = desk.ve("orch", "answer", "asks", *words, stdin=stdin, VISUAL=str(editor))
        assert (done.returncode, done.stdout) == (0, "asks: READY in IMPLEMENT\n"), done.stderr
        desk.status("asks", "DONE")
        assert (desk.root / "answer.txt").read_text() == meant
        sql = "select answer, answered_by from questions"
        assert desk.json("history", "query", sql)["rows"] == [[meant, "operator:ada"]]
    finally:
        desk.end()


def test_an_editor_that_leaves_nothing_answers_nothing(desk: Terminal) -> None:
    for editor, said in (("true", "the answer is empty"), ("false", "ended with 1")):
        done = desk.ve("orch", "answer", "asks", "--edit", VISUAL=editor)
        assert done.returncode == 1
        assert said in done.stderr
    assert desk.json("orch", "work-unit", "show", "asks")["unit"]["questions"][0]["state"] == "open"


def test_pause_and_unpause_mean_the_board_or_one_unit(quiet: Terminal) -> None:
    from tests.e2e.given import git

    assert git(quiet.root, "status", "--porcelain") == ""
    quiet.start()
    try:
        assert quiet.said("orch", "pause") == "the board is paused\n"
        assert quiet.json("orch", "status")["paused"] is True
        assert quiet.said("orch", "unpause") == "the board is not paused\n"
        assert quiet.json("orch", "status")["paused"] is False
    finally:
        quiet.end()


def test_cancel_prioritize_and_a_verb_with_json(desk: Terminal) -> None:
    reply = desk.json("orch", "prioritize", "rests", "-7")
    assert reply["unit"]["priority"] == -7
    assert "(paused)" in desk.said("orch", "prioritize", "rests", "-1")


def test_config_shows_values_with_their_origin_and_sets_them_live(desk: Terminal) -> None:
    assert desk.said("orch", "config", "slots") == "3\n"
    line = next(
        line for line in desk.said("orch", "config").splitlines() if line.startswith("limits.retries")
    )
    assert line.split() == ["limits.retries", "0", f"{desk.root}/ve.toml:3"]
    assert desk.said("orch", "config", "set", "limits.idle_s", "77") == "limits.idle_s = 77\n"
    shown = desk.json("orch", "config", "limits.idle_s")
    assert shown["settings"][0]["value"] == 77.0


def test_config_needs_no_daemon(quiet: Terminal) -> None:
    assert quiet.said("orch", "config", "set", "slots", "2") == "slots = 2 from the next start on\n"
    shown = quiet.json("orch", "config", "slots")
    assert shown["settings"] == [
        {"key": "slots", "value": 2, "origin": f"{quiet.places.config_file}:1"},
    ]


# ── History ────────────────────────────────────────────────────────────────────────────────────────


def test_a_query_answers_the_same_with_and_without_a_daemon(tmp_path: Path) -> None:
    given = project(tmp_path / "repo")
    given.chunk("merges")
    desk = Terminal(given.root)
    missing = desk.ve("history", "query", "select 1")
    assert missing.returncode == 1
    assert "there is no history yet" in missing.stderr
    desk.start()
    try:
        desk.said("orch", "inject", "merges")
        desk.status("merges", "DONE")
        sql = "select seq, command, chunk from transitions where chunk = 'merges' and command = 'Inject'"
        forms: list[list[str]] = [[], ["--json"], ["--csv"]]
        through = [desk.said("history", "query", sql, *form) for form in forms]
        report = desk.said("history", "report")
        desk.said("orch", "stop")
        assert [desk.said("history", "query", sql, *form) for form in forms] == through
        assert "Lead time" in report
        assert desk.said("history", "report").splitlines()[:4] == report.splitlines()[:4]
        assert through[0].splitlines()[0].split() == ["seq", "command", "chunk"]
        copy = tmp_path / "copy.duckdb"
        assert f"copied to {copy}" in desk.said("history", "repair", "--to", str(copy))
        assert copy.is_file()
    finally:
        desk.end()


# ── Beginning and end ──────────────────────────────────────────────────────────────────────────────


def test_init_prepares_a_repository_once(quiet: Terminal, snapshot: SnapshotAssertion) -> None:
    (quiet.root / "ve.toml").unlink()
    first = quiet.ve("init")
    assert first.returncode == 0
    assert plain(first.stdout + first.stderr, quiet.root) == snapshot
    made = (quiet.root / "ve.toml").read_text()
    assert (quiet.root / ".ve" / ".gitignore").read_text() == "*\n"
    assert (quiet.root / "docs" / "chunks").is_dir()
    again = quiet.ve("init")
    assert again.stdout == "everything is there already\n"
    assert (quiet.root / "ve.toml").read_text() == made


def test_the_ve_toml_of_init_says_every_key_and_uncommented_is_the_default(quiet: Terminal) -> None:
    from ve.config import flatten, load, settings

    before = flatten(load(quiet.places, {}).config)
    (quiet.root / "ve.toml").unlink()
    quiet.said("init")
    path = quiet.root / "ve.toml"
    text = path.read_text()
    assert all(re.search(rf"^# {item.key.rpartition('.')[2]} =", text, re.MULTILINE) for item in settings())
    wanted = r"^# (\[(?!phase|agents)\w+\]|\w+ = (?!  \(not set\)).+)$"
    kept, live = [], True
    for line in text.splitlines():
        found = re.match(wanted, line)
        live = not line.startswith(("# [phase", "# [agents")) and live
        if found and live:
            kept.append(found[1])
    path.write_text("\n".join(kept))
    after = flatten(load(quiet.places, {}).config)
    assert len(kept) > 12
    assert {key: after[key] for key in before if key not in ("slots", "limits.retry_s")} == {
        key: value for key, value in before.items() if key not in ("slots", "limits.retry_s")
    }


def test_start_returns_when_the_board_answers_and_starts_only_one(quiet: Terminal) -> None:
    try:
        first = quiet.ve("orch", "start")
        assert (first.returncode, plain(first.stdout)) == (
            0,
            "board: http://127.0.0.1:<port>/login?code=<code>\n",
        )
        pid = quiet.json("orch", "status")["pid"]
        again = quiet.ve("orch", "start")
        assert again.returncode == 0
        assert "runs already" in again.stderr
        assert quiet.json("orch", "status")["pid"] == pid
    finally:
        quiet.end()


def test_commands_work_from_any_folder_and_from_inside_a_units_worktree(desk: Terminal) -> None:
    tree = desk.json("orch", "work-unit", "show", "asks")["unit"]["worktree"]
    for folder in (desk.root / "docs" / "chunks", Path(tree), Path(tree) / "docs"):
        done = desk.ve("orch", "ps", "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "asks" in done.stdout


async def test_stop_waits_for_the_runs_and_shows_them(gate: tuple[Terminal, Gate]) -> None:
    desk, door = gate
    await door.reached()
    with desk.running("orch", "stop") as stopping:
        lines_until(stopping.stderr, r"waits for 1 run: slow \(IMPLEMENT\)")
        assert daemon.running(desk.places) is not None
        refused = desk.ve("orch", "start")
        assert refused.returncode == 1
        assert "the daemon is stopping" in refused.stderr
        door.open()
        assert stopping.wait(WAIT_S) == 0
    assert daemon.running(desk.places) is None


async def test_stop_detach_leaves_the_run_and_the_next_start_adopts_it(gate: tuple[Terminal, Gate]) -> None:
    desk, door = gate
    await door.reached()
    desk.said("orch", "stop", "--detach")
    assert daemon.running(desk.places) is None
    desk.start()
    assert [run["chunk"] for run in desk.json("orch", "status")["running"]] == ["slow"]
    door.open()
    desk.status("slow", "DONE")


async def test_ctrl_c_while_stop_waits_says_how_to_go_on(gate: tuple[Terminal, Gate]) -> None:
    desk, door = gate
    await door.reached()
    with desk.running("orch", "stop") as stopping:
        lines_until(stopping.stderr, "waits for 1 run")
        stopping.send_signal(signal.SIGINT)
        _, said = stopping.communicate(timeout=WAIT_S)
        assert stopping.returncode == 1
    assert "the daemon goes on stopping" in said
    assert "ve orch stop --detach" in said
    desk.said("orch", "stop", "--kill")
    assert daemon.running(desk.places) is None


async def test_ctrl_c_on_a_terminal_asks_which_way_to_stop(gate: tuple[Terminal, Gate]) -> None:
    desk, door = gate
    await door.reached()
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(desk.root)
        os.execve(VE[0], [*VE, "orch", "stop"], desk.env)
    terminal_until(pid, fd, "waits for 1 run")
    os.write(fd, b"\x03")
    terminal_until(pid, fd, r"\[d\]etach")
    os.write(fd, b"d\n")
    assert "stopped" in terminal_until(pid, fd, None)
    assert daemon.running(desk.places) is None
    desk.start()
    assert [run["chunk"] for run in desk.json("orch", "status")["running"]] == ["slow"]
    door.open()
    desk.status("slow", "DONE")


# ── Tail ───────────────────────────────────────────────────────────────────────────────────────────


async def test_tail_follows_a_unit_through_all_its_runs_to_its_end(gate: tuple[Terminal, Gate]) -> None:
    desk, door = gate
    await door.reached()
    with desk.running("orch", "tail", "slow", "-f") as tail:
        lines_until(tail.stderr, "IMPLEMENT, run ")
        door.open()
        said, told = tail.communicate(timeout=WAIT_S)
        assert tail.returncode == 0
    phases = ("IMPLEMENT", "REVIEW", "COMPLETE")
    assert all(f"{phase} of slow" in said for phase in phases)
    assert "slow: DONE" in told
    # Afterwards the same can be read without following.
    assert desk.said("orch", "tail", "slow") == said


def test_tail_without_a_chunk_shows_what_happened(desk: Terminal) -> None:
    lines = desk.said("orch", "tail", "-n", "200").splitlines()
    injected = r"\d\d:\d\d:\d\d asks Inject by operator:ada READY in IMPLEMENT"
    assert any(re.fullmatch(injected, line) for line in lines)
    assert any("merges Landed by daemon RUNNING -> DONE in COMPLETE" in line for line in lines)
    assert len(desk.said("orch", "tail", "-n", "2").splitlines()) == 2


# ── Columns ────────────────────────────────────────────────────────────────────────────────────────


def test_columns_align_however_wide_the_characters_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    rows = [("日本", "x", "e\u0301te\u0301"), ("plain", "y", "🙂 a reason that is much too long for it")]
    lines = output.table(("NAME", "N", "REASON"), rows)
    assert lines == [
        "NAME   N  REASON",
        "日本   x  e\u0301te\u0301",
        "plain  y  🙂 a reason that is much too…",
    ]
    assert output.width(lines[2]) <= 40


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\rb\x08c\x9b31md", "abc31md"),
        ("\u202eevil\u2066", "evil"),
        ("kept\n\ttoo", "kept\n\ttoo"),
    ],
)
def test_what_a_terminal_would_obey_is_taken_out(text: str, safe: str) -> None:
    assert output.clean(text) == safe


def test_a_stretch_of_time_is_said_in_its_two_largest_units() -> None:
    assert [output.span(s) for s in (-1, 0, 59.9, 60, 3599, 3600, 86_399, 90_000)] == [
        "0s", "0s", "59s", "1m 00s", "59m 59s", "1h 00m", "23h 59m", "1d 1h",
    ]  # fmt: skip


def test_json_is_plain_for_scripts(desk: Terminal) -> None:
    text = desk.said("orch", "ps", "--json")
    assert text.count("\n") == 1
    assert "日付" in text
    assert json.loads(text)["units"]
