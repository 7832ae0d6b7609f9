"""What people state of a running system, in the console or by API: the interview, with known people behind it.

Each statement is evidence about the system: unsupported (E0) when it is made, confirmed (E1) by new evidence once a
second person stands for it. Both are events of the ledger. Nothing is changed or deleted; of each question the newest
statement counts. Who says and who confirms is who is signed in.
"""

from __future__ import annotations

import datetime
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine

from pilotage.access.model import Person, require
from pilotage.assess import store
from pilotage.assess.criteria import load_criteria
from pilotage.assess.interview import LEVELS, Facts, Question, date_faults, load_questions
from pilotage.assess.model import Observation
from pilotage.errors import Conflict, Forbidden, InputError, NotFound, PilotageError, Refused
from pilotage.evidence.model import Evidence
from pilotage.evidence.store import content_digest, find, for_subject, record, recorded_digest
from pilotage.kernel.clock import day
from pilotage.kernel.documents import Fault, fault
from pilotage.kernel.ids import uuid7
from pilotage.storage.database import writing
from pilotage.storage.outbox import emit
from pilotage.systems.store import find_system, lock_system

__all__ = ["Given", "Statement", "as_facts", "as_observations", "confirm", "state", "statements_of", "subject_of"]

_DAY_US = 86_400_000_000
_CHECK, _FACT = "stated.", "stated.fact."
_MOST = {"document": 500, "note": 1_000, "fact": 2_000}


class Given(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer as a person gives it: `date` is the ISO day on which it is so said (empty: today), `document` what
    shows it. Without a document nobody can confirm it."""

    answer: typing.Literal["yes", "partly", "no"]
    date: str = ""
    document: str = ""
    note: str = ""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """A statement that was made. `question` is a criterion's id, or a fact's name; `answer` yes, partly or no, or the
    fact's value. `by` and `confirmed_by` are ids of people; times are Unix microseconds, `said` the day that it is of.
    """

    question: str
    evidence: str
    answer: str
    date: str = ""
    document: str = ""
    note: str = ""
    by: str
    made: int
    said: int
    expires: int = 0
    confirmed_by: str = ""
    confirmed: int = 0
    fact: bool = False

    @property
    def open(self) -> bool:
        """Whether a second person could confirm it."""
        return not (self.fact or self.confirmed_by) and bool(self.document)


def subject_of(system: str) -> str:
    """The subject of evidence about a system, whatever its releases."""
    return f"system:{system}"


def state(
    control: Engine, person: Person, system: str, answers: Mapping[str, Any], facts: Mapping[str, Any], *, at: int
) -> list[Statement]:
    """State answers by criterion (each as `Given`) and facts by name; what was stated so already is left out.

    Raises Forbidden, NotFound, InputError with every fault by its path (`answers.ID.field`, `facts.NAME`); then nothing
    is kept.
    """
    _refuse_machines(person, "interview.answer")
    questions, faults = load_questions(), list[Fault]()
    given = {
        name: read
        for name, value in answers.items()
        if (read := _answer(name, value, {q.id for q in questions if q.id}, at, faults)) is not None
    }
    told = _facts(facts, {q.fact: q for q in questions if q.fact}, faults)
    if faults:
        raise InputError("the answers have faults", mend="mend each, then state them again", faults=faults)
    made = []
    with writing(control) as connection:
        find_system(connection, system)
        lock_system(connection, system)
        newest = {each.question: each for each in reversed(statements_of(connection, system))}
        for name, answer in given.items():
            before = newest.get(name)
            if before is None or (before.answer, before.date, before.document, before.note) != _parts(answer, at):
                made.append(_keep(connection, person, system, name, answer, at))
        for name, value in told.items():
            if name not in newest or newest[name].answer != value:
                made.append(_keep_fact(connection, person, system, name, value, at))
        store.drop_draft(connection, system, person.id)
    return made


def confirm(control: Engine, person: Person, system: str, evidence: Sequence[str], *, at: int) -> list[Statement]:
    """Stand for what another person stated, by the ids of their evidence; all or none.

    Raises Forbidden, NotFound, Refused (one's own statement), Conflict (not the newest; confirmed already), InputError
    (nothing chosen; no document to confirm it by).
    """
    _refuse_machines(person, "interview.confirm")
    if not evidence:
        raise InputError("no statement is chosen", expected="one or more", mend="tick those that you stand for")
    with writing(control) as connection:
        find_system(connection, system)
        lock_system(connection, system)
        return [_confirm(connection, person, system, id_, at) for id_ in dict.fromkeys(evidence)]


def statements_of(connection: Connection, system: str) -> list[Statement]:
    """Every statement about a system, the newest first; one that was confirmed stands there once, as confirmed."""
    found = [each for each in for_subject(connection, subject_of(system)) if each.check.startswith(_CHECK)]
    found.sort(key=lambda each: each.id, reverse=True)
    confirmed = {str(each.figures.get("confirms", "")) for each in found}
    return [_statement(each) for each in found if each.id not in confirmed]


def as_observations(connection: Connection, system: str, names: Mapping[str, str]) -> Iterator[Observation]:
    """What counts of the statements, as evidence for their criteria. `names` are people's names by id.

    The newest of each question; and the confirmed one before it, unless the newest says less or was confirmed itself.
    """
    stated = [each for each in statements_of(connection, system) if not each.fact]
    newest = {each.question: each for each in reversed(stated)}
    confirmed = {each.question: each for each in reversed(stated) if each.confirmed_by}
    for question, last in newest.items():
        before = confirmed.get(question)
        stands = before is not None and before is not last and LEVELS[before.answer] <= LEVELS[last.answer]
        for each in [last, before] if before is not None and stands else [last]:
            fact = find(connection, each.evidence)
            whole = fact is not None and content_digest(fact) == recorded_digest(connection, fact.id)
            yield _observation(each, system, names, whole)


def as_facts(connection: Connection, system: str) -> Facts:
    """The facts that people stated, for triage and plan."""
    types = typing.get_type_hints(Facts)
    values: dict[str, Any] = {}
    for each in statements_of(connection, system):
        if each.fact and each.question in types and each.question not in values:
            values[each.question] = _typed(each.answer, types[each.question])
    return Facts(**values)


def _observation(each: Statement, system: str, names: Mapping[str, str], whole: bool) -> Observation:
    said = f"{names.get(each.by, 'somebody')} says {each.answer} on {day(each.said)}"
    said += f", shown by {each.document}" if each.document else ""
    said += f", confirmed by {names.get(each.confirmed_by, 'another')}" if each.confirmed_by else "; not confirmed"
    return Observation(
        criterion=each.question,
        grade="E1" if each.confirmed_by else "E0",
        level=LEVELS[each.answer],
        summary=said + (f": {each.note}" if each.note else ""),
        collector="interview",
        collected=each.said,
        current=whole,
        renew=f"answer it again at /systems/{system}/interview; a second person confirms it",
        evidence=each.evidence,
    )


def _refuse_machines(person: Person, permission: str) -> None:
    require(person, permission)
    if person.kind != "human":
        raise Forbidden("a service account cannot state anything", got=person.name, mend="let a person say it")


def _answer(name: str, value: Any, known: set[str], at: int, faults: list[Fault]) -> Given | None:
    path = f"answers.{name}"
    if name not in known:
        faults.append(fault(path[:120], "is no question", mend="see the ids: GET .../interview"))
        return None
    try:
        given = value if isinstance(value, Given) else msgspec.convert(value, Given)
    except msgspec.ValidationError as error:
        field = str(error).partition("$.")[2].partition("`")[0] or "answer"
        faults.append(fault(f"{path}.{field}", str(error).partition(" - at")[0], mend="answer yes, partly or no"))
        return None
    before = len(faults)
    texts = {part: _clean(getattr(given, part)) for part in ("date", "document", "note")}
    given = msgspec.structs.replace(given, **texts)
    faults += date_faults(f"{path}.date", given.date, at)
    for part in ("document", "note"):
        faults += _text_faults(f"{path}.{part}", getattr(given, part), _MOST[part])
    return given if len(faults) == before else None


def _facts(values: Mapping[str, Any], known: Mapping[str, Question], faults: list[Fault]) -> dict[str, str]:
    """The facts as text, as they are kept."""
    types, found = typing.get_type_hints(Facts), {}
    for name, value in values.items():
        path = f"facts.{name}"
        if name not in known:
            faults.append(fault(path[:120], "is no question", mend="see the names: GET .../interview"))
            continue
        text = _clean({True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value))
        choices = known[name].choices
        if not text:
            continue
        if choices and text not in choices:
            faults.append(fault(path, "is none of the answers", got=text[:80], mend=f"one of: {', '.join(choices)}"))
        elif float in typing.get_args(types[name]) and not _is_amount(text):
            faults.append(
                fault(path, "must be a number above 0", got=text[:80], mend="write it in digits, such as 2.5")
            )
        else:
            faults += _text_faults(path, text, _MOST["fact"])
            found[name] = text
    return found


def _typed(text: str, kind: Any) -> Any:
    kinds = typing.get_args(kind)
    if float in kinds:
        return float(text)
    return text == "yes" if bool in kinds else text


def _is_amount(text: str) -> bool:
    try:
        return 0 < float(text) < 1e9
    except ValueError:
        return False


def _clean(text: str) -> str:
    return " ".join(text.split())


def _text_faults(path: str, text: str, most: int) -> list[Fault]:
    if len(text) > most:
        return [fault(path, f"is longer than {most} characters", got=len(text), mend="say it shorter")]
    return [] if text.isprintable() else [fault(path, "holds characters that cannot be printed", mend="leave them out")]


def _parts(given: Given, at: int) -> tuple[str, str, str, str]:
    return given.answer, given.date or day(at), given.document, given.note


def _keep(connection: Connection, person: Person, system: str, question: str, given: Given, at: int) -> Statement:
    answer, date, document, note = _parts(given, at)
    said = min(at, int(datetime.datetime.fromisoformat(date).replace(tzinfo=datetime.UTC).timestamp()) * 1_000_000)
    ttl = load_criteria()[question].ttl_days
    figures: dict[str, Any] = {"answer": answer, "date": date, "document": document, "note": note}
    figures |= {"by": person.id, "made": at}
    expires = said + ttl * _DAY_US if ttl else 0
    made = _said(_CHECK + question, person, system, figures, said, expires=expires, passed=answer != "no")
    _record(connection, made, "readiness.stated", person, system, question, at)
    return _statement(made)


def _keep_fact(connection: Connection, person: Person, system: str, name: str, value: str, at: int) -> Statement:
    figures = {"answer": value, "by": person.id, "made": at}
    made = _said(_FACT + name, person, system, figures, at)
    _record(connection, made, "readiness.stated", person, system, name, at)
    return _statement(made)


def _said(
    check: str,
    person: Person,
    system: str,
    figures: dict[str, Any],
    collected: int,
    *,
    expires: int = 0,
    passed: bool = True,
) -> Evidence:
    """What one person says and no other has confirmed."""
    return Evidence(
        id=uuid7(),
        check=check,
        subject=subject_of(system),
        grade="E0",
        method="INTERVIEW",
        producer=person.id,
        collected=collected,
        expires=expires,
        passed=passed,
        figures=figures,
    )


def _confirm(connection: Connection, person: Person, system: str, id_: str, at: int) -> Statement:
    every = statements_of(connection, system)
    found = next((each for each in every if each.evidence == id_), None)
    if found is None:
        told = find(connection, id_) is not None
        error: type[PilotageError] = Conflict if told else NotFound
        what = "another person confirmed it meanwhile" if told else "no such statement of this system"
        raise error(what, got=id_[:80], mend="look at the page again")
    if found.by == person.id:
        raise Refused(
            "nobody confirms their own statement",
            code="four_eyes",
            got=f"{person.name} on {found.question}",
            mend="let another person confirm it",
        )
    newest = next(each for each in every if each.question == found.question and each.fact == found.fact)
    if found.confirmed_by or newest is not found:
        what = "it is confirmed already" if found.confirmed_by else "a newer statement took its place"
        raise Conflict(what, got=found.question, mend="look at the page again")
    if not found.open:
        raise InputError(
            "there is no document to confirm it by",
            got=found.question,
            mend="let who said it name the document that shows it, or state it yourself",
        )
    before = find(connection, id_)
    assert before is not None  # noqa: S101 - it was listed
    figures = before.figures | {"confirms": id_, "digest": content_digest(before)}
    made = msgspec.structs.replace(
        before,
        id=uuid7(),
        grade="E1",
        figures=figures | {"confirmed_by": person.id, "confirmed": at},
    )
    _record(connection, made, "readiness.confirmed", person, system, found.question, at)
    return _statement(made)


def _record(
    connection: Connection, made: Evidence, kind: str, person: Person, system: str, question: str, at: int
) -> None:
    """Evidence with its event: the ledger's own copy of who said what is encrypted."""
    record(connection, made, at)
    said = {name: made.figures.get(name, "") for name in ("answer", "date", "document", "note")}
    facts = {"question": question, "evidence": made.id, "grade": made.grade}
    private = {"person": person.id, "name": person.name, **said}
    emit(connection, kind, system=system, facts=facts, private=private, at=at)


def _statement(fact: Evidence) -> Statement:
    figures = fact.figures
    is_fact = fact.check.startswith(_FACT)
    return Statement(
        question=fact.check.removeprefix(_FACT if is_fact else _CHECK),
        evidence=fact.id,
        answer=str(figures["answer"]),
        date=str(figures.get("date", "")),
        document=str(figures.get("document", "")),
        note=str(figures.get("note", "")),
        by=str(figures["by"]),
        made=int(figures["made"]),
        said=fact.collected,
        expires=fact.expires,
        confirmed_by=str(figures.get("confirmed_by", "")),
        confirmed=int(figures.get("confirmed", 0)),
        fact=is_fact,
    )
