"""A hint to the daemon that there is something to read: raw HTTP on its Unix socket, best effort.

Imported by the supervisor: standard library only, and as little of it as possible.
"""

from __future__ import annotations

import select
import socket
import time

NUDGE_GAP_S = 0.1
NUDGE_WAIT_S = 0.2


class Nudge:
    """Tells the daemon to look at the run. Best effort: it may be down, busy or gone, and no one waits."""

    def __init__(self, run: str, where: object, poll: select.poll | None = None) -> None:
        self.poll = poll
        self.sock: socket.socket | None = None
        self.due: float | None = None
        self.sent = 0.0
        self.path = ""
        if isinstance(where, dict) and where.get("socket"):
            self.path = str(where["socket"])
            self.request = (
                f"POST /runs/{run}/nudge HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
                f"Authorization: Bearer {where.get('token', '')}\r\nConnection: close\r\n\r\n"
            ).encode()

    def want(self) -> None:
        """Ask for a nudge, at once or 0.1 s after the one before."""
        if self.path and self.due is None:
            self.due = max(time.monotonic(), self.sent + NUDGE_GAP_S)

    def step(self) -> None:
        """Send the nudge that is due, and close one that was answered or waited long enough."""
        moment = time.monotonic()
        if self.sock is not None and moment >= self.sent + NUDGE_WAIT_S:
            self.close()
        if self.due is not None and moment >= self.due and self.sock is None:
            self.due = None
            self.sent = moment
            self._send()

    def next(self) -> float | None:
        """When `step` is needed again."""
        if self.sock is not None:
            return self.sent + NUDGE_WAIT_S
        return self.due

    def owns(self, fd: int) -> bool:
        """Whether this descriptor is the nudge's; when it is ready, the daemon has answered."""
        return self.sock is not None and self.sock.fileno() == fd

    def close(self) -> None:
        """Let go of the nudge under way."""
        if self.sock is not None:
            if self.poll is not None:
                self.poll.unregister(self.sock)
            self.sock.close()
            self.sock = None

    def last(self) -> None:
        """One nudge now; waits for the answer, at most 0.2 s, so that it is not cut off."""
        self.close()
        if self.path:
            self._send()
        if self.sock is not None:
            select.select([self.sock], [], [], NUDGE_WAIT_S)
            self.close()

    def _send(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(self.path)
            sock.send(self.request)
        except OSError:
            sock.close()
        else:
            self.sock = sock
            if self.poll is not None:
                self.poll.register(sock, select.POLLIN)
