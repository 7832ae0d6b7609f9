"""A backtest: what a candidate answers to recorded decisions, beside what was answered then. Pure; see backtesting."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from pilotage.evaluation.intervals import Rate, mean_interval, wilson
from pilotage.replay.against import Known, Told
from pilotage.replay.shift import Latency, Shift, latency, score_shift

__all__ = ["FEWEST", "Backtest", "Flip", "Limits", "SegmentFigures", "Tally", "Trial"]

FEWEST = 20
"""A segment of fewer decisions is left out: its figures would be noise, and might tell of single persons."""

_MOST_SEGMENTS = 60
_MOST_FAULTS = 50


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One decision and the candidate's answer to it.

    `outcome` as recorded. `old` and `new` are (label, score), None where there is no answer. The faults are
    `code@path`. `told` is what became of it, as it is counted, and whether that is the `positive` class; None where
    nothing is told, or tells no class. `segments` are (dimension, value). Times are microseconds, None where not taken:
    `recorded_us` on the day, `champion_us` and `candidate_us` now, side by side.
    """

    outcome: str
    old: tuple[str, float] | None = None
    new: tuple[str, float] | None = None
    old_faults: Sequence[str] = ()
    new_faults: Sequence[str] = ()
    failure: str = ""
    segments: Sequence[tuple[str, str]] = ()
    told: str | None = None
    positive: bool | None = None
    recorded_us: float | None = None
    champion_us: float | None = None
    candidate_us: float | None = None


class Flip(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that changed from one label to another. `cost` is what the declared costs make of them."""

    old: str
    new: str
    decisions: int
    cost: float | None = None


class SegmentFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the window. `shift` is the mean of new - old scores with its interval [low, high]."""

    dimension: str
    value: str
    decisions: int
    flips: Rate
    newly_faulty: Rate
    shift: float
    shift_low: float
    shift_high: float


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a backtest must stay within to pass: the upper ends of both intervals, and enough decisions."""

    max_flips: float = 0.10
    max_new_faults: float = 0.01
    fewest: int = 100


class Backtest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole report.

    `outcomes` counts what was recorded, `skipped` what could not be asked and why. `flips` is over the decisions that
    both answered. `newly_faulty`: the candidate's contract rejects what the champion answered; `newly_answered`: the
    reverse. `unanswered`: of the decisions that the champion did not answer itself (fallback, abstained, review,
    refused), how many the candidate would have; they are no flips. `missing` says why it did not pass. `realised` holds
    both against what became of the decisions; None where nothing is told.
    """

    system: str
    candidate: str
    champions: dict[str, int]
    environment: str
    window: dict[str, Any]
    at: int
    decisions: int
    outcomes: dict[str, int]
    skipped: dict[str, int]
    flips: Rate
    changes: list[Flip]
    cost: float | None
    cost_per_1000: float | None
    newly_faulty: Rate
    newly_answered: Rate
    new_faults: dict[str, int]
    gone_faults: dict[str, int]
    unanswered: dict[str, Rate]
    failures: dict[str, int]
    shift: Shift | None
    latency: dict[str, Latency]
    fewest: int
    segments: list[SegmentFigures]
    left_out: int
    limits: Limits
    missing: list[str]
    seconds: float
    realised: Told | None = None

    @property
    def passed(self) -> bool:
        """Whether it stayed within its limits."""
        return not self.missing

    def figures(self) -> dict[str, Any]:
        """What evidence keeps of it."""
        return {
            "decisions": self.decisions,
            "compared": self.flips.of,
            "flips": msgspec.to_builtins(self.flips),
            "newly_faulty": msgspec.to_builtins(self.newly_faulty),
            "psi": self.shift.psi if self.shift else None,
            "champions": self.champions,
            "window": self.window,
            "environment": self.environment,
            "limits": msgspec.to_builtins(self.limits),
            "missing": self.missing,
            **({"realised": msgspec.to_builtins(self.realised.whole)} if self.realised else {}),
        }


@dataclass
class _Part:
    """What is added up of a segment, in memory that does not grow."""

    decisions: int = 0
    compared: int = 0
    flips: int = 0
    champion_answered: int = 0
    newly_faulty: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, trial: Trial) -> None:
        self.decisions += 1
        if trial.outcome == "answered":
            self.champion_answered += 1
            self.newly_faulty += bool(trial.new_faults)
        if _compared(trial) and trial.old and trial.new:
            self.compared += 1
            self.flips += trial.old[0] != trial.new[0]
            moved = trial.new[1] - trial.old[1]
            self.total += moved
            self.squares += moved * moved

    def figures(self, dimension: str, value: str) -> SegmentFigures:
        mean, low, high = mean_interval(self.compared, self.total, self.squares)
        return SegmentFigures(
            dimension=dimension,
            value=value,
            decisions=self.decisions,
            flips=wilson(self.flips, self.compared),
            newly_faulty=wilson(self.newly_faulty, self.champion_answered),
            shift=mean,
            shift_low=low,
            shift_high=high,
        )


def _compared(trial: Trial) -> bool:
    return trial.outcome == "answered" and trial.old is not None and trial.new is not None


def _numbers() -> array[float]:
    return array("d")


@dataclass(kw_only=True)
class Tally:
    """Adds trials up; 40 bytes of memory a decision, for exact quantiles, and about as much for a known outcome."""

    known: Known
    outcomes: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    champions: Counter[str] = field(default_factory=Counter)
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    new_faults: Counter[str] = field(default_factory=Counter)
    gone_faults: Counter[str] = field(default_factory=Counter)
    would_answer: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    newly_answered: int = 0
    whole: _Part = field(default_factory=_Part)
    parts: dict[tuple[str, str], _Part] = field(default_factory=dict)
    old: array[float] = field(default_factory=_numbers)
    new: array[float] = field(default_factory=_numbers)
    recorded_us: array[float] = field(default_factory=_numbers)
    champion_us: array[float] = field(default_factory=_numbers)
    candidate_us: array[float] = field(default_factory=_numbers)

    def skip(self, outcome: str, reason: str) -> None:
        """A decision that cannot be asked."""
        self.outcomes[outcome] += 1
        self.skipped[reason] += 1

    def add(self, champion: str, trial: Trial) -> None:
        """One decision that the candidate was asked."""
        self.outcomes[trial.outcome] += 1
        self.asked[trial.outcome] += 1
        self.champions[champion] += 1
        self.whole.add(trial)
        for key in trial.segments:
            self.parts.setdefault(key, _Part()).add(trial)
        if trial.failure:
            self.failures[trial.failure] += 1
        self._add_faults(trial)
        if trial.outcome not in ("answered", "rejected") and trial.new:
            self.would_answer[trial.outcome] += 1
        if _compared(trial) and trial.old and trial.new:
            self.old.append(trial.old[1])
            self.new.append(trial.new[1])
            self.known.add(trial.segments, trial.old, trial.new, trial.told, trial.positive)
            if trial.old[0] != trial.new[0]:
                self.changes[trial.old[0], trial.new[0]] += 1
        for us, times in (
            (trial.recorded_us, self.recorded_us),
            (trial.champion_us, self.champion_us),
            (trial.candidate_us, self.candidate_us),
        ):
            if us is not None:
                times.append(us)

    def _add_faults(self, trial: Trial) -> None:
        if trial.failure or trial.outcome not in ("answered", "rejected"):
            return
        self.new_faults.update(set(trial.new_faults) - set(trial.old_faults))
        self.gone_faults.update(set(trial.old_faults) - set(trial.new_faults))
        self.newly_answered += trial.outcome == "rejected" and trial.new is not None

    def report(
        self,
        *,
        system: str,
        candidate: str,
        environment: str,
        window: dict[str, Any],
        at: int,
        limits: Limits,
        costs: Mapping[tuple[str, str], float],
        seconds: float,
    ) -> Backtest:
        """The report. `costs` are by (old label, new label); a change that has none costs nothing."""
        flips = wilson(self.whole.flips, self.whole.compared)
        newly_faulty = wilson(self.whole.newly_faulty, self.whole.champion_answered)
        cost = sum(costs.get(change, 0.0) * count for change, count in self.changes.items()) if costs else None
        shown = {key: part for key, part in self.parts.items() if part.decisions >= FEWEST}
        ordered = sorted(shown.items(), key=lambda item: (item[0][0], -item[1].decisions, item[0][1]))[:_MOST_SEGMENTS]
        others = [each for each in self.outcomes if each not in ("answered", "rejected") and self.asked[each]]
        return Backtest(
            system=system,
            candidate=candidate,
            champions=dict(self.champions),
            environment=environment,
            window=window,
            at=at,
            decisions=self.outcomes.total(),
            outcomes=dict(self.outcomes),
            skipped=dict(self.skipped),
            flips=flips,
            changes=[
                Flip(old=old, new=new, decisions=count, cost=costs.get((old, new), 0.0) * count if costs else None)
                for (old, new), count in self.changes.most_common()
            ],
            cost=cost,
            cost_per_1000=None if cost is None or not flips.of else 1_000 * cost / flips.of,
            newly_faulty=newly_faulty,
            newly_answered=wilson(self.newly_answered, self.asked["rejected"]),
            new_faults=dict(self.new_faults.most_common(_MOST_FAULTS)),
            gone_faults=dict(self.gone_faults.most_common(_MOST_FAULTS)),
            unanswered={each: wilson(self.would_answer[each], self.asked[each]) for each in others},
            failures=dict(self.failures.most_common(_MOST_FAULTS)),
            shift=score_shift(np.frombuffer(self.old or _ZERO), np.frombuffer(self.new or _ZERO)),
            latency={
                "recorded": latency(self.recorded_us),
                "champion": latency(self.champion_us),
                "candidate": latency(self.candidate_us),
            },
            fewest=FEWEST,
            segments=[part.figures(*key) for key, part in ordered],
            left_out=len(self.parts) - len(ordered),
            limits=limits,
            missing=_missing(flips, newly_faulty, self.failures.total(), limits),
            seconds=round(seconds, 3),
            realised=self.known.told(),
        )


_ZERO = array("d", [0.0])


def _missing(flips: Rate, newly_faulty: Rate, failures: int, limits: Limits) -> list[str]:
    """Why a backtest does not pass, in words; nothing when it does."""
    found = []
    if flips.of < limits.fewest:
        found.append(f"{flips.of} decisions were compared, at least {limits.fewest} are needed")
    if failures:
        found.append(f"the candidate failed on {failures} decisions")
    for name, rate, most in (
        ("answers change", flips, limits.max_flips),
        ("answered rows are rejected", newly_faulty, limits.max_new_faults),
    ):
        if rate.of and rate.high > most:
            found.append(f"up to {rate.high:.2%} of {name}, at most {most:.2%} may (measured: {rate.rate:.2%})")
    return found
