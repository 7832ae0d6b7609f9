"""What workers have counted as Prometheus text, by its conventions: base units in names, `_total`, bounded labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["AGES", "BUCKETS", "PHASES", "Reading", "Snapshot", "SourceState", "Timed", "UpstreamState", "text_of"]

BUCKETS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the latency histograms, in seconds."""

AGES = (1.0, 10.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0, 2_592_000.0)
"""Upper bounds of the histogram of ages of values that sources bring, in seconds."""

PHASES = ("contract", "answer", "record")
"""The parts of a decision that are timed; `record` is all from the answer until it leaves."""


class UpstreamState(NamedTuple):
    """One upstream at a moment: as attempts name it, its breaker (0 closed, 1 half open, 2 open), calls by status."""

    target: str
    breaker: int
    in_use: int
    waiting: int
    calls: Mapping[str, int]


class Reading(NamedTuple):
    """One more value of a worker: its name without the prefix, and without `_total` where it is a counter."""

    name: str
    kind: Literal["gauge", "counter"]
    words: str
    value: float


class Timed(NamedTuple):
    """A histogram: how many in each of `BUCKETS` and above, and the sum in seconds."""

    counts: list[int]
    total: float


class SourceState(NamedTuple):
    """One feature source at a moment: values by what became of them; look-ups by seconds and values by age.

    A histogram is (counts by bucket, sum).
    """

    source: str
    results: Mapping[str, int]
    seconds: tuple[list[int], float]
    ages: tuple[list[int], float]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker has counted until a moment. `requests` are (system, outcome, status, count)."""

    worker: str
    requests: list[tuple[str, str, int, int]]
    denials: dict[str, int]
    latency: dict[str, Timed]
    phases: dict[str, Timed]
    readings: list[Reading]
    upstreams: list[UpstreamState]
    sources: list[SourceState] = []


def text_of(snapshots: Sequence[Snapshot], sampled: int) -> bytes:
    """The text of workers; every sample is labelled with its worker. One in `sampled` requests has its phases timed."""
    registry = CollectorRegistry()
    registry.register(_Scrape(list(_families(snapshots, sampled))))
    return generate_latest(registry)


class _Scrape(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _families(snapshots: Sequence[Snapshot], sampled: int) -> Iterable[Metric]:
    requests = CounterMetricFamily(
        "pilotage_gateway_requests", "Requests, by how they ended", labels=["worker", "system", "outcome", "status"]
    )
    latency = HistogramMetricFamily(
        "pilotage_gateway_request_duration_seconds", "Time of a request in the gateway", labels=["worker", "system"]
    )
    phases = HistogramMetricFamily(
        "pilotage_gateway_phase_duration_seconds",
        f"Time of the phases of one in {sampled} usual requests: those of one row that arrived whole",
        labels=["worker", "phase"],
    )
    denials = CounterMetricFamily(
        "pilotage_gateway_denials", "Requests turned away before the contract, by code", labels=["worker", "code"]
    )
    for each in snapshots:
        for system, outcome, status, count in each.requests:
            requests.add_metric([each.worker, system, outcome, str(status)], count)
        for system, timed in each.latency.items():
            latency.add_metric([each.worker, system], _cumulative(timed.counts), timed.total)
        for phase, timed in each.phases.items():
            phases.add_metric([each.worker, phase], _cumulative(timed.counts), timed.total)
        for code, count in each.denials.items():
            denials.add_metric([each.worker, code], count)
    yield from (requests, latency, phases, denials)
    yield from _readings(snapshots)
    yield from _of_upstreams(snapshots)
    yield from _of_sources(snapshots)


def _readings(snapshots: Sequence[Snapshot]) -> Iterable[Metric]:
    families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for each in snapshots:
        for reading in each.readings:
            if reading.name not in families:
                kind = CounterMetricFamily if reading.kind == "counter" else GaugeMetricFamily
                families[reading.name] = kind(f"pilotage_gateway_{reading.name}", reading.words, labels=["worker"])
            families[reading.name].add_metric([each.worker], reading.value)
    return families.values()


def _of_upstreams(snapshots: Sequence[Snapshot]) -> Iterable[Metric]:
    states = [(each.worker, state) for each in snapshots for state in each.upstreams]
    for name, words, value in (
        ("breaker_state", "Breaker of an upstream: 0 closed, 1 half open, 2 open", [s.breaker for _, s in states]),
        ("bulkhead_calls_in_use", "Calls that an upstream works on now", [s.in_use for _, s in states]),
        ("bulkhead_calls_waiting", "Calls that wait for an upstream", [s.waiting for _, s in states]),
    ):
        gauge = GaugeMetricFamily(f"pilotage_gateway_{name}", words, labels=["worker", "upstream"])
        for (worker, state), number in zip(states, value, strict=True):
            gauge.add_metric([worker, state.target], number)
        yield gauge
    calls = CounterMetricFamily(
        "pilotage_gateway_upstream_calls", "Attempts at an upstream", labels=["worker", "upstream", "status"]
    )
    for worker, state in states:
        for status, count in state.calls.items():
            calls.add_metric([worker, state.target, status], count)
    yield calls


def _of_sources(snapshots: Sequence[Snapshot]) -> Iterable[Metric]:
    values = CounterMetricFamily(
        "pilotage_gateway_enrichment_values",
        "Values that feature sources bring, by what became of them: ok, cached, or the code of a fault",
        labels=["worker", "source", "result"],
    )
    seconds = HistogramMetricFamily(
        "pilotage_gateway_enrichment_duration_seconds",
        "Time of a look-up in a feature source",
        labels=["worker", "source"],
    )
    ages = HistogramMetricFamily(
        "pilotage_gateway_enrichment_age_seconds",
        "Age of what a feature source says of an entity when it is used",
        labels=["worker", "source"],
    )
    states = [(each.worker, state) for each in snapshots for state in each.sources]
    for worker, state in states:
        for result, count in state.results.items():
            values.add_metric([worker, state.source, result], count)
        seconds.add_metric([worker, state.source], _cumulative(state.seconds[0]), state.seconds[1])
        ages.add_metric([worker, state.source], _cumulative(state.ages[0], AGES), state.ages[1])
    if states:
        yield from (values, seconds, ages)


def _cumulative(counts: list[int], bounds: Sequence[float] = BUCKETS) -> list[tuple[str, float]]:
    total, cumulative = 0, []
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        total += count
        cumulative.append((bound, float(total)))
    return cumulative
