"""SQLite as we open it: durable, with foreign keys, one writer at a time that waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from pilotage.storage.database import open_engine, reading, url_of, writing
from pilotage.storage.home import Home


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_engine(url_of(Home(root=tmp_path), "control"))
    with writing(opened) as connection:
        connection.exec_driver_sql("CREATE TABLE counter (n INTEGER NOT NULL)")
        connection.exec_driver_sql("INSERT INTO counter VALUES (0)")
    yield opened
    opened.dispose()


@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("secure_delete", 2)]
)
def test_pragmas_are_in_force(engine: Engine, pragma: str, value: object) -> None:
    with reading(engine) as connection:
        assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value


def test_an_error_rolls_everything_back(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), writing(engine) as connection:
        connection.exec_driver_sql("UPDATE counter SET n = 5")
        raise ZeroDivisionError
    with reading(engine) as connection:
        assert connection.exec_driver_sql("SELECT n FROM counter").scalar() == 0


def test_readers_see_one_moment(engine: Engine) -> None:
    with reading(engine) as connection:
        assert connection.exec_driver_sql("SELECT n FROM counter").scalar() == 0
        with writing(engine) as other:
            other.exec_driver_sql("UPDATE counter SET n = 1")
        assert connection.exec_driver_sql("SELECT n FROM counter").scalar() == 0


def test_writers_wait_for_each_other_and_lose_no_update(engine: Engine) -> None:
    def add() -> None:
        for _ in range(20):
            with writing(engine) as connection:
                value = connection.exec_driver_sql("SELECT n FROM counter").scalar()
                connection.exec_driver_sql(f"UPDATE counter SET n = {value} + 1")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as connection:
        assert connection.exec_driver_sql("SELECT n FROM counter").scalar() == 80


def test_one_url_serves_both_parts_and_two_files_are_the_default(tmp_path: Path) -> None:
    home = Home(root=tmp_path)
    assert url_of(home, "control") != url_of(home, "ledger")
    one = "postgresql+psycopg://db/pilotage"
    assert url_of(home, "control", one) == url_of(home, "ledger", one) == one
