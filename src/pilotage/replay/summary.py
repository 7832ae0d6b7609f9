"""Verdicts added up: a window's replay as counts, worst difference and grouped reasons for each release."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, get_args

from pilotage.replay.model import ReplayVerdict, Verdict

__all__ = ["VERDICTS", "ReleaseSummary", "Summary"]

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_MOST_REASONS = 20
_MOST_EXAMPLES = 20


@dataclass(kw_only=True)
class ReleaseSummary:
    """One release's verdicts. `worst` is the largest difference of scores; `examples` are ids of what differs."""

    release: str
    runtime: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    worst: float = 0.0
    worst_decision: str = ""
    examples: list[str] = field(default_factory=list)

    def add(self, verdict: ReplayVerdict) -> None:
        """Count one more."""
        self.counts[verdict.verdict] += 1
        if verdict.reason:
            reason = _grouped(verdict.reason)
            known = (verdict.verdict, reason) in self.reasons or len(self.reasons) < _MOST_REASONS
            self.reasons[verdict.verdict, reason if known else "other reasons"] += 1
        if verdict.apart > self.worst:
            self.worst, self.worst_decision = verdict.apart, verdict.decision
        if verdict.verdict == "differs" and len(self.examples) < _MOST_EXAMPLES:
            self.examples.append(verdict.decision)

    def as_dict(self) -> dict[str, Any]:
        """JSON values; no personal data."""
        return {
            "release": self.release,
            "runtime": self.runtime,
            **{name: self.counts[name] for name in VERDICTS},
            "worst": self.worst,
            "worst_decision": self.worst_decision,
            "reasons": [
                {"verdict": verdict, "reason": reason, "decisions": count}
                for (verdict, reason), count in self.reasons.most_common()
            ],
            "examples": self.examples,
        }


@dataclass(kw_only=True)
class Summary:
    """All verdicts of a replay, by release."""

    releases: dict[str, ReleaseSummary] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, release: str, runtime: str, verdict: ReplayVerdict) -> None:
        """Count one more."""
        if release not in self.releases:
            self.releases[release] = ReleaseSummary(release=release, runtime=runtime)
        self.releases[release].add(verdict)

    @property
    def decisions(self) -> int:
        """How many were asked for."""
        return sum(each.counts.total() for each in self.releases.values())

    def count(self, verdict: Verdict) -> int:
        """How many of all got a verdict."""
        return sum(each.counts[verdict] for each in self.releases.values())

    def as_dict(self) -> dict[str, Any]:
        """JSON values; no personal data."""
        return {
            "decisions": self.decisions,
            **{name: self.count(name) for name in VERDICTS},
            "seconds": round(self.seconds, 3),
            "releases": [each.as_dict() for each in self.releases.values()],
        }


def _grouped(reason: str) -> str:
    """A reason without what is another for each decision."""
    return re.sub(r"scores are \S+ apart", "scores are apart", reason)[:500]
