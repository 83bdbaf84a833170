"""`ve demo --agent`: the same six chunks, by a real client; without an account, with a scripted model."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.agents.clients import client, many_runs
from tests.faces.test_demo import VE
from ve.demo_agent import cast
from ve.errors import RefusedError


def demo(tmp_path: Path, *words: str, programs: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The demo on a machine where nobody is logged in anywhere."""
    folders = {name: tmp_path / name for name in ("home", "tmp", "run")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    path = os.pathsep.join([*([str(programs)] if programs else []), "/usr/bin", "/bin"])
    env = {
        "PATH": path, "HOME": str(folders["home"]), "TMPDIR": str(folders["tmp"]),
        "XDG_RUNTIME_DIR": str(folders["run"]),
    }  # fmt: skip
    return subprocess.run(
        [VE, "demo", *words], env=env, capture_output=True, text=True, timeout=550, check=False
    )


@pytest.fixture
def programs(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder of the PATH with that client."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / request.param).symlink_to(client(request.param))
    return folder


def test_an_agent_that_the_demo_does_not_know_is_refused_with_those_it_knows(tmp_path: Path) -> None:
    done = demo(tmp_path, "--agent", "vim")

    assert done.returncode == 1
    assert done.stderr == "ve: the demo has no agent vim\nChoose one of: claude, codex, opencode\n"


def test_a_client_that_is_not_here_is_told_with_the_command_that_installs_it(tmp_path: Path) -> None:
    done = demo(tmp_path, "--agent", "claude")

    assert done.returncode == 1
    assert "Claude Code is not installed" in done.stderr
    assert "npm install -g @anthropic-ai/claude-code" in done.stderr
    assert not list((tmp_path / "tmp").iterdir()), "nothing was begun"


@pytest.mark.parametrize("programs", ["claude", "codex"], indirect=True)
def test_without_an_account_the_model_is_scripted_and_it_is_said(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = (path.name for path in programs.iterdir())
    for variable in [v for v in os.environ if v.startswith(("ANTHROPIC_", "CLAUDE", "OPENAI_", "CODEX_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)

    with cast(name, tmp_path / "own", scripted=False) as casting:
        told = "\n".join(casting.told)

    assert "no login or key was found: no network, no cost" in told
    assert f'agent = "{name}"' in casting.config
    assert f'HOME = "{tmp_path / "own"}"' in casting.config


@pytest.mark.parametrize("programs", ["claude"], indirect=True)
def test_with_an_account_it_is_used_and_that_is_said_unless_the_script_is_asked_for(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a key")

    with cast("claude", tmp_path / "own", scripted=False) as own:
        assert "with your own account" in own.told[0]
        assert own.config == 'agent = "claude"\n'
    with cast("claude", tmp_path / "own", scripted=True) as scripted:
        assert "since you ask for it" in scripted.told[1]


def test_the_library_refuses_the_same_way(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="no agent vim"), cast("vim", tmp_path, scripted=False):
        pass


@many_runs
@pytest.mark.timeout(600)
@pytest.mark.parametrize("programs", ["claude", "codex", "opencode"], indirect=True)
def test_the_real_client_brings_all_six_chunks_home(programs: Path, tmp_path: Path) -> None:
    (name,) = (path.name for path in programs.iterdir())

    done = demo(tmp_path, "--agent", name, "--yes", programs=programs)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "the real client" in done.stdout
    assert "6 of 6 DONE" in done.stdout
