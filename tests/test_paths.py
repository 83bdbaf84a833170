"""Where everything of a repository lies, from any place inside it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ve.errors import NotFound, RefusedError
from ve.paths import SOCKET_PATH_LIMIT, check_socket_dir, find, make_socket_dir


def git(folder: Path, *args: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", *args],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


def test_all_state_lies_in_gits_own_folder(repo: Path) -> None:
    places = find(repo)
    assert places.common_dir == repo / ".git"
    assert places.main_worktree == repo
    assert places.worktrees_root == repo / ".ve" / "worktrees"
    state = repo / ".git" / "ve"
    assert places.state_dir == state
    assert places.history == state / "history.duckdb"
    assert places.token == state / "token"
    assert places.config_file == state / "config.toml"
    assert places.daemon_json == state / "daemon.json"
    assert places.daemon_lock == state / "daemon.lock"
    assert places.log == state / "daemon.log"
    assert places.runs_dir == state / "runs"


def test_looking_creates_nothing(repo: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    places = find(repo, environ={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert sorted(tmp_path.rglob("*")) == before
    assert not places.socket.parent.exists()


def test_every_subfolder_file_and_worktree_leads_to_the_same_places(repo: Path, tmp_path: Path) -> None:
    deep = repo / "a" / "b c"
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    linked = tmp_path / "linked"
    git(repo, "worktree", "add", "-q", str(linked))
    (linked / "sub").mkdir()
    inside = repo / ".ve" / "worktrees" / "one-1"
    git(repo, "worktree", "add", "-q", str(inside))
    link = tmp_path / "symlink"
    link.symlink_to(repo)
    starts = [deep, deep / "file", linked, linked / "sub", inside, repo / ".git" / "refs", link]
    assert {find(start) for start in starts} == {find(repo)}


def test_the_common_folder_is_the_one_that_git_names(repo: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    git(repo, "worktree", "add", "-q", str(linked))
    assert str(find(linked).common_dir) == git(
        linked, "rev-parse", "--path-format=absolute", "--git-common-dir"
    )


def test_a_bare_repository_has_its_worktrees_beside_it(repo: Path, tmp_path: Path) -> None:
    bare = tmp_path / "shared.git"
    git(tmp_path, "clone", "-q", "--bare", str(repo), str(bare))
    linked = tmp_path / "work"
    git(bare, "worktree", "add", "-q", str(linked), "main")
    places = find(bare)
    assert places.main_worktree is None
    assert places.common_dir == bare
    assert places.worktrees_root == tmp_path / ".ve-shared" / "worktrees"
    assert find(linked) == places


def test_a_bare_repository_kept_as_dot_git_has_no_main_worktree(repo: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    git(tmp_path, "clone", "-q", "--bare", str(repo), str(home / ".git"))
    places = find(home)
    assert places.main_worktree is None
    assert places.worktrees_root == home / ".ve-git" / "worktrees"


def test_a_submodule_is_a_repository_of_its_own(repo: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repo), "sub")
    places = find(outer / "sub")
    assert places.main_worktree == outer / "sub"
    assert places.common_dir == outer / ".git" / "modules" / "sub"
    assert find(outer / ".git" / "modules" / "sub") == places


def test_a_separate_git_folder_works_from_its_worktree_and_explains_itself_elsewhere(tmp_path: Path) -> None:
    work, store = tmp_path / "work", tmp_path / "store"
    git(tmp_path, "init", "-q", f"--separate-git-dir={store}", str(work))
    assert find(work).main_worktree == work
    assert find(work).common_dir == store
    with pytest.raises(NotFound, match=r"does not say where its main worktree is"):
        find(store)
    git(work, "config", "core.worktree", str(work))
    assert find(store) == find(work)


def test_git_dir_in_the_environment_is_never_obeyed(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_COMMON_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert find(repo).common_dir == repo / ".git"


def test_outside_a_repository_the_error_names_the_folder_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        find(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "git init" in caught.value.hint


def test_an_empty_dot_git_folder_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    with pytest.raises(NotFound):
        find(tmp_path)


def test_a_worktree_whose_repository_was_moved_says_how_to_repair_it(repo: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    git(repo, "worktree", "add", "-q", str(linked))
    repo.rename(tmp_path / "moved")
    with pytest.raises(NotFound) as caught:
        find(linked)
    assert "git worktree repair" in caught.value.hint


@pytest.mark.parametrize("start", ["\0", "x" * 5000])
def test_a_path_that_no_system_call_takes_is_not_found(start: str) -> None:
    with pytest.raises(NotFound):
        find(Path(start))


def test_a_socket_of_a_repository_300_characters_deep_can_be_bound(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("é" * 100) / ("f" * 100)
    deep.mkdir(parents=True)
    git(deep, "init", "-q")
    runtime = tmp_path / "run"
    runtime.mkdir()
    path = find(deep, environ={"XDG_RUNTIME_DIR": str(runtime)}).socket
    assert len(os.fsencode(path)) <= SOCKET_PATH_LIMIT
    make_socket_dir(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def test_a_runtime_folder_that_is_missing_relative_or_too_long_is_passed_over(
    repo: Path, tmp_path: Path
) -> None:
    long = tmp_path / ("r" * 120)
    long.mkdir()
    fallback = Path(f"/tmp/ve-{os.geteuid()}")
    for value in ("", "run", str(tmp_path / "absent"), str(long)):
        assert find(repo, environ={"XDG_RUNTIME_DIR": value}).socket.parent == fallback


def test_two_repositories_never_share_a_socket(repo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    assert find(repo).socket != find(other).socket


def test_the_socket_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = make_socket_dir(tmp_path / "ve" / "x.sock")
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    make_socket_dir(tmp_path / "ve" / "x.sock")
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_socket_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "ve").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RefusedError, match="not a folder"):
        make_socket_dir(tmp_path / "ve" / "x.sock")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder that is somebody else's")
def test_a_socket_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "ve"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    with pytest.raises(RefusedError, match="belongs to user 65534"):
        check_socket_dir(folder)


def test_finding_loads_neither_git_nor_subprocess_nor_msgspec() -> None:
    code = "import sys, pathlib, ve.paths; ve.paths.find(pathlib.Path('.'))\nprint(*sys.modules)"
    repo = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=repo)
    loaded = done.stdout.split()
    if done.returncode:  # a copy without its .git folder: the import alone is then the claim
        assert "NotFound" in done.stderr
        return
    assert not {"dulwich", "subprocess", "msgspec", "asyncio", "duckdb"} & set(loaded)
