"""Which recorded decisions to ask again: a window of time or the last so many, all of them or a repeatable sample."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pilotage.errors import InputError, PilotageError
from pilotage.kernel.chunks import weighed
from pilotage.kernel.clock import parse_time
from pilotage.ledger.queries import DecisionFilter, DecisionRow, Ledger, RecordedDecision

__all__ = ["Window", "parse_window", "read_each", "rows_of"]

_PAGE = 500
_READ = 100
"""Decisions read at once: keys and bundles of neighbours are fetched together."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """`last`: at most so many, the newest. `sample`: so many of those, chosen by a hash of their ids, so that the
    same window gives the same sample. None stands for all."""

    wanted: DecisionFilter
    last: int | None = None
    sample: int | None = None

    def as_dict(self) -> dict[str, object]:
        """What was chosen, as JSON values; no personal data."""
        chosen: dict[str, object] = {
            name: getattr(self.wanted, name) for name in ("system", "release", "stage", "since", "until")
        }
        chosen |= {"last": self.last, "sample": self.sample}
        return {name: value for name, value in chosen.items() if value not in (None, "")}


def parse_window(text: str) -> tuple[int | None, int | None]:
    """(since, until) in Unix microseconds of `SINCE..UNTIL`, either of which may be left out. Raises InputError."""
    since, dots, until = text.partition("..")
    if not dots or not (since or until):
        raise InputError(
            "the window cannot be read",
            got=text,
            expected="SINCE..UNTIL, such as 2026-03-01T00:00Z..2026-03-08T00:00Z",
            mend="give two times with two dots between, or --last 1000",
        )
    first, last = parse_time(since) if since else None, parse_time(until) if until else None
    if first is not None and last is not None and first >= last:
        raise InputError("the window ends before it begins", got=text, mend="give the earlier time first")
    return first, last


def rows_of(ledger: Ledger, window: Window) -> tuple[int, Iterator[DecisionRow]]:
    """(how many at most, the index rows, newest first), page by page. A sample is chosen before the first comes."""
    if window.sample is not None:
        chosen = heapq.nsmallest(window.sample, _pages(ledger, window), key=lambda row: _place(row.id))
        return len(chosen), iter(sorted(chosen, key=lambda row: -row.leaf))
    count = ledger.count(window.wanted)
    return count if window.last is None else min(count, window.last), _pages(ledger, window)


def _place(id_: str) -> bytes:
    """Where a decision stands in the order that samples are taken in."""
    return hashlib.blake2b(id_.encode(), digest_size=16, person=b"replay sample").digest()


def _pages(ledger: Ledger, window: Window) -> Iterator[DecisionRow]:
    left, before = window.last, None
    while left is None or left > 0:
        limit = _PAGE if left is None else min(_PAGE, left)
        page = ledger.decisions(window.wanted, limit=limit, before=before)
        yield from page
        if len(page) < limit:
            return
        before = page[-1].leaf
        left = None if left is None else left - len(page)


def read_each(ledger: Ledger, rows: Iterable[DecisionRow]) -> Iterator[tuple[DecisionRow, RecordedDecision | str]]:
    """Each row with its record, or with why the record cannot be read: one damaged leaf must not end a replay."""
    for chunk in weighed(rows, lambda row: row.length, most=_READ):
        try:
            found: list[RecordedDecision | str] = [*ledger.recorded(chunk)]
        except PilotageError:
            found = [_read(ledger, row) for row in chunk]
        yield from zip(chunk, found, strict=True)


def _read(ledger: Ledger, row: DecisionRow) -> RecordedDecision | str:
    try:
        return ledger.decision(row.id)
    except PilotageError as error:
        return f"damaged: {error.what}"
