"""The table of commands. Rule: a line each, loaded when it is called, so `--help` loads none of them."""

from __future__ import annotations

from cyclopts import App, Group, Parameter

from ve import __version__

_EVERYDAY = Group.create_ordered("Work")
_LOOK = Group.create_ordered("Look")
_DECIDE = Group.create_ordered("Decide")
_DAEMON = Group.create_ordered("Daemon")

# Plain text: the markdown form of help costs half as much again as everything else that a help page needs.
app = App(
    name="ve",
    help="Run many coding agents on one repository at once, without losing sight of any of them.",
    version=f"ve {__version__}",
    help_format="plaintext",
    default_parameter=Parameter(negative=(), show_default=False),
)

orch = App(name="orch", help="The orchestrator: chunks in, merges out.")
work_unit = App(name="work-unit", help="One unit of work.", group=_LOOK)
chunk = App(name="chunk", help="The documents that agents work from: one folder for each piece of work.")
history = App(name="history", help="What happened: every transition, kept.")

app.command("ve.cli.service:init", name="init", help="Prepare this repository for ve.")
app.command("ve.cli.mcp:mcp", name="mcp", help="Serve the documents to an agent, as MCP tools.")
app.command("ve.demo:command", name="demo", help="Six chunks at once on a small project.")
app.command(orch)
app.command(chunk)
app.command(history)

for _group, _home, _commands in (
    (_EVERYDAY, "ve.cli.acts", {
        "inject": "Queue chunks: all of them or none.",
    }),
    (_LOOK, "ve.cli.look", {
        "ps": "The units: phase, status, what each waits for.",
        "attention": "Who needs you, by cause: what is asked or wrong, and what to do.",
        "why": "Why a unit does not run at the moment.",
    }),
    (_LOOK, "ve.cli.agents", {
        "agents": "Which agents can be used here, and what each can do.",
    }),
    (_LOOK, "ve.cli.tail", {
        "tail": "What a unit's runs print; without a chunk, what happens to all units.",
    }),
    (_DECIDE, "ve.cli.acts", {
        "answer": "Answer an agent's question.",
        "retry": "Go on where a unit stopped.",
        "resolve": "Decide a conflict, a review, a dependency that is gone.",
        "approve": "Say yes to a merge, or to a setup or check command.",
        "prioritize": "Higher goes first.",
        "pause": "Dispatch and land nothing of this unit, or of the board.",
        "unpause": "Dispatch and land again.",
        "cancel": "End a unit without a merge; its work is kept.",
        "merged": "Declare a unit's work done by hand.",
    }),
    (_DAEMON, "ve.cli.service", {
        "start": "Start the daemon of this repository.",
        "stop": "Stop it; waits for the runs unless told otherwise.",
        "status": "How the daemon is.",
        "url": "The address of the board, with a fresh one-time code.",
    }),
):  # fmt: skip
    for _name, _help in _commands.items():
        orch.command(f"{_home}:{_name}", name=_name, help=_help, group=_group)

orch.command(work_unit)
work_unit.command("ve.cli.look:show", name="show", help="Everything about a unit.")
orch.command(
    "ve.cli.settings:config", name="config", help="Every setting and its origin; set one.", group=_DAEMON
)

history.command("ve.cli.history:query", name="query", help="Ask in SQL.")
history.command("ve.cli.history:report", name="report", help="Lead times, waits, cost, rework at a glance.")
history.command("ve.cli.history:repair", name="repair", help="Copy what can be read of a damaged file.")

for _name, _help in {
    "create": "Begin chunks: GOAL.md and PLAN.md each; all of them, or none.",
    "activate": "Begin work on a FUTURE chunk in this worktree.",
    "pause": "Put a chunk back: FUTURE again.",
    "complete": "End a chunk: references checked, final status, links kept in step.",
    "supersede": "Say that another chunk changed what this one governed.",
    "approve": "Read a background chunk, and say yes to it.",
}.items():
    chunk.command(f"ve.cli.chunk_acts:{_name}", name=_name, help=_help, group=_EVERYDAY)
chunk.command(
    "ve.cli.chunk:list_chunks", name="list", help="List them by status; the latest; as a tree.", group=_LOOK
)
for _name, _help in {
    "show": "Show everything about one.",
    "validate": "Check documents, and print all that is wrong with them.",
    "overlap": "Who else refers to the same code.",
    "graph": "What each was created after and depends on; also for drawing programs.",
}.items():
    chunk.command(f"ve.cli.chunk:{_name}", name=_name, help=_help, group=_LOOK)

for _kind, _help in {
    "narrative": "A goal that takes several chunks.",
    "investigation": "A question, what was found, and the work that it led to.",
    "subsystem": "A part of the code with rules of its own.",
}.items():
    _group_of_kind = App(name=_kind, help=_help)
    app.command(_group_of_kind)
    for _name, _help in {
        "create": "Begin one, or several.",
        "list": "List them: status, and how many chunks they name.",
        "show": "Show one, and how far its chunks are.",
        "validate": "Check them: every problem at once, with its place.",
        "status": "Set the status.",
    }.items():
        _group_of_kind.command(f"ve.cli.kinds:{_kind}_{_name}", name=_name, help=_help)

friction = App(name="friction", help="What gets in people's way: docs/trunk/FRICTION.md.")
app.command(friction)
for _name, _help in {
    "add": "Write down what got in the way, under the next number.",
    "list": "List the entries: open, or resolved by which chunk.",
    "show": "Show one entry.",
}.items():
    friction.command(f"ve.cli.kinds:friction_{_name}", name=_name, help=_help)
