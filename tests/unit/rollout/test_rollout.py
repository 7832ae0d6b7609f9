"""Nothing goes live without a passed gate; each act, its event and the plan are one; a rollback is one step back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from pilotage.access.secrets import matches
from pilotage.errors import Conflict, Forbidden, InputError, IntegrityError, NotFound, Refused
from pilotage.gates.store import find_passage
from pilotage.gateway.plan import ServingPlan, decode_plan
from pilotage.gateway.plan_file import read_plan_file
from pilotage.gateway.store import newest_plan, serving_plans
from pilotage.rollout import service
from pilotage.rollout.store import deployments
from pilotage.storage.database import control, open_engine, reading, writing
from pilotage.storage.outbox import outbox, waiting
from pilotage.testing.governance import GovernedHome


@pytest.fixture
def house(tmp_path: Path) -> Iterator[GovernedHome]:
    engine = open_engine(f"sqlite:///{tmp_path}/control.db")
    control.create_all(engine)
    yield GovernedHome(tmp_path / "home", engine)
    engine.dispose()


def plan(house: GovernedHome) -> ServingPlan:
    """The newest plan in the database, which the file must equal."""
    with reading(house.control) as connection:
        stored = newest_plan(connection)
    assert stored is not None and stored == read_plan_file(house.home.plan_file)
    return decode_plan(stored.body)


def counts(house: GovernedHome) -> list[int]:
    with reading(house.control) as connection:
        tables = (deployments, serving_plans, outbox)
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]


def test_nothing_goes_live_without_a_passed_gate(house: GovernedHome) -> None:
    release = house.release()
    engineer = house.people["ml_engineer"]
    with pytest.raises(Refused, match="closed") as caught:
        house.rollout.promote(engineer, "example", release.digest, "internal")
    assert len(caught.value.faults) == 2 and caught.value.code == "gate_closed"
    assert service.live(house.control, "example") is None
    assert counts(house)[:2] == [0, 0]


def test_a_promotion_is_one_plan_with_the_release_the_contract_and_the_gate(house: GovernedHome) -> None:
    release = house.release()
    approvals = house.approve(release)
    done = house.rollout.promote(house.people["ml_engineer"], "example", "example@1", "internal")
    made = plan(house)
    (route,) = made.routes
    assert (route.release, route.folder, route.stage) == (release.digest, release.digest[7:], "internal")
    assert (route.contract, route.policy, route.stopped) == (release.contract, release.policy, "")
    assert made.version == done.plan_version == 1 and done.committed > made.created
    with reading(house.control) as connection:
        passage = find_passage(connection, release.digest, "internal")
        kinds = [event.kind for event in waiting(connection)]
    assert passage is not None and passage.id == done.deployment.passage
    assert [state.approval for state in passage.verdict.approvals] == [approval.id for approval in approvals]
    assert {"gate.passed", "release.promoted", "plan.published"} <= set(kinds)
    now = service.live(house.control, "example")
    assert now is not None and now.release == release.digest
    assert service.live(house.control, "example", at=made.created - 1) is None
    assert service.live_systems(house.control) == [now]


def test_approvals_that_died_meanwhile_keep_the_gate_closed_at_promotion(house: GovernedHome) -> None:
    release = house.release()
    house.approve(release)
    house.now += 31 * 86_400_000_000
    with pytest.raises(Refused, match="expired"):
        house.rollout.promote(house.people["ml_engineer"], "example", release.digest, "internal")


def test_a_changed_byte_of_the_release_stops_promotion_and_rollback(house: GovernedHome) -> None:
    first, second = house.promoted(), house.promoted(0.5)
    model = house.home.releases / first.digest[7:] / "model.onnx"
    model.chmod(0o600)
    model.write_bytes(model.read_bytes()[:-1] + b"\x00\x01")
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        house.rollout.rollback(house.people["operator"], "example")
    with pytest.raises(IntegrityError):
        house.rollout.promote(house.people["operator"], "example", first.digest, "internal")
    assert plan(house).routes[0].release == second.digest


def test_a_rollback_is_one_commit_to_the_release_before(house: GovernedHome) -> None:
    first, second = house.promoted(), house.promoted(0.5)
    done = house.rollout.rollback(house.people["operator"], "example", "worse on live rows")
    assert (done.from_release, done.to_release, done.stage) == (second.digest, first.digest, "internal")
    assert plan(house).routes[0].release == first.digest
    assert plan(house).version == done.plan_version == 3
    assert [act.action for act in service.history(house.control, "example")] == ["promote", "promote", "rollback"]
    with pytest.raises(Refused, match="no earlier release"):
        house.rollout.rollback(house.people["operator"], "example")
    with pytest.raises(Refused):  # forth again only through the gate
        house.now += 31 * 86_400_000_000
        house.rollout.promote(house.people["operator"], "example", second.digest, "internal")


def test_a_rollback_to_a_release_whose_gate_passage_is_gone_is_refused(house: GovernedHome) -> None:
    house.promoted()
    house.promoted(0.5)
    with writing(house.control) as connection:
        connection.exec_driver_sql("DELETE FROM gate_passages")
    with pytest.raises(Refused, match="never passed"):
        house.rollout.rollback(house.people["operator"], "example")


def test_stages_are_climbed_in_order(house: GovernedHome) -> None:
    release = house.release()
    engineer = house.people["ml_engineer"]
    with pytest.raises(Refused, match="one stage at a time"):
        house.rollout.promote(engineer, "example", release.digest, "general")
    with pytest.raises(InputError, match="no gate"):
        house.rollout.promote(engineer, "example", release.digest, "retired")
    house.approve(release)
    house.rollout.promote(engineer, "example", release.digest, "internal")
    with pytest.raises(Conflict):
        house.rollout.promote(engineer, "example", release.digest, "internal")
    with pytest.raises(Refused, match="closed"):
        house.rollout.promote(engineer, "example", release.digest, "limited")
    with writing(house.control) as connection:  # as a later version will have left it
        connection.execute(update(deployments).values(stage="limited"))
    other = house.release(0.5)
    house.approve(other)
    with pytest.raises(Refused, match="cannot lower"):
        house.rollout.promote(engineer, "example", other.digest, "internal")


def test_stop_and_start_travel_in_plans(house: GovernedHome) -> None:
    release = house.promoted()
    operator = house.people["operator"]
    with pytest.raises(InputError):
        house.rollout.stop(operator, "example", " ")
    with pytest.raises(Conflict, match="running"):
        house.rollout.start(operator, "example")
    house.rollout.stop(house.people["risk_officer"], "example", "wrong prices")
    assert plan(house).routes[0].stopped == "wrong prices"
    with pytest.raises(Conflict, match="stopped"):
        house.rollout.stop(operator, "example", "again")
    house.rollout.start(operator, "example")
    assert (plan(house).routes[0].stopped, plan(house).routes[0].release) == ("", release.digest)
    with pytest.raises(Forbidden):
        house.rollout.start(house.people["risk_officer"], "example")


def test_keys_reach_the_plan_as_digests_and_leave_it_when_revoked(house: GovernedHome) -> None:
    house.promoted()
    operator = house.people["operator"]
    key = house.rollout.issue_key(operator, name="app", scopes=["decide:example"])
    (known,) = plan(house).keys
    assert known.id == key.id and matches(key.text, known.sha256) and known.scopes == ["decide:example"]
    assert key.text not in house.home.plan_file.read_text()
    before = counts(house)
    with pytest.raises(NotFound):
        house.rollout.issue_key(operator, name="app", scopes=["decide:exampel"])
    with pytest.raises(Forbidden):
        house.rollout.issue_key(house.people["auditor"], name="app", scopes=["decide:example"])
    assert counts(house) == before
    house.rollout.revoke_key(operator, key.id)
    assert plan(house).keys == [] and len(plan(house).routes) == 1


def test_who_may_not_changes_nothing(house: GovernedHome) -> None:
    first = house.promoted()
    house.promoted(0.5)
    before = counts(house)
    auditor: Any = house.people["auditor"]
    for act in (
        lambda: house.rollout.promote(auditor, "example", first.digest, "internal"),
        lambda: house.rollout.rollback(auditor, "example"),
        lambda: house.rollout.stop(auditor, "example", "x"),
        lambda: house.rollout.revoke_key(auditor, "0" * 16),
    ):
        with pytest.raises(Forbidden):
            act()
    assert counts(house) == before


def test_wrong_names_are_told(house: GovernedHome) -> None:
    release = house.release()
    operator = house.people["operator"]
    with pytest.raises(NotFound, match="no release of"):
        house.rollout.promote(operator, "another", release.digest, "internal")
    with pytest.raises(NotFound, match="no live release"):
        house.rollout.rollback(operator, "example")
    with pytest.raises(NotFound):
        house.rollout.stop(operator, "another", "x")
    with pytest.raises(NotFound):
        service.live(house.control, "another")


def test_an_act_whose_plan_cannot_be_stored_leaves_no_trace(house: GovernedHome) -> None:
    house.promoted()
    before = counts(house)
    with writing(house.control) as connection:  # the last write of the act fails
        connection.exec_driver_sql(
            "CREATE TRIGGER broken BEFORE INSERT ON serving_plans BEGIN SELECT RAISE(ABORT, 'disk'); END"
        )
    with pytest.raises(SQLAlchemyError):
        house.rollout.stop(house.people["operator"], "example", "x")
    assert counts(house) == before and plan(house).routes[0].stopped == ""


def test_a_plan_file_that_was_missed_is_written_by_the_next_refresh(house: GovernedHome) -> None:
    house.rollout.publish()
    house.promoted()
    house.home.plan_file.unlink()
    house.rollout.publish()
    assert plan(house).version == 3 and len(plan(house).routes) == 1


def test_an_edit_of_what_is_live_is_named(house: GovernedHome) -> None:
    house.promoted()
    with writing(house.control) as connection:
        events = waiting(connection)
        assert not list(service.witness(house.control, events))
        connection.execute(update(deployments).values(release="sha256:0"))
        forged = {"version": 9, "digest": "sha256:0", "body": "{}", "created": 0}
        connection.execute(insert(serving_plans).values(forged))
    found = sorted((row.table, row.what) for row in service.witness(house.control, events))
    assert found == [("deployments", "changed"), ("serving_plans", "unknown")]
