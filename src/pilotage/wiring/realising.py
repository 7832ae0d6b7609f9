"""What is on record of a system's live decisions by month, beside its business case; kept as evidence."""

from __future__ import annotations

import calendar
import datetime
from typing import NamedTuple

import msgspec

from pilotage.access.model import Person, require
from pilotage.errors import NotFound
from pilotage.evidence.model import Evidence, tested
from pilotage.evidence.store import record
from pilotage.kernel.clock import day, now_us
from pilotage.ledger.outcomes import Outcomes
from pilotage.monitor.outcomes import realised_performance
from pilotage.rollout.model import live_after
from pilotage.rollout.service import history
from pilotage.storage.database import writing
from pilotage.value.model import Case
from pilotage.value.realised import Month, Seen, ValueVerdict, month_of, value_verdict
from pilotage.wiring.installation import Installation

__all__ = ["CHECK", "RealisedValue", "keep_value", "realised_value"]

CHECK = "value.realised"
LIFE_DAYS = 90

_DAY_US = 86_400_000_000
_MOST_MONTHS = 12
_ELIGIBLE = ("answered", "fallback", "review", "abstained", "refused")


class RealisedValue(NamedTuple):
    """The months since a system went live, the oldest first, at most twelve; the live release; the verdict."""

    release: str
    months: list[Month]
    verdict: ValueVerdict


def realised_value(installation: Installation, system: str, case: Case, at: int | None = None) -> RealisedValue:
    """What a system brought by month until a moment, of all releases that were live. Raises NotFound."""
    moment = now_us() if at is None else at
    acts = history(installation.control, system)
    placed = live_after(acts)
    if placed is None:
        raise NotFound(f"{system} has no live release", mend="promote one: pilotage promote --to internal")
    began = min(act.at for act in acts)
    releases = list(dict.fromkeys(act.release for act in acts))
    found = []
    for first, end in _months(began, moment)[-_MOST_MONTHS:]:
        seen = _seen(installation, system, releases, first, max(first, began), min(end, moment))
        year = int((first - began) / _DAY_US // 365)
        found.append(month_of(case, seen, max(0, year)))
    return RealisedValue(placed.release, found, value_verdict(found))


def keep_value(
    installation: Installation, person: Person, system: str, found: RealisedValue, sheet: str, at: int | None = None
) -> Evidence | None:
    """Record it as evidence about the live release; None, and nothing, while it is too early. `sheet` is its digest."""
    require(person, "release.backtest")
    if found.verdict == "too early":
        return None
    moment = now_us() if at is None else at
    whole = [each for each in found.months if each.whole]
    made = tested(
        CHECK,
        found.release,
        moment,
        grade="E4",
        expires=moment + LIFE_DAYS * _DAY_US,
        passed=found.verdict == "as planned" and (whole[-1].ratio or 0.0) >= 0.7,
        figures={
            "since": whole[0].month,
            "until": whole[-1].month,
            "verdict": found.verdict,
            "ratio": whole[-1].ratio,
            "sheet": sheet,
            "months": [msgspec.to_builtins(each) for each in whole],
        },
    )
    with writing(installation.control) as connection:
        record(connection, made)
    return made


def _months(began: int, until: int) -> list[tuple[int, int]]:
    """(first moment, first moment of the next) of each UTC month that a span touches."""
    at = datetime.datetime.fromtimestamp(began / 1e6, datetime.UTC).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    found = []
    while (first := round(at.timestamp() * 1_000_000)) < until:
        after = at + datetime.timedelta(days=calendar.monthrange(at.year, at.month)[1])
        found.append((first, round(after.timestamp() * 1_000_000)))
        at = after
    return found


def _seen(installation: Installation, system: str, releases: list[str], first: int, began: int, end: int) -> Seen:
    outcomes, month = Outcomes(installation.ledger_engine), day(first)[:7]
    since, until = day(began), day(end - 1)
    ended: dict[str, int] = {}
    known = wrong = missed = overruled = 0
    for release in releases:
        for on, counts in outcomes.decided(system, release).items():
            for name, count in counts.items() if since <= on <= until else ():
                ended[name] = ended.get(name, 0) + count
        whole = realised_performance(
            installation.control, outcomes, installation.releases, system, release, since=since, until=until, now=end
        ).whole
        known += whole.decisions
        wrong += whole.false_positive
        missed += whole.false_negative
        overruled += outcomes.overruled(system, release, began) - outcomes.overruled(system, release, end)
    return Seen(
        month=month,
        days=(end - began) / _DAY_US,
        eligible=sum(ended.get(name, 0) for name in _ELIGIBLE),
        answered=ended.get("answered", 0),
        overruled=overruled,
        reviewed=ended.get("review", 0) + ended.get("abstained", 0),
        known=known,
        false_positive=wrong,
        false_negative=missed,
    )
