"""Feature sources as they are: a table of SQLite or PostgreSQL, an HTTP server that does all that a broken one may."""

from __future__ import annotations

import asyncio
import logging
import socket
import sqlite3
import threading
from pathlib import Path
from time import perf_counter
from uuid import UUID

import msgspec
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from pilotage.contracts.enrichment import Enrichment
from pilotage.contracts.odcs import from_odcs
from pilotage.enrichment.address import address_of
from pilotage.enrichment.cache import Cache
from pilotage.enrichment.checking import inspect_sources, require_sources
from pilotage.enrichment.http import HttpSource
from pilotage.enrichment.model import UNFIT, Entry, moment, value_of
from pilotage.enrichment.open import kinds_of, open_source
from pilotage.enrichment.sql import SqlSource
from pilotage.errors import InputError, Unavailable
from tests.remote_twin import SECRET
from tests.source_twin import KINDLY, MISDEEDS, SourceTwin

DECLARED = Enrichment(
    source="bureau",
    key={"customer": "id"},
    columns={"income": "income", "home": "home", "member": "member"},
    table="scores",
    time="updated_at",
    max_age="1h",
    timeout=0.3,
)
KINDS = {"income": "number", "home": "string", "member": "boolean"}
AT = 1_767_225_600_000_000
ROWS = "('1', 5.5, 'rent', TRUE, '2026-01-01T00:00:00Z'), ('2', NULL, 'own', FALSE, '2026-01-01T00:00:00Z')"


class Table:
    """A database with the table `scores`; `run` changes it."""

    def __init__(self, url):
        self.url, self.engine = url, create_engine(url, poolclass=NullPool)
        self.time = "timestamptz" if url.startswith("postgresql") else "text"

    def run(self, *statements):
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def make(self, key="text", rows=ROWS, primary=" PRIMARY KEY", income="double precision"):
        self.run(
            "DROP TABLE IF EXISTS scores",
            f"CREATE TABLE scores (id {key}{primary}, income {income}, home text, member boolean,"
            f" updated_at {self.time})",
            *([f"INSERT INTO scores VALUES {rows}"] if rows else []),
        )
        return self


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def table(request, tmp_path):
    url = f"sqlite:///{tmp_path}/f.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    return Table(url)


def opened(table, declared=DECLARED, kinds=KINDS, calls=2):
    return SqlSource(declared, kinds, address_of("x", {"PILOTAGE_SOURCE_X": table.url}).database, calls=calls)


def asked(source, *keys, within=5.0):
    async def ask():
        async with asyncio.timeout(within):
            try:
                return await source.look_up([(key,) if isinstance(key, str) else key for key in keys])
            finally:
                await source.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("key", ["text", "bigint"])
def test_a_table_tells_of_the_entities_that_it_knows_by_one_statement(table, key):
    found = asked(opened(table.make(key)), "1", "2", "3", "01", "1 ", "nobody", "9" * 40, "\0")
    assert found == {
        ("1",): Entry({"income": 5.5, "home": "rent", "member": True}, AT),
        ("2",): Entry({"income": None, "home": "own", "member": False}, AT),
    }


def test_a_key_is_a_parameter_and_never_a_statement(table):
    hostile = ["' OR 1=1 --", '"; DROP TABLE scores; --', "%s", "1' UNION SELECT 1", ":keys", "\ud800"[:0] + "é" * 300]
    assert asked(opened(table.make()), *hostile, "1").keys() == {("1",)}


def test_keys_of_several_columns_and_many_rows(table):
    table.run(
        "DROP TABLE IF EXISTS scores",
        f"CREATE TABLE scores (a text, b int, income int, updated_at {table.time}, PRIMARY KEY (a, b))",
        "INSERT INTO scores VALUES " + ", ".join(f"('k', {n}, {n}, '2026-01-01')" for n in range(1_200)),
    )
    declared = Enrichment(
        source="s",
        key={"x": "a", "y": "b"},
        columns={"income": "income"},
        table="scores",
        time="updated_at",
        max_age="1h",
    )
    keys = [("k", str(n)) for n in range(1_300)] + [("l", "1"), ("k", "one")]
    found = asked(opened(table, declared, {"income": "number"}), *keys)
    assert len(found) == 1_200 and found["k", "1199"].values == {"income": 1_199.0}


@pytest.mark.postgres
def test_keys_may_be_uuids(postgres_url):
    one = UUID(int=0xABC)
    table = Table(postgres_url).make("uuid", f"('{one}', 1, 'own', TRUE, '2026-01-01')")
    assert asked(opened(table), str(one), str(one).upper(), "no uuid").keys() == {(str(one),), (str(one).upper(),)}


@pytest.mark.postgres
def test_a_database_that_does_not_answer_is_left_at_once_and_asked_again_later(postgres_url):
    table = Table(postgres_url).make()

    async def ask():
        # With a patience that the server would not end by itself before the test does.
        source = opened(table, msgspec.structs.replace(DECLARED, timeout=60.0), calls=1)
        assert await source.look_up([("1",)])
        with table.engine.connect() as other, other.begin():
            other.exec_driver_sql("LOCK TABLE scores IN ACCESS EXCLUSIVE MODE")
            started = perf_counter()
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await source.look_up([("1",)])
            assert perf_counter() - started < 1.0
            # The one thread of the pool is free, although nobody has answered it yet.
            async with asyncio.timeout(5):
                await source._run(lambda connection: None)
        found = await source.look_up([("1",)])
        await source.close()
        return found

    assert asyncio.run(ask()).keys() == {("1",)}


@pytest.mark.postgres
def test_it_only_reads_and_takes_no_number_that_is_none(postgres_url):
    table = Table(postgres_url).make(rows="('1', 'NaN', 'own', TRUE, 'infinity'), ('2', 'Infinity', 'own', TRUE, NULL)")
    found = asked(opened(table), "2")
    assert found["2",].values["income"] == float("inf") and found["2",].at is None
    assert asked(opened(table), "1", "2")["1",].at is None, "a moment that no clock has is that row's fault alone"
    source = opened(table.make())
    with source._engine.connect() as connection, pytest.raises(Exception, match="read-only"):
        connection.exec_driver_sql("DELETE FROM scores")
    asyncio.run(source.close())


@pytest.mark.postgres
@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
@pytest.mark.parametrize("moment", ["infinity", "-infinity", "0044-03-15 BC", "12000-01-01"])
def test_a_moment_beyond_python_is_the_fault_of_one_row(postgres_url, kind, moment):
    table = Table(postgres_url)
    table.time = kind
    table.make(rows=f"('1', 1, '{moment}', TRUE, '{moment}'), ('2', 2, 'own', TRUE, '2026-01-01')")
    table.run(f"ALTER TABLE scores ALTER home TYPE {kind} USING '{moment}'::{kind}")
    found = asked(opened(table), "1", "2")
    assert found["1",].at is None and found["1",].values["home"] is UNFIT
    assert found["2",].at == AT and found["2",].values["income"] == 2.0


def test_a_locked_or_read_only_sqlite_file(tmp_path):
    table = Table(f"sqlite:///{tmp_path}/f.db").make()
    source = opened(table)
    with source._engine.connect() as connection, pytest.raises(Exception, match="attempt to write"):
        connection.exec_driver_sql("DELETE FROM scores")
    other = sqlite3.connect(f"{tmp_path}/f.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    started = perf_counter()
    with pytest.raises((TimeoutError, Unavailable)):
        asked(source, "1", within=0.5)
    assert perf_counter() - started < 1.5
    other.execute("ROLLBACK")
    other.close()
    assert asked(opened(table), "1")


def test_a_slow_statement_of_sqlite_is_broken_off(tmp_path):
    table = Table(f"sqlite:///{tmp_path}/f.db")
    table.run(
        "CREATE TABLE entities (id text PRIMARY KEY)",
        "INSERT INTO entities VALUES ('1')",
        "CREATE VIEW scores AS SELECT id, (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
        " WHERE i < 300000000) SELECT max(i) FROM n) AS income FROM entities",
    )
    declared = Enrichment(source="s", key={"c": "id"}, columns={"income": "income"}, table="scores")
    source = opened(table, declared, {"income": "number"})
    before = threading.active_count()
    with pytest.raises(TimeoutError):
        asked(source, "1", within=0.1)
    for _ in range(100):
        if threading.active_count() <= before:
            break
        threading.Event().wait(0.02)
    assert threading.active_count() <= before, "no thread goes on counting"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ((), "agrees, and its key is indexed"),
        (("ALTER TABLE scores RENAME COLUMN home TO house",), "home for home is not there"),
        (("ALTER TABLE scores RENAME COLUMN id TO key",), "the key id is not there"),
        (("ALTER TABLE scores RENAME COLUMN updated_at TO changed",), "the time, is not there"),
        (("DROP TABLE scores",), "no such table"),
    ],
)
def test_a_check_says_what_does_not_agree(table, change, told):
    table.make().run(*change)
    source = opened(table)

    async def look():
        try:
            return await source.inspect()
        finally:
            await source.close()

    found = asyncio.run(look())
    assert [each.fine for each in found] == [not change] and told in found[0].what
    assert change == () or found[0].mend


def test_a_check_says_what_types_and_indexes_are_missing(table):
    table.make(primary="", income="text", rows="")

    async def look(source):
        try:
            return await source.inspect()
        finally:
            await source.close()

    assert "income for income is string, not integer or number" in asyncio.run(look(opened(table)))[0].what
    table.make(primary="", rows="")
    assert "no unique index on id" in asyncio.run(look(opened(table)))[0].what
    table.run("CREATE UNIQUE INDEX by_id ON scores (id)")
    assert asyncio.run(look(opened(table)))[0].fine
    table.run("DROP INDEX by_id", f"INSERT INTO scores VALUES {ROWS}, {ROWS}")
    with pytest.raises(Unavailable, match="twice"):
        asked(opened(table), "1")


def test_a_source_that_is_not_there_says_nothing_of_where_it_should_be(tmp_path):
    missing = Table(f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(Unavailable) as caught:
        asked(opened(missing), "secret-key")
    assert "none.db" not in str(caught.value) and "secret-key" not in str(caught.value)
    assert not (tmp_path / "none.db").exists()


@pytest.mark.postgres
def test_a_server_that_accepts_and_says_nothing_does_not_hold_the_request():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        url = address_of("x", {"PILOTAGE_SOURCE_X": f"postgresql://u@127.0.0.1:{port}/d"}).database
        source = SqlSource(DECLARED, KINDS, url, calls=1)
        started = perf_counter()
        with pytest.raises(TimeoutError):
            asked(source, "1", within=0.2)
        assert perf_counter() - started < 1.0


# HTTP


def of(does, within=0.15):
    """(what came of each look-up of c-1 and of nobody, the twin), by a server that does each in turn."""

    async def ask():
        ends, turns = [], iter(does)
        async with SourceTwin(lambda: next(turns)) as twin:
            twin.knows = {"c-1": {"income": 5.5, "home": "rent", "member": True, "updated_at": "2026-01-01"}}
            source = HttpSource(
                msgspec.structs.replace(DECLARED, table=""),
                KINDS,
                f"{twin.url}/features",
                address_of("x", {"PILOTAGE_SOURCE_X": twin.url}).token,
            )
            for _ in does:
                try:
                    async with asyncio.timeout(within):
                        ends.append(await source.look_up([("c-1",), ("nobody",)]))
                except (TimeoutError, Unavailable) as error:
                    ends.append(error)
            await source.close()
            for _ in range(200):
                if twin.tasks:
                    await asyncio.sleep(0.01)
            assert not twin.tasks, "no connection is left behind"
        return ends

    return asyncio.run(ask())


def test_a_server_that_answers_well_is_understood_whatever_its_manner():
    for found in of((*KINDLY, "well"), within=5):
        assert found == {("c-1",): Entry({"income": 5.5, "home": "rent", "member": True}, AT)}


_BAD_VALUES = ("text", "boolean", "list", "long_text", "old", "no_time", "ahead")


def test_whatever_a_broken_server_does_ends_in_time_and_says_nothing_of_its_words(caplog):
    does = [each for each in MISDEEDS if each not in _BAD_VALUES]
    with caplog.at_level(logging.DEBUG):
        ends = of(does)
    for deed, end in zip(does, ends, strict=True):
        assert isinstance(end, TimeoutError | Unavailable), (deed, end)
        assert SECRET not in str(end) and SECRET not in repr(getattr(end, "got", ""))
    assert SECRET not in caplog.text and "c-1" not in caplog.text
    values = {deed: end["c-1",] for deed, end in zip(_BAD_VALUES, of(_BAD_VALUES, within=5), strict=True)}
    assert values["text"].values["income"] == SECRET, "which the contract turns away, and the record keeps"
    assert values["boolean"].values["income"] is True
    assert values["list"].values["income"] is values["long_text"].values["income"] is UNFIT
    assert values["no_time"].at is None and values["old"].at < AT < values["ahead"].at


def test_a_check_asks_for_nobody():
    async def look(does):
        async with SourceTwin(lambda: does) as twin:
            source = HttpSource(DECLARED, KINDS, twin.url, address_of("x", {"PILOTAGE_SOURCE_X": twin.url}).token)
            found = await source.inspect()
            await source.close()
            return found, twin.keys

    (found,), keys = asyncio.run(look("well"))
    assert found.fine and keys == 0
    for does in ("500", "garbage", "hang"):
        (found,), _ = asyncio.run(look(does))
        assert not found.fine and SECRET not in found.what


# What a source says, and where it is


@pytest.mark.parametrize(
    ("raw", "kind", "value"),
    [
        (5, "number", 5.0),
        (10**400, "number", float("inf")),
        (True, "number", True),
        (1, "boolean", True),
        (2, "boolean", 2.0),
        (UUID(int=1), "string", str(UUID(int=1))),
        (b"x", "string", UNFIT),
        ({}, "string", UNFIT),
        ("x" * 10_001, "string", UNFIT),
        ("\ud800", "string", UNFIT),
        (None, "string", None),
    ],
)
def test_values_become_those_of_a_contract(raw, kind, value):
    got = value_of(raw, kind, loose_truth=True)
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize("raw", [None, True, "", "soon", "1" * 50, -1, 1e300, float("nan"), [], 1e12])
def test_a_time_that_is_none(raw):
    assert moment(raw) is None


@pytest.mark.parametrize("raw", ["2026-01-01", "2026-01-01T01:00:00+01:00", 1_767_225_600, 1_767_225_600.0])
def test_a_time(raw):
    assert moment(raw) == AT


@pytest.mark.parametrize(
    "url",
    [
        "http://features.example/x",
        "https://user:hunter2@features.example/x",
        "https://features.example/x?key=hunter2",
        "ftp://features.example",
        "mysql://u:hunter2@h/d",
        "sqlite:///relative.db",
        "sqlite://",
        "postgresql:///d",
        "postgresql://u:hunter2@db.example/d?sslmode=require",
        "postgresql://u:hunter2@db.example/d?sslmode=disable",
        "postgresql://u@localhost/d?hostaddr=192.0.2.1&sslmode=prefer",
        "postgresql://u@localhost/d?service=other",
        "two words hunter2",
        "",
    ],
)
def test_addresses_that_are_not_asked_and_never_repeated(url):
    with pytest.raises(InputError) as caught:
        address_of("bureau", {"PILOTAGE_SOURCE_BUREAU": url})
    assert "hunter2" not in str(caught.value) + str(caught.value.as_dict()) and caught.value.mend


def test_a_database_elsewhere_must_show_who_it_is(tmp_path):
    far = address_of("b", {"PILOTAGE_SOURCE_B": "postgresql://u:p@db.example/d"}).database
    assert far.query["sslmode"] == "verify-full" and far.query["sslrootcert"] == "system"
    own = address_of("b", {"PILOTAGE_SOURCE_B": "postgresql://u@db.example/d?sslmode=verify-ca&sslrootcert=/ca"})
    assert dict(own.database.query) == {"sslmode": "verify-ca", "sslrootcert": "/ca"}
    (tmp_path / "address").write_text("sqlite:////data/f.db\n")
    told = address_of("b", {"PILOTAGE_SOURCE_B_FILE": f"{tmp_path}/address"})
    assert told.database.database == "/data/f.db"
    with pytest.raises(InputError, match="another kind"):
        open_source(DECLARED, KINDS, environ={"PILOTAGE_SOURCE_BUREAU": "https://features.example"})


def test_a_cache_forgets_by_age_and_by_number():
    now, entry = [0.0], Entry({}, None)
    cache = Cache(10.0, lambda: now[0], most=2)
    for key in "abc":
        cache.put((key,), entry)
    assert len(cache) == 2 and cache.get(("a",)) is None and cache.get(("c",)) is entry
    now[0] = 10.0
    assert cache.get(("c",)) is None
    cache.put(("d",), entry)
    assert len(cache) == 1, "what is too old goes with the next"
    none = Cache(0.0)
    none.put(("a",), entry)
    assert len(none) == 0


def test_the_example_of_the_documentation_is_a_contract_and_draws_from_such_a_table(tmp_path):
    page = (Path(__file__).resolve().parents[3] / "docs" / "how-to" / "enrichment.md").read_text()
    example = page[page.index("```yaml\n") + 8 : page.index("```\n", page.index("```yaml"))]
    head = "apiVersion: v3.1.0\nkind: DataContract\nid: example\nname: example\nversion: '1'\n"
    contract = from_odcs(head + example.replace("risk.scores", "scores"))
    table = Table(f"sqlite:///{tmp_path}/f.db")
    table.run(
        "CREATE TABLE scores (id text PRIMARY KEY, points real, updated_at text)",
        "INSERT INTO scores VALUES ('c-1', 61, '2026-03-01T10:00:00Z')",
    )
    environ = {"PILOTAGE_SOURCE_BUREAU": table.url}
    assert [(told.fine, told.what) for told in inspect_sources(contract, environ)] == [
        (True, "bureau, table scores agrees, and its key is indexed")
    ]
    require_sources(contract, environ)
    (declared,) = contract.enrichment
    source = open_source(declared, kinds_of(declared, contract), environ=environ)
    assert asked(source, "c-1")["c-1",].values == {"score": 61.0}
    assert [told.fine for told in inspect_sources(contract, {})] == [False], "a node without the address cannot ask"
    require_sources(contract, {})
    table.run("ALTER TABLE scores RENAME COLUMN points TO marks")
    with pytest.raises(InputError) as caught:
        require_sources(contract, environ)
    assert "points for score is not there" in str(caught.value.faults[0]["message"])
