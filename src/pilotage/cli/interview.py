"""The interview: what only people can say, asked one by one; each answer is kept before the next question."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import click
import msgspec

from pilotage.assess.interview import ANSWERS, Answer, Answers, Facts, Question, date_faults, load_questions, written
from pilotage.assess.keeping import write_whole
from pilotage.assess.planning import answers_of
from pilotage.kernel.clock import now_us

__all__ = ["interview"]

_LATER = "later"
_TRUE = {"yes": True, "no": False}


def interview(folder: Path) -> None:
    """Ask everything; Enter keeps what was answered before. Written to readiness.yaml in the folder as it goes."""
    answers, questions = answers_of(folder), load_questions()
    click.echo(f"{len(questions)} questions; Enter keeps what is there, Ctrl-C ends: answers are kept as they come.\n")
    for number, question in enumerate(questions, 1):
        click.echo(f"{number}/{len(questions)} [{question.whom}] {question.ask}")
        answers = _criterion(question, answers) if question.id else _fact(question, answers)
        write_whole(folder / ANSWERS, written(answers).encode())
    click.echo(f"\nkept in {folder / ANSWERS}")


def _criterion(question: Question, answers: Answers) -> Answers:
    before = answers.answers.get(question.id)
    choice = click.Choice(["yes", "partly", "no", _LATER])
    given = click.prompt("  answer", type=choice, default=before.answer if before else _LATER)
    if given == _LATER:
        return answers
    parts = {"answer": given}
    old = before or Answer(answer="no")
    parts["by"] = _asked("who says so", old.by)
    parts["date"] = click.prompt(
        "  on which day (2026-03-01)", type=_Day(), default=old.date, show_default=bool(old.date)
    )
    parts["document"] = _asked("which document shows it", old.document)
    parts["confirmed_by"] = _asked("who else confirms it", old.confirmed_by)
    answer = msgspec.convert(parts | {"note": old.note}, Answer)
    if not answer.confirmed:
        same = answer.by and answer.by.casefold() == answer.confirmed_by.casefold()
        why = "nobody confirms their own answer" if same else "it takes who, when, a document and a second person"
        click.echo(f"  counts as unsupported: {why}")
    return msgspec.structs.replace(answers, answers={**answers.answers, question.id: answer})


def _asked(what: str, before: str) -> str:
    return str(click.prompt(f"  {what}", default=before, show_default=bool(before))).strip()


def _fact(question: Question, answers: Answers) -> Answers:
    before = getattr(answers.facts, question.fact)
    kind = typing.get_type_hints(Facts)[question.fact]
    shown: Any = {True: "yes", False: "no"}.get(before, before) if isinstance(before, bool) else before
    if question.choices:
        choice = click.Choice([*question.choices, _LATER])
        given = click.prompt("  answer", type=choice, default=shown or _LATER)
        if given == _LATER:
            return answers
        value = _TRUE[given] if bool in typing.get_args(kind) else given
    elif kind is str:
        value = _asked("answer", shown or "")
    else:
        value = click.prompt("  number", type=_Number(), default=_LATER if shown is None else shown)
        if value == _LATER:
            return answers
    return msgspec.structs.replace(answers, facts=msgspec.structs.replace(answers.facts, **{question.fact: value}))


class _Day(click.ParamType[str]):
    """A day as it is kept, or nothing."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        for wrong in date_faults(repr(text), text, now_us()):
            self.fail(f"{wrong['message']}; {wrong['mend']}", param, ctx)
        return text


class _Number(click.ParamType[Any]):
    """A number above 0, or to be said later."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == _LATER:
            return value
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is no number; write one, or {_LATER}", param, ctx)
        if not 0 < number < 1e9:
            self.fail(f"{value} is not above 0", param, ctx)
        return number
