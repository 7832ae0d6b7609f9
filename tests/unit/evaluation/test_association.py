"""How strongly columns go together: as the textbooks' implementations say, and which features become one factor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from scipy.stats.contingency import association

from pilotage.evaluation.association import Columns, associations, connected

GENERATOR = np.random.default_rng(5)
ROWS = 400


def test_numbers_are_compared_by_rank_whatever_the_sign_and_the_nulls() -> None:
    one = GENERATOR.integers(0, 30, ROWS).astype(float)
    other = -np.exp(one / 5) + GENERATOR.normal(size=ROWS)
    values: list[Any] = [None if at % 10 == 0 else float(each) for at, each in enumerate(other)]
    columns = Columns({"one": one.tolist(), "other": values}, ["one", "other"])
    kept = [at for at in range(ROWS) if at % 10]
    expected = abs(spearmanr(one[kept], other[kept]).statistic)
    assert columns.association("one", "other") == pytest.approx(expected, abs=1e-12)
    assert columns.association("other", "one") == pytest.approx(expected, abs=1e-12)


def test_categories_are_compared_by_their_table() -> None:
    sex = GENERATOR.choice(["f", "m"], ROWS)
    title = np.where(GENERATOR.random(ROWS) < 0.9, np.where(sex == "f", "Ms", "Mr"), "Dr")
    noise = GENERATOR.choice(["a", "b", "c"], ROWS)
    columns = Columns({"sex": sex.tolist(), "title": title.tolist(), "noise": noise.tolist()}, [])
    table = np.array([[np.sum((sex == s) & (title == t)) for t in ("Ms", "Mr", "Dr")] for s in ("f", "m")])
    assert columns.association("sex", "title") == pytest.approx(association(table, method="cramer"), abs=0.01)
    assert columns.association("sex", "noise") < 0.15
    assert columns.association("sex", "sex") == pytest.approx(1.0, abs=1e-6)


def test_a_category_told_by_a_number_is_found_though_no_line_runs_through_it() -> None:
    number = GENERATOR.uniform(-1, 1, ROWS)
    group = np.where(np.abs(number) > 0.5, "outer", "inner")
    columns = Columns({"number": number.tolist(), "group": group.tolist()}, ["number"])
    assert columns.association("number", "group") > 0.8


@pytest.mark.parametrize("column", [[1.0] * ROWS, [None] * ROWS])
def test_a_constant_goes_with_nothing(column: list[Any]) -> None:
    columns = Columns({"a": column, "b": GENERATOR.normal(size=ROWS).tolist(), "c": ["x", "y"] * 200}, ["a", "b"])
    assert set(associations(columns, [("a", "b"), ("a", "c")]).values()) == {0.0}


def test_too_few_rows_say_nothing() -> None:
    columns = Columns({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0]}, ["a", "b"])
    assert columns.association("a", "b") == 0.0


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=8))
def test_what_is_connected_over_others_is_one_group(links: list[tuple[str, str]]) -> None:
    groups = connected(list("abcdef"), links)
    assert sorted(name for group in groups for name in group) == list("abcdef")
    home = {name: at for at, group in enumerate(groups) for name in group}
    assert all(home[one] == home[other] for one, other in links)
    reach = {name: {name} for name in "abcdef"}
    for _ in range(6):
        for one, other in links:
            reach[one] = reach[other] = reach[one] | reach[other]
    assert all(group == sorted(reach[group[0]] | {*group}) for group in groups)
    assert sum(len(group) > 1 for group in groups) <= len(links)
