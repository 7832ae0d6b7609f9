"""From an assessment to what to do: the triage, the roadmap, and the business case where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from pilotage import __version__
from pilotage.assess.criteria import load_criteria
from pilotage.assess.interview import ANSWERS, Answers, Facts, observed, parse_answers
from pilotage.assess.model import Assessment, Observation
from pilotage.assess.roadmap import Roadmap, make_roadmap
from pilotage.assess.triage import Triage, triage
from pilotage.errors import InputError
from pilotage.value.case import Judgement, judge
from pilotage.value.model import Case
from pilotage.value.sheet import parse_sheet

__all__ = ["SHEET", "Plan", "answers_of", "case_of", "make_plan", "plan_from", "stated"]

SHEET = "business-case.yaml"
"""The business case beside the pilot."""

_ERRORS = ("false_positive_cost", "false_negative_cost")
_TODAY = ("minutes", "wage", "volume")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with a pilot. `case` is None where there is no business case beside it."""

    triage: Triage
    roadmap: Roadmap
    case: Judgement | None

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        built: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return built


def answers_of(folder: Path) -> Answers:
    """The answers beside a pilot; none where there is no such file. Raises InputError when it cannot be read."""
    path = folder / ANSWERS
    return parse_answers(path.read_bytes(), load_criteria(), ANSWERS) if path.is_file() else Answers()


def case_of(folder: Path, skip: Callable[[str], None] = lambda _why: None) -> Case | None:
    """The business case beside a pilot; None without one, and, told to `skip`, for one that is not filled in yet."""
    path = folder / SHEET
    if not path.is_file():
        return None
    try:
        return parse_sheet(path.read_bytes(), SHEET)
    except InputError as error:
        skip(f"{SHEET}: it has {len(error.faults) or 1} faults; `pilotage value case` names them")
        return None


def stated(
    folder: Path, subject: str, at: int, skip: Callable[[str], None] = lambda _why: None
) -> Iterator[Observation]:
    """What people said of a pilot, as evidence: their answers, and the figures of the business case. `skip` is told
    what could not be used. Raises InputError for answers that cannot be read."""
    yield from observed(answers_of(folder), subject, at)
    case = case_of(folder, skip)
    for criterion, needed in (("business.baseline_cost", _TODAY), ("business.error_costs", _ERRORS)):
        if case is None or not all(name in case.inputs for name in needed):
            continue
        supported = [name for name in needed if case.inputs[name].supported]
        yield Observation(
            criterion=criterion,
            grade="E2" if len(supported) == len(needed) else "E0",
            level=1.0,
            summary=f"{SHEET} states it; {len(supported)} of {len(needed)} figures name their source and date",
            collector=f"pilotage {__version__} business case",
            collected=at,
            subject=subject,
        )


def make_plan(folder: Path, found: Assessment) -> Plan:
    """The plan for an assessed pilot, from its assessment and from what lies beside it."""
    return plan_from(found, answers_of(folder).facts, case_of(folder))


def plan_from(found: Assessment, facts: Facts, case: Case | None) -> Plan:
    """The plan for what was assessed, by the facts that people gave."""
    criteria = load_criteria()
    roadmap = make_roadmap(
        found.dimensions,
        criteria,
        subject=found.subject,
        at=found.at,
        verdict=found.verdict,
        required=found.required,
        engineers=facts.engineers,
    )
    judged = None if case is None else judge(case)
    # Only what was looked at and is wrong speaks for a new start: what people must say, what nobody looked at yet and
    # what later stages ask has to be done either way.
    wrong = [each for each in roadmap.items if each.stage == "pilot" and each.state in ("fails", "partial")]
    open_days = sum(each.expected for each in wrong if criteria[each.id].kind == "measurable")
    decided = triage(found.dimensions, facts, fix_days=open_days, fix_days_p80=roadmap.effort.p80, case=judged)
    return Plan(triage=decided, roadmap=roadmap, case=judged)
