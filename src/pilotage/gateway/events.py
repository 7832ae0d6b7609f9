"""What a worker puts on record beside its decisions: events, and the denials of each minute that is over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from pilotage.errors import Unavailable
from pilotage.gateway.denials import Denials
from pilotage.gateway.record import Chance, Journal, event_frame
from pilotage.kernel.clock import Clock
from pilotage.ledger.frames import FrameKind

__all__ = ["Events"]

_log = logging.getLogger(__name__)


class Events:
    """The events of a worker; nobody waits for one. Until there is a `journal` none is written.

    `failed` is called when the journal takes none any more.
    """

    def __init__(self, denials: Denials, chance: Chance, clock: Clock, failed: Callable[[], None]) -> None:
        self.journal: Journal | None = None
        self._denials, self._chance, self._clock, self._failed = denials, chance, clock, failed

    def write(self, kind: str, facts: dict[str, object], private: dict[str, object] | None = None) -> None:
        """Put an event into the journal's next group. `facts` hold no personal data; `private` is encrypted."""
        if self.journal is None:
            return
        plain, secret = event_frame(kind, self._clock(), self._chance.take(32), facts, private or {})
        try:
            self.journal.submit(FrameKind.event, plain, secret).add_done_callback(_look_at)
        except Unavailable:
            self._failed()

    def write_denials(self, *, everything: bool = False) -> None:
        """Put the denials of the minutes that are over into the journal; also of this minute when `everything`."""
        if self.journal is None:
            return
        for denial in self._denials.due(self._clock(), everything=everything):
            facts = {"source": denial.source, "code": denial.code, "minute": denial.minute, "count": denial.count}
            self.write("request.denied", facts, {"origin": denial.origin})


def _look_at(future: asyncio.Future[None]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        _log.error("an event did not reach the journal: %s", error)
