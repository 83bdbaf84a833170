"""What is checked in a repository of documents: each problem has a rule, a level, a line and a column."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.chunks.generator import Made, make, wanted
from ve.chunks.edit import set_field
from ve.chunks.kinds import KINDS
from ve.chunks.problems import RULES, Problem
from ve.chunks.references import Code
from ve.chunks.reports import as_json, as_sarif, as_text, summary
from ve.chunks.tree import Documents
from ve.chunks.validate import targets, validate
from ve.errors import DocumentError, NotFound

FIELDS = {
    "status": "ACTIVE",
    "code_references": '\n  - ref: src/a.py#Writer::run\n    implements: "The loop"',
    "created_after": "[]",
}
CODE = "class Writer:\n    def run(self):\n        return 1\n"


class Repository:
    """Documents that are right, until a test says otherwise."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file("src/a.py", CODE)

    def file(self, path: str, text: str | bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(text.encode() if isinstance(text, str) else text)

    def chunk(self, name: str, fields: Mapping[str, str] | None = None, /, **more: str) -> None:
        """A chunk; a field with an empty value is left out."""
        said = {**FIELDS, **(fields or {}), **more}
        lines = "".join(f"{field}: {value}\n" for field, value in said.items() if value)
        self.file(f"docs/chunks/{name}/GOAL.md", f"---\n{lines}---\n\n# Chunk Goal\n\nSay it.\n")
        self.file(f"docs/chunks/{name}/PLAN.md", "# Plan\n\n## Approach\n\nIn one step.\n")

    def overview(self, path: str, head: str) -> None:
        self.file(f"docs/{path}/OVERVIEW.md", f"---\n{head}---\n\n# Overview\n")

    def problems(self, *names: str, kind: str | None = None) -> list[Problem]:
        return validate(Documents(self.root), Code(self.root), names or None, kind)

    def said(self, *names: str) -> list[str]:
        """`line:column level rule` of each problem."""
        found = self.problems(*names)
        assert all(problem.rule in RULES for problem in found)
        return [f"{problem.line}:{problem.column} {problem.level} {problem.rule}" for problem in found]


@pytest.fixture
def here(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_documents_that_are_right_have_no_problem(here: Repository) -> None:
    here.chunk("a")
    here.chunk("b", parent_chunk="a", depends_on="[a]", created_after="[a]")
    here.chunk("c", status="FUTURE", code_references="[]", created_after="[b]")
    assert here.problems() == []
    assert validate(Documents(here.root / "nowhere"), None) == []


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("parent_chunk", "gone", "4:15 error unknown-chunk"),
        ("depends_on", "[gone]", "4:14 error unknown-chunk"),
        ("narrative", "gone", "4:12 error unknown-narrative"),
        ("investigation", "'gone'", "4:16 error unknown-investigation"),
        ("subsystems", "[{subsystem_id: 0001-gone, relationship: uses}]", "4:29 error unknown-subsystem"),
        ("friction_entries", "\n- entry_id: F001", "5:13 error unknown-friction"),
    ],
)
def test_what_a_chunk_names_is_there(here: Repository, field: str, value: str, rule: str) -> None:
    here.chunk("a", {"status": "FUTURE", "code_references": "[]", "created_after": "", field: value})
    assert here.said() == [rule]


def test_a_name_that_is_nearly_right_is_suggested(here: Repository) -> None:
    here.chunk("parser")
    here.chunk("b", parent_chunk="0012-parser")
    here.chunk("c", parent_chunk="praser")
    assert [problem.hint for problem in here.problems()] == ["Did you mean parser?"] * 2


def test_a_mistake_is_reported_once_also_where_two_checks_see_it(here: Repository) -> None:
    here.chunk("a", parent_chunk='"no name"')
    assert len(here.problems()) == 1


def test_subsystems_are_found_by_the_ids_of_both_eras(here: Repository) -> None:
    here.overview(
        "subsystems/0001-validation", "status: STABLE\nchunks:\n- {chunk_id: a, relationship: uses}\n"
    )
    here.overview("subsystems/parsing", "status: STABLE\nchunks:\n- {chunk_id: a, relationship: uses}\n")
    here.chunk(
        "a",
        subsystems='\n- {subsystem_id: validation, relationship: uses}\n- {subsystem_id: "0007-parsing", '
        "relationship: uses}",
    )
    assert here.said() == []


def test_links_go_both_ways(here: Repository) -> None:
    here.overview("narratives/story", "status: ACTIVE\nchunks:\n- prompt: x\n  chunk_directory: b\n")
    here.overview("investigations/question", "status: ONGOING\nproposed_chunks: []\n")
    here.overview("subsystems/area", "status: STABLE\nchunks:\n- chunk_id: b\n  relationship: uses\n")
    here.chunk(
        "a",
        narrative="story",
        investigation="question",
        subsystems="\n- subsystem_id: area\n  relationship: implements",
    )
    here.chunk("b")
    found = here.problems()
    assert {problem.rule for problem in found} == {"not-linked-back"}
    assert {problem.level for problem in found} == {"warning"}
    assert [(problem.path.split("/")[2], problem.line, problem.column) for problem in found] == [
        ("a", 7, 12), ("a", 8, 16), ("a", 10, 17), ("story", 5, 20), ("area", 4, 13),
    ]  # fmt: skip


def test_chunks_that_other_documents_name_are_there(here: Repository) -> None:
    here.overview(
        "narratives/story", "status: ACTIVE\nproposed_chunks:\n- {prompt: x, chunk_directory: gone}\n"
    )
    here.overview("subsystems/area", "status: STABLE\nchunks:\n- {chunk_id: gone, relationship: uses}\n")
    assert here.said() == ["4:32 error unknown-chunk", "4:14 error unknown-chunk"]


def test_created_after_names_only_work_that_has_shipped(here: Repository) -> None:
    here.chunk("queued", status="FUTURE", code_references="[]")
    here.chunk("busy", status="IMPLEMENTING", code_references="[]")
    here.chunk("a", created_after="[queued, busy, gone]")
    assert here.said() == ["6:17 error not-shipped", "6:25 warning not-shipped", "6:31 error unknown-chunk"]


@pytest.mark.parametrize("field", ["created_after", "depends_on"])
def test_a_cycle_is_an_error_that_names_it_where_it_can_be_opened(here: Repository, field: str) -> None:
    for name, before in (("a", "c"), ("b", "a"), ("c", "b"), ("d", "a")):
        here.chunk(name, {"created_after": "", field: f"[{before}]"})
    (problem,) = here.problems()
    assert (problem.where, problem.rule) == (f"docs/chunks/a/GOAL.md:6:{len(field) + 4}", "cycle")
    assert "a -> c -> b -> a" in problem.message
    (problem,) = here.problems("b")
    assert "b -> a -> c -> b" in problem.message
    assert here.problems("d") == []


def test_one_chunk_at_most_is_in_work(here: Repository) -> None:
    for name in ("a", "b"):
        here.chunk(name, status="IMPLEMENTING", code_references="[]")
    assert here.said() == ["2:9 error several-implementing"] * 2
    assert here.said("a") == ["2:9 error several-implementing"]


@pytest.mark.parametrize(
    ("status", "level"),
    [("ACTIVE", "error"), ("SUPERSEDED", "warning"), ("HISTORICAL", "warning"), ("COMPOSITE", "warning")],
)
def test_a_reference_that_does_not_resolve_weighs_as_its_chunk_does(
    here: Repository, status: str, level: str
) -> None:
    here.chunk("a", status=status, code_references="\n- ref: src/a.py#Writer::jump\n  implements: it")
    assert here.said() == [f"4:8 {level} unresolved-reference"]


@pytest.mark.parametrize("status", ["FUTURE", "IMPLEMENTING"])
def test_before_the_work_is_done_a_reference_may_lead_nowhere(here: Repository, status: str) -> None:
    here.chunk("a", status=status, code_references="\n- ref: src/later.py#Later\n  implements: it")
    assert here.said() == []


def test_a_reference_without_a_file_is_explained_at_any_time(here: Repository) -> None:
    for status in ("FUTURE", "ACTIVE"):
        here.chunk("a", status=status, code_references='\n- ref: "#Later"\n  implements: it')
        level = "error" if status == "ACTIVE" else "warning"
        assert here.said() == [f"4:8 {level} wrong-reference"]


def test_what_cannot_be_looked_up_is_noted_once_for_a_language(here: Repository) -> None:
    here.file("src/a.cob", "x")
    references = "".join(f"\n- ref: src/a.cob#part{number}\n  implements: it" for number in range(3))
    here.chunk("a", code_references=references)
    (problem,) = here.problems()
    assert (problem.level, problem.rule, problem.line) == ("note", "unchecked-reference", 4)
    assert "2 more" in problem.message


def test_a_chunk_in_force_says_where_it_is_in_the_code(here: Repository) -> None:
    here.chunk("a", code_references="[]")
    assert here.said() == ["3:18 warning missing-reference"]
    here.chunk("a", code_references="[]", bug_type="semantic")
    assert here.said() == ["3:18 error missing-reference"]
    here.chunk("a", status="HISTORICAL", code_references="[]", bug_type="implementation")
    assert here.said() == []


def test_the_repair_of_known_wrong_code_does_not_stay_in_force(here: Repository) -> None:
    here.chunk("a", bug_type="implementation")
    assert here.said() == ["2:9 warning wrong-final-status"]


def test_files_that_a_finished_chunk_names_are_there(here: Repository) -> None:
    here.chunk("a", code_paths='[src, src/*.py, "src/gone.py", ../elsewhere.py]')
    assert here.said() == ["7:29 warning absent-path", "7:44 warning absent-path"]


def test_the_templates_comment_does_not_stay(here: Repository) -> None:
    for status, said in (("ACTIVE", ["8:1 note comment-block"]), ("FUTURE", [])):
        here.chunk("a", status=status, created_after="")
        path = here.root / "docs/chunks/a/GOAL.md"
        path.write_text(path.read_text().replace("\n# Chunk", "\n<!-- status values -->\n# Chunk"))
        assert here.said() == said


def test_both_documents_of_a_chunk_are_there_and_its_name_can_be_typed(here: Repository) -> None:
    here.chunk("planless", status="FUTURE", code_references="[]")
    (here.root / "docs/chunks/planless/PLAN.md").unlink()
    (here.root / "docs/chunks/goalless").mkdir()
    here.chunk("no name")
    found = {(problem.path, problem.rule, problem.level) for problem in here.problems()}
    assert found == {
        ("docs/chunks/planless/PLAN.md", "missing-plan", "warning"),
        ("docs/chunks/goalless/GOAL.md", "missing-document", "error"),
        ("docs/chunks/goalless/PLAN.md", "missing-plan", "warning"),
        ("docs/chunks/no name/GOAL.md", "wrong-folder-name", "error"),
    }


def test_comments_in_the_code_lead_to_documents_that_are_there(here: Repository) -> None:
    here.chunk("a")
    here.file(
        "src/b.py",
        "# Chunk: docs/chunks/a - fine\nif True:\n        # Chunk: docs/chunks/gone/ - lost\n"
        "    x = 'docs/chunks/other'\n"
        '    """\n# Chunk: docs/chunks/in_a_text\n"""\n',
    )
    here.file("src/c.ts", "// ü\n  // Subsystem: docs/subsystems/0003-gone\n")
    here.file("README.md", "# Chunk: docs/chunks/gone\n")
    assert [(one.where, one.rule, one.level) for one in here.problems()] == [
        ("src/b.py:3:18", "lost-back-reference", "warning"),
        ("src/c.ts:2:17", "lost-back-reference", "warning"),
    ]
    assert here.problems("a") == []


def test_only_the_named_documents_are_checked_by_name_or_folder(here: Repository) -> None:
    here.chunk("a", narrative="gone")
    here.chunk("b", narrative="gone")
    assert {problem.path for problem in here.problems("docs/chunks/b/")} == {"docs/chunks/b/GOAL.md"}
    with pytest.raises(NotFound):
        here.problems("c")
    here.overview("narratives/story", "status: DONE\n")
    assert [one.path for one in here.problems("story", kind="narrative")] == [
        "docs/narratives/story/OVERVIEW.md"
    ]
    assert targets(Documents(here.root), None, "narrative") == [("narrative", "story")]


# ── Repositories of all eras ───────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, list[Problem]]:
    """300 documents of all eras with every defect that the generator knows."""
    made = make(tmp_path_factory.mktemp("planted"), chunks=300, seed=11, defects=wanted("all"))
    return made, validate(Documents(made.root), Code(made.root))


def test_every_planted_defect_is_reported_on_its_line(planted: tuple[Made, list[Problem]]) -> None:
    made, problems = planted
    said: dict[tuple[str, int], set[str]] = {}
    for problem in problems:
        said.setdefault((problem.path, problem.line), set()).add(problem.rule)
    missed = [one for one in made.defects if not said.get((one.path, one.line), set()) & set(one.rules)]
    assert not missed


def test_nothing_is_reported_but_the_defects_and_what_an_era_wrote(
    planted: tuple[Made, list[Problem]],
) -> None:
    made, problems = planted
    with_defects = {one.path for one in made.defects}
    others = {one.rule for one in problems if one.path not in with_defects}
    assert others <= {"old-code-reference"}


def test_every_problem_has_a_place_in_its_file_a_known_rule_and_a_sentence(
    planted: tuple[Made, list[Problem]],
) -> None:
    made, problems = planted
    for problem in problems:
        path = made.root / problem.path
        lines = path.read_bytes().decode("utf-8", "replace").split("\n") if path.is_file() else [""]
        assert 1 <= problem.line <= len(lines), problem
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1, problem
        assert problem.rule in RULES and problem.message.strip(), problem


@pytest.mark.parametrize("seed", [1, 2])
def test_a_repository_without_defects_is_valid_whatever_its_age(tmp_path: Path, seed: int) -> None:
    made = make(tmp_path, chunks=150, seed=seed)
    found = validate(Documents(made.root), Code(made.root))
    assert {problem.rule for problem in found} <= {"old-code-reference"}
    assert not [problem for problem in found if problem.level == "error"]
    made = make(tmp_path / "later", chunks=100, seed=seed, eras=(1, 2, 3))
    assert validate(Documents(made.root), Code(made.root)) == []


def test_every_document_set_to_its_own_values_is_the_same_to_the_byte(
    planted: tuple[Made, list[Problem]],
) -> None:
    made, _ = planted
    documents = Documents(made.root)
    done = refused = 0
    for kind in KINDS:
        for name in documents.names(kind):
            read = documents.read(kind, name)
            if read.value is None:
                continue
            path, text = documents.path(kind, name), documents.bytes(kind, name)
            broken = {problem.field.partition("[")[0] for problem in read.problems}
            for field in read.head.fields:
                value = getattr(read.value, field, None)
                plain = isinstance(value, str | bool) or value is None
                names = isinstance(value, tuple) and all(isinstance(one, str) for one in value)
                if field in broken or not hasattr(read.value, field) or not (plain or names):
                    continue
                try:
                    assert set_field(text, field, value, path) == text, (path, field)
                    done += 1
                except DocumentError:
                    refused += 1
                    assert any(problem.level == "error" for problem in read.problems), (path, field)
    assert done > 2000
    assert refused < 60


@pytest.mark.parametrize("seed", range(6))
def test_documents_with_bytes_changed_at_random_stop_no_check(tmp_path: Path, seed: int) -> None:
    made = make(tmp_path, chunks=120, seed=seed)
    source = random.Random(seed)
    pieces = [
        b"",
        b"\n",
        b"- ",
        b": ",
        b"[",
        b"]",
        b"{",
        b"'",
        b'"',
        b"\t",
        b"\0",
        b"\xff",
        b"&a ",
        b"*a",
        b"|",
        b"#",
    ]
    for path in made.documents:
        text = (made.root / path).read_bytes()
        for _ in range(source.randint(1, 4)):
            at = source.randrange(min(len(text), 400) + 1)
            text = text[:at] + source.choice(pieces) + text[at + source.choice((0, 0, 1, 5)) :]
        (made.root / path).write_bytes(text)
    found = validate(Documents(made.root), Code(made.root))
    assert found and all(problem.rule in RULES for problem in found)
    json.dumps(as_sarif(found, "1.0"), ensure_ascii=False).encode()


def test_the_same_arguments_make_the_same_repository(tmp_path: Path) -> None:
    made = [
        make(tmp_path / str(number), chunks=60, seed=seed, defects=wanted("all"))
        for number, seed in enumerate((3, 3, 4))
    ]
    contents = [
        {path.relative_to(one.root): path.read_bytes() for path in one.root.rglob("*") if path.is_file()}
        for one in made
    ]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]
    assert made[0].defects == made[1].defects


# ── Reports ────────────────────────────────────────────────────────────────────────────────────────

PROBLEMS = [
    Problem(path="docs/ü b/GOAL.md", line=3, column=9, rule="wrong-value", message="`a` is 'b'", hint="Do c"),
    Problem(path="x.py", rule="lost-back-reference", message="byte \udcff", level="warning"),
]


def test_text_has_a_line_for_each_problem_as_compilers_write_it() -> None:
    assert as_text(PROBLEMS) == [
        "docs/ü b/GOAL.md:3:9: error: `a` is 'b' [wrong-value]",
        "    Do c",
        "x.py:1:1: warning: byte � [lost-back-reference]",
    ]
    assert summary(PROBLEMS, 1200) == "1 error, 1 warning in 1,200 documents"
    assert summary([], 1) == "nothing is wrong in 1 document"


def test_json_says_the_same_with_names_and_counts() -> None:
    told = as_json(PROBLEMS, 2)
    assert (told["documents"], told["errors"], told["warnings"], told["notes"]) == (2, 1, 1, 0)
    assert told["problems"][0] == {
        "path": "docs/ü b/GOAL.md", "line": 3, "column": 9, "level": "error", "rule": "wrong-value",
        "field": "", "message": "`a` is 'b'", "hint": "Do c",
    }  # fmt: skip
    json.dumps(told, ensure_ascii=False).encode()


def test_sarif_has_what_editors_and_ci_ask_for(planted: tuple[Made, list[Problem]]) -> None:
    _, problems = planted
    check_sarif(as_sarif(PROBLEMS, "1.0"))
    log = as_sarif(problems, "1.0")
    check_sarif(log)
    assert len(log["runs"][0]["results"]) == len(problems)
    assert (
        as_sarif(PROBLEMS, "1.0")["runs"][0]["results"][0]["locations"][0]["physicalLocation"][
            "artifactLocation"
        ]["uri"]
        == "docs/%C3%BC%20b/GOAL.md"
    )


def check_sarif(log: Mapping[str, object]) -> None:
    """The structure of SARIF 2.1.0, as far as editors need it."""
    log = json.loads(json.dumps(log, ensure_ascii=False).encode())
    assert log["version"] == "2.1.0" and str(log["$schema"]).endswith("sarif-2.1.0.json")
    (run,) = log["runs"]  # type: ignore[misc]
    rules = run["tool"]["driver"]["rules"]
    assert run["tool"]["driver"]["name"] == "ve"
    assert run["columnKind"] == "unicodeCodePoints"
    assert len({rule["id"] for rule in rules}) == len(rules)
    assert all(rule["shortDescription"]["text"] for rule in rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert (
            not place["artifactLocation"]["uri"].startswith("/")
            and " " not in place["artifactLocation"]["uri"]
        )
        assert place["region"]["startLine"] >= 1 and place["region"]["startColumn"] >= 1
