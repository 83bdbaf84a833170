"""`ve`: runs one command and turns what went wrong into words on stderr and an exit code.

0 done · 1 refused or failed · 2 usage · 3 no daemon · 130 interrupted
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

from cyclopts.exceptions import CycloptsError

from ve.cli.app import app
from ve.cli.output import complain
from ve.errors import UsageError, VeError

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    if os.name == "nt":
        complain(VeError("runs on Linux and macOS", hint="On Windows, run it inside WSL2."))
        return VeError.exit_code
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller; the next file opened must not take its place
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that cannot show a character gets its number; the command does not fail for it.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(
            sys.argv[1:] if arguments is None else arguments,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
    except CycloptsError as error:
        complain(usage_error(error))
        return UsageError.exit_code
    except VeError as error:
        complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the answer has seen enough; what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO, errno.EFBIG):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        complain(VeError(f"the answer cannot be written: {error.strerror}", where="stdout"))
        return VeError.exit_code
    return code if isinstance(code, int) else 0


def usage_error(error: CycloptsError) -> UsageError:
    """What cyclopts says about the words of a call, in the form of all errors."""
    from rich.text import Text

    said = Text.from_markup(str(error)).plain if "[/" in str(error) else str(error)
    words = " ".join(("ve", *(error.command_chain or ())))
    return UsageError(said, hint=f"See: {words} --help")


if __name__ == "__main__":
    sys.exit(main())
