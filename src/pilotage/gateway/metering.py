"""The limits of a serving plan, as one worker holds them: it leases pieces in the background and requests spend them.

While the database is away a worker spends its share of what was left when it last asked. Never more is given out than
a limit allows while the database is there; how much more may be while it is away, docs/how-to/access.md says.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Protocol

import msgspec
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from pilotage.access.limits import Limit
from pilotage.errors import Unavailable
from pilotage.gateway.leases import Ask, Grant
from pilotage.gateway.meters import KeptShare, Meter, Shortage, Spend, kept_shares
from pilotage.gateway.store import forget_holder, lease
from pilotage.kernel.clock import Clock, now_us
from pilotage.storage.database import writing

__all__ = ["ONE", "WAITS", "LeaseSource", "Leases", "Metering"]

ONE: Mapping[str, int] = {"requests": 1, "rows": 1}
"""What a request uses at least."""

WAITS = 4
"""How often a request waits for the next piece before it is denied."""

_log = logging.getLogger(__name__)
_CONTACT_S = 2.0
_PATIENCE_S = 2.0
_GROUP_S = 0.002
_WRITE_US = 1_000_000
_MOST_CHOSEN = 10_000


class Leases(Protocol):
    """Where pieces of limits come from. Blocks; called by one thread at a time. Raises ConnectionError."""

    def lease(self, asks: Sequence[Ask], at: int) -> list[Grant]:
        """What is given for each ask."""

    def leave(self, asks: Sequence[Ask], at: int) -> None:
        """Return what is left, and ask no more."""


class LeaseSource:
    """The control database, asked as one worker (`node/number`)."""

    def __init__(self, engine: Engine, worker: str) -> None:
        self._engine, self._worker = engine, worker

    def lease(self, asks: Sequence[Ask], at: int) -> list[Grant]:
        """What is given for each ask. Raises ConnectionError when the database cannot be written within a second."""
        try:
            with writing(self._engine, patience_s=1.0) as connection:
                return lease(connection, self._worker, asks, at)
        except (OSError, SQLAlchemyError, Unavailable) as error:
            raise ConnectionError(str(error).partition("\n")[0]) from error

    def leave(self, asks: Sequence[Ask], at: int) -> None:
        """Return what is left, and hold no share any more. Raises ConnectionError."""
        self.lease(asks, at)
        try:
            with writing(self._engine, patience_s=1.0) as connection:
                forget_holder(connection, self._worker)
        except (OSError, SQLAlchemyError, Unavailable) as error:
            raise ConnectionError(str(error).partition("\n")[0]) from error


class Metering:
    """The meters of one worker. `path` is the file that remembers shares over a restart."""

    def __init__(self, source: Leases, path: Path, clock: Clock = now_us) -> None:
        self._source, self._path, self._clock = source, path, clock
        self._meters: dict[str, Meter] = {}
        self._chosen: dict[tuple[str, str], tuple[Meter, ...]] = {}
        self._wake = asyncio.Event()
        self._round: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="leases")
        self._away = False
        self._written = 0
        self._asked = 0.0
        self._kept = self._read()
        self.declared = False

    def adopt(self, limits: Iterable[Limit]) -> None:
        """Hold requests to these limits from now on; a limit that did not change keeps its piece."""
        at, old = self._clock(), self._meters
        self._meters = {
            limit.id: old[limit.id]
            if limit.id in old and old[limit.id].limit == limit
            else Meter(limit, at, self._kept.get(limit.id))
            for limit in limits
        }
        self._chosen.clear()
        self.declared = bool(self._meters)
        if self.declared:
            self._wake.set()

    def spend(self, key: str, system: str) -> Spend:
        """What a request of a key to a system (empty: to none) will use; nothing is reserved yet."""
        pair = (key, system)
        chosen = self._chosen.get(pair)
        if chosen is None:
            scopes = {"installation", f"key:{key}", f"system:{system}"}
            chosen = tuple(meter for meter in self._meters.values() if meter.limit.scope in scopes)
            if len(self._chosen) >= _MOST_CHOSEN:
                self._chosen.clear()
            self._chosen[pair] = chosen
        return Spend(chosen, self._clock, self._wake.set)

    async def reserve(self, spend: Spend, units: Mapping[str, int]) -> None:
        """Reserve units, waiting a moment for the next piece where there is not enough. Raises Denied 429."""
        for _ in range(WAITS):
            try:
                spend.reserve(units)
                return
            except Shortage as shortage:
                await self.fill(shortage)
        try:
            spend.reserve(units)
        except Shortage as shortage:
            raise shortage.meter.denial(shortage.units, self._clock()) from None

    async def fill(self, shortage: Shortage) -> None:
        """Wait until what a request lacks was asked for; a database that is silent for two seconds counts as away."""
        meter = shortage.meter
        meter.want += shortage.units - min(0, meter.balance)
        if self._round is None:
            self._round = asyncio.get_running_loop().create_future()
        self._wake.set()
        silent = monotonic() - self._asked if self._asked else 0.0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.01, _PATIENCE_S - silent)):
                await asyncio.shield(self._round)
                return
        if meter.want:
            meter.go_away(Ask(meter.limit, meter.window), self._clock())

    async def run(self) -> None:
        """Ask for pieces when they are needed, and every two seconds, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _CONTACT_S)
            if self._meters:
                # Whoever comes short in the same moment is asked for together.
                await asyncio.sleep(_GROUP_S)
            self._wake.clear()
            round_, self._round = self._round, None
            meters = list(self._meters.values())
            if meters:
                at = self._clock()
                asks = [meter.ask(at) for meter in meters]
                self._asked = monotonic()
                try:
                    grants = await loop.run_in_executor(self._thread, self._source.lease, asks, at)
                except ConnectionError as error:
                    self._be_away(meters, asks, error)
                else:
                    self._receive(meters, asks, grants)
                self._asked = 0.0
                self._write()
            if round_ is not None and not round_.done():
                round_.set_result(None)

    async def leave(self) -> None:
        """Return what is left, at the end of the worker, if the database is there."""
        at = self._clock()
        asks = [ask for meter in self._meters.values() if (ask := meter.give_back(at)) is not None]
        if self._meters and not self._away:
            with contextlib.suppress(ConnectionError):
                await asyncio.get_running_loop().run_in_executor(self._thread, self._source.leave, asks, at)
                self._path.unlink(missing_ok=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _receive(self, meters: Sequence[Meter], asks: Sequence[Ask], grants: Sequence[Grant]) -> None:
        if self._away:
            _log.info("limits are leased from the database again")
        self._away = False
        at = self._clock()
        for meter, ask, grant in zip(meters, asks, grants, strict=True):
            meter.receive(ask, grant, at)

    def _be_away(self, meters: Sequence[Meter], asks: Sequence[Ask], error: ConnectionError) -> None:
        if not self._away:
            _log.warning("limits become this worker's shares, the database is away: %s", error)
        self._away = True
        at = self._clock()
        for meter, ask in zip(meters, asks, strict=True):
            meter.go_away(ask, at)

    def _read(self) -> dict[str, KeptShare]:
        try:
            return kept_shares(self._path.read_bytes())
        except OSError:
            return {}

    def _write(self) -> None:
        """Remember the shares, once a second: not synced, since what a lost file forgets is a share, not a record."""
        if self._clock() - self._written < _WRITE_US:
            return
        self._written = self._clock()
        content = msgspec.json.encode({name: meter.kept for name, meter in self._meters.items()})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = self._path.with_suffix(".new")
            new.write_bytes(content)
            new.replace(self._path)
        except OSError as error:
            _log.warning("shares of limits cannot be kept: %s", error)
