"""Columns made of other rows: the target's mean of a group, totals that reach into the future, the next row's value."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from pilotage.evaluation.intervals import wilson
from pilotage.evaluation.leakage.model import Finding, Severity
from pilotage.evaluation.leakage.table import Codes, Field, Flags, Floats, Table

__all__ = ["aggregates", "next_rows", "target_encodings", "target_windows"]

_SAME = 1e-6
_MOST = 0.99
_PRIORS = 400.0
_FIRST, _LIKELY = 500, 0.9
_BACK, _ON = 12, 6


def _finding(kind: str, columns: tuple[str, ...], hits: Flags, said: str, mend: str, severity: Severity) -> Finding:
    rate = wilson(int(hits.sum()), len(hits))
    return Finding(
        kind=kind,
        columns=columns,
        severity=severity,
        measure="share of rows it explains",
        strength=rate.rate,
        low=rate.low,
        high=rate.high,
        said=said,
        mend=mend,
        figures={"rows": len(hits)},
    )


def target_encodings(table: Table) -> list[Finding]:
    """Numbers that are the target's mean over the rows of a group, where rows that must not count are in it."""
    found = []
    shares = [each for each in table.fields if each.numbers is not None and _may_be_share(each.numbers)]
    shares = [each for each in shares if each.distinct > 2]
    known = table.fields if table.subject is None else (*table.fields, table.subject)
    groups = [each for each in known if 2 < each.distinct <= table.rows / 2] if shares else []
    for field in shares:
        for group in groups:
            if group.name != field.name and (made := _encoded(table, field, group)) is not None:
                found.append(made)
                break
    return found


def target_windows(table: Table, order: Codes) -> list[Finding]:
    """Numbers that are the target's mean or count over the rows around, the row's own among them.

    `order` puts the rows of a subject together, by their time.
    """
    found = []
    for question, yes in table.target.questions.items():
        total = np.concatenate([[0.0], np.cumsum(yes[order])])
        for field in table.fields:
            if field.numbers is None or not _may_count(field.numbers) or field.distinct < 3:
                continue
            numbers = field.numbers[order]
            window = next(_windows(numbers, total), None)
            if window is None:
                continue
            back, on, hits = window
            rows = f"{back} rows before to {on} after" if on else f"{back} rows before to its own"
            found.append(
                _finding(
                    "target_encoding",
                    (field.name,),
                    hits,
                    f"{field.name} is the mean or count of {table.target.name} = {question} from {rows}",
                    "let the window end with the row before",
                    "high",
                )
            )
    return found


def _windows(numbers: Floats, total: Floats) -> Iterator[tuple[int, int, Flags]]:
    """The windows that explain the numbers: so many rows back, so many on, and which rows fit."""
    some = min(len(numbers), _FIRST)
    for back, on, mean in product(range(_BACK + 1), range(_ON + 1), (False, True)):
        if back + on and _window(numbers[:some], total[: some + 1], back, on, mean).mean() >= _LIKELY / 2:
            hits = _window(numbers, total, back, on, mean)
            if hits.mean() >= _LIKELY and not _mostly_one(numbers):
                yield back, on, hits


def _window(numbers: Floats, total: Floats, back: int, on: int, mean: bool) -> Flags:
    """Which rows are the sum or mean from so many rows before to so many after."""
    width = back + on + 1
    if len(numbers) < 2 * width:
        return np.zeros(1, dtype=bool)
    sums = (total[width:] - total[:-width]) / (width if mean else 1)
    near: Flags = np.abs(numbers[back : len(numbers) - on] - sums) <= _SAME
    return near


def _may_count(numbers: Floats) -> bool:
    """Whether these may be counts or shares of so few rows."""
    return _within(numbers, _BACK + _ON + 1)


def _may_be_share(numbers: Floats) -> bool:
    return _within(numbers, 1)


def _within(numbers: Floats, most: float) -> bool:
    """Whether all that is known lies between 0 and a number."""
    return bool(np.fmin.reduce(numbers, initial=np.inf) >= 0 and np.fmax.reduce(numbers, initial=-np.inf) <= most)


def _encoded(table: Table, field: Field, group: Field) -> Finding | None:
    level, size, numbers = group.levels, group.distinct, field.numbers
    if numbers is None:
        return None
    for question, yes in table.target.questions.items():
        label = yes.astype(np.float64)
        total = np.bincount(level, weights=label, minlength=size).astype(np.float64)
        count = np.bincount(level, minlength=size).astype(np.int64)
        many = (count >= 2)[level] & ~np.isnan(numbers)
        if many.sum() < 100:
            continue
        own = np.where(many, (total[level] - label) / np.maximum(count[level] - 1, 1), np.nan)
        for of, hits in (
            ("all its rows", _fits(numbers, total, count, level, many)),
            ("all its other rows, so that it tells its own", np.isclose(numbers[many], own[many], rtol=0, atol=_SAME)),
        ):
            if hits is None or hits.mean() < _MOST:
                continue
            if of == "all its rows" and _of_training(table, numbers, level, label):
                continue
            return _finding(
                "target_encoding",
                (field.name,),
                hits,
                f"{field.name} is the share of {table.target.name} = {question} by {group.name}, over {of}",
                "make it of training rows only, and for these of other folds than the row's own",
                "high",
            )
    return None


def _fits(numbers: Floats, total: Floats, count: Codes, level: Codes, many: Flags) -> Flags | None:
    """Which rows are (total + a) / (count + b) of their group, for some smoothing a and b that all share."""
    first = np.unique(level[many], return_index=True)[1]
    chosen = np.flatnonzero(many)[first]
    x, s, c = numbers[chosen], total[level[chosen]], count[level[chosen]]
    if len(chosen) < 3 or float(np.ptp(x)) == 0:
        return None
    # x (c + b) = s + a is linear in a and b.
    design = np.column_stack([np.ones(len(x)), -x])
    (a, b), *_ = np.linalg.lstsq(design, x * c - s, rcond=None)
    if not (-1e-6 <= a <= _PRIORS and -1e-6 <= b <= _PRIORS):
        return None
    hits: Flags = np.isclose(numbers[many], (total[level] + a)[many] / (count[level] + b)[many], rtol=0, atol=_SAME)
    return hits


def _of_training(table: Table, numbers: Floats, level: Codes, label: Floats) -> bool:
    """Whether training rows alone explain the numbers as well: then nothing was taken from held-out rows."""
    if table.held_out is None:
        return False
    size, train = int(level.max()) + 1, ~table.held_out
    total = np.bincount(level[train], weights=label[train], minlength=size).astype(np.float64)
    count = np.bincount(level[train], minlength=size).astype(np.int64)
    hits = _fits(numbers, total, count, level, (count >= 2)[level] & ~np.isnan(numbers))
    return hits is not None and bool(hits.mean() >= _MOST)


def aggregates(table: Table) -> list[Finding]:
    """Numbers that are one for all rows of a subject, and are a count, mean, sum, least or most over all of them."""
    if table.subject is None:
        return []
    level = _from_zero(table.subject.levels)
    count = np.bincount(level)
    many = (count >= 2)[level]
    if many.sum() < 100:
        return []
    found = []
    sources = {each.name: each.numbers for each in table.fields if each.numbers is not None}
    for name, numbers in sources.items():
        if not _steady(numbers, level, many):
            continue
        for said, source, whole in _totals(sources, name, level):
            hits = np.isclose(numbers[many], whole[level][many], rtol=_SAME, atol=_SAME)
            if hits.mean() >= _MOST:
                found.append(
                    _finding(
                        "future_aggregate",
                        (name, *source),
                        hits,
                        f"{name} is {said} over all rows of a {table.subject.name}, later ones among them",
                        "make it of the rows before the decision only",
                        "high",
                    )
                )
                break
    return found


def _steady(numbers: Floats, level: Codes, many: Flags) -> bool:
    """Whether a column says the same in all rows of a subject, and is not the same for everybody."""
    size = int(level.max()) + 1
    low, high = np.full(size, np.inf), np.full(size, -np.inf)
    np.fmin.at(low, level, numbers)
    np.fmax.at(high, level, numbers)
    same = np.isclose(low, high, rtol=_SAME)[level]
    known = numbers[~np.isnan(numbers)]
    return bool(same[many].mean() >= _MOST) and bool(len(known)) and float(np.ptp(known)) > 0


def _totals(sources: dict[str, Floats], name: str, level: Codes) -> Iterator[tuple[str, tuple[str, ...], Floats]]:
    size = int(level.max()) + 1
    count = np.bincount(level, minlength=size).astype(np.float64)
    yield "the number of rows", (), count
    for other, numbers in sources.items():
        if other == name or np.isnan(numbers).any():
            continue
        total = np.bincount(level, weights=numbers, minlength=size).astype(np.float64)
        low, high = np.full(size, np.inf), np.full(size, -np.inf)
        np.fmin.at(low, level, numbers)
        np.fmax.at(high, level, numbers)
        varies = (low != high)[level].mean()
        if varies < 0.1:
            continue
        yield f"the mean of {other}", (other,), total / np.maximum(count, 1)
        yield f"the sum of {other}", (other,), total
        yield f"the least {other}", (other,), low
        yield f"the most of {other}", (other,), high


def next_rows(table: Table, after: Codes) -> list[Finding]:
    """Numbers that are what the next row of the subject (or of the file) says. `after` is its place, -1 for none.

    That one column is the next row's other may as well mean that the other is the row before's: which one was made is
    told by where it has nothing to say, in the last rows or in the first.
    """
    there, last = np.flatnonzero(after >= 0), np.flatnonzero(after < 0)
    if len(there) < 100:
        return []
    following = after[there]
    some, then = there[:_FIRST], following[:_FIRST]
    first = np.ones(table.rows, dtype=bool)
    first[following] = False
    numbers = {each.name: each.numbers for each in table.fields if each.numbers is not None}
    told = {**numbers, table.target.name: table.target.values}
    found = []
    names, next_ones = list(told), np.vstack([source[then] for source in told.values()])
    for name, own in numbers.items():
        near = (np.abs(next_ones - own[some]) <= _SAME * (1 + np.abs(own[some]))).mean(axis=1)
        likely = {names[at] for at in np.flatnonzero(near >= _LIKELY)}
        for other, source in told.items():
            if other == name or other not in likely:
                continue
            if _mostly_one(source):
                continue
            hits = np.isclose(own[there], source[following], rtol=_SAME, atol=_SAME)
            if hits.mean() < _MOST or np.isclose(own[there], source[there], rtol=_SAME, atol=_SAME).mean() > 0.9:
                continue
            ends, starts = _blank(own[last]), _blank(source[first])
            if starts and not ends and other in numbers:
                continue
            found.append(
                _finding(
                    "next_row",
                    (name, other),
                    hits,
                    f"{name} is the {other} of the row after it",
                    "take it from the row before, as far as that is known at the decision",
                    "high" if (ends and not starts) or other not in numbers else "ask",
                )
            )
            break
    return found


def _blank(numbers: Floats) -> bool:
    """Whether these rows have nothing of their own to say."""
    return bool(np.isnan(numbers).all()) or (len(numbers) > 1 and _mostly_one(numbers))


def _mostly_one(numbers: Floats) -> bool:
    _, counts = np.unique(numbers, return_counts=True)
    return bool(counts.max() >= 0.95 * len(numbers))


def _from_zero(level: Codes) -> Codes:
    _, place = np.unique(level, return_inverse=True)
    return place.astype(np.int64)
