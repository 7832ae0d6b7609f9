"""A sum of decision trees as data: what each column is made of, where each node splits, what each leaf adds.

`trees.json` of a release holds a `TreeForm`. Every column depends on one feature alone, so that Shapley values of the
features are exact: see `tree_shapley.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pilotage.errors import InputError
from pilotage.kernel.rows import Column, Value, columns_of, filled, looked_up

__all__ = [
    "LEAF",
    "MOST_NODES",
    "MOST_ON_A_PATH",
    "NumberColumn",
    "TableColumn",
    "TreeForm",
    "check_trees",
    "column_values",
    "raw_scores",
    "score_trees",
]

Floats = NDArray[np.float64]
LEAF = -1
"""The column of a leaf."""

MOST_NODES = 400_000
"""A larger forest is explained by sampling: its file would be larger than its model, and each reason take a minute."""

MOST_ON_A_PATH = 62
"""The most distinct features on one path: one bit each of a 64-bit mask."""


class NumberColumn(msgspec.Struct, frozen=True, kw_only=True, tag="number", forbid_unknown_fields=True):
    """`(x - center) / scale` of a feature; null counts as `fill`, and is missing where there is none."""

    feature: str
    center: float = 0.0
    scale: float = 1.0
    fill: float | None = None


class TableColumn(msgspec.Struct, frozen=True, kw_only=True, tag="table", forbid_unknown_fields=True):
    """The value of the category that a feature equals, or `other`; null counts as `fill`; None stands for missing."""

    feature: str
    categories: list[float | str]
    values: list[float]
    other: float | None = 0.0
    fill: float | str | None = None


class TreeForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Trees whose leaves add up to a score: `intercept` plus one leaf of each tree.

    `link` `identity` makes the sum the probability, `logistic` its log-odds. Nodes of all trees stand in one list:
    `column` is -1 at a leaf; at or below `threshold` the way goes `left`, else `right`; a missing value as
    `missing_left` says; `value` is what a leaf adds. `single` says that columns are compared in float32.
    """

    columns: list[NumberColumn | TableColumn]
    link: Literal["identity", "logistic"]
    single: bool
    intercept: float
    roots: list[int]
    column: list[int]
    threshold: list[float]
    left: list[int]
    right: list[int]
    missing_left: list[bool]
    value: list[float]

    @property
    def used(self) -> set[str]:
        """The features that some node splits on."""
        return {self.columns[column].feature for column in set(self.column) - {LEAF}}


def check_trees(form: TreeForm, names: Sequence[str]) -> None:
    """Raise InputError unless this is a sum of finite trees over these features: it may come from foreign code."""
    count = len(form.column)
    lists = (form.threshold, form.left, form.right, form.missing_left, form.value)
    sound = 0 < count <= MOST_NODES and all(len(each) == count for each in lists) and bool(form.roots)
    sound = sound and all(column.feature in names for column in form.columns)
    sound = sound and all(LEAF <= column < len(form.columns) for column in form.column)
    children = [
        (at, child)
        for at, column in enumerate(form.column if sound else [])
        if column != LEAF
        for child in (form.left[at], form.right[at])
    ]
    sound = sound and all(at < child < count for at, child in children)
    reached = [*form.roots, *(child for _, child in children)]
    sound = sound and len(reached) == len(set(reached)) and all(0 <= root < count for root in form.roots)
    most = max(_features_on_paths(form)) if sound else 0
    if not sound or most > MOST_ON_A_PATH:
        raise InputError(
            "the trees cannot be followed",
            got=f"{count} nodes, {most} features on one path",
            expected=f"trees of at most {MOST_NODES} nodes in all and {MOST_ON_A_PATH} features on a path",
            mend="fit a smaller model, or let its reasons be sampled",
        )


def _features_on_paths(form: TreeForm) -> list[int]:
    """How many features each path to a node asks: parents come before their children."""
    seen: list[frozenset[str]] = [frozenset()] * len(form.column)
    for at, column in enumerate(form.column):
        if column != LEAF:
            here = seen[at] | {form.columns[column].feature}
            seen[form.left[at]] = seen[form.right[at]] = here
    return [len(each) for each in seen]


def column_values(form: TreeForm, names: Sequence[str], rows: Sequence[Sequence[Value]]) -> Floats:
    """What the trees see of rows, [n, columns]; missing is NaN."""
    place = {name: index for index, name in enumerate(names)}
    features = columns_of(rows, len(names))
    made = np.empty((len(rows), len(form.columns)))
    for at, column in enumerate(form.columns):
        made[:, at] = _column(column, features[place[column.feature]])
    if form.single:
        with np.errstate(over="ignore"):
            made = made.astype(np.float32).astype(np.float64)
    return made


def _column(column: NumberColumn | TableColumn, values: Column) -> Floats:
    if isinstance(column, NumberColumn):
        return (filled(values, column.fill) - column.center) / column.scale
    table: dict[Value, float | None] = dict(zip(column.categories, column.values, strict=True))
    return looked_up(values, lambda value: table.get(column.fill if value is None else value, column.other))


def raw_scores(form: TreeForm, values: Floats) -> Floats:
    """The sum of the leaves that rows of column values reach, [n], before the link."""
    column, left, right = (np.array(each, dtype=np.int64) for each in (form.column, form.left, form.right))
    threshold, value = np.array(form.threshold), np.array(form.value)
    missing_left = np.array(form.missing_left, dtype=bool)
    total = np.full(len(values), form.intercept)
    every = np.arange(len(values))
    for root in form.roots:
        at = np.full(len(values), root, dtype=np.int64)
        moving = every if column[root] != LEAF else every[:0]
        while len(moving):
            here = at[moving]
            seen = values[moving, column[here]]
            goes_left = np.where(np.isnan(seen), missing_left[here], seen <= threshold[here])
            at[moving] = np.where(goes_left, left[here], right[here])
            moving = moving[column[at[moving]] != LEAF]
        total += value[at]
    return total


def score_trees(form: TreeForm, names: Sequence[str], rows: Sequence[Sequence[Value]]) -> Floats:
    """The probabilities of rows by the trees alone, [n]."""
    raw = raw_scores(form, column_values(form, names, rows))
    if form.link == "identity":
        return raw
    with np.errstate(over="ignore"):
        scores: Floats = 1.0 / (1.0 + np.exp(-raw))
    return scores
