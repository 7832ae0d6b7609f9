"""What a worker's metrics read at each scrape: how its plan, its journal, its upstreams and its sources stand now."""

from __future__ import annotations

from collections.abc import Iterator

from pilotage.gateway.exposition import Reading, SourceState, UpstreamState
from pilotage.gateway.record import Journal
from pilotage.gateway.state import Serving

__all__ = ["readings_of", "sources_of", "upstreams_of"]


def readings_of(serving: Serving | None, journal: Journal | None, *, ready: bool, in_flight: int) -> list[Reading]:
    """Single values of the worker."""
    version = serving.plan.version if serving is not None else 0
    records, groups = getattr(journal, "records", 0), getattr(journal, "groups", 0)
    return [
        Reading("plan_version", "gauge", "Version of the serving plan answered from", version),
        Reading("ready", "gauge", "1 when requests are answered", float(ready)),
        Reading("journal_records", "counter", "Records that the worker's journal has synced", records),
        Reading("journal_groups", "counter", "Groups that they were synced in", groups),
        Reading("requests_in_flight", "gauge", "Requests worked on now", in_flight),
    ]


def upstreams_of(serving: Serving | None) -> Iterator[UpstreamState]:
    """The calls of each upstream: of runtimes, and of what is asked for features."""
    for model in serving.models.values() if serving is not None else ():
        if model.upstream is not None:
            yield model.upstream.now
        if model.enricher is not None:
            yield from model.enricher.upstreams


def sources_of(serving: Serving | None) -> Iterator[SourceState]:
    """The look-ups of each feature source."""
    for model in serving.models.values() if serving is not None else ():
        if model.enricher is not None:
            yield from model.enricher.sources
