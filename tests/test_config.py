"""The configuration: three sources, one typed result, errors that say where and what is allowed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ve import configfile
from ve.config import flatten, load, set_value, settings
from ve.configfields import PHASES, AgentConfig, Config
from ve.errors import ConfigError
from ve.paths import Places, find


@pytest.fixture
def places(tmp_path: Path) -> Places:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return find(tmp_path)


def committed(places: Places, text: str) -> Path:
    assert places.main_worktree
    path = places.main_worktree / "ve.toml"
    path.write_text(text)
    return path


def local(places: Places, text: str) -> Path:
    places.state_dir.mkdir(exist_ok=True)
    places.config_file.write_bytes(text.encode())
    return places.config_file


EXAMPLES: dict[str, tuple[str, Any]] = {
    "base": ("release/2", "release/2"),
    "slots": ("9", 9),
    "agent": ("claude", "claude"),
    "land": ("approve", "approve"),
    "limits.idle_s": ("1.5", 1.5),
    "limits.wall_s": ("60", 60.0),
    "limits.retries": ("0", 0),
    "limits.review_rounds": ("7", 7),
    "limits.retry_s": ("0", 0.0),
    "worktree.root": ("../trees", "../trees"),
    "worktree.retain": ("true", True),
    "worktree.copy": ('[".env", "a b/c"]', (".env", "a b/c")),
    "worktree.setup": ("npm ci && true # yes", "npm ci && true # yes"),
    "landing.check": ('make "x" \\ y', 'make "x" \\ y'),
    "server.host": ("::1", "::1"),
    "server.port": ("8080", 8080),
    "phase.REVIEW.agent": ("codex", "codex"),
    "phase.REVIEW.idle_s": ("60", 60.0),
    "phase.PLAN.wall_s": ("600", 600.0),
    "chunk.parser.agent": ("codex", "codex"),
    "agents.my-agent.adapter": ("command", "command"),
    "agents.claude.base_url": ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    "agents.claude.max_turns": ("40", 40),
    "agents.claude.budget_usd": ("2.5", 2.5),
    "agents.claude.repo_config": ("true", True),
    "agents.claude.command": ("/opt/claude", "/opt/claude"),
    "agents.my-agent.model": ("größe", "größe"),
    "agents.claude.args": ("--one 'two words'", ("--one", "two words")),
    "agents.claude.env": ('{ A = "1", "b.c" = "" }', {"A": "1", "b.c": ""}),
}
"""For every key: what a person types, and the value that it means."""


def test_the_examples_of_this_page_name_every_key() -> None:
    generic = {
        ".".join("NAME" if n == 1 and key.count(".") == 2 else part for n, part in enumerate(key.split(".")))
        for key in EXAMPLES
    }
    assert generic == {setting.key for setting in settings()}


def test_every_key_is_described_and_says_what_is_allowed() -> None:
    for setting in settings():
        assert setting.description.endswith("."), setting.key
        assert setting.allowed, setting.key


def test_the_phases_are_those_of_a_work_unit() -> None:
    from ve.unit import Phase

    assert tuple(Phase) == PHASES


def test_without_any_file_everything_has_its_default(places: Places) -> None:
    loaded = load(places, {})
    assert loaded.config == Config()
    assert loaded.config.slots == 4
    assert loaded.config.agent == "script"
    assert loaded.config.limits.retries == 2
    assert set(loaded.origins.values()) == {"default"}
    assert set(loaded.origins) == set(flatten(loaded.config))


@pytest.mark.parametrize(("key", "text", "value"), [(key, *pair) for key, pair in EXAMPLES.items()])
def test_every_key_that_is_set_is_read_back(places: Places, key: str, text: str, value: Any) -> None:
    assert set_value(places, key, text) == value
    loaded = load(places, {})
    assert flatten(loaded.config)[key] == value
    assert loaded.origins[key].startswith(f"{places.config_file}:")
    assert set_value(places, key, None) is None
    assert load(places, {}).config == Config()


@pytest.mark.parametrize(("key", "text", "value"), [(key, *pair) for key, pair in EXAMPLES.items()])
def test_every_key_has_an_environment_variable(places: Places, key: str, text: str, value: Any) -> None:
    variable = "VE_" + key.upper().replace(".", "_").replace("-", "_")
    local(places, '[agents.my-agent]\nmodel = "other"\n')
    loaded = load(places, {variable: text})
    assert flatten(loaded.config)[key] == value
    assert loaded.origins[key] == f"environment {variable}"


def test_all_keys_together_survive_a_round_trip_through_the_file(places: Places) -> None:
    for key, (text, _) in EXAMPLES.items():
        set_value(places, key, text)
    flat = flatten(load(places, {}).config)
    assert {key: flat[key] for key in EXAMPLES} == {key: value for key, (_, value) in EXAMPLES.items()}


def test_later_sources_win_key_by_key(places: Places) -> None:
    path = committed(places, "slots = 2\nland = 'approve'\n[limits]\nretries = 1\nidle_s = 5\n")
    local(places, "[limits]\n\nretries = 3\n")
    loaded = load(places, {"VE_SLOTS": "6", "PATH": "/bin"})
    assert (loaded.config.slots, loaded.config.land) == (6, "approve")
    assert (loaded.config.limits.retries, loaded.config.limits.idle_s) == (3, 5.0)
    assert loaded.origins["slots"] == "environment VE_SLOTS"
    assert loaded.origins["land"] == f"{path}:2"
    assert loaded.origins["limits.idle_s"] == f"{path}:5"
    assert loaded.origins["limits.retries"] == f"{places.config_file}:3"
    assert loaded.origins["limits.wall_s"] == "default"


def test_agents_and_phases_have_a_section_for_each_name(places: Places) -> None:
    committed(
        places,
        '[phase.REVIEW]\nagent = "codex"\n[agents.codex]\nargs = ["-q"]\n[agents.codex.env]\nA = "1"\n',
    )
    config = load(places, {}).config
    assert config.phase["REVIEW"].agent == "codex"
    assert config.agents["codex"] == AgentConfig(args=("-q",), env={"A": "1"})


@pytest.mark.parametrize(
    ("text", "line", "nearest"),
    [
        ("slots = 2\nslot = 3\n", 2, "slots"),
        ("[limits]\n# c\nidle = 3\n", 3, "limits.idle_s"),
        ("limits = { retires = 1 }\n", 1, "limits.retries"),
        ("[landings]\ncheck = 'x'\n", 2, "landing.check"),
        ("[phase.REVEIW]\nagent = 'x'\n", 2, "phase.REVIEW.agent"),
        ("[agents.codex]\nmodle = 'x'\n", 2, "agents.codex.model"),
        ("limits.retry = 1\n", 1, "limits.retry_s"),
        ("agnet = '''\n'''\n[worktree]\ncopys = [\n]\n", 1, "agent"),
        ("[worktree]\ncopy = [\n 'a',\n]\n\nsetups = ''\n", 6, "worktree.setup"),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_the_nearest_key(
    places: Places, text: str, line: int, nearest: str
) -> None:
    path = committed(places, text)
    with pytest.raises(ConfigError) as caught:
        load(places, {})
    assert caught.value.where == f"{path}:{line}"
    assert f"`{nearest}`" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "line", "allowed"),
    [
        ('slots = "two"\n', 1, "a whole number from 1 to 256"),
        ("slots = true\n", 1, "a whole number from 1 to 256"),
        ("slots = 0\n", 1, "a whole number from 1 to 256"),
        (f"slots = 1{'0' * 40}\n", 1, "a whole number from 1 to 256"),
        ("\n[limits]\nidle_s = 0\n", 3, "a number of seconds above 0"),
        ("[limits]\nwall_s = inf\n", 2, "a number of seconds above 0"),
        ("[limits]\nretry_s = nan\n", 2, "a number of seconds from 0"),
        ("land = 'perhaps'\n", 1, "auto or approve"),
        ("base = '-x'\n", 1, "a branch's name"),
        ("base = 'a b'\n", 1, "a branch's name"),
        ("base = 'a\u3000b'\n", 1, "a branch's name"),
        ("base = 'a..b'\n", 1, "a branch's name"),
        ('base = "a\\n"\n', 1, "a branch's name"),
        ("limits = 3\n", 1, "key"),
        ("[worktree]\ncopy = ['../x']\n", 2, "without `..`"),
        ("[worktree]\ncopy = ['/etc/passwd']\n", 2, "inside the repository"),
        ("[worktree]\nsetup = ' '\n", 2, "not empty"),
        ("[server]\nport = 65536\n", 2, "from 0 to 65535"),
        ("[agents.x.env]\nA = 1\n", 1, "a table of names and texts"),
        ("agent = 2026-01-01\n", 1, "an agent's name"),
    ],
)
def test_a_wrong_value_is_shown_with_its_line_and_what_is_allowed(
    places: Places, text: str, line: int, allowed: str
) -> None:
    path = committed(places, text)
    with pytest.raises(ConfigError) as caught:
        load(places, {})
    assert caught.value.where == f"{path}:{line}"
    assert allowed in caught.value.what


def test_a_syntax_error_says_line_and_column(places: Places) -> None:
    path = committed(places, "slots = 2\nland = \n")
    with pytest.raises(ConfigError) as caught:
        load(places, {})
    assert caught.value.where == f"{path}:2:8"


def test_a_file_that_is_not_utf8_or_no_file_is_explained(places: Places) -> None:
    path = committed(places, "")
    path.write_bytes(b"slots = 2\nbase = '\xff'\n")
    with pytest.raises(ConfigError, match="not UTF-8") as caught:
        load(places, {})
    assert caught.value.where == f"{path}:2"
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        load(places, {})


@pytest.mark.parametrize(
    ("variable", "value"),
    [("VE_SLOT", "3"), ("VE_SLOTS", "many"), ("VE_SLOTS", "0"), ("VE_WORKTREE_COPY", "'")],
)
def test_a_wrong_variable_is_named(places: Places, variable: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(places, {variable: value})
    assert caught.value.where == f"environment {variable}"
    assert "slots" in str(caught.value) or "worktree.copy" in str(caught.value)


def test_the_variables_of_a_run_are_not_configuration(places: Places) -> None:
    environ = {"VE_RUN_ID": "r", "VE_RUN_DIR": "/x", "VE_RUN_TOKEN": "t"}
    assert load(places, environ).config == Config()


def test_an_agent_must_be_one_that_exists_once_the_names_are_known(places: Places) -> None:
    path = committed(places, 'agent = "script"\n[phase.REVIEW]\nagent = "claud"\n')
    with pytest.raises(ConfigError, match="which is no agent; there are claude, script") as caught:
        load(places, {}, known_agents=("script", "claude"))
    assert caught.value.where == f"{path}:3"
    local(places, '[agents.claud]\ncommand = "x"\n')
    with pytest.raises(ConfigError, match=r"`agents\.claud` is no agent that there is: claude, script"):
        load(places, {}, known_agents=("script", "claude"))
    local(places, '[agents.claud]\nadapter = "claude"\n')
    assert load(places, {}, known_agents=("script", "claude")).config.phase["REVIEW"].agent == "claud"


BEFORE = """\
# Settings of this machine
slots = 2   # two cores

[limits]
idle_s = 10
# why so few: the link is slow
retries = 1

[agents.codex] # the reviewer
args = [
  "-q", # quiet
]
"""


@pytest.mark.parametrize(
    ("key", "text", "old", "new"),
    [
        ("slots", "8", "slots = 2   # two", "slots = 8   # two"),
        ("limits.retries", "5", "retries = 1", "retries = 5"),
        ("limits.wall_s", "9", "retries = 1\n", "retries = 1\nwall_s = 9.0\n"),
        ("land", "approve", "two cores\n", 'two cores\nland = "approve"\n'),
        ("agents.codex.args", "a#b", '[\n  "-q", # quiet\n]', '["a#b"]'),
        ("agents.codex.model", "m", "# quiet\n]\n", '# quiet\n]\nmodel = "m"\n'),
        ("landing.check", "just test", "# quiet\n]\n", '# quiet\n]\n\n[landing]\ncheck = "just test"\n'),
        ("limits.retries", None, "retries = 1\n", ""),
    ],
)
def test_setting_one_key_keeps_all_other_lines_and_comments(
    places: Places, key: str, text: str | None, old: str, new: str
) -> None:
    path = local(places, BEFORE)
    set_value(places, key, text)
    assert path.read_text() == BEFORE.replace(old, new)


def test_line_ends_stay_as_they_are(places: Places) -> None:
    path = local(places, "slots = 2 # x\r\n[limits]\r\nretries = 1\r\n")
    set_value(places, "slots", "3")
    set_value(places, "limits.idle_s", "3")
    assert path.read_bytes() == b"slots = 3 # x\r\n[limits]\r\nretries = 1\r\nidle_s = 3.0\r\n"


@pytest.mark.parametrize(
    "before",
    [
        "limits = { retries = 1, idle_s = 4 }\n",
        "limits.idle_s = 4",
        "[agents.x.env]\nA = '1'\n[limits]\nidle_s = 4 # c\n",
        "[agents]\nx.model = 'm'\n[limits]\nidle_s=4",
        "# only a comment\n\n# of the table\n[limits]\nidle_s = 4\n",
        "",
    ],
)
@pytest.mark.parametrize(("key", "text", "value"), [(key, *pair) for key, pair in EXAMPLES.items()])
def test_a_key_can_be_set_however_its_neighbours_are_written(
    places: Places, before: str, key: str, text: str, value: Any
) -> None:
    local(places, before)
    expected = {**flatten(load(places, {}).config), key: value}
    set_value(places, key, text)
    flat = flatten(load(places, {}).config)
    assert {name: flat[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("key", "text"),
    [("slots", "0"), ("slots", "x"), ("slot", "1"), ("limits", "1"), ("phase.X.agent", "a"), ("", "")],
)
def test_a_refused_value_leaves_the_file_as_it_was(places: Places, key: str, text: str) -> None:
    path = local(places, BEFORE)
    with pytest.raises(ConfigError):
        set_value(places, key, text)
    assert path.read_text() == BEFORE
    assert [item.name for item in places.state_dir.iterdir()] == ["config.toml"]


def test_a_broken_file_is_explained_and_not_written_over(places: Places) -> None:
    path = local(places, "slots = 2\nslot = 4\n")
    with pytest.raises(ConfigError, match="no key `slot`"):
        set_value(places, "land", "auto")
    assert path.read_text() == "slots = 2\nslot = 4\n"


def test_the_file_is_replaced_in_one_step(places: Places) -> None:
    path = local(places, BEFORE)
    with path.open() as reader:
        set_value(places, "slots", "3")
        assert reader.read() == BEFORE
    assert [item.name for item in places.state_dir.iterdir()] == ["config.toml"]


def test_a_config_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Config().slots = 3  # type: ignore[misc]


def test_a_config_survives_json() -> None:
    config = Config(slots=3, agents={"x": AgentConfig(args=("a",))})
    assert msgspec.json.decode(msgspec.json.encode(config), type=Config) == config


@given(st.text())
def test_any_text_is_read_or_refused_with_our_own_error(text: str) -> None:
    try:
        configfile.parse(text, "ve.toml")
    except ConfigError:
        return
    for item in configfile.statements(text):
        assert item.first <= item.last


@given(st.recursive(st.text() | st.booleans() | st.integers(-(2**63), 2**63 - 1), st.lists))
def test_any_value_is_written_so_that_toml_reads_the_same(value: Any) -> None:
    try:
        text = configfile.encode(value)
        text.encode()
    except UnicodeEncodeError:
        return
    assert tomllib.loads(f"x = {text}")["x"] == value


def test_importing_the_configuration_stays_light() -> None:
    code = "import sys, ve.config\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"yaml", "dulwich", "duckdb", "litestar", "asyncio", "subprocess"} & set(done.stdout.split())
