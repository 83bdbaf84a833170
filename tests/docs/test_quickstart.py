"""The quickstart works as it is written: its blocks are typed into a shell, one after the other."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def shell_blocks(page: Path) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_quickstart_works_as_it_is_written(tmp_path: Path, shell: dict[str, str]) -> None:
    install, *steps = shell_blocks(ROOT / "docs" / "quickstart.md")
    assert "pip" in install, "the first block installs, which the README's lines do in CI"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(steps)],
        cwd=tmp_path,
        env=shell,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    repository = tmp_path / "hello"
    assert (repository / "greet.py").read_text() == 'print("hello")\n'
    assert "status: ACTIVE" in (repository / "docs/chunks/greeting/GOAL.md").read_text()
    assert re.search(r"^greeting +COMPLETE +DONE ", done.stdout, re.MULTILINE)
    assert not list(tmp_path.rglob("daemon.json")), "the last step stops the daemon"
