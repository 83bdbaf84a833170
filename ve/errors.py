"""Every error that `ve` shows, as a tree.

    VeError
    ├── UsageError            the words of a call are off                        400   2
    │   └── InvalidInput      a body, a file or a key does not fit               400   2
    ├── NotFound              no such unit, chunk, run or repository             404   1
    ├── RefusedError          the state does not allow it now                    409   1
    ├── UnavailableError      the history cannot be written at the moment        503   1
    ├── NoDaemon              nothing answers for this repository                503   3
    ├── ConfigError           a configuration key or value is wrong              400   2
    ├── DocumentError         a chunk's document is wrong                        400   1
    ├── GitError              git or the repository refuses                      409   1
    ├── HistoryError          the history file cannot be opened, read or written 503   1
    └── RunError              an agent's process cannot be started or followed   500   1

The columns are the HTTP status and the exit code, which faces take from the class and
nowhere else. Each error says what is wrong, where, and what to do next; the hint stands
alone and names a command where there is one.
"""

from __future__ import annotations

from typing import ClassVar


class VeError(Exception):
    """Base of all errors of `ve`: `what` is wrong, `where`, and the `hint` for what to do next."""

    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"\n{self.hint}" if self.hint else ""
        return f"{place}{self.what}{advice}"


class UsageError(VeError):
    """The words of a call are off; nothing was done."""

    http_status = 400
    exit_code = 2


class InvalidInput(UsageError):
    """A body or file does not fit; `errors` lists each field with its message."""

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        hint: str = "",
        errors: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.errors = errors


class NotFound(VeError):
    """No such unit, chunk, run or repository."""

    http_status = 404


class RefusedError(VeError):
    """The state does not allow it now; `legal` names the verbs that it allows."""

    http_status = 409

    def __init__(self, what: str, *, where: str = "", hint: str = "", legal: tuple[str, ...] = ()) -> None:
        super().__init__(what, where=where, hint=hint)
        self.legal = legal


class UnavailableError(VeError):
    """The history cannot be written at the moment; whether the command took effect is in the text."""

    http_status = 503


class NoDaemon(VeError):
    """Nothing answers for this repository."""

    http_status = 503
    exit_code = 3


class ConfigError(UsageError):
    """A configuration key or value is wrong; nothing of that file was applied."""


class DocumentError(VeError):
    """A chunk's document is missing, broken or not committed."""

    http_status = 400


class GitError(VeError):
    """Git, or the state of the repository, refuses."""

    http_status = 409


class HistoryError(VeError):
    """The history file cannot be opened, read or written."""

    http_status = 503


class RunError(VeError):
    """An agent's process cannot be started or followed."""
