"""The client of a gateway, for threads and for asyncio: the same calls, the same retries, the same errors."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx

from pilotage.client.calls import (
    Answered,
    Call,
    decide_call,
    describe_call,
    outcome_call,
    read_decision,
    read_decisions,
    read_description,
    read_told,
    ready_call,
)
from pilotage.client.errors import GatewayError, unreachable
from pilotage.client.model import Decision, Description, Told
from pilotage.client.retry import Retry

__all__ = ["AsyncClient", "Client"]


class _Settings:
    """What both clients are told: where, as whom, how long a call with all its retries may take, how often again."""

    def __init__(
        self, url: str, key: str, *, timeout_s: float = 10.0, retries: int = 3, idempotent: bool = True
    ) -> None:
        self.url, self.timeout_s = url.rstrip("/"), timeout_s
        self.headers = {"authorization": f"Bearer {key}", "user-agent": "pilotage-client"}
        self.retry = Retry(times=retries, random=random.random)
        self.idempotent = idempotent

    def once(self, key: str | None) -> str | None:
        """The idempotency key of a call: the given one, else a new one where the client sends any."""
        return key if key is not None or self.idempotent else ""

    def pause(
        self, call: Call, attempt: int, error: GatewayError, answered: Answered | httpx.TransportError, left_s: float
    ) -> float | None:
        """How long to wait before the next attempt, or None: give up."""
        sent = not isinstance(answered, httpx.ConnectError | httpx.ConnectTimeout) and error.status != 429
        if sent and not call.repeatable:
            return None
        return self.retry.pause(attempt, error, left_s)

    def failed(self, answered: Answered | httpx.TransportError) -> GatewayError | None:
        """What is wrong with an attempt; None when it is answered."""
        if isinstance(answered, httpx.TransportError):
            return unreachable(self.url, answered)
        return None if answered.decides else answered.error()


def _answered(response: httpx.Response) -> Answered:
    return Answered(status=response.status_code, headers=response.headers, body=response.content)


class Client:
    """Asks a gateway for decisions. Safe to share between threads; close it, or use it in a `with` block.

    `timeout_s` bounds a whole call. A call that finds the gateway busy, or no gateway, is repeated up to `retries`
    times with growing random pauses, or those that the gateway asks for. Each decision carries an Idempotency-Key, so
    that however often it is sent it is decided once; with `idempotent=False` it carries none, and is repeated only
    when it was surely not decided. `verify` is as httpx has it: False, or an SSL context for an authority of your own.
    Every call raises GatewayError; see `pilotage.client.errors`.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = 10.0,
        retries: int = 3,
        idempotent: bool = True,
        verify: Any = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._settings = _Settings(url, key, timeout_s=timeout_s, retries=retries, idempotent=idempotent)
        self._http = httpx.Client(headers=self._settings.headers, verify=verify, transport=transport)

    def decide(
        self, system: str, inputs: Mapping[str, Any], *, idempotency_key: str | None = None, trace: str | None = None
    ) -> Decision:
        """Decide one row. Raises Rejected with every fault when it does not fit the contract.

        `trace` is a W3C `traceparent`.
        """
        once = self._settings.once(idempotency_key)
        return read_decision(self._send(decide_call(system, inputs, once=once, trace=trace)))

    def decide_many(
        self,
        system: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        idempotency_key: str | None = None,
        trace: str | None = None,
    ) -> list[Decision]:
        """Decide many rows; each is a decision of its own, and those without an answer say why."""
        once = self._settings.once(idempotency_key)
        return read_decisions(self._send(decide_call(system, rows, once=once, trace=trace)))

    def describe(self, system: str) -> Description:
        """The live release of a system, its data contract, and a row that fits."""
        return read_description(self._send(describe_call(system)))

    def outcome(
        self,
        decision: str,
        value: object,
        *,
        at: str | None = None,
        source: str | None = None,
        system: str | None = None,
        idempotency_key: str | None = None,
    ) -> Told:
        """Tell what became of a decision; `at` is ISO 8601, `system` for a key that may tell of several."""
        once = self._settings.once(idempotency_key)
        return read_told(self._send(outcome_call(decision, value, at=at, source=source, system=system, once=once)))

    def ready(self) -> bool:
        """Whether the gateway can decide now; not repeated."""
        answered = self._attempt(ready_call(), self._settings.timeout_s)
        return isinstance(answered, Answered) and answered.status == 200

    def _send(self, call: Call) -> Answered:
        end, attempt = time.monotonic() + self._settings.timeout_s, 0
        while True:
            answered = self._attempt(call, end - time.monotonic())
            error = self._settings.failed(answered)
            if error is None and isinstance(answered, Answered):
                return answered
            assert error is not None  # noqa: S101 - what is no answer is an error
            pause = self._settings.pause(call, attempt, error, answered, end - time.monotonic())
            if pause is None:
                raise error
            time.sleep(pause)
            attempt += 1

    def _attempt(self, call: Call, left_s: float) -> Answered | httpx.TransportError:
        url = self._settings.url + call.path
        timeout = max(left_s, 0.001)
        try:
            return _answered(
                self._http.request(call.method, url, content=call.body, headers=call.headers, timeout=timeout)
            )
        except httpx.TransportError as error:
            return error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """The same as `Client`, for one event loop: every method is awaited."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = 10.0,
        retries: int = 3,
        idempotent: bool = True,
        verify: Any = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._settings = _Settings(url, key, timeout_s=timeout_s, retries=retries, idempotent=idempotent)
        self._http = httpx.AsyncClient(headers=self._settings.headers, verify=verify, transport=transport)

    async def decide(
        self, system: str, inputs: Mapping[str, Any], *, idempotency_key: str | None = None, trace: str | None = None
    ) -> Decision:
        """As `Client.decide`."""
        once = self._settings.once(idempotency_key)
        return read_decision(await self._send(decide_call(system, inputs, once=once, trace=trace)))

    async def decide_many(
        self,
        system: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        idempotency_key: str | None = None,
        trace: str | None = None,
    ) -> list[Decision]:
        """As `Client.decide_many`."""
        once = self._settings.once(idempotency_key)
        return read_decisions(await self._send(decide_call(system, rows, once=once, trace=trace)))

    async def describe(self, system: str) -> Description:
        """As `Client.describe`."""
        return read_description(await self._send(describe_call(system)))

    async def outcome(
        self,
        decision: str,
        value: object,
        *,
        at: str | None = None,
        source: str | None = None,
        system: str | None = None,
        idempotency_key: str | None = None,
    ) -> Told:
        """As `Client.outcome`."""
        once = self._settings.once(idempotency_key)
        call = outcome_call(decision, value, at=at, source=source, system=system, once=once)
        return read_told(await self._send(call))

    async def ready(self) -> bool:
        """As `Client.ready`."""
        answered = await self._attempt(ready_call(), self._settings.timeout_s)
        return isinstance(answered, Answered) and answered.status == 200

    async def _send(self, call: Call) -> Answered:
        end, attempt = time.monotonic() + self._settings.timeout_s, 0
        while True:
            answered = await self._attempt(call, end - time.monotonic())
            error = self._settings.failed(answered)
            if error is None and isinstance(answered, Answered):
                return answered
            assert error is not None  # noqa: S101 - what is no answer is an error
            pause = self._settings.pause(call, attempt, error, answered, end - time.monotonic())
            if pause is None:
                raise error
            await asyncio.sleep(pause)
            attempt += 1

    async def _attempt(self, call: Call, left_s: float) -> Answered | httpx.TransportError:
        url = self._settings.url + call.path
        timeout = max(left_s, 0.001)
        try:
            return _answered(
                await self._http.request(call.method, url, content=call.body, headers=call.headers, timeout=timeout)
            )
        except httpx.TransportError as error:
            return error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
