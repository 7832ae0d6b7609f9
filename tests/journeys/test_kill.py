"""`kill -9` of gateway workers and of the steward under load: every decision whose answer came is on record, once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

import pytest

from pilotage.ledger.proofs import verify_proof
from pilotage.wiring.audit import verify
from tests.journeys.live import LiveHome, Load, Up, running

VICTIMS = ("gateway-0", "gateway-1", "steward")
KILLS = int(os.environ.get("PILOTAGE_TEST_KILLS", "100"))
"""Kills of the slow test; for more than a hundred, run it again: each run checks every receipt."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_answered_decision_is_lost(tmp_path: Path) -> None:
    live = LiveHome(root=tmp_path / "home")
    with running(live) as up:
        up.wait_until_all_live()
        load = Load(up.decide_url, live.key, pause_s=0.01)
        killed = asyncio.run(kill_under_load(up, load, KILLS))
        up.wait_until_all_live()
        assert up.ask().status == 200
        assert up.end() == 0, up.logs()

    assert len(killed) == KILLS and set(killed) == set(VICTIMS)
    assert load.statuses[200] > 30 * KILLS and load.statuses[422] > 3 * KILLS, load.statuses
    assert len(load.receipts) == len(set(load.receipts))
    recorded = live.recorded()
    lost = set(load.receipts) - recorded.keys()
    assert not lost, f"{len(lost)} of {len(load.receipts)} answered decisions are not on record"
    ids = [id_ for id_, _ in recorded.elements()]
    assert len(ids) == len(set(ids)), "a decision is on record twice"

    report = verify(live.installation)
    assert report.ok, report.faults
    assert report.size == report.published and report.decisions == len(ids)
    ledger = live.installation.ledger()
    for id_, _ in random.Random(1).sample(load.receipts, 50):
        assert verify_proof(ledger.prove(id_), ledger.decision(id_).entry, live.vkey).size == report.size
    print(f"kills {KILLS}, receipts {len(load.receipts)}, on record {len(ids)}, lost 0, {load.statuses}, {load.broken}")
    live.close()


async def kill_under_load(up: Up, load: Load, kills: int) -> list[str]:
    """Kill one process at a time, at random moments, while clients ask; who was killed, in order."""
    chance = random.Random()
    asking = asyncio.create_task(load.run())
    # Everybody is killed at least once; the rest is by chance.
    order = [*VICTIMS, *chance.choices(VICTIMS, k=kills - len(VICTIMS))]
    chance.shuffle(order)
    killed: list[str] = []
    await asyncio.sleep(0.3)
    for name in order:
        await asyncio.sleep(chance.uniform(0.05, 1.2))
        os.kill(await victim(up, name), signal.SIGKILL)
        killed.append(name)
    await asyncio.sleep(0.5)
    load.stopping = True
    await asking
    return killed


async def victim(up: Up, name: str) -> int:
    """The process id of a child; waits until the supervisor has started it again."""
    for _ in range(400):
        if pid := up.children().get(name):
            return pid
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} was not started again")


@pytest.mark.slow
def test_what_waits_is_sealed_although_the_steward_is_down(tmp_path: Path) -> None:
    live = LiveHome(root=tmp_path / "home")
    with running(live) as up:
        up.wait_until_all_live()
        replies = [up.ask() for _ in range(5)]
        os.kill(up.children()["steward"], signal.SIGKILL)
        replies += [up.ask() for _ in range(5)]
        assert up.end() == 0, up.logs()
    receipts = {tuple(reply.headers["pilotage-receipt"].split()) for reply in replies}
    assert receipts <= live.recorded().keys()
    live.close()
