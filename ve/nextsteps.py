"""What may come next, as commands to copy: the same lines in the daemon's answers and on the command line.

Rule: only words in, only words out, and nothing loaded: every command of the command line begins here too.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable

_LINE = {
    "answer": "ve orch answer {target} 'TEXT'",
    "prioritize": "ve orch prioritize {target} N",
    "merged": "ve orch merged {target} COMMIT --reason 'WHY'",
}


def command_lines(
    verbs: Iterable[str],
    target: str,
    *,
    options: Collection[str] = (),
    paused: bool = False,
    questions: Collection[str] = (),
) -> list[str]:
    """A command for each verb, or for each choice that it has; `target` is a chunk or `@` and a group.

    `questions` are the ids of those that are open.
    """
    named = shlex.quote(target)
    lines: list[str] = []
    for verb in verbs:
        if verb == "answer" and len(questions) > 1:
            lines += [f"ve orch answer {named} --question {shlex.quote(one)} 'TEXT'" for one in questions]
            lines.append(f"ve orch answer {named} --edit")
            continue
        if verb == "answer":
            lines += [f"ve orch answer {named} --option {number}" for number, _ in enumerate(options, 1)]
        if verb == "resolve":
            lines += [_resolve(named, choice) for choice in options or ("CHOICE",)]
        elif verb not in ("pause", "unpause") or paused == (verb == "unpause"):
            lines.append(_LINE.get(verb, f"ve orch {verb} {{target}}").format(target=named))
    return lines


def _resolve(named: str, choice: str) -> str:
    text = " --text 'WHAT TO CHANGE'" if choice == "feedback" else ""
    return f"ve orch resolve {named} {shlex.quote(choice)}{text}"
