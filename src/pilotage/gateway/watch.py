"""Notice a new serving plan: poll the database, fall back to the node's plan file while it is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Engine

from pilotage.errors import IntegrityError
from pilotage.gateway.plan_file import read_plan_file
from pilotage.gateway.store import PlanPoll, StoredPlan
from pilotage.storage.home import Home

__all__ = ["PlanSource", "watch"]

_log = logging.getLogger(__name__)


class PlanSource:
    """Where a worker reads plans. One thread at a time uses it."""

    def __init__(self, home: Home, engine: Engine) -> None:
        self._home, self._poll = home, PlanPoll(engine)
        self._away = False

    def newer_than(self, version: int) -> StoredPlan | None:
        """A plan of a later version, or None. While the database is away the plan file speaks for it.

        Raises IntegrityError when the file was changed.
        """
        try:
            found = self._poll.newer_than(version)
        except ConnectionError as error:
            if not self._away:
                _log.warning("the database is away, reading the plan file: %s", error)
            self._away = True
            stored = read_plan_file(self._home.plan_file)
            return stored if stored is not None and stored.version > version else None
        if self._away:
            _log.info("the database is back")
        self._away = False
        return found


async def watch(
    source: PlanSource,
    adopt: Callable[[StoredPlan], Awaitable[None]],
    version: int = 0,
    *,
    every_s: float = 0.05,
    current: Callable[[], object] = lambda: None,
) -> None:
    """Call `adopt` with each new plan, for ever. A plan that cannot be read is logged once and the last one kept.

    `current` is called after each look that left nothing to adopt.
    """
    loop = asyncio.get_running_loop()
    complaint = ""
    thread = ThreadPoolExecutor(1, thread_name_prefix="plan-watch")
    try:
        while True:
            try:
                stored = await loop.run_in_executor(thread, source.newer_than, version)
                if stored is not None:
                    await adopt(stored)
                    version = stored.version
                current()
                complaint = ""
            except IntegrityError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    _log.error("%s", error)
            await asyncio.sleep(every_s)
    finally:
        thread.shutdown(wait=False, cancel_futures=True)
