"""The SQL of the sums: add a batch's, read a window's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, bindparam, delete, or_, select

from pilotage.ledger import store
from pilotage.ledger.sums import SPANS, SumKey, Summed, add_sum, sum_rows, sums_of
from pilotage.ledger.tables import decision_sums

__all__ = ["add_made_sums", "add_sums", "find_days", "find_second_sums", "find_sums"]

_MANY = 400
_NAMES = ("span", "at", "system", "release", "arm", "mode", "outcome")


def add_sums(connection: Connection, rows: Iterable[Summed]) -> None:
    """Add the decisions of a batch, in the transaction that commits it."""
    add_made_sums(connection, sums_of(rows))


def add_made_sums(connection: Connection, fresh: dict[SumKey, dict[str, Any]]) -> None:
    """Add sums that are made already; they are changed."""
    known = _known(connection, fresh)
    for key, one in known.items():
        add_sum(fresh[key], one)
    if known:
        match = and_(*(decision_sums.c[name] == bindparam(f"b_{name}") for name in _NAMES))
        connection.execute(
            delete(decision_sums).where(match),
            [{f"b_{name}": value for name, value in zip(_NAMES, key, strict=True)} for key in known],
        )
    store.add_rows(connection, decision_sums, sum_rows(fresh))


def find_sums(connection: Connection, system: str, since_s: int | None, mode: str = "live") -> Iterator[Row[Any]]:
    """The sums since a second, rounded down to its minute, in as few rows as there are; no system means all."""
    c = decision_sums.c
    where = [c.mode == mode, _window(since_s)]
    if system:
        where.append(c.system == system)
    yield from connection.execute(select(decision_sums).where(*where))


def find_days(connection: Connection, *, system: str, release: str, arm: str, mode: str) -> Sequence[Any]:
    """(at, outcome, n) by UTC day of the decisions of a release; no arm means all."""
    c = decision_sums.c
    where = [c.span == SPANS[-1], c.system == system, c.release == release, c.mode == mode]
    if arm:
        where.append(c.arm == arm)
    return connection.execute(select(c.at, c.outcome, c.n).where(*where)).all()


def find_second_sums(connection: Connection, system: str, since_s: int | None) -> Iterator[tuple[int, dict[str, int]]]:
    """(at, seconds) of live decisions by minute, the newest minute first."""
    c = decision_sums.c
    where = [c.span == SPANS[0], c.mode == "live"]
    if since_s is not None:
        where.append(c.at >= since_s // 60 * 60)
    if system:
        where.append(c.system == system)
    query = select(c.at, c.seconds).where(*where).order_by(c.at.desc())
    for row in connection.execution_options(yield_per=200).execute(query):
        yield row.at, row.seconds


def _window(since_s: int | None) -> ColumnElement[bool]:
    """Minutes up to the next hour, hours up to the next day, then days."""
    c = decision_sums.c
    if since_s is None:
        return c.span == SPANS[-1]
    pieces: list[ColumnElement[bool]] = []
    start = since_s // SPANS[0] * SPANS[0]
    for span, longer in pairwise(SPANS):
        end = -(-start // longer) * longer
        pieces.append(and_(c.span == span, c.at >= start, c.at < end))
        start = end
    return or_(*pieces, and_(c.span == SPANS[-1], c.at >= start))


def _known(connection: Connection, fresh: Mapping[SumKey, Any]) -> dict[SumKey, dict[str, Any]]:
    """The rows already there of these keys."""
    found: dict[SumKey, dict[str, Any]] = {}
    for span in SPANS:
        starts = sorted({key[1] for key in fresh if key[0] == span})
        for at in range(0, len(starts), _MANY):
            query = select(decision_sums).where(
                decision_sums.c.span == span, decision_sums.c.at.in_(starts[at : at + _MANY])
            )
            for row in connection.execute(query):
                key = (row.span, row.at, row.system, row.release, row.arm, row.mode, row.outcome)
                if key in fresh:
                    found[key] = {"n": row.n, "faults": row.faults, "times": row.times, "seconds": row.seconds}
    return found
