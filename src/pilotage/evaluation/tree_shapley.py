"""Exact Shapley values of a sum of trees against a background.

This is the "interventional" TreeSHAP (Lundberg et al. 2020, algorithm 3).

A leaf with value v is reached by a mixture of the row (features in S) and a background row (the others) if and only if
S holds every feature by which the background row alone leaves the leaf's path, and none by which the row does. With a
and b such features, each of the former earns v (a-1)! b! / (a+b)!, each of the latter the negative of v a! (b-1)! /
(a+b)!; a feature by which both leave makes the leaf unreachable. Background rows that leave one path by the same
features are counted together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

from pilotage.evaluation.trees import LEAF, MOST_ON_A_PATH, TreeForm, column_values, raw_scores
from pilotage.kernel.rows import Value

__all__ = ["TreeShapley"]

_CELLS = 400_000
"""Leaves times background rows that are looked at together: bounds the memory, some tens of megabytes."""

Floats = NDArray[np.float64]
Masks = NDArray[np.uint64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Leaves:
    """The paths to some leaves, padded to the deepest: [leaves, depth], and the features on them: [leaves, features].

    `bit` is 0 where a path has ended; `features` is -1 there.
    """

    value: Floats
    column: Indices
    threshold: Floats
    wants_left: NDArray[np.bool_]
    missing_left: NDArray[np.bool_]
    bit: Masks
    features: Indices

    def leaving(self, values: Floats) -> Masks:
        """By which features each row of column values leaves each path: bit masks, [rows, leaves]."""
        masks = np.zeros((len(values), len(self.value)), dtype=np.uint64)
        for step in range(self.column.shape[1]):
            seen = values[:, self.column[:, step]]
            goes_left = np.where(np.isnan(seen), self.missing_left[:, step], seen <= self.threshold[:, step])
            masks |= np.where(goes_left != self.wants_left[:, step], self.bit[:, step], np.uint64(0))
        return masks


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Leaves, and how many background rows leave their paths by which features: one entry a leaf and mask."""

    leaves: _Leaves
    leaf: Indices
    mask: Masks
    share: Floats


class TreeShapley:
    """The Shapley values of a form against one background; made once, asked for many rows. Not for several threads."""

    def __init__(self, form: TreeForm, names: Sequence[str], background: Sequence[Sequence[Value]]) -> None:
        """`names` are the features in the rows' order. The background holds one row or more."""
        self._form, self._names = form, list(names)
        values = column_values(form, names, background)
        self.base = float(raw_scores(form, values).mean())
        self._blocks = [_block(leaves, values) for leaves in _all_leaves(form, self._names, max(1, len(background)))]

    @property
    def work(self) -> int:
        """How many numbers one row costs to explain: entries times the features on their paths."""
        return sum(len(block.leaf) * block.leaves.features.shape[1] for block in self._blocks)

    def contributions(self, rows: Sequence[Sequence[Value]]) -> Floats:
        """What each feature adds to each row's raw score over the base, [n, features]."""
        values = column_values(self._form, self._names, rows)
        total = np.zeros((len(rows), len(self._names)))
        for block in self._blocks:
            step = max(1, 4 * _CELLS // max(1, len(block.leaf)))
            for start in range(0, len(rows), step):
                _add(block, values[start : start + step], total[start : start + step])
        return total


def _weights() -> tuple[Floats, Floats]:
    """What a feature of the row, and one of the background, earns at a leaf with a and b of them: [a, b] each."""
    most = MOST_ON_A_PATH + 1
    earns, costs = np.zeros((most, most)), np.zeros((most, most))
    for a in range(most):
        for b in range(most - a):
            if a:
                earns[a, b] = factorial(a - 1) * factorial(b) / factorial(a + b)
            if b:
                costs[a, b] = factorial(a) * factorial(b - 1) / factorial(a + b)
    return earns, costs


_EARNS, _COSTS = _weights()


def _add(block: _Block, values: Floats, total: Floats) -> None:
    """Add what the block's leaves give the features of rows of column values."""
    leaves, leaf, mask = block.leaves, block.leaf, block.mask
    own = leaves.leaving(values)
    there = own[:, leaf]
    reachable = (there & mask) == 0
    a = np.bitwise_count(mask)[None, :]
    b = np.bitwise_count(there)
    weight = np.where(reachable, leaves.value[leaf] * block.share, 0.0)
    earned = weight * _EARNS[a, b]
    lost = np.zeros(own.shape)
    starts = np.flatnonzero(np.diff(leaf, prepend=-1))
    lost[:, leaf[starts]] = np.add.reduceat(weight * _COSTS[a, b], starts, axis=1)
    for place in range(leaves.features.shape[1]):
        feature = leaves.features[:, place]
        by_background = np.flatnonzero((mask >> np.uint64(place)) & np.uint64(1))
        _scatter(total, feature[leaf[by_background]], earned[:, by_background])
        by_row = ((own >> np.uint64(place)) & np.uint64(1)).astype(np.float64)
        here = np.flatnonzero(feature >= 0)
        _scatter(total, feature[here], -(by_row * lost)[:, here])


def _scatter(total: Floats, feature: Indices, amounts: Floats) -> None:
    """Add each column of amounts to its feature's column."""
    width = total.shape[1]
    if len(total) == 1:
        total[0] += np.bincount(feature, weights=amounts[0], minlength=width)
        return
    for each in np.unique(feature):
        total[:, each] += amounts[:, feature == each].sum(axis=1)


def _block(leaves: _Leaves, background: Floats) -> _Block:
    masks = leaves.leaving(background)
    found = []
    for at in range(masks.shape[1]):
        distinct, counts = np.unique(masks[:, at], return_counts=True)
        found.append((np.full(len(distinct), at, dtype=np.int64), distinct, counts / len(background)))
    leaf, mask, share = (np.concatenate(each) for each in zip(*found, strict=True))
    return _Block(leaves=leaves, leaf=leaf, mask=mask, share=share)


def _all_leaves(form: TreeForm, names: Sequence[str], background: int) -> Iterator[_Leaves]:
    """The leaves of all trees, as many together as a background of so many rows allows."""
    place = {name: index for index, name in enumerate(names)}
    feature_of = [place[column.feature] for column in form.columns]
    most = max(1, _CELLS // background)
    waiting: list[tuple[int, list[tuple[int, bool]]]] = []
    for root in form.roots:
        for path in _paths(form, root):
            waiting.append(path)
            if len(waiting) == most:
                yield _padded(form, feature_of, waiting)
                waiting = []
    if waiting:
        yield _padded(form, feature_of, waiting)


def _paths(form: TreeForm, root: int) -> Iterator[tuple[int, list[tuple[int, bool]]]]:
    """Each leaf of one tree with the way to it: the nodes, and whether it goes left there."""
    stack: list[tuple[int, list[tuple[int, bool]]]] = [(root, [])]
    while stack:
        node, way = stack.pop()
        if form.column[node] == LEAF:
            yield node, way
        else:
            stack.append((form.right[node], [*way, (node, False)]))
            stack.append((form.left[node], [*way, (node, True)]))


def _padded(form: TreeForm, feature_of: Sequence[int], paths: Sequence[tuple[int, list[tuple[int, bool]]]]) -> _Leaves:
    depth = max(1, *(len(way) for _, way in paths)) if paths else 1
    shape = (len(paths), depth)
    column, bit = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.uint64)
    threshold, wants_left, missing_left = np.zeros(shape), np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    features = np.full((len(paths), min(depth, MOST_ON_A_PATH)), -1, dtype=np.int64)
    for at, (_, way) in enumerate(paths):
        places: dict[int, int] = {}
        for step, (node, left) in enumerate(way):
            feature = feature_of[form.column[node]]
            place = places.setdefault(feature, len(places))
            features[at, place] = feature
            column[at, step], threshold[at, step] = form.column[node], form.threshold[node]
            wants_left[at, step], missing_left[at, step] = left, form.missing_left[node]
            bit[at, step] = 1 << place
    return _Leaves(
        value=np.array([form.value[node] for node, _ in paths]),
        column=column,
        threshold=threshold,
        wants_left=wants_left,
        missing_left=missing_left,
        bit=bit,
        features=features,
    )
