"""uvicorn's HTTP protocol with a bound on the head of a request: it has none of its own, and keeps what it reads."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pilotage.gateway.exchange import error_answer

__all__ = ["BoundedHead"]

_TOO_LARGE = error_answer(
    b"431 Request Header Fields Too Large",
    code=b"headers_too_large",
    message=b"the headers are too large",
    mend=b"send fewer headers",
)


class BoundedHead(HttpToolsProtocol):
    """One connection. A head over `head_bytes`, whole or not, is answered 431 and the connection closed."""

    head_bytes = 32_768

    _in_head = False
    _head = 0

    def data_received(self, data: bytes) -> None:
        """Feed the parser; afterwards look at a head that is not whole yet."""
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > self.head_bytes:
                self._refuse()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head = True, 0

    def on_headers_complete(self) -> None:
        """The head has ended: answer it, unless it is too large."""
        self._in_head = False
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > self.head_bytes:
            self._refuse()
            raise ValueError("the head is too large")
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What the parser cannot read, or was stopped in: the latter is answered already."""
        if not self.transport.is_closing():
            super().send_400_response(msg)

    def _refuse(self) -> None:
        self._in_head = False
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_TOO_LARGE)
            self.transport.close()
