"""Rows by column are the rows that they were made of, and what is asked of columns is what is asked of values."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.evaluation.baseline import single_feature_baseline
from pilotage.evaluation.metrics import auc
from pilotage.kernel.rows import (
    Rows,
    Value,
    as_column,
    counts_of,
    evenly_spaced,
    filled,
    is_numeric,
    looked_up,
    values_of,
)
from pilotage.profiles.build import build_profile
from pilotage.profiles.model import Kind

numbers = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-5, 5).map(float))
texts = st.one_of(st.none(), st.sampled_from(["a", "b", "é", ""]))
flags = st.one_of(st.none(), st.booleans())
mixed = st.one_of(numbers, texts, flags)
rows = st.lists(st.tuples(numbers, texts, flags, mixed), max_size=40)


@given(rows, st.data())
def test_they_read_as_the_rows_they_were_made_of(rows: list[tuple[Value, ...]], data: st.DataObject) -> None:
    made = Rows.of(rows, 4)
    assert list(made) == rows and len(made) == len(rows) and bool(made) == bool(rows)
    assert [type(value) for row in made for value in row] == [type(value) for row in rows for value in row]
    for at in range(-len(rows), len(rows)):
        assert made[at] == rows[at]
    for beyond in (len(rows), -len(rows) - 1):
        with pytest.raises(IndexError):
            made[beyond]
    low, high = sorted(data.draw(st.tuples(st.integers(0, 45), st.integers(0, 45))))
    assert list(made[low:high]) == rows[low:high] and len(made[low:high]) == len(rows[low:high])
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), dtype=bool)
    assert list(made[mask]) == [row for row, chosen in zip(rows, mask, strict=True) if chosen]
    assert len(made[mask]) == mask.sum()
    assert list(Rows.joined([made[mask], rows, made[~mask]], 4)) == [*made[mask], *rows, *made[~mask]]


@given(st.one_of(st.lists(numbers), st.lists(texts), st.lists(flags), st.lists(mixed)))
def test_a_column_answers_as_its_values_do(values: list[Value]) -> None:
    column = as_column(values)
    assert values_of(column) == values
    assert counts_of(column) == Counter(values)
    table: dict[Value, float | None] = {value: None if value == "b" else 1.5 * at for at, value in enumerate(values)}
    found = looked_up(column, table.__getitem__)
    assert [None if math.isnan(each) else each for each in found] == [table[value] for value in values]
    if is_numeric(column):
        assert filled(column, 7.0).tolist() == [7.0 if value is None else value for value in values]
        assert np.isnan(filled(column, None)).tolist() == [value is None for value in values]


@given(st.lists(st.tuples(numbers, texts, numbers), min_size=1, max_size=60))
def test_a_profile_of_columns_is_that_of_the_rows(rows: list[tuple[Value, ...]]) -> None:
    kinds: dict[str, Kind] = {"number": "numeric", "text": "categorical", "code": "categorical"}
    assert build_profile(kinds, Rows.of(rows, 3)) == build_profile(kinds, rows)


@given(st.lists(st.tuples(numbers, texts, st.booleans()), min_size=3, max_size=80), st.integers(1, 40))
def test_the_baseline_is_the_rate_of_the_rows_own_cell(drawn: list[tuple[Value, Value, bool]], held: int) -> None:
    """Against a plain count, for columns that are not cut: at most 20 numbers, or text."""
    few = [(value if value is None else float(int(float(value)) % 7), text, label) for value, text, label in drawn]
    labels = np.array([label for *_, label in few])
    if labels.all() or not labels.any():
        return
    fitted, asked = [row[:2] for row in few], [row[:2] for row in few[:held]] + [(99.0, "never")]
    name, scores = single_feature_baseline(["number", "text"], fitted, labels, asked)
    rate = labels.mean()

    def of(place: int, value: Value) -> float:
        same = [label for row, label in zip(fitted, labels, strict=True) if row[place] == value]
        return float((sum(same) + 10 * rate) / (len(same) + 10)) if same else float(rate)

    place = ["number", "text"].index(name)
    assert scores.tolist() == pytest.approx([of(place, row[place]) for row in asked])
    areas = [auc(labels, np.array([of(at, row[at]) for row in fitted])) or 0.0 for at in (0, 1)]
    assert areas[place] == pytest.approx(max(areas))


@pytest.mark.parametrize(("count", "most"), [(0, 3), (3, 3), (10, 3), (10, 0), (10, -1), (7, 5)])
def test_evenly_spaced_rows_are_the_same_by_column_and_by_row(count: int, most: int) -> None:
    plain: list[tuple[Value, ...]] = [(float(at), f"r{at}", None) for at in range(count)]
    found = evenly_spaced(plain, most)
    assert evenly_spaced(Rows.of(plain, 3), most) == found
    assert len(found) == max(0, min(count, most)) and found == [row for row in plain if row in found]
    assert found[:1] == plain[:1] or most <= 0
