"""The ASGI application of one worker: addresses, the steps before the contract, and what leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from time import perf_counter, perf_counter_ns
from typing import Any

import msgspec

from pilotage.errors import PilotageError, Unavailable
from pilotage.gateway.addresses import DECIDE, Found, find
from pilotage.gateway.admission import Admitted, as_asked, may_tell, principal_of
from pilotage.gateway.authenticate import authorize
from pilotage.gateway.decide import LARGE_BODY, decide
from pilotage.gateway.denials import Denials
from pilotage.gateway.describe import describe
from pilotage.gateway.direct import Direct, DirectConnection
from pilotage.gateway.events import Events
from pilotage.gateway.headers import read_headers
from pilotage.gateway.idempotency import REPLAYED, Idempotency
from pilotage.gateway.limit import LargeBodies, Limits, Rates, Receive, read_body
from pilotage.gateway.metering import ONE, WAITS, Metering
from pilotage.gateway.meters import Shortage, Spend
from pilotage.gateway.metrics import SAMPLED, Metrics
from pilotage.gateway.open_inference import infer_reply, model_metadata, must_be_live, read_inference, server_metadata
from pilotage.gateway.openapi import openapi
from pilotage.gateway.pages import own_page
from pilotage.gateway.peers import Peers
from pilotage.gateway.readings import readings_of, sources_of, upstreams_of
from pilotage.gateway.record import Asked, Chance, Journal
from pilotage.gateway.refusals import (
    must_take,
    no_idempotency,
    no_such_address,
    no_such_system,
    not_ready,
    overloaded,
    refusal_reply,
)
from pilotage.gateway.reply import Denied, Reply, internal_error, json_reply
from pilotage.gateway.shedding import Shedding
from pilotage.gateway.state import LiveSystem, Serving
from pilotage.gateway.tell import tell
from pilotage.gateway.tokens import Tokens
from pilotage.gateway.tracing import Tracing
from pilotage.gateway.turn import UNSETTLED, Turn
from pilotage.kernel.clock import Clock, now_us

__all__ = ["Gateway"]

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger(__name__)


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
        self.metrics = Metrics(
            f"{node}/{worker}",
            lambda: readings_of(self.serving, self._journal, ready=self.ready, in_flight=self.in_flight),
            lambda: upstreams_of(self.serving),
        )
        self.metrics.sources = lambda: sources_of(self.serving)
        self.metrics.denials = self.denials.total
        self.events = Events(self.denials, self.chance, clock, self.failed.set)
        self.shedding = Shedding(
            self.limits.queue_delay_s, lambda: self.limits.in_flight - self.in_flight, self._count_shed
        )
        self._sample = 0
        self._rates = Rates(self.limits)
        self._large = LargeBodies(self.limits)
        self._clock = clock

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
        self._journal = self.events.journal = journal
        self._turn = Turn(journal, self.chance)
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
                reply = refusal_reply(scope, internal_error())
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
        live = as_asked(admitted, live)
        if scope["method"] != "POST":
            must_take(scope["method"], DECIDE)
            return json_reply(200, describe(live), outcome="page")
        self._rates.take(admitted.principal.id)
        if self.metering is not None and self.metering.declared:
            return await self._metered(admitted, live, lambda spend: self._asked(receive, live, admitted, spend))
        return await self._asked(receive, live, admitted)

    async def _asked(self, receive: Receive, live: LiveSystem, admitted: Admitted, spend: Spend | None = None) -> Reply:
        """The address `decide`."""
        length = admitted.headers.length
        with self._large.room(length, admitted.serving.plan.max_body_bytes) as most:
            body = await read_body(receive, length, most)
            return await self._once(admitted, body, lambda: self._decide(live, body, admitted, spend))

    async def _metered(self, admitted: Admitted, live: LiveSystem, work: Callable[[Spend], Awaitable[Reply]]) -> Reply:
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

    async def _admitted(self, scope: Scope) -> Admitted:
        """The steps that every request passes that needs a key: ready, not overloaded, known, from its network.

        Raises what turns it away.
        """
        serving, turn = self.serving, self._turn
        if serving is None or turn is None or self.failed.is_set():
            raise self._not_ready()
        if self.in_flight > self.limits.in_flight:
            raise overloaded()
        received, headers = self._clock(), read_headers(scope["headers"])
        principal = await principal_of(serving, self.tokens, scope, headers.key, received)
        if principal.networks:
            self.peers.require(principal.networks, scope)
        return Admitted(serving, turn, principal, received, headers, scope["path"])

    async def _decide(self, live: LiveSystem, body: bytes, admitted: Admitted, spend: Spend | None) -> Reply:
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

    async def _once(self, admitted: Admitted, body: bytes, run: Callable[[], Awaitable[Reply]]) -> Reply:
        """The answer to a body; with an idempotency key the one kept for it, if any."""
        key = admitted.headers.once
        if key is None:
            return await run()
        if self._idempotency is None:
            raise no_idempotency()
        return await self._idempotency.answer(key, f"{admitted.principal.name}\0{admitted.path}", body, run)

    async def _elsewhere(self, scope: Scope, receive: Receive) -> Reply:
        """Every address but the decisions of a live system."""
        found, method = find(scope["path"]), scope["method"]
        if found is not None and found.address.access == "open":
            must_take(method, found.address)
            return self._own_page(found.address.name)
        admitted = await self._admitted(scope)
        if found is None:
            raise no_such_address(scope["path"])
        if found.address.access == "decide":
            authorize(admitted.principal, found.parts["system"])
        must_take(method, found.address)
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

    async def _as_model(self, receive: Receive, found: Found, admitted: Admitted) -> Reply:
        """What the Open Inference Protocol asks of a system as a model."""
        system = found.parts["system"]
        live = admitted.serving.systems.get(system)
        if live is None:
            raise no_such_system(system)
        live = as_asked(admitted, live)
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

    async def _infer(self, receive: Receive, live: LiveSystem, admitted: Admitted, spend: Spend | None = None) -> Reply:
        body = await read_body(receive, admitted.headers.length, admitted.serving.plan.max_body_bytes)

        async def infer() -> Reply:
            if len(body) < LARGE_BODY:
                inference = read_inference(body, live)
            else:
                inference = await asyncio.to_thread(read_inference, body, live)
            reply = await self._decide(live, inference.body, admitted, spend)
            return msgspec.structs.replace(infer_reply(inference, reply, live), system=live.route.system)

        return await self._once(admitted, body, infer)

    async def _tell(self, receive: Receive, decision: str, admitted: Admitted) -> Reply:
        """Record outcomes; `decision` is the address's, empty for many."""
        serving, _, principal, received, headers, _ = admitted
        journal = self._journal
        assert journal is not None  # noqa: S101 - whoever is admitted is recorded
        may_tell(principal)
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
        away = None if self.ready else self._not_ready()
        plan = self.serving.plan.version if self.serving is not None else 0
        return own_page(name, away=away, plan=plan, metrics=self.metrics.text)

    def _not_ready(self) -> PilotageError:
        return not_ready(failed=self.failed.is_set(), draining=self.draining)

    def _turn_away(self, error: PilotageError, scope: Scope) -> Reply:
        """The reply to a request that made no decision; counted as a denial by key or address, and code."""
        known = self.serving.principals.find(read_headers(scope["headers"]).key) if self.serving is not None else None
        origin = known.name if known is not None else str(self.peers.address(scope) or "unknown")
        self.denials.count(origin, error.code, self._clock())
        return refusal_reply(scope, error, *(error.headers if isinstance(error, Denied) else ()))
