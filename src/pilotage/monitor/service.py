"""The state of a system's monitor: counts summed over a window of sealed batches, judged against the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pilotage.errors import IntegrityError, NotFound
from pilotage.kernel.digests import short
from pilotage.ledger.queries import CountRow, Ledger
from pilotage.monitor.drift import false_alarm_rate, judge
from pilotage.monitor.model import MonitorStatus
from pilotage.profiles.counts import Counts, total
from pilotage.profiles.model import ReferenceProfile

__all__ = ["status"]


def status(
    ledger: Ledger,
    profile_of: Callable[[str], ReferenceProfile | None],
    system: str,
    release: str,
    *,
    arm: str = "",
    since: int | None = None,
    until: int | None = None,
    last: int | None = None,
    self_test: int = 0,
) -> MonitorStatus:
    """The verdicts on the live decisions of one release that are sealed.

    The window is of whole batches: those that began in [since, until) (Unix microseconds), or of them the newest that
    together hold at least `last` rows. Thus adjoining windows share no row. `self_test` windows are drawn from the
    reference to measure the rate of false alarms; 0 measures none. Raises NotFound for a release without a profile,
    IntegrityError when its counts do not fit it.
    """
    profile = profile_of(release)
    if profile is None:
        raise NotFound("the release has no reference profile", got=release, mend="check the release's digest")
    batches = [
        row
        for row in ledger.profile_counts(system, release, arm, since, until)
        if since is None or row.from_at >= since
    ]
    window = batches if last is None else _newest(batches, last)
    counts = total(row.counts for row in window)
    _refuse_misfits(profile, counts, release)
    report = judge(profile, counts or _nothing(profile))
    rows = sum(row.rows for row in window)
    return MonitorStatus(
        system=system,
        release=release,
        arm=arm,
        rows=rows,
        batches=len(window),
        since=min((row.from_at for row in window), default=0),
        until=max((row.to_at for row in window), default=0),
        reference=f"all reference rows of release {short(release)}",
        reference_rows=profile.rows,
        columns=list(report.columns),
        shifted=report.shifted,
        watched=report.watched,
        score=report.score,
        false_alarms=false_alarm_rate(profile, rows, self_test) if self_test and rows else None,
    )


def _newest(batches: Sequence[CountRow], rows: int) -> list[CountRow]:
    taken: list[CountRow] = []
    for batch in sorted(batches, key=lambda batch: (batch.to_at, batch.batch), reverse=True):
        if sum(row.rows for row in taken) >= rows:
            break
        taken.append(batch)
    return taken


def _nothing(profile: ReferenceProfile) -> Counts:
    return {column.name: [0] * column.cells for column in profile.columns}


def _refuse_misfits(profile: ReferenceProfile, counts: Counts, release: str) -> None:
    wrong = [column.name for column in profile.columns if len(counts.get(column.name, column.counts)) != column.cells]
    if wrong:
        raise IntegrityError(
            f"the counts of release {short(release)} do not fit its profile",
            got=", ".join(wrong),
            expected="counts made with this profile",
            mend="verify the ledger and the release's files",
        )
