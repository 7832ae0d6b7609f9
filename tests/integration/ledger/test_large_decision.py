"""A decision with 32 MB of payload, from the journal to its proof; a larger one is refused before it is answered."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from pathlib import Path

import msgspec
import pytest

from pilotage.errors import InputError
from pilotage.kernel.ids import uuid7
from pilotage.ledger.frames import MAX_FRAME_BYTES, FrameKind
from pilotage.ledger.journal import JournalWriter
from pilotage.ledger.proofs import verify_proof
from pilotage.ledger.record import Payload
from pilotage.ledger.verify import verify_ledger
from tests.ledger_world import Frame, decision, frame_id, make_world, plain_and_secret

LARGE = 32_000_000


def large(size: int = LARGE) -> Frame:
    """A decision whose request has so many bytes."""
    payload = Payload(subject="ann", request=os.urandom(size), score=0.5, answer={"label": "long"})
    return FrameKind.decision, *plain_and_secret(uuid7(), msgspec.msgpack.encode(payload))


@pytest.mark.slow
def test_a_large_decision_is_sealed_read_proven_and_verified(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    frames = [decision("bob"), large(), decision("ann"), large(), decision("eve")]
    world.write(frames)
    world.steward().seal_all()
    world.check(frames)
    for frame in frames:
        found = world.queries.decision(frame_id(frame))
        assert found.payload is not None
        assert msgspec.msgpack.decode(frame[2][32:], type=Payload) == found.payload
        verify_proof(world.queries.prove(frame_id(frame)), found.entry, world.vkey)
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert report.ok, report.faults
    assert report.readable == len(frames)


@pytest.mark.slow
def test_large_decisions_are_sealed_and_verified_in_memory_for_a_few_of_them(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    ids = []
    for _ in range(6):
        frame = large()
        ids.append(frame_id(frame))
        world.write([frame])
    del frame
    steward, batches, more = world.steward(), 0, True
    tracemalloc.start()
    try:
        while more:
            batches, more = batches + 1, steward.seal().more
        sealing = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        report = verify_ledger(world.home, world.ledger, world.keyring)
        verifying = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.ok
    assert report.readable == len(ids)
    assert batches > len(ids) // 2
    assert sealing < 12 * LARGE
    assert verifying < 10 * LARGE


def test_a_decision_that_no_frame_can_hold_is_refused_and_the_next_one_recorded(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    kept = decision("bob")

    async def journal() -> None:
        writer = JournalWriter(world.home.journal / "n1", worker=0, steward_key=world.keyring.steward_public)
        await writer.open()
        with pytest.raises(InputError) as caught:
            writer.submit(*large(MAX_FRAME_BYTES))
        assert caught.value.code == "record_too_long"
        await writer.submit(*kept)
        await writer.close()

    asyncio.run(journal())
    world.steward().seal_all()
    world.check([kept])
