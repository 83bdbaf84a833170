"""Writing that survives a crash and a full disk: whole records, and capped output.

Imported by the supervisor: standard library only, and as little of it as possible.
"""

from __future__ import annotations

import json
import os
import time

Record = dict[str, object]

TAIL_BYTES = 256 * 1024
RESERVE_BYTES = 4096


def now() -> str:
    """The time as RFC 3339 in UTC with microseconds."""
    seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanos // 1000:06d}Z"


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_durably(folder: str, name: str, record: Record) -> None:
    """Write `name` as a whole or not at all. A file `name.tmp` that is there already lends its space."""
    path = os.path.join(folder, name)  # noqa: PTH118
    data = json.dumps(record).encode() + b"\n"
    fd = os.open(path + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, data)
        os.ftruncate(fd, len(data))
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(path + ".tmp", path)  # noqa: PTH105
    sync_folder(folder)


def reserve(folder: str) -> None:
    """Take the space for the exit record now, so that a full disk cannot keep it from being written."""
    path = os.path.join(folder, "exit.json.tmp")  # noqa: PTH118
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, b" " * RESERVE_BYTES)
        finally:
            os.close(fd)
    except OSError:
        pass  # the exit record is tried again until it can be written


class Sink:
    """One output file: capped, ending in a newline, and never a reason for the run to stop.

    Past the cap a marker line follows and the rest is dropped, but for the last 256 KiB: they are added
    at the end, because the agent's terminal event is the last of its lines.
    """

    def __init__(self, path: str, cap: int) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.cap = cap
        self.room = cap
        self.lost = 0
        self.in_line = False
        self.tail: bytearray | None = None

    def write(self, data: bytes) -> None:
        """Keep `data` as far as cap and disk allow."""
        if self.tail is None and len(data) > self.room:
            self._put(data[: self.room])
            self._mark(f"output limit of {self.cap} bytes reached; of the rest only the end is kept")
            self.tail = bytearray()
            data = data[self.room :]
        if self.tail is None:
            self.room -= len(data)
            self._put(data)
            return
        self.tail += data
        if len(self.tail) > 2 * TAIL_BYTES:
            del self.tail[:-TAIL_BYTES]

    def close(self) -> None:
        """Add the end of what was dropped, finish the last line, and make it durable if the disk can."""
        if self.tail:
            kept = bytes(self.tail[-TAIL_BYTES:])
            self._put(kept if len(self.tail) == len(kept) else kept.partition(b"\n")[2])
        if self.in_line or self.lost:
            self._put(b"" if self.lost else b"\n")
        try:
            os.fsync(self.fd)
        except OSError:
            self.lost += 1
        finally:
            os.close(self.fd)

    def _mark(self, text: str) -> None:
        start = "\n" if self.in_line else ""
        self._put(f"{start}[ve: {text}]\n".encode())

    def _put(self, data: bytes) -> None:
        mark = b""
        if self.lost:
            start = "\n" if self.in_line else ""
            mark = f"{start}[ve: {self.lost} bytes could not be written]\n".encode()
        whole = mark + data
        written = 0
        try:
            while written < len(whole):
                written += os.write(self.fd, whole[written:])
            self.lost = 0
        except OSError:
            told = written >= len(mark)
            self.lost = len(whole) - written if told else self.lost + len(data)
        if written:
            self.in_line = whole[written - 1 : written] != b"\n"
