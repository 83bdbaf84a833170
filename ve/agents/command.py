"""Any program as an agent: the prompt on its stdin or in a file, its exit code all that it says.

It knows nothing of `ve`, so nothing of its output is read: exit code 0 is its terminal statement, and what
its phase must change is still required. A program that wants to ask or to decide a review calls the tools by
`"$VE_RUN_PYTHON" -I -m ve.runtool --call`: docs/howto/agent-command.md.
"""

from __future__ import annotations

import sys
from typing import ClassVar

from ve.agents.base import Abilities, Event, Fitness, Job, Launch, Settings
from ve.agents.program import fitness, variables

PROMPT = "{prompt}"


class Command:
    """Adapter of a program that is no coding agent's own client."""

    name: ClassVar[str] = "command"
    title: ClassVar[str] = "The command"
    install: ClassVar[str] = ""
    abilities: ClassVar[Abilities] = Abilities(resume=False, ask=False, usage=False, events=False)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def check(self) -> Fitness:
        """Only whether the program is there: it is not started."""
        return fitness(self.name, self._settings.command, self._settings.env, "PROGRAM")

    def launch(self, job: Job) -> Launch:
        """The word `{prompt}` is replaced by the path of the prompt; without it the prompt is the stdin."""
        prompt = f"{job.run_dir}/prompt.md"
        words = (*self._settings.command, *self._settings.args)
        env, passes = variables(self._settings.env)
        told = {"VE_RUN_PYTHON": sys.executable, "VE_RUN_PHASE": job.phase, "VE_RUN_CHUNK": job.chunk}
        return Launch(
            argv=tuple(word.replace(PROMPT, prompt) for word in words) or (self.name,),
            env={**told, **env},
            stdin=None if any(PROMPT in word for word in words) else prompt,
            passes=passes,
        )

    def parse(self, line: bytes) -> tuple[Event, ...]:
        """None: a program's text says nothing that counts."""
        return ()
