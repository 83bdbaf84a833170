"""Reading a file that another process still writes: whole lines only, from an offset that can be kept."""

from __future__ import annotations

from pathlib import Path

CHUNK = 1024 * 1024


class Tail:
    """A position in a growing file.

    `offset` is the start of the first line not handed out yet, in bytes: keep it, and a new Tail goes on
    from there. A line without its newline is not handed out; `rest` shows it once the writer is gone.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset
        self._partial = bytearray()

    def read_new(self, limit: int = CHUNK) -> list[bytes]:
        """The lines that were completed since, without newlines; reads at most about `limit` bytes.

        An empty list means that there is no whole line now: the file may not exist yet.
        """
        while True:
            data = self._read(limit)
            if not data:
                return []
            self._partial += data
            end = self._partial.rfind(b"\n", len(self._partial) - len(data)) + 1
            if end:
                lines = bytes(self._partial[: end - 1]).split(b"\n")
                del self._partial[:end]
                self.offset += end
                return lines

    def rest(self) -> bytes:
        """What stands after the last whole line."""
        while data := self._read(CHUNK):
            self._partial += data
        return bytes(self._partial)

    def _read(self, limit: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset + len(self._partial))
                return file.read(limit)
        except FileNotFoundError:
            return b""
