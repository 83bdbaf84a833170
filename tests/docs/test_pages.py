"""The documentation says what the code does, and leads nowhere that is not there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from ve.chunks import typed
from ve.chunks.kinds import KINDS, Kind
from ve.chunks.problems import RULES

ROOT = Path(__file__).parent.parent.parent
MADE = {
    name: make
    for maker in ("build.py", "generate_documents.py")
    for name, make in runpy.run_path(str(ROOT / "docs" / maker))["PAGES"].items()
}
WRITTEN = [ROOT / "README.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_page_made_from_the_code_is_as_the_code_would_make_it(name: str) -> None:
    page = ROOT / "docs" / "reference" / name
    assert page.read_text(encoding="utf-8") == MADE[name](), "run: just docs"


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_the_reference_of_a_document_names_each_field_and_its_example_is_read_without_a_problem(
    kind: Kind,
) -> None:
    page = (ROOT / "docs" / "reference" / "documents" / f"{kind.name}.md").read_text(encoding="utf-8")
    table, _, rest = page.partition("## Text")
    named = set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE))
    assert named == set(kind.type.__struct_fields__)
    example = re.findall(r"^```yaml\n(.*?)^```", rest, re.MULTILINE | re.DOTALL)[0]
    found = typed.read(example, kind.path("an_example"), kind)
    assert found.value is not None and not found.problems


def test_every_rule_of_the_check_is_on_its_page() -> None:
    page = (ROOT / "docs" / "reference" / "documents" / "rules.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE)) == set(RULES)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_between_pages_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://|mailto:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_every_recipe_has_a_comment() -> None:
    lines = (ROOT / "justfile").read_text(encoding="utf-8").splitlines()
    bare = [
        line
        for before, line in zip(["", *lines], lines, strict=False)
        if re.match(r"[a-z][\w-]*[^:=]*:(?!=)", line) and not before.startswith("# ")
    ]
    assert not bare


def test_every_dependency_says_why_it_is_there() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[<>=~! ]", item)[0].lower() for item in wanted}
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert names == set(re.findall(r"^\| `([\w.-]+)` \|", page, re.MULTILINE))
