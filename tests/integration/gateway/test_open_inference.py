"""The Open Inference Protocol as a client of it sees it: the same answers as `decide`, on the same record."""

import json

import httpx
import pytest
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from open_inference.openapi.errors import BadRequestError
from open_inference.openapi.types import InferenceRequest, RequestInput, RequestOutput, TensorData

from pilotage.contracts.model import Column
from pilotage.releases.model import folder_name
from pilotage.testing.releases import make_release

from .conftest import KEY, OTHER, ROW, SYSTEM

DATATYPES = {"customer": "BYTES", "income": "FP64", "late_payments": "INT64", "home": "BYTES", "age": "INT64"}


@pytest.fixture(scope="module")
def client(shared):
    http = httpx.Client(headers={"authorization": f"Bearer {KEY}"}, timeout=20, verify=False)
    with http:
        yield OpenInferenceClient(base_url=shared.workers[0].url, httpx_client=http)


@pytest.fixture
def release(shared):
    return shared.releases[0].digest


def tensors(*rows):
    return [
        RequestInput(
            name=name, shape=[len(rows)], datatype=kind, data=TensorData.parse_obj([row[name] for row in rows])
        )
        for name, kind in DATATYPES.items()
    ]


def raw(shared, path, body, key=KEY, **headers):
    with shared.workers[0].client(key) as http:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return http.post(path, content=content, headers=headers)


INFER = f"/v2/models/{SYSTEM}/infer"


def as_json(*rows, **more):
    inputs = [
        {"name": name, "shape": [len(rows), 1], "datatype": kind, "data": [[row[name]] for row in rows]}
        for name, kind in DATATYPES.items()
    ]
    return {"inputs": inputs, **more}


def test_server_and_model_tell_what_they_are(client, shared, release):
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness(SYSTEM)
    client.check_model_version_readiness(SYSTEM, release)
    server = client.read_server_metadata()
    assert (server.name, server.extensions) == ("pilotage", [])
    for model in (client.read_model_metadata(SYSTEM), client.read_model_version_metadata(SYSTEM, release)):
        assert (model.name, model.versions, model.platform) == (SYSTEM, [release], "pilotage_onnx")
        assert {each.name: each.datatype for each in model.inputs} == DATATYPES
        assert [each.name for each in model.outputs] == ["score", "label", "outcome", "decision_id", "receipt"]


def test_rows_are_answered_as_by_decide_and_each_is_a_decision_on_record(client, shared, release):
    rows = [ROW, ROW | {"age": 60, "home": "own", "customer": "c-2"}, ROW | {"income": None}]
    plain = [shared.workers[0].ask(row).json()["answer"] for row in rows]
    reply = client.model_infer(SYSTEM, request=InferenceRequest(id="mine", inputs=tensors(*rows[:2])))
    assert (reply.model_name, reply.model_version, reply.id) == (SYSTEM, release, "mine")
    out = {each.name: each for each in reply.outputs}
    assert {name: (each.datatype, each.shape) for name, each in out.items()} == {
        "score": ("FP64", [2]),
        "label": ("BYTES", [2]),
        "outcome": ("BYTES", [2]),
        "decision_id": ("BYTES", [2]),
        "receipt": ("BYTES", [2]),
    }
    assert out["score"].data.__root__ == [answer["score"] for answer in plain[:2]]
    assert out["label"].data.__root__ == [answer["label"] for answer in plain[:2]]
    assert out["outcome"].data.__root__ == ["answered"] * 2
    recorded, receipts = shared.decisions(), shared.receipts()
    for row, id_, receipt in zip(rows, out["decision_id"].data.__root__, out["receipt"].data.__root__, strict=False):
        leaf, _, payload, _ = recorded[id_]
        assert json.loads(payload.request) == row
        assert (payload.subject, leaf.outcome) == (row["customer"], "answered")
        assert receipt in receipts
    nullable = raw(shared, INFER, as_json(rows[2])).json()
    assert nullable["outputs"][0]["data"] == [plain[2]["score"]]


def test_only_the_outputs_asked_for_come_and_one_row_has_its_receipt_beside(client, shared, release):
    request = InferenceRequest(inputs=tensors(ROW), outputs=[RequestOutput(name="label"), RequestOutput(name="score")])
    reply = client.model_version_infer(SYSTEM, release.removeprefix("sha256:"), request=request)
    assert [each.name for each in reply.outputs] == ["label", "score"]
    straight = raw(shared, INFER, as_json(ROW))
    told = straight.json()["parameters"]
    assert straight.headers["pilotage-receipt"] == told["receipt"]
    assert told["receipt"].startswith(told["decision_id"])
    assert told["receipt"] in shared.receipts()
    assert straight.headers["pilotage-release"] == release
    assert straight.json()["id"] == told["request_id"]


def test_rows_without_an_answer_make_the_request_an_error_that_lists_all_decisions(shared):
    reply = raw(shared, INFER, as_json(ROW, ROW | {"age": 7, "home": "castle"}))
    told = reply.json()
    assert reply.status_code == 422
    assert told["error"].startswith("1 of 2 rows have no answer; row 1: home is a category")
    assert (told["code"], bool(told["mend"])) == ("contract", True)
    assert {fault["path"] for fault in told["faults"]} == {"inputs[1].age", "inputs[1].home"}
    assert [each["outcome"] for each in told["decisions"]] == ["answered", "rejected"]
    assert 0 < told["decisions"][0]["answer"]["score"] < 1
    assert {each["receipt"] for each in told["decisions"]} <= shared.receipts()


def test_a_number_that_is_none_is_named_by_the_contract(shared):
    body = json.dumps(as_json(ROW | {"income": float("nan")})).encode()
    assert b"NaN" in body
    told = raw(shared, INFER, body)
    assert (told.status_code, [fault["code"] for fault in told.json()["faults"]]) == (422, ["not_finite"])


def test_errors_have_the_form_of_the_protocol(client, shared):
    with pytest.raises(BadRequestError) as wrong:
        client.model_infer(SYSTEM, request=InferenceRequest(inputs=[*tensors(ROW)[1:], tensors(ROW, ROW)[0]]))
    assert "the tensors differ in rows" in wrong.value.body["error"]
    with pytest.raises(ApiError) as unknown:
        client.read_model_version_metadata(SYSTEM, "1")
    assert unknown.value.status_code == 404
    assert "this version of example is not live" in unknown.value.body["error"]
    for body, status, code in (
        (b"no json", 400, "malformed_body"),
        (b"[]", 400, "malformed_body"),
        (b'{"inputs": [{"name": "age"}]}', 400, "malformed_body"),
        (b'{"inputs": [], "more": 1}', 400, "malformed_body"),
        (b'{"inputs": []}', 400, "tensor_invalid"),
        (as_json(ROW, outputs=[{"name": "no"}]), 400, "output_unknown"),
        (as_json(*[ROW] * 51), 413, "too_many_rows"),
        (b" " * 200_001, 413, "body_too_large"),
    ):
        reply = raw(shared, INFER, body)
        assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
        assert isinstance(reply.json()["error"], str) and reply.json()["mend"]


def test_binary_tensors_are_refused_clearly_and_what_asks_for_them_in_the_answer_gets_json(shared):
    head = {"inputs": [{"name": "age", "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": 8}}]}
    content = json.dumps(head).encode()
    binary = {"inference-header-content-length": str(len(content))}
    reply = raw(shared, INFER, content + (40).to_bytes(8, "little"), **binary)
    assert (reply.status_code, reply.json()["code"]) == (400, "malformed_body")
    assert "binary" in reply.json()["error"] and "binary_data=False" in reply.json()["mend"]
    asked = as_json(ROW, outputs=[{"name": "score", "parameters": {"binary_data": True}}])
    assert len(raw(shared, INFER, asked).json()["outputs"][0]["data"]) == 1


def test_nobody_gets_in_without_a_key_and_its_scope(shared):
    paths = [INFER, f"/v2/models/{SYSTEM}", f"/v2/models/{SYSTEM}/ready", f"/v2/models/{SYSTEM}/versions/1/infer"]
    for path in paths:
        method = "POST" if path.endswith("infer") else "GET"
        for key, status, code in ((OTHER, 403, "forbidden"), ("pk_no", 401, "unauthenticated")):
            with shared.workers[0].client(key) as http:
                reply = http.request(method, path, json={} if method == "POST" else None)
            assert (reply.status_code, reply.json()["code"]) == (status, code)
            assert isinstance(reply.json()["error"], str)
    with shared.workers[0].client("pk_no") as http:
        assert http.get("/v2").status_code == 401
        assert http.get("/v2/health/live").status_code == http.get("/v2/health/ready").status_code == 200
    with shared.workers[0].client("*" + OTHER[1:]) as http:
        assert http.get("/v2/models/nosuch").status_code == 401
    with shared.workers[0].client() as http:
        wrong = http.get(INFER)
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
        assert http.get("/v2/nosuch").json()["code"] == "not_found"


def test_a_model_that_is_stopped_is_not_ready_and_its_refusal_is_on_record(stand):
    stand.publish(stopped="tested")
    worker = stand.start()
    with worker.client() as http:
        assert http.get(f"/v2/models/{SYSTEM}/ready").status_code == 503
        reply = http.post(INFER, json=as_json(ROW))
        assert (reply.status_code, reply.json()["code"]) == (503, "system_stopped")
        assert "the system is stopped" in reply.json()["error"]
    [(leaf, _, _, _)] = stand.decisions().values()
    assert leaf.outcome == "refused"


def test_a_release_that_cannot_be_loaded_refuses_without_reading_the_tensors(stand):
    release = stand.releases[0]
    for file in (stand.home.releases / folder_name(release.digest)).iterdir():
        file.write_bytes(b"broken") if file.name == "model.onnx" else None
    stand.publish()
    worker = stand.start()
    with worker.client() as http:
        assert http.get(f"/v2/models/{SYSTEM}").json()["inputs"] == []
        reply = http.post(INFER, json=as_json(ROW))
        assert (reply.status_code, reply.json()["code"]) == (503, "release_unavailable")
        assert isinstance(reply.json()["error"], str)


def test_one_tensor_of_all_features_is_answered_where_all_are_numbers(stand):
    columns = [Column(name=name, type="number", minimum=0, maximum=10) for name in ("c", "a", "b")]
    release = make_release(stand.home, system=SYSTEM, columns=columns)
    stand.publish(release)
    worker = stand.start()
    matrix = [[1.0, 2.0, 3.5], [9.0, 0.0, 4.0]]
    plain = [worker.ask(dict(zip("cab", row, strict=True))).json()["answer"]["score"] for row in matrix]
    with worker.client() as http:
        for data in (matrix, [value for row in matrix for value in row]):
            body = {"inputs": [{"name": "input-0", "shape": [2, 3], "datatype": "FP64", "data": data}]}
            reply = http.post(INFER, json=body)
            assert reply.status_code == 200, reply.text
            assert reply.json()["outputs"][0]["data"] == plain
