"""After an upgrade of the installation: does a release still answer as it did? If not, its evidence is stale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from sqlalchemy import Engine

from pilotage.evidence.stale import make_stale
from pilotage.kernel.clock import now_us
from pilotage.ledger.queries import DecisionFilter, Ledger, RecordedDecision
from pilotage.replay.compare import hindrance
from pilotage.replay.service import Replayer
from pilotage.replay.summary import ReleaseSummary
from pilotage.replay.window import Window, read_each, rows_of
from pilotage.storage.database import writing
from pilotage.storage.outbox import emit

__all__ = ["REASON", "ReleaseCheck", "check_release"]

REASON = "serving environment changed"
_ABOUT_ANSWERS = ("backtest.", "conversion.", "environment.", "evaluation.", "explanation.", "reasons.", "serving.")
"""Checks whose evidence was measured on answers, and so holds only where the answers do."""


class ReleaseCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One release asked again in the environment that now serves. `stale` are the checks that it made stale.

    `environments` counts the decisions by the environment that answered them then.
    """

    system: str
    release: str
    environment: str
    environments: dict[str, int]
    found: dict[str, Any]
    stale: list[str]

    @property
    def differs(self) -> bool:
        """Whether any answer is another now, or is not given any more."""
        return bool(self.found["differs"] or self.found["unreplayable"])


def check_release(
    ledger: Ledger, control: Engine, replayer: Replayer, system: str, release: str, *, sample: int, last: int = 10_000
) -> ReleaseCheck:
    """Ask a release a sample of its newest decisions, here, whatever environment answered them; put it on record.

    `replayer` must answer `here`. Decisions that differ beyond the release's tolerance make its evidence stale.
    So does a release that does not answer any more. Raises Unavailable.
    """
    wanted = DecisionFilter(system=system, release=release, mode="live", outcome="answered")
    _, rows = rows_of(ledger, Window(wanted=wanted, last=last, sample=sample))
    environments: Counter[str] = Counter()
    found = ReleaseSummary(release=release)
    for verdict in replayer.verdicts(_counted((each for _, each in read_each(ledger, rows)), environments)):
        found.add(verdict)
    figures = {**found.as_dict(), "environments": dict(environments), "environment": replayer.environment}
    with writing(control) as connection:
        at = now_us()
        stale = []
        if found.counts["differs"] or found.counts["unreplayable"]:
            kept = {
                name: figures[name] for name in ("differs", "within_tolerance", "bit_exact", "worst", "environment")
            }
            stale = make_stale(
                connection, release, prefixes=_ABOUT_ANSWERS, reason=REASON, figures={**kept, "system": system}, at=at
            )
        emit(connection, "upgrade.checked", system=system, release=release, facts={**figures, "stale": stale}, at=at)
    return ReleaseCheck(
        system=system,
        release=release,
        environment=replayer.environment,
        environments=dict(environments),
        found=found.as_dict(),
        stale=stale,
    )


def _counted(decisions: Iterable[RecordedDecision | str], environments: Counter[str]) -> Iterator[RecordedDecision]:
    """The decisions that can be asked again, counted by the environment that answered them."""
    for each in decisions:
        if not isinstance(each, str) and not hindrance(each):
            environments[each.plain.environment] += 1
            yield each
