"""uvicorn's HTTP protocol with the bounds that it lacks, and with answers that leave whole in one write.

The bounds are on the size of a request's head and on the time of all of it; their timer is armed only for a request
that has not arrived whole in one read, so the usual request pays nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast
from urllib.parse import unquote

from httptools import parse_url
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from pilotage.gateway.addresses import ADDRESSES
from pilotage.gateway.exchange import Exchange, Shed, error_answer, shed_answer
from pilotage.gateway.skim import NONE, skim
from pilotage.gateway.tls import Certificate, certificate_of

__all__ = ["BoundedHttp"]


_SMALL_DIGITS = len("99999")
"""A body whose declared length has more digits is not waited for: its size is judged before its first byte is read."""

_FAREWELL_S = 0.5

_MOST_IN_LINE = 64
"""So many requests of one connection may be unanswered before it is not read further."""

_LEAST = 64
"""A usual request has more bytes."""

_NEVER_SHED = frozenset(address.template.encode() for address in ADDRESSES if address.access == "open")

_LEFT = Shed(b"", True)
_LEFT.response_complete = True

_TOO_LARGE = error_answer(
    b"431 Request Header Fields Too Large",
    code=b"headers_too_large",
    message=b"the headers are too large",
    mend=b"send fewer headers",
)
_TOO_SLOW = error_answer(
    b"408 Request Timeout",
    code=b"request_timeout",
    message=b"the request did not arrive in time",
    mend=b"send it again",
)


_MALFORMED = error_answer(
    b"400 Bad Request",
    code=b"malformed_request",
    message=b"this is no HTTP request",
    mend=b"send HTTP/1.1 as RFC 9112 writes it",
)


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
    _head = _read = 0
    _refusal = b""
    _spilled = 0
    _timer: asyncio.TimerHandle | None = None
    _idle_timer: asyncio.TimerHandle | None = None
    _idle_since = 0.0
    _known_url: bytes | None = None
    _waiting = False
    _body = b""
    _direct: Any = None
    _shedding: Any = None
    _usual = NONE
    _origin = "unknown"
    _dropping = False
    _certificate: Certificate | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that never asks is idle from here on."""
        super().connection_made(transport)
        self._direct = getattr(self.app, "answer_directly", None)
        self._shedding = getattr(self.app, "shedding", None)
        self.line: deque[Any] = deque()
        if self.client:
            self._origin = self.client[0]
        if self.scheme == "https":
            self._certificate = certificate_of(transport.get_extra_info("peercert"))
        self._rest()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; afterwards look at a request that is not whole yet."""
        shedding = self._shedding
        if shedding is not None:
            if shedding.over:
                shedding.begin(self.loop.time())
                self.loop.call_soon(shedding.end)
            if shedding.left * _LEAST < len(data) and not self._arriving:
                data = self._shed_unread(data)
                if not data:
                    return
        self._parse(data)
        if self._arriving:
            self._not_whole(len(data))

    def _parse(self, data: bytes) -> None:
        self._read = len(data)
        super().data_received(data)

    def _shed_unread(self, data: bytes) -> bytes:
        """Answer 503 to those whole requests that come after what this turn has room for; what remains to be read."""
        if self.transport.is_closing() or not (self.cycle is None or self.cycle.keep_alive):
            return data
        begin, usual, room = 0, self._usual, self._shedding.left
        while room > 0:
            number, begin, usual = skim(data, begin, usual, most=room, head_bytes=self.head_bytes)
            room = room - number if number else 0
        shed, end, ready = 0, begin, b""
        while True:
            number, end, usual = skim(data, end, usual, head_bytes=self.head_bytes)
            if not number or usual.path in _NEVER_SHED:
                break
            shed, ready, rest = shed + number, ready + shed_answer(usual.path, b"POST", True) * number, end
        if not shed:
            return data
        if begin:
            self._parse(data[:begin])
        self._usual = usual
        self._answer_shed(ready, True, shed)
        return data[rest:]

    def on_message_begin(self) -> None:
        """A request begins."""
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._arriving = self._in_head = True
        self._head = self._spilled = 0
        self._dropping = False

    def on_headers_complete(self) -> None:
        """The head has ended: shed the request, wait for a small body, or begin to answer at once."""
        if self._read + self._head > self.head_bytes and self._size_of_head() > self.head_bytes:
            self._refusal = _TOO_LARGE
            raise ValueError("the head is too large")
        self._in_head = False
        if self._shedding is not None:
            if self._shedding.left <= 0 and self.url.partition(b"?")[0] not in _NEVER_SHED:
                self._shed_this()
                return
            self._shedding.left -= 1
        self._waiting = not self.expect_100_continue and not any(
            name == b"content-length" and len(value) > _SMALL_DIGITS for name, value in self.headers
        )
        if not self._waiting:
            self._begin()

    def _shed_this(self) -> None:
        """Answer 503 in its place; its body, if any, is read and dropped. Who waits to be told to go on is let go."""
        self._dropping = True
        stays = not self.expect_100_continue and self._stays(self.parser.get_http_version())
        self._answer_shed(shed_answer(self.url, self.parser.get_method(), stays), stays)

    def _answer_shed(self, ready: bytes, stays: bool, number: int = 1) -> None:
        """Let so many ready answers leave, at once or behind those before them."""
        self._shedding.count(self._origin, number)
        if not self._idle:
            self._line_up(answer := Shed(ready, stays))
            if number > _MOST_IN_LINE:
                self.flow.pause_reading()
            self.cycle = cast(RequestResponseCycle, answer)
        elif not self.transport.is_closing():
            self.cycle = cast(RequestResponseCycle, _LEFT)
            self._idle_since = self._shedding.at
            self.transport.write(ready)
            if not stays:
                self.transport.close()
            elif self.flow.write_paused:
                # Nobody reads the answers.
                self.flow.pause_reading()

    @property
    def _idle(self) -> bool:
        """Whether the next answer is not behind another."""
        before = self.cycle
        return before is None or before.response_complete

    def _line_up(self, answer: Any) -> None:
        """Let an answer wait for its turn: answers leave in the order of their requests."""
        if not self.line:
            self.line.append(self.cycle)
        self.line.append(answer)
        if len(self.line) > _MOST_IN_LINE:
            self.flow.pause_reading()

    def _begin(self) -> None:
        """Answer through ASGI, at once or after the requests before this one on the connection."""
        self._waiting = False
        version = self.parser.get_http_version()
        answer = Exchange(self, self._scope(version), self._stays(version), self.expect_100_continue)
        answer.body, self._body = self._body, b""
        if self._idle:
            self._start_asgi_task(cast(RequestResponseCycle, answer), self.app)
        else:
            self._line_up(answer)
            self.flow.pause_reading()
        self.cycle = cast(RequestResponseCycle, answer)

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def send_400_response(self, msg: str) -> None:
        """What the parser cannot read, or was stopped in, is answered in the form of every error."""
        self._end(self._refusal or _MALFORMED)

    def _stays(self, version: str) -> bool:
        return version != "1.0" and bool(self.parser.should_keep_alive())

    def _scope(self, version: str) -> Any:
        if self.url != self._known_url:
            # A connection asks the same address again and again.
            parsed = parse_url(self.url)
            self._known = {
                "type": "http",
                "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
                "scheme": self.scheme,
                "server": self.server,
                "client": self.client,
                "root_path": "",
                "path": unquote(parsed.path.decode("ascii")),
                "raw_path": parsed.path,
                "query_string": parsed.query or b"",
                "client_certificate": self._certificate,
            }
            self._known_url = self.url
        method = self.parser.get_method().decode("ascii")
        return {**self._known, "http_version": version, "method": method, "headers": self.headers}

    def on_body(self, body: bytes) -> None:
        """Keep a piece for the application; drop what comes after an early answer, within bounds."""
        if self._waiting:
            self._body += body
            if len(self._body) > HIGH_WATER_LIMIT:
                self._begin()
            return
        answer = self.cycle
        if self._dropping or answer.response_complete:
            self._spilled += len(body)
            if self._spilled > self.spill_bytes:
                self.transport.close()
            return
        answer.body += body
        if len(answer.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        answer.message_event.set()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._arriving = False
        self._stop_timer()
        if self._waiting:
            if self._answered_directly():
                return
            self._begin()
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def _answered_directly(self) -> bool:
        if self._direct is None or self.flow.write_paused or self.parser.get_method() != b"POST":
            return False
        stays = self._stays(self.parser.get_http_version())
        answer = self._direct(self, self.url, self.headers, self._body, stays)
        if answer is None:
            return False
        if not self._idle:
            self._line_up(answer)
        self.cycle, self._waiting, self._body = answer, False, b""
        return True

    def on_response_complete(self) -> None:
        """An answer has left: begin the next that waits on this connection, or count its idle time from here.

        One timer a connection looks whether it was idle for long, so that no request has to set and cancel one.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if not self.flow.write_paused:
            self.flow.resume_reading()
        if not self.line or self._next_in_line():
            self._rest()

    def _next_in_line(self) -> bool:
        """The first in line has left: let those follow that are ready, or begin the next. Whether none is left."""
        self.line.popleft()
        while self.line:
            answer = self.line[0]
            if isinstance(answer, Exchange):
                self._start_asgi_task(cast(RequestResponseCycle, answer), self.app)
                return False
            if not answer.ready:
                return False
            self.line.popleft()
            answer.response_complete = True
            self.transport.write(answer.ready)
            if not answer.keep_alive:
                self.transport.close()
                return False
        return True

    def resume_writing(self) -> None:
        """The client reads its answers again: read its requests again."""
        super().resume_writing()
        self.flow.resume_reading()

    def shutdown(self) -> None:
        """The server is stopping: what has arrived, or is arriving, is still answered; then the connection ends."""
        if self._waiting:
            self._begin()
        super().shutdown()
        if self.transport.is_closing():
            # Over TLS a resting client need not answer the farewell, and no worker waits for that.
            self.loop.call_later(_FAREWELL_S, self.transport.abort)

    def _rest(self) -> None:
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._look_whether_idle)

    def _look_whether_idle(self) -> None:
        self._idle_timer = None
        busy = self._arriving or (self.cycle is not None and not self.cycle.response_complete)
        left = self.timeout_keep_alive if busy else self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._idle_timer = self.loop.call_later(left, self._look_whether_idle)
        elif not self.transport.is_closing():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; so are its timers."""
        self._arriving = False
        self._stop_timer()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        for answer in self.line:
            answer.disconnected = True
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
            if self._may_answer_now():
                self.transport.write(answer)
            self.transport.close()

    def _may_answer_now(self) -> bool:
        """Whether bytes written now would be the answer to the request that is arriving, and to no other."""
        if self.cycle is None:
            return True
        if self._in_head or self._waiting:
            return bool(self.cycle.response_complete)
        return not self.cycle.response_started and not self.line

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
