"""One record is looked up by one statement: on PostgreSQL, whoever asks waits for the server once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, event

from pilotage.errors import NotFound
from pilotage.ledger.queries import DecisionFilter
from pilotage.storage.database import looking_up, reading
from tests.ledger_world import World, decision, make_world
from tests.ledger_world import event as told

NAMES = ("before_cursor_execute", "begin", "commit", "rollback")


@contextmanager
def told_of(engine: Engine) -> Iterator[list[str]]:
    """What an engine does meanwhile: statements, and where transactions begin and end."""
    seen: list[str] = []
    listeners: list[tuple[str, Callable[..., Any]]] = [
        (name, lambda *args, name=name: seen.append(args[2] if "cursor" in name else name)) for name in NAMES
    ]
    for name, listener in listeners:
        event.listen(engine, name, listener)
    yield seen
    for name, listener in listeners:
        event.remove(engine, name, listener)


def filled(world: World) -> list[str]:
    """A decision of a person, one without a subject, one of a person who was erased, and an event."""
    world.write([decision("p-1"), decision(), decision("p-2"), told()])
    world.steward().seal()
    return [row.id for row in world.queries.decisions(DecisionFilter())[::-1]]


def test_keys_of_any_kind_open_what_is_looked_up(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    with_subject, without, _ = filled(world)
    for id_, subject in ((with_subject, "p-1"), (without, "")):
        found = world.queries.decision(id_)
        assert found.payload is not None and found.payload.subject == subject and not found.unreadable
    [row] = world.queries.events()
    assert world.queries.leaf_of(row.id) == row.leaf
    for ask in (world.queries.decision, world.queries.leaf_of, world.queries.prove):
        with pytest.raises(NotFound):
            ask("no-such-id")


def test_a_key_that_is_gone_leaves_the_row(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    _, _, erased = filled(world)
    row = world.queries.decision(erased).row
    with world.ledger.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM subject_keys WHERE key_id = '{row.key_id}'")
    found = world.queries.decision(erased)
    assert (found.row, found.payload, found.unreadable) == (row, None, "erased")


@pytest.mark.postgres
def test_postgresql_is_waited_for_once(tmp_path: Path, postgres_url: str) -> None:
    world = make_world(tmp_path, url=postgres_url)
    with_subject, without, _ = filled(world)
    for id_ in (with_subject, without):
        for ask in (world.queries.decision, world.queries.prove):
            with told_of(world.ledger) as seen:
                ask(id_)
            assert [what.split()[0] for what in seen if what not in ("begin", "rollback")] == ["SELECT"], seen
    with looking_up(world.ledger) as connection:
        assert in_transaction(connection) == (False, True)
    with reading(world.ledger) as connection:
        assert in_transaction(connection) == (True, True)
    world.ledger.dispose()
    world.control.dispose()


def in_transaction(connection: Connection) -> tuple[bool, bool]:
    """Whether the server is in a transaction after a statement, and whether the statement was answered."""
    answer = connection.exec_driver_sql("SELECT 1").scalar_one()
    raw: Any = connection.connection.dbapi_connection
    return raw.info.transaction_status == TransactionStatus.INTRANS, answer == 1
