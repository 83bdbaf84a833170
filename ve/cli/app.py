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
history = App(name="history", help="What happened: every transition, kept.")

app.command("ve.cli.service:init", name="init", help="Prepare this repository for ve.")
app.command("ve.demo:command", name="demo", help="Six chunks at once on a small project.")
app.command(orch)
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
