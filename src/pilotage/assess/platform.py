"""What the platform knows of a release as evidence for criteria: its builds, suites, scans, drills and gates. Pure.

Each check of the gate speaks for the criteria named here; of a check only the newest evidence counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pilotage.assess.model import Grade, Observation
from pilotage.evaluation.intervals import wilson
from pilotage.evaluation.refits import KINDS
from pilotage.evidence.model import Evidence
from pilotage.gates.model import Approval, Passage
from pilotage.gates.policy import check_words
from pilotage.kernel.clock import day
from pilotage.kernel.digests import short

__all__ = ["SPEAKS_FOR", "Known", "Lapsed", "approved", "evaluated", "lapsed", "told"]


class Known(NamedTuple):
    """The newest evidence of a check; `why_not` says why it does not count (an event, a change after it was recorded);
    empty: it does."""

    fact: Evidence
    why_not: str = ""


class Lapsed(NamedTuple):
    """Evidence that counts for nothing, and why."""

    criterion: str
    grade: Grade
    summary: str
    collected: int
    why: str
    renew: str = ""
    evidence: str = ""


SPEAKS_FOR: dict[str, tuple[str, ...]] = {
    "contract.valid": ("data.schema", "data.present"),
    "evaluation.holdout": ("model.held_out",),
    "evaluation.baseline": ("model.beats_baseline", "model.simpler"),
    "evaluation.slices": ("model.slices",),
    "evaluation.leakage": ("data.leakage",),
    "evaluation.messy": ("model.messy_input",),
    "evaluation.stability": ("model.stable",),
    "evaluation.fairness": ("governance.bias",),
    "fairness.reviewed": ("governance.bias",),
    "serving.load": ("infrastructure.load",),
    "conversion.equal": ("model.loads", "model.predicts", "model.preprocessing"),
    "environment.locked": ("infrastructure.pins", "infrastructure.python", "infrastructure.environment"),
    "environment.scanned": ("infrastructure.vulnerabilities", "governance.dependency_licences"),
    "reasons.permitted": ("governance.protected_inputs",),
    "reasons.complete": ("governance.reasons",),
    "backtest.recorded": ("model.predicts",),
    "environment.rebuilt": ("infrastructure.environment",),
    "drill.rollback": ("infrastructure.rollback",),
    "value.realised": ("business.value_realised",),
}
"""The criteria that each check of a release is evidence for."""

_NO_GATE = {
    "environment.rebuilt": (
        "the environment was built anew from its lock, and answered the evaluation set as the release did",
        "pilotage release verify REF --rebuild",
    ),
    "value.realised": ("it brings what its business case planned", "pilotage value realised --keep"),
    "evaluation.stability": (
        "how much of what it answers is the luck of its training was measured",
        "pilotage evaluate REF --stability",
    ),
}
"""What a check asserts and the command that makes its evidence, of those that no gate demands."""

_READ: dict[str, Grade] = {"evaluation.slices": "E2"}
"""What only shows that something was looked at: a table of slices is there, how good they are it does not judge."""

_HALF = 0.5
_COMPLETE = 0.9
_ENOUGH_ROWS, _ENOUGH_RARE, _SOME_RARE = 1000, 200, 50
_CALIBRATED = 0.05
_FLIPS = {"seed": (0.01, 0.05), "rows": (0.05, 0.15)}
"""The shares of held-out rows that two refits may answer otherwise, by what is other about them: up to the first a
model is stable, past the second it is not (defaults of ours)."""
_TARGET_TIMES = 1.5


def told(known: Mapping[str, Known], approvals: Sequence[Approval], at: int) -> Iterator[Observation]:
    """Every criterion that a check speaks for, by the newest evidence that counts. `approvals` are of this release."""
    for check, (fact, why_not) in known.items():
        if why_not or check not in SPEAKS_FOR:
            continue
        title, renew = _words(check)
        for criterion in SPEAKS_FOR[check]:
            found = _level(criterion, fact, approvals, at)
            if found is None:
                continue
            level, words = found
            yield Observation(
                criterion=criterion,
                grade=_READ.get(check, fact.grade),
                level=level,
                summary=f"{check} {'passed' if fact.passed else 'failed'} on {day(fact.collected)}: {words or title}",
                collector=fact.producer if fact.method == "TEST" else "a person",
                collected=fact.collected,
                subject=fact.subject,
                figures=_brief(fact.figures),
                expires=fact.expires,
                renew=renew,
                evidence=fact.id,
            )


def lapsed(known: Mapping[str, Known]) -> Iterator[Lapsed]:
    """The same of the evidence that does not count."""
    for check, (fact, why_not) in known.items():
        for criterion in SPEAKS_FOR.get(check, ()) if why_not else ():
            summary = f"{check} {'passed' if fact.passed else 'failed'} on {day(fact.collected)}"
            yield Lapsed(criterion, fact.grade, summary, fact.collected, why_not, _words(check)[1], fact.id)


def approved(passage: Passage | None, persons: Iterable[str], author: str) -> Iterator[Observation]:
    """Four eyes, from the gate that the live release passed; `persons` gave the approvals that it read."""
    if passage is None:
        return
    others = {person for person in persons if person and person != author}
    roles = ", ".join(role.role.replace("_", " ") for role in passage.verdict.approvals)
    yield Observation(
        criterion="governance.four_eyes",
        grade="E3",
        level=1.0 if len(others) > 1 else _HALF if others else 0.0,
        summary=f"the gate to {passage.stage} was passed on {day(passage.at)} with {len(others)} approvals: {roles}",
        collector="the gate",
        collected=passage.at,
        subject=passage.release,
        renew=f"pilotage approve --release {short(passage.release)}",
        evidence=passage.id,
    )


def evaluated(document: Mapping[str, Any], release: str, created: int) -> Iterator[Observation]:
    """What the evaluation in a release (`evaluation.json`) shows beside the checks of the gate: whether there were
    enough rows, calibration, and whether it finds more than picking at random would; by the bounds of the probes of an
    assessment. A release from before a figure was measured says nothing of it."""

    def shown(criterion: str, level: float, words: str, **figures: float) -> Observation:
        return Observation(
            criterion=criterion,
            grade="E3",
            level=level,
            summary=f"evaluation of the build: {words}",
            collector="the build",
            collected=created,
            subject=release,
            figures=dict(figures),
            renew="pilotage release build",
        )

    rows = document.get("rows") or {}
    if not {"held_out", "others", "positives_held_out"} <= rows.keys():
        return
    held_out = rows["held_out"]
    every, positives = held_out + rows["others"], rows["positives_held_out"]
    rarer = round(every * min(positives, held_out - positives) / max(held_out, 1))
    level = 1.0 if every >= _ENOUGH_ROWS and rarer >= _ENOUGH_RARE else _HALF if rarer >= _SOME_RARE else 0.0
    yield shown("data.volume", level, f"{every:,} rows, about {rarer:,} of the rarer outcome", rows=every)
    calibration, counts = document.get("calibration"), document.get("confusion")
    if calibration:
        error = float(calibration["expected_error"])
        words = f"expected calibration error {error:.4f}, limit {_CALIBRATED:g}"
        yield shown("model.calibrated", float(error <= _CALIBRATED), words, error=error)
    if counts and counts["true_positive"] + counts["false_positive"]:
        hit = counts["true_positive"]
        right, base = wilson(hit, hit + counts["false_positive"]), positives / max(held_out, 1)
        level = 1.0 if right.low > base else 0.0 if right.high <= base else _HALF
        words = f"of what it flags {right.rate:.1%} are so, {base:.1%} are in all"
        yield shown("business.operating_point", level, words, precision=right.rate, base_rate=base)


def _words(check: str) -> tuple[str, str]:
    return _NO_GATE.get(check) or check_words(check)


def _level(criterion: str, fact: Evidence, approvals: Sequence[Approval], at: int) -> tuple[float, str] | None:
    """How far a criterion holds by one piece of evidence, and in which words where the check's own do not do; None
    where the evidence has no figure of it, and so says nothing."""
    figures = fact.figures
    match criterion:
        case "data.present":
            rows = figures.get("rows_checked")
            if rows is None:
                return None
            return float(rows > 0), f"the build read {rows:,} rows and checked them against the contract"
        case "model.simpler":
            return _simpler(figures)
        case "model.stable":
            return _stable(figures)
        case "governance.dependency_licences":
            denied = [line for line in figures.get("missing", ()) if "licence" in str(line)]
            return float(not denied), f"{len(denied)} licences of dependencies are denied or unknown"
        case "infrastructure.vulnerabilities":
            open_ones = [line for line in figures.get("missing", ()) if "the licence" not in str(line)]
            return float(not open_ones), f"{len(open_ones)} vulnerable or unknown packages"
        case "infrastructure.environment" if figures.get("verdict") == "cannot":
            return None
        case _ if not fact.passed:
            return 0.0, ""
        case "governance.reasons":
            share = float(figures.get("complete", 1.0))
            return (
                1.0 if share >= _COMPLETE else _HALF
            ), f"{share:.0%} of adverse answers have all of their reasons told"
        case "governance.bias" if fact.check == "evaluation.fairness":
            judged = any(fact.id and _binds(each, fact, at) for each in approvals)
            words = "within declared limits; " + ("approved by people" if judged else "no approval in force binds it")
            return (1.0 if judged else _HALF), words
        case "infrastructure.load":
            target = float((figures.get("limits") or {}).get("rows_per_second") or 0)
            rate = float(figures.get("rate") or 0)
            words = f"held its limits at {rate:g} rows a second, {target:g} are declared"
            return (1.0 if target and rate >= _TARGET_TIMES * target else _HALF), words
        case _:
            return 1.0, ""


def _binds(approval: Approval, fact: Evidence, at: int) -> bool:
    return fact.check in approval.evidence and not approval.withdrawn and at < approval.expires


def _simpler(figures: Mapping[str, Any]) -> tuple[float, str] | None:
    """Only what was fitted is compared; a release that is no better than one of them is not shown to be needed."""
    simple = {name: entry for name, entry in figures.items() if isinstance(entry, dict) and "beaten" in entry}
    if not simple:
        return None
    lost = sorted(name.replace("_", " ") for name, entry in simple.items() if not entry["beaten"])
    words = f"better beyond chance than {len(simple) - len(lost)} of {len(simple)} simpler models"
    return float(not lost), words + (f", not than {', '.join(lost)}" if lost else "")


def _stable(figures: Mapping[str, Any]) -> tuple[float, str] | None:
    """By the kind of refit that answers most rows otherwise; nothing where none was measured."""
    shares = {kind: float(found["flips"]["pair"]) for kind, found in (figures.get("by") or {}).items()}
    if not shares:
        return None
    level = min(
        1.0 if share <= _FLIPS[kind][0] else _HALF if share <= _FLIPS[kind][1] else 0.0
        for kind, share in shares.items()
    )
    told = "; ".join(f"{KINDS[kind]}: {share:.1%}" for kind, share in shares.items())
    return level, f"rows that two refits answer otherwise, {told}"


def _brief(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and short words; lists stay with the evidence."""
    return {name: value for name, value in figures.items() if isinstance(value, int | float | str | bool)}
