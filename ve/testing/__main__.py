"""`python -m ve.testing`: the scripted model as a program of its own.

Its first line says where it is: {"port": N, "url": "http://127.0.0.1:N"}. It ends with SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ve.testing.performer import Performer
from ve.testing.server import ScriptedModel
from ve.testing.turns import decode


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ve.testing",
        description="A model that follows a script, over the Messages, Responses and Chat Completions APIs.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--script", type=Path, metavar="FILE", help="a JSON list of turns and refusals")
    what.add_argument(
        "--perform", action="store_true", help="do what each chunk's script.toml says, by the newest prompt"
    )
    parser.add_argument("--port", type=int, default=0, help="0, the default: any that is free")
    parser.add_argument("--log", type=Path, metavar="FILE", help="a JSON line a request; keys are hidden")
    given = parser.parse_args(arguments)
    # Blocked before any thread begins, so that all inherit it and only sigwait below takes them.
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        turns = decode(given.script.read_bytes()) if given.script else ()
        model = ScriptedModel(
            turns, perform=Performer() if given.perform else None, port=given.port, log=given.log
        )
    except (OSError, OverflowError, msgspec.DecodeError) as error:
        parser.error(f"{given.script or f'port {given.port}'}: {error}")
    with model:
        print(msgspec.json.encode({"port": model.port, "url": model.url}).decode(), flush=True)
        signal.sigwait(ends)
    return 0


if __name__ == "__main__":
    sys.exit(main())
