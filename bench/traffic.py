"""Journals as gateways write them, of any size: the real writer, credit decisions as the gateway records them."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec
from columns import FEATURES, SYSTEM

from pilotage.gateway.forms import AnsweredForms
from pilotage.kernel.ids import uuid7
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal import JournalWriter
from pilotage.ledger.record import Finding, Payload, Plain, Times, commitment
from pilotage.releases.load import LoadedRelease
from pilotage.storage.home import Home
from pilotage.testing.releases import make_rows

__all__ = ["Traffic", "write_journals"]

Frame = tuple[FrameKind, bytes, bytes]
_TOGETHER = 512
_DIFFERENT_ROWS = 2_000
_REPEAT = 0.76
"""Decisions for each subject that may appear: then there are 70 % as many subjects as decisions."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """`decisions` of one release, `gap_us` apart from `start` on: 97 % answered, 2 % rejected, 1 % in shadow.

    `subjects` is how many persons may appear; without it, so many that 70 % of the decisions are a person's only one.
    """

    release: LoadedRelease
    decisions: int
    start: int
    gap_us: int = 100_000
    subjects: int = 0
    seed: int = 1

    def frames(self) -> Iterator[Frame]:
        """The frames, one for each decision."""
        chance = random.Random(self.seed)
        rows, names = make_rows(self._columns, _DIFFERENT_ROWS), [column.name for column in FEATURES]
        bodies = [msgspec.json.encode({"inputs": dict(zip(names, row, strict=True))}) for row in rows]
        forms = AnsweredForms(arm="champion", target=f"release:{self.release.digest}", **self._lineage)
        subjects = self.subjects or int(self.decisions / _REPEAT)
        for number in range(self.decisions):
            at, subject = self.start + number * self.gap_us, f"customer-{chance.randrange(subjects)}"
            which, kind = number % _DIFFERENT_ROWS, chance.random()
            if kind < 0.02:
                yield self._rejected(at, subject, bodies[which])
                continue
            score = chance.random()
            answer: dict[str, object] = {"score": score, "label": "refer" if score > 0.5 else "approve"}
            payload = Payload(
                subject=subject, principal="key:bench", request=bodies[which], names=names,
                features=list(rows[which]), answer=answer, score=score,
            )  # fmt: skip
            secret = os.urandom(32) + msgspec.msgpack.encode(payload)
            digest = commitment(secret[:32], secret[32:])
            if kind < 0.03:
                plain = self._plain(at, digest, mode="shadow", arm="challenger", outcome="answered")
            else:
                plain = forms.plain(uuid7(), uuid7(), "", at, 9, 61, digest)
            yield FrameKind.decision, plain, secret

    @property
    def _columns(self) -> Sequence[object]:
        return self.release.contract.columns

    @property
    def _lineage(self) -> dict[str, str]:
        release = self.release
        return {
            "system": SYSTEM, "release": release.digest, "environment": "sha256:" + "e" * 64,
            "contract": release.contract.digest(), "policy": release.policy, "plan": "sha256:" + "f" * 64,
            "stage": "production",
        }  # fmt: skip

    def _rejected(self, at: int, subject: str, body: bytes) -> Frame:
        fault = {"path": "AGE", "code": "above_maximum"}
        secret = os.urandom(32) + msgspec.msgpack.encode(Payload(subject=subject, request=body, faults=[fault]))
        finding = Finding(check="contract", version="1", path="AGE", verdict="above_maximum", action="reject")
        digest = commitment(secret[:32], secret[32:])
        return FrameKind.decision, self._plain(at, digest, outcome="rejected", findings=[finding]), secret

    def _plain(self, at: int, digest: str, **facts: object) -> bytes:
        times = Times(received=at, contract=9, answer=61)
        facts = {**self._lineage, **facts}
        return msgspec.json.encode(
            msgspec.convert(
                {"id": uuid7(), "request_id": uuid7(), "times": times, "commitment": digest, "t": "decision", **facts},
                Plain,
                from_attributes=True,
            )
        )


def write_journals(
    home: Home, steward_key: bytes, traffic: Traffic, say: Callable[[int], None] = lambda done: None
) -> None:
    """Journal the traffic by the real writer of one worker. `say` hears how many are on the disk."""
    asyncio.run(_write(JournalWriter(home.journal / "bench", worker=0, steward_key=steward_key), traffic, say))


async def _write(writer: JournalWriter, traffic: Traffic, say: Callable[[int], None]) -> None:
    await writer.open()
    waiting: list[asyncio.Future[None]] = []
    for done, frame in enumerate(traffic.frames(), 1):
        waiting.append(writer.submit(*frame))
        if len(waiting) == _TOGETHER:
            await asyncio.gather(*waiting)
            waiting.clear()
            say(done)
    await asyncio.gather(*waiting)
    await writer.close()
