"""Gates are closed by default; four eyes hold against author, admin, service account, the same person and old yeses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click import Context, Group
from sqlalchemy import delete, update

from pilotage.access.service import remove_person, set_roles
from pilotage.cli.main import root
from pilotage.errors import Conflict, Forbidden, InputError, NotFound, PilotageError, Refused
from pilotage.evidence.store import evidence_table
from pilotage.gates import policy as policy_module
from pilotage.gates import service
from pilotage.gates.model import GateVerdict
from pilotage.gates.policy import gate_stages, rule_for
from pilotage.gates.store import approvals, approvals_of, find_passage, gate_passages, list_approvals
from pilotage.gates.verdict import Held, check_state
from pilotage.releases.model import Release
from pilotage.releases.store import releases_table
from pilotage.storage.database import control, open_engine, reading, writing
from pilotage.storage.outbox import waiting
from pilotage.systems.store import systems
from pilotage.testing.governance import GovernedHome

DAY = 86_400_000_000


@pytest.fixture
def house(tmp_path: Path) -> Iterator[GovernedHome]:
    engine = open_engine(f"sqlite:///{tmp_path}/control.db")
    control.create_all(engine)
    yield GovernedHome(tmp_path / "home", engine)
    engine.dispose()


@pytest.fixture
def ready(house: GovernedHome) -> Release:
    """A high-tier release with all evidence for internal, and no approval."""
    release = house.register()
    house.evidence(release)
    return release


def verdict(house: GovernedHome, release: Release, stage: str = "internal", at: int | None = None) -> GateVerdict:
    return service.check(house.control, "", release.digest, stage, at=at or house.clock())


def approve(house: GovernedHome, release: Release, who: Any, **more: Any) -> Any:
    person = house.people[who] if isinstance(who, str) else who
    more = {"release": release.digest, "stage": "internal", "at": house.clock()} | more
    return service.approve(house.control, person, **more)


def refused(
    house: GovernedHome, release: Release, who: Any, kind: type[PilotageError], words: str, **more: Any
) -> None:
    with pytest.raises(kind, match=words):
        approve(house, release, who, **more)
    assert not verdict(house, release).go


def test_no_go_names_everything_that_is_missing_and_the_next_command(house: GovernedHome) -> None:
    release = house.register()
    found = verdict(house, release)
    assert not found.go
    assert len(found.missing) == len(found.checks) + len(found.approvals) == 10 + 2
    assert all("run" in text for text in found.missing)
    assert any("evaluation.baseline is missing" in text and "pilotage release build" in text for text in found.missing)
    command = f"pilotage approve --release {release.digest[7:19]} --to internal"
    assert sum(command in text for text in found.missing) == 2


def test_two_people_in_the_right_roles_open_the_gate(house: GovernedHome, ready: Release) -> None:
    before = verdict(house, ready)
    assert [state.state for state in before.checks] == ["fresh"] * 10 and not before.go
    given = [approve(house, ready, "model_validator", statement="validated"), approve(house, ready, "risk_officer")]
    after = verdict(house, ready)
    assert after.go and after.missing == []
    assert [state.approval for state in after.approvals] == [approval.id for approval in given]
    assert (
        given[0].evidence == after.evidence and given[0].policy == after.policy == rule_for("internal", "high").digest
    )
    with reading(house.control) as connection:
        assert {each.id for each in list_approvals(connection, "example")} == {each.id for each in given}


def test_the_author_is_refused_whatever_role_they_hold(house: GovernedHome, ready: Release) -> None:
    refused(house, ready, "ml_engineer", Refused, "author")
    set_roles(house.control, house.admin, "ml engineer", ["model_validator", "risk_officer"])
    refused(house, ready, "ml_engineer", Refused, "author")
    by_name = house.register(2, author="  Model Validator ")
    house.evidence(by_name)
    refused(house, by_name, "model_validator", Refused, "author")


def test_admins_service_accounts_and_wrong_roles_cannot_approve(house: GovernedHome, ready: Release) -> None:
    refused(house, ready, "admin", Refused, "admin cannot")
    refused(house, ready, house.person("both", "admin", "risk_officer"), Refused, "admin cannot")
    refused(house, ready, house.person("robot", "risk_officer", kind="service"), Refused, "service account")
    refused(house, ready, "operator", Forbidden, "one of: model_validator")
    refused(house, ready, "business_owner", Forbidden, "model_validator, risk_officer")
    refused(house, ready, "risk_officer", Forbidden, "as model_validator", role="model_validator")


def test_one_person_fills_one_role_however_many_they_hold(house: GovernedHome, ready: Release) -> None:
    both = house.person("both", "model_validator", "risk_officer")
    assert approve(house, ready, both).role == "model_validator"
    refused(house, ready, both, Refused, "already", role="risk_officer")
    refused(house, ready, "model_validator", Conflict, "another person")
    approve(house, ready, "risk_officer")
    assert verdict(house, ready).go
    with writing(house.control) as connection:  # a second yes of the same person, smuggled in by SQL, fills nothing
        connection.execute(update(approvals).values(person=both.id))
    assert [state.state for state in verdict(house, ready).approvals] == ["held", "missing"]


def test_a_role_switch_after_approving_gives_no_second_vote(house: GovernedHome, ready: Release) -> None:
    approve(house, ready, "model_validator")
    set_roles(house.control, house.admin, "model validator", ["risk_officer"])
    approve(house, ready, "model_validator")  # the first yes died with the role
    states = {state.role: state.state for state in verdict(house, ready).approvals}
    assert states == {"model_validator": "dead", "risk_officer": "held"}


def test_nobody_can_approve_incomplete_evidence(house: GovernedHome) -> None:
    release = house.register()
    house.evidence(release, "contract.valid")
    with pytest.raises(Refused, match="incomplete") as caught:
        approve(house, release, "model_validator")
    assert len(caught.value.faults) == 9


def test_an_approval_expires_between_granting_and_use(house: GovernedHome, ready: Release) -> None:
    given = house.approve(ready)
    assert verdict(house, ready, at=given[0].expires - 1).go
    late = verdict(house, ready, at=given[0].expires)
    assert given[0].expires - given[0].granted == 30 * DAY
    assert [state.state for state in late.approvals] == ["expired", "held"] and not late.go
    assert "expired" in late.missing[0]


def test_new_evidence_kills_the_approvals_that_did_not_see_it(house: GovernedHome, ready: Release) -> None:
    house.approve(ready)
    house.evidence(ready, "evaluation.slices")
    found = verdict(house, ready)
    assert [state.state for state in found.approvals] == ["dead", "dead"]
    assert "evaluation.slices" in found.approvals[0].detail
    house.approve(ready)
    assert verdict(house, ready).go


def test_failed_and_expired_evidence_close_the_gate_again(house: GovernedHome, ready: Release) -> None:
    house.approve(ready)
    old = verdict(house, ready, at=house.now + 90 * DAY + 10)
    assert {state.check for state in old.checks if state.state == "stale"} == {
        "evaluation.holdout",
        "evaluation.baseline",
        "evaluation.slices",
    }
    house.evidence(ready, "conversion.equal", expires=house.now + 1_000)
    assert verdict(house, ready, at=house.now + 2_000).missing[0].startswith("conversion.equal is stale")
    house.evidence(ready, "conversion.equal", passed=False)
    assert "conversion.equal is failed" in verdict(house, ready).missing[0]


def test_evidence_edited_in_sql_is_invalid_and_kills_approvals(house: GovernedHome, ready: Release) -> None:
    house.evidence(ready, "evaluation.baseline", passed=False)
    with writing(house.control) as connection:
        connection.execute(update(evidence_table).values(passed=True))
    (state,) = (s for s in verdict(house, ready).checks if s.check == "evaluation.baseline")
    assert state.state == "invalidated"
    house.evidence(ready)
    house.approve(ready)
    with writing(house.control) as connection:
        connection.execute(update(evidence_table).values(figures={"auc": 0.99}))
    found = verdict(house, ready)
    assert {state.state for state in found.checks} == {"invalidated"}
    assert {state.state for state in found.approvals} == {"dead"}


def test_a_raised_tier_kills_approvals(house: GovernedHome) -> None:
    release = house.register(tier="medium")
    house.evidence(release)
    house.approve(release)
    assert verdict(house, release).go
    house.register(tier="high")
    house.evidence(release, "explanation.exact")
    assert {state.state for state in verdict(house, release).approvals} == {"dead", "missing"}


def test_a_changed_policy_kills_approvals_and_an_empty_one_is_an_error(
    house: GovernedHome, ready: Release, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    house.approve(ready)
    assert verdict(house, ready).go
    text = Path(policy_module.__file__).with_name("policy.yaml").read_text()
    (tmp_path / "policy.yaml").write_text(text.replace("high: 90", "high: 91"))
    monkeypatch.setattr(policy_module.resources, "files", lambda _name: tmp_path)
    policy_module._policy.cache_clear()
    try:
        states = verdict(house, ready).approvals
        assert {(state.state, state.detail.partition(" or ")[0]) for state in states} == {("dead", "the gate's policy")}
        (tmp_path / "policy.yaml").write_text(text.replace("[model_validator, risk_officer]", "[]"))
        policy_module._policy.cache_clear()
        with pytest.raises(InputError, match="demands nothing"):
            gate_stages()
    finally:
        policy_module._policy.cache_clear()


def test_an_approver_who_left_or_lost_the_role_does_not_count(house: GovernedHome, ready: Release) -> None:
    house.approve(ready)
    remove_person(house.control, house.admin, "risk officer")
    set_roles(house.control, house.admin, "model validator", ["auditor"])
    details = [state.detail for state in verdict(house, ready).approvals]
    assert details == ["the approver is no model_validator", "the approver has left"]
    with pytest.raises(Refused, match="left"):
        approve(house, ready, "risk_officer")


def test_an_approval_is_withdrawn_by_its_giver_only(house: GovernedHome, ready: Release) -> None:
    given = house.approve(ready)
    with pytest.raises(Forbidden):
        service.withdraw(house.control, house.people["risk_officer"], given[0].id, reason="x")
    with pytest.raises(NotFound):
        service.withdraw(house.control, house.people["risk_officer"], "x", reason="x")
    for _ in range(2):
        service.withdraw(house.control, house.people["model_validator"], given[0].id, reason="a slice looks wrong")
    assert [state.state for state in verdict(house, ready).approvals] == ["dead", "held"]
    approve(house, ready, "model_validator")
    assert verdict(house, ready).go


def test_an_approval_counts_for_its_own_release_and_stage_only(house: GovernedHome, ready: Release) -> None:
    house.approve(ready)
    other = house.register(2)
    house.evidence(other)
    assert [state.state for state in verdict(house, other).approvals] == ["missing", "missing"]
    assert [state.state for state in verdict(house, ready, "limited").approvals] == ["missing"] * 3


def test_later_stages_are_closed_and_say_what_makes_each_missing_piece(house: GovernedHome, ready: Release) -> None:
    found = verdict(house, ready, "general")
    assert not found.go
    lacking = [text for text in found.missing if "is missing (" in text]
    assert any("run: pilotage drill rollback" in text for text in lacking)
    for words in (text.rpartition("run: pilotage ")[2].split() for text in lacking):
        command = root.get_command(Context(root), words[0])
        assert command is not None, f"no such command: {words}"
        if isinstance(command, Group):
            assert words[1].rstrip(",") in command.commands, words
    for stage in ("pilot", "retired", "production", ""):
        with pytest.raises(InputError, match="internal, limited, general"):
            verdict(house, ready, stage)


def test_each_stage_and_tier_demands_at_least_what_the_weaker_does() -> None:
    names = {
        (stage, tier): {check.name for check in rule_for(stage, tier).checks} | set(rule_for(stage, tier).approvals)
        for stage in gate_stages()
        for tier in ("low", "medium", "high")
    }
    for stage in gate_stages():
        for weaker, stronger in (("low", "medium"), ("medium", "high")):
            assert len(names[stage, weaker]) <= len(names[stage, stronger])
            days = [{c.name: c.days for c in rule_for(stage, tier).checks} for tier in (weaker, stronger)]
            assert all(days[1].get(name, 0) <= days[0][name] for name in days[0])
    assert len({rule_for(s, t).digest for s, t in names}) == len(names) == 9


def test_wrong_references_are_named(house: GovernedHome, ready: Release) -> None:
    assert service.check(house.control, "example", "example@1", "internal").release == ready.digest
    with pytest.raises(NotFound):
        service.check(house.control, "another", "example@1", "internal")
    with pytest.raises(NotFound):
        service.approve(house.control, house.people["auditor"], release="example@7", stage="internal")


def test_passing_keeps_what_was_read(house: GovernedHome, ready: Release) -> None:
    with writing(house.control) as connection, pytest.raises(Refused, match="closed") as caught:
        service.pass_gate(connection, ready, "internal", house.clock())
    assert len(caught.value.faults) == 2
    house.approve(ready)
    with writing(house.control) as connection:
        passage = service.pass_gate(connection, ready, "internal", house.clock())
        assert find_passage(connection, ready.digest, "internal") == passage
        assert find_passage(connection, ready.digest, "limited") is None
    assert passage.verdict.digest == passage.digest == verdict(house, ready, at=passage.at).digest
    assert not verdict(house, ready, at=passage.at + 31 * DAY).go  # the passage stays, the gate does not


def test_events_name_nobody_in_what_is_kept_for_ever(house: GovernedHome, ready: Release) -> None:
    approve(house, ready, "model_validator", statement="Mr Miller agreed")
    with pytest.raises(Refused):
        approve(house, ready, "ml_engineer")
    with reading(house.control) as connection:
        events = waiting(connection)
    facts = str([event.facts for event in events])
    for person in house.people.values():
        assert person.id not in facts and f"'{person.name}'" not in facts
    assert "Miller" not in facts
    (granted,) = (event for event in events if event.kind == "approval.granted")
    assert granted.private["person"] == house.people["model_validator"].id
    (said_no,) = (event for event in events if event.kind == "approval.refused")
    assert said_no.facts == {"stage": "internal", "code": "four_eyes"}


def edits() -> dict[str, Any]:
    return {
        "approvals": update(approvals).values(person="somebody else"),
        "gate_passages": delete(gate_passages),
        "evidence": update(evidence_table).values(passed=False),
        "releases": update(releases_table).values(author="nobody"),
        "systems": update(systems).values(body={}),
    }


@pytest.mark.parametrize("table", edits())
def test_a_row_edited_in_sql_is_named(house: GovernedHome, ready: Release, table: str) -> None:
    house.approve(ready)
    with writing(house.control) as connection:
        service.pass_gate(connection, ready, "internal", house.clock())
        events = waiting(connection)
    assert not list(service.witness(house.control, events))
    with writing(house.control) as connection:
        connection.execute(edits()[table])
        ids = {approval.id for approval in approvals_of(connection, ready.digest, "internal")}
    changed = list(service.witness(house.control, events))
    assert changed and {row.table for row in changed} == {table}
    if table == "approvals":
        assert {row.key for row in changed} == ids


@pytest.mark.parametrize(
    ("figures", "state", "words"),
    [
        ({"same_reasons": 0.9}, "fresh", ""),
        ({"same_reasons": 0.899}, "failed", "same_reasons is 0.899; this tier demands 0.9"),
        ({"same_reasons": "1.0"}, "failed", "has no figure same_reasons"),
        ({}, "failed", "has no figure same_reasons"),
    ],
)
def test_a_figure_must_reach_the_floor_of_the_tier(
    house: GovernedHome, ready: Release, figures: dict[str, Any], state: str, words: str
) -> None:
    fact = house.evidence(ready, "reasons.stable")[0]
    rule = rule_for("internal", "high")
    check = next(each for each in rule.checks if each.name == "reasons.stable")
    told = msgspec.structs.replace(fact, figures=figures)
    found = check_state(check, Held(told, "d", "d"), house.clock())
    assert found.state == state
    assert words in found.detail
    assert check_state(check, Held(told, "d", "another"), house.clock()).state == "invalidated"


def test_floors_are_lower_where_less_is_at_stake_and_part_of_what_is_approved() -> None:
    floors = {
        tier: next(each.floor for each in rule_for("limited", tier).checks if each.name == "reasons.stable")
        for tier in ("medium", "high")
    }
    assert 0 < floors["medium"] < floors["high"] < 1
    rule = rule_for("internal", "high")
    lower = msgspec.structs.replace(
        rule, checks=tuple(msgspec.structs.replace(c, floor=min(c.floor, 0.5)) for c in rule.checks)
    )
    assert lower.digest != rule.digest
