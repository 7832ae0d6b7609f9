"""Whether figures of an evaluation hold what was declared that they must."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilotage.systems.evaluating import METRICS

__all__ = ["judged_limits"]


def judged_limits(limits: Mapping[str, float], evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each limit: {name, limit, value, holds, certain}. A figure that was not measured does not hold.

    `certain` says that the whole 95 % interval is on the side of the figure; False also where there is no interval.
    """
    calibration = evaluation.get("calibration") or {}
    figures = {**evaluation["metrics"], "calibration_error": calibration.get("expected_error")}
    found = []
    for name, limit in limits.items():
        value, span = figures.get(name), evaluation["intervals_95"].get(name)
        if value is None:
            found.append({"name": name, "limit": limit, "value": None, "holds": False, "certain": False})
            continue
        holds, *ends = [(each >= limit) if METRICS[name] else (each <= limit) for each in (value, *(span or ()))]
        certain = bool(ends) and set(ends) == {holds}
        found.append({"name": name, "limit": limit, "value": value, "holds": holds, "certain": certain})
    return found
