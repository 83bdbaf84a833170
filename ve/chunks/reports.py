"""Problems for people, scripts, and editors and CI: as text, as JSON, as SARIF 2.1.0.

Rule: the three say the same. Texts of documents can hold anything; what is no character is replaced here,
so every report is valid UTF-8.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import quote

from ve.chunks.problems import RULES, Problem

LEVELS: Final = ("error", "warning", "note")
SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def counts(problems: Iterable[Problem]) -> dict[str, int]:
    """How many there are of each level."""
    found = Counter(problem.level for problem in problems)
    return {level: found[level] for level in LEVELS}


def summary(problems: Sequence[Problem], checked: int) -> str:
    """One line: how many of each level, in how many documents."""
    said = [_counted(number, level) for level, number in counts(problems).items() if number]
    return f"{', '.join(said) or 'nothing is wrong'} in {_counted(checked, 'document')}"


def as_text(problems: Iterable[Problem]) -> list[str]:
    """A line each as compilers write it, `path:line:column: level: message [rule]`, then what to do."""
    lines = []
    for problem in problems:
        said = f"{problem.where}: {problem.level}: {problem.message} [{problem.rule}]"
        lines += [whole(said), *(whole(f"    {line}") for line in problem.hint.splitlines())]
    return lines


def as_json(problems: Sequence[Problem], checked: int) -> dict[str, Any]:
    """The problems with their fields, and the counts."""
    return {
        "documents": checked,
        **{f"{level}s": number for level, number in counts(problems).items()},
        "problems": [
            {
                "path": whole(problem.path),
                "line": problem.line,
                "column": problem.column,
                "level": problem.level,
                "rule": problem.rule,
                "field": whole(problem.field),
                "message": whole(problem.message),
                "hint": whole(problem.hint),
            }
            for problem in problems
        ],
    }


def as_sarif(problems: Sequence[Problem], version: str) -> dict[str, Any]:
    """A SARIF 2.1.0 log of one run; columns count characters, paths are relative to the repository."""
    rules = sorted({problem.rule for problem in problems})
    place = {rule: number for number, rule in enumerate(rules)}
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "ve",
                        "semanticVersion": version,
                        "rules": [
                            {"id": rule, "shortDescription": {"text": RULES.get(rule, rule)}}
                            for rule in rules
                        ],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(problem, place[problem.rule]) for problem in problems],
            }
        ],
    }


def whole(text: str) -> str:
    """The text with a replacement mark for what is no character (bytes that were not UTF-8)."""
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _result(problem: Problem, place: int) -> dict[str, Any]:
    text = f"{problem.message}\n{problem.hint}" if problem.hint else problem.message
    return {
        "ruleId": problem.rule,
        "ruleIndex": place,
        "level": problem.level,
        "message": {"text": whole(text)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(os.fsencode(problem.path)), "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": problem.line, "startColumn": problem.column},
                }
            }
        ],
    }


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
