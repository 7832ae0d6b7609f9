"""Backtest a candidate on production: it answers recorded decisions, as received, before it answers one of today's.

Nothing is decided here: no journal is written to, and no client gets an answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
from sqlalchemy import Engine

from pilotage.errors import NotFound
from pilotage.evaluation.realised import truth
from pilotage.evidence.model import Evidence, tested
from pilotage.evidence.store import find, record
from pilotage.kernel.chunks import weighed
from pilotage.kernel.clock import now_us
from pilotage.ledger.outcomes import Outcomes
from pilotage.ledger.queries import DecisionRow, Ledger, RecordedDecision
from pilotage.releases.load import open_release
from pilotage.replay.against import Known, Reckoning
from pilotage.replay.backtest import Backtest, Limits, Tally, Trial
from pilotage.replay.compare import drawn_of, hindrance, payload_of, place
from pilotage.replay.process import ReplayProcess
from pilotage.replay.questions import Answer, Question
from pilotage.replay.segments import Segments, fields_of
from pilotage.replay.window import Window, read_each, rows_of
from pilotage.storage.database import reading, writing
from pilotage.storage.objects import Objects
from pilotage.storage.outbox import emit

__all__ = ["CHECK", "backtest", "find_backtest", "keep_backtest"]

CHECK = "backtest.recorded"
_CHUNK = 200
_LIFE_US = 30 * 86_400_000_000
_ASKED = ("answered", "rejected", "fallback", "abstained", "review", "refused")

Read = tuple[DecisionRow, RecordedDecision | str]


def backtest(
    ledger: Ledger,
    releases: Path,
    candidate: str,
    window: Window,
    *,
    limits: Limits | None = None,
    costs: Mapping[tuple[str, str], float] | None = None,
    outcomes: Outcomes | None = None,
    outcome_costs: Mapping[tuple[str, str], float] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Backtest:
    """Let a release answer the live decisions of a window of its system; the report.

    `costs` are of changed answers, by (old, new) label; `outcome_costs` of answers, by (label, outcome). With
    `outcomes` both releases are held against what became of the decisions.

    Raises NotFound and IntegrityError as `open_release`, Unavailable when the process that answers fails.
    """
    started = time.monotonic()
    loaded = open_release(releases, candidate)
    system = loaded.manifest.system
    window = replace(window, wanted=replace(window.wanted, system=system, mode="live"))
    reckoning = Reckoning(
        positive=loaded.serving.positive,
        adverse=loaded.serving.adverse,
        favourable=loaded.serving.favourable,
        costs=outcome_costs or {},
    )
    tally, segments, done = Tally(known=Known(reckoning=reckoning)), Segments(loaded), 0
    total, rows = rows_of(ledger, window)
    progress(0, total)
    with ReplayProcess(releases) as process:
        for chunk in _chunks(read_each(ledger, rows)):
            told = outcomes.current({row.id: row.system for row, _ in chunk}) if outcomes is not None else {}
            _try(chunk, candidate, releases, process, segments, tally, told)
            done += len(chunk)
            progress(done, max(total, done))
        environment = process.hello.digest
    return tally.report(
        system=system,
        candidate=candidate,
        environment=environment,
        window=window.as_dict(),
        at=now_us(),
        limits=limits or Limits(),
        costs=costs or {},
        seconds=time.monotonic() - started,
    )


def _chunks(each: Iterable[Read]) -> Iterator[list[Read]]:
    return weighed(each, lambda read: read[0].length, most=_CHUNK)


def _try(
    chunk: Sequence[Read],
    candidate: str,
    releases: Path,
    process: ReplayProcess,
    segments: Segments,
    tally: Tally,
    told: Mapping[str, str],
) -> None:
    """Ask candidate and champion the same rows, one right after the other, and add up what came."""
    asked: list[RecordedDecision] = []
    for row, found in chunk:
        why = found if isinstance(found, str) else _hindrance(found)
        if why or isinstance(found, str):
            tally.skip(row.outcome, why)
        else:
            asked.append(found)
    questions = []
    for decision in asked:
        payload = payload_of(decision)
        request, drawn = payload.request, drawn_of(payload)
        here = (releases / decision.plain.release.removeprefix("sha256:")).is_dir()
        champion = decision.plain.release if here else ""
        questions.append(Question(release=candidate, request=request, own=True, drawn=drawn))
        questions.append(Question(release=champion or candidate, request=request, own=True, drawn=drawn))
    answers = process.ask(questions)
    for at, decision in enumerate(asked):
        payload = payload_of(decision)
        fields = {each.column: each.value for each in drawn_of(payload)} | fields_of(payload.request)
        again = answers[2 * at + 1] if questions[2 * at + 1].release == decision.plain.release else None
        trial = _trial(decision, answers[2 * at], again, segments.of(decision, fields))
        if (outcome := told.get(decision.row.id)) is not None:
            means = tally.known.reckoning
            trial = replace(
                trial, told=outcome, positive=truth(outcome, positive=means.positive, adverse=means.adverse)
            )
        tally.add(decision.plain.release, trial)


def _hindrance(decision: RecordedDecision) -> str:
    """Why a candidate cannot be asked; that the champion did not answer itself is no reason."""
    why = hindrance(decision)
    if not why or decision.payload is None or decision.plain.kind != "model" or decision.payload.messages:
        return why
    if decision.row.outcome not in _ASKED:
        return why
    return "" if decision.payload.request else "the record holds no request"


def _trial(
    decision: RecordedDecision, answer: Answer, champion: Answer | None, segments: Sequence[tuple[str, str]]
) -> Trial:
    payload, plain = payload_of(decision), decision.plain
    label, score = payload.answer.get("label"), payload.score
    answered = plain.outcome == "answered" and label is not None and score is not None
    return Trial(
        outcome=plain.outcome,
        old=(str(label), score) if answered and score is not None else None,
        new=(answer.label, answer.score) if answer.score is not None else None,
        old_faults=[f"{fault['code']}@{place(fault['path'])}" for fault in payload.faults],
        new_faults=[f"{code}@{place(path)}" for path, code in answer.faults],
        failure=answer.failure,
        segments=segments,
        recorded_us=plain.times.contract + plain.times.answer if answered else None,
        champion_us=_us(champion),
        candidate_us=_us(answer),
    )


def _us(answer: Answer | None) -> float | None:
    """Microseconds of a row that was scored."""
    return None if answer is None or answer.score is None else answer.contract_us + answer.answer_us


def keep_backtest(control: Engine, objects: Objects, found: Backtest, person: str) -> Evidence:
    """Store the report, and evidence of it about the candidate that lives 30 days; with the event of it."""
    evidence = tested(
        CHECK,
        found.candidate,
        found.at,
        expires=found.at + _LIFE_US,
        passed=found.passed,
        figures=found.figures(),
        artefact=objects.put(msgspec.json.encode(found)),
    )
    with writing(control) as connection:
        record(connection, evidence)
        emit(
            connection,
            "release.backtested",
            system=found.system,
            release=found.candidate,
            facts={"evidence": evidence.id, "passed": found.passed, **found.figures()},
            private={"person": person},
        )
    return evidence


def find_backtest(control: Engine, objects: Objects, id_: str) -> tuple[Evidence, Backtest]:
    """A stored backtest by the id of its evidence. Raises NotFound, IntegrityError."""
    with reading(control) as connection:
        evidence = find(connection, id_)
    if evidence is None or evidence.check != CHECK:
        raise NotFound("no such backtest", got=id_[:80], mend="see the list of backtests")
    return evidence, msgspec.json.decode(objects.get(evidence.artefact), type=Backtest)
