"""A model that does what the chunk's `script.toml` says, through the tools that the client offers.

The steps mean what they mean to the script agent (docs/reference/script-agent.md); here each becomes a tool
call that the real client carries out. Where the two differ is in docs/howto/scripted-model.md.

Rule: what comes next follows from the request alone: the newest prompt names the work, the tool calls since
then are the steps that are done. The visit, the answers and the issues are those of the run's `job.json`,
found by worktree, phase and prompt, so a restart of anything changes nothing. Only where there is no such
file does the performer count visits itself.
"""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ve.agents.base import AnsweredQuestion, Job
from ve.agents.script_file import ScriptError, Step, read
from ve.errors import VeError
from ve.testing.prompt import Prompt, newest, same
from ve.testing.request import Request, Tool
from ve.testing.turns import Refusal, Turn, Use, usage_limit

SHELLS = ("Bash", "bash", "exec_command", "shell", "shell_command", "local_shell", "run_shell_command")
"""Names of shell tools, the first one that is offered is taken."""

CODE = re.compile(r"^script step: exit code (\d+)\s*$", re.MULTILINE)
RECORDED = re.compile(r"^recorded\b", re.MULTILINE)
STILL_RUNNING = re.compile(r"^Process running with session ID (\d+)\s*$", re.MULTILINE)
POLL = "write_stdin"
SHOWN = 1000
IDENTITY = " ".join(
    f"GIT_{who}_{what}"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME='ve script'", "EMAIL=script@localhost")
)


class Act(Struct, frozen=True):
    """One tool call of a step, or its refusal. `think_s`: how long the model is silent before."""

    step: Step | None
    tool: str = ""
    """Empty: the shell."""
    arguments: dict[str, Any] = {}
    refusal: Refusal | None = None
    think_s: float = 0.0


class Performer:
    """For `ScriptedModel(perform=Performer())`. One object serves any number of runs at once."""

    def __init__(self) -> None:
        self._visits = Visits()

    def __call__(self, request: Request) -> Turn | Refusal:
        """The next turn of that conversation."""
        prompt = newest(request)
        if prompt is None:
            return Turn(text="I find no prompt of ve in this conversation, so I do not know what to do.")
        try:
            return Performance(request, prompt, self._visits.task(prompt)).turn()
        except ScriptError as error:
            return Refusal(400, str(error))


class Task(Struct, frozen=True):
    """What `job.json` knows of a run, or what can be told from its prompt."""

    visit: int
    answers: Sequence[AnsweredQuestion]
    issues: Sequence[str]


class Visits:
    """Which run a prompt belongs to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[Path, Job] = {}
        self._counted: dict[tuple[str, str], list[_Counted]] = {}

    def task(self, prompt: Prompt) -> Task:
        """Visit, answers and issues of the run that this prompt started."""
        with self._lock:
            job = self._job(prompt)
            if job is not None:
                return Task(job.visit, job.answers, [issue.id for issue in job.issues])
            return Task(self._count(prompt), prompt.answers, prompt.issues)

    def _job(self, prompt: Prompt) -> Job | None:
        """The newest run with this prompt in this worktree and phase."""
        from ve import paths

        try:
            folder = paths.find(Path(prompt.worktree)).runs_dir
        except (VeError, OSError):
            return None
        jobs = [self._read(path) for path in folder.glob(f"*-{prompt.phase.lower()}-*/job.json")]
        mine = [job for job in jobs if job and (job.worktree, job.phase) == (prompt.worktree, prompt.phase)]
        exact = [job for job in mine if job.prompt.strip() in prompt.text]
        return max(exact or mine, key=lambda job: job.visit, default=None)

    def _read(self, path: Path) -> Job | None:
        """A job never changes once it is written."""
        if path not in self._jobs:
            try:
                self._jobs[path] = msgspec.json.decode(path.read_bytes(), type=Job)
            except (OSError, msgspec.DecodeError):
                return None
        return self._jobs[path]

    def _count(self, prompt: Prompt) -> int:
        """A prompt is a new visit when it differs, or begins anew after it had got on."""
        key = (prompt.text, prompt.ordinal)
        known = self._counted.setdefault((prompt.worktree, prompt.phase), [])
        number = next((n for n in reversed(range(len(known))) if known[n].key == key), None)
        if number is None or (not prompt.calls and known[number].got_on):
            known.append(_Counted(key))
            number = len(known) - 1
        known[number].got_on |= bool(prompt.calls)
        return number + 1


class _Counted(Struct):
    key: tuple[str, int]
    got_on: bool = False


class Performance:
    """One request of one run."""

    def __init__(self, request: Request, prompt: Prompt, task: Task) -> None:
        self.request = request
        self.prompt = prompt
        self.task = task
        self.root = Path(prompt.worktree).resolve()
        path = f"docs/chunks/{prompt.chunk}/script.toml"
        try:
            text = (self.root / path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ScriptError(f"{path} cannot be read: {error}") from error
        self.steps = [
            step
            for step in read(text, path, prompt.phase, task.visit)
            if not (step.verb == "ask" and any(same(step.value, one.text) for one in task.answers))
        ]

    def turn(self) -> Turn | Refusal:
        """What the model says now. Raises ScriptError when a step failed."""
        calls = [call for call in self.prompt.calls if call.name != POLL]
        acts, last = self._acts()
        done = min(len(calls), len(acts))
        if calls and done:
            poll = self._check(acts[done - 1])
            if poll is not None:
                return poll
        if done == len(acts):
            return last
        act = acts[done]
        if act.refusal is not None:
            return msgspec.structs.replace(act.refusal, stall_s=act.think_s)
        return self._use(act)

    def _acts(self) -> tuple[list[Act], Turn]:
        """All tool calls of this run, and the text after the last one."""
        if not self.steps and self.prompt.phase == "REVIEW":
            approve = Act(None, "ReviewDecision", {"decision": "approve"})
            return [approve], Turn(text="Approved: the script has no step for this review.")
        acts: list[Act] = []
        think_s = 0.0
        for step in self.steps:
            if step.verb == "sleep":
                think_s += step.value
                continue
            acts += [msgspec.structs.replace(act, think_s=think_s) for act in self._acts_of(step)[:1]]
            acts += self._acts_of(step)[1:]
            think_s = 0.0
            if step.verb == "ask":
                return acts, Turn(text=f"I asked: {step.value}")
        return acts, Turn(text=f"{len(self.steps)} steps done.", stall_s=think_s)

    def _acts_of(self, step: Step) -> list[Act]:
        match step.verb:
            case "ask":
                asked = {"question": step.value, **_given(step, "options", "context")}
                return [Act(step, "AskOperator", asked)]
            case "decide":
                issues = [
                    {"concern": one} if isinstance(one, str) else one for one in step.keys.get("issues", ())
                ]
                decided = {"decision": step.value, **({"issues": issues} if issues else {})}
                return [Act(step, "ReviewDecision", {**decided, **_given(step, "reason")})]
            case "dispose":
                ids = self.task.issues if step.value == "*" else [step.value]
                how = {"disposition": step.text("disposition", "fixed"), **_given(step, "reason")}
                return [Act(step, "Dispose", {"issue": id, **how}) for id in ids]
            case "fail":
                return [Act(step, refusal=Refusal(400, self._fill(str(step.value))))]
            case "limit":
                refusal = usage_limit(step.value, step.text("reason", "usage limit reached"))
                return [Act(step, refusal=refusal)]
        return [Act(step)]

    def _use(self, act: Act) -> Turn:
        if act.tool:
            tool = self.request.tool(act.tool)
            if tool is None:
                return Turn(text=f"The tool {act.tool} is not offered to me, so I cannot go on.")
            use = Use(tool.name, act.arguments, namespace=tool.namespace)
        else:
            shell = next((tool for name in SHELLS for tool in self.request.tools if tool.name == name), None)
            if shell is None:
                return Turn(text=f"No shell tool is offered to me ({', '.join(SHELLS)}), so I cannot go on.")
            assert act.step is not None
            command = f"{self._command(act.step)}\ncode=$?; printf '\\nscript step: exit code %s\\n' $code"
            title = str(act.step.value).splitlines() or [""]
            use = Use(
                shell.name, _shell_input(shell, f"{command}; (exit $code)", f"{act.step.verb} {title[0]}"),
                namespace=shell.namespace,
            )  # fmt: skip
        return Turn(uses=[use], stall_s=act.think_s)

    def _check(self, act: Act) -> Turn | None:
        """Look at what the newest call gave back. A turn where the client waits for more of it; raises
        ScriptError where it is not what a step that went well gives back."""
        returned = self.prompt.returned(self.prompt.calls[-1])
        text = returned.text if returned is not None else ""
        place = act.step.place if act.step is not None else "the script"
        if act.tool:
            if not RECORDED.search(text) or (returned is not None and returned.failed):
                raise ScriptError(f"{place}: {act.tool}: {text[-SHOWN:].strip() or 'no result'}")
            return None
        codes = CODE.findall(text)
        if not codes and (running := STILL_RUNNING.search(text)) and self.request.tool(POLL):
            return Turn(uses=[Use(POLL, {"session_id": int(running[1]), "yield_time_ms": 60_000})])
        if not codes or int(codes[-1]):
            what = f"ended with exit code {codes[-1]}" if codes else "was not carried out"
            output = CODE.sub("", text).strip()[-SHOWN:]
            verb = f"`{act.step.verb}`" if act.step is not None else "step"
            raise ScriptError(f"{place}: {verb} {what}: {output}")
        return None

    def _fill(self, text: str) -> str:
        """The newest answer in place of {answer}; without an answer the text stays as it is."""
        return text.replace("{answer}", self.task.answers[-1].answer) if self.task.answers else text

    # The shell, for each verb that needs one.

    def _command(self, step: Step) -> str:
        if step.verb == "run":
            return f"/bin/sh -c {shlex.quote(step.value)} </dev/null"
        if step.verb == "commit":
            return _commit(self._fill(step.value))
        text = self._fill(step.text("text"))
        place = self._place(step)
        if step.verb == "append" and self._is_there(step, place):
            return f"echo {shlex.quote(f'{step.value} ends with it already')}"
        name = shlex.quote(f"./{place.relative_to(self.root)}")
        folder = shlex.quote(f"./{place.parent.relative_to(self.root)}")
        sign = ">" if step.verb == "write" else ">>"
        return f"mkdir -p {folder} && printf %s {shlex.quote(text)} {sign}{name}"

    def _place(self, step: Step) -> Path:
        place = (self.root / str(step.value)).resolve()
        if not place.is_relative_to(self.root) or ".git" in place.relative_to(self.root).parts:
            raise ScriptError(f"{step.place}: `{step.value}` is outside of the worktree")
        return place

    def _is_there(self, step: Step, place: Path) -> bool:
        """The file ends with this text; appends of this run that come later may stand behind it."""
        there = place.read_text(encoding="utf-8") if place.is_file() else ""
        ending = ""
        for later in self.steps[self.steps.index(step) :]:
            if later.verb == "append" and later.value == step.value:
                ending += self._fill(later.text("text"))
                if there.endswith(ending):
                    return True
        return False


def _commit(message: str) -> str:
    """A client's sandbox may keep `.git` from being written: then the change is left for `ve` to commit."""
    script = (
        "git add -A && git diff --cached --quiet && exit\n"
        f"git config user.email >/dev/null || export {IDENTITY}\n"
        f"git -c commit.gpgsign=false commit -q -m {shlex.quote(message)} || echo 'not committed here'"
    )
    return f"/bin/sh -c {shlex.quote(script)} </dev/null"


def _shell_input(shell: Tool, command: str, title: str) -> dict[str, Any]:
    """The command in the shape that this client's shell tool takes."""
    if shell.kind == "local_shell":
        return {"command": ["/bin/sh", "-c", command]}
    properties = shell.schema.get("properties") or {}
    name = "cmd" if "cmd" in properties else "command"
    as_list = (properties.get(name) or {}).get("type") == "array"
    given: dict[str, Any] = {name: ["/bin/sh", "-c", command] if as_list else command}
    if "description" in properties:
        given["description"] = title[:80]
    if "yield_time_ms" in properties:
        given["yield_time_ms"] = 30_000
    return given


def _given(step: Step, *keys: str) -> dict[str, Any]:
    return {key: step.keys[key] for key in keys if key in step.keys}
