"""Columns that give the answer away, alone or two together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np

from pilotage.evaluation.intervals import wilson
from pilotage.evaluation.leakage.cells import Separation, information, joint, number_cells, separation
from pilotage.evaluation.leakage.model import Finding, Severity
from pilotage.evaluation.leakage.table import Codes, Field, Flags, Floats, Table
from pilotage.evaluation.leakage.views import FEW, STATES, View, views

__all__ = ["HIGH", "MEDIUM", "alone", "order_of_rows", "pairs"]

HIGH, MEDIUM = 0.98, 0.94
"""Areas from which one column decides too well: in honest data the best single column stays below .9 but for few."""
_SURE = 0.9
_ALMOST = 0.005
_PURE, _COVERED, _FEWEST = 0.05, 0.1, 30
_DOMINANT, _TIMES = 0.75, 2.0
_PAIR_BINS, _MOST_PAIRS, _CATEGORY = 16, 2_000, 200
_SCREEN, _SCREEN_MARGIN = 2_000, 0.1

_KINDS = {
    "value": "target_proxy",
    "moment": "target_proxy",
    "missing": "missingness",
    "form": "encoded",
    "group": "group_decides",
    "step": "running_total",
}
_MENDS = {
    "target_copy": "remove the column: it is the target in another form",
    "target_proxy": "remove the column, or show that its value is known before the decision",
    "missingness": "find out when the field is filled in; where that is after the outcome, remove the column",
    "encoded": "remove the column, or issue it anew without regard to the outcome",
    "group_decides": "remove the column and split by it, so that no group is on both sides",
    "running_total": "make the total end with the row before",
}


class _Read(NamedTuple):
    """The best reading of a column for one question."""

    view: View
    found: Separation
    question: str


def severity(found: Separation) -> Severity | None:
    """How serious an area is; None where an honest column may have it."""
    if found.area >= HIGH and found.low >= _SURE:
        return "high"
    return "medium" if found.area >= MEDIUM and found.low >= _SURE else None


def alone(table: Table, before: Codes, half: Codes) -> tuple[list[Finding], dict[str, Separation]]:
    """What single columns give away, and the area of each column's value."""
    found: list[Finding] = []
    areas: dict[str, Separation] = {}
    shares: dict[str, float] = {}
    for field in table.fields:
        if not len(field.missing) or int(field.levels.max()) == 0:
            continue
        best, value, leak = _best(field, table, before, half)
        areas[field.name] = value.found
        shares[field.name] = information(value.view.cells, table.target.questions[value.question])
        serious = severity(best.found)
        if serious is not None:
            found.append(_proxy(field, table, best, serious))
        elif leak is not None:
            found.append(leak)
    return [*found, *_dominant({f.columns[0] for f in found}, areas, shares)], areas


def _best(field: Field, table: Table, before: Codes, half: Codes) -> tuple[_Read, _Read, Finding | None]:
    """The reading that tells most, that of the value, and what one side of the answer alone gives away."""
    reads: list[_Read] = []
    one_sided: Finding | None = None
    for view in views(field, before):
        for question, yes in table.target.questions.items():
            reads.append(_Read(view, separation(view.cells, yes, half), question))
            if one_sided is None and view.name in ("missing", "value"):
                one_sided = _one_sided(field, view, yes, question)
    value = max((read for read in reads if read.view.name == "value"), key=lambda read: read.found.area)
    return _plainest(reads, field.numbers is not None), value, one_sided


def _plainest(reads: list[_Read], numbers: bool) -> _Read:
    """Of the readings that tell most, the one that says why: a gap, few values, a form of them, then all values."""
    most = max(read.found.area for read in reads)
    almost = [read for read in reads if read.found.area >= most - _ALMOST]
    order = ("missing", "form", "step", "value", "moment", "group")

    def rank(read: _Read) -> tuple[int, int]:
        cells = int(read.view.cells.max())
        few = read.view.name == "value" and cells <= (FEW if numbers else STATES)
        return (1 if few else 2 + order.index(read.view.name) if read.view.name != "missing" else 0), cells

    found = min(almost, key=rank)
    values = [read for read in almost if read.view.name == "value"]
    # A form that cuts no coarser than the values do explains nothing.
    if found.view.name == "form" and values and int(found.view.cells.max()) * 2 > int(values[0].view.cells.max()):
        return values[0]
    return found


def _proxy(field: Field, table: Table, best: _Read, serious: Severity) -> Finding:
    kind = _KINDS[best.view.name]
    yes = table.target.questions[best.question]
    same = _agreement(best.view.cells, yes)
    if kind == "target_proxy" and same >= 0.999 and int(best.view.cells.max()) <= 2 * len(table.target.questions) + 2:
        kind = "target_copy"
    if kind == "target_proxy" and _is_group(field, best.view):
        kind = "group_decides"
    return Finding(
        kind=kind,
        columns=(field.name,),
        severity=serious,
        measure="AUC alone",
        strength=best.found.area,
        low=best.found.low,
        high=best.found.high,
        said=f"{field.name} gives {table.target.name} = {best.question} away by {best.view.said}",
        mend=_MENDS[kind],
        figures={"agreement": same, "cells": int(best.view.cells.max()) + 1, "by": best.view.said},
    )


def _is_group(field: Field, view: View) -> bool:
    """Whether the value is a name of many rows, of which there are too many to be states of an outcome."""
    return field.numbers is None and view.name == "value" and len(np.unique(view.cells)) > STATES


def _agreement(cells: Codes, yes: Flags) -> float:
    """The share of rows that have the answer of most in their cell."""
    size = int(cells.max()) + 1
    table = np.bincount(yes * size + cells, minlength=2 * size).reshape(2, size)
    return float(table.max(axis=0).sum() / len(yes))


def _one_sided(field: Field, view: View, yes: Flags, question: str) -> Finding | None:
    """A cell that has one answer only, where the other would be expected often: strong in one direction."""
    size = int(view.cells.max()) + 1
    table = np.bincount(yes * size + view.cells, minlength=2 * size).reshape(2, size)
    totals = table.sum(axis=1)
    for answer in (1, 0):
        base = totals[1 - answer] / totals.sum()
        for cell in np.flatnonzero(table[answer] >= max(_FEWEST, _COVERED * totals[answer])):
            hits, rows = int(table[answer, cell]), int(table[:, cell].sum())
            held = wilson(hits, rows)
            if 1 - held.low > _PURE * base or base < 0.02:
                continue
            missing = view.name == "missing"
            state = ("missing" if cell else "given") if missing else "this value"
            return Finding(
                kind="missingness" if missing else "one_sided",
                columns=(field.name,),
                severity="high" if missing and held.low >= 0.98 else "medium",
                measure="share with one answer",
                strength=held.rate,
                low=held.low,
                high=held.high,
                said=f"where {field.name} is {state}, {held.rate:.1%} of {rows:,} rows are "
                f"{'' if answer else 'not '}{question}; of all rows {totals[answer] / totals.sum():.1%} are",
                mend=_MENDS["missingness"] if missing else _MENDS["target_proxy"],
                figures={"rows": rows, "covered": hits / int(totals[answer])},
            )
    return None


def _dominant(known: set[str], areas: dict[str, Separation], shares: dict[str, float]) -> Iterator[Finding]:
    """A column that tells far more than any other: a strong honest one looks the same, so this is a question."""
    order = sorted((name for name in shares if name not in known), key=lambda name: -shares[name])
    if known or len(order) < 3 or areas[order[0]].area < _DOMINANT:
        return
    first, second = order[:2]
    if shares[first] >= _TIMES * shares[second]:
        times = shares[first] / shares[second] if shares[second] > 0 else float("inf")
        yield Finding(
            kind="dominant",
            columns=(first,),
            severity="ask",
            measure="AUC alone",
            strength=areas[first].area,
            low=areas[first].low,
            high=areas[first].high,
            said=f"{first} tells {min(times, 99):.1f} times as much of the target as the next column, {second}",
            mend="ask when it is known: where that is after the decision, remove it; no figure can tell",
            figures={"information": float(shares[first]), "next": float(shares[second])},
        )


def pairs(table: Table, areas: dict[str, Separation], half: Codes, known: set[str]) -> tuple[list[Finding], int]:
    """Pairs of columns that give the answer away where neither does, and how many pairs were not looked at.

    A few rows say which pairs are worth a look at all of them.
    """
    names = [each.name for each in table.fields if each.name in areas and each.name not in known]
    chosen = list(combinations(names, 2))
    few = np.arange(min(table.rows, _SCREEN))
    likely = [*_telling(table.take(few), half[few], chosen[:_MOST_PAIRS], MEDIUM - _SCREEN_MARGIN)]
    found = []
    for one, other, said, question, held in _telling(table, half, [(one, other) for one, other, *_ in likely], 0.0):
        serious = severity(held)
        if serious is None:
            continue
        found.append(
            Finding(
                kind="pair",
                columns=(one, other),
                severity=serious,
                measure="AUC of both",
                strength=held.area,
                low=held.low,
                high=held.high,
                said=f"{one} and {other} together give {table.target.name} = {question} away by {said}",
                mend="remove one of them, or show that both are known before the decision",
                figures={"first_alone": areas[one].area, "second_alone": areas[other].area},
            )
        )
    return found, max(0, len(chosen) - _MOST_PAIRS)


def _telling(
    table: Table, half: Codes, chosen: list[tuple[str, str]], least: float
) -> Iterator[tuple[str, str, str, str, Separation]]:
    """Of each pair what tells most, where it tells so much: its columns, in words by what, the question, the area."""
    fields = {each.name: each for each in table.fields}
    cells = {name: _coarse(fields[name]) for name in {name for pair in chosen for name in pair}}
    for one, other in chosen:
        told = [
            (separation(together, yes, half), said, question)
            for said, together in _together(fields[one], fields[other], cells)
            for question, yes in table.target.questions.items()
        ]
        if told:
            held, said, question = max(told)
            if held.area >= least:
                yield one, other, said, question, held


def _coarse(field: Field) -> Codes | None:
    if field.numbers is not None:
        return number_cells(field.numbers, _PAIR_BINS)
    return field.levels if int(field.levels.max()) < _CATEGORY else None


def _together(one: Field, other: Field, cells: dict[str, Codes | None]) -> Iterator[tuple[str, Codes]]:
    a, b = cells[one.name], cells[other.name]
    if a is not None and b is not None:
        yield "the two values", joint(a, b)
    if one.numbers is not None and other.numbers is not None:
        yield "their difference", number_cells(one.numbers - other.numbers, _PAIR_BINS)
        yield "their sum", number_cells(one.numbers + other.numbers, _PAIR_BINS)
        yield "their ratio", number_cells(_ratio(one.numbers, other.numbers), _PAIR_BINS)
    elif one.labels and other.labels:
        yield "whether they are equal", _equal(one, other)


def _ratio(one: Floats, other: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = one / other
    ratio[~np.isfinite(ratio)] = np.nan
    return ratio


def _equal(one: Field, other: Field) -> Codes:
    places = {label: at for at, label in enumerate(other.labels)}
    turned = np.array([*(places.get(label, -2) for label in one.labels), -3])[one.codes]
    same: Codes = (turned == other.codes).astype(np.int64)
    return same


def order_of_rows(table: Table, half: Codes, place: Floats) -> list[Finding]:
    """Whether the order of the file gives the answer away."""
    cells = number_cells(place)
    found = []
    for question, yes in table.target.questions.items():
        held = separation(cells, yes, half)
        serious = severity(held)
        if serious is not None:
            found.append(
                Finding(
                    kind="row_order",
                    columns=(),
                    severity="medium",
                    measure="AUC of the place",
                    strength=held.area,
                    low=held.low,
                    high=held.high,
                    said=f"the rows are sorted so that their place gives {table.target.name} = {question} away",
                    mend="shuffle the rows before they are split by place; keep no number of the row as an input",
                )
            )
    return found[:1]
