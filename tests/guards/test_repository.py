"""What must stay true of the repository as a whole, whoever changes it."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SKIPPED = {".git", ".venv", ".ve", "node_modules", "build", "dist", "site"}
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".sql", ".js", ".css", ".html", ".txt", ".cfg", ""}


def files(*folders: str, suffix: str | None = None) -> list[Path]:
    roots = [ROOT / folder for folder in folders] or [ROOT]
    found = []
    for root in roots:
        for path in sorted(root.rglob("*")):
            parts = path.relative_to(ROOT).parts
            hidden = any(part in SKIPPED or part.endswith("cache") or part == "__pycache__" for part in parts)
            if path.is_file() and not hidden and (suffix is None or path.suffix == suffix):
                found.append(path)
    return found


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def calls(path: Path) -> list[tuple[str, int, object]]:
    """What a file calls: the name after the last dot, the line, the first argument if it is plain."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            function = node.func
            argument = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            if isinstance(function, ast.Attribute):
                found.append((function.attr, node.lineno, argument))
            elif isinstance(function, ast.Name):
                found.append((function.id, node.lineno, argument))
    return found


def test_no_file_of_the_package_is_longer_than_500_lines() -> None:
    long = {
        name(path): lines
        for path in files("ve")
        if path.suffix in TEXT and (lines := path.read_bytes().count(b"\n")) > 500
    }
    assert not long


def test_a_unit_is_published_in_exactly_one_file() -> None:
    """`on_next` is called in ve/stream.py and nowhere else, so no call site can forget the feed."""
    callers = {
        name(path)
        for path in files("ve", suffix=".py")
        if any(called == "on_next" for called, _, _ in calls(path))
    }
    assert callers == {"ve/stream.py"}


POLLS = {
    "tests/proc/conftest.py": "`until` looks at processes that nothing tells of; it ends with the condition"
}


def test_tests_wait_for_events_and_never_for_time() -> None:
    """`sleep(0)`, which only lets others run, is not waiting for time; benchmarks keep a rate."""
    sleepers = [
        f"{name(path)}:{line}"
        for path in files("tests", suffix=".py")
        if "bench" not in path.parts and name(path) not in POLLS
        for called, line, argument in calls(path)
        if called == "sleep" and argument != 0
    ]
    assert not sleepers


def test_no_package_registry_is_named_and_no_lock_file_is_kept() -> None:
    hosts = re.compile(
        r"(?:files\.)?python"
        + r"hosted\.org|(?:test\.)?py"
        + r"pi\.(?:org|python)|registry\.npm"
        + r"js|deb\.deb"
        + r"ian"
    )
    naming = [
        name(path)
        for path in files()
        if path.suffix in TEXT and hosts.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert not naming
    locks = re.compile(r".*\.lock|.*-lock\.(?:json|yaml)|requirements.*\.txt", re.IGNORECASE)
    assert not [name(path) for path in files() if locks.fullmatch(path.name)]


def test_nothing_is_left_for_later_in_the_package() -> None:
    marks = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XXX)\b")
    marked = [
        f"{name(path)}:{number}"
        for path in files("ve", suffix=".py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if marks.search(line)
    ]
    assert not marked


def test_the_readme_has_two_commands_of_one_line_that_start_from_nothing() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = dict(re.findall(r"^(demo|test): `([^`\n]+)`$", text, re.MULTILINE))
    assert set(found) == {"demo", "test"}
    for command in found.values():
        # `python3 -m venv` without --without-pip fails where Debian's python3-venv is missing, and
        # pip outside an environment fails where PEP 668 forbids it.
        assert command.startswith(
            "python3 -m venv --without-pip .venv && python3 -m pip --python .venv install -q -e "
        )
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "README.md" in script, "CI runs what the README says"


TABLE_ROW = re.compile(r"^\|(?P<cells>.+)\|\s*$")
REFERENCE = re.compile(r"`([^`]+)`")


def rows(text: str) -> list[tuple[int, str, str]]:
    """(line, sentence, shown by) of every table whose header has these two columns."""
    found: list[tuple[int, str, str]] = []
    columns: tuple[int, int] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        matched = TABLE_ROW.match(line)
        if not matched:
            columns = None
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", matched["cells"])]
        lowered = [cell.lower() for cell in cells]
        if "sentence" in lowered and "shown by" in lowered:
            columns = lowered.index("sentence"), lowered.index("shown by")
        elif columns and not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            wide = len(cells) > max(columns)
            found.append((number, cells[columns[0]], cells[columns[1]] if wide else ""))
    return found


def recipes() -> set[str]:
    text = (ROOT / "justfile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][\w-]*)[^:=\n]*:(?!=)", text, re.MULTILINE))


def problem(reference: str) -> str | None:
    """Why what is named does not exist; None if it does, or if it is no kind of thing checked here."""
    if reference.startswith("tests/"):
        path, *inner = reference.split("::")
        if not (ROOT / path).exists():
            return f"there is no file {path}"
        defined = (
            set(re.findall(r"^\s*(?:async )?(?:def|class) (\w+)", (ROOT / path).read_text(), re.MULTILINE))
            if inner
            else set()
        )
        gone = [part for part in inner if part.partition("[")[0] not in defined]
        return f"{path} has no {gone[0]}" if gone else None
    if reference.startswith("just "):
        recipe = reference.split()[1]
        return None if recipe in recipes() else f"the justfile has no recipe {recipe}"
    if reference.startswith("ve "):
        known = "".join(path.read_text(encoding="utf-8") for path in files("ve/cli", suffix=".py"))
        words = itertools.takewhile(re.compile(r"[a-z][a-z-]*").fullmatch, reference.split()[1:])
        gone = next((word for word in words if not re.search(rf"\b{word}\b", known)), None)
        return f"the command line has no {gone}" if gone and known else None
    return f"{reference} is neither a test, nor `just …`, nor `ve …`"


def judged(shown_by: str) -> str | None:
    references = REFERENCE.findall(shown_by)
    gap = re.match(r"gap\b\W*(.*)", shown_by, re.IGNORECASE)
    if gap:
        return None if len(gap[1].split()) >= 3 else "a gap needs its reason"
    if not references:
        return "names no test and no command"
    return next((why for why in map(problem, references) if why), None)


@pytest.mark.parametrize("page", ["docs/design/acceptance.md"])
def test_every_sentence_of_the_acceptance_page_is_shown_by_something_that_exists(page: str) -> None:
    path = ROOT / page
    assert path.is_file(), f"{page} is missing"
    found = rows(path.read_text(encoding="utf-8"))
    assert found, f"{page} has no table with the columns `sentence` and `shown by`"
    wrong = [f"{page}:{line}: {sentence}: {why}" for line, sentence, by in found if (why := judged(by))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("shown_by", "verdict"),
    [
        ("`tests/guards/test_repository.py`", None),
        ("`tests/guards/test_repository.py::test_no_file_of_the_package_is_longer_than_500_lines`", None),
        ("`tests/guards/test_repository.py::test_gone`", "has no test_gone"),
        ("`tests/gone.py::test_gone`", "there is no file"),
        ("`just ci`, `ve demo`", None),
        ("`just fly`", "no recipe fly"),
        ("by hand", "names no test"),
        ("gap", "needs its reason"),
        ("gap: no machine with macOS here", None),
        ("`make`", "neither a test"),
    ],
)
def test_the_acceptance_guard_tells_real_proof_from_none(shown_by: str, verdict: str | None) -> None:
    why = judged(rows(f"| sentence | shown by |\n|---|---|\n| a | {shown_by} |\n")[0][2])
    assert (why is None) if verdict is None else (why is not None and verdict in why)
