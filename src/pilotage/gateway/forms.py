"""What every answered decision of one system shares, encoded once: the pieces of its plain part and its reply.

An answer is made some ten thousand times a second, and all but a few values of it are the same each time. A form is
made by encoding real values with marks in the place of those few, so that field order and escapes are msgspec's; it is
cut at the marks, and joined again around the values of each answer.
"""

from __future__ import annotations

from typing import Literal
from uuid import uuid4

import msgspec

from pilotage.ledger.record import Attempt, Place, Plain, Times

__all__ = ["AnsweredForms"]

_Header = tuple[bytes, bytes]
_LABELS = 64
_json = msgspec.json.Encoder().encode
_MILLISECONDS = [f"0.{us:03d}" for us in range(1_000)]


class AnsweredForms:
    """The forms of one system under one plan. Ids, traces and hashes given to it must be plain ASCII without quotes."""

    __slots__ = ("_head", "_labels", "_plain", "_reply", "_together", "lineage")

    def __init__(
        self,
        *,
        system: str,
        release: str,
        environment: str,
        contract: str,
        policy: str,
        plan: str,
        stage: str,
        arm: str,
        target: str,
        mode: Literal["live", "drill"] = "live",
    ) -> None:
        marks = [f"mark-{uuid4().hex}" for _ in range(4)]
        numbers = [int(uuid4().hex[:12], 16) + 10**16 + place for place in range(6)]
        attempt = Attempt(target=target, ms=numbers[0], status="ok")
        plain = Plain(
            id=marks[0],
            request_id=marks[1],
            trace=marks[2],
            mode=mode,
            system=system,
            release=release,
            environment=environment,
            contract=contract,
            policy=policy,
            plan=plan,
            stage=stage,
            arm=arm,
            outcome="answered",
            attempts=[attempt],
            times=Times(received=numbers[1], contract=numbers[2], answer=numbers[3]),
            commitment=marks[3],
        )
        times = [*map(str, numbers[1:4])]
        self._plain = _pieces(_json(plain).decode(), [*marks[:3], str(numbers[0]), *times, marks[3]])
        batched = msgspec.structs.replace(attempt, batch=Place(size=numbers[4], at=numbers[5]))
        together = _json(msgspec.structs.replace(plain, attempts=[batched])).decode()
        self._together = _pieces(
            together, [*marks[:3], str(numbers[0]), str(numbers[4]), str(numbers[5]), *times, marks[3]]
        )
        reply = {
            "id": marks[0],
            "request_id": marks[1],
            "system": system,
            "release": release,
            "outcome": "answered",
            "answer": {"score": numbers[0], "label": numbers[1]},
        }
        self._reply = _pieces(_json(reply).decode(), [*marks[:2], *map(str, numbers[:2])])
        self.lineage: list[_Header] = [
            (b"pilotage-release", release.encode()),
            (b"pilotage-answered-by", arm.encode()),
        ]
        lines = [
            (b"content-type", b"application/json"),
            (b"content-length", marks[0].encode()),
            (b"pilotage-receipt", f"{marks[1]} {marks[2]}".encode()),
            *self.lineage,
        ]
        head = b"HTTP/1.1 200 OK\r\n" + b"".join(b"%b: %b\r\n" % line for line in lines)
        self._head = _pieces(head.decode("latin-1"), marks[:3])
        self._labels: dict[object, str] = {}

    def plain(
        self,
        id_: str,
        request_id: str,
        trace: str,
        received: int,
        contract_us: int,
        answer_us: int,
        commitment: str,
        batch: Place | None = None,
    ) -> bytes:
        """The plain part of an answered decision without findings."""
        ms = _MILLISECONDS[answer_us] if answer_us < 1_000 else f"{answer_us // 1_000}.{answer_us % 1_000:03d}"
        if batch is None:
            a, b, c, d, e, f, g, h, i = self._plain
        else:
            a, b, c, d, *place, f, g, h, i = self._together
            e = f"{place[0]}{batch.size}{place[1]}{batch.at}{place[2]}"
        times = str(received), f, str(contract_us), g, str(answer_us)
        return "".join((a, id_, b, request_id, c, trace, d, ms, e, *times, h, commitment, i)).encode()

    def reply(self, id_: str, request_id: str, score: float, label: object) -> bytes:
        """The reply to one answered row; `score` is finite."""
        text = self._labels.get(label)
        if text is None:
            # A release has two labels; whatever else comes is not kept.
            text = msgspec.json.encode(label).decode()
            if len(self._labels) < _LABELS:
                self._labels[label] = text
        a, b, c, d, e = self._reply
        return "".join((a, id_, b, request_id, c, _json(score).decode(), d, text, e)).encode()

    def answer(self, id_: str, request_id: str, leaf: str, score: float, label: object) -> tuple[bytes, bytes]:
        """(status line and headers, without the empty line after them; the reply) of one answered row.

        `leaf` is the hash of its receipt.
        """
        content = self.reply(id_, request_id, score, label)
        a, b, c, d = self._head
        return "".join((a, str(len(content)), b, id_, c, leaf, d)).encode("latin-1"), content


def _pieces(text: str, marks: list[str]) -> list[str]:
    """What stands before, between and behind the marks in a text, which come in this order, each once."""
    pieces = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            raise AssertionError(f"{mark} does not stand once behind {before}")
        pieces.append(before)
    return [*pieces, text]
