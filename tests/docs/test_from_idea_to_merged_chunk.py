"""The how-to is a session that happens: its commands are typed, its files written, its outputs compared.

```sh            typed into a shell; `exits 1` where it is to fail
```text          what that printed; a line `…` stands for any lines
```markdown PATH the sections of that file
```yaml PATH     the fields of that file's head
```toml PATH     that whole file, also of other languages
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "from-idea-to-merged-chunk.md"
VARYING = (
    (r"127\\\.0\\\.0\\\.1:\d+/login\\\?code=…", r"127\.0\.0\.1:\\d+/login\\?code=\\S+"),
    (r"waits\\ \d+s", r"waits\\ \\d+s"),
    (r"approved\\ as\\ [0-9a-f]{16}", r"approved\\ as\\ [0-9a-f]{16}"),
    (r"operator:you(?:\\ )+", r"operator:\\S+ +"),
    (r"actor(?:\\ )+", r"actor +"),
)


class Block(NamedTuple):
    """A fenced block: its language, what is said after it, its lines."""

    language: str
    about: str
    text: str


def blocks() -> list[Block]:
    found = re.findall(r"^```(\w+) ?(.*)\n((?:.*\n)*?)```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [Block(*each) for each in found]


def pattern(expected: str) -> re.Pattern[str]:
    lines = []
    for line in expected.splitlines():
        said = r"(?:.*\n)*?" if line == "…" else re.escape(line) + r"\n"
        for varying, allowed in VARYING:
            said = re.sub(varying, allowed, said)
        lines.append(said)
    return re.compile("".join(lines))


def write(file: Path, block: Block) -> None:
    if block.language == "markdown":
        for heading, said in re.findall(r"^(## .+\n)((?:(?!## ).*\n)*)", block.text, re.MULTILINE):
            replace(file, rf"{heading}\n<!-- .* -->\n", heading + said)
    elif block.language == "yaml":
        for name, said in re.findall(r"^(\w+:)(.*\n(?: .*\n)*)", block.text, re.MULTILINE):
            replace(file, rf"^{name}.*\n", name + said)
    else:
        file.write_text(block.text)


def replace(file: Path, what: str, text: str) -> None:
    """One place of the file, the first that there is."""
    changed, number = re.subn(what, lambda _: text, file.read_text(), count=1, flags=re.MULTILINE)
    assert number == 1, f"{file} has no {what}"
    file.write_text(changed)


def question_asked(repository: Path, env: dict[str, str]) -> None:
    """Wait until the daemon says that a unit needs somebody."""
    words = ["ve", "orch", "tail", "--follow", "-n", "100"]
    told = subprocess.Popen(words, cwd=repository, env=env, stdout=subprocess.PIPE, text=True)
    assert told.stdout is not None
    try:
        assert any("NEEDS_ATTENTION" in line for line in told.stdout)
    finally:
        told.terminate()
        told.communicate()


def test_each_command_of_the_page_does_and_prints_what_the_page_says(
    tmp_path: Path, shell: dict[str, str]
) -> None:
    repository = tmp_path / "shop"
    (repository / "shop").mkdir(parents=True)
    (repository / "shop" / "price.py").write_text("def total(amounts):\n    return sum(amounts)\n")
    for words in (["init", "-qb", "main"], ["add", "-A"], ["commit", "-qm", "A shop"]):
        subprocess.run(["git", *words], cwd=repository, env=shell, check=True)

    printed = ""
    page = blocks()
    assert sum(block.language == "text" for block in page) > 10
    for block in page:
        if block.language == "sh":
            if block.text.startswith("ve orch attention"):
                question_asked(repository, shell)
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.text], cwd=repository, env=shell, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            printed = done.stdout
            assert done.returncode == (1 if block.about == "exits 1" else 0), f"{block.text}\n{printed}"
        elif block.language == "text":
            assert pattern(block.text).fullmatch(printed), f"the page says:\n{block.text}\nit was:\n{printed}"
        elif block.about:
            write(repository / block.about, block)
    assert "with_vat" in (repository / "shop" / "price.py").read_text()


def test_the_expression_for_an_editor_finds_the_places_that_validate_prints() -> None:
    from ve.chunks.problems import Problem
    from ve.chunks.reports import as_text

    said = re.search(r'"regexp": "(.+)"', PAGE.read_text(encoding="utf-8"))
    assert said is not None
    place = "docs/chunks/a/GOAL.md"
    problem = Problem(path=place, line=3, column=8, rule="yaml", message="wrong", level="warning")
    found = re.match(said[1].replace("\\\\", "\\"), as_text([problem])[0])
    assert found is not None and found.groups() == (place, "3", "8", "warning", "wrong [yaml]")
