"""When a pipeline is due: five fields of cron, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

from cronsim import CronSim, CronSimError

from pilotage.errors import InputError
from pilotage.workflows.model import Schedule

__all__ = ["check_cron", "due", "next_due"]

_COUNTED = 1_000


def check_cron(text: str, now: int) -> None:
    """Raise InputError unless it is a cron expression that comes true one day."""
    try:
        next(CronSim(text, _moment(now)))
    except (CronSimError, StopIteration) as error:
        raise InputError(
            "not a schedule",
            got=text[:128],
            expected="five fields of cron: minute, hour, day, month, weekday; in UTC",
            code="pipeline_cron",
            mend='write it so: --cron "0 3 * * 1" is each Monday at three',
        ) from error


def due(schedule: Schedule, now: int) -> tuple[int, int] | None:
    """(the newest due time that has passed and was not taken, how many passed before it); None when none has.

    Unix microseconds. What was missed is run once, not as often as it was missed; at most 1,000 are counted.
    """
    after = CronSim(schedule.cron, _moment(max(schedule.last, schedule.since)))
    limit = _moment(now)
    passed = []
    for moment in islice(after, _COUNTED):
        if moment > limit:
            break
        passed.append(moment)
    if not passed:
        return None
    newest = passed[-1] if len(passed) < _COUNTED else next(CronSim(schedule.cron, limit, reverse=True))
    return round(newest.timestamp()) * 1_000_000, len(passed) - 1


def next_due(schedule: Schedule, now: int) -> int:
    """The next due time after now, Unix microseconds."""
    return round(next(CronSim(schedule.cron, _moment(now))).timestamp()) * 1_000_000


def _moment(us: int) -> datetime:
    return datetime.fromtimestamp(us // 1_000_000, UTC)
