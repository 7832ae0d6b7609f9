"""Replay a window of recorded decisions in chunks, and put on record what was found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from sqlalchemy import Engine

from pilotage.kernel.chunks import weighed
from pilotage.ledger.queries import DecisionRow, Ledger, RecordedDecision
from pilotage.releases.store import list_releases
from pilotage.replay.model import ReplayVerdict
from pilotage.replay.service import CHUNK, Replayer
from pilotage.replay.summary import Summary
from pilotage.replay.window import Window, read_each, rows_of
from pilotage.storage.database import reading, writing
from pilotage.storage.outbox import emit

__all__ = ["Progress", "record_replay", "replay_window", "runtimes_of"]

Progress = Callable[[int, int], None]
"""Told of (done, all) decisions."""

Read = tuple[DecisionRow, RecordedDecision | str]


def replay_window(
    ledger: Ledger,
    window: Window,
    replayer: Replayer,
    runtime_of: Callable[[str], str],
    progress: Progress = lambda done, total: None,
) -> Summary:
    """Answer every decision of a window again; memory does not grow with the window. Raises Unavailable."""
    started, summary, done = time.monotonic(), Summary(), 0
    total, rows = rows_of(ledger, window)
    progress(0, total)
    for chunk in _chunks(read_each(ledger, rows)):
        for (row, _), verdict in zip(chunk, _verdicts(chunk, replayer), strict=True):
            summary.add(row.release, runtime_of(row.release), verdict)
        done += len(chunk)
        progress(done, max(total, done))
    summary.seconds = time.monotonic() - started
    return summary


def _chunks(each: Iterable[Read]) -> Iterator[list[Read]]:
    return weighed(each, lambda read: read[0].length, most=CHUNK)


def _verdicts(chunk: Sequence[Read], replayer: Replayer) -> Iterator[ReplayVerdict]:
    replayed = replayer.verdicts([found for _, found in chunk if not isinstance(found, str)])
    for row, found in chunk:
        if isinstance(found, str):
            yield ReplayVerdict(decision=row.id, verdict="unreplayable", reason=found)
        else:
            yield next(replayed)


def runtimes_of(control: Engine, system: str = "") -> Callable[[str], str]:
    """What serves a release, by its digest; empty text for a release that is not registered here."""
    with reading(control) as connection:
        known = {each.digest: each.runtime for each in list_releases(connection, system)}
    return lambda release: known.get(release, "")


def record_replay(control: Engine, window: Window, summary: Summary, person: str) -> None:
    """Write the event `decisions.replayed`: that this was replayed, and with what result; who did is encrypted."""
    with writing(control) as connection:
        emit(
            connection,
            "decisions.replayed",
            system=window.wanted.system,
            release=window.wanted.release,
            facts={"window": window.as_dict(), **summary.as_dict()},
            private={"person": person},
        )
