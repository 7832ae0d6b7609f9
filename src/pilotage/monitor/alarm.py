"""From verdicts on windows to an alarm that neither flaps nor sleeps: a pure step from one window to the next.

Raised when two of the last three judged windows drift, or at once when the effect is overwhelming. Cleared when three
judged windows in a row stay under half the act floor. For a while after clearing only the overwhelming raises again.
Windows without enough data decide nothing.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from pilotage.monitor.model import ColumnVerdict, Floors

__all__ = ["COOLDOWN_US", "OVERWHELMING", "Alarm", "step"]

OVERWHELMING = 0.25
COOLDOWN_US = 3_600_000_000
WINDOWS = 3
RAISING = 2


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """The alarm of one column and aspect. `changed` says what the last step did; times are Unix microseconds."""

    raised: bool = False
    since: int = 0
    cleared: int | None = None
    drifting: tuple[bool, ...] = ()
    calm: int = 0
    changed: Literal["", "raised", "cleared"] = ""


def step(alarm: Alarm, verdict: ColumnVerdict, at: int, *, floors: Floors, cooldown_us: int = COOLDOWN_US) -> Alarm:
    """The alarm after one more window, judged at `at`."""
    if verdict.verdict == "not enough data":
        return msgspec.structs.replace(alarm, changed="")
    drifts = verdict.verdict == "drift"
    drifting = (*alarm.drifting, drifts)[-WINDOWS:]
    calm = alarm.calm + 1 if verdict.psi < floors.act / 2 else 0
    if alarm.raised:
        if calm >= WINDOWS:
            return Alarm(cleared=at, changed="cleared")
        return msgspec.structs.replace(alarm, drifting=drifting, calm=calm, changed="")
    resting = alarm.cleared is not None and at - alarm.cleared < cooldown_us
    overwhelming = drifts and verdict.psi >= OVERWHELMING
    if overwhelming or (sum(drifting) >= RAISING and not resting):
        return Alarm(raised=True, since=at, cleared=alarm.cleared, drifting=drifting, changed="raised")
    return msgspec.structs.replace(alarm, drifting=drifting, calm=calm, changed="")
