"""Over HTTP, by a real worker: what a caller is told when not the live release answers, and what is on record of it."""

from __future__ import annotations

import msgspec
import pytest

from pilotage.contracts.model import Column
from pilotage.gateway.plan import Target
from pilotage.runtimes.open import open_runtime
from pilotage.testing.releases import COLUMNS, make_release

from .conftest import ROW, SYSTEM, make_stand

RULES = b'version: "1"\nrules:\n  - {name: late, when: late_payments > 6, answer: refer}\n'


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    made = make_stand(tmp_path_factory.mktemp("fallback") / "home", releases=2)
    made.releases.append(make_release(made.home, system=SYSTEM, shift=3.0, rules=RULES))
    made.publish()
    made.start()
    yield made
    made.stop()


def previous(release):
    return Target(kind="previous", release=release.digest, contract=release.contract.digest(), policy=release.policy)


def damage(release):
    model = release.folder / "model.onnx"
    release.folder.chmod(0o700)
    model.chmod(0o600)
    model.write_bytes(b"")


def test_a_fallback_is_marked_in_body_and_header_and_recorded_with_its_reason(stand):
    (worker,), (first, second, _) = stand.workers, stand.releases
    damage(second)
    worker.wait_for(stand.publish(second, fallback=[previous(first)]))
    reply = worker.ask(ROW)
    body = reply.json()
    assert (reply.status_code, body["outcome"], body["degraded"]) == (200, "fallback", True)
    assert (body["answered_by"], body["because"], body["release"]) == ("previous", "release_unavailable", first.digest)
    assert (reply.headers["pilotage-answered-by"], reply.headers["pilotage-release"]) == ("previous", first.digest)
    plain, _, payload, _ = stand.decisions()[body["id"]]
    assert (plain.outcome, plain.release, plain.arm, plain.kind) == ("fallback", first.digest, "previous", "model")
    assert [(each.verdict, each.action) for each in plain.findings] == [("release_unavailable", "fallback")]
    assert [each.status for each in plain.attempts] == ["ok"]
    assert payload.answer == body["answer"] and payload.score == body["answer"]["score"]
    reply = worker.ask([ROW, {**ROW, "age": 7}])
    assert [each["outcome"] for each in reply.json()["decisions"]] == ["fallback", "rejected"]
    assert (reply.headers["pilotage-answered-by"], reply.headers["pilotage-release"]) == ("previous", first.digest)
    with worker.client() as client:
        assert 'outcome="fallback",status="200"' in client.get("/metrics").text


def test_a_stopped_system_answers_by_rules_where_that_was_declared(stand):
    (worker,), third = stand.workers, stand.releases[2]
    target = Target(kind="rules", release=third.digest, contract=third.contract.digest(), policy="sha256:abc")
    facts = {"fallback": [target], "stopped": "a complaint", "when_stopped": "fallback"}
    worker.wait_for(stand.publish(third, **facts))
    reply = worker.ask({**ROW, "late_payments": 9})
    assert (reply.status_code, reply.headers["pilotage-answered-by"]) == (200, "rules")
    assert reply.json()["answer"] == {"score": None, "label": "refer", "rule": "late"}
    plain, _, payload, _ = stand.decisions()[reply.json()["id"]]
    assert (plain.kind, plain.policy, payload.score) == ("rules", "sha256:abc", None)
    refused = worker.ask(ROW)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "system_stopped")
    assert [each.status for each in stand.decisions()[refused.json()["id"]][0].attempts] == ["no_rule"]


def test_headers_name_a_release_and_an_arm_only_where_all_rows_share_them(stand):
    (worker,), (first, _, third) = stand.workers, stand.releases
    target = Target(kind="rules", release=third.digest, contract=third.contract.digest(), policy="sha256:abc")
    worker.wait_for(stand.publish(first, fallback=[target], stopped="a complaint", when_stopped="fallback"))
    late, fine = {**ROW, "late_payments": 9}, ROW
    mixed = worker.ask([late, fine])
    rows = mixed.json()["decisions"]
    assert [(each["outcome"], each["answered_by"]) for each in rows] == [("fallback", "rules"), ("refused", "champion")]
    assert [each["release"] for each in rows] == [third.digest, first.digest]
    assert not {"pilotage-answered-by", "pilotage-release"} & set(mixed.headers), "no one release answered all rows"
    alike = worker.ask([late, late])
    assert (alike.headers["pilotage-answered-by"], alike.headers["pilotage-release"]) == ("rules", third.digest)


@pytest.fixture
def unsure(stand):
    """The worker under a plan by which no answer is sure enough."""
    (worker,) = stand.workers
    worker.wait_for(stand.publish(stand.releases[2], floor=1.0))
    return worker


def test_an_improbable_answer_waits_for_a_person(stand, unsure):
    worker = unsure
    reply = worker.ask(ROW)
    assert (reply.status_code, reply.json()["outcome"], "answer" in reply.json()) == (202, "review", False)
    plain, _, payload, _ = stand.decisions()[reply.json()["id"]]
    assert (plain.outcome, payload.answer) == ("review", {}) and 0 < payload.score < 1


@pytest.mark.parametrize("header", ["", "soon", "-1", "0", "1e3", "nan", "1h", "9" * 50])
def test_a_time_that_is_none_is_refused(unsure, header):
    with unsure.client() as client:
        reply = client.post(unsure.decide, json={"inputs": ROW}, headers={"x-request-timeout": header})
    if not header:
        assert reply.status_code == 202
        return
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_timeout")


@pytest.mark.parametrize("header", ["2", "0.5", "2.5s", "250ms", "999999"])
def test_a_time_that_is_one_is_taken(unsure, header):
    with unsure.client() as client:
        reply = client.post(unsure.decide, json={"inputs": ROW}, headers={"x-request-timeout": header})
    assert reply.status_code == 202


def test_no_time_left_is_a_refusal_on_record(stand):
    worker = stand.workers[0]
    worker.wait_for(stand.publish(stand.releases[2]))
    with worker.client() as client:
        reply = client.post(worker.decide, json={"inputs": ROW}, headers={"x-request-timeout": "0.001ms"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "deadline")
    assert stand.decisions()[reply.json()["id"]][0].outcome == "refused"


POLICY = {"wrong_type": "repair", "missing": "repair", "below_minimum": "review", "above_maximum": "fallback"}


def mended(column: Column) -> Column:
    return msgspec.structs.replace(column, on_fault=POLICY, impute=1_000.0) if column.name == "income" else column


def test_a_fault_is_repaired_reviewed_or_left_to_the_rules_as_the_contract_says(stand):
    worker = stand.workers[0]
    made = make_release(stand.home, system=SYSTEM, shift=4.0, columns=[mended(c) for c in COLUMNS], rules=RULES)
    rules = Target(kind="rules", release=made.digest, contract=made.contract.digest(), policy="sha256:abc")
    worker.wait_for(stand.publish(made, fallback=[rules]))

    repaired = worker.ask({**ROW, "income": "50000"})
    body = repaired.json()
    assert (repaired.status_code, body["outcome"]) == (200, "answered")
    assert body["repairs"] == [{"path": "inputs.income", "code": "wrong_type", "got": '"50000"', "used": 50_000.0}]
    assert body["answer"] == worker.ask(ROW).json()["answer"]
    plain, bytes_, payload, _ = stand.decisions()[body["id"]]
    assert [(f.path, f.verdict, f.action) for f in plain.findings] == [("inputs.income", "wrong_type", "repair")]
    assert (
        payload.repairs == body["repairs"]
        and payload.features[0] == 50_000.0
        and b'"income":"50000"' in payload.request
    )
    assert [each.status for each in plain.attempts] == ["ok"] and b"50000" not in bytes_
    again = open_runtime(made.folder, made.serving).score(payload.features)
    assert again == payload.score, "what is replayed are the features as used"

    review = worker.ask({**ROW, "income": -1})
    assert (review.status_code, review.json()["outcome"], review.json()["because"]) == (202, "review", "contract")
    assert [fault["code"] for fault in review.json()["faults"]] == ["below_minimum"]
    plain, _, payload, _ = stand.decisions()[review.json()["id"]]
    assert (plain.outcome, [f.action for f in plain.findings], len(payload.faults)) == ("review", ["review"], 1)

    by_rules = worker.ask({**ROW, "income": 10**9, "late_payments": 9})
    assert (by_rules.status_code, by_rules.json()["answer"]["rule"]) == (200, "late")
    plain, _, payload, _ = stand.decisions()[by_rules.json()["id"]]
    assert (plain.outcome, plain.kind, payload.features[:2]) == ("fallback", "rules", [None, 9.0])

    rejected = worker.ask({**ROW, "income": 10**9})
    assert (rejected.status_code, rejected.json()["error"]["faults"][0]["code"]) == (422, "above_maximum")
    many = worker.ask([ROW, {**ROW, "income": "1"}, {**ROW, "income": -1}, {**ROW, "age": 7}]).json()["decisions"]
    assert [each["outcome"] for each in many] == ["answered", "answered", "review", "rejected"]
