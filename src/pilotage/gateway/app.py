"""The ASGI application of one worker: addresses, the steps before the contract, and what leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from time import perf_counter, perf_counter_ns
from typing import Any, NamedTuple

import msgspec

from pilotage.errors import Forbidden, NotFound, PilotageError, Unavailable
from pilotage.gateway.addresses import ADDRESSES, DECIDE, Address, Found, find, is_open_inference
from pilotage.gateway.authenticate import Principal, authorize
from pilotage.gateway.decide import LARGE_BODY, decide
from pilotage.gateway.denials import Denials
from pilotage.gateway.describe import describe
from pilotage.gateway.direct import Direct, DirectConnection
from pilotage.gateway.exposition import Reading, SourceState, UpstreamState
from pilotage.gateway.headers import Headers, read_headers
from pilotage.gateway.idempotency import REPLAYED, Idempotency
from pilotage.gateway.limit import LargeBodies, Limits, Rates, Receive, read_body
from pilotage.gateway.metering import ONE, WAITS, Metering
from pilotage.gateway.meters import Shortage, Spend
from pilotage.gateway.metrics import SAMPLED, Metrics
from pilotage.gateway.open_inference import (
    infer_error,
    infer_reply,
    model_metadata,
    must_be_live,
    read_inference,
    server_metadata,
)
from pilotage.gateway.openapi import openapi
from pilotage.gateway.peers import Peers
from pilotage.gateway.record import Asked, Chance, Journal, event_frame
from pilotage.gateway.reply import Denied, Reply, error_reply, internal_error, json_reply
from pilotage.gateway.shedding import Shedding
from pilotage.gateway.state import LiveSystem, Serving
from pilotage.gateway.tell import tell
from pilotage.gateway.tokens import Tokens, is_token
from pilotage.gateway.tracing import Tracing
from pilotage.gateway.turn import UNSETTLED, Turn
from pilotage.kernel.clock import Clock, now_us
from pilotage.kernel.ids import uuid7
from pilotage.ledger.frames import FrameKind

__all__ = ["Gateway"]

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger(__name__)


class _Admitted(NamedTuple):
    """A request that may go on: what it is answered from, who asks, when it came (Unix microseconds), headers, path."""

    serving: Serving
    turn: Turn
    principal: Principal
    received: int
    headers: Headers
    path: str


class Gateway:
    """Answers for one serving plan at a time; everything happens on one event loop.

    Until it has a plan (`adopt`) and a journal (`record_in`), every request is told to come back.
    `failed` is set for ever once a record did not reach the disk: a new process with a new journal file must follow.
    """

    def __init__(
        self,
        *,
        node: str,
        worker: int,
        limits: Limits | None = None,
        clock: Clock = now_us,
        peers: Peers | None = None,
        idempotency: Idempotency | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.serving: Serving | None = None
        self._journal: Journal | None = None
        self._turn: Turn | None = None
        self.failed = asyncio.Event()
        self.draining = False
        self.in_flight = 0
        self.denials = Denials()
        self.peers = peers or Peers()
        self._idempotency, self._tracing = idempotency, tracing
        self.chance = Chance()
        self.limits = limits or Limits()
        self.metering: Metering | None = None
        self.tokens: Tokens | None = None
        self.metrics = Metrics(f"{node}/{worker}", self._readings, self._upstreams)
        self.metrics.denials = self.denials.total
        self.shedding = Shedding(
            self.limits.queue_delay_s, lambda: self.limits.in_flight - self.in_flight, self._count_shed
        )
        self._sample = 0
        self._rates = Rates(self.limits)
        self._large = LargeBodies(self.limits)
        self._clock = clock
        self.metrics.sources = self._sources

    @property
    def ready(self) -> bool:
        """Whether requests are answered."""
        return self.serving is not None and self._journal is not None and not self.failed.is_set() and not self.draining

    def adopt(self, serving: Serving) -> None:
        """Answer from this plan from the next request on."""
        self.serving = serving
        self._rates.keep(key.id for key in serving.plan.keys)
        if self.tokens is not None:
            self.tokens.adopt(serving.plan.issuers)
        if self.metering is not None:
            self.metering.adopt(serving.plan.limits)

    def record_in(self, journal: Journal) -> None:
        """Record in this open journal; on the event loop, once."""
        self._journal, self._turn = journal, Turn(journal, self.chance)
        if self._tracing is not None:
            self._turn.watched = self._tracing.decided

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI request."""
        if scope["type"] != "http":
            return
        started = perf_counter()
        self.in_flight += 1
        system = ""
        try:
            serving = self.serving
            live = serving.paths.get(scope["path"]) if serving is not None else None
            if live is not None:
                system = live.route.system
            try:
                reply = await self._reply(scope, receive, live)
            except PilotageError as error:
                reply = self._turn_away(error, scope)
            except Exception:  # noqa: BLE001 - a fault of ours: the client hears of it as JSON, the log has the rest
                _log.exception("a request failed")
                reply = _error(scope, internal_error())
            if self.draining:
                reply.headers.append((b"connection", b"close"))
            self.metrics.count(system or reply.system, reply.outcome, reply.status, perf_counter() - started)
            await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
            await send({"type": "http.response.body", "body": reply.body})
        finally:
            self.in_flight -= 1

    def answer_directly(
        self, connection: DirectConnection, url: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes, stays: bool
    ) -> Direct | None:
        """Take the short way with a POST that arrived whole, or nothing of it: then it goes through ASGI.

        `stays` says whether the connection stays open after the answer.
        """
        serving, turn = self.serving, self._turn
        live = serving.direct.get(url) if serving is not None else None
        if live is None or turn is None or serving is None or live.model is None:
            return None
        if self.draining or self.failed.is_set():
            return None
        if self.in_flight >= self.limits.in_flight:
            return None
        started, received = perf_counter_ns(), self._clock()
        read = read_headers(headers)
        principal = serving.principals.usual(read.key, received, live.route.system)
        if principal is None or read.unusual:
            return None
        row = live.model.check.fits(body)
        if row is None:
            return None
        try:
            self._rates.take(principal.id)
            if self.metering is not None and self.metering.declared:
                # Where there is not enough for now, the long way waits for it.
                self.metering.spend(principal.id, live.route.system).reserve(ONE)
        except (PilotageError, Shortage):
            return None
        contract_us = (perf_counter_ns() - started) // 1_000
        asked = Asked(self.chance.id(), received, principal.name, read.trace, contract_us)
        deadline = started + live.route.deadline_ms * 1_000_000
        direct = Direct(live, asked, asked.id, row, deadline, UNSETTLED, "", connection, started, stays, self._ended)
        self.in_flight += 1
        turn.take(direct)
        return direct

    def _count_shed(self, origin: str, number: int) -> None:
        """Requests of an address were shed by their connections: count them as what they are, denials."""
        self.denials.count(origin, "overloaded", self._clock(), number)
        self.metrics.turned_away("overloaded", 503, number)

    def _ended(self, direct: Direct, outcome: str, status: int, error: BaseException | None) -> bool:
        """A direct answer leaves; whether its connection must end with it."""
        self.in_flight -= 1
        if error is not None:
            self.failed.set()
        elif self._tracing is not None:
            self._tracing.decided(direct)
        seconds = (perf_counter_ns() - direct.started_ns) / 1e9
        self.metrics.count(direct.live.route.system, outcome, status, seconds)
        self._sample = sample = (self._sample + 1) % SAMPLED
        if sample == 1 and error is None:
            contract, answer = direct.asked.contract_us / 1e6, direct.settled.answer_us / 1e6
            self.metrics.phases(contract, answer, max(0.0, seconds - contract - answer))
        return self.draining

    async def _reply(self, scope: Scope, receive: Receive, live: LiveSystem | None) -> Reply:
        if live is None:
            return await self._elsewhere(scope, receive)
        admitted = await self._admitted(scope)
        live = _as_asked(admitted, live)
        if scope["method"] != "POST":
            return _described(live, scope["method"])
        self._rates.take(admitted.principal.id)
        if self.metering is not None and self.metering.declared:
            return await self._metered(admitted, live, lambda spend: self._asked(receive, live, admitted, spend))
        return await self._asked(receive, live, admitted)

    async def _asked(
        self, receive: Receive, live: LiveSystem, admitted: _Admitted, spend: Spend | None = None
    ) -> Reply:
        """The address `decide`."""
        length = admitted.headers.length
        with self._large.room(length, admitted.serving.plan.max_body_bytes) as most:
            body = await read_body(receive, length, most)
            return await self._once(admitted, body, lambda: self._decide(live, body, admitted, spend))

    async def _metered(self, admitted: _Admitted, live: LiveSystem, work: Callable[[Spend], Awaitable[Reply]]) -> Reply:
        """Work on a request of one row, or more, that every limit holding for it allows. Raises Denied 429.

        A request that decides nothing gives its rows back.
        """
        assert self.metering is not None  # noqa: S101 - the caller looked
        spend = self.metering.spend(admitted.principal.id, live.route.system)
        await self.metering.reserve(spend, ONE)
        try:
            reply = await work(spend)
        except PilotageError:
            spend.settle("rows", 0)
            raise
        if reply.outcome == REPLAYED:
            spend.settle("rows", 0)
        return reply

    async def _admitted(self, scope: Scope) -> _Admitted:
        """The steps that every request passes that needs a key: ready, not overloaded, known, from its network.

        Raises what turns it away.
        """
        serving, turn = self.serving, self._turn
        if serving is None or turn is None or self.failed.is_set():
            raise self._not_ready()
        if self.in_flight > self.limits.in_flight:
            raise _overloaded()
        received, headers = self._clock(), read_headers(scope["headers"])
        principal = await self._principal(serving, scope, headers.key, received)
        if principal.networks:
            self.peers.require(principal.networks, scope)
        return _Admitted(serving, turn, principal, received, headers, scope["path"])

    async def _principal(self, serving: Serving, scope: Scope, key: bytes, at: int) -> Principal:
        """Who presents a key or a token, or without one a certificate. Raises Unauthenticated, Unavailable."""
        if not key and (certificate := scope.get("client_certificate")) is not None:
            found = serving.principals.certified(certificate, at)
            if found is not None:
                return found
        if self.tokens is None or not is_token(key):
            return serving.principals.authenticate(key, at)
        known = serving.principals.find(key)
        if known is None or at >= known.expires:
            known = await self.tokens.principal(key, at)
            serving.principals.learn(key, known)
        return known

    async def _decide(self, live: LiveSystem, body: bytes, admitted: _Admitted, spend: Spend | None) -> Reply:
        """Decide; while further rows wait for a limit's next piece, begin anew: nothing is decided before."""
        principal = admitted.principal

        def charge(rows: int) -> None:
            if spend is not None:
                spend.reserve({"rows": rows})
            self._rates.take(principal.id, rows)

        for _ in range(WAITS):
            try:
                return await decide(
                    live,
                    body,
                    turn=admitted.turn,
                    chance=self.chance,
                    received=admitted.received,
                    principal=principal.name,
                    trace=admitted.headers.trace,
                    charge=charge,
                    timeout=admitted.headers.timeout,
                )
            except Shortage as shortage:
                short = shortage
                assert self.metering is not None  # noqa: S101 - it made the spend
                await self.metering.fill(shortage)
            except Unavailable:
                self.failed.set()
                raise
        raise short.meter.denial(short.units, self._clock())

    async def _once(self, admitted: _Admitted, body: bytes, run: Callable[[], Awaitable[Reply]]) -> Reply:
        """The answer to a body; with an idempotency key the one kept for it, if any."""
        key = admitted.headers.once
        if key is None:
            return await run()
        if self._idempotency is None:
            raise Denied(
                "this gateway keeps no answers for idempotency keys",
                status=503,
                code="idempotency_unavailable",
                mend="send the request without the header Idempotency-Key",
            )
        return await self._idempotency.answer(key, f"{admitted.principal.name}\0{admitted.path}", body, run)

    async def _elsewhere(self, scope: Scope, receive: Receive) -> Reply:
        """Every address but the decisions of a live system."""
        found, method = find(scope["path"]), scope["method"]
        if found is not None and found.address.access == "open":
            _must_take(method, found.address)
            return self._own_page(found.address.name)
        admitted = await self._admitted(scope)
        if found is None:
            raise _no_such_address(scope["path"])
        if found.address.access == "decide":
            authorize(admitted.principal, found.parts["system"])
        _must_take(method, found.address)
        if found.address.access == "outcome":
            return await self._tell(receive, found.parts.get("id", ""), admitted)
        if found.address.access == "decide":
            return await self._as_model(receive, found, admitted)
        if found.address.name == "openapi":
            self._rates.take(admitted.principal.id)
            systems = admitted.serving.systems.values()
            asked = [live for live in systems if admitted.principal.may_decide(live.route.system)]
            return json_reply(200, openapi(asked), outcome="page")
        return json_reply(200, server_metadata(), outcome="page")

    async def _as_model(self, receive: Receive, found: Found, admitted: _Admitted) -> Reply:
        """What the Open Inference Protocol asks of a system as a model."""
        system = found.parts["system"]
        live = admitted.serving.systems.get(system)
        if live is None:
            raise NotFound("no such system is live", got=system[:200], mend="check the name", code="unknown_system")
        live = _as_asked(admitted, live)
        must_be_live(live, found.parts.get("version"))
        if found.address.name == "v2_model":
            return json_reply(200, model_metadata(live), outcome="page")
        if found.address.name == "v2_model_ready":
            ready = live.model is not None and not live.route.stopped
            return json_reply(200 if ready else 503, {"name": system, "ready": ready}, outcome="page")
        self._rates.take(admitted.principal.id)
        if self.metering is not None and self.metering.declared:
            return await self._metered(admitted, live, lambda spend: self._infer(receive, live, admitted, spend))
        return await self._infer(receive, live, admitted)

    async def _infer(
        self, receive: Receive, live: LiveSystem, admitted: _Admitted, spend: Spend | None = None
    ) -> Reply:
        body = await read_body(receive, admitted.headers.length, admitted.serving.plan.max_body_bytes)

        async def infer() -> Reply:
            if len(body) < LARGE_BODY:
                inference = read_inference(body, live)
            else:
                inference = await asyncio.to_thread(read_inference, body, live)
            reply = await self._decide(live, inference.body, admitted, spend)
            return msgspec.structs.replace(infer_reply(inference, reply, live), system=live.route.system)

        return await self._once(admitted, body, infer)

    async def _tell(self, receive: Receive, decision: str, admitted: _Admitted) -> Reply:
        """Record outcomes; `decision` is the address's, empty for many."""
        serving, _, principal, received, headers, _ = admitted
        journal = self._journal
        assert journal is not None  # noqa: S101 - whoever is admitted is recorded
        if not principal.outcomes:
            raise Forbidden(
                "the API key may not tell outcomes",
                expected="a scope outcome:<system>",
                mend="ask an administrator for a key with this scope",
            )
        self._rates.take(principal.id)
        body = await read_body(receive, headers.length, serving.plan.max_body_bytes)

        async def record() -> Reply:
            try:
                return await tell(
                    decision,
                    body,
                    principal=principal,
                    journal=journal,
                    chance=self.chance,
                    received=received,
                    charge=lambda rows: self._rates.take(principal.id, rows),
                )
            except Unavailable:
                self.failed.set()
                raise

        return await self._once(admitted, body, record)

    def _own_page(self, name: str) -> Reply:
        if name in ("live", "v2_live"):
            return json_reply(200, {"live": True}, outcome="page")
        if name in ("ready", "v2_ready"):
            if self.ready and self.serving is not None:
                return json_reply(200, {"ready": True, "plan": self.serving.plan.version}, outcome="page")
            return json_reply(503, {"ready": False, "reason": self._not_ready().code}, outcome="page")
        text = self.metrics.text()
        length = (b"content-length", b"%d" % len(text))
        return Reply(200, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8"), length], text, "page")

    def _not_ready(self) -> PilotageError:
        if self.failed.is_set():
            return _journal_failed()
        if self.draining:
            return Unavailable("this worker is stopping", code="draining", mend="try again")
        return Unavailable("no serving plan yet", code="no_plan", mend="try again in a moment; promote a release")

    def _turn_away(self, error: PilotageError, scope: Scope) -> Reply:
        """The reply to a request that made no decision; counted as a denial by key or address, and code."""
        known = self.serving.principals.find(read_headers(scope["headers"]).key) if self.serving is not None else None
        origin = known.name if known is not None else str(self.peers.address(scope) or "unknown")
        self.denials.count(origin, error.code, self._clock())
        headers = error.headers if isinstance(error, Denied) else ()
        if error.status == 401:
            bearer = b'Bearer error="invalid_token"' if error.code.startswith("token_") else b"Bearer"
            headers = [(b"www-authenticate", bearer)]
        return _error(scope, error, *headers)

    def write_denials(self, *, everything: bool = False) -> None:
        """Put the denials of the minutes that are over into the journal, as events."""
        if self._journal is None or self.failed.is_set():
            return
        for denial in self.denials.due(self._clock(), everything=everything):
            facts = {"source": denial.source, "code": denial.code, "minute": denial.minute, "count": denial.count}
            self.write_event("request.denied", facts, {"origin": denial.origin})

    def write_event(self, kind: str, facts: dict[str, object], private: dict[str, object] | None = None) -> None:
        """Put an event into the journal's next group; nobody waits for it."""
        if self._journal is None:
            return
        plain, secret = event_frame(kind, self._clock(), self.chance.take(32), facts, private or {})
        try:
            self._journal.submit(FrameKind.event, plain, secret).add_done_callback(_look_at)
        except Unavailable:
            self.failed.set()

    def _readings(self) -> list[Reading]:
        version = self.serving.plan.version if self.serving is not None else 0
        records, groups = getattr(self._journal, "records", 0), getattr(self._journal, "groups", 0)
        return [
            Reading("plan_version", "gauge", "Version of the serving plan answered from", version),
            Reading("ready", "gauge", "1 when requests are answered", float(self.ready)),
            Reading("journal_records", "counter", "Records that the worker's journal has synced", records),
            Reading("journal_groups", "counter", "Groups that they were synced in", groups),
            Reading("requests_in_flight", "gauge", "Requests worked on now", self.in_flight),
        ]

    def _upstreams(self) -> Iterable[UpstreamState]:
        models = self.serving.models.values() if self.serving is not None else ()
        runtimes = [model.upstream.now for model in models if model.upstream is not None]
        return runtimes + [
            state for model in models if model.enricher is not None for state in model.enricher.upstreams
        ]

    def _sources(self) -> Iterable[SourceState]:
        models = self.serving.models.values() if self.serving is not None else ()
        return [state for model in models if model.enricher is not None for state in model.enricher.sources]


def _as_asked(admitted: _Admitted, live: LiveSystem) -> LiveSystem:
    """The system as it answers this principal: for whoever only drills, on record as a drill. Raises Forbidden."""
    authorize(admitted.principal, live.route.system)
    drills = admitted.principal.only_drills(live.route.system)
    return admitted.serving.drills.get(live.route.system, live) if drills else live


def _look_at(future: asyncio.Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        _log.error("an event did not reach the journal: %s", error)


def _error(scope: Scope, error: PilotageError, *headers: tuple[bytes, bytes]) -> Reply:
    """An error in the form of the protocol that was spoken."""
    return (infer_error if is_open_inference(scope["path"]) else error_reply)(error, uuid7(), *headers)


def _no_such_address(path: str) -> NotFound:
    expected = ", ".join(address.template for address in ADDRESSES if address.name in ("decide", "v2_infer"))
    return NotFound("no such address", got=path[:200], expected=expected, mend="mend the address")


def _described(live: LiveSystem, method: str) -> Reply:
    if method not in ("GET", "HEAD"):
        raise _no_such_method(method, DECIDE)
    return json_reply(200, describe(live), outcome="page")


def _must_take(method: str, address: Address) -> None:
    """Raises Denied 405 when an address takes no such method; HEAD is GET without the body."""
    if method not in address.methods and (method != "HEAD" or "GET" not in address.methods):
        raise _no_such_method(method, address)


def _no_such_method(method: str, address: Address) -> Denied:
    return Denied(
        "this address takes no such method",
        status=405,
        code="method_not_allowed",
        got=method[:20],
        expected=address.allow.decode(),
        mend=f"send {' or '.join(address.methods)}",
        headers=[(b"allow", address.allow)],
    )


def _overloaded() -> Denied:
    return Denied(
        "too many requests are being worked on",
        status=503,
        code="overloaded",
        mend="try again in a second",
        headers=[(b"retry-after", b"1")],
    )


def _journal_failed() -> Unavailable:
    return Unavailable(
        "decisions cannot be recorded, so none is made", code="journal_failed", mend="free or replace the disk; retry"
    )
