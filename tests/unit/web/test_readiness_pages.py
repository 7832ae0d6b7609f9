"""Readiness of a live system and its interview, in console and API: figures, their evidence, warnings, four eyes."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from pilotage.assess.standing import Standing
from pilotage.evidence.model import Evidence
from pilotage.evidence.store import record
from pilotage.kernel.clock import day, now_us
from pilotage.kernel.ids import uuid7
from pilotage.ledger.outcomes import Outcomes
from pilotage.ledger.queries import DecisionFilter
from pilotage.storage.database import reading, writing
from pilotage.storage.outbox import OutboxEvent, waiting
from pilotage.systems.store import declare_system, find_system
from pilotage.web.console.app import create_app
from pilotage.wiring.audit import keep_verification, verify
from pilotage.wiring.housekeeping import keep_house
from pilotage.wiring.standing import EXPIRING, days_of, facts_of, keep_standing, standing_of
from tests.console.client import TestClient
from tests.console.world import SYSTEM, ConsoleWorld, make_console_world

DAY = 86_400_000_000
SAME = {"sec-fetch-site": "same-origin", "accept": "text/html"}
PAGE = f"/systems/{SYSTEM}/interview"
API = f"/api/v1/systems/{SYSTEM}"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    """A home of its own, with enough live decisions to say something."""
    made = make_console_world(tmp_path_factory.mktemp("standing"))
    made.seal([*made.answered(400, at=now_us() + 1_000_000), *made.rejected(2)])
    yield made
    made.close()


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    """A home without decisions."""
    made = make_console_world(tmp_path_factory.mktemp("fresh"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleWorld]:
    """A home for the interview: each test has questions of its own."""
    made = make_console_world(tmp_path_factory.mktemp("said"))
    yield made
    made.close()


def client_of(world: ConsoleWorld, role: str, follow: bool = True) -> TestClient:
    made = TestClient(create_app(world.installation), follow_redirects=follow, raise_server_exceptions=False)
    made.headers["authorization"] = f"Bearer {world.token(role)}"
    return made


def scores(found: Standing) -> dict[str, float]:
    return {r.criterion.id: round(r.score, 4) for d in found.assessment.dimensions for r in d.ratings}


def events(world: ConsoleWorld, kind: str) -> list[OutboxEvent]:
    with reading(world.installation.control) as connection:
        return [each for each in waiting(connection) if each.kind == kind]


class TestStanding:
    def test_live_telemetry_feeds_it_and_each_point_opens_to_its_evidence(self, seen: ConsoleWorld) -> None:
        client = client_of(seen, "auditor")
        told = client.get(f"{API}/readiness").json()
        ratings = {r["criterion"]["id"]: r for d in told["assessment"]["dimensions"] for r in d["ratings"]}
        [quality] = ratings["data.live_quality"]["evidence"]
        assert quality["grade"] == "E4" and "2 of 402 decisions broke the contract" in quality["summary"]
        assert told["window"] in quality["summary"] and told["release"] == seen.release.digest
        assert ratings["model.predicts"]["score"] == 1.0
        page = client.get(f"/systems/{SYSTEM}/readiness").text
        assert 'href="#in-data"' in page and 'id="in-data"' in page and "2 of 402 decisions" in page
        assert len(re.findall(r'class="rated"', page)) == 6
        report = client.get(f"/systems/{SYSTEM}/readiness/report")
        assert "attachment" in report.headers["content-disposition"] and "2 of 402 decisions" in report.text

    def test_what_people_overruled_is_counted_once_each(self, seen: ConsoleWorld) -> None:
        outcomes, release = Outcomes(seen.installation.ledger_engine), seen.release.digest
        before = outcomes.overruled(SYSTEM, release, 0)
        first, second = seen.installation.ledger().decisions(DecisionFilter(outcome="answered"), limit=2)
        reviewer = client_of(seen, "reviewer")
        for each in (first, first, second):
            body = {"answer": "approve", "reason": "income proven"}
            assert reviewer.post(f"/api/v1/decisions/{each.id}/override", json=body).status_code in (201, 409)
        seen.seal([])
        assert outcomes.overruled(SYSTEM, release, 0) == before + 2
        assert outcomes.overruled(SYSTEM, release, now_us() + DAY) == outcomes.overruled(SYSTEM, "other", 0) == 0

    def test_another_live_release_drops_what_was_known_of_the_first_at_once(self, fresh: ConsoleWorld) -> None:
        fresh.seal(fresh.answered(400, at=now_us() + 1_000_000))
        before = scores(standing_of(fresh.installation, SYSTEM))
        assert before["data.validated"] == 1.0
        fresh.governed.promoted(0.3, system=SYSTEM)
        after = scores(standing_of(fresh.installation, SYSTEM))
        assert after["data.validated"] == 0 and after["model.predicts"] == 0.85, "its own build tested it"

    def test_evidence_changed_in_sql_counts_for_nothing(self, fresh: ConsoleWorld) -> None:
        assert scores(standing_of(fresh.installation, SYSTEM))["data.leakage"] == 0.85
        with writing(fresh.installation.control) as connection:
            connection.exec_driver_sql("UPDATE evidence SET producer = 'me' WHERE \"check\" = 'evaluation.leakage'")
        found = standing_of(fresh.installation, SYSTEM)
        assert scores(found)["data.leakage"] == 0
        assert [each.why for each in found.lapsed if each.criterion == "data.leakage"] == [
            "it was changed after it was recorded"
        ]

    def test_what_expires_soon_is_warned_of_once_and_a_day_is_kept(self, fresh: ConsoleWorld) -> None:
        installation, now = fresh.installation, now_us()
        scan = Evidence(
            id=uuid7(),
            check="environment.scanned",
            subject=fresh.release.digest,
            grade="E3",
            method="TEST",
            producer="tests",
            collected=now,
            expires=now + 7 * DAY,
            passed=True,
            figures={"missing": []},
        )
        with writing(installation.control) as connection:
            record(connection, scan)
        first = keep_standing(installation, standing_of(installation, SYSTEM, at=now))
        assert {each.criterion for each in first} == {
            "infrastructure.vulnerabilities",
            "governance.dependency_licences",
        }
        assert keep_standing(installation, standing_of(installation, SYSTEM, at=now + DAY)) == []
        told = events(fresh, EXPIRING)
        assert len(told) == 2 and all(each.system == SYSTEM and not each.private for each in told)
        assert told[0].facts["renew"] == "pilotage release scan" and told[0].facts["days"] == 7
        again = keep_standing(installation, standing_of(installation, SYSTEM, at=now + 10 * DAY))
        assert again == [], "it fades, which was said"
        with reading(installation.control) as connection:
            days = days_of(connection, SYSTEM)
        assert len(days) == 3 and days[0].at < days[2].at
        by_day = [{d["name"]: d["score"] for d in each.dimensions}["infrastructure"] for each in days]
        assert by_day[0] == by_day[1] > by_day[2]
        client = client_of(fresh, "auditor")
        page = client.get(f"/systems/{SYSTEM}/readiness").text
        assert "kept on 3 days" in page and page.count('class="course"') == 6
        assert "2 pieces of evidence expire soon" in page and "<code>pilotage release scan</code>" in page
        report = client.get(f"/systems/{SYSTEM}/readiness/report?day={days[2].day}").text
        assert report.count('class="chart course"') == 6, "how it moved until then is in the report too"
        past = client.get(f"/systems/{SYSTEM}/readiness?day={days[2].day}").text
        assert f"This is how it stood on <strong>{days[2].day}</strong>" in past and "fading" in past
        assert client.get(f"{API}/readiness?day={days[0].day}").json()["assessment"]["at"] == now
        assert client.get(f"{API}/readiness?day=1999-01-01").status_code == 404
        figures = client.get("/metrics").text
        assert f'pilotage_readiness_level{{dimension="team",system="{SYSTEM}"}} 1.0' in figures
        [left] = re.findall(r"pilotage_evidence_expires_seconds{criterion=\"infrastructure.vuln.*} (\S+)", figures)
        assert 6 * 86_400 < float(left) <= 7 * 86_400

    def test_the_active_steward_keeps_a_day_of_each_live_system_by_itself(self, fresh: ConsoleWorld) -> None:
        installation, stop = fresh.installation, threading.Event()
        house = threading.Thread(target=keep_house, args=(installation, fresh.steward, stop, 0.01), daemon=True)
        house.start()
        deadline = time.monotonic() + 30
        days: list[Any] = []
        while not days and time.monotonic() < deadline:
            time.sleep(0.05)
            with reading(installation.control) as connection:
                days = days_of(connection, SYSTEM)
        stop.set()
        house.join(20)
        assert [each.release for each in days] == [fresh.release.digest]
        assert "as it ran" in client_of(fresh, "auditor").get(f"/systems/{SYSTEM}").text

    def test_a_rollback_that_happened_counts_as_read_and_a_drill_for_more(self, fresh: ConsoleWorld) -> None:
        governed = fresh.governed
        assert scores(standing_of(fresh.installation, SYSTEM))["infrastructure.rollback"] == 0
        governed.promoted(0.3, system=SYSTEM)
        governed.rollout.rollback(governed.people["operator"], SYSTEM)
        assert scores(standing_of(fresh.installation, SYSTEM))["infrastructure.rollback"] == 0.5
        governed.evidence(fresh.release, "drill.rollback")
        assert scores(standing_of(fresh.installation, SYSTEM))["infrastructure.rollback"] == 0.85

    def test_a_system_without_a_release_stands_where_its_declaration_leaves_it(self, seen: ConsoleWorld) -> None:
        governed = seen.governed
        with writing(seen.installation.control) as connection:
            system = find_system(connection, SYSTEM)
            declare_system(connection, msgspec.structs.replace(system, id="bare"), by="me", at=governed.clock())
        found = standing_of(seen.installation, "bare")
        assert (found.release, found.assessment.stage, found.assessment.verdict) == ("", "pilot", 1)
        assert any("no release yet" in each for each in found.assessment.skipped)
        assert "No release is built yet." in client_of(seen, "auditor").get("/systems/bare/readiness").text

    def test_a_verified_record_counts_in_full_and_one_that_failed_for_nothing(self, seen: ConsoleWorld) -> None:
        assert scores(standing_of(seen.installation, SYSTEM))["governance.recorded"] == 0.5
        report = verify(seen.installation)
        assert report.ok
        keep_verification(seen.installation, report)
        assert scores(standing_of(seen.installation, SYSTEM))["governance.recorded"] == 1.0
        later = now_us() + 31 * DAY
        assert scores(standing_of(seen.installation, SYSTEM, at=later))["governance.recorded"] < 0.5
        keep_verification(seen.installation, replace(report, ok=False, fault_count=1))
        assert scores(standing_of(seen.installation, SYSTEM))["governance.recorded"] == 0

    def test_an_odd_request_is_told_what_is_wrong(self, seen: ConsoleWorld) -> None:
        client = client_of(seen, "auditor")
        assert client.get(f"{API}/readiness?ahead=soon").status_code == 422
        assert client.get("/api/v1/systems/none/readiness").status_code == 404
        assert client.get("/systems/none/interview", headers={"accept": "text/html"}).status_code == 404


ANSWER = {"answer:team.sponsor": "yes", "date:team.sponsor": "2026-01-05", "document:team.sponsor": "budget 7"}


OTHER = {"answer:business.success_metric": "yes", "document:business.success_metric": "plan 3"}


class TestInterview:
    def test_an_answer_counts_a_quarter_until_another_person_confirms_it(self, said: ConsoleWorld) -> None:
        owner, officer = client_of(said, "business_owner"), client_of(said, "risk_officer")
        fields = {**ANSWER, "date:team.sponsor": _today(), "fact:engineers": "2.5", "note:team.owners": "left alone"}
        page = owner.post(PAGE, data=fields, headers=SAME).text
        assert "It is stated, and on record" in page and "yours: another has to" in page
        assert scores(standing_of(said.installation, SYSTEM))["team.sponsor"] == 0.25
        assert facts_of(said.installation, SYSTEM).engineers == 2.5
        every = owner.get(f"{API}/interview").json()["statements"]
        [statement] = [each for each in every if each["open"] and each["question"] == "team.sponsor"]
        own = owner.post(f"{PAGE}/confirm", data={"evidence": statement["evidence"]}, headers=SAME)
        assert own.status_code == 409 and "nobody confirms their own statement" in own.text
        done = officer.post(f"{PAGE}/confirm", data={"evidence": statement["evidence"]}, headers=SAME).text
        assert (
            "It is confirmed, and on record" in done and statement["evidence"] not in done.partition("Who said what")[0]
        )
        found = standing_of(said.installation, SYSTEM)
        assert scores(found)["team.sponsor"] == 1.0
        told = next(r for d in found.assessment.dimensions for r in d.ratings if r.criterion.id == "team.sponsor")
        assert "business owner says yes" in told.evidence[0].summary and told.evidence[0].grade == "E1"
        assert "confirmed by risk officer" in told.evidence[0].summary and "budget 7" in told.evidence[0].summary
        twice = officer.post(f"{API}/interview/confirm", json={"evidence": [statement["evidence"]]})
        assert twice.status_code == 409
        stated, confirmed = events(said, "readiness.stated"), events(said, "readiness.confirmed")
        assert {"team.sponsor", "engineers"} <= {each.facts["question"] for each in stated}
        assert "team.sponsor" in {each.facts["question"] for each in confirmed}
        assert "budget 7" not in str([each.facts for each in [*stated, *confirmed]]), "free text is in no leaf"

    def test_faults_stand_beside_their_fields_and_nothing_is_kept(self, said: ConsoleWorld) -> None:
        owner = client_of(said, "business_owner")
        before = owner.get(f"{API}/interview").json()["statements"]
        wrong = {
            **ANSWER,
            "date:team.sponsor": "2999-01-01",
            "answer:team.owners": "perhaps",
            "fact:engineers": "-1",
            "fact:mode": "sometimes",
            "fact:inputs": "a form",
        }
        answer = owner.post(PAGE, data=wrong, headers=SAME)
        assert answer.status_code == 422 and "4 fields need mending" in answer.text
        for field in ("date-team.sponsor", "answer-team.owners", "fact-engineers", "fact-mode"):
            assert f'id="fault-{field}"' in answer.text and f'aria-describedby="fault-{field}"' in answer.text
        assert 'value="a form"' in answer.text and 'value="budget 7"' in answer.text, "what was typed is there"
        assert owner.get(f"{API}/interview").json()["statements"] == before
        told = owner.post(
            f"{API}/interview", json={"answers": {"nope": {"answer": "yes"}}, "facts": {"deadline_weeks": 0}}
        )
        assert told.status_code == 422
        assert {each["path"] for each in told.json()["error"]["faults"]} == {"answers.nope", "facts.deadline_weeks"}

    def test_a_draft_is_ones_own_and_counts_for_nothing(self, said: ConsoleWorld) -> None:
        owner, officer = client_of(said, "business_owner"), client_of(said, "risk_officer")
        page = owner.post(f"{PAGE}/draft", data={**OTHER, "fact:engineers": "many"}, headers=SAME).text
        assert "The form shows your draft" in page and 'value="many"' in page
        assert 'value="plan 3"' not in officer.get(PAGE).text
        assert scores(standing_of(said.installation, SYSTEM))["business.success_metric"] == 0
        stated = owner.post(PAGE, data=OTHER, headers=SAME).text
        assert "The form shows your draft" not in stated, "it is over once stated"
        owner.post(f"{PAGE}/draft", data={"fact:inputs": "x"}, headers=SAME)
        assert "Your draft is deleted" in owner.post(f"{PAGE}/draft", data={"drop": "yes"}, headers=SAME).text

    def test_the_same_again_states_nothing_and_a_newer_no_undoes_a_confirmed_yes(self, said: ConsoleWorld) -> None:
        owner, officer = client_of(said, "business_owner"), client_of(said, "risk_officer")
        yes = {"answers": {"business.error_costs": {"answer": "yes", "date": _today(), "document": "budget 7"}}}
        [made] = owner.post(f"{API}/interview", json=yes).json()["statements"]
        assert owner.post(f"{API}/interview", json=yes).json()["statements"] == []
        officer.post(f"{API}/interview/confirm", json={"evidence": [made["evidence"]]})
        assert scores(standing_of(said.installation, SYSTEM))["business.error_costs"] == 1.0
        again = {"answers": {"business.error_costs": {"answer": "yes", "document": "budget 8"}}}
        assert owner.post(f"{API}/interview", json=again).status_code == 201
        assert scores(standing_of(said.installation, SYSTEM))["business.error_costs"] == 1.0, (
            "the confirmed one still stands"
        )
        officer.post(f"{API}/interview", json={"answers": {"business.error_costs": {"answer": "no"}}})
        assert scores(standing_of(said.installation, SYSTEM))["business.error_costs"] == 0
        [newest, *_] = owner.get(f"{API}/interview").json()["statements"]
        assert (newest["answer"], newest["by_name"]) == ("no", "risk officer")
        bare = owner.post(f"{API}/interview/confirm", json={"evidence": [newest["evidence"]]})
        assert bare.status_code == 422 and "no document" in bare.json()["error"]["message"]

    def test_what_is_measured_wins_and_is_said_beside_the_answer(self, said: ConsoleWorld) -> None:
        now = now_us()
        failed = Evidence(
            id=uuid7(),
            check="evaluation.fairness",
            subject=said.release.digest,
            grade="E3",
            method="TEST",
            producer="tests",
            collected=now,
            expires=0,
            passed=False,
        )
        with writing(said.installation.control) as connection:
            record(connection, failed)
        owner = client_of(said, "business_owner")
        owner.post(f"{API}/interview", json={"answers": {"governance.bias": {"answer": "yes"}}})
        assert scores(standing_of(said.installation, SYSTEM))["governance.bias"] == 0
        page = owner.get(PAGE).text
        assert "Measured to hold less, which counts: evaluation.fairness failed" in page
        assert "Said, but measured otherwise" in owner.get(f"/systems/{SYSTEM}/readiness").text

    def test_who_may_not_and_machines_cannot(self, said: ConsoleWorld) -> None:
        reader = client_of(said, "auditor")
        page = reader.get(PAGE).text
        assert "You may read what was stated" in page and "<textarea" not in page and 'action="' + PAGE not in page
        assert reader.post(PAGE, data=ANSWER, headers=SAME).status_code == 403
        machine = said.governed.person("robot", "ml_engineer", kind="service")
        said.governed.people["robot"] = machine
        robot = client_of(said, "robot")
        answer = robot.post(f"{API}/interview", json={"answers": {"team.sponsor": {"answer": "yes"}}})
        assert answer.status_code == 403 and "service account" in answer.json()["error"]["message"]

    def test_a_form_from_elsewhere_is_refused(self, said: ConsoleWorld) -> None:
        client = TestClient(create_app(said.installation), raise_server_exceptions=False)
        client.post("/sign-in", data={"token": said.token("business_owner")}, headers=SAME)
        foreign: dict[str, Any] = {"sec-fetch-site": "cross-site"}
        assert client.post(PAGE, data=ANSWER, headers=foreign).status_code == 403


def _today() -> str:

    return day(now_us())
