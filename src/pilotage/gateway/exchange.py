"""One HTTP request and its answer on a connection of the gateway: the answer leaves whole, in one write.

It stands in for uvicorn's `RequestResponseCycle`, which writes head and body apart and looks at every header with
regular expressions: a quarter of what a small answer costs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Protocol

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

__all__ = ["Connection", "Exchange", "Shed", "answer_bytes", "error_answer", "shed_answer"]

_log = logging.getLogger(__name__)
_CLOSE = (b"connection", b"close")


class Connection(Protocol):
    """What an exchange uses of its connection."""

    transport: asyncio.Transport
    flow: FlowControl
    loop: asyncio.AbstractEventLoop

    def on_response_complete(self) -> None:
        """The answer has left."""


def error_answer(status: bytes, *, code: bytes, message: bytes, mend: bytes) -> bytes:
    """A whole answer for a request that never gets to the application; the connection ends with it."""
    body = b'{"error":{"code":"%s","message":"%s","mend":"%s"}}' % (code, message, mend)
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (status, len(body)) + body


_SHED_HEAD = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nretry-after: 1\r\n%b\r\n"
)
_SHED_WHY = b"more requests came than this worker can answer in time"
_SHED_MEND = b"try again in a second"
_SHED = b'{"error":{"code":"overloaded","message":"%b","mend":"%b"}}' % (_SHED_WHY, _SHED_MEND)
_SHED_V2 = b'{"error":"%b","code":"overloaded","mend":"%b"}' % (_SHED_WHY, _SHED_MEND)
_SHED_ANSWERS = {
    (form, method, stays): _SHED_HEAD % (len(body), b"" if stays else b"connection: close\r\n")
    + (body if method else b"")
    for form, body in ((b"", _SHED), (b"/v2", _SHED_V2))
    for method in (True, False)
    for stays in (True, False)
}


def shed_answer(url: bytes, method: bytes, stays: bool) -> bytes:
    """The ready-made answer to a request that is shed, in the form of the protocol spoken at an address."""
    return _SHED_ANSWERS[b"/v2" if url[:4] == b"/v2/" else b"", method != b"HEAD", stays]


class Shed:
    """A request that is shed: its answer is ready before anything was read but its head."""

    __slots__ = ("disconnected", "keep_alive", "more_body", "ready", "response_complete")

    response_started = False

    def __init__(self, ready: bytes, keep_alive: bool) -> None:
        self.ready, self.keep_alive = ready, keep_alive
        self.more_body = self.disconnected = self.response_complete = False

    @property
    def message_event(self) -> Shed:
        """What is told that the rest of the body came, or the connection was lost."""
        return self

    def set(self) -> None:
        """Nobody waits."""


def answer_bytes(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> tuple[bytes, bytes]:
    """(the status line and the headers without the empty line after them, the body). Raises ValueError."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    head = b"".join(lines)
    if head.count(b"\n") != len(lines):
        raise ValueError("a header of the answer holds a line break")
    return STATUS_LINE[status] + head, body


_FAILED = error_answer(
    b"500 Internal Server Error",
    code=b"internal",
    message=b"the gateway failed",
    mend=b"tell the operator; see its log",
)


class Exchange:
    """One request and its answer, as ASGI has them: the head waits for the body, and both leave in one write.

    It stands in for uvicorn's `RequestResponseCycle`, and is told of the connection by the same attributes. The
    application sends one head and one body, with a `content-length` of its own.
    """

    __slots__ = (
        "_arrived",
        "_http",
        "_start",
        "_tell_to_continue",
        "body",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
    )

    def __init__(self, http: Connection, scope: Any, keep_alive: bool, tell_to_continue: bool) -> None:
        self._http, self.scope, self.keep_alive, self._tell_to_continue = http, scope, keep_alive, tell_to_continue
        self._arrived: asyncio.Future[None] | None = None
        self._start: Any = None
        self.body = b""
        self.more_body = True
        self.disconnected = self.response_started = self.response_complete = False

    @property
    def message_event(self) -> Exchange:
        """What uvicorn sets when a piece of the body arrived, or the connection was lost."""
        return self

    def set(self) -> None:
        """Wake whoever waits for more of the body."""
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def run_asgi(self, app: Any) -> None:
        """Answer; a fault of the application itself is a 500, and the connection is closed."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:  # noqa: BLE001 - whatever it is: the client hears of it, the log has the rest
            _log.exception("the application failed")
        if not self.response_complete and not self.disconnected:
            self._http.transport.write(_FAILED)
            self._http.transport.close()

    async def receive(self) -> dict[str, Any]:
        """The next piece of the body."""
        if self._tell_to_continue and not self._http.transport.is_closing():
            self._http.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._tell_to_continue = False
        if self.more_body and not self.body and not self.disconnected:
            self._http.flow.resume_reading()
            self._arrived = self._http.loop.create_future()
            await self._arrived
            self._arrived = None
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        piece, self.body = self.body, b""
        return {"type": "http.request", "body": piece, "more_body": self.more_body}

    async def send(self, message: Any) -> None:
        """Keep the head; with the body, write both."""
        if not self.response_started:
            self._start, self.response_started = message, True
            self._tell_to_continue = False
            return
        http = self._http
        if http.flow.write_paused and not self.disconnected:
            await http.flow.drain()
        if self.disconnected:
            return
        headers = self._start["headers"]
        if _CLOSE in headers:
            self.keep_alive = False
        elif not self.keep_alive:
            headers = [*headers, _CLOSE]
        body = b"" if self.scope["method"] == "HEAD" else message["body"]
        head, body = answer_bytes(self._start["status"], headers, body)
        http.transport.write(b"%b\r\n%b" % (head, body))
        self.response_complete = True
        if not self.keep_alive:
            http.transport.close()
        http.on_response_complete()
