"""Traces at a collector: a span for every decision, in the caller's trace, with its phases, without its payload."""

import http.server
import threading
import time

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from .conftest import ROW, SYSTEM

TRACE = "0af7651916cd43dd8448eb211c80319c"


class Collector:
    """An OTLP collector in a thread; `spans` are those that arrived."""

    def __init__(self):
        self.spans, self.resources, self.raw = [], [], b""
        collector = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.raw += body
                for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                    collector.resources.append(_facts(each.resource))
                    for scope in each.scope_spans:
                        collector.spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                """Quiet."""

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def _facts(each):
    return {fact.key: fact.value.string_value for fact in each.attributes}


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.close()


def test_every_decision_has_its_span_in_the_callers_trace_with_its_phases(stand, collector):
    stand.publish()
    worker = stand.start(otlp=collector.url)
    before = time.time_ns()
    with worker.client() as client:
        traced = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", "tracestate": "vendor=" + "x" * 600}
        one = client.post(worker.decide, json={"inputs": ROW}, headers=traced).json()
        many = client.post(worker.decide, json={"inputs": [ROW, ROW | {"age": 7}]}).json()
    assert worker.end() == 0

    roots = {_facts(span)["pilotage.decision"]: span for span in collector.spans if not span.parent_span_id}
    assert set(roots) == {one["id"], *(each["id"] for each in many["decisions"])} == set(stand.decisions())
    first = roots[one["id"]]
    assert first.trace_id.hex() == TRACE
    assert len({span.trace_id for span in roots.values()}) == 3
    assert _facts(first) == {
        "pilotage.decision": one["id"],
        "pilotage.request": one["request_id"],
        "pilotage.system": SYSTEM,
        "pilotage.release": one["release"],
        "pilotage.stage": "internal",
        "pilotage.arm": "champion",
        "pilotage.outcome": "answered",
    }
    assert sorted(_facts(span)["pilotage.outcome"] for span in roots.values()) == ["answered", "answered", "rejected"]
    phases = [span for span in collector.spans if span.parent_span_id == first.span_id]
    assert [span.name for span in phases] == ["contract", "answer", "record"]
    assert {span.trace_id for span in phases} == {first.trace_id}
    edges = [first.start_time_unix_nano, *(span.end_time_unix_nano for span in phases)]
    assert edges == sorted(edges) and edges[-1] == first.end_time_unix_nano
    assert [span.start_time_unix_nano for span in phases] == edges[:-1]
    assert before - 1_000_000 < edges[0] < edges[-1] < time.time_ns()
    assert collector.resources[0]["service.name"] == "pilotage-gateway"
    assert b"c-1" not in collector.raw and b"rent" not in collector.raw


def test_a_refusal_is_a_failed_span(stand, collector):
    stand.publish(stopped="tested")
    worker = stand.start(otlp=collector.url)
    assert worker.ask(ROW).status_code == 503
    assert worker.end() == 0
    [root] = [span for span in collector.spans if not span.parent_span_id]
    assert (root.status.code, _facts(root)["error.type"]) == (2, "system_stopped")


def test_a_collector_that_is_away_costs_no_answer(stand):
    stand.publish()
    worker = stand.start(otlp="http://127.0.0.1:9/v1/traces")
    assert [worker.ask(ROW).status_code for _ in range(5)] == [200] * 5
    assert worker.end() == 0
    assert len(stand.decisions()) == 5


def test_the_phases_of_usual_requests_are_measured(shared):
    worker = shared.workers[0]
    with worker.client() as client:
        for _ in range(40):
            assert client.post(worker.decide, json={"inputs": ROW}).status_code == 200
        text = client.get("/metrics").text
    for phase in ("contract", "answer", "record"):
        (count,) = [
            float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith("pilotage_gateway_phase_duration_seconds_count") and f'phase="{phase}"' in line
        ]
        assert count in (2.0, 3.0)
