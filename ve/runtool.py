"""The tools an agent reaches its operator with: an MCP server over stdio, one process a run.

    python -I -m ve.runtool [RUN_FOLDER]            the folder also from $VE_RUN_DIR
    python -I -m ve.runtool --call TOOL ARGUMENTS   one call, for an agent without MCP: `call_once`

    AskOperator      one question or several, each with options
    ReviewDecision   approve, feedback with issues, or escalate; in REVIEW only, the first one stands
    Dispose          a review issue is fixed, or declined with a reason

Rule: the handler is the capture. A call is in `tools.jsonl`, durable, before its reply says "recorded"; if
it cannot be written, the reply is a tool error and the file is as it was. Nothing is ever read out of text.
The daemon may be down: it reads the file when it adopts the run, the nudge afterwards is only a hint.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ve import faults
from ve.proc.outfile import now
from ve.proc.runfolder import Asked, Decided, Disposed, Issue, ToolRecord, ToolsReady, tool_record
from ve.toolserver import Server, Tool, ToolError, object_schema

RECORDED = "recorded; end your turn now"

Text = Annotated[str, Meta(max_length=65536)]
Short = Annotated[str, Meta(max_length=4096)]


class Question(Struct, forbid_unknown_fields=True):
    """What AskOperator takes, alone or several in `questions`."""

    question: Text = ""
    options: Annotated[list[Short], Meta(max_length=50)] = []
    context: Text = ""


class AskArguments(Question, forbid_unknown_fields=True):
    """One question, or `questions`."""

    questions: Annotated[list[Question], Meta(max_length=50)] = []


class IssueArguments(Struct, forbid_unknown_fields=True):
    """A finding; the id is made from its content when the reviewer gives none."""

    concern: Text
    place: Short = ""
    suggestion: Text = ""
    id: Annotated[str, Meta(max_length=80)] = ""


class DecisionArguments(Struct, forbid_unknown_fields=True):
    """What ReviewDecision takes."""

    decision: Literal["approve", "feedback", "escalate"]
    issues: Annotated[list[IssueArguments], Meta(max_length=200)] = []
    reason: Text = ""


class DisposeArguments(Struct, forbid_unknown_fields=True):
    """What Dispose takes."""

    issue: Short
    disposition: Literal["fixed", "declined"]
    reason: Text = ""


class KnownIssue(Struct):
    """Of a review issue in job.json, only its id matters here."""

    id: str


class Job(Struct):
    """What of job.json the tools need."""

    run: str = ""
    phase: str = ""
    issues: list[KnownIssue] = []


class Tools:
    """The tools of one run."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        try:
            self.job = msgspec.json.decode((run_dir / "job.json").read_bytes(), type=Job)
        except (OSError, msgspec.DecodeError) as error:
            sys.exit(f"ve.runtool: {run_dir}/job.json: {error}")
        self.run = self.job.run or run_dir.name
        self.tools = {
            "AskOperator": Tool(
                "Ask the person who operates this run. Use it whenever you need a decision or a fact that "
                "you cannot find out. Afterwards end your turn at once: the answer starts your next turn.",
                AskArguments,
                self.ask,
                _schema(AskArguments),
            )
        }
        if self.job.phase == "REVIEW":
            self.tools["ReviewDecision"] = Tool(
                "Record the decision of this review, once: approve; feedback with issues that the "
                "implementer must settle; or escalate to the operator with a reason.",
                DecisionArguments,
                self.decide,
                _schema(DecisionArguments),
            )
        if self.job.issues:
            self.tools["Dispose"] = Tool(
                "Say what became of a review issue: fixed, or declined with a reason.",
                DisposeArguments,
                self.dispose,
                _schema(DisposeArguments),
            )

    # Each handler returns its reply once the record is durable, or raises ToolError.

    def ready(self) -> None:
        """The client asked which tools there are. Best effort: a run without this line does not succeed."""
        self._append(
            lambda known: [] if any(isinstance(one, ToolsReady) for one in known) else [ToolsReady(now())]
        )

    def ask(self, arguments: AskArguments) -> str:
        questions: Sequence[Question] = arguments.questions or [arguments]
        if arguments.questions and arguments.question.strip():
            raise ToolError("`question` and `questions` are both set: put all of them into `questions`")
        records = []
        for number, one in enumerate(questions):
            if not one.question.strip():
                field = f"questions[{number}].question" if arguments.questions else "question"
                raise ToolError(f"`{field}` is empty: say what you want to know")
            name = "q-" + self._hash(one.question, *one.options, one.context)
            options = tuple(one.options)
            records.append(Asked(id=name, text=one.question, options=options, context=one.context, at=now()))
        self._append(lambda known: _without(records, {item.id for item in known if isinstance(item, Asked)}))
        return RECORDED

    def decide(self, arguments: DecisionArguments) -> str:
        _check_decision(arguments)
        issues = tuple(
            Issue(
                id=one.id or "i-" + self._hash(one.place, one.concern, one.suggestion),
                place=one.place, concern=one.concern, suggestion=one.suggestion,
            )
            for one in arguments.issues
        )  # fmt: skip
        if len({issue.id for issue in issues}) < len(issues):
            raise ToolError("`issues` holds the same id or the same finding twice: each must differ")
        decision = Decided(decision=arguments.decision, issues=issues, reason=arguments.reason, at=now())

        def first_one_stands(known: Sequence[ToolRecord]) -> list[Decided]:
            for earlier in known:
                if not isinstance(earlier, Decided):
                    continue
                if msgspec.structs.replace(earlier, at=decision.at) == decision:
                    return []
                raise ToolError(
                    f"the decision `{earlier.decision}` is recorded already and stands: end your turn now"
                )
            return [decision]

        self._append(first_one_stands)
        return RECORDED

    def dispose(self, arguments: DisposeArguments) -> str:
        known_ids = [issue.id for issue in self.job.issues]
        if arguments.issue not in known_ids:
            raise ToolError(
                f"`issue`: there is no issue {arguments.issue!r} in this run; it has {', '.join(known_ids)}"
            )
        if arguments.disposition == "declined" and not arguments.reason.strip():
            raise ToolError("`reason` is empty: say why the issue is declined")
        record = Disposed(
            issue=arguments.issue, disposition=arguments.disposition, reason=arguments.reason, at=now()
        )

        def unless_said(known: Sequence[ToolRecord]) -> list[Disposed]:
            mine = [one for one in known if isinstance(one, Disposed) and one.issue == record.issue]
            return [] if mine and msgspec.structs.replace(mine[-1], at=record.at) == record else [record]

        self._append(unless_said)
        return "recorded"

    def _hash(self, *parts: str) -> str:
        """Of run and content, so that a repeated call is the same question."""
        return hashlib.sha256(msgspec.json.encode((self.run, *parts))).hexdigest()[:12]

    def _append(self, choose: Callable[[Sequence[ToolRecord]], Sequence[ToolRecord]]) -> None:
        """Add what `choose` makes of the records there are, durable and whole, or raise ToolError."""
        if (self.run_dir / "exit.json").exists():
            raise ToolError("not recorded: this run has ended")
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            fd = os.open(self.run_dir / "tools.jsonl", flags, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)  # a client may have started a second server
                size = os.fstat(fd).st_size
                before = os.pread(fd, size, 0)
                lines = [tool_record(line) for line in before.splitlines()]
                fresh = choose([record for record in lines if record is not None])
                torn = b"\n" if before and not before.endswith(b"\n") else b""
                faults.at("tool-before-record")
                _write(fd, torn + b"".join(msgspec.json.encode(one) + b"\n" for one in fresh), size)
                faults.at("tool-recorded")
            finally:
                os.close(fd)
        except OSError as error:
            raise ToolError(
                f"not recorded, {error.strerror}: try this call once more, then end your turn and say so"
            ) from error


def _without(records: Sequence[Asked], ids: set[str]) -> list[Asked]:
    """Those not recorded yet, each once."""
    return list({record.id: record for record in records if record.id not in ids}.values())


def _check_decision(arguments: DecisionArguments) -> None:
    if arguments.decision == "feedback" and not arguments.issues:
        raise ToolError("`issues` is empty: feedback needs at least one issue with its `concern`")
    if arguments.decision == "approve" and arguments.issues:
        raise ToolError("`issues`: an approval has none; use the decision `feedback` to have them settled")
    if arguments.decision == "escalate" and not arguments.reason.strip():
        raise ToolError("`reason` is empty: say what the operator must decide")
    for number, one in enumerate(arguments.issues):
        if not one.concern.strip():
            raise ToolError(f"`issues[{number}].concern` is empty: say what is wrong")


def _write(fd: int, data: bytes, size: int) -> None:
    """Append durably; on any error the file is cut back to `size`, so that no half record stays."""
    if not data:
        os.fsync(fd)
        return
    try:
        done = 0
        while done < len(data):
            done += os.write(fd, data[done:])
        os.fsync(fd)
    except OSError:
        os.ftruncate(fd, size)
        raise


class RunServer(Server):
    """The tools of one run; the daemon is nudged after what was recorded."""

    def __init__(self, run: Tools, nudge: Callable[[], None]) -> None:
        super().__init__(run.tools)
        self.run = run
        self.nudge = nudge
        self.changed = False

    def listed(self) -> None:
        try:
            self.run.ready()
            self.changed = True
        except ToolError as error:
            print(f"ve.runtool: {error}", file=sys.stderr)

    def called(self) -> None:
        self.changed = True

    def replied(self) -> None:
        faults.at("tool-replied")

    def answered(self) -> None:
        if self.changed:
            self.changed = False
            self.nudge()

    def unknown(self, name: str) -> str:
        known = ", ".join(self.tools)
        why = "a decision belongs to the phase REVIEW" if name == "ReviewDecision" else "no such tool"
        return f"{name}: {why}; this run (phase {self.run.job.phase}) has {known}"


_TYPES: dict[str, dict[str, Any]] = {
    "Question": {
        "question": {"type": "string", "description": "The question, understandable without the code."},
        "options": {"type": "array", "items": {"type": "string"}, "description": "Answers to choose from."},
        "context": {"type": "string", "description": "What the operator needs to know to answer."},
    },
    "Issue": {
        "place": {"type": "string", "description": "File and line."},
        "concern": {"type": "string", "description": "What is wrong, and why it matters."},
        "suggestion": {"type": "string", "description": "How to settle it."},
        "id": {"type": "string", "description": "May be left out."},
    },
}


def _schema(arguments: type[Struct]) -> dict[str, Any]:
    """By hand: models read it, and msgspec's own has references that some clients do not follow."""
    if arguments is AskArguments:
        many = {"type": "array", "items": object_schema(_TYPES["Question"], "question")}
        return object_schema({**_TYPES["Question"], "questions": many})
    if arguments is DecisionArguments:
        return object_schema(
            {
                "decision": {"type": "string", "enum": ["approve", "feedback", "escalate"]},
                "issues": {"type": "array", "items": object_schema(_TYPES["Issue"], "concern")},
                "reason": {"type": "string"},
            },
            "decision",
        )
    return object_schema(
        {
            "issue": {"type": "string", "description": "The issue's id."},
            "disposition": {"type": "string", "enum": ["fixed", "declined"]},
            "reason": {"type": "string", "description": "Needed for declined."},
        },
        "issue",
        "disposition",
    )


def _nudge(run_dir: Path) -> None:
    """Tell the daemon; after the reply, so that no agent waits for it."""
    from ve.proc.nudge import Nudge
    from ve.proc.runfolder import read_spec

    spec = read_spec(run_dir)
    if spec is not None and spec.nudge is not None:
        Nudge(spec.run, {"socket": spec.nudge.socket, "token": spec.nudge.token}).last()


USAGE = """usage: python -I -m ve.runtool --call TOOL ARGUMENTS
  TOOL       AskOperator, ReviewDecision or Dispose
  ARGUMENTS  its arguments as one JSON object, or - to read them from stdin
The run is the one of $VE_RUN_DIR. Exit code 0: recorded; 1: not recorded; 2: not called like this."""


def call_once(words: Sequence[str], run_dir: Path) -> int:
    """Do what `--call` asks for and print the reply; returns the exit code."""
    try:
        name, text = words
        arguments = msgspec.json.decode(sys.stdin.buffer.read() if text == "-" else text)
        if not isinstance(arguments, dict):
            raise ValueError("the arguments are no JSON object")
    except (ValueError, RecursionError) as error:
        print(f"ve.runtool: {error}" if len(words) == 2 else USAGE, file=sys.stderr)
        return 2
    reply = RunServer(Tools(run_dir), lambda: None).call({"name": name, "arguments": arguments})
    print(reply["content"][0]["text"], file=sys.stderr if reply["isError"] else sys.stdout)
    if reply["isError"]:
        return 1
    _nudge(run_dir)
    return 0


def main() -> None:
    """Serve the run of the folder given, until stdin ends; or do one call."""
    words = sys.argv[1:]
    once = words[:1] == ["--call"]
    place = os.environ.get("VE_RUN_DIR", "") if once or not words else words[0]
    if not place:
        print(
            "ve.runtool: which run? Set VE_RUN_DIR, or give the run's folder as the argument.",
            file=sys.stderr,
        )
        sys.exit(2)
    if once:
        sys.exit(call_once(words[1:], Path(place)))
    RunServer(Tools(Path(place)), lambda: _nudge(Path(place))).serve()


if __name__ == "__main__":
    main()
