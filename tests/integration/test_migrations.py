"""The migrated schema is the schema that the code declares, on both databases; start-up pays for it once."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, text
from sqlalchemy.engine import make_url

import pilotage
from pilotage.errors import Unavailable
from pilotage.storage.database import Part, open_engine, reading, writing
from pilotage.storage.migrate import HEAD, migrate, schema_version
from pilotage.testing.draft_migration import declared, draft

PARTS: tuple[Part, ...] = ("control", "ledger")
VERSIONS = Path(pilotage.__file__).parent / "storage" / "migrations" / "versions"


def shape(engine: Engine) -> dict[str, Any]:
    """All that the database itself tells of its tables, versions of the schema apart."""
    seen = inspect(engine)
    return {
        name: {
            "columns": [
                (c["name"], str(c["type"]), c["nullable"], str(c["default"]), c.get("autoincrement"))
                for c in seen.get_columns(name)
            ],
            "primary key": seen.get_pk_constraint(name)["constrained_columns"],
            "foreign keys": sorted(
                (k["constrained_columns"], k["referred_table"], k["referred_columns"])
                for k in seen.get_foreign_keys(name)
            ),
            "unique": sorted(str((u["name"], u["column_names"])) for u in seen.get_unique_constraints(name)),
            "indexes": sorted(str((i["name"], i["column_names"], i["unique"])) for i in seen.get_indexes(name)),
            "checks": sorted(str(c["sqltext"]) for c in seen.get_check_constraints(name)),
        }
        for name in seen.get_table_names()
        if not name.startswith("schema_")
    }


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[dict[str, Engine]]:
    made = {name: open_engine(f"sqlite:///{tmp_path}/{name}.db") for name in ("migrated", "declared")}
    yield made
    for engine in made.values():
        engine.dispose()


@pytest.fixture
def postgres_engines(postgres_url: str) -> Iterator[dict[str, Engine]]:
    server = open_engine(postgres_url)
    names = {name: f"{name}_{uuid.uuid4().hex[:12]}" for name in ("migrated", "declared")}
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for name in names.values():
            connection.execute(text(f"CREATE DATABASE {name}"))
    made = {key: open_engine(str_url(postgres_url, name)) for key, name in names.items()}
    yield made
    for engine in (*made.values(), server):
        engine.dispose()


def str_url(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def prove_equal(engines: dict[str, Engine], part: Part) -> None:
    tables = declared(part)
    assert migrate(engines["migrated"], part)
    assert not migrate(engines["migrated"], part)
    tables.create_all(engines["declared"])
    migrated, wanted = shape(engines["migrated"]), shape(engines["declared"])
    assert set(migrated) == set(wanted) == set(tables.tables)
    for name, table in wanted.items():
        assert migrated[name] == table, name


@pytest.mark.parametrize("part", PARTS)
def test_migrated_equals_declared(engines: dict[str, Engine], part: Part) -> None:
    prove_equal(engines, part)


@pytest.mark.parametrize("part", PARTS)
def test_a_draft_of_the_next_migration_is_empty(part: Part) -> None:
    assert [line.strip() for line in draft(part).splitlines() if not line.strip().startswith("#")] == ["pass"]


@pytest.mark.postgres
@pytest.mark.parametrize("part", PARTS)
def test_migrated_equals_declared_on_postgres(postgres_engines: dict[str, Engine], part: Part) -> None:
    prove_equal(postgres_engines, part)


@pytest.mark.postgres
def test_one_postgres_database_holds_both_parts_and_processes_may_race(postgres_engines: dict[str, Engine]) -> None:
    engine = postgres_engines["migrated"]
    race(engine)
    assert set(shape(engine)) == set(declared("control").tables) | set(declared("ledger").tables)


def test_processes_that_start_together_upgrade_once(engines: dict[str, Engine]) -> None:
    race(engines["migrated"])


def race(engine: Engine) -> None:
    """Each part is upgraded by exactly one of those who try at once."""
    with ThreadPoolExecutor(4) as pool:
        for part in PARTS:
            done = [each.result() for each in [pool.submit(migrate, engine, part) for _ in range(4)]]
            assert sorted(done) == [False, False, False, True]


def test_the_head_is_the_newest_migration_and_the_history_is_one_line() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(VERSIONS.parent))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [HEAD]
    assert [each.revision for each in script.walk_revisions()][-1] == "0001"


def test_a_database_newer_than_the_program_is_left_alone(engines: dict[str, Engine]) -> None:
    engine = engines["migrated"]
    migrate(engine, "control")
    with writing(engine) as connection:
        connection.execute(text("UPDATE schema_control SET version_num = '9999'"))
    with pytest.raises(Unavailable, match="newer"):
        migrate(engine, "control")
    with reading(engine) as connection:
        assert schema_version(connection, "control") == "9999"


def test_an_upgrade_that_fails_leaves_nothing_behind(engines: dict[str, Engine]) -> None:
    engine = engines["migrated"]
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE systems (id TEXT)"))  # in the way of the migration
    with pytest.raises(Exception, match="already exists"):
        migrate(engine, "control")
    assert set(shape(engine)) == {"systems"}


def test_an_up_to_date_start_reads_one_row_and_leaves_alembic_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/control.db"
    migrate(open_engine(url), "control")
    code = (
        "import sys; from pilotage.storage.database import open_engine; from pilotage.storage.migrate import migrate;"
        f"done = migrate(open_engine({url!r}), 'control'); assert not done and 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_entries_that_wait_to_be_published_stop_the_upgrade(engines: dict[str, Engine]) -> None:
    engine = engines["migrated"]
    migrate(engine, "ledger")
    with writing(engine) as connection:  # as the version before left it
        connection.execute(text("CREATE TABLE pending_entries (leaf INTEGER PRIMARY KEY, entry BLOB NOT NULL)"))
        connection.execute(text("INSERT INTO pending_entries VALUES (0, x'7b7d')"))
        connection.execute(text("UPDATE schema_ledger SET version_num = '0017'"))
    with pytest.raises(Unavailable, match="wait to be published") as refused:
        migrate(engine, "ledger")
    assert "1 entries" in str(refused.value) and "the version before" in str(refused.value)
    with writing(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM pending_entries")).scalar() == 1
        connection.execute(text("DELETE FROM pending_entries"))
    assert migrate(engine, "ledger")
