"""One gateway worker process: load the plan, open the journal, answer, follow plans, drain.

Exit codes: 0 drained on SIGTERM or SIGINT; 75 (EX_TEMPFAIL) the journal failed, start me again: a new
process opens a new journal file.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import msgspec
import uvicorn
import uvloop

from pilotage.errors import PilotageError
from pilotage.gateway.app import Gateway
from pilotage.gateway.idempotency import Idempotency
from pilotage.gateway.limit import Limits
from pilotage.gateway.metering import LeaseSource, Metering
from pilotage.gateway.peers import Peers
from pilotage.gateway.protocol import BoundedHttp
from pilotage.gateway.shared_metrics import SharedMetrics
from pilotage.gateway.state import Serving, load_serving, read_plan, restrict, start_serving
from pilotage.gateway.stops import PERSON, StopFile, StopHere, people_stopped, stopped_here
from pilotage.gateway.store import StoredPlan
from pilotage.gateway.tls import Tls
from pilotage.gateway.tokens import Tokens
from pilotage.gateway.tracing import Tracing
from pilotage.gateway.watch import PlanSource, watch
from pilotage.kernel.clock import now_us
from pilotage.ledger.journal import JournalWriter
from pilotage.storage.database import open_engine, url_of
from pilotage.storage.home import Home

__all__ = ["RESTART", "WorkerState", "serve"]

RESTART = 75
"""Exit code that asks the supervisor for a new process."""

_RETRY_S = 5.0
_DENIALS_S = 5.0
_METRICS_S = 1.0
_STOPS_S = 0.05
_TLS_S = 1.0
_FAREWELL_S = 0.5
_LAST_ANSWERS_S = 0.2
_FIRST_PLAN_S = 10.0
_ACCEPTS_A_TURN = 16
_log = logging.getLogger(__name__)


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker tells on disk, in `run/gateway-<worker>.json`: `at` is when it last changed, Unix microseconds.

    `stopped` are the systems (`*`: all) that it refuses because of this node's stop file.
    """

    pid: int
    node: str
    worker: int
    state: str
    plan: int
    at: int
    stopped: list[str] = []


def serve(
    *,
    home: Home,
    node: str,
    worker: int,
    sockets: Sequence[socket.socket],
    database_url: str | None = None,
    limits: Limits | None = None,
    drain_s: float = 10.0,
    peers: Peers | None = None,
    idempotency: Idempotency | None = None,
    tracing: Tracing | None = None,
    tls: Tls | None = None,
) -> int:
    """Run one worker on listening sockets until it is told to stop; the exit code to end the process with.

    Sockets may be shared with other workers. Answers 503 until there is a plan. Must be called in the main thread.
    """
    idempotency = idempotency or Idempotency(home.idempotency)
    gateway = Gateway(node=node, worker=worker, limits=limits, peers=peers, idempotency=idempotency, tracing=tracing)
    this = _Worker(home, node, worker, database_url, gateway, drain_s, tls)
    try:
        return uvloop.run(this.run(list(sockets)))
    finally:
        idempotency.close()
        if tracing is not None:
            tracing.close()


class _Worker:
    def __init__(
        self,
        home: Home,
        node: str,
        worker: int,
        database_url: str | None,
        gateway: Gateway,
        drain_s: float,
        tls: Tls | None,
    ) -> None:
        self._home, self._node, self._worker, self._drain_s = home, node, worker, drain_s
        self._engine = open_engine(url_of(home, "control", database_url))
        self._gateway, self._tls = gateway, tls
        source = LeaseSource(self._engine, f"{node}/{worker}")
        self._metering = gateway.metering = Metering(source, home.run / f"limits-{worker}.json")
        self._tokens = gateway.tokens = Tokens(home.issuers, self._forget_tokens)
        self._shared = SharedMetrics(home.run, worker)
        gateway.metrics.others = self._shared.others
        self._stops = StopFile(home.stops)
        self._serving: Serving | None = None
        self._state = "starting"
        self._journal: JournalWriter | None = None
        self._current = asyncio.Event()
        self._stop = asyncio.Event()
        self._restart = False
        self._adopting = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()

    async def run(self, sockets: list[socket.socket]) -> int:
        # Requests leave little for the collector: look for cycles less often than every 700 new objects.
        gc.set_threshold(20_000, 20, 50)
        loop = asyncio.get_running_loop()
        server = _server(self._gateway, self._drain_s, self._tls)
        self._tell("starting")
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        answering = asyncio.create_task(self._answer(server, sockets))
        self._stops.changed()
        work = (
            self._follow(),
            self._follow_stops(),
            self._follow_tls(),
            self._metering.run(),
            self._tokens.run(),
            self._write_denials(),
            self._share_metrics(),
            self._look_for_failure(),
            self._stop.wait(),
        )
        tasks = [asyncio.create_task(each) for each in work]
        await asyncio.wait([answering, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done() and (error := task.exception()):
                _log.error("the worker cannot go on", exc_info=error)
                self._restart = True
            task.cancel()
        await self._drain(server, answering)
        return RESTART if self._restart or self._gateway.failed.is_set() else 0

    async def _answer(self, server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        """Accept connections once the first plan is adopted or there is none: until then other workers take them.

        A plan that cannot be adopted in a while must not leave clients waiting: they are told.
        """
        waits = [asyncio.create_task(self._current.wait()), asyncio.create_task(self._stop.wait())]
        await asyncio.wait(waits, timeout=_FIRST_PLAN_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not self._stop.is_set():
            # libuv accepts one connection a turn for each listening descriptor: too few when turns are long.
            again = [each.dup() for each in sockets for _ in range(_ACCEPTS_A_TURN - 1)]
            await server.serve(sockets=[*sockets, *again])

    async def _follow(self) -> None:
        await watch(PlanSource(self._home, self._engine), self._adopt, current=self._current.set)

    async def _adopt(self, stored: StoredPlan) -> None:
        """Load a plan beside the loop, open the journal at the first, and swap between two requests."""
        async with self._adopting:
            old = self._serving
            if old is not None:
                self._answer_from(restrict(old, read_plan(stored)))
            loaded = await asyncio.to_thread(load_serving, stored, self._home.releases, old)
            serving = await start_serving(loaded, old)
            if self._journal is None:
                await self._open_journal(bytes.fromhex(serving.plan.steward_key))
            elif old is not None and _journal_of(old) != _journal_of(serving):
                _log.info("a new journal file begins, as the plan asks")
                self._journal.begin_new_file(bytes.fromhex(serving.plan.steward_key))
            self._swap(old, serving)
        if serving.broken:
            self._later(self._retry(stored))

    def _swap(self, old: Serving | None, serving: Serving) -> None:
        self._answer_from(serving)
        if old is None:
            # What start-up left behind lives as long as the process: the collector need not look at it again.
            gc.collect()
            gc.freeze()
        facts: dict[str, object] = {"version": serving.plan.version, "plan": serving.digest, "worker": self._worker}
        self._gateway.events.write("plan.adopted", facts)
        if old is None and self._stops.stops:
            self._record_stops({})
        self._tell("ready")
        _log.info("plan %d adopted", serving.plan.version)
        if old is not None:
            self._later(_close_unused(old, serving))

    def _answer_from(self, serving: Serving) -> None:
        """Adopt what a plan says, under the stops of this node."""
        self._serving = serving
        self._gateway.adopt(stopped_here(serving, self._stops.stops))
        self._tokens.suspend_here(people_stopped(self._stops.stops))

    def _forget_tokens(self) -> None:
        if self._gateway.serving is not None:
            self._gateway.serving.principals.forget()

    async def _follow_stops(self) -> None:
        while True:
            before = dict(self._stops.stops)
            if self._stops.changed() and self._serving is not None:
                self._answer_from(self._serving)
                self._record_stops(before)
                self._tell(self._state)
            await asyncio.sleep(_STOPS_S)

    async def _follow_tls(self) -> None:
        while True:
            await asyncio.sleep(_TLS_S)
            if self._tls is not None:
                self._tls.reload()

    def _record_stops(self, before: Mapping[str, StopHere]) -> None:
        """Put what this node's stop file changed on record; who and why is encrypted."""
        now = self._stops.stops
        for name in sorted(before.keys() ^ now.keys()):
            stop = now.get(name) or before[name]
            facts: dict[str, object] = {"worker": self._worker, "since": stop.at}
            private: dict[str, object] = {"by": stop.by, "reason": stop.reason}
            if name.startswith(PERSON):
                kind = "person.suspended_here" if name in now else "person.resumed_here"
                private["identity"] = name.rpartition(" ")[2]
            else:
                kind, facts["system"] = "system.stopped_here" if name in now else "system.started_here", name
            self._gateway.events.write(kind, facts, private)
            _log.warning("%s: %s", kind, facts.get("system", "a person"))

    async def _retry(self, stored: StoredPlan) -> None:
        """Try again the releases that could not be loaded: a copy of them may be on its way to this node."""
        await asyncio.sleep(_RETRY_S)
        if self._gateway.serving is not None and self._gateway.serving.digest == stored.digest:
            await self._adopt(stored)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _open_journal(self, steward_key: bytes) -> None:
        folder = self._home.journal / self._node
        self._journal = JournalWriter(folder, worker=self._worker, steward_key=steward_key)
        await self._journal.open()
        self._gateway.record_in(self._journal)

    async def _write_denials(self) -> None:
        while True:
            await asyncio.sleep(_DENIALS_S)
            self._gateway.events.write_denials()

    async def _share_metrics(self) -> None:
        while True:
            self._shared.write(self._gateway.metrics.snapshot())
            await asyncio.sleep(_METRICS_S)

    async def _look_for_failure(self) -> None:
        """After a failed record: say so for a moment, to clients and to /ready, then end for a new process."""
        await self._gateway.failed.wait()
        self._tell("failed")
        await asyncio.sleep(_FAREWELL_S)

    async def _drain(self, server: uvicorn.Server, answering: asyncio.Task[None]) -> None:
        """Answer what was accepted, end kept-alive connections with their next answer, then close the journal."""
        self._gateway.draining = True
        self._tell("draining")
        # First no new connections: other workers on the same socket take them. Then every answer says `connection:
        # close` for a moment, so that no busy connection is closed between two requests. Then uvicorn ends the rest.
        if server.started:
            for listener in server.servers:
                listener.close()
        await asyncio.sleep(_LAST_ANSWERS_S)
        server.should_exit = True
        await answering
        self._gateway.events.write_denials(everything=True)
        await self._metering.leave()
        if self._journal is not None:
            with contextlib.suppress(PilotageError):
                await self._journal.close()
        for task in self._background:
            task.cancel()
        if self._gateway.serving is not None:
            for model in self._gateway.serving.models.values():
                await model.close()
        self._engine.dispose()
        self._shared.forget()
        self._tell("stopped")

    def _tell(self, state: str) -> None:
        self._state, serving = state, self._serving
        told = WorkerState(
            pid=os.getpid(),
            node=self._node,
            worker=self._worker,
            state=state,
            plan=serving.plan.version if serving is not None else 0,
            at=now_us(),
            stopped=sorted(self._stops.stops),
        )
        path = self._home.run / f"gateway-{self._worker}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")
        new.write_bytes(msgspec.json.encode(told))
        new.replace(path)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the worker decides when it stops, and its own end comes after."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()


def _server(app: Gateway, drain_s: float, tls: Tls | None) -> _Server:
    # One line for each thing that is no HTTP would let strangers fill the disk; whoever sends it is told.
    logging.getLogger("uvicorn.error").addFilter(lambda record: "Invalid HTTP" not in record.getMessage())
    config = uvicorn.Config(
        app,
        http=BoundedHttp,
        loop="none",
        lifespan="off",
        ws="none",
        interface="asgi3",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(drain_s)),
        ssl_context_factory=(lambda _config, _default: tls.context) if tls is not None else None,
    )
    return _Server(config)


def _journal_of(serving: Serving) -> tuple[str, int]:
    """What of a plan asks for a new journal file when it changes."""
    return serving.plan.steward_key, serving.plan.journals_since


async def _close_unused(old: Serving, new: Serving) -> None:
    """Close the runtimes that only the old plan used, after the requests that it was answering."""
    unused = [model for key, model in old.models.items() if key not in new.models]
    if unused:
        await asyncio.sleep(max(live.route.deadline_ms for live in old.systems.values()) / 1_000 + 0.1)
    for model in unused:
        await model.close()
