"""All looks for leaks in one table, in bounded time and memory."""

from __future__ import annotations

import numpy as np

from pilotage.evaluation.leakage.cells import halves
from pilotage.evaluation.leakage.duplicates import duplicates, same_subject, searched
from pilotage.evaluation.leakage.encodings import aggregates, next_rows, target_encodings, target_windows
from pilotage.evaluation.leakage.model import SEVERITIES, Finding, Leakage, Progress
from pilotage.evaluation.leakage.proxies import alone, order_of_rows, pairs
from pilotage.evaluation.leakage.table import MOST_ALONE, Codes, Floats, Table, moments, sampled
from pilotage.evaluation.leakage.time_travel import later_dates, split_in_time, split_of_labels

__all__ = ["find_leaks"]

MOST_PAIRED = 20_000
"""Rows by which pairs are judged: the interval of an area of .98 is then .002 to either side."""


def find_leaks(table: Table, progress: Progress | None = None) -> Leakage:
    """Look for leaks in every way that this table allows; the same table gives the same findings."""
    tell = progress or (lambda _step, _share: None)
    found: list[Finding] = []
    time = None if table.time is None else moments(table.time)
    order, before, after = _neighbours(table, time)
    tell("reading single columns", 0.0)
    places = sampled(table.rows, MOST_ALONE)
    sample, half = table.take(places), halves(len(places))
    single, areas = alone(sample, _within(before, places, table.rows), half)
    found += single
    found += order_of_rows(sample, half, places.astype(np.float64))
    tell("reading columns two by two", 0.3)
    known = {each.columns[0] for each in single if each.severity != "ask"}
    few = sampled(len(places), MOST_PAIRED)
    paired, left_out = pairs(sample.take(few), areas, half[few], known)
    found += paired
    tell("looking for rows on both sides", 0.6)
    found += [*same_subject(table), *duplicates(table), *split_of_labels(table)]
    tell("looking for other rows in a row", 0.75)
    found += [*target_encodings(table), *target_windows(table, order)]
    found += [*aggregates(table), *next_rows(table, after)]
    tell("looking at time", 0.9)
    if time is not None:
        found += [*split_in_time(table, time, halves(table.rows)), *later_dates(table, time, halves(table.rows))]
    tell("done", 1.0)
    return Leakage(
        rows=table.rows,
        columns=len(table.fields),
        looked_at={"single columns": len(places), "pairs of columns": len(few), **searched(table)},
        findings=tuple(sorted(found, key=lambda each: (SEVERITIES.index(each.severity), each.kind, each.columns))),
        skipped=_skipped(table, time, left_out),
    )


def _skipped(table: Table, time: Floats | None, left_out: int) -> dict[str, str]:
    skipped = {}
    if table.held_out is None:
        skipped["duplicates over the split"] = "no split was named"
    if table.subject is None:
        skipped["subjects on both sides"] = "no subject was named"
    if table.time is None:
        skipped["time travel"] = "no column of time was named"
    elif time is None:
        skipped["time travel"] = f"{table.time.name} holds neither numbers nor ISO dates"
    if left_out:
        skipped["pairs"] = f"{left_out:,} pairs of columns were left out"
    return skipped


def _neighbours(table: Table, time: Floats | None) -> tuple[Codes, Codes, Codes]:
    """The order of the rows by subject and time as far as known; the rows before and after each, -1 for none."""
    order = np.arange(table.rows)
    level = np.zeros(table.rows, dtype=np.int64) if table.subject is None else table.subject.levels
    if table.subject is not None or time is not None:
        order = np.lexsort((order, order if time is None else time, level))
    same = level[order[1:]] == level[order[:-1]]
    before, after = np.full(table.rows, -1, dtype=np.int64), np.full(table.rows, -1, dtype=np.int64)
    before[order[1:][same]] = order[:-1][same]
    after[order[:-1][same]] = order[1:][same]
    return order, before, after


def _within(before: Codes, places: Codes, rows: int) -> Codes:
    """The row before as a place in the sample; where that row was not drawn there is none."""
    where = np.full(rows + 1, -1, dtype=np.int64)
    where[places] = np.arange(len(places))
    return where[before[places]]
