"""The outbox: an event is written with its change or not at all, and read in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from pilotage.storage.database import control, open_engine, reading, url_of, writing
from pilotage.storage.home import Home
from pilotage.storage.outbox import drop, emit, waiting


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_engine(url_of(Home(root=tmp_path), "control"))
    control.create_all(opened)
    yield opened
    opened.dispose()


def test_an_event_comes_back_as_it_was_written(engine: Engine) -> None:
    with writing(engine) as connection:
        emit(connection, "key.issued", system="s", release="r", facts={"id": 1}, private={"actor": "ö", "n": [1]}, at=7)
    with reading(engine) as connection:
        (found,) = waiting(connection)
    assert (found.kind, found.at, found.system, found.release) == ("key.issued", 7, "s", "r")
    assert (found.facts, found.private) == ({"id": 1}, {"actor": "ö", "n": [1]})


def test_no_change_no_event(engine: Engine) -> None:
    with pytest.raises(RuntimeError), writing(engine) as connection:
        emit(connection, "approval.granted")
        raise RuntimeError("the change failed")
    with reading(engine) as connection:
        assert waiting(connection) == []


def test_they_wait_in_the_order_written_until_they_are_dropped(engine: Engine) -> None:
    with writing(engine) as connection:
        made = [emit(connection, f"thing.done{n}").id for n in range(1_100)]
    with reading(engine) as connection:
        found = [each.id for each in waiting(connection, limit=2_000)]
        assert found == sorted(made)
        assert len(waiting(connection, limit=10)) == 10
    with writing(engine) as connection:
        drop(connection, found[:1_050])
    with reading(engine) as connection:
        assert [each.id for each in waiting(connection)] == found[1_050:]


def test_personal_facts_do_not_lie_in_the_open_columns(engine: Engine) -> None:
    with writing(engine) as connection:
        emit(connection, "person.added", facts={"roles": ["admin"]}, private={"name": "model-author"})
        row = connection.exec_driver_sql("SELECT facts FROM outbox").scalar()
    assert "model-author" not in str(row)
