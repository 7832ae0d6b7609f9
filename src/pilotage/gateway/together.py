"""Rows that wait for the same runtime at the same moment are answered in one call, where a release proved that safe.

Nothing waits for company: whatever waits is sent as soon as the last call returned.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from pilotage.kernel.rows import Value
from pilotage.ledger.record import Place
from pilotage.runtimes.ports import CannotAnswer, Runtime
from pilotage.runtimes.together import filled

__all__ = ["Company", "Found"]


class Found(NamedTuple):
    """The score of a row, and its place where others were answered with it."""

    score: float
    batch: Place | None = None


class _Row(NamedTuple):
    values: Sequence[Value]
    found: asyncio.Future[Found]


class Company:
    """The rows that wait for one runtime; at most `rows` go together. For one event loop."""

    def __init__(self, runtime: Runtime, rows: int) -> None:
        self._runtime, self._most = runtime, rows
        self._waiting: deque[_Row] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def score(self, values: Sequence[Value]) -> Found:
        """The score of one row; raises what the runtime does. A caller that gives up takes its row out, if it waits."""
        found: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Row(values, found))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return await found

    async def _send(self) -> None:
        try:
            while rows := self._next():
                await self._ask(rows)
        finally:
            self._sending = None

    def _next(self) -> list[_Row]:
        rows: list[_Row] = []
        while self._waiting and len(rows) < self._most:
            row = self._waiting.popleft()
            if not row.found.done():
                rows.append(row)
        return rows

    async def _ask(self, rows: list[_Row]) -> None:
        """Answer rows. One that has no answer, alone among others, must not cost these theirs: then each is asked."""
        if len(rows) > 1:
            given = filled([row.values for row in rows])
            try:
                scores = await self._runtime.score_together_async(given)
            except CannotAnswer:
                pass
            except Exception as error:  # noqa: BLE001 - those who wait hear of it
                _tell(rows, error)
                return
            else:
                for at, row in enumerate(rows):
                    _settle(row, Found(scores[at], Place(size=len(given), at=at)))
                return
        for row in rows:
            if row.found.done():
                continue
            try:
                _settle(row, Found(await self._runtime.score_async(row.values)))
            except Exception as error:  # noqa: BLE001 - as above
                _tell([row], error)


def _settle(row: _Row, found: Found) -> None:
    if not row.found.done():
        row.found.set_result(found)


def _tell(rows: Sequence[_Row], error: Exception) -> None:
    for row in rows:
        if not row.found.done():
            row.found.set_exception(error)
