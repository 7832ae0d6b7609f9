"""The gateway does what its OpenAPI document says, also to all that schemathesis makes of it."""

import hashlib
import re
from collections import Counter
from contextlib import suppress

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pilotage.gateway.plan import Key

from .conftest import OTHER, ROW, SYSTEM

ALL = "pk_all_" + "e" * 43
INTERNALS = re.compile(r"Traceback|site-packages|\.py\b|sqlalchemy|sqlite3?\.|<class '|object at 0x", re.I)
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def worker(shared):
    keys = [
        *shared.keys(),
        Key(id="all", sha256=hashlib.sha256(ALL.encode()).hexdigest(), scopes=["decide:*", "outcome:*"]),
    ]
    shared.workers[0].wait_for(shared.publish(max_rows=50, keys=tuple(keys)))
    return shared.workers[0]


def document(worker, key=ALL):
    with worker.client(key) as client:
        return client.get("/openapi.json")


def test_it_is_valid_and_its_example_is_answered(worker):
    found = document(worker).json()
    OpenAPIV31SpecValidator(found).validate()
    path = f"/v1/systems/{SYSTEM}/decide"
    example = found["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
    with worker.client() as client:
        assert client.post(path, json=example).status_code == 200
        assert client.post(path, json=client.get(path).json()["example"]).status_code == 200
    row = found["components"]["schemas"][f"Row.{SYSTEM}"]
    assert set(row["required"]) == set(ROW)
    assert row["properties"]["age"] == {"type": "integer", "minimum": 18, "maximum": 120}


def test_a_key_sees_only_the_systems_that_it_may_ask(worker):
    found = document(worker, OTHER)
    assert found.status_code == 200
    assert not [path for path in found.json()["paths"] if f"/{SYSTEM}/" in path or path.endswith(SYSTEM)]
    assert f"Row.{SYSTEM}" not in found.text
    assert "/v1/outcomes" in found.json()["paths"]
    assert httpx.get(f"{worker.url}/openapi.json", verify=False).status_code == 401


def test_open_addresses_take_no_other_method(worker):
    for path in ("/live", "/ready", "/metrics", "/v2/health/live"):
        reply = httpx.post(worker.url + path, verify=False)
        assert (reply.status_code, reply.headers["allow"]) == (405, "GET")
        assert httpx.head(worker.url + path, verify=False).status_code == 200


def answered_as_told(worker, examples):
    """How many requests of each kind that schemathesis makes were answered as the document says: all of them."""
    schema = schemathesis.openapi.from_dict(document(worker).json())
    schema.config.update(base_url=worker.url)
    calls = Counter()
    with requests.Session() as session:
        for result in schema.get_all_operations():
            for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
                # Nothing can be wrong about an operation without input.
                with suppress(Unsatisfiable):
                    asked_of(result.ok(), mode, examples, calls, session)
    return min(calls.values())


def asked_of(operation, mode, examples, calls, session):
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    def run(case):
        calls[mode] += 1
        reply = case.call_and_validate(headers={"authorization": f"Bearer {ALL}"}, checks=CHECKS, session=session)
        if reply.status_code >= 400:
            assert INTERNALS.search(reply.content.decode(errors="replace")) is None

    run()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_some_of_what_schemathesis_makes_of_it_is_answered_as_the_document_says(worker):
    assert answered_as_told(worker, 2) >= 10


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.timeout(170)
def test_what_schemathesis_makes_of_it_is_answered_as_the_document_says(worker):
    assert answered_as_told(worker, 40) > 200
