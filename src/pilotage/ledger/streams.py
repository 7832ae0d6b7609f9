"""Record an answer that leaves piece by piece: no upstream call without its record, no text without its record.

    async with await StreamRecord.open(journal, plain, asked) as stream:      on disk, then call the upstream
        async for text in upstream:
            await stream.chunk(text)                                          on disk, then forward the text
            await forward(text)
        receipt = await stream.close(outcome="answered", payload=..., times=...)      on disk, then send the end

Killed anywhere in between, the steward seals what was asked and what had left as `interrupted`. A stream that ends in a
living worker without `close` would be held open until that worker ends: leaving the block by an error therefore
closes it as `refused`, with what was sent.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

import msgspec

from pilotage.errors import Conflict, InputError
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.record import Attempt, Finding, Outcome, Payload, Plain, Source, Times

__all__ = ["FrameWriter", "StreamRecord"]

_MOST_OPENED = 60_000
_MOST_PLAIN = 65_535
_json = msgspec.json.Encoder().encode
_msgpack = msgspec.msgpack.Encoder().encode


class FrameWriter(Protocol):
    """Where frames go: a `JournalWriter`."""

    async def record(self, kind: FrameKind, plain: bytes, secret: bytes) -> None:
        """Return when the frame is on the disk. Raises Unavailable when it cannot be."""


class StreamRecord:
    """One stream, made by `open`. Use it from one task."""

    def __init__(self, journal: FrameWriter, plain: Plain, asked: Payload) -> None:
        self._journal, self._plain, self._asked = journal, plain, asked
        self._sent: list[str] = []
        self._closed = False

    @classmethod
    async def open(cls, journal: FrameWriter, plain: Plain, asked: Payload) -> StreamRecord:
        """A stream whose question is on the disk: only then call the upstream.

        `plain` is the decision as known so far; its outcome and commitment are set here. Raises InputError when it is
        longer than a leaf allows, Unavailable when nothing can be recorded.
        """
        secret = os.urandom(32) + _msgpack(asked)
        opened = msgspec.structs.replace(plain, outcome="opened", commitment=hashlib.sha256(secret).hexdigest())
        await journal.record(FrameKind.opened, _bounded(_json(opened), _MOST_OPENED), secret)
        return cls(journal, opened, asked)

    @property
    def id(self) -> str:
        """The decision's id."""
        return self._plain.id

    async def chunk(self, text: str) -> None:
        """Put a piece of the answer on the disk: only then forward it. Raises Conflict after `close`, Unavailable."""
        self._require_open()
        number = len(self._sent)
        self._sent.append(text)
        await self._journal.record(FrameKind.chunk, _json({"id": self.id, "n": number}), os.urandom(32) + text.encode())

    async def close(
        self,
        *,
        outcome: Outcome,
        payload: Payload,
        times: Times | None = None,
        attempts: Sequence[Attempt] = (),
        findings: Sequence[Finding] = (),
        sources: Sequence[Source] = (),
    ) -> str:
        """Put the end on the disk: only then send it. The leaf's hex hash, for the receipt.

        `payload` is the whole of it, what was asked included. Raises Conflict when it is closed already, InputError,
        Unavailable.
        """
        self._require_open()
        secret = os.urandom(32) + _msgpack(payload)
        leaf = msgspec.structs.replace(
            self._plain,
            outcome=outcome,
            times=times or self._plain.times,
            attempts=list(attempts) or self._plain.attempts,
            findings=list(findings) or self._plain.findings,
            sources=list(sources) or self._plain.sources,
            commitment=hashlib.sha256(secret).hexdigest(),
        )
        plain = _bounded(_json(leaf), _MOST_PLAIN)
        await self._journal.record(FrameKind.closed, plain, secret)
        self._closed = True
        return hashlib.sha256(b"\0" + plain).hexdigest()

    async def __aenter__(self) -> StreamRecord:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._closed:
            return
        said = [{"role": "assistant", "content": "".join(self._sent)}] if self._sent else []
        known = msgspec.structs.replace(self._asked, messages=[*self._asked.messages, *said])
        code = type(error).__name__ if error is not None else "not_closed"
        finding = Finding(check="stream", version="1", path="", verdict=f"broke_off:{code}"[:80], action="refuse")
        await self.close(outcome="refused", payload=known, findings=[*self._plain.findings, finding])

    def _require_open(self) -> None:
        if self._closed:
            raise Conflict("the stream is closed", got=self.id, mend="open another: nothing follows the end")


def _bounded(plain: bytes, most: int) -> bytes:
    if len(plain) > most:
        raise InputError(
            "the plain part of a stream is too long",
            got=f"{len(plain)} bytes",
            expected=f"at most {most}",
            mend="keep findings and sources short: what is large belongs to the payload",
        )
    return plain
