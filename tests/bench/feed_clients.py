"""Clients of the feed with as little of their own as possible, all in one process.

    python feed_clients.py PORT CLIENTS COUNT [TOKEN]     without a token: the bare socket

Prints `ready` once every client has its snapshot, and at the end a line of JSON: the delays in
microseconds from the stamp in a transition to the return of the read that brought it, of every client
and transition. Messages are not decoded: the stamp is searched for in the bytes.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time

from ground import cpu_seconds

STAMP = re.compile(rb'"detail":\{[^{}]*"priority":(\d+)')
LIMIT_S = 60.0


class Client:
    """A socket, and what of its stream is not whole yet."""

    def __init__(self, port: int, token: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.pending = b""
        self.seen = 0
        if token:
            request = (
                f"GET /feed HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                f"Upgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                f"Authorization: Bearer {token}\r\n\r\n"
            )
            self.socket.sendall(request.encode())
            while b"\r\n\r\n" not in self.pending:
                self.pending += self.socket.recv(65536)
            head, _, self.pending = self.pending.partition(b"\r\n\r\n")
            assert b" 101 " in head, head
            while not self.messages():
                self.pending += self.socket.recv(1 << 20)

    def messages(self) -> list[bytes]:
        """The whole messages that have arrived: what a server sends is never masked."""
        found = []
        data, at = self.pending, 0
        while len(data) >= at + 2:
            length, start = data[at + 1], at + 2
            if length > 125:
                wide = 2 if length == 126 else 8
                length, start = int.from_bytes(data[start : start + wide], "big"), start + wide
            if len(data) < start + length:
                break
            found.append(data[start : start + length])
            at = start + length
        self.pending = data[at:]
        return found


def main() -> None:
    """Read until every client has seen `COUNT` stamps."""
    port, count, wanted = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    token = sys.argv[4] if len(sys.argv) > 4 else ""
    clients = [Client(port, token) for _ in range(count)]
    chosen = selectors.DefaultSelector()
    for client in clients:
        chosen.register(client.socket, selectors.EVENT_READ, client)
    print("ready", flush=True)
    delays: list[int] = []
    messages = 0
    left, deadline, before = count, time.monotonic() + LIMIT_S, cpu_seconds()
    while left and time.monotonic() < deadline:
        for key, _ in chosen.select(1.0):
            client = key.data
            data = client.socket.recv(1 << 20)
            now = time.monotonic_ns() // 1000
            client.pending = client.pending + data if client.pending else data
            for message in client.messages():
                stamps = STAMP.findall(message)
                messages += 1
                delays.extend(now - int(stamp) for stamp in stamps)
                client.seen += len(stamps)
            if client.seen >= wanted:
                chosen.unregister(client.socket)
                left -= 1
            if not data:
                sys.exit("the server has gone")
    spent = cpu_seconds() - before
    print(
        json.dumps({"missing": left, "cpu": spent, "messages": messages, "delays": sorted(delays)}),
        flush=True,
    )


if __name__ == "__main__":
    main()
