"""Profiles and counts: every row lands in one cell, sums are exact, bins follow the data."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotage.errors import InputError
from pilotage.profiles.build import BINS, COMMON, build_profile
from pilotage.profiles.counts import add, count_rows, count_values, total
from pilotage.profiles.model import SCORE, decode_profile

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
KINDS = {"amount": "numeric", "home": "categorical"}
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5).map(float) | st.none()


def columns(draw_from: int = 500) -> list[tuple[float, str]]:
    random = np.random.default_rng(1)
    return [(float(x), "abc"[int(abs(x)) % 3]) for x in random.normal(size=draw_from)]


@patient
@given(st.lists(NUMBERS, min_size=1, max_size=80), st.lists(NUMBERS, max_size=40))
def test_every_value_lands_in_one_cell_and_sums_are_exact(reference: list, window: list) -> None:
    profile = build_profile({"x": "numeric"}, [(value,) for value in reference])
    column = profile.columns[0]
    assert sum(column.counts) == len(reference)
    assert column.counts[0] == column.counts[column.null - 1] == 0  # nothing of the reference lies outside it
    assert len(column.counts) == column.cells == len(column.labels)
    whole = count_rows(profile, ["x"], [(value,) for value in reference + window])
    parts = [count_rows(profile, ["x"], [(value,)]) for value in reference + window]
    assert whole == total(parts)
    assert whole == add(profile.counts, count_rows(profile, ["x"], [(value,) for value in window]))
    assert decode_profile(profile.encode()) == profile


def test_each_value_counts_where_a_plain_loop_puts_it() -> None:
    random = np.random.default_rng(2)
    reference = [(float(value),) for value in random.exponential(size=2_000).round(2)]
    column = build_profile({"x": "numeric"}, reference).columns[0]
    values = [*(float(value) for value in random.normal(size=300)), *column.cuts, column.low, column.high]
    expected = [0] * column.cells
    for value in values:
        if value < column.low:
            expected[0] += 1
        elif value > column.high:
            expected[len(column.cuts) + 2] += 1
        else:
            expected[1 + sum(value >= cut for cut in column.cuts)] += 1
    assert count_values(column, values) == expected
    assert count_values(column, [None, math.nan, math.inf, "3", True, 1])[-2:] == [1, 4]


def test_bins_hold_about_as_many_rows_each() -> None:
    random = np.random.default_rng(3)
    column = build_profile({"x": "numeric"}, [(float(value),) for value in random.normal(size=10_000)]).columns[0]
    bins = column.counts[1 : len(column.cuts) + 2]
    assert len(bins) == BINS
    assert min(bins) >= 495 and max(bins) <= 505


def test_a_common_value_has_a_bin_of_its_own() -> None:
    random = np.random.default_rng(4)
    values = [0.0] * 4_000 + [float(value) for value in random.uniform(1, 100, size=6_000)]
    column = build_profile({"x": "numeric"}, [(value,) for value in values]).columns[0]
    assert 4_000 in column.counts
    assert count_values(column, [0.0])[column.counts.index(4_000)] == 1
    assert max(count for count in column.counts if count != 4_000) < 800


def test_neighbouring_floats_can_be_told_apart() -> None:
    high = math.nextafter(1.0, 2.0)
    column = build_profile({"x": "numeric"}, [(1.0,)] * 50 + [(high,)] * 50).columns[0]
    assert column.counts[1:3] == (50, 50)


def test_rare_categories_share_a_cell_and_new_ones_have_their_own() -> None:
    rows = [(f"c{index:02d}",) for index in range(60) for _ in range(60 - index)]
    column = build_profile({"x": "categorical"}, rows).columns[0]
    assert len(column.categories) == COMMON
    assert column.counts[COMMON] == sum(range(1, 11))
    counted = count_values(column, ["c00", "c59", "new", None])
    assert counted[0] == 1
    assert counted[COMMON:] == [1, 1, 1]
    assert column.labels[-3:] == ("other", "unseen", "null")


def test_numbers_and_booleans_are_categories_too() -> None:
    profile = build_profile({"s": "categorical", "b": "categorical"}, [(1, True), (2.0, False), (2, True)])
    again = decode_profile(profile.encode())
    assert again == profile
    assert count_rows(again, ["b", "s"], [(True, 1.0), (False, 2), (None, 7)]) == {
        "s": [1, 1, 0, 1, 0],
        "b": [1, 1, 0, 0, 1],
    }


def test_scores_are_a_column_and_may_come_from_other_rows() -> None:
    profile = build_profile(KINDS, columns(), scores=[index / 100 for index in range(100)])
    assert profile.rows == 500
    column = profile.column(SCORE)
    assert column is not None and sum(column.counts) == 100
    counted = count_rows(profile, ["amount", "home"], [(0.0, "a"), (1.0, "b")], [0.5, None])
    assert sum(counted[SCORE]) == 2 and counted[SCORE][column.null] == 1
    assert json.loads(json.dumps(counted)) == counted


def test_a_column_without_values_can_be_counted() -> None:
    profile = build_profile({"x": "numeric"}, [(None,), (None,)])
    assert count_rows(profile, ["x"], [(None,), (3.0,)])["x"] == [0, 0, 1, 1, 0]


def test_counts_of_other_profiles_do_not_add_up() -> None:
    with pytest.raises(InputError, match="different profiles"):
        add({"x": [1, 2]}, {"x": [1, 2, 3]})


@pytest.mark.parametrize("content", [b"", b"{}", b'{"columns":[{"name":"x","kind":"numeric","counts":[1]}],"rows":1}'])
def test_a_damaged_profile_is_refused(content: bytes) -> None:
    with pytest.raises(InputError):
        decode_profile(content)


def test_rows_must_fit() -> None:
    with pytest.raises(InputError):
        build_profile(KINDS, [])
    with pytest.raises(InputError):
        build_profile(KINDS, [(1.0, "a"), (1.0,)])
