"""Time as integer microseconds, and its text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.errors import InputError
from pilotage.kernel.clock import day, now_us, parse_time, rfc3339

US = st.integers(min_value=0, max_value=4_102_444_800_000_000)


@given(US)
def test_text_and_back_is_the_same_microsecond(us: int) -> None:
    assert parse_time(rfc3339(us)) == us
    assert rfc3339(us).startswith(day(us))


@given(st.lists(US, min_size=2, max_size=5))
def test_text_sorts_as_time_does(moments: list[int]) -> None:
    assert sorted(map(rfc3339, moments)) == [rfc3339(us) for us in sorted(moments)]


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:00.000001Z", 1),
        ("2026-03-01T10:00Z", 1_772_359_200_000_000),
        ("2026-03-01T10:00", 1_772_359_200_000_000),
        ("2026-03-01T11:00+01:00", 1_772_359_200_000_000),
        ("2026-03-01", 1_772_323_200_000_000),
    ],
)
def test_forms_that_people_write(text: str, us: int) -> None:
    assert parse_time(text) == us


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "10:00", "1772359200"])
def test_what_is_no_time_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(InputError, match="2026-03-01T10:00Z") as caught:
        parse_time(text)
    assert caught.value.mend


def test_now_is_the_system_clock() -> None:
    assert abs(now_us() - time.time() * 1e6) < 5e6


def test_a_time_without_a_zone_is_utc_wherever_the_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert parse_time("2026-03-01T10:00") == 1_772_359_200_000_000
        assert rfc3339(1_772_359_200_000_000) == "2026-03-01T10:00:00.000000Z"
        assert day(1_772_323_200_000_000) == "2026-03-01"
    finally:
        monkeypatch.undo()
        time.tzset()
