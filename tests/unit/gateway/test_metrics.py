from prometheus_client.parser import text_string_to_metric_families

from pilotage.gateway.metrics import Metrics
from pilotage.gateway.plan import Answering
from pilotage.gateway.upstream import Upstream
from pilotage.systems.serving import Breaker


def samples(metrics):
    families = text_string_to_metric_families(metrics.text().decode())
    return {(each.name, *sorted(each.labels.items())): each.value for family in families for each in family.samples}


def test_counts_come_out_as_prometheus_text():
    metrics = Metrics("node/0", lambda: {"plan_version": ("Version", 7)})
    metrics.count("credit", "answered", 200, 0.0008)
    metrics.count("credit", "answered", 200, 0.003)
    metrics.count("credit", "rejected", 422, 9.0)
    metrics.denials = {"forbidden": 3}
    found = samples(metrics)

    def value(name, **labels):
        return found[(name, *sorted((labels | {"worker": "node/0"}).items()))]

    assert value("pilotage_gateway_requests_total", system="credit", outcome="answered", status="200") == 2
    assert value("pilotage_gateway_requests_total", system="credit", outcome="rejected", status="422") == 1
    assert value("pilotage_gateway_seconds_bucket", system="credit", le="0.001") == 1
    assert value("pilotage_gateway_seconds_bucket", system="credit", le="0.004") == 2
    assert value("pilotage_gateway_seconds_bucket", system="credit", le="5.0") == 2
    assert value("pilotage_gateway_seconds_count", system="credit") == 3
    assert value("pilotage_gateway_denials_total", code="forbidden") == 3
    assert value("pilotage_gateway_plan_version") == 7


def test_the_phases_of_a_request_are_counted_apart():
    metrics = Metrics("n/0", dict)
    for _ in range(2):
        metrics.phases(0.00025, 0.003, 0.375)
    found = samples(metrics)
    for phase, bound, total in (("contract", "0.0005", 0.0005), ("answer", "0.004", 0.006), ("record", "0.5", 0.75)):
        labels = (("phase", phase), ("worker", "n/0"))
        assert found["pilotage_gateway_phase_seconds_bucket", ("le", bound), *labels] == 2
        assert found["pilotage_gateway_phase_seconds_sum", *labels] == total
    assert found["pilotage_gateway_phase_seconds_bucket", ("le", "0.002"), ("phase", "answer"), ("worker", "n/0")] == 0


def test_how_upstreams_stand_comes_out_with_their_names():
    upstream = Upstream("process@1", Answering(breaker=Breaker(calls=1)))
    metrics = Metrics("node/0", dict, lambda: [upstream.now])
    labels = (("upstream", "process@1"), ("worker", "node/0"))
    assert samples(metrics)["pilotage_gateway_breaker_state", *labels] == 0
    upstream.breaker.failed()
    upstream.bulkhead.in_use = 3
    upstream.calls["timeout"] = 2
    found = samples(metrics)
    assert found["pilotage_gateway_breaker_state", *labels] == 2
    assert found["pilotage_gateway_bulkhead_in_use", *labels] == 3
    assert found["pilotage_gateway_upstream_calls_total", ("status", "timeout"), *labels] == 2
