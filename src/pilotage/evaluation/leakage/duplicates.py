"""Rows on both sides of the split: the same row, nearly the same row, the same subject.

Rows of coarse columns meet by chance, and honest data is full of such meetings. What tells a copy from chance is what
happens when a column is left out: chance meetings become many more, copies do not. So each figure is less what chance
accounts for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.intervals import wilson
from pilotage.evaluation.leakage.model import Finding, Severity
from pilotage.evaluation.leakage.table import MOST_ALONE, Codes, Field, Floats, Table, sampled

__all__ = ["distinct_training_rows", "duplicates", "same_subject", "searched"]

Hashes = NDArray[np.uint64]

MOST_HELD_OUT = 20_000
_LOW, _HIGH, _FEWEST = 0.01, 0.05, 5
_ID_SHARE = 0.98
_DROPPED = 3
_NEAR, _WIDE, _TABLES, _CANDIDATES = 0.01, 0.04, 4, 8
_GAP, _SIGMAS = 1e6, 3.0
_COLLIDE, _MOSTLY = 0.9, 0.7
_FIRST = 1_000
_MOST_SORTED = 50_000_000


@dataclass(frozen=True, kw_only=True)
class _Sides:
    """The rows of both sides, by their `places`: first all `train` training rows, then at most MOST_HELD_OUT others.

    Of these rows the hashes of each column's values, and their sum; of each column the chance that two rows agree.
    """

    places: Codes
    train: int
    columns: dict[str, Hashes]
    whole: Hashes
    chance: dict[str, float]

    @property
    def held(self) -> int:
        """How many rows are held out."""
        return len(self.places) - self.train

    def matches(self, without: frozenset[str]) -> NDArray[np.int64]:
        """For each held-out row, how many training rows are equal but for some columns."""
        rest = self.whole
        for name in without:
            rest = rest - self.columns[name]
        train, held = rest[: self.train], rest[self.train :]
        found, counts = np.unique(train[_among(train, held)], return_counts=True)
        if not len(found):
            return np.zeros(len(held), dtype=np.int64)
        at = np.minimum(np.searchsorted(found, held), len(found) - 1)
        return np.where(found[at] == held, counts[at], 0)


def _among(hashes: Hashes, wanted: Hashes) -> Codes:
    """The places of the hashes that may be among those wanted: all that are, and a few more."""
    bits = np.uint64((1 << (64 * len(wanted)).bit_length()) - 1)
    marks = np.zeros(int(bits) + 1, dtype=bool)
    marks[wanted & bits] = True
    return np.flatnonzero(marks[hashes & bits])


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


def searched(table: Table) -> dict[str, int]:
    """How many rows of each side are searched for copies; nothing without two sides."""
    if table.held_out is None:
        return {}
    held = int(table.held_out.sum())
    return {"held-out rows for copies": min(held, MOST_HELD_OUT), "training rows for copies": table.rows - held}


def _sides(table: Table) -> _Sides | None:
    if table.held_out is None:
        return None
    fields = [each for each in table.fields if not _names_rows(each)]
    train, held = np.flatnonzero(~table.held_out), np.flatnonzero(table.held_out)
    if len(fields) < 2 or not len(train) or not len(held):
        return None
    if len(held) > MOST_HELD_OUT:
        held = np.sort(np.random.default_rng(len(held)).choice(held, MOST_HELD_OUT, replace=False))
    places, some = np.concatenate([train, held]), sampled(table.rows, MOST_ALONE)
    columns, chance = {}, {}
    for at, each in enumerate(fields):
        hashes = _hashes(each, at)
        columns[each.name], chance[each.name] = hashes[places], _collision(hashes[some])
    whole = _summed(columns.values(), len(places))
    return _Sides(places=places, train=len(train), columns=columns, whole=whole, chance=chance)


def _summed(hashes: Iterable[Hashes], rows: int) -> Hashes:
    whole = np.zeros(rows, dtype=np.uint64)
    for each in hashes:
        whole += each
    return whole


def distinct_training_rows(table: Table) -> Codes:
    """The places of the training rows, each of equal ones once."""
    train = np.arange(table.rows) if table.held_out is None else np.flatnonzero(~table.held_out)
    whole = _summed((_hashes(field, at) for at, field in enumerate(table.fields)), table.rows)
    return train[np.unique(whole[train], return_index=True)[1]]


def _names_rows(field: Field) -> bool:
    """Whether a column is a name of the row: text or whole numbers, hardly any twice. It would hide every copy."""
    gaps = int(field.missing.sum())
    known = len(field.missing) - gaps
    if field.numbers is not None and not (_whole(field.numbers[:_FIRST]) and _whole(field.numbers)):
        return False
    return known >= 100 and field.distinct - bool(gaps) >= _ID_SHARE * known


def _whole(numbers: Floats) -> bool:
    return bool(((np.mod(numbers, 1) == 0) | np.isnan(numbers)).all())


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
        left = left[:: max(1, math.ceil(len(left) * sides.train / _MOST_SORTED))]
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
    count, of = math.floor(copies), sides.held
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
    fields = {each.name: each.numbers for each in table.fields if sides.chance.get(each.name, 1.0) < 0.01}
    some = sampled(table.rows, MOST_ALONE)
    rich = {name: (own, _spread(own[some])) for name, own in fields.items() if own is not None}
    if not rich:
        return 0.0
    words = _summed((hashes for name, hashes in sides.columns.items() if name not in rich), len(sides.places))
    far = _distances(list(rich.values()), words, sides)
    near = np.min(far, axis=1) <= _NEAR
    by_chance = 1 - (2 / 3) ** ((far > _NEAR) & (far <= _WIDE)).sum(axis=1)
    # Where none of these numbers is known, rows lie together for want of values: that is no copy.
    told = ~np.all([np.isnan(own[sides.places[sides.train :]]) for own, _ in rich.values()], axis=0)
    beyond = float(near[told].sum() - by_chance[told].sum())
    return beyond - exact if beyond > _SIGMAS * math.sqrt(2 * by_chance[told].sum()) else 0.0


def _spread(numbers: Floats) -> float:
    """The spread of a column, for which outliers count for nothing."""
    known = numbers[~np.isnan(numbers)]
    low, high = np.quantile(known, [0.1, 0.9]) if len(known) else (0.0, 1.0)
    return float(high - low) / 2.563 or float(known.std() if len(known) else 1.0) or 1.0


def _scaled(numbers: Floats, spread: float) -> Floats:
    """Numbers in units of a spread; a gap is far from every number."""
    return np.where(np.isnan(numbers), _GAP, numbers / spread)


def _distances(rich: Sequence[tuple[Floats, float]], words: Hashes, sides: _Sides) -> Floats:
    """For each held-out row the distances, in the column where each is largest, to training rows of its cell.

    Cells are of five times the width looked for, laid four times with different borders (Datar et al. 2004); a row
    that several cells bring counts once, and of a crowded cell some rows do. `rich` are columns with their spreads.
    """
    generator = np.random.default_rng(len(rich))
    width = 5 * _WIDE
    met = np.full((sides.held, _TABLES * _CANDIDATES), -1, dtype=np.int64)
    for table in range(_TABLES):
        cell = words.copy()
        for at, ((numbers, spread), border) in enumerate(zip(rich, generator.random(len(rich)), strict=True)):
            grid = np.floor(_scaled(numbers[sides.places], spread) / width + border).astype(np.int64)
            cell += _mixed(grid.view(np.uint64), 1000 + at)
        train, held = cell[: sides.train], cell[sides.train :]
        some = _among(train, held)
        order = some[np.argsort(train[some], kind="stable")]
        if not len(order):
            continue
        sorted_cells = train[order]
        start = np.searchsorted(sorted_cells, held)
        for step in range(_CANDIDATES):
            near = np.minimum(start + step, len(order) - 1)
            same = (sorted_cells[near] == held) & (start + step < len(order))
            met[same, table * _CANDIDATES + step] = sides.places[order[near[same]]]
    met.sort(axis=1)
    rows, places = np.nonzero(np.diff(met, axis=1, prepend=-1))
    far = np.full(met.shape, np.inf)
    for at, (numbers, spread) in enumerate(rich):
        one, other = (_scaled(numbers[each], spread) for each in (sides.places[sides.train + rows], met[rows, places]))
        far[rows, places] = np.abs(one - other) if at == 0 else np.maximum(far[rows, places], np.abs(one - other))
    return far


def _near_finding(near: float, sides: _Sides) -> Finding | None:
    count, of = max(0, math.floor(near)), sides.held
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
