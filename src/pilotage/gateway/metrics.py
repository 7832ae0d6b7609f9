"""What a worker counts, in plain numbers on the hot path and Prometheus text when it is asked."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["AGES", "BUCKETS", "PHASES", "SAMPLED", "Metrics", "SourceState", "UpstreamState"]

BUCKETS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the latency histogram, in seconds."""

AGES = (1.0, 10.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0, 259_200.0, 604_800.0, 2_592_000.0)
"""Upper bounds of the histogram of ages of values that sources bring, in seconds."""

PHASES = ("contract", "answer", "record")
"""The parts of a decision that are timed; `record` is all from the answer until it leaves."""

SAMPLED = 16
"""One in so many requests has its phases counted: counting each would cost more than it tells."""


class UpstreamState(NamedTuple):
    """One upstream at a moment: as attempts name it, its breaker (0 closed, 1 half open, 2 open), calls by status."""

    target: str
    breaker: int
    in_use: int
    waiting: int
    calls: Mapping[str, int]


class SourceState(NamedTuple):
    """One feature source at a moment: values by what became of them; look-ups by seconds and values by age.

    A histogram is (counts by bucket, sum).
    """

    source: str
    results: Mapping[str, int]
    seconds: tuple[list[int], float]
    ages: tuple[list[int], float]


class Metrics:
    """Counters of one worker. `gauges` gives further current values, {name: (help, value)}, at each scrape.

    `upstreams` gives how the calls of each upstream stand now, `sources` the look-ups of each feature source.
    """

    def __init__(
        self,
        worker: str,
        gauges: Callable[[], dict[str, tuple[str, float]]],
        upstreams: Callable[[], Iterable[UpstreamState]] = tuple,
    ) -> None:
        self.worker = worker
        self.requests: dict[tuple[str, str, int], int] = {}
        self.denials: dict[str, int] = {}
        self._phases = {phase: [0] * (len(BUCKETS) + 1) for phase in PHASES}
        self._phase_sums = dict.fromkeys(PHASES, 0.0)
        self._latency: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        self._gauges, self._upstreams = gauges, upstreams
        self.sources: Callable[[], Iterable[SourceState]] = tuple
        self._registry = CollectorRegistry()
        self._registry.register(_Scrape(self))

    def count(self, system: str, outcome: str, status: int, seconds: float) -> None:
        """Count one request: the system asked, how it ended, its HTTP status, its time in the gateway."""
        key = (system, outcome, status)
        self.requests[key] = self.requests.get(key, 0) + 1
        buckets = self._latency.get(system)
        if buckets is None:
            buckets = self._latency[system] = [0] * (len(BUCKETS) + 1)
            self._sums[system] = 0.0
        buckets[bisect_left(BUCKETS, seconds)] += 1
        self._sums[system] += seconds

    def turned_away(self, outcome: str, status: int, number: int) -> None:
        """Count requests that were answered before it was known what they ask."""
        key = ("", outcome, status)
        self.requests[key] = self.requests.get(key, 0) + number

    def phases(self, *seconds: float) -> None:
        """Count how long each phase of one request took, in the order of `PHASES`."""
        for phase, spent in zip(PHASES, seconds, strict=True):
            self._phases[phase][bisect_left(BUCKETS, spent)] += 1
            self._phase_sums[phase] += spent

    def text(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """The metrics as families, all labelled with the worker."""
        requests = CounterMetricFamily(
            "pilotage_gateway_requests", "Requests", labels=["worker", "system", "outcome", "status"]
        )
        for (system, outcome, status), count in self.requests.items():
            requests.add_metric([self.worker, system, outcome, str(status)], count)
        yield requests
        latency = HistogramMetricFamily(
            "pilotage_gateway_seconds", "Time of a request in the gateway", labels=["worker", "system"]
        )
        for system, counts in self._latency.items():
            latency.add_metric([self.worker, system], _cumulative(counts), self._sums[system])
        yield latency
        phases = HistogramMetricFamily(
            "pilotage_gateway_phase_seconds",
            f"Time of the phases of one in {SAMPLED} usual requests: those of one row that arrived whole",
            labels=["worker", "phase"],
        )
        for phase, counts in self._phases.items():
            phases.add_metric([self.worker, phase], _cumulative(counts), self._phase_sums[phase])
        yield phases
        denials = CounterMetricFamily("pilotage_gateway_denials", "Denials", labels=["worker", "code"])
        for code, count in self.denials.items():
            denials.add_metric([self.worker, code], count)
        yield denials
        for name, (words, value) in self._gauges().items():
            gauge = GaugeMetricFamily(f"pilotage_gateway_{name}", words, labels=["worker"])
            gauge.add_metric([self.worker], value)
            yield gauge
        yield from self._of_upstreams()
        yield from self._of_sources()

    def _of_upstreams(self) -> Iterable[Metric]:
        states = list(self._upstreams())
        for name, words, value in (
            ("breaker_state", "Breaker of an upstream: 0 closed, 1 half open, 2 open", [s.breaker for s in states]),
            ("bulkhead_in_use", "Calls that an upstream works on now", [s.in_use for s in states]),
            ("bulkhead_waiting", "Calls that wait for an upstream", [s.waiting for s in states]),
        ):
            gauge = GaugeMetricFamily(f"pilotage_gateway_{name}", words, labels=["worker", "upstream"])
            for state, number in zip(states, value, strict=True):
                gauge.add_metric([self.worker, state.target], number)
            yield gauge
        calls = CounterMetricFamily(
            "pilotage_gateway_upstream_calls", "Attempts at an upstream", labels=["worker", "upstream", "status"]
        )
        for state in states:
            for status, count in state.calls.items():
                calls.add_metric([self.worker, state.target, status], count)
        yield calls

    def _of_sources(self) -> Iterable[Metric]:
        values = CounterMetricFamily(
            "pilotage_gateway_enrichment_values",
            "Values that feature sources bring, by what became of them: ok, cached, or the code of a fault",
            labels=["worker", "source", "result"],
        )
        seconds = HistogramMetricFamily(
            "pilotage_gateway_enrichment_seconds", "Time of a look-up in a feature source", labels=["worker", "source"]
        )
        ages = HistogramMetricFamily(
            "pilotage_gateway_enrichment_age_seconds",
            "Age of what a feature source says of an entity when it is used",
            labels=["worker", "source"],
        )
        states = list(self.sources())
        if not states:
            return
        for state in states:
            for result, count in state.results.items():
                values.add_metric([self.worker, state.source, result], count)
            seconds.add_metric([self.worker, state.source], _cumulative(state.seconds[0]), state.seconds[1])
            ages.add_metric([self.worker, state.source], _cumulative(state.ages[0], AGES), state.ages[1])
        yield from (values, seconds, ages)


class _Scrape(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics.collect()


def _cumulative(counts: list[int], bounds: Sequence[float] = BUCKETS) -> list[tuple[str, float]]:
    total, cumulative = 0, []
    for bound, count in zip((*map(str, bounds), "+Inf"), counts, strict=True):
        total += count
        cumulative.append((bound, float(total)))
    return cumulative
