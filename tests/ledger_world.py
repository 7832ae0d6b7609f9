"""An installation small enough for a test: home, keyring, databases, journals written by the real writer."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Engine

from pilotage.kernel.ids import uuid7
from pilotage.ledger import store, tiles
from pilotage.ledger.frames import FrameKind
from pilotage.ledger.journal import JournalWriter
from pilotage.ledger.keyring import Keyring
from pilotage.ledger.merkle import Frontier, leaf_hash
from pilotage.ledger.notes import Signer, parse_checkpoint
from pilotage.ledger.pending import pending_names
from pilotage.ledger.queries import Ledger
from pilotage.ledger.record import Batch, Event, Finding, Leaf, Payload, Plain, Times, commitment, decode_leaf
from pilotage.ledger.sealing import Steward
from pilotage.profiles.model import ReferenceProfile
from pilotage.storage.database import control as control_tables
from pilotage.storage.database import ledger as ledger_tables
from pilotage.storage.database import open_engine, reading, url_of
from pilotage.storage.home import Home

START = 1_780_000_000_000_000
RELEASE = "sha256:" + "a" * 64

Frame = tuple[FrameKind, bytes, bytes]


def plain_and_secret(id_: str, content: bytes, **plain: object) -> tuple[bytes, bytes]:
    """The plain bytes and the secret of a decision."""
    salt = os.urandom(32)
    facts: dict[str, object] = {
        "request_id": uuid7(),
        "system": "credit",
        "release": RELEASE,
        "environment": "sha256:" + "b" * 64,
        "contract": "sha256:" + "c" * 64,
        "policy": "sha256:" + "d" * 64,
        "plan": "sha256:" + "e" * 64,
        "stage": "internal",
        "outcome": "answered",
        "times": Times(received=START, contract=5, answer=50),
        **plain,
    }
    leaf = Plain(id=id_, commitment=commitment(salt, content), **facts)
    return msgspec.json.encode(leaf), salt + content


def decision(
    subject: str = "",
    *,
    score: float = 0.25,
    at: int = START,
    kind: FrameKind = FrameKind.decision,
    id_: str = "",
    **plain: object,
) -> Frame:
    """A decision frame (or the end of a stream)."""
    payload = Payload(
        subject=subject,
        request=b'{"age": 41}',
        names=["age", "income"],
        features=[41.0, 1_000.0 * score],
        answer={"score": score, "label": "adverse" if score > 0.5 else "favourable"},
        score=score,
    )
    times = Times(received=at, contract=5, answer=50)
    return kind, *plain_and_secret(id_ or uuid7(), msgspec.msgpack.encode(payload), times=times, **plain)


def rejected(subject: str = "", **plain: object) -> Frame:
    """A decision that the contract rejected."""
    payload = Payload(subject=subject, request=b'{"age": 999}', faults=[{"path": "age", "code": "above_maximum"}])
    finding = Finding(check="contract", version="1", path="age", verdict="above_maximum", action="reject")
    content = msgspec.msgpack.encode(payload)
    return FrameKind.decision, *plain_and_secret(uuid7(), content, outcome="rejected", findings=[finding], **plain)


def opened(id_: str, subject: str = "", **plain: object) -> Frame:
    """The first frame of a stream."""
    content = msgspec.msgpack.encode(Payload(subject=subject, messages=[{"role": "user", "content": "why?"}]))
    return FrameKind.opened, *plain_and_secret(id_, content, outcome="opened", **plain)


def chunk(id_: str, n: int, text: str) -> Frame:
    """A piece of a stream's text."""
    return FrameKind.chunk, msgspec.json.encode({"id": id_, "n": n}), os.urandom(32) + text.encode()


def event(kind: str = "request.denied", **facts: object) -> Frame:
    """An event that a gateway journals."""
    salt, content = os.urandom(32), msgspec.msgpack.encode({"source": "10.0.0.9"})
    leaf = Event(id=uuid7(), kind=kind, at=START, facts=facts, commitment=commitment(salt, content))
    return FrameKind.event, msgspec.json.encode(leaf), salt + content


def frame_id(frame: Frame) -> str:
    return str(msgspec.json.decode(frame[1])["id"])


@dataclass(kw_only=True)
class World:
    """One installation. `url` names a PostgreSQL database for both parts; empty for the two SQLite files."""

    home: Home
    url: str = ""
    profile: ReferenceProfile | None = None
    keyring: Keyring = field(init=False)
    control: Engine = field(init=False)
    ledger: Engine = field(init=False)

    def __post_init__(self) -> None:
        self.home.create()
        self.keyring = Keyring.create_or_open(self.home.keyring, {})
        self.control = open_engine(url_of(self.home, "control", self.url or None))
        self.ledger = open_engine(url_of(self.home, "ledger", self.url or None))
        control_tables.create_all(self.control)
        ledger_tables.create_all(self.ledger)

    def steward(
        self,
        holder: str = "a",
        *,
        step: Callable[[str], None] = lambda name: None,
        clock: Callable[[], int] | None = None,
        ticks: Callable[[], int] | None = None,
        steal: bool = True,
    ) -> Steward:
        """A steward that has the lease, unless told not to `steal` it."""
        given = {"clock": clock, "ticks": ticks}
        extra: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        steward = Steward(
            home=self.home,
            control=self.control,
            ledger=self.ledger,
            keyring=self.keyring,
            holder=holder,
            profile_of=lambda release: self.profile if release == RELEASE else None,
            step=step,
            **extra,
        )
        assert not steal or steward.acquire(steal=True)
        return steward

    @property
    def queries(self) -> Ledger:
        return Ledger(home=self.home, engine=self.ledger, keyring=self.keyring)

    @property
    def vkey(self) -> str:
        return Signer(self.keyring.origin, self.keyring.signing).vkey()

    def write(
        self, frames: Sequence[Frame], *, worker: int = 0, close: bool = True, max_age_s: float = 600, group: int = 1
    ) -> None:
        """Journal frames with the real writer in a file of their own, `group` of them synced together; not closed, it
        is as after a kill.
        """

        async def journal() -> None:
            writer = JournalWriter(
                self.home.journal / "n1", worker=worker, steward_key=self.keyring.steward_public, max_age_s=max_age_s
            )
            await writer.open()
            for first in range(0, len(frames), group):
                await asyncio.gather(*[writer.submit(*frame) for frame in frames[first : first + group]])
            if close:
                await writer.close()

        if close:
            asyncio.run(journal())
        else:
            in_killed_process(lambda: asyncio.run(journal()))

    def entries(self) -> list[bytes]:
        """Every published entry, of the size that the published checkpoint signs."""
        size = parse_checkpoint(tiles.read_checkpoint(self.home.ledger), [self.vkey]).size
        return list(tiles.read_entries(self.home.ledger, 0, size))

    def leaves(self) -> list[Leaf]:
        return [decode_leaf(entry) for entry in self.entries()]

    def check(self, frames: Sequence[Frame], events: Sequence[str] = ()) -> None:
        """Everything is sealed once, everything published, the tree is what the heads say, nothing is left over."""
        entries = self.entries()
        leaves = [decode_leaf(entry) for entry in entries]
        ids = [leaf.id for leaf in leaves if not isinstance(leaf, Batch)]
        assert sorted(ids) == sorted([*map(frame_id, frames), *events])
        assert {frame[1] for frame in frames} <= set(entries)
        with reading(self.ledger) as connection:
            heads = store.all_heads(connection)
            known = store.known_segments(connection, self.segment_files())
        assert sorted(known) == sorted(self.segment_files())
        assert not pending_names(self.home.ledger)
        frontier, at = Frontier(), 0
        for head in heads:
            frontier = frontier.append(map(leaf_hash, entries[at : head.size]))
            at = head.size
            signed = parse_checkpoint(head.checkpoint, [self.vkey])
            assert (signed.size, signed.root) == (head.size, frontier.root())
            batch = leaves[at - 1]
            assert isinstance(batch, Batch) and batch.id == head.batch and batch.first == head.first
        assert at == len(entries)
        assert tiles.read_checkpoint(self.home.ledger) == heads[-1].checkpoint
        for frame in frames:
            if frame[0] != FrameKind.event:
                found = self.queries.decision(frame_id(frame))
                assert found.payload is not None, found.unreadable

    def segment_files(self) -> list[str]:
        """Payload segments on disk, as paths under the ledger folder."""
        root = self.home.ledger
        return [str(path.relative_to(root)) for path in sorted((root / "segments").rglob("*.seg"))]


def in_killed_process(call: Callable[[], object]) -> int:
    """Run a call in a child that is ended without any clean-up; its exit status (0 when the call came to its end)."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            call()
            status = 0
        except BaseException:  # noqa: BLE001 - whatever it was, the child must not run the parent's code
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def make_world(folder: Path, url: str = "") -> World:
    """A fresh installation in a folder."""
    return World(home=Home(root=folder / "home"), url=url)
