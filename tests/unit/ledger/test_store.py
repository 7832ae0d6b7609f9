"""The ledger's bulk statements, on both databases: what the index refuses is told alike, and old ids are found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from pilotage.ledger import store
from pilotage.ledger.keys import KeyRow
from pilotage.ledger.tables import subject_keys
from pilotage.storage.database import reading, writing
from tests.ledger_world import World, decision, event, frame_id, make_world


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path, request.getfixturevalue("postgres_url") if request.param == "postgresql" else "")
    yield made
    made.control.dispose()
    made.ledger.dispose()


def test_bulk_rows_come_back_as_they_were_given_and_a_second_of_one_key_is_refused(world: World) -> None:
    rows = [KeyRow(f"{n:032x}", f"lookup-{n} ä", bytes([n, 0, 255]), 2**60 + n) for n in range(3)]
    with writing(world.ledger) as connection:
        store.add_values(connection, subject_keys, KeyRow._fields, rows)
    with reading(world.ledger) as connection:
        found = store.find_key_rows(connection, subject_keys, [row.key_id for row in rows])
    assert {KeyRow(row.key_id, row.lookup, bytes(row.wrapped), row.created) for row in found.values()} == set(rows)
    with pytest.raises(IntegrityError) as refused, writing(world.ledger) as connection:
        store.add_values(connection, subject_keys, KeyRow._fields, rows[:1])
    assert "lookup-0" not in str(refused.value), "what is told of it is logged"


def test_an_id_that_is_a_leaf_is_found_however_old(world: World) -> None:
    later = frame_id(decision())
    frames = [decision(), event(), decision()]
    fresh = frame_id(decision())
    with reading(world.ledger) as connection:
        assert not store.any_sealed(connection, [later, fresh])
    world.write(frames)
    world.steward().seal_all()
    with reading(world.ledger) as connection:
        assert not store.any_sealed(connection, [later, fresh])
        for frame in frames:
            assert store.any_sealed(connection, [fresh, later, frame_id(frame)])
