"""What an agent asks, as a person answers it: the open questions, and answers written in an editor.

Rule: nothing that a person typed is taken for the answer to another question, and nothing of it is lost:
each question has its own place in the editor's file, and what could not be sent is shown again.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from ve.cli.look import asked_lines
from ve.cli.output import clean
from ve.errors import RefusedError, UsageError

CUT = "# ---- the answer goes above; everything from this line on is left out ----"
SEVERAL = """\
{count} questions, each with its answer below it. What is left empty stays open.
A line `--option 2`, alone, takes the second option."""


class Written(NamedTuple):
    """An answer as it was written: words, or the number of an option."""

    question: str
    text: str

    @property
    def body(self) -> dict[str, Any]:
        """What the daemon is asked."""
        word, _, number = self.text.partition(" ")
        if word == "--option" and number.strip().isdecimal():
            return {"question": self.question, "option": int(number)}
        return {"question": self.question, "text": self.text}


def open_questions(unit: dict[str, Any], wanted: str | None = None) -> list[dict[str, Any]]:
    """Those that nobody has answered yet; with `wanted`, only that one."""
    return [
        question
        for question in unit.get("questions") or ()
        if question["state"] == "open" and wanted in (None, question["id"])
    ]


def ask_back(unit: dict[str, Any], wanted: str | None, what: str) -> UsageError:
    """The error that says what could be answered, and how."""
    chunk, asked = unit["chunk"], open_questions(unit, wanted)
    if not open_questions(unit):
        return UsageError(f"{chunk} asks nothing", hint=f"See it: ve orch work-unit show {chunk}")
    if not asked:
        ids = ", ".join(question["id"] for question in open_questions(unit))
        return UsageError(f"there is no open question {wanted} of {chunk}", hint=f"There are: {ids}")
    several = len(asked) > 1
    lines: list[str] = []
    for question in asked:
        lines += [f"--question {question['id']}"] if several else []
        lines += asked_lines(question)
    name = " --question ID" if several else f" --question {wanted}" if wanted else ""
    lines.append(f"Say it: ve orch answer {chunk}{name} 'TEXT', or --option N, or --edit")
    if several:
        lines.append(f"All of them at once: ve orch answer {chunk} --edit")
    return UsageError(what, hint="\n".join(lines))


def written(unit: dict[str, Any], wanted: str | None) -> list[Written]:
    """The answers as written in the operator's editor. Raises UsageError, RefusedError."""
    asked = open_questions(unit, wanted)
    if not asked:
        raise ask_back(unit, wanted, "")
    if len(asked) == 1:
        text = _edit(f"\n{CUT}\n{_quoted(asked[0], '')}\n").partition(CUT)[0]
        found = [Written(asked[0]["id"], text.strip())]
    else:
        found = _of_several(asked)
    found = [one for one in found if one.text]
    if not found:
        raise RefusedError("the answer is empty; nothing was answered")
    return found


def _of_several(asked: list[dict[str, Any]]) -> list[Written]:
    """One file for all; a line of a question cannot be taken for a mark, because each is quoted."""
    heads = [f"---- question {number} of {len(asked)} ----" for number in range(1, len(asked) + 1)]
    marks = [f"---- your answer to {question['id']} ----" for question in asked]
    parts = ["\n".join(f"> {line}" for line in SEVERAL.format(count=len(asked)).splitlines())]
    for question, head, mark in zip(asked, heads, marks, strict=True):
        parts.append(f"{head}\n{_quoted(question, '> ')}\n{mark}\n\n")
    lines = _edit("\n".join(parts)).splitlines()
    found = []
    for question, mark in zip(asked, marks, strict=True):
        if mark not in lines:
            continue  # whoever takes the line away takes the answer back
        rest = lines[lines.index(mark) + 1 :]
        end = next((place for place, line in enumerate(rest) if line in heads or line in marks), len(rest))
        found.append(Written(question["id"], "\n".join(rest[:end]).strip()))
    return found


def _quoted(question: dict[str, Any], by: str) -> str:
    lines = clean(question["text"]).splitlines()
    lines += [f"{number}. {clean(option)}" for number, option in enumerate(question["options"], 1)]
    if question["context"]:
        lines += ["", *clean(question["context"]).splitlines()]
    return "\n".join(f"{by}{line}" for line in "\n".join(lines).splitlines())


def _edit(content: str) -> str:
    """What an editor makes of it. Raises UsageError, RefusedError."""
    import shlex
    import subprocess
    import tempfile
    from pathlib import Path

    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory(prefix="ve-answer-") as folder:
        path = Path(folder) / "ANSWER.md"
        path.write_text(content, encoding="utf-8")
        try:
            done = subprocess.run([*editor, str(path)], check=False)
        except OSError as error:
            raise UsageError(
                f"{editor[0]} cannot be started: {error.strerror}", hint="Set EDITOR."
            ) from error
        if done.returncode:
            raise RefusedError(f"{editor[0]} ended with {done.returncode}; nothing was answered")
        return path.read_text(encoding="utf-8")
