"""What thousands of system-days cost, each with a data key of its own."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ledger_world import START, World, decision, frame_id
from sqlalchemy import func, select

from pilotage.ledger.erasure import erase
from pilotage.ledger.rotation import new_master, rewrap
from pilotage.ledger.tables import day_keys
from pilotage.ledger.verify import verify_ledger
from pilotage.storage.database import reading
from pilotage.storage.home import Home

__all__ = ["measure_system_days"]

SYSTEMS = 100
_DAY_US = 86_400_000_000
_OF_NOBODY, _LOOKUPS, _PERSON = 4, 300, "customer-7"


def measure_system_days(root: Path, system_days: int, url: str, say: Callable[[str], None]) -> dict[str, float]:
    """100 systems over as many days as that takes; on each, four decisions about nobody and one about a person."""
    world, ids, journalled = World(home=Home(root=root), url=url), list[str](), 0
    steward, days, seconds = world.steward(), system_days // SYSTEMS, 0.0
    for day in range(days):
        frames = [
            decision(subject, at=START + day * _DAY_US + n, system=f"system-{system}")
            for system in range(SYSTEMS)
            for n, subject in enumerate([*[""] * _OF_NOBODY, f"customer-{(system + day) % 50}"])
        ]
        world.write(frames)
        journalled += len(frames)
        ids.append(frame_id(random.choice(frames)))
        if day % 10 == 9 or day == days - 1:
            start = time.monotonic()
            while steward.seal().more:
                pass
            seconds += time.monotonic() - start
    with reading(world.ledger) as connection:
        keys = int(connection.execute(select(func.count()).select_from(day_keys)).scalar_one())
    if keys != days * SYSTEMS:
        raise SystemExit(f"{keys} keys of {days * SYSTEMS} system-days")
    say(f"  {journalled:,} decisions of {keys:,} system-days sealed in {seconds:.1f} s")
    found: dict[str, float] = {"system_days": keys, "decisions": journalled, "seal_per_s": round(journalled / seconds)}
    found |= _verified(world, "verify_s")
    chosen = [random.choice(ids) for _ in range(_LOOKUPS)]
    times = sorted(_milliseconds(lambda id_=id_: world.queries.decision(id_)) for id_ in chosen)
    found |= {"lookup_ms": round(statistics.median(times), 2), "lookup_p99_ms": round(times[len(times) * 99 // 100], 2)}
    found["erase_s"] = round(_milliseconds(lambda: erase(_PERSON, "request", "bench", steward=steward)) / 1e3, 2)
    world.keyring = new_master(world.keyring, os.urandom(32))
    found["rotate_master_s"] = round(_milliseconds(lambda: rewrap(world.ledger, world.keyring)) / 1e3, 2)
    return found | _verified(world, "verify_after_s")


def _verified(world: World, name: str) -> dict[str, float]:
    start = time.monotonic()
    processes = len(os.sched_getaffinity(0))
    report = verify_ledger(world.home, world.ledger, world.keyring, processes=processes)
    if not report.ok:
        raise SystemExit(f"verification: {report.faults[:3]}")
    return {name: round(time.monotonic() - start, 2)}


def _milliseconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3
