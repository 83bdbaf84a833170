"""The two places where the daemon listens: a port of this machine, and a socket of its user."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from ve.errors import ConfigError
from ve.paths import make_socket_dir


def bind_tcp(host: str, port: int, preferred: int | None) -> socket.socket:
    """A listening socket; `preferred` is tried first where `port` is 0. Raises ConfigError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if port == 0 and preferred:
        with contextlib.suppress(OSError):
            return socket.create_server((host, preferred), family=family)
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            where="server.port" if port else "server.host",
            hint="Take any free port: ve orch config set server.port 0",
        ) from error


def bind_unix(path: Path) -> socket.socket:
    """The daemon's socket, in a folder that only its user may enter. The daemon holds its lock already."""
    make_socket_dir(path)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    return listener
