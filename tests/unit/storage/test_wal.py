"""SQLite's log is moved into its database beside the work."""

from __future__ import annotations

from pathlib import Path

from pilotage.storage.database import open_engine, reading, writing
from pilotage.storage.wal import WalBackfill


def test_the_log_is_moved_and_begins_anew_while_a_connection_stays_open(tmp_path: Path) -> None:
    database, log = tmp_path / "ledger.db", tmp_path / "ledger.db-wal"
    engine = open_engine(f"sqlite:///{database}")
    with writing(engine) as connection:
        connection.exec_driver_sql("PRAGMA wal_autocheckpoint=100000")
        connection.exec_driver_sql("CREATE TABLE entries (content BLOB)")
    backfill = WalBackfill(engine)
    sizes = []
    for _ in range(4):
        with writing(engine) as connection:
            connection.exec_driver_sql("INSERT INTO entries VALUES (zeroblob(400000))")
        backfill.begin()
        backfill.wait()
        sizes.append(log.stat().st_size)
    assert database.stat().st_size > 4 * 400_000
    assert sizes[-1] < 2 * 400_000, sizes
    with reading(engine) as connection:
        assert connection.exec_driver_sql("SELECT sum(length(content)) FROM entries").scalar_one() == 4 * 400_000
    engine.dispose()


def test_a_writer_in_the_middle_of_a_transaction_holds_nothing_up(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    backfill = WalBackfill(engine)
    with writing(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE entries (content BLOB)")
    with writing(engine) as connection:
        connection.exec_driver_sql("INSERT INTO entries VALUES (zeroblob(4000))")
        backfill.begin()
        backfill.wait()
    assert (tmp_path / "ledger.db").stat().st_size > 4_096
    engine.dispose()
