"""The interview as a form: what only people can say of a system; a second person confirms it on the same page.

Without scripts: ordinary forms. A fault stands beside its field, with everything that was typed still there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from pilotage.access.model import Person, may, require
from pilotage.access.store import all_people
from pilotage.assess.criteria import load_criteria
from pilotage.assess.interview import LEVELS, Question, load_questions
from pilotage.assess.model import Rating
from pilotage.assess.statements import Statement, confirm, state, statements_of
from pilotage.assess.store import drop_draft, find_draft, keep_draft
from pilotage.errors import InputError
from pilotage.kernel.clock import now_us
from pilotage.storage.database import reading, writing
from pilotage.systems.store import find_system
from pilotage.web.console.render import Pages
from pilotage.wiring.standing import standing_of

__all__ = ["routes"]

_MOST_FIELDS = 300
_MOST_TEXT = 5_000
_PARTS = ("answer", "date", "document", "note")
_DONE = {
    "stated": "It is stated, and on record. It counts in full once a second person confirms it.",
    "nothing": "Nothing was stated anew: every answer is as it was.",
    "draft": "Your draft is kept. Nobody else sees it, and nothing of it counts yet.",
    "dropped": "Your draft is deleted.",
    "confirmed": "It is confirmed, and on record.",
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One question as the form shows it: the values of its fields, their faults, what was stated last, and what was
    measured that says less."""

    question: Question
    values: Mapping[str, str]
    faults: Mapping[str, str]
    stated: Statement | None
    measured: str = ""


def routes(view: Pages) -> list[BaseRoute]:
    """The routes; the page needs `evidence.read`, to state and keep drafts `interview.answer`, to confirm
    `interview.confirm`."""
    pages = _InterviewPages(view)
    return [
        Route("/systems/{system}/interview", pages.show),
        Route("/systems/{system}/interview", pages.posted(pages.state), methods=["POST"]),
        Route("/systems/{system}/interview/draft", pages.posted(pages.draft), methods=["POST"]),
        Route("/systems/{system}/interview/confirm", pages.posted(pages.confirm), methods=["POST"]),
    ]


class _InterviewPages:
    def __init__(self, view: Pages) -> None:
        self.view = view
        self.control = view.installation.control

    def posted(self, act: Any) -> Any:
        """An endpoint that gets (person, system, fields, the ids that were ticked)."""

        async def endpoint(request: Request) -> Response:
            sent = await request.form(max_files=0, max_fields=_MOST_FIELDS)
            pairs = [(name, value) for name, value in sent.multi_items() if isinstance(value, str)]

            def do() -> Response:
                person = self.view.person(request, "evidence.read")
                if any("\x00" in name + value for name, value in pairs):
                    raise InputError("a field has the character NUL", mend="leave it out: no text here has it")
                fields = {name: value[:_MOST_TEXT] for name, value in pairs}
                ticked = [value for name, value in pairs if name == "evidence"]
                done: Response = act(person, request.path_params["system"], fields, ticked)
                return done

            return await run_in_threadpool(do)

        return endpoint

    def show(self, request: Request) -> Response:
        person = self.view.person(request, "evidence.read")
        return self._page(person, request.path_params["system"], done=request.query_params.get("done", ""))

    def state(self, person: Person, system: str, fields: dict[str, str], _ticked: list[str]) -> Response:
        require(person, "interview.answer")
        answers, facts = _sent(fields)
        try:
            made = state(self.control, person, system, answers, facts, at=now_us())
        except InputError as error:
            if not error.faults:
                raise
            return self._page(person, system, sent=fields, faults=error.faults)
        return _back(system, "stated" if made else "nothing")

    def draft(self, person: Person, system: str, fields: dict[str, str], _ticked: list[str]) -> Response:
        require(person, "interview.answer")
        kept = {name: value for name, value in fields.items() if name.partition(":")[0] in (*_PARTS, "fact")}
        with writing(self.control) as connection:
            find_system(connection, system)
            if fields.get("drop") == "yes":
                drop_draft(connection, system, person.id)
            else:
                keep_draft(connection, system, person.id, kept, now_us())
        return _back(system, "dropped" if fields.get("drop") == "yes" else "draft")

    def confirm(self, person: Person, system: str, _fields: dict[str, str], ticked: list[str]) -> Response:
        confirm(self.control, person, system, ticked, at=now_us())
        return _back(system, "confirmed")

    def _page(
        self,
        person: Person,
        id_: str,
        *,
        done: str = "",
        sent: Mapping[str, str] | None = None,
        faults: list[dict[str, object]] | None = None,
    ) -> Response:
        with reading(self.control) as connection:
            system = find_system(connection, id_)
            stated = statements_of(connection, id_)
            draft = find_draft(connection, id_, person.id)
            names = {each.id: each.name for each in all_people(connection)}
        found = standing_of(self.view.installation, id_)
        ratings = {r.criterion.id: r for d in found.assessment.dimensions for r in d.ratings}
        newest = {(each.question, each.fact): each for each in reversed(stated)}
        typed = sent if sent is not None else draft.fields if draft else {}
        questions = load_questions()
        return self.view.render(
            "interview.html",
            section="systems",
            person=person,
            status_code=422 if faults else 200,
            system=system,
            asked=[_asked(each, newest, ratings, typed, _by_field(faults or [])) for each in questions],
            criteria=load_criteria(),
            waiting=[each for each in newest.values() if each.open],
            stated=stated,
            names=names,
            texts={each.id or each.fact: each.ask for each in questions},
            draft=draft if sent is None else None,
            faults=faults or [],
            done=_DONE.get(done, ""),
            may_answer=may(person, "interview.answer"),
            may_confirm=may(person, "interview.confirm"),
        )


def _asked(
    question: Question,
    newest: Mapping[tuple[str, bool], Statement],
    ratings: Mapping[str, Rating],
    typed: Mapping[str, str],
    faults: Mapping[str, str],
) -> Asked:
    name, is_fact = question.id or question.fact, not question.id
    stated = newest.get((name, is_fact))
    parts = ("fact",) if is_fact else _PARTS
    before = {} if stated is None else {"fact": stated.answer, **{part: getattr(stated, part) for part in _PARTS}}
    return Asked(
        question=question,
        values={part: typed.get(f"{part}:{name}", before.get(part, "")) for part in parts},
        faults={part: faults[f"{part}:{name}"] for part in parts if f"{part}:{name}" in faults},
        stated=stated,
        measured=_measured(ratings.get(name), stated),
    )


def _measured(rating: Rating | None, stated: Statement | None) -> str:
    """What was measured that says less than what was stated."""
    if rating is None or stated is None:
        return ""
    said = LEVELS[stated.answer]
    return next((each.summary for each in rating.evidence if each.grade >= "E2" and each.level < said), "")


def _sent(fields: Mapping[str, str]) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Answers and facts of the form; a question without an answer is left for later."""
    answers: dict[str, dict[str, str]] = {}
    facts: dict[str, str] = {}
    for field, value in fields.items():
        part, _, name = field.partition(":")
        if part == "fact" and value.strip():
            facts[name] = value
        elif part == "answer" and value.strip():
            given = {each: fields.get(f"{each}:{name}", "") for each in _PARTS}
            answers[name] = given
    return answers, facts


def _by_field(faults: list[dict[str, object]]) -> dict[str, str]:
    """What is wrong by the name of the form's field: `answers.data.rights.date` is `date:data.rights`."""
    found: dict[str, str] = {}
    for each in faults:
        path, words = str(each.get("path", "")), f"{each.get('message', '')}: {each.get('mend', '')}"
        kind, _, rest = path.partition(".")
        name, _, part = rest.rpartition(".")
        field = f"fact:{rest}" if kind == "facts" else f"{part}:{name}"
        found.setdefault(field, words.removeprefix(f"{path}: "))
    return found


def _back(system: str, done: str) -> Response:
    return RedirectResponse(f"/systems/{system}/interview?done={done}", status_code=303)
