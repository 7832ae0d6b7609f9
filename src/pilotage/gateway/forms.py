"""What every answered decision of one system shares, encoded once: its plain part and its reply with holes to fill.

An answer is made some ten thousand times a second, and all but a few values of it are the same each time. A form is
made by encoding real values with marks in the place of those few, so that field order and escapes are msgspec's.
"""

from __future__ import annotations

from uuid import uuid4

import msgspec

from pilotage.ledger.record import Attempt, Place, Plain, Times

__all__ = ["AnsweredForms"]

_Header = tuple[bytes, bytes]
_LABELS = 64


class AnsweredForms:
    """The forms of one system under one plan. Ids, traces and hashes given to it must be plain ASCII without quotes."""

    __slots__ = ("_labels", "_plain", "_reply", "_together", "head", "lineage")

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
    ) -> None:
        marks = [f"mark-{uuid4().hex}" for _ in range(4)]
        numbers = [int(uuid4().hex[:12], 16) + 10**16 + place for place in range(6)]
        attempt = Attempt(target=target, ms=numbers[0], status="ok")
        plain = Plain(
            id=marks[0],
            request_id=marks[1],
            trace=marks[2],
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
        holes = (
            dict.fromkeys(marks, "%s") | {str(number): "%d" for number in numbers[1:4]} | {str(numbers[0]): "%d.%03d"}
        )
        self._plain = _form(plain, holes)
        batched = msgspec.structs.replace(attempt, batch=Place(size=numbers[4], at=numbers[5]))
        holes |= {str(number): "%d" for number in numbers[4:]}
        self._together = _form(msgspec.structs.replace(plain, attempts=[batched]), holes)
        reply = {
            "id": marks[0],
            "request_id": marks[1],
            "system": system,
            "release": release,
            "outcome": "answered",
            "answer": {"score": numbers[0], "label": numbers[1]},
        }
        holes = {marks[0]: "%s", marks[1]: "%s", str(numbers[0]): "%r", str(numbers[1]): "%s"}
        self._reply = _form(reply, holes)
        self.lineage: list[_Header] = [
            (b"pilotage-release", release.encode()),
            (b"pilotage-answered-by", arm.encode()),
        ]
        self.head = _head(self.lineage)
        """Status line and headers of an answer, without the empty line: % (length of the body, id, leaf)."""
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
        ms, us = divmod(answer_us, 1_000)
        if batch is not None:
            place = (batch.size, batch.at)
            filled = self._together % (
                id_, request_id, trace, ms, us, *place, received, contract_us, answer_us, commitment,
            )  # fmt: skip
            return filled.encode()
        filled = self._plain % (id_, request_id, trace, ms, us, received, contract_us, answer_us, commitment)
        return filled.encode()

    def reply(self, id_: str, request_id: str, score: float, label: object) -> bytes:
        """The reply to one answered row; `score` is finite."""
        text = self._labels.get(label)
        if text is None:
            # A release has two labels; whatever else comes is not kept.
            text = msgspec.json.encode(label).decode()
            if len(self._labels) < _LABELS:
                self._labels[label] = text
        return (self._reply % (id_, request_id, score, text)).encode()


def _head(lineage: list[_Header]) -> bytes:
    receipt = b"content-type: application/json\r\ncontent-length: %d\r\npilotage-receipt: %b %b\r\n"
    lines = [b"%b: %b\r\n" % (name, value.replace(b"%", b"%%")) for name, value in lineage]
    return b"HTTP/1.1 200 OK\r\n" + receipt + b"".join(lines)


def _form(content: object, holes: dict[str, str]) -> str:
    """The JSON of content as a format string: a hole where each mark was."""
    text = msgspec.json.encode(content).decode().replace("%", "%%")
    for mark, hole in holes.items():
        if text.count(mark) != 1:
            raise AssertionError(f"{mark} stands {text.count(mark)} times in {text}")
        text = text.replace(mark, hole)
    return text
