"""What only people can say: the questions, and the answers file that lies beside the pilot.

An answer counts as a confirmed statement (E1) where it names who said it, when, the document that shows it, and another
person who confirms; else as an unsupported one (E0). What is measured outranks both.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal, cast

import msgspec
import yaml

from pilotage import __version__
from pilotage.assess.model import Criterion, Observation
from pilotage.kernel.clock import now_us
from pilotage.kernel.documents import Fault, fault, read_document, read_struct, refuse

__all__ = [
    "ANSWERS",
    "LEVELS",
    "Answer",
    "Answers",
    "Facts",
    "Question",
    "date_faults",
    "load_questions",
    "observed",
    "parse_answers",
    "written",
]

ANSWERS = "readiness.yaml"
"""The file beside the pilot that holds the answers."""

LEVELS = {"yes": 1.0, "partly": 0.5, "no": 0.0}
"""How far a criterion holds by each answer."""

_DAY_US = 86_400_000_000


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer. `by` and `confirmed_by` are people or roles, `date` is ISO, `document` what shows it."""

    answer: Literal["yes", "partly", "no"]
    by: str = ""
    date: str = ""
    document: str = ""
    confirmed_by: str = ""
    note: str = ""

    @property
    def confirmed(self) -> bool:
        """Whether a second person stands for it, and a document shows it."""
        said, second = self.by.strip().casefold(), self.confirmed_by.strip().casefold()
        return bool(said and second and said != second and self.date and self.document.strip())


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the triage and the plan go by. None is unknown.

    `engineers` can work on it; weeks are from today. `mode` is how it answers now and `needed_mode` how it must.
    `simpler_in_place`: a rule or a simpler model does the job already. `missing_skill` names one that the team lacks,
    `hiring_weeks` how long it takes to get it. `rebuild_days` is what starting anew would take, if somebody estimated.
    """

    engineers: float | None = None
    deadline_weeks: float | None = None
    mode: Literal["batch", "real time", "edge"] | None = None
    needed_mode: Literal["batch", "real time", "edge"] | None = None
    load_per_second: float | None = None
    simpler_in_place: bool | None = None
    missing_skill: str = ""
    hiring_weeks: float | None = None
    licence_bars_use: bool | None = None
    rebuild_days: float | None = None
    sourcing: Literal["build", "buy", "partner"] | None = None
    inputs: str = ""
    decision_points: str = ""
    downstream: str = ""
    human_steps: str = ""
    liability: str = ""


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """The file: answers by criterion, and facts."""

    answers: dict[str, Answer] = {}
    facts: Facts = Facts()


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question: of a criterion (`id`), or of a fact, whose answer is text, a number or one of `choices`."""

    ask: str
    id: str = ""
    fact: str = ""
    choices: list[str] = []
    whom: str


@cache
def load_questions() -> tuple[Question, ...]:
    """All questions, in the order in which they are asked; the file is read once."""
    document = yaml.safe_load(resources.files("pilotage.assess").joinpath("questions.yaml").read_text())
    return msgspec.convert(document["questions"], tuple[Question, ...])


def parse_answers(content: bytes, criteria: Mapping[str, Criterion], name: str = ANSWERS) -> Answers:
    """The answers of a file. Raises InputError with every fault of it."""
    document = read_document(content, name, "answers:")
    faults: list[Fault] = [
        fault(str(each), "is no part of it", mend="use `answers` and `facts`")
        for each in {*document} - {"answers", "facts"}
    ]
    found: dict[str, Answer] = {}
    given = document.get("answers") or {}
    if not isinstance(given, dict):
        faults.append(
            fault("answers", "must be a mapping", got=type(given).__name__, mend="indent the answers below it")
        )
        given = {}
    for key, value in given.items():
        if key not in criteria:
            faults.append(fault(f"answers.{key}", "is no criterion", mend="see the ids in `pilotage assess --json`"))
            continue
        value = {part: _text(each) for part, each in value.items()} if isinstance(value, dict) else value
        read = read_struct(Answer, value, f"answers.{key}", faults)
        if isinstance(read, Answer):
            faults += date_faults(f"answers.{key}.date", read.date, now_us())
            found[str(key)] = read
    facts = read_struct(Facts, document.get("facts") or {}, "facts", faults)
    if isinstance(facts, Facts):
        faults += [
            fault(f"facts.{name}", "must be above 0", got=value, mend="write a number above 0, or leave it out")
            for name, value in msgspec.structs.asdict(facts).items()
            if isinstance(value, float | int) and not isinstance(value, bool) and not 0 < value < 1e9
        ]
    refuse(name, faults)
    return Answers(answers=found, facts=cast(Facts, facts))


def _text(value: Any) -> Any:
    """YAML makes dates of dates, and true and false of yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.isoformat() if isinstance(value, datetime.date) else value


def date_faults(path: str, date: str, now: int) -> list[Fault]:
    """What is wrong with the day on which something was said: no ISO day, or after tomorrow. `now` is in Unix
    microseconds."""
    if not date:
        return []
    try:
        said = datetime.date.fromisoformat(date)
    except ValueError:
        return [fault(path, "is no date", got=date[:40], mend="write it as 2026-03-01")]
    if said > datetime.datetime.fromtimestamp(now // 1_000_000, datetime.UTC).date() + datetime.timedelta(days=1):
        return [fault(path, "lies in the future", got=date, mend="write the day on which it was said")]
    return []


def observed(answers: Answers, subject: str, at: int) -> Iterator[Observation]:
    """Each answer as evidence, as old as it says. One without a date is as old as can be told: from now."""
    for criterion, each in answers.answers.items():
        collected = at
        if each.date:
            day = datetime.datetime.fromisoformat(each.date).replace(tzinfo=datetime.UTC)
            collected = min(at, int(day.timestamp()) * 1_000_000)
        shown = f"{each.by or 'somebody'} says {each.answer}"
        shown += (
            f", confirmed by {each.confirmed_by}, shown by {each.document}" if each.confirmed else "; not confirmed"
        )
        yield Observation(
            criterion=criterion,
            grade="E1" if each.confirmed else "E0",
            level=LEVELS[each.answer],
            summary=shown + (f": {each.note}" if each.note else ""),
            collector=f"pilotage {__version__} interview",
            collected=collected,
            subject=subject,
        )


def written(answers: Answers) -> str:
    """The answers as the file that `parse_answers` reads."""
    document = {
        "answers": {name: _given(each) for name, each in answers.answers.items()},
        "facts": _given(answers.facts),
    }
    head = (
        "# What only people can say. An answer counts in full where it names who said it (`by`), when (`date`),\n"
        "# the `document` that shows it, and another person who confirms it (`confirmed_by`).\n"
    )
    return head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def _given(value: msgspec.Struct) -> dict[str, Any]:
    return {name: each for name, each in msgspec.structs.asdict(value).items() if each not in (None, "")}
