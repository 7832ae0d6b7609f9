"""Where the processes of a home listen and answer."""

from __future__ import annotations

import json
import os
import socket
import ssl
from pathlib import Path

from pilotage.errors import Unavailable

__all__ = ["bind", "endpoints", "listener", "own_context"]


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. Raises Unavailable when the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"cannot listen on {host}:{port}: {error.strerror}",
            mend="stop what listens there, or choose another port with --gateway-port or --console-port",
        ) from error
    return listener


def listener(fd: int | None, host: str, port: int) -> socket.socket:
    """The socket that a supervisor handed over, or a new one on this address."""
    return bind(host, port) if fd is None else socket.socket(fileno=fd)


def own_context(url: str) -> ssl.SSLContext | None:
    """For a look at our own address on this machine, whose certificate names another."""
    if not url.startswith("https:"):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def endpoints(run: Path) -> dict[str, str]:
    """Where the running installation answers: {gateway, console, pid}. Raises Unavailable when nothing runs."""
    try:
        found: dict[str, str] = json.loads((run / "endpoints.json").read_bytes())
        os.kill(int(found["pid"]), 0)
    except (OSError, ValueError, KeyError) as error:
        raise Unavailable("nothing is running in this home", mend="run: pilotage up") from error
    return found
