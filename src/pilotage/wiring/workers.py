"""What the gateway workers of a home tell of themselves in its `run` folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import msgspec

from pilotage.gateway.worker import WorkerState
from pilotage.storage.home import Home

__all__ = ["await_stop", "await_workers", "workers_of"]

_OVER = ("stopped",)


def workers_of(home: Home) -> list[WorkerState]:
    """The state of every worker whose process lives, by number."""
    found = []
    for path in sorted(home.run.glob("gateway-*.json")):
        try:
            state = msgspec.json.decode(path.read_bytes(), type=WorkerState)
            os.kill(state.pid, 0)
        except PermissionError:
            found.append(state)
        except (OSError, msgspec.DecodeError):
            continue
        else:
            found.append(state)
    return sorted((each for each in found if each.state not in _OVER), key=lambda each: each.worker)


def await_workers(
    home: Home, fits: Callable[[WorkerState], bool], seconds: float, *, least: int = 0
) -> tuple[int, int]:
    """Wait until all workers, and at least so many, fit; at most so long. (How many do, how many there are.)"""
    end = time.monotonic() + seconds
    while True:
        workers = workers_of(home)
        fine = sum(fits(each) for each in workers)
        if (fine == len(workers) and fine >= least) or time.monotonic() > end:
            return fine, len(workers)
        time.sleep(0.02)


def await_stop(home: Home, system: str, *, stopped: bool, seconds: float = 2.0) -> tuple[int, int]:
    """Wait until the workers follow this node's stop file about a system; (how many do, how many there are)."""
    return await_workers(home, lambda each: (system in each.stopped) == stopped, seconds)
