"""uvicorn's HTTP protocol with the bounds that it lacks: the size of a request's head, and the time of all of it.

The timer is armed only for a request that has not arrived whole in one read, so the usual request pays nothing.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["BoundedHttp"]


def _answer(status: bytes, code: bytes, message: bytes, mend: bytes) -> bytes:
    body = b'{"error":{"code":"%s","message":"%s","mend":"%s"}}' % (code, message, mend)
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (status, len(body)) + body


_TOO_LARGE = _answer(
    b"431 Request Header Fields Too Large", b"headers_too_large", b"the headers are too large", b"send fewer headers"
)
_TOO_SLOW = _answer(b"408 Request Timeout", b"request_timeout", b"the request did not arrive in time", b"send it again")


class BoundedHttp(HttpToolsProtocol):
    """One connection. A head over the bound is answered 431, a request that drips in 408, and the connection closed.

    After an answer that came before its whole body (a 413), the rest of the body is read and dropped, so that the
    client gets to read the answer, but only up to `spill_bytes`.
    """

    head_bytes = 32_768
    spill_bytes = 67_108_864
    request_s = 10.0

    _arriving = False
    _in_head = False
    _head = 0
    _spilled = 0
    _timer: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; afterwards look at a request that is not whole yet."""
        super().data_received(data)
        if self._arriving:
            self._not_whole(len(data))

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._arriving = self._in_head = True
        self._head = self._spilled = 0

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self._in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Drop what comes after an early answer, within bounds."""
        if self.cycle.response_complete:
            self._spilled += len(body)
            if self._spilled > self.spill_bytes:
                self.transport.close()
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._arriving = False
        self._stop_timer()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; so is its timer."""
        self._arriving = False
        self._stop_timer()
        super().connection_lost(exc)

    def _not_whole(self, size: int) -> None:
        if self._in_head:
            self._head += size
            if self._head > self.head_bytes:
                self._end(_TOO_LARGE)
                return
        if self._timer is None:
            self._timer = self.loop.call_later(self.request_s, self._end, _TOO_SLOW)

    def _end(self, answer: bytes) -> None:
        self._arriving = False
        if not self.transport.is_closing():
            if self.cycle is None or not self.cycle.response_started:
                self.transport.write(answer)
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
