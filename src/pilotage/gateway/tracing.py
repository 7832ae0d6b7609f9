"""OpenTelemetry traces of decisions, as an extra: one span for each decision, and one for each of its phases.

Spans are made when a record is durable, from the times that the record keeps, so that without tracing nothing is done.
They hold what a decision's plain part holds, and no payload. A collector that is away costs spans, never answers.
"""

from __future__ import annotations

import time
from typing import Any

from pilotage import __version__
from pilotage.errors import MissingExtra
from pilotage.gateway.turn import Pending

__all__ = ["Tracing"]

_EXPORT_S = 2.0


class Tracing:
    """Exports spans to an OTLP collector over HTTP, from a thread of its own; its traces are at `endpoint`.

    Called on the event loop only. Raises MissingExtra.
    """

    def __init__(self, endpoint: str, *, node: str, worker: int) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
            from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
        except ImportError as error:
            raise MissingExtra("opentelemetry-sdk", "otel") from error
        self._kind, self._in_context = SpanKind.SERVER, set_span_in_context
        self._failed = Status(StatusCode.ERROR)
        # The record names the caller's trace; a span joins it by taking its id.
        self._ids: Any = type("_Ids", (RandomIdGenerator,), {"generate_trace_id": self._trace_id})()
        self._random, self._trace = RandomIdGenerator(), ""
        facts = {"service.name": "pilotage-gateway", "service.version": __version__}
        facts["service.instance.id"] = f"{node}/{worker}"
        self._provider = TracerProvider(resource=Resource.create(facts), id_generator=self._ids, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("pilotage.gateway", __version__)

    def _trace_id(self, _: object = None) -> int:
        return int(self._trace, 16) if self._trace.strip("0") else self._random.generate_trace_id()

    def decided(self, pending: Pending) -> None:
        """A decision is durable now: its span, from when its request came, and those of its phases."""
        asked, settled, route = pending.asked, pending.settled, pending.live.route
        self._trace = asked.trace
        begin, end = asked.received * 1_000, time.time_ns()
        facts = {
            "pilotage.decision": pending.id,
            "pilotage.request": asked.id,
            "pilotage.system": route.system,
            "pilotage.release": route.release,
            "pilotage.stage": route.stage,
            "pilotage.arm": route.arm,
            "pilotage.outcome": settled.outcome,
        }
        span = self._tracer.start_span(f"decide {route.system}", kind=self._kind, attributes=facts, start_time=begin)
        if settled.outcome == "refused":
            span.set_attribute("error.type", settled.reason)
            span.set_status(self._failed)
        within, at = self._in_context(span), begin
        contract, answer = at + asked.contract_us * 1_000, at + (asked.contract_us + settled.answer_us) * 1_000
        for name, until in (("contract", contract), ("answer", answer), ("record", end)):
            until = min(until, end)
            self._tracer.start_span(name, context=within, start_time=at).end(end_time=until)
            at = until
        span.end(end_time=end)

    def close(self) -> None:
        """Export what waits, for a moment at most."""
        self._provider.force_flush(int(_EXPORT_S * 1_000))
        self._provider.shutdown()
