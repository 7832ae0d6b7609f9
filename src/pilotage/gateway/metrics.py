"""What a worker counts, in plain numbers on the hot path; `exposition` makes Prometheus text of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable

from pilotage.gateway.exposition import BUCKETS, PHASES, Reading, Snapshot, SourceState, Timed, UpstreamState, text_of

__all__ = ["SAMPLED", "Metrics"]

SAMPLED = 16
"""One in so many requests has its phases counted: counting each would cost more than it tells."""


class Metrics:
    """Counters of one worker. `readings` gives further current values at each scrape, `upstreams` how the calls of each
    upstream stand now, `sources` the look-ups of each feature source, `others` what the other workers of the node have
    counted.
    """

    def __init__(
        self,
        worker: str,
        readings: Callable[[], list[Reading]],
        upstreams: Callable[[], Iterable[UpstreamState]] = tuple,
    ) -> None:
        self.worker = worker
        self.requests: dict[tuple[str, str, int], int] = {}
        self.denials: dict[str, int] = {}
        self.others: Callable[[], Iterable[Snapshot]] = tuple
        self._phases = {phase: [0] * (len(BUCKETS) + 1) for phase in PHASES}
        self._phase_sums = dict.fromkeys(PHASES, 0.0)
        self._latency: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        self._readings, self._upstreams = readings, upstreams
        self.sources: Callable[[], Iterable[SourceState]] = tuple

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

    def snapshot(self) -> Snapshot:
        """All of it at this moment."""
        return Snapshot(
            worker=self.worker,
            requests=[(*key, count) for key, count in self.requests.items()],
            denials=dict(self.denials),
            latency={system: Timed(counts, self._sums[system]) for system, counts in self._latency.items()},
            phases={phase: Timed(counts, self._phase_sums[phase]) for phase, counts in self._phases.items()},
            readings=self._readings(),
            upstreams=list(self._upstreams()),
            sources=list(self.sources()),
        )

    def text(self) -> bytes:
        """The Prometheus text format, of all workers of the node."""
        return text_of([self.snapshot(), *(each for each in self.others() if each.worker != self.worker)], SAMPLED)
