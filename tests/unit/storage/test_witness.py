"""What an event attests of a row survives every database's way of keeping JSON, and finds any other value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Engine, LargeBinary, MetaData, String, Table, insert, select, update

from pilotage.storage.database import BIG, DOCUMENT, open_engine, reading, writing
from pilotage.storage.outbox import OutboxEvent
from pilotage.storage.witness import attest, attest_removal, changed_rows, row_digest

TABLES = MetaData()
things = Table(
    "things",
    TABLES,
    Column("id", String(36), primary_key=True),
    Column("at", BIG, nullable=False),
    Column("body", DOCUMENT, nullable=False),
    Column("raw", LargeBinary, nullable=False),
)
persons = Table("persons", TABLES, Column("id", String(36), primary_key=True), info={"personal": True})


def event(at: int, rows: list[dict[str, str]]) -> OutboxEvent:
    return OutboxEvent(id=str(at), kind="x.y", at=at, system="", release="", facts={"rows": rows}, private={})


def row(id: str = "a", at: int = 1_700_000_000_000_000, body: Any = None, raw: bytes = b"\x00") -> dict[str, Any]:
    return {"id": id, "at": at, "body": {} if body is None else body, "raw": raw}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/t.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = open_engine(url)
    TABLES.create_all(made)
    yield made
    made.dispose()


BODIES = [
    {"b": 1, "a": [1.0, 0.1 + 0.2, 1e300, 1e22, -0.0, 5e-324, 1e-12, 2**53, 0], "ü": "é\u2028", "n": None, "t": True},
    {"deep": {"er": [{"x": {}}, []]}, "": ""},
    {"large": 123456789.123456789, "third": 1 / 3, "int_like": 3.0},
]


@pytest.mark.parametrize("body", BODIES)
def test_a_row_read_back_has_the_digest_it_had_when_written(engine: Engine, body: Any) -> None:
    written = row(body=body)
    with writing(engine) as connection:
        connection.execute(insert(things).values(written))
    with reading(engine) as connection:
        read = dict(connection.execute(select(things)).mappings().one())
    assert row_digest({str(k): v for k, v in read.items()}) == row_digest(written)


def test_the_newest_attestation_counts_whatever_the_order(engine: Engine) -> None:
    old, new = row(), row(at=5)
    events = [event(2, attest(things, new)), event(1, attest(things, old))]
    with writing(engine) as connection:
        connection.execute(insert(things).values(new))
        assert not list(changed_rows(connection, [things], events))
        connection.execute(update(things).values(at=old["at"]))
        assert [changed.what for changed in changed_rows(connection, [things], events)] == ["changed"]


def test_a_row_deleted_on_purpose_is_not_missed(engine: Engine) -> None:
    events = [event(1, attest(things, row())), event(2, attest(things, row("b")))]
    with reading(engine) as connection:
        assert {c.key for c in changed_rows(connection, [things], events)} == {"a", "b"}
        events.append(event(3, attest_removal(things, row())))
        assert {c.key for c in changed_rows(connection, [things], events)} == {"b"}


def test_the_keys_of_personal_tables_are_digests() -> None:
    (fact,) = attest(persons, {"id": "018f-person"})
    assert "018f" not in str(fact) and fact["key"].startswith("sha256:")


@given(
    st.tuples(st.integers(0, 2**52), st.dictionaries(st.text(max_size=3), st.integers(-9, 9), max_size=3), st.binary()),
    st.tuples(st.integers(0, 2**52), st.dictionaries(st.text(max_size=3), st.integers(-9, 9), max_size=3), st.binary()),
)
@settings(max_examples=50)
def test_rows_that_differ_have_digests_that_differ(one: Any, other: Any) -> None:
    digests = [row_digest(row(at=at, body=body, raw=raw)) for at, body, raw in (one, other)]
    assert (digests[0] == digests[1]) == (one == other)


@pytest.mark.parametrize(
    "rows",
    [
        [{"table": "things", "key": "a"}],
        [{"table": "things", "key": "a", "digest": None}],
        ["x"],
        "x",
        7,
        None,
        {"a": 1},
    ],
)
def test_facts_that_attest_nothing_hide_nothing_and_stop_nothing(engine: Engine, rows: Any) -> None:
    with writing(engine) as connection:
        connection.execute(insert(things).values(row()))
    with reading(engine) as connection:
        broken: list[Any] = [event(2, rows)]
        assert [found.what for found in changed_rows(connection, [things], broken)] == ["unknown"]
        assert not list(changed_rows(connection, [things], [event(1, attest(things, row())), *broken]))
