import os
import re
import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from pilotage.gateway.app import Gateway
from pilotage.gateway.exposition import AGES, BUCKETS, Reading, SourceState
from pilotage.gateway.metrics import Metrics
from pilotage.gateway.plan import Answering
from pilotage.gateway.shared_metrics import FRESH_S, SharedMetrics
from pilotage.gateway.upstream import Upstream
from pilotage.systems.serving import Breaker


def samples(metrics):
    families = text_string_to_metric_families(metrics.text().decode())
    return {(each.name, *sorted(each.labels.items())): each.value for family in families for each in family.samples}


def test_counts_come_out_as_prometheus_text():
    metrics = Metrics("node/0", lambda: [Reading("plan_version", "gauge", "Version", 7)])
    metrics.count("credit", "answered", 200, 0.0008)
    metrics.count("credit", "answered", 200, 0.003)
    metrics.count("credit", "rejected", 422, 9.0)
    metrics.denials = {"forbidden": 3}
    found = samples(metrics)

    def value(name, **labels):
        return found[(name, *sorted((labels | {"worker": "node/0"}).items()))]

    assert value("pilotage_gateway_requests_total", system="credit", outcome="answered", status="200") == 2
    assert value("pilotage_gateway_requests_total", system="credit", outcome="rejected", status="422") == 1
    assert value("pilotage_gateway_request_duration_seconds_bucket", system="credit", le="0.001") == 1
    assert value("pilotage_gateway_request_duration_seconds_bucket", system="credit", le="0.004") == 2
    assert value("pilotage_gateway_request_duration_seconds_bucket", system="credit", le="5.0") == 2
    assert value("pilotage_gateway_request_duration_seconds_count", system="credit") == 3
    assert value("pilotage_gateway_denials_total", code="forbidden") == 3
    assert value("pilotage_gateway_plan_version") == 7


def test_the_phases_of_a_request_are_counted_apart():
    metrics = Metrics("n/0", list)
    for _ in range(2):
        metrics.phases(0.00025, 0.003, 0.375)
    found = samples(metrics)
    for phase, bound, total in (("contract", "0.0005", 0.0005), ("answer", "0.004", 0.006), ("record", "0.5", 0.75)):
        labels = (("phase", phase), ("worker", "n/0"))
        assert found["pilotage_gateway_phase_duration_seconds_bucket", ("le", bound), *labels] == 2
        assert found["pilotage_gateway_phase_duration_seconds_sum", *labels] == total
    assert (
        found["pilotage_gateway_phase_duration_seconds_bucket", ("le", "0.002"), ("phase", "answer"), ("worker", "n/0")]
        == 0
    )


def test_how_upstreams_stand_comes_out_with_their_names():
    upstream = Upstream("process@1", Answering(breaker=Breaker(calls=1)))
    metrics = Metrics("node/0", list, lambda: [upstream.now])
    labels = (("upstream", "process@1"), ("worker", "node/0"))
    assert samples(metrics)["pilotage_gateway_breaker_state", *labels] == 0
    upstream.breaker.failed()
    upstream.bulkhead.in_use = 3
    upstream.calls["timeout"] = 2
    found = samples(metrics)
    assert found["pilotage_gateway_breaker_state", *labels] == 2
    assert found["pilotage_gateway_bulkhead_calls_in_use", *labels] == 3
    assert found["pilotage_gateway_upstream_calls_total", ("status", "timeout"), *labels] == 2


def used(number=0):
    """A gateway's metrics with a sample of each kind."""
    gateway = Gateway(node="n", worker=number)
    gateway.metrics.count("credit", "answered", 200, 0.001)
    gateway.metrics.phases(0.001, 0.001, 0.001)
    gateway.denials.count("key", "forbidden", 0)
    upstream = Upstream("process@1", Answering())
    upstream.calls["ok"] = 1
    gateway.metrics._upstreams = lambda: [upstream.now]
    times, ages = [0] * (len(BUCKETS) + 1), [0] * (len(AGES) + 1)
    gateway.metrics.sources = lambda: [SourceState("sql:bureau", {"ok": 1}, (times, 0.1), (ages, 5.0))]
    return gateway.metrics


PAGE = (Path(__file__).parents[3] / "docs/reference/metrics.md").read_text()


def test_names_keep_to_the_conventions_and_each_has_its_line_in_the_docs():
    families = list(text_string_to_metric_families(used().text().decode()))
    assert len(families) > 10
    for family in families:
        name = family.name + ("_total" if family.type == "counter" else "")
        assert re.fullmatch(r"pilotage_gateway_[a-z]+(_[a-z]+)*", name)
        assert family.samples and family.documentation and "worker" in family.samples[0].labels
        assert (family.type == "histogram") == name.endswith("_seconds"), "base units, in the name"
        assert f"| `{name}` | {family.type} |" in PAGE, name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        line = next(line for line in PAGE.splitlines() if f"`{name}`" in line)
        assert set(re.findall(r"`([a-z]+)`", line.split("|")[3])) == labels
    told = re.findall(r"^\| `(pilotage_gateway_\w+)`", PAGE, re.MULTILINE)
    assert len(told) == len(families), "no line for what is not there"


def test_a_scrape_tells_of_all_workers_that_run_and_of_no_other(tmp_path):
    shared = [SharedMetrics(tmp_path, number) for number in range(3)]
    metrics = [used(number) for number in range(3)]
    for each, own in zip(shared, metrics, strict=True):
        own.others = each.others
        each.write(own.snapshot())
    metrics[0].count("credit", "answered", 200, 0.001)
    found = samples(metrics[0])
    names = [dict(key[1:])["worker"] for key in found if key[0] == "pilotage_gateway_ready"]
    assert sorted(names) == ["n/0", "n/1", "n/2"]
    labels = (("outcome", "answered"), ("status", "200"), ("system", "credit"))
    assert found["pilotage_gateway_requests_total", *labels, ("worker", "n/0")] == 2, "its own as they are now"
    assert found["pilotage_gateway_requests_total", *labels, ("worker", "n/1")] == 1
    shared[1].forget()
    os.utime(tmp_path / "metrics-2.json", (time.time() - FRESH_S - 1,) * 2)
    (tmp_path / "metrics-7.json").write_bytes(b"{}")
    assert {dict(key[1:])["worker"] for key in samples(metrics[0])} == {"n/0"}


def test_a_folder_that_cannot_be_written_is_no_trouble_to_a_worker(tmp_path, caplog):
    away = SharedMetrics(tmp_path / "away", 0)
    away.write(used().snapshot())
    away.write(used().snapshot())
    assert len(caplog.records) == 1 and list(away.others()) == []
