import asyncio

import pytest
from sqlalchemy.exc import IntegrityError as RowExists

from pilotage.errors import IntegrityError
from pilotage.gateway.plan import Key, Route, ServingPlan, decode_plan
from pilotage.gateway.plan_file import read_plan_file, write_plan_file
from pilotage.gateway.store import PlanPoll, add_plan, newest_plan, newest_version
from pilotage.gateway.watch import PlanSource, watch
from pilotage.kernel.digests import digest
from pilotage.storage.database import control, open_engine, reading, url_of, writing
from pilotage.storage.home import Home


def plan(version):
    route = Route(system="credit", release="sha256:1", folder="1", stage="internal", contract="c", policy="p")
    key = Key(id="é", sha256="00", scopes=["decide:*"])
    return ServingPlan(version=version, created=5, steward_key="00", routes=[route], keys=[key])


@pytest.fixture
def home(tmp_path):
    return Home(root=tmp_path)


@pytest.fixture
def engine(home):
    engine = open_engine(url_of(home, "control"))
    control.create_all(engine)
    yield engine
    engine.dispose()


def add(engine, version):
    with writing(engine) as connection:
        return add_plan(connection, plan(version))


def test_the_newest_plan_comes_back_byte_for_byte(engine):
    with reading(engine) as connection:
        assert newest_plan(connection) is None
        assert newest_version(connection) == 0
    add(engine, 1)
    stored = add(engine, 2)
    with reading(engine) as connection:
        assert newest_plan(connection) == stored
    assert digest(stored.body) == stored.digest
    assert decode_plan(stored.body) == plan(2)


def test_a_poll_finds_each_later_plan_and_nothing_else(engine):
    poll = PlanPoll(engine)
    assert poll.newer_than(0) is None
    first = add(engine, 1)
    assert poll.newer_than(0) == first
    assert poll.newer_than(0) == first
    for _ in range(3):
        assert poll.newer_than(1) is None
    second = add(engine, 2)
    assert poll.newer_than(1) == second
    assert poll.newer_than(2) is None
    assert poll.newer_than(1) == second, "an unchanged database answers a changed question"
    poll.close()


def test_a_version_is_written_once(engine):
    add(engine, 1)
    with pytest.raises(RowExists):
        add(engine, 1)


def test_the_plan_file_comes_back_and_any_change_is_noticed(home, engine):
    assert read_plan_file(home.plan_file) is None
    stored = add(engine, 3)
    write_plan_file(home.plan_file, stored)
    assert read_plan_file(home.plan_file) == stored
    whole = home.plan_file.read_bytes()
    for at in range(0, len(whole), 7):
        home.plan_file.chmod(0o600)
        home.plan_file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(IntegrityError):
            read_plan_file(home.plan_file)


def test_while_the_database_is_away_the_file_speaks(home, engine):
    source = PlanSource(home, engine)
    first = add(engine, 1)
    write_plan_file(home.plan_file, first)
    home.control_database.rename(home.root / "away.db")
    engine.dispose()
    assert source.newer_than(0) == first
    assert source.newer_than(1) is None
    assert not home.control_database.exists(), "reading made an empty database"
    (home.root / "away.db").rename(home.control_database)
    second = add(engine, 2)
    assert source.newer_than(1) == second


def test_an_unreadable_database_is_away_too(home):
    home.control_database.write_bytes(b"not a database at all" * 100)
    engine = open_engine(url_of(home, "control"))
    source = PlanSource(home, engine)
    assert source.newer_than(0) is None
    engine.dispose()


def test_the_watch_hands_on_each_new_plan_once_and_outlives_a_changed_file(home, engine):
    seen = []

    async def adopt(stored):
        seen.append(stored.version)

    async def until(version):
        while version not in seen:
            await asyncio.sleep(0.002)

    async def run():
        watching = asyncio.create_task(watch(PlanSource(home, engine), adopt, every_s=0.002))
        add(engine, 1)
        await asyncio.wait_for(until(1), 5)
        home.control_database.rename(home.root / "away.db")
        engine.dispose()
        home.plan_file.write_bytes(b"changed")
        await asyncio.sleep(0.02)
        (home.root / "away.db").rename(home.control_database)
        add(engine, 2)
        await asyncio.wait_for(until(2), 5)
        watching.cancel()

    asyncio.run(run())
    assert seen == [1, 2]
