"""The monitor reads sealed counts from a real ledger database, in windows of whole batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, insert

from pilotage.errors import IntegrityError, NotFound
from pilotage.ledger.queries import Ledger
from pilotage.ledger.tables import profile_counts
from pilotage.monitor.model import MonitorStatus
from pilotage.monitor.service import status
from pilotage.profiles.build import build_profile
from pilotage.profiles.counts import count_rows
from pilotage.storage.database import ledger as ledger_tables
from pilotage.storage.database import open_engine, url_of, writing
from pilotage.storage.home import Home

RELEASE = "sha256:" + "ab" * 32
NAMES = ["x", "y"]


def rows(count: int, mean: float, seed: int) -> list[tuple[float, float]]:
    random = np.random.default_rng(seed)
    return [
        (float(a), float(b)) for a, b in zip(random.normal(mean, 1, count), random.normal(0, 1, count), strict=True)
    ]


PROFILE = build_profile({"x": "numeric", "y": "numeric"}, rows(20_000, 0, 1), np.linspace(0, 1, 5_000).tolist())


class Sealed:
    """A ledger database into which batches of counts are written as the steward does."""

    def __init__(self, folder: Path) -> None:
        home = Home(root=folder).create()
        self.engine: Engine = open_engine(url_of(home, "ledger"))
        ledger_tables.create_all(self.engine)
        self.ledger = Ledger(home=home, engine=self.engine, keyring=None)

    def seal(self, at: int, mean: float, count: int = 1_000, **changes: object) -> None:
        counts = count_rows(PROFILE, NAMES, rows(count, mean, at), [0.5] * count)
        row = {
            "batch": f"batch-{at:04d}",
            "system": "loans",
            "release": RELEASE,
            "arm": "champion",
            "mode": "live",
            "from_at": at,
            "to_at": at + 9,
            "rows": count,
            "counts": counts,
        }
        with writing(self.engine) as connection:
            connection.execute(insert(profile_counts).values(**{**row, **changes}))

    def status(self, **options: Any) -> MonitorStatus:
        return status(self.ledger, lambda _: PROFILE, "loans", RELEASE, **options)


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Sealed]:
    made = Sealed(tmp_path)
    yield made
    made.engine.dispose()


def test_a_window_is_the_sum_of_its_batches(sealed: Sealed) -> None:
    for at in (10, 20, 30):
        sealed.seal(at, mean=0)
    state = sealed.status()
    assert (state.rows, state.batches, state.since, state.until) == (3_000, 3, 10, 39)
    assert state.shifted == [] and state.watched == []
    assert {column.n for column in state.columns} == {3_000}
    assert state.score is not None and state.score.verdict == "drift"  # every score was one half
    assert state.reference_rows == 20_000 and "abababababab" in state.reference
    assert state.false_alarms is None


def test_the_shift_is_seen_in_the_window_that_has_it_and_in_no_other(sealed: Sealed) -> None:
    for at in (10, 20, 30, 40):
        sealed.seal(at, mean=0 if at < 30 else 1)
    assert sealed.status(until=30).shifted == []
    assert sealed.status(since=30).shifted == ["x"]
    assert sealed.status(last=2_000).shifted == ["x"]
    assert sealed.status(last=2_000).since == 30
    assert sealed.status(since=25, last=500).rows == 1_000
    # A batch that began before the window belongs to the window before.
    assert sealed.status(since=15).since == 20


def test_other_systems_arms_and_shadows_do_not_count(sealed: Sealed) -> None:
    sealed.seal(10, mean=0)
    sealed.seal(20, mean=3, system="other")
    sealed.seal(30, mean=3, mode="shadow")
    sealed.seal(40, mean=3, release="sha256:" + "cd" * 32)
    sealed.seal(50, mean=3, arm="challenger")
    assert sealed.status(arm="champion").shifted == []
    assert sealed.status(arm="challenger").shifted == ["x"]
    assert sealed.status().rows == 2_000


def test_an_empty_window_is_not_enough_data(sealed: Sealed) -> None:
    state = sealed.status()
    assert (state.rows, state.since, state.until) == (0, 0, 0)
    assert {column.verdict for column in state.columns} == {"not enough data"}
    assert [column.name for column in state.columns] == NAMES


def test_the_self_test_is_published_beside_the_verdicts(sealed: Sealed) -> None:
    sealed.seal(10, mean=0)
    assert sealed.status(self_test=30).false_alarms <= 0.1


def test_no_profile_and_foreign_counts_are_errors(sealed: Sealed) -> None:
    with pytest.raises(NotFound):
        status(sealed.ledger, lambda _: None, "loans", RELEASE)
    sealed.seal(10, mean=0, counts={"x": [1, 2, 3]})
    with pytest.raises(IntegrityError):
        sealed.status()
