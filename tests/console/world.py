"""A small governed home for tests of API and console: people, a live release, and decisions on a sealed record.

The decisions are what a gateway would have journalled: real rows, answered by the real model of a real release.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pilotage.access.service import issue_token, one_time_link
from pilotage.evidence.model import Evidence
from pilotage.evidence.store import record
from pilotage.kernel.clock import now_us
from pilotage.kernel.ids import uuid7
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal import JournalWriter
from pilotage.ledger.record import Attempt, Finding, Payload, Plain, Times, commitment
from pilotage.ledger.sealing import Steward
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.releases.model import Release
from pilotage.runtimes.environment import environment_digest
from pilotage.runtimes.open import open_runtime
from pilotage.storage.database import writing
from pilotage.storage.home import Home
from pilotage.testing.governance import GovernedHome
from pilotage.testing.releases import COLUMNS, make_rows
from pilotage.wiring.installation import Installation, open_installation
from pilotage.wiring.readiness import CHECK, subject_of
from pilotage.wiring.settings import Settings

__all__ = ["SYSTEM", "ConsoleWorld", "make_console_world"]

SYSTEM = "example"
_DIMENSIONS = ("data", "model", "infrastructure", "team", "governance", "business")
Made = TypeVar("Made")
Frame = tuple[FrameKind, bytes, bytes]


@dataclass(kw_only=True)
class ConsoleWorld:
    """An installation with `SYSTEM` live at stage internal, and a steward in this process."""

    installation: Installation
    governed: GovernedHome
    release: Release
    loaded: LoadedRelease
    steward: Steward
    environment: str = field(default_factory=environment_digest)
    _written: int = field(default=0)

    def token(self, role: str) -> str:
        """A fresh personal token of the person in a role."""
        return issue_token(self.installation.control, self.governed.people[role], by=self.governed.admin).text

    def link(self, role: str) -> str:
        """A fresh one-time sign-in code."""
        return one_time_link(self.installation.control, self.governed.people[role], by=self.governed.admin).text

    def answered(self, count: int, *, seed: int = 7, at: int | None = None, step_us: int = 1_000) -> list[Frame]:
        """Frames of rows that the live release answers, the last one at `at` (now when left out)."""
        rows = make_rows(COLUMNS, count, seed)
        scores = _run(_score(self.loaded, rows))
        last = now_us() if at is None else at
        return [
            self._answered(row, score, subject=f"c-{seed}-{number}", at=last - (count - 1 - number) * step_us)
            for number, (row, score) in enumerate(zip(rows, scores, strict=True))
        ]

    def rejected(self, count: int = 1) -> list[Frame]:
        """Frames of rows that the contract rejects with two faults each."""
        return [self._rejected(number) for number in range(count)]

    def fallen_back(self) -> Frame:
        """A frame of a row that was repaired, and that the rules answered while the model's breaker was open."""
        repair = {"path": "inputs.income", "code": "wrong_type", "got": '"<12>"', "used": 12.0}
        values = list(make_rows(COLUMNS, 1, 5)[0])
        payload = Payload(
            subject="c-fallback",
            request=b'{"income":"<12>"}',
            repairs=[repair],
            names=self.loaded.serving.names,
            features=values,
            answer={"score": None, "label": "refer", "rule": "late"},
        )
        found = {
            "check": "contract",
            "version": "1",
            "path": "inputs.income",
            "verdict": "wrong_type",
            "action": "repair",
        }
        why = {"check": "gateway", "version": "1", "path": "", "verdict": "breaker_open", "action": "fallback"}
        return self._frame(
            msgspec.msgpack.encode(payload),
            outcome="fallback",
            by="rules",
            arm="rules",
            attempts=[
                Attempt(target="process@1", ms=0.0, status="breaker_open"),
                Attempt(target="rules@abc", ms=0.01, status="ok"),
            ],
            findings=[Finding(**found), Finding(**why)],
            times=Times(received=now_us()),
        )

    def interrupted(self) -> list[Frame]:
        """Frames of a stream that breaks off after its first piece."""
        id_ = uuid7()
        content = msgspec.msgpack.encode(Payload(subject="c-stream", messages=[{"role": "user", "content": "why?"}]))
        piece = (FrameKind.chunk, msgspec.json.encode({"id": id_, "n": 0}), os.urandom(32) + b"because <b>")
        return [self._frame(content, FrameKind.opened, id=id_, outcome="opened", times=Times(received=now_us())), piece]

    def seal(self, frames: Sequence[Frame]) -> list[str]:
        """Journal frames by the real writer and seal them; the decisions' ids."""
        self._written += 1

        async def journal() -> None:
            writer = JournalWriter(
                self.installation.home.journal / "node",
                worker=self._written,
                steward_key=self.installation.keyring.steward_public,
            )
            await writer.open()
            await asyncio.gather(*[writer.submit(*frame) for frame in frames])
            await writer.close()

        _run(journal())
        assert self.steward.acquire()
        self.steward.seal_all()
        return [msgspec.json.decode(plain)["id"] for kind, plain, _ in frames if kind is not FrameKind.chunk]

    def assess(self) -> None:
        """An assessment on record, as the console draws it."""
        figures = {
            "level": 2,
            "weakest": "team",
            "blockers": ["Nobody owns it: no owner is named"],
            "dimensions": [
                {"name": name, "level": 2 + n % 3, "score": 0.3 + n / 10, "low": 0.2 + n / 10, "high": 0.4 + n / 10}
                for n, name in enumerate(_DIMENSIONS)
            ],
        }
        now = now_us()
        evidence = Evidence(
            id=uuid7(),
            check=CHECK,
            subject=subject_of(SYSTEM),
            grade="E3",
            method="TEST",
            producer="tests",
            collected=now,
            expires=0,
            passed=True,
            figures=figures,
        )
        with writing(self.installation.control) as connection:
            record(connection, evidence)

    def close(self) -> None:
        self.steward.release()
        self.installation.close()

    def _answered(self, row: Sequence[Any], score: float, *, subject: str, at: int) -> Frame:
        names = self.loaded.serving.names
        serving = self.loaded.serving
        label = serving.adverse if score >= serving.threshold else serving.favourable
        payload = Payload(
            subject=subject,
            request=msgspec.json.encode({"customer": subject, **dict(zip(names, row, strict=True))}),
            names=list(names),
            features=list(row),
            answer={"score": score, "label": label},
            score=score,
        )
        attempt = Attempt(target=f"onnx@{self.release.digest[7:19]}", ms=0.041, status="ok")
        times = Times(received=at, contract=9, answer=50 + len(subject))
        return self._frame(msgspec.msgpack.encode(payload), outcome="answered", times=times, attempts=[attempt])

    def _rejected(self, number: int) -> Frame:
        codes = {"inputs.age": "above_maximum", "inputs.home": "unseen_category"}
        faults = [
            {"path": path, "code": code, "message": "<script>alert(1)</script>", "got": 7, "expected": "less"}
            for path, code in codes.items()
        ]
        payload = Payload(
            subject=f"c-bad-{number}", request=b'{"customer": "<script>alert(2)</script>"}', faults=faults
        )
        findings = [
            Finding(check="contract", version="1", path=path, verdict=code, action="reject")
            for path, code in codes.items()
        ]
        times = Times(received=now_us(), contract=30)
        return self._frame(msgspec.msgpack.encode(payload), outcome="rejected", times=times, findings=findings)

    def _frame(
        self, content: bytes, kind: FrameKind = FrameKind.decision, id: str = "", by: Any = "model", **facts: Any
    ) -> Frame:
        salt, id_ = os.urandom(32), id or uuid7()
        plain = Plain(
            id=id_,
            request_id=uuid7(),
            kind=by,
            system=SYSTEM,
            release=self.release.digest,
            environment=self.environment,
            contract=self.loaded.manifest.contract,
            policy=self.loaded.manifest.policy,
            plan="sha256:" + "e" * 64,
            stage="internal",
            commitment=commitment(salt, content),
            **facts,
        )
        return kind, msgspec.json.encode(plain), salt + content


def make_console_world(folder: Path, url: str | None = None) -> ConsoleWorld:
    """A fresh world, on PostgreSQL where a URL is given; nothing is decided yet."""
    home = Home(root=folder / "home").create()
    installation = open_installation(Settings(home=home, database_url=url), create=True)
    governed = GovernedHome(root=home.root, control=installation.control)
    governed.rollout = installation.rollout
    release = governed.promoted(system=SYSTEM, evaluated=True)
    steward = installation.steward("tests")
    assert steward.acquire()
    loaded = open_release(home.releases, release.digest)
    return ConsoleWorld(installation=installation, governed=governed, release=release, loaded=loaded, steward=steward)


def _run(work: Coroutine[Any, Any, Made]) -> Made:
    """Run a coroutine in a thread of its own: a browser test's thread has a running loop already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def _score(loaded: LoadedRelease, rows: Sequence[Sequence[Any]]) -> list[float]:
    runtime = open_runtime(loaded.folder, loaded.serving)
    await runtime.start()
    try:
        return [await runtime.score_async(tuple(row)) for row in rows]
    finally:
        await runtime.close()
