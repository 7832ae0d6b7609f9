"""Sums: any window adds up to its decisions, quantiles are as exact as promised, and verification holds every row."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.ledger.queries import DecisionFilter
from pilotage.ledger.sums import ERROR, bucket, bucket_us, newest_seconds, quantile_us
from pilotage.ledger.verify import verify_ledger
from pilotage.storage.database import writing
from tests.ledger_world import START, World, decision, make_world, rejected

MINUTE = 60_000_000


@given(st.integers(-5, 2**50))
def test_a_bucket_is_never_further_off_than_promised(us: int) -> None:
    near = bucket_us(bucket(us))
    assert abs(near - max(us, 0)) <= ERROR * max(us, 0)


@given(st.lists(st.integers(0, 10**9), min_size=1), st.sampled_from([1, 50, 99]))
def test_a_quantile_is_that_of_the_sorted_times(times: list[int], per_cent: int) -> None:
    exact = sorted(times)[len(times) * per_cent // 100]
    counts = Counter(str(bucket(us)) for us in times)
    assert abs(quantile_us(counts, per_cent) - exact) <= ERROR * exact
    assert quantile_us({}, per_cent) == 0


def test_the_newest_seconds_stop_reading_when_there_are_enough() -> None:
    def minutes() -> object:
        yield 120, {"1": 2, "5": 1}
        yield 120, {"5": 4}
        yield 60, {"59": 1}
        raise AssertionError("read too far")

    assert newest_seconds(minutes(), None, 2) == [(121, 2), (125, 5)]  # type: ignore[arg-type]  # a generator that fails
    assert newest_seconds([(60, {"1": 1, "2": 1})], 62, 10) == [(62, 1)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Decisions over three days, sealed in many batches, some late."""
    made = make_world(tmp_path)
    steward, chance = made.steward(), random.Random(4)
    for _ in range(4):
        frames = [decision(at=START + chance.randrange(3 * 24 * 60) * MINUTE) for _ in range(30)]
        made.write([*frames, decision(system="other", at=START), rejected(), decision(mode="shadow")])
        steward.seal_all()
    return made


@pytest.mark.parametrize("system", ["", "credit", "other", "none"])
@pytest.mark.parametrize("minutes", [None, 59, 61, 2 * 24 * 60 + 7])
def test_any_window_adds_up_to_its_decisions(world: World, system: str, minutes: int | None) -> None:
    since = None if minutes is None else (START // MINUTE + minutes) * MINUTE
    found = world.queries.stats(system, since, seconds=10_000)
    wanted = DecisionFilter(system=system, since=since, mode="live")
    rows = [row for page in world.queries.each(wanted) for row in page]
    assert found.outcomes == Counter(row.outcome for row in rows)
    assert found.decisions == len(rows) and found.faults == sum(row.faults for row in rows)
    assert found.per_second == sorted(Counter(row.at // 1_000_000 for row in rows).items())
    assert (found.p50_us, found.p99_us) == ((55, 55) if rows else (0, 0))


CHANGES = (
    "UPDATE decision_sums SET n = n + 1 WHERE span = 86400 AND outcome = 'rejected'",
    "UPDATE decision_sums SET times = '{\"41\":1}' WHERE span = 60 AND system = 'other'",
    "UPDATE decision_sums SET seconds = '[]' WHERE span = 60 AND system = 'other'",
    "DELETE FROM decision_sums WHERE span = 3600 AND outcome = 'rejected'",
    "INSERT INTO decision_sums SELECT span, at + 60, system, release, arm, mode, 'x', n, faults, times, seconds"
    " FROM decision_sums WHERE span = 60 AND system = 'other'",
)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_sum_is_found(world: World, change: str) -> None:
    assert verify_ledger(world.home, world.ledger, world.keyring).ok
    with writing(world.ledger) as connection:
        assert connection.exec_driver_sql(change).rowcount >= 1
    report = verify_ledger(world.home, world.ledger, world.keyring)
    assert not report.ok and all(fault.place.startswith("decision_sums row") for fault in report.faults)
