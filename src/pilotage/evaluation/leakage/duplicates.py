"""Rows on both sides of the split: the same row, nearly the same row, the same subject.

Rows of coarse columns meet by chance, and honest data is full of such meetings. What tells a copy from chance is what
happens when a column is left out: chance meetings become many more, copies do not. So each figure is less what chance
accounts for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.intervals import wilson
from pilotage.evaluation.leakage.model import Finding, Severity
from pilotage.evaluation.leakage.table import Codes, Field, Floats, Table

__all__ = ["distinct_training_rows", "duplicates", "same_subject"]

Hashes = NDArray[np.uint64]

MOST_HELD_OUT = 20_000
_LOW, _HIGH, _FEWEST = 0.01, 0.05, 5
_ID_SHARE = 0.98
_DROPPED = 3
_NEAR, _WIDE, _TABLES, _CANDIDATES = 0.01, 0.04, 4, 8
_GAP, _SIGMAS = 1e6, 3.0
_COLLIDE, _MOSTLY = 0.9, 0.7
_MOST_SORTED = 50_000_000


@dataclass(frozen=True, kw_only=True)
class _Sides:
    """The hashes of each column's values, and which rows are of which side; at most MOST_HELD_OUT are held out."""

    columns: dict[str, Hashes]
    chance: dict[str, float]
    train: Codes
    held: Codes

    def matches(self, without: frozenset[str]) -> NDArray[np.int64]:
        """For each held-out row, how many training rows are equal but for some columns."""
        whole = np.zeros(len(next(iter(self.columns.values()))), dtype=np.uint64)
        for name, each in self.columns.items():
            if name not in without:
                whole += each
        train, held = np.sort(whole[self.train]), whole[self.held]
        return np.searchsorted(train, held, side="right") - np.searchsorted(train, held, side="left")


def duplicates(table: Table) -> list[Finding]:
    """Held-out rows that are training rows too, exactly, but for some columns, or but for a little noise."""
    sides = _sides(table)
    if sides is None:
        return []
    exact, dropped = _copies(sides)
    near = _near(table, sides, exact)
    found, beside = _finding(sides, exact, dropped), _near_finding(near, sides)
    if found and beside and dropped and beside.strength >= found.strength:
        found = None  # the columns in which copies differ are those that the noise is in
    return [*filter(None, (found, beside))]


def _sides(table: Table) -> _Sides | None:
    if table.held_out is None:
        return None
    fields = [each for each in table.fields if not _names_rows(each)]
    train, held = np.flatnonzero(~table.held_out), np.flatnonzero(table.held_out)
    if len(fields) < 2 or not len(train) or not len(held):
        return None
    if len(held) > MOST_HELD_OUT:
        held = np.sort(np.random.default_rng(len(held)).choice(held, MOST_HELD_OUT, replace=False))
    columns = {each.name: _hashes(each, at) for at, each in enumerate(fields)}
    return _Sides(
        columns=columns, chance={name: _collision(each) for name, each in columns.items()}, train=train, held=held
    )


def distinct_training_rows(table: Table) -> Codes:
    """The places of the training rows, each of equal ones once."""
    train = np.arange(table.rows) if table.held_out is None else np.flatnonzero(~table.held_out)
    whole = np.zeros(table.rows, dtype=np.uint64)
    for at, field in enumerate(table.fields):
        whole += _hashes(field, at)
    return train[np.unique(whole[train], return_index=True)[1]]


def _names_rows(field: Field) -> bool:
    """Whether a column is a name of the row: text or whole numbers, hardly any twice. It would hide every copy."""
    known = int((~field.missing).sum())
    if field.numbers is not None and not (np.mod(field.numbers[~field.missing], 1) == 0).all():
        return False
    distinct = int(field.levels.max()) + 1 - int(field.missing.any())
    return known >= 100 and distinct >= _ID_SHARE * known


def _collision(hashes: Hashes) -> float:
    """The chance that two rows have the same value."""
    _, counts = np.unique(hashes, return_counts=True)
    share = counts / counts.sum()
    return float((share * share).sum())


def _hashes(field: Field, at: int) -> Hashes:
    """A number of 64 bits for each value of a column; text without regard to case and the spaces around it."""
    if field.numbers is not None:
        plain = np.where(np.isnan(field.numbers), np.inf, field.numbers) + 0.0  # no minus nought
        return _mixed(plain.view(np.uint64), at)
    folded: dict[str, int] = {}
    codes = [folded.setdefault(label.strip().casefold(), len(folded)) for label in field.labels]
    return _mixed(np.array([*codes, 2**40], dtype=np.uint64)[field.codes], at)


def _mixed(values: Hashes, at: int) -> Hashes:
    """SplitMix64 (Steele, Lea and Flood 2014), another one for each column."""
    with np.errstate(over="ignore"):
        mixed = values + np.uint64((0x9E3779B97F4A7C15 * (2 * at + 1)) % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def _copies(sides: _Sides) -> tuple[float, frozenset[str]]:
    """How many held-out rows are copies beyond chance, and the columns in which those copies may differ."""
    best, dropped = 0.0, frozenset[str]()
    without = frozenset[str]()
    for _ in range(1 + min(_DROPPED, len(sides.columns) // 3)):
        here = sides.matches(without)
        left = [name for name in sides.columns if name not in without]
        if len(left) < 2:
            break
        # Each column left out takes a sort of all training rows: of very many columns some are tried.
        left = left[:: max(1, math.ceil(len(left) * len(sides.train) / _MOST_SORTED))]
        more = {name: sides.matches(without | {name}) for name in left}
        by_chance = max(_by_chance(here, more[name], sides.chance[name]) for name in left)
        met = float((here > 0).sum())
        excess = met - by_chance
        # What is left of a row without some columns may be coarse: then copies must be most of what meets.
        if excess > 1.5 * best + _FEWEST and excess >= (_MOSTLY if without else 0) * met:
            best, dropped = excess, without
        # Where a column alone keeps copies apart, leaving it out brings them in at once.
        without |= {max(left, key=lambda name: (int((more[name] > 0).sum()), -sides.chance[name]))}
    return best, dropped


def _by_chance(here: NDArray[np.int64], without: NDArray[np.int64], chance: float) -> float:
    """How many rows would meet by chance, as those say that meet when a column is left out and differ in it.

    Where d rows differ in a column in which two rows agree with probability c, d c / (1 - c) agree by chance.
    """
    if chance >= _COLLIDE:
        return 0.0
    expected = (without - here) * chance / (1 - chance)
    met = here > 0
    return float((1 - np.exp(-expected[met])).sum() + np.minimum(expected[~met], 1.0).sum())


def _serious(share: float) -> Severity | None:
    return None if share < _LOW else "high" if share >= _HIGH else "medium"


def _finding(sides: _Sides, copies: float, dropped: frozenset[str]) -> Finding | None:
    count, of = math.floor(copies), len(sides.held)
    held = wilson(count, of)
    serious = _serious(held.rate)
    if serious is None or count < _FEWEST:
        return None
    but = f" but for {', '.join(sorted(dropped))}" if dropped else ""
    return Finding(
        kind="near_duplicates" if dropped else "duplicates",
        columns=tuple(sorted(dropped)),
        severity=serious,
        measure="share of held-out rows",
        strength=held.rate,
        low=held.low,
        high=held.high,
        said=f"{count:,} of {of:,} held-out rows are training rows too{but}, beyond what chance accounts for",
        mend="remove the copies before the split, or keep every copy of a row on one side of it",
        figures={"rows": count, "of": of},
    )


def _near(table: Table, sides: _Sides, exact: float) -> float:
    """How many held-out rows lie beside a training row, no number further than a hundredth of its spread, beyond
    chance.

    By chance a row with a others in the ring between that distance and four times it has one nearer with probability
    1 - (2/3)^a in one dimension, and less in more: for a Poisson number in the ring, of mean 3 c, the mean of that is
    1 - exp(-c), however the density differs from row to row. Nought where chance alone may give so many.
    """
    fields = {each.name: each for each in table.fields if each.name in sides.columns}
    scaled = {name: _scaled(each.numbers) for name, each in fields.items() if each.numbers is not None}
    rich = {name: each for name, each in scaled.items() if sides.chance[name] < 0.01}
    if not rich:
        return 0.0
    words = np.zeros(table.rows, dtype=np.uint64)
    for name in fields:
        if name not in rich:
            words += sides.columns[name]
    matrix = np.column_stack(list(rich.values()))
    far = _distances(matrix, words, sides)
    near = np.min(far, axis=1) <= _NEAR
    by_chance = 1 - (2 / 3) ** ((far > _NEAR) & (far <= _WIDE)).sum(axis=1)
    # Where none of these numbers is known, rows lie together for want of values: that is no copy.
    told = ~(matrix[sides.held] == _GAP).all(axis=1)
    beyond = float(near[told].sum() - by_chance[told].sum())
    return beyond - exact if beyond > _SIGMAS * math.sqrt(2 * by_chance[told].sum()) else 0.0


def _scaled(numbers: Floats) -> Floats:
    """A column in units of its spread, by which outliers count for nothing; a gap is far from every number."""
    known = numbers[~np.isnan(numbers)]
    low, high = np.quantile(known, [0.1, 0.9]) if len(known) else (0.0, 1.0)
    spread = (high - low) / 2.563 or float(known.std() if len(known) else 1.0) or 1.0
    return np.where(np.isnan(numbers), _GAP, numbers / spread)


def _distances(matrix: Floats, words: Hashes, sides: _Sides) -> Floats:
    """For each held-out row the distances, in the column where each is largest, to training rows of its cell.

    Cells are of five times the width looked for, laid four times with different borders (Datar et al. 2004); a row
    that several cells bring counts once, and of a crowded cell some rows do.
    """
    generator = np.random.default_rng(matrix.shape[1])
    width = 5 * _WIDE
    met = np.full((len(sides.held), _TABLES * _CANDIDATES), -1, dtype=np.int64)
    for table in range(_TABLES):
        grid = np.floor(matrix / width + generator.random(matrix.shape[1])).astype(np.int64)
        cell = words.copy()
        for at in range(matrix.shape[1]):
            cell += _mixed(grid[:, at].view(np.uint64), 1000 + at)
        order = np.argsort(cell[sides.train], kind="stable")
        sorted_cells = cell[sides.train][order]
        start = np.searchsorted(sorted_cells, cell[sides.held])
        for step in range(_CANDIDATES):
            near = np.minimum(start + step, len(order) - 1)
            same = (sorted_cells[near] == cell[sides.held]) & (start + step < len(order))
            met[same, table * _CANDIDATES + step] = sides.train[order[near[same]]]
    met.sort(axis=1)
    rows, places = np.nonzero(np.diff(met, axis=1, prepend=-1))
    far = np.full(met.shape, np.inf)
    for at in range(matrix.shape[1]):
        apart = np.abs(matrix[sides.held[rows], at] - matrix[met[rows, places], at])
        far[rows, places] = apart if at == 0 else np.maximum(far[rows, places], apart)
    return far


def _near_finding(near: float, sides: _Sides) -> Finding | None:
    count, of = max(0, math.floor(near)), len(sides.held)
    held = wilson(count, of)
    serious = _serious(held.rate)
    if serious is None or count < _FEWEST:
        return None
    return Finding(
        kind="near_duplicates",
        columns=(),
        severity=serious,
        measure="share of held-out rows",
        strength=held.rate,
        low=held.low,
        high=held.high,
        said=f"{count:,} of {of:,} held-out rows are training rows with a little noise",
        mend="keep a row and what was made of it on one side of the split",
        figures={"rows": count, "of": of},
    )


def same_subject(table: Table) -> list[Finding]:
    """Subjects of whom rows are on both sides, however their name is written."""
    if table.subject is None or table.held_out is None:
        return []
    hashes = _hashes(table.subject, 0)
    known = ~table.subject.missing
    train, held = hashes[~table.held_out & known], hashes[table.held_out & known]
    if not len(train) or not len(held):
        return []
    shared = np.isin(held, train)
    count = int(shared.sum())
    rate = wilson(count, len(held))
    if not count:
        return []
    return [
        Finding(
            kind="subject_overlap",
            columns=(table.subject.name,),
            severity="high" if rate.rate >= _HIGH else "medium" if rate.rate >= _LOW / 2 else "ask",
            measure="share of held-out rows",
            strength=rate.rate,
            low=rate.low,
            high=rate.high,
            said=f"{count:,} of {len(held):,} held-out rows are of a {table.subject.name} that has training rows too",
            mend="split by the subject, so that all rows of one are on one side",
            figures={"rows": count, "subjects": len(np.unique(held[shared]))},
        )
    ]
