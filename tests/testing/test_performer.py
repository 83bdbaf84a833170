"""The performer makes of each step of script.toml a tool call of the client at hand, and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.testing.client import Call, Conversation, Refused, Reply
from ve import paths, prompts
from ve.agents.base import AnsweredQuestion, Job, ReviewIssue
from ve.testing import Performer, Request, ScriptedModel, Tool
from ve.testing.performer import _shell_input
from ve.testing.prompt import newest
from ve.testing.request import Said

CLIENTS = {
    "messages": ("Bash", "mcp__ve__"),
    "responses": ("exec_command", ""),
    "chat": ("bash", "ve_"),
}
RECORDED = "recorded; end your turn now"


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    with ScriptedModel(perform=Performer()) as model:
        yield model


class Agent:
    """A client in a worktree: it carries out what the model calls, and keeps a list of it."""

    def __init__(self, model: ScriptedModel, folder: Path, api: str = "messages") -> None:
        self.model, self.folder, self.api = model, folder, api
        self.shell, self.prefix = CLIENTS[api]
        self.asked: list[tuple[str, Any]] = []
        self.reply = RECORDED
        self.begin()

    def begin(self) -> None:
        """A new conversation."""
        tools = [f"{self.prefix}{name}" for name in ("AskOperator", "ReviewDecision", "Dispose")]
        self.talk = Conversation(self.model.url, self.api, tools=(self.shell, *tools))

    def script(self, text: str) -> None:
        """Write the chunk's script."""
        path = self.folder / "docs/chunks/a/script.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def prompt(self, phase: str = "IMPLEMENT", **more: Any) -> str:
        """The prompt of a run, as `ve` writes it."""
        return prompts.render(chunk="a", phase=phase, worktree=str(self.folder), **more)

    def run(self, phase: str = "IMPLEMENT", *, at_most: int = 20, **more: Any) -> str:
        """A whole run; the text at its end."""
        reply = self.talk.prompt(self.prompt(phase, **more))
        for _ in range(at_most):
            if not reply.calls:
                break
            reply = self.do(reply)
        return reply.text

    def do(self, reply: Reply) -> Reply:
        """Carry out the one call of a reply."""
        (call,) = reply.calls
        if call.name == self.shell:
            return self._run(call)
        self.asked.append((call.name.removeprefix(self.prefix), call.input))
        return self.talk.result(call, self.reply, failed=self.reply != RECORDED)

    def _run(self, call: Call) -> Reply:
        done = subprocess.run(
            ["/bin/bash", "-c", call.input["command"]], cwd=self.folder, capture_output=True, text=True
        )
        return self.talk.result(call, done.stdout + done.stderr, failed=done.returncode != 0)

    def read(self, name: str) -> str:
        """A file of the worktree."""
        return (self.folder / name).read_text()


@pytest.fixture(params=sorted(CLIENTS))
def each(request: pytest.FixtureRequest, model: ScriptedModel, tmp_path: Path) -> Agent:
    return Agent(model, tmp_path, request.param)


@pytest.fixture
def agent(model: ScriptedModel, tmp_path: Path) -> Agent:
    return Agent(model, tmp_path)


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


# --------------------------------------------------------------------------------------- the shell


def test_files_are_written_exactly_through_the_client_s_shell(each: Agent) -> None:
    text = 'it\'s "so" \\n %s $HOME `x` ä€😀\\\n\ttab\r\n\n  end without newline'
    each.script(f'[[IMPLEMENT]]\nwrite = "new/it\'s $a file"\ntext = {msgspec.json.encode(text).decode()}\n')
    assert each.run() == "1 steps done."
    assert (each.folder / "new" / "it's $a file").read_bytes() == text.encode()


def test_steps_are_done_one_a_turn_in_order(each: Agent) -> None:
    each.script("".join(f'[[IMPLEMENT]]\nrun = "echo {n} >>log"\n' for n in range(4)))
    each.run()
    assert each.read("log") == "0\n1\n2\n3\n"
    assert len(each.model.asked) == 5


def test_an_append_that_is_there_already_is_not_done_again(agent: Agent) -> None:
    agent.script(
        '[[IMPLEMENT]]\nappend = "log"\ntext = "a\\n"\n[[IMPLEMENT]]\nappend = "log"\ntext = "b\\n"\n'
    )
    agent.run()
    agent.begin()
    agent.run()
    assert agent.read("log") == "a\nb\n"


def test_a_commit_takes_everything_and_an_empty_one_is_none(agent: Agent) -> None:
    git(agent.folder, "init", "-q")
    agent.script("[[IMPLEMENT]]\ncommit = \"It's done\"\n[[IMPLEMENT]]\ncommit = 'again'\n")
    assert agent.run() == "2 steps done."
    assert git(agent.folder, "log", "--format=%an: %s") == "ve script: It's done"
    assert git(agent.folder, "status", "--short") == ""


def test_where_the_repository_cannot_be_written_a_commit_is_left_to_ve(agent: Agent) -> None:
    git(agent.folder, "init", "-q")
    (agent.folder / ".git" / "index.lock").touch()
    agent.script("[[IMPLEMENT]]\ncommit = 'done'\n")
    assert agent.run() == "1 steps done."


def test_a_command_that_fails_ends_the_run_with_its_output(each: Agent) -> None:
    each.script("[[IMPLEMENT]]\nrun = 'echo it broke; exit 3'\n[[IMPLEMENT]]\nrun = 'touch after'\n")
    with pytest.raises(Refused) as refused:
        each.run()
    message = refused.value.body["error"]["message"]
    assert refused.value.status == 400
    assert message == (
        "docs/chunks/a/script.toml: [[IMPLEMENT]] step 1: `run` ended with exit code 3: it broke"
    )
    assert not (each.folder / "after").exists()


def test_a_command_that_the_client_did_not_carry_out_ends_the_run(agent: Agent) -> None:
    agent.script("[[IMPLEMENT]]\nrun = 'true'\n")
    (call,) = agent.talk.prompt(agent.prompt()).calls
    with pytest.raises(Refused, match="was not carried out: permission denied"):
        agent.talk.result(call, "permission denied")


def test_a_path_outside_of_the_worktree_is_refused(agent: Agent) -> None:
    agent.script('[[IMPLEMENT]]\nwrite = "../x"\ntext = "x"\n')
    with pytest.raises(Refused, match="outside of the worktree"):
        agent.run()


def test_a_command_that_goes_on_is_waited_for(agent: Agent) -> None:
    agent.talk.tools += ("write_stdin",)
    agent.script("[[IMPLEMENT]]\nrun = 'make'\n[[IMPLEMENT]]\nrun = 'second'\n")
    (call,) = agent.talk.prompt(agent.prompt()).calls
    (poll,) = agent.talk.result(call, "Process running with session ID 17\nOutput:\n").calls
    assert (poll.name, poll.input["session_id"]) == ("write_stdin", 17)
    (poll,) = agent.talk.result(poll, "Process running with session ID 17\nOutput:\n").calls
    (second,) = agent.talk.result(poll, "made\n\nscript step: exit code 0\n").calls
    assert "second" in second.input["command"]


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        (Tool("Bash", {"properties": {"command": {"type": "string"}, "description": {}}}),
         {"command": "ls", "description": "run ls"}),
        (Tool("exec_command", {"properties": {"cmd": {"type": "string"}, "yield_time_ms": {}}}),
         {"cmd": "ls", "yield_time_ms": 30_000}),
        (Tool("shell", {"properties": {"command": {"type": "array"}}}), {"command": ["/bin/sh", "-c", "ls"]}),
        (Tool("local_shell", kind="local_shell"), {"command": ["/bin/sh", "-c", "ls"]}),
    ],
)  # fmt: skip
def test_the_shell_is_called_in_the_shape_that_its_schema_asks_for(tool: Tool, given: dict[str, Any]) -> None:
    assert _shell_input(tool, "ls", "run ls") == given


# ----------------------------------------------------------------------------- asking and deciding


def test_a_question_ends_the_turn_and_its_answer_is_used_in_the_next_run(each: Agent) -> None:
    each.script(
        '[[IMPLEMENT]]\nask = "Which\\ncolour?"\noptions = ["red", "blue"]\ncontext = "a door"\n'
        '[[IMPLEMENT]]\nwrite = "colour"\ntext = "{answer}!"\n'
    )
    assert each.run() == "I asked: Which\ncolour?"
    question = {"question": "Which\ncolour?", "options": ["red", "blue"], "context": "a door"}
    assert each.asked == [("AskOperator", question)]
    assert not (each.folder / "colour").exists()

    answers = [AnsweredQuestion("q", "Which\ncolour?", "dark\n\nblue")]
    assert each.run(answers=answers, resume=True, cause="Your question was answered.") == "1 steps done."
    assert each.read("colour") == "dark\n\nblue!"
    assert len(each.asked) == 1


def test_a_review_decides_as_the_script_says(each: Agent) -> None:
    each.script(
        "[[REVIEW]]\ndecide = 'feedback'\nreason = 'not yet'\n"
        "issues = ['too long', {id = 'i1', place = 'x.py', concern = 'c', suggestion = 's'}]\n"
    )
    each.run("REVIEW")
    issues = [{"concern": "too long"}, {"id": "i1", "place": "x.py", "concern": "c", "suggestion": "s"}]
    assert each.asked == [("ReviewDecision", {"decision": "feedback", "issues": issues, "reason": "not yet"})]


def test_a_review_without_steps_approves_and_another_phase_without_steps_does_nothing(agent: Agent) -> None:
    agent.script("")
    agent.run("REVIEW")
    assert agent.asked == [("ReviewDecision", {"decision": "approve"})]
    assert agent.run("COMPLETE") == "0 steps done."


def test_each_issue_of_the_review_is_disposed_of(each: Agent) -> None:
    each.script("[[IMPLEMENT]]\ndispose = '*'\nreason = 'done'\n[[IMPLEMENT]]\nrun = 'touch after'\n")
    each.run(issues=[ReviewIssue("i1", "a.py", "- `no` id", "s"), ReviewIssue("i2", concern="d")])
    assert each.asked == [
        ("Dispose", {"issue": id, "disposition": "fixed", "reason": "done"}) for id in ("i1", "i2")
    ]
    assert (each.folder / "after").exists()


def test_a_tool_that_did_not_record_ends_the_run(agent: Agent) -> None:
    agent.reply = "error: `reason` is empty"
    agent.script("[[REVIEW]]\ndecide = 'escalate'\n")
    with pytest.raises(Refused, match="step 1: ReviewDecision: error: `reason` is empty"):
        agent.run("REVIEW")


# --------------------------------------------------------------------------------------- other steps


def test_fail_and_limit_are_refusals(each: Agent) -> None:
    each.script(
        "[[PLAN]]\nrun = 'true'\n[[PLAN]]\nfail = 'no luck'\n"
        "[[COMPLETE]]\nlimit = 90\nreason = 'all used up'\n"
    )
    with pytest.raises(Refused) as failed:
        each.run("PLAN")
    assert (failed.value.status, failed.value.body["error"]["message"]) == (400, "no luck")
    with pytest.raises(Refused) as limited:
        each.run("COMPLETE")
    assert (limited.value.status, limited.value.headers["retry-after"]) == (429, "90")
    assert limited.value.body["error"]["message"] == "all used up"


def test_sleep_is_silence_of_the_model_before_what_comes_next(agent: Agent) -> None:
    performer = Performer()
    agent.script(
        "[[PLAN]]\nsleep = 2\n[[PLAN]]\nsleep = 0.5\n[[PLAN]]\nrun = 'true'\n[[COMPLETE]]\nsleep = 3\n"
    )

    def turn(phase: str) -> Any:
        said = Said("user", agent.prompt(phase))
        return performer(Request("messages", tools=(Tool("Bash"),), items=(said,)))

    assert (turn("PLAN").stall_s, len(turn("PLAN").uses)) == (2.5, 1)
    assert (turn("COMPLETE").stall_s, turn("COMPLETE").text) == (3.0, "1 steps done.")


@pytest.mark.parametrize("script", ["[[PLAN]]\nwrit = 'x'\n", None])
def test_a_script_that_is_wrong_or_missing_is_a_refusal_that_names_it(
    agent: Agent, script: str | None
) -> None:
    if script is not None:
        agent.script(script)
    with pytest.raises(Refused, match=r"docs/chunks/a/script\.toml"):
        agent.run()


def test_without_the_tool_that_a_step_needs_the_model_says_so_and_ends(agent: Agent) -> None:
    agent.script("[[PLAN]]\nask = 'Which?'\n[[IMPLEMENT]]\nrun = 'true'\n")
    agent.talk.tools = ("Read",)
    assert "AskOperator is not offered" in agent.run("PLAN")
    assert "No shell tool is offered" in agent.run("IMPLEMENT")


def test_without_a_prompt_of_ve_the_model_says_so(agent: Agent) -> None:
    assert "no prompt of ve" in agent.talk.prompt("Hello!").text


# ------------------------------------------------------------------------------------ which run it is


VISITS = "".join(f"[[IMPLEMENT]]\nvisit = {n}\nrun = 'echo {n} >>visits'\n" for n in (1, 2, 3))


def test_without_a_job_each_new_prompt_is_a_visit(agent: Agent) -> None:
    agent.script(VISITS)
    agent.run()
    agent.begin()
    agent.run()  # the same words, in a new session
    agent.run(cause="The review found something.", resume=True)
    assert agent.read("visits") == "1\n2\n3\n"


def test_a_client_that_repeats_a_request_is_in_the_same_visit(agent: Agent) -> None:
    agent.script(VISITS)
    first = agent.talk.prompt(agent.prompt())
    agent.talk.history.pop()
    again = agent.talk.ask()
    assert again.calls[0].input == first.calls[0].input


def test_the_run_s_own_job_says_visit_answers_and_issues(model: ScriptedModel, tmp_path: Path) -> None:
    """So they are right after a restart of the model, and whatever a prompt's quotation loses."""
    main, tree = tmp_path / "main", tmp_path / "tree"
    git(tmp_path, "init", "-q", str(main))
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    git(main, *identity, "commit", "-q", "--allow-empty", "-m", "first")
    git(main, "worktree", "add", "-q", "--detach", str(tree))
    agent = Agent(model, tree)
    agent.script(
        '[[IMPLEMENT]]\nvisit = 7\nask = "Which?  \\n"\n'
        "[[IMPLEMENT]]\nvisit = 3\nrun = 'touch wrong'\n"
        '[[IMPLEMENT]]\nvisit = 7\nwrite = "x"\ntext = "{answer}"\n'
        "[[IMPLEMENT]]\ndispose = '*'\n"
    )
    answers = (AnsweredQuestion("q", "Which?  \n", "this \n"),)
    issues = (ReviewIssue("i9"),)

    def job(visit: int, phase: str = "IMPLEMENT", worktree: Path = tree) -> None:
        folder = paths.find(main).runs_dir / f"a-1-{phase.lower()}-{visit}-{worktree.name}"
        folder.mkdir(parents=True)
        record = Job(
            run=folder.name, unit="a", chunk="a", attempt=1, phase=phase, visit=visit, issues=issues,
            worktree=str(worktree), run_dir=str(folder), answers=answers,
            prompt=agent.prompt(answers=answers, issues=issues, cause="later" * (visit == 11)),
        )  # fmt: skip
        (folder / "job.json").write_bytes(msgspec.json.encode(record))

    job(3)
    job(7)
    job(8, phase="REVIEW")
    job(9, worktree=main)
    job(11)

    assert agent.run(answers=answers, issues=issues) == "2 steps done."
    assert agent.read("x") == "this \n"
    assert [name for name, _ in agent.asked] == ["Dispose"]


@pytest.mark.parametrize("phase", prompts.PHASES)
def test_what_a_prompt_says_is_read_back(phase: str) -> None:
    answers = [
        AnsweredQuestion("1", "One?\n\n> quoted", "yes"),
        AnsweredQuestion("2", "Two?", "no\n## No head"),
    ]
    issues = [ReviewIssue("i1", "a.py:3", "concern\n- `x` y", "suggestion"), ReviewIssue("i-2")]
    text = prompts.render(
        chunk="my-chunk", phase=phase, worktree="/some where/tree", answers=answers, issues=issues,
        cause="Because.\n\n## The operator's answers",
    )  # fmt: skip
    said = (
        Said("user", "Hello"),
        Said("user", text),
        Said("assistant", "You work on"),
        Said("user", "Go on"),
    )
    prompt = newest(Request("messages", items=said))
    assert prompt is not None
    assert (prompt.chunk, prompt.phase, prompt.worktree) == ("my-chunk", phase, "/some where/tree")
    assert [(one.text, one.answer) for one in prompt.answers] == [(a.text, a.answer) for a in answers]
    assert prompt.issues == ("i1", "i-2")
