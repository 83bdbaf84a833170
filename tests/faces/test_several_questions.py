"""Several questions at once, as a person meets them: on the command line, in the editor, on the board."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faces.browser import CHROMIUM, browser
from tests.faces.conftest import Api
from tests.faces.conftest import Project as Plain
from tests.faces.terminal import Terminal, project

ASKER = """
import os, sys
from pathlib import Path
import msgspec
from ve.agents import script_agent
from ve.agents.base import Job
job = msgspec.json.decode((Path(os.environ["VE_RUN_DIR"]) / "job.json").read_bytes(), type=Job)
if job.phase != "IMPLEMENT":
    sys.exit(script_agent.main())
tools = script_agent.Tools()
script_agent.say(type="model", text="I begin")
if job.answers:
    text = "".join(f"{one.text} {one.answer}\\n" for one in job.answers)
    (Path(job.worktree) / "answers.txt").write_text(text)
else:
    tools.call("AskOperator", {"questions": [
        {"question": "Which colour?", "options": ["red", "blue"], "context": "The logo has both."},
        {"question": "Which size?\\n---- question 1 of 2 ----", "options": ["S", "L"]}]})
tools.close()
script_agent.say(type="finished", ok=True, message="")
"""


EDITOR = f"""#!{sys.executable}
import sys
from pathlib import Path
place = Path(sys.argv[1])
text = place.read_text()
Path("../seen.md").write_text(text)
marks = [line for line in text.splitlines() if line.startswith("---- your answer")]
for mark, answer in zip(marks, ["red,\\n\\nbut dark", "--option 2"], strict=True):
    text = text.replace(mark, mark + "\\n" + answer)
place.write_text(text)
"""


def settings(folder: Path) -> dict[str, str]:
    """A project whose agent asks two questions in one call."""
    asker = folder / "asker.py"
    asker.write_text(ASKER)
    command = json.dumps(shlex.join([sys.executable, "-I", str(asker)]))
    return {"ve.toml": f"[agents.script]\ncommand = {command}\n"}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Terminal]:
    """A unit that has asked."""
    given = project(tmp_path / "repo")
    given.commit(settings(tmp_path))
    given.chunk("asks")
    desk = Terminal(given.root)
    desk.start()
    try:
        desk.said("orch", "inject", "asks")
        desk.until(lambda units: "asks" in units and len(units["asks"]["questions"]) == 2)
        yield desk
    finally:
        desk.end()


def ids(desk: Terminal) -> list[str]:
    return [
        question["id"] for question in desk.json("orch", "work-unit", "show", "asks")["unit"]["questions"]
    ]


def test_every_face_shows_all_of_them_and_an_answer_must_name_its_question(desk: Terminal) -> None:
    colour, size = ids(desk)
    shown = [desk.said("orch", "attention"), desk.said("orch", "work-unit", "show", "asks")]
    asked_back = desk.ve("orch", "answer", "asks", "red")
    assert asked_back.returncode == 2
    assert "asks asks several questions; which one is it?" in asked_back.stderr
    for text in (*shown, asked_back.stderr):
        for part in (
            colour,
            size,
            "Which colour?",
            "  2. blue",
            "The logo has both.",
            "Which size?",
            "  1. S",
        ):
            assert part in text
    assert f"> ve orch answer asks --question {size} 'TEXT'" in shown[0]
    assert "> ve orch answer asks --edit" in shown[0]

    desk.said("orch", "answer", "asks", "--question", size, "--option", "2")
    wrong = desk.ve("orch", "answer", "asks", "--question", size, "again")
    assert wrong.returncode == 1 and "there is no open question" in wrong.stderr
    desk.said("orch", "answer", "asks", "dark red")
    desk.status("asks", "DONE")
    answers = (desk.root / "answers.txt").read_text()
    assert answers == "Which colour? dark red\nWhich size?\n---- question 1 of 2 ---- L\n"


def test_the_editor_shows_all_and_takes_all_answers_each_to_its_question(
    desk: Terminal, tmp_path: Path
) -> None:
    editor = tmp_path / "editor"
    editor.write_text(EDITOR)
    editor.chmod(0o755)
    done = desk.ve("orch", "answer", "asks", "--edit", VISUAL=str(editor))
    assert done.returncode == 0, done.stderr
    seen = (tmp_path / "seen.md").read_text()
    for part in ("> Which colour?", "> 1. red", "> The logo has both.", "> Which size?", "> 2. L"):
        assert part in seen
    desk.status("asks", "DONE")
    answers = (desk.root / "answers.txt").read_text()
    assert answers == "Which colour? red,\n\nbut dark\nWhich size?\n---- question 1 of 2 ---- L\n"


def test_what_is_left_empty_in_the_editor_stays_open_and_what_is_refused_is_shown_again(
    desk: Terminal, tmp_path: Path
) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/^---- your answer to $WHICH ----$/&\\n$WORDS/" "$1"\n')
    editor.chmod(0o755)
    colour, size = ids(desk)
    refused = desk.ve("orch", "answer", "asks", "--edit", VISUAL=str(editor), WHICH=size, WORDS="--option 7")
    assert refused.returncode == 1
    assert "there is no option 7; there are 2" in refused.stderr
    assert f"Not sent:\n  to {size}:\n    --option 7" in refused.stderr
    desk.said("orch", "answer", "asks", "--edit", VISUAL=str(editor), WHICH=size, WORDS="M")
    questions = desk.json("orch", "work-unit", "show", "asks")["unit"]["questions"]
    assert [(one["id"], one["state"], one["answer"]) for one in questions] == [
        (colour, "open", None),
        (size, "answered", "M"),
    ]


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
async def test_the_board_has_a_form_for_each(
    project: Plain, daemon: object, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    project.commit("an agent that asks", settings(tmp_path))
    api: Api = request.getfixturevalue("api")
    project.chunk("alpha", "")
    await asyncio.to_thread(api.post, "/work-units", {"chunks": ["alpha"]})
    forms = "[...document.querySelectorAll('[data-chunk=alpha] .ask')]"
    async with browser(tmp_path / "profile") as page:
        await page.go(api.post("/login-codes")["url"])
        words = "['Which colour?', 'The logo has both.', 'Which size?']"
        filled = f"((text) => {words}.every((part) => text.includes(part)))"
        await page.until(f"{filled}({forms}.map((form) => form.innerText).join())")
        shown = await page.run(f"{forms}.map((form) => form.innerText)")
        for text, parts in zip(
            shown,
            (("Which colour?", "red", "blue", "The logo has both."), ("Which size?", "S", "L")),
            strict=True,
        ):
            assert all(part in text for part in parts)
        second = await page.run(f"{forms}[1].dataset.question")
        await page.click(f"[data-question='{second}'] button.option:nth-of-type(2)")
        await page.until(
            f"{forms}[1].classList.contains('closed') && !{forms}[0].classList.contains('closed')"
        )
        await page.type("[data-chunk=alpha] .ask:not(.closed) textarea", "dark red")
        await page.click("[data-chunk=alpha] .ask:not(.closed) button.send")
        await page.until("document.querySelector('[data-chunk=alpha]')?.dataset.status === 'DONE'")
    assert "Which colour? dark red\n" in (project.root / "answers.txt").read_text()
