"""The short way of the usual request: one row that fits its contract, scored by a runtime that answers at once.

It takes the steps of the way through ASGI on the connection itself: no task, no future, no scope, which cost as much
as governing does. Whatever is not usual (another address, a denial, a fault of the row, many rows, a stop) it leaves
untouched to that way, which says what is wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from pilotage.errors import PilotageError
from pilotage.gateway.decide import reply_to_one
from pilotage.gateway.exchange import answer_bytes
from pilotage.gateway.reply import Reply, error_reply, internal_error
from pilotage.gateway.turn import Pending

__all__ = ["Direct", "DirectConnection"]

_log = logging.getLogger(__name__)


class DirectConnection(Protocol):
    """What a direct answer uses of its connection."""

    transport: asyncio.Transport
    line: Sequence[object]

    def on_response_complete(self) -> None:
        """The answer has left."""


class Direct(Pending, eq=False):
    """One decision, what waits for its record, and its answer on the connection, in one object.

    The journal settles it as it would a future, and the connection treats it as it does an `Exchange`. `ended` is
    called once with the reply's outcome, its status and the error if there was one; it says whether the worker is
    draining, so that the connection ends with this answer.
    """

    connection: DirectConnection
    started_ns: int
    keep_alive: bool
    ended: Callable[[Direct, str, int, BaseException | None], bool]
    disconnected: bool = False
    response_complete: bool = False
    ready: bytes = b""

    body: ClassVar[bytes] = b""
    more_body: ClassVar[bool] = False
    response_started: ClassVar[bool] = False

    # As the journal sees it

    @property
    def durable(self) -> Direct:
        """Itself."""
        return self

    def done(self) -> bool:
        """Whether it was answered."""
        return self.response_complete or bool(self.ready)

    def set_result(self, _: None) -> None:
        """The record is on the disk: answer."""
        settled = self.settled
        if not settled.plain:
            self._reply(reply_to_one(self), None)
            return
        closing = self.ended(self, "answered", 200, None)
        head, content = self.live.forms.answer(
            self.id, self.asked.id, self.leaf, settled.score, settled.answer["label"]
        )
        self._leave(head, content, closing)

    def set_exception(self, error: BaseException) -> None:
        """The record did not reach the disk: nothing was decided."""
        known = error if isinstance(error, PilotageError) else internal_error()
        if known is not error:
            _log.error("a request failed", exc_info=error)
        self._reply(error_reply(known, self.asked.id), error)

    def _reply(self, reply: Reply, error: BaseException | None) -> None:
        closing = self.ended(self, reply.outcome, reply.status, error)
        self._leave(*answer_bytes(reply.status, reply.headers, reply.body), closing)

    # As the connection sees it

    @property
    def message_event(self) -> Direct:
        """What is told that the connection was lost."""
        return self

    def set(self) -> None:
        """Nobody waits: the record is made, whether or not its client is still there."""

    def _leave(self, head: bytes, content: bytes, closing: bool) -> None:
        connection = self.connection
        if self.disconnected:
            self.response_complete = True
            return
        line = connection.line
        if line:
            # The last in line ends a connection that must end, so that none before it is lost.
            closing = closing and line[-1] is self
            if line[0] is not self:
                self.keep_alive = self.keep_alive and not closing
                self.ready = b"%b%b\r\n%b" % (head, b"" if self.keep_alive else b"connection: close\r\n", content)
                return
        self.response_complete = True
        transport = connection.transport
        if closing or not self.keep_alive:
            transport.write(b"%bconnection: close\r\n\r\n%b" % (head, content))
            transport.close()
        else:
            transport.write(b"%b\r\n%b" % (head, content))
        connection.on_response_complete()
