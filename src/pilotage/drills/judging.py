"""What a drill showed, from its probes: pure. All moments are Unix microseconds, all spans seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from pilotage.drills.probing import Probe

__all__ = ["Change", "Drilled", "judge_fallback", "judge_rollback"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that a drill made: when it was committed, when the last worker had it, how many of the workers did."""

    committed: int
    adopted: int
    followed: int
    workers: int


class Drilled(msgspec.Struct, frozen=True, kw_only=True):
    """A drill that was made. `figures` go into the evidence; `faults` say why it did not pass, none that it did."""

    check: str
    system: str
    release: str
    figures: dict[str, Any]
    faults: list[str]

    @property
    def passed(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.faults


def judge_rollback(
    probes: Sequence[Probe], there: Change, back: Change, *, system: str, left: str, to: str, limit_s: float
) -> Drilled:
    """A rollback from the release `left` to `to` and the way back, each within the limit, and nobody unanswered."""
    during = [each for each in probes if there.committed <= each.sent < back.committed]
    after = [each for each in probes if each.sent >= back.committed]
    seconds = _seconds(there, during, lambda each: each.release == to)
    returned = _seconds(back, after, lambda each: each.release == left)
    faults = [
        *_unanswered(probes),
        *_late("the rollback", there, seconds, limit_s),
        *_late("the way back", back, returned, limit_s),
        *_unseen("the release before", during, lambda each: each.release == to),
        *_unseen("the release itself again", after, lambda each: each.release == left),
    ]
    figures = {"seconds": seconds, "return_seconds": returned, "from": left, "to": to, "limit_seconds": limit_s}
    figures["answered_before"] = sum(each.release == to for each in during)
    return Drilled(
        check="drill.rollback",
        system=system,
        release=left,
        figures=figures | _counts(probes, there),
        faults=faults,
    )


def judge_fallback(
    probes: Sequence[Probe], gone: Change, back: Change, *, system: str, release: str, limit_s: float
) -> Drilled:
    """A model that was away and came back: meanwhile each answer was marked as a fallback, and nobody unanswered."""
    during = [each for each in probes if gone.committed <= each.sent < back.committed]
    after = [each for each in probes if each.sent >= back.committed]
    seconds = _seconds(gone, during, _fell_back)
    recovery = _seconds(back, after, lambda each: not _fell_back(each) and not each.failed)
    unmarked = [each for each in during if each.sent > gone.adopted and not each.failed and not _fell_back(each)]
    faults = [
        *_unanswered(probes),
        *_late("until the fallback answered", gone, seconds, limit_s),
        *_late("the recovery", back, recovery, limit_s),
        *([f"{len(unmarked)} answers while the model was away were not marked as fallbacks"] if unmarked else []),
        *_unseen("the fallback", during, _fell_back),
        *_unseen("the model again", after, lambda each: not _fell_back(each) and not each.failed),
    ]
    arms = Counter(each.arm for each in during if _fell_back(each))
    figures = {
        "seconds": seconds,
        "recovery_seconds": recovery,
        "away_seconds": round((back.committed - gone.committed) / 1e6, 3),
        "fallbacks": arms.total(),
        "unmarked": len(unmarked),
        "answered_by": dict(sorted(arms.items())),
        "limit_seconds": limit_s,
    }
    return Drilled(
        check="drill.fallback",
        system=system,
        release=release,
        figures=figures | _counts(probes, gone),
        faults=faults,
    )


def _fell_back(probe: Probe) -> bool:
    return probe.outcome == "fallback"


def _seconds(change: Change, after: Sequence[Probe], as_wanted: Callable[[Probe], bool]) -> float:
    """From the commit until every worker had the plan, and until the last request was sent that went the old way."""
    late = max((each.sent for each in after if not each.failed and not as_wanted(each)), default=0)
    return round((max(change.adopted, late) - change.committed) / 1e6, 3)


def _unanswered(probes: Sequence[Probe]) -> list[str]:
    failed = Counter(each.error or str(each.status) for each in probes if each.failed)
    return [f"{failed.total()} requests had no answer: {', '.join(sorted(failed))}"] if failed else []


def _late(what: str, change: Change, seconds: float, limit_s: float) -> list[str]:
    if change.followed < change.workers or not change.workers:
        return [f"{what}: {change.followed} of {change.workers} workers followed"]
    return [f"{what} took {seconds:g} s, {limit_s:g} are allowed"] if seconds > limit_s else []


def _unseen(what: str, probes: Sequence[Probe], wanted: Callable[[Probe], bool]) -> list[str]:
    return [] if any(map(wanted, probes)) else [f"no request was answered by {what}"]


def _counts(probes: Sequence[Probe], change: Change) -> dict[str, Any]:
    return {"requests": len(probes), "failures": sum(each.failed for each in probes), "workers": change.workers}
