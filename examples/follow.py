"""Queue chunks and follow them to their merge: python examples/follow.py REPOSITORY CHUNK...

Answers each question with its first option, as a policy of your own would. Starts the daemon if none runs,
and leaves it running. Only what is on disk is read here, so nothing is acted upon that a crash could undo.
"""

from __future__ import annotations

import asyncio
import sys

import ve


async def bring_home(orch: ve.Orchestrator, chunks: list[str]) -> None:
    # The cursor first: what happens between this line and the first step read is read as well.
    cursor = orch.cursor
    waiting = {unit.id: unit for unit in orch.inject(*chunks)}
    async for step in orch.follow(since=cursor):
        if isinstance(step, ve.Resync):
            print(f"something was missed: {step.reason}")
            continue
        if step.unit is None or step.unit.id not in waiting:
            continue
        view = step.unit
        print(f"{view.chunk:12} {step.command:14} {view.status:16} {view.phase}")
        if step.command == "Ask":
            for question in view.questions:
                if question.state == "open":
                    waiting[view.id].answer(option=1, question=question.id)
        elif view.status == "NEEDS_ATTENTION" and view.attention_kind != "question":
            raise ve.RefusedError(f"{view.chunk} needs a person: {view.attention_reason}")
        elif view.status in ("DONE", "CANCELLED"):
            del waiting[view.id]
            if not waiting:
                return


def main() -> int:
    repository, *chunks = sys.argv[1:]
    with ve.Orchestrator(repository, start=True) as orch:
        asyncio.run(bring_home(orch, chunks))
        orch.history.lead_time().project("chunk, status, seconds").show()
    return 0


if __name__ == "__main__":
    sys.exit(main())
