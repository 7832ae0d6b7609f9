"""Requests of a drill: at an even rate, each on a connection of its own, so that every worker is met."""

from __future__ import annotations

import http.client
import itertools
import json
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from pilotage.kernel.clock import now_us

__all__ = ["Probe", "Prober"]

_TIMEOUT_S = 10.0
_ANSWERED = (200, 202)


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a drill: when it was sent and answered (Unix microseconds), and how it ended.

    `status` is 0 where nothing came back, and `error` then says why. `arm` is what answered: the champion, the release
    before it, or the rules.
    """

    sent: int
    done: int
    status: int
    outcome: str = ""
    release: str = ""
    arm: str = ""
    error: str = ""

    @property
    def failed(self) -> bool:
        """Whether its caller was left without an answer, even one that says that a person will decide."""
        return self.status not in _ANSWERED


class Prober:
    """Asks a system from several threads between `with` and its end; `probes` are those that ended, in any order."""

    def __init__(
        self,
        address: str,
        system: str,
        key: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        context: ssl.SSLContext | None = None,
        per_second: float = 40.0,
        threads: int = 4,
    ) -> None:
        self._at, self._context = urlsplit(address), context
        self._path = f"/v1/systems/{quote(system, safe='')}/decide"
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json", "connection": "close"}
        bodies = [json.dumps({"inputs": row}).encode() for row in rows]
        self._pause = threads / per_second
        self.probes: list[Probe] = []
        self._over = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._run, args=(itertools.cycle(bodies[at % len(bodies) :] + bodies),), daemon=True
            )
            for at in range(threads)
        ]

    def __enter__(self) -> Prober:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(_TIMEOUT_S + 1)

    def _run(self, bodies: itertools.cycle[bytes]) -> None:
        due = time.monotonic()
        while not self._over.is_set():
            self.probes.append(self._ask(next(bodies)))
            due += self._pause
            self._over.wait(max(0.0, due - time.monotonic()))

    def _ask(self, body: bytes) -> Probe:
        sent, host, port = now_us(), self._at.hostname or "", self._at.port
        connection: http.client.HTTPConnection
        if self._at.scheme == "https":
            connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=self._context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", self._path, body, self._headers)
            reply = connection.getresponse()
            told = json.loads(reply.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Probe(sent=sent, done=now_us(), status=0, error=type(error).__name__)
        finally:
            connection.close()
        return Probe(
            sent=sent,
            done=now_us(),
            status=reply.status,
            outcome=str(told.get("outcome", "")),
            release=str(told.get("release", "")),
            arm=reply.headers.get("pilotage-answered-by", ""),
            error=str((told.get("error") or {}).get("code", "")),
        )
