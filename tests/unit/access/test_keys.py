"""API keys: bounds, rotation with an overlap, and that every row of them is attested."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from pilotage.access import store
from pilotage.access.keys import find_key
from pilotage.errors import Conflict, Forbidden, InputError, NotFound
from pilotage.gateway.authenticate import Principals
from pilotage.gateway.plan import decode_plan
from pilotage.gateway.plan_file import read_plan_file
from pilotage.gateway.tls import Certificate
from pilotage.rollout import service
from pilotage.storage.database import control, open_engine, reading, writing
from pilotage.storage.outbox import waiting
from pilotage.storage.witness import changed_rows
from pilotage.testing.governance import GovernedHome

HOUR = 3_600_000_000


@pytest.fixture
def house(tmp_path: Path) -> Iterator[GovernedHome]:
    engine = open_engine(f"sqlite:///{tmp_path}/control.db")
    control.create_all(engine)
    made = GovernedHome(tmp_path / "home", engine)
    made.register()
    yield made
    engine.dispose()


def principals(house: GovernedHome) -> Principals:
    stored = read_plan_file(house.home.plan_file)
    assert stored is not None
    return Principals(decode_plan(stored.body).keys)


def issue(house: GovernedHome, **bounds: object) -> str:
    operator = house.people["operator"]
    return house.rollout.issue_key(operator, name="shop", scopes=["decide:example"], **bounds).text  # type: ignore[arg-type]


def id_of(text: str) -> str:
    return text.split("_")[1]


def test_networks_reach_the_plan(house: GovernedHome) -> None:
    bound, free = issue(house, networks=["10.0.0.0/8", "2001:db8::1"]), issue(house)
    book = principals(house)
    assert [str(each) for each in book.authenticate(bound.encode(), 1).networks] == ["10.0.0.0/8", "2001:db8::1/128"]
    assert book.authenticate(free.encode(), 1).networks == ()


def test_a_key_with_a_wrong_network_is_not_issued(house: GovernedHome) -> None:
    with pytest.raises(InputError, match="not a network"):
        issue(house, networks=["10.0.0.1/8"])


def test_both_keys_work_until_the_overlap_is_over(house: GovernedHome) -> None:
    old = issue(house, networks=["10.0.0.0/8"])
    at = house.now
    new = house.rollout.rotate_key(house.people["operator"], id_of(old), overlap=24 * HOUR).text
    book = principals(house)
    before, after = at + 24 * HOUR - 10, at + 24 * HOUR + 10
    assert book.authenticate(old.encode(), before).networks == book.authenticate(new.encode(), before).networks != ()
    assert book.authenticate(new.encode(), after).systems == {"example"}
    with pytest.raises(Exception, match="expired"):
        book.authenticate(old.encode(), after)
    with reading(house.control) as connection:
        kept = find_key(connection, new.split("_")[1])
        events = {event.kind: event.facts for event in waiting(connection) if event.kind.startswith("key.")}
    assert (kept.name, kept.replaces) == ("shop", id_of(old))
    assert (events["key.superseded"]["key"], events["key.superseded"]["successor"]) == (id_of(old), kept.id)
    assert events["key.issued"]["replaces"] == id_of(old)


def test_a_rotation_never_lengthens_a_key(house: GovernedHome) -> None:
    end = house.now + HOUR
    old = issue(house, expires=end)
    new = house.rollout.rotate_key(house.people["operator"], id_of(old), overlap=24 * HOUR)
    with reading(house.control) as connection:
        assert find_key(connection, id_of(old)).expires == find_key(connection, new.id).expires == end


def test_without_overlap_the_old_key_ends_now(house: GovernedHome) -> None:
    old = issue(house)
    house.rollout.rotate_key(house.people["operator"], id_of(old), overlap=0)
    assert principals(house).find(old.encode()) is None


def test_what_cannot_be_rotated(house: GovernedHome) -> None:
    old, operator = issue(house), house.people["operator"]
    with pytest.raises(Forbidden):
        house.rollout.rotate_key(house.people["auditor"], id_of(old), overlap=0)
    with pytest.raises(NotFound):
        house.rollout.rotate_key(operator, "0" * 16, overlap=0)
    with pytest.raises(InputError, match="too long"):
        house.rollout.rotate_key(operator, id_of(old), overlap=91 * 24 * HOUR)
    house.rollout.revoke_key(operator, id_of(old))
    with pytest.raises(Conflict, match="over already"):
        house.rollout.rotate_key(operator, id_of(old), overlap=0)


def test_an_edit_of_a_keys_networks_is_named(house: GovernedHome) -> None:
    old = issue(house, networks=["10.0.0.0/8"])
    house.rollout.rotate_key(house.people["operator"], id_of(old), overlap=HOUR)
    with writing(house.control) as connection:
        events = waiting(connection)
        tables = {"api_keys", "api_key_bounds"}
        assert not [row for row in service.witness(house.control, events) if row.table in tables]
        wide = update(store.key_bounds).where(store.key_bounds.c.key == id_of(old)).values(networks=["0.0.0.0/0"])
        connection.execute(wide)
    found = [row for row in service.witness(house.control, events) if row.table in tables]
    assert [(row.table, row.key, row.what) for row in found] == [("api_key_bounds", id_of(old), "changed")]


def test_a_certificate_stands_for_one_key_moves_with_a_rotation_and_is_taken_back(house: GovernedHome) -> None:
    operator, name = house.people["operator"], "URI:spiffe://corp/shop"
    first, second = id_of(issue(house)), id_of(issue(house))
    house.rollout.name_certificate(operator, first, name)
    with pytest.raises(Conflict, match=first):
        house.rollout.name_certificate(operator, second, name)
    assert certified(house, name) == first
    new = house.rollout.rotate_key(operator, first, overlap=HOUR).id
    assert certified(house, name) == new
    with pytest.raises(Forbidden):
        house.rollout.unname_certificate(house.people["auditor"], name)
    house.rollout.unname_certificate(operator, name)
    assert certified(house, name) is None
    with pytest.raises(NotFound):
        house.rollout.unname_certificate(operator, name)
    house.rollout.revoke_key(operator, second)
    with pytest.raises(Conflict, match="over already"):
        house.rollout.name_certificate(operator, second, name)
    with reading(house.control) as connection:
        events = list(waiting(connection))
        assert list(changed_rows(connection, [store.api_keys, store.key_certificates], events)) == []
    assert not any(name in str(event.facts) for event in events), "a certificate may name a person"


@pytest.mark.parametrize("name", ["", "shop", "URI:", "email:a@b.example", "DNS:a\nb", "DNS:" + "a" * 512])
def test_what_is_no_name_of_a_certificate_is_refused(house: GovernedHome, name: str) -> None:
    key = id_of(issue(house))
    with pytest.raises(InputError, match="spiffe"):
        house.rollout.name_certificate(house.people["operator"], key, name)


def certified(house: GovernedHome, name: str) -> str | None:
    found = principals(house).certified(Certificate((name,), 2**62), 1)
    return None if found is None else found.id
