"""The readiness of a system that Pilotage runs: gather what is known of it, rate it, keep it by the day, warn ahead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import Connection

from pilotage import __version__
from pilotage.access.store import all_people
from pilotage.assess.criteria import load_criteria
from pilotage.assess.interview import Facts
from pilotage.assess.model import Assessment, Observation
from pilotage.assess.platform import Known, Lapsed, approved, evaluated, lapsed, told
from pilotage.assess.signals.governance import by_declaration
from pilotage.assess.standing import AHEAD_DAYS, Due, Standing, newest_words, replaced, stand, still_current
from pilotage.assess.statements import as_facts, as_observations
from pilotage.assess.telemetry import LIFE_DAYS, Telemetry, observed_live
from pilotage.errors import NotFound, PilotageError
from pilotage.evidence.model import Evidence
from pilotage.evidence.stale import marks_about, stale_reason
from pilotage.evidence.store import content_digest, for_subject, latest, record, recorded_digest
from pilotage.gates.model import Approval, Passage
from pilotage.gates.policy import gate_stages
from pilotage.gates.store import approvals_of, find_approval, find_passage
from pilotage.kernel.canonical import canonical_json
from pilotage.kernel.clock import day, now_us
from pilotage.kernel.digests import short
from pilotage.kernel.ids import uuid7
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.releases.model import Release
from pilotage.releases.store import find_release, list_releases
from pilotage.releases.yanking import yanked
from pilotage.rollout import store as rollout_store
from pilotage.rollout.model import Live, live_after, live_since
from pilotage.storage.database import reading, writing
from pilotage.storage.outbox import emit
from pilotage.systems.model import STAGES, AISystem, Stage
from pilotage.systems.papers import PaperWords
from pilotage.systems.store import declared_at, find_system
from pilotage.wiring.audit import VERIFIED
from pilotage.wiring.installation import Installation
from pilotage.wiring.readiness import CHECK as ASSESSED
from pilotage.wiring.readiness import subject_of, summary
from pilotage.wiring.telemetry import telemetry_of
from pilotage.workflows.store import list_runs

__all__ = ["EXPIRING", "KEPT", "DayStanding", "days_of", "facts_of", "keep_standing", "kept_on", "standing_of"]

KEPT = "readiness.live"
"""The check of the evidence that holds a system's standing on a day."""

EXPIRING = "evidence.expiring"
"""The kind of the event that warns, once for each piece of evidence."""

_DAY_US = 86_400_000_000
_MANY_DAYS = 3_660


@dataclass(kw_only=True)
class _Facts:
    """What the control plane says of a system, read in one transaction."""

    system: AISystem
    declared: int
    placed: Live | None
    release: Release | None
    known: dict[str, Known] = field(default_factory=dict)
    approvals: list[Approval] = field(default_factory=list)
    passage: Passage | None = None
    approvers: list[str] = field(default_factory=list)
    assessed: Evidence | None = None
    verified: Evidence | None = None
    run: str = ""
    rolled_back: int = 0
    live_since: int = 0

    @property
    def stage(self) -> Stage:
        return STAGES[STAGES.index(self.placed.stage)] if self.placed else "pilot"


def standing_of(
    installation: Installation, system: str, *, at: int | None = None, ahead_days: int = AHEAD_DAYS
) -> Standing:
    """Where a system stands now: its live release, or the newest where nothing is live. Raises NotFound."""
    moment = now_us() if at is None else at
    with reading(installation.control) as connection:
        facts = _read(connection, system)
        names = {person.id: person.name for person in all_people(connection)}
        stated = list(as_observations(connection, system, names))
    skipped: list[str] = []
    loaded = _opened(installation, facts, skipped)
    gone: list[Lapsed] = list(lapsed(facts.known))
    tested = [] if loaded is None else [*told(facts.known, facts.approvals, moment), *_of_release(facts, loaded)]
    earlier = _assessed(installation, facts, skipped)
    on_pilot: list[Observation] = []
    if earlier is not None:
        origin = loaded.manifest.origin if loaded is not None else None
        on_pilot, changed = still_current(earlier, origin.artefact if origin else "", origin.data if origin else "")
        on_pilot, followed = replaced(on_pilot, tested)
        gone += [*changed, *followed]
    observations = newest_words([*_declared(facts), *_happened(facts), *stated, *on_pilot, *tested])
    seen = _observed(installation, facts, loaded, moment, skipped)
    if seen is not None:
        observations += observed_live(seen)
    waiting = [each for each in facts.approvals if STAGES.index(each.stage) > STAGES.index(facts.stage)]
    return stand(
        load_criteria(),
        observations,
        gone,
        system=system,
        risk_tier=facts.system.risk_tier,
        stage=facts.stage,
        at=moment,
        facts=_applying(earlier),
        release=facts.release.digest if facts.release else "",
        release_name=facts.release.name if facts.release else "",
        window=seen.window if seen is not None else "",
        skipped=skipped,
        approvals=waiting,
        ahead_days=ahead_days,
    )


def facts_of(installation: Installation, system: str) -> Facts:
    """What people stated of a system that triage and plan go by."""
    with reading(installation.control) as connection:
        return as_facts(connection, system)


def keep_standing(installation: Installation, found: Standing) -> list[Due]:
    """Keep a standing as evidence about its system, and warn by an event of each piece of evidence that expires soon
    and was not warned of before; those."""
    assessment = found.assessment
    artefact = installation.objects.put(canonical_json(found.as_dict()))
    figures: dict[str, Any] = summary(assessment) | {
        "stage": assessment.stage,
        "release": found.release,
        "required": assessment.required,
        "window": found.window,
        "due": {each.key: each.due for each in found.due},
    }
    with writing(installation.control) as connection:
        before = latest(connection, subject_of(found.system), KEPT)
        warned = before.figures.get("due", {}) if before is not None else {}
        fresh = [each for each in found.due if warned.get(each.key) != each.due]
        for each in fresh:
            facts = {
                "criterion": each.criterion,
                "evidence": each.evidence,
                "due": each.due,
                "days": max(0, (each.due - assessment.at) // _DAY_US),
                "renew": each.renew,
            }
            emit(connection, EXPIRING, system=found.system, release=found.release, facts=facts, at=assessment.at)
        kept = Evidence(
            id=uuid7(),
            check=KEPT,
            subject=subject_of(found.system),
            grade="E4" if found.window else "E3",
            method="EXAMINE",
            producer=f"pilotage {__version__}",
            collected=assessment.at,
            expires=assessment.at + 2 * _DAY_US,
            passed=assessment.verdict >= assessment.required,
            figures=figures,
            artefact=artefact,
        )
        record(connection, kept)
    return fresh


class DayStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What was kept of a system's standing on a UTC day, last thing. `dimensions` as in the summary of an assessment:
    {name, level, score, low, high, coverage}; `object` is the digest of the whole."""

    day: str
    at: int
    level: int
    required: int
    stage: str
    release: str
    dimensions: list[dict[str, Any]]
    object: str


def days_of(connection: Connection, system: str, days: int = 90) -> list[DayStanding]:
    """What was kept by day, the oldest first, of at most so many days."""
    by_day: dict[str, DayStanding] = {}
    for each in for_subject(connection, subject_of(system)):
        on = day(each.collected)
        if each.check != KEPT or on in by_day:
            continue
        if len(by_day) == days:
            break
        figures = each.figures
        by_day[on] = DayStanding(
            day=on,
            at=each.collected,
            level=figures["level"],
            required=figures["required"],
            stage=figures["stage"],
            release=figures["release"],
            dimensions=figures["dimensions"],
            object=each.artefact,
        )
    return sorted(by_day.values(), key=lambda each: each.at)


def kept_on(installation: Installation, system: str, on: str) -> Standing:
    """The whole of what was kept on a UTC day, such as 2026-03-01. Raises NotFound."""
    with reading(installation.control) as connection:
        days = days_of(connection, system, _MANY_DAYS)
    found = next((each for each in days if each.day == on), None)
    if found is None:
        span = f"{days[0].day} to {days[-1].day}" if days else "no day is kept yet"
        raise NotFound("nothing is kept of this day", got=on[:40], expected=span, mend="name a day that is kept")
    try:
        return msgspec.json.decode(installation.objects.get(found.object), type=Standing)
    except msgspec.MsgspecError as error:
        raise NotFound(
            "what was kept of this day is of another version", got=error, mend="the levels are in the history"
        ) from error


def _read(connection: Connection, id_: str) -> _Facts:
    system = find_system(connection, id_)
    acts = rollout_store.history(connection, id_)
    placed = live_after(acts)
    built = list_releases(connection, id_)
    release = find_release(connection, placed.release) if placed else built[0] if built else None
    facts = _Facts(system=system, declared=declared_at(connection, id_), placed=placed, release=release)
    facts.assessed = latest(connection, subject_of(id_), ASSESSED)
    facts.verified = latest(connection, *VERIFIED)
    facts.live_since = live_since(acts)
    facts.rolled_back = max((act.at for act in acts if act.action == "rollback"), default=0)
    if release is None:
        return facts
    facts.known = _known(connection, release)
    for stage in gate_stages():
        facts.approvals += approvals_of(connection, release.digest, stage)
    if placed is not None:
        facts.passage = find_passage(connection, release.digest, placed.stage)
    if facts.passage is not None:
        given = [find_approval(connection, role.approval) for role in facts.passage.verdict.approvals if role.approval]
        facts.approvers = [each.person for each in given if each is not None]
    made_by = [run.id for run in list_runs(connection, id_, limit=200) if run.release == release.digest]
    facts.run = made_by[0] if made_by else ""
    return facts


def _known(connection: Connection, release: Release) -> dict[str, Known]:
    """The newest evidence of each check of a release, with the reason where it does not count."""
    marks, taken_back = marks_about(connection, release.digest), yanked(connection, release.digest)
    found: dict[str, Known] = {}
    for fact in for_subject(connection, release.digest):
        if fact.check in found:
            continue
        why = stale_reason(fact, marks)
        if taken_back is not None:
            why = f"the release is yanked: {taken_back.figures.get('reason', '')}"
        if content_digest(fact) != recorded_digest(connection, fact.id):
            why = "it was changed after it was recorded"
        found[fact.check] = Known(fact, why)
    return found


def _opened(installation: Installation, facts: _Facts, skipped: list[str]) -> LoadedRelease | None:
    """The release with its files checked; where they are not what they were, no evidence of it counts."""
    if facts.release is None:
        skipped.append("there is no release yet: pilotage release build")
        return None
    try:
        return open_release(installation.releases, facts.release.digest)
    except PilotageError as error:
        skipped.append(f"evidence of release {facts.release.name}: {error.what}")
        facts.known = {check: Known(known.fact, error.what) for check, known in facts.known.items()}
        return None


def _declared(facts: _Facts) -> Iterator[Observation]:
    for item in by_declaration(facts.system):
        yield Observation(
            criterion=item.criterion,
            grade=item.grade,
            level=item.level,
            summary=item.summary,
            collector=f"pilotage {__version__} declaration",
            collected=facts.declared,
            renew="answer it in the interview, with a document and a second person",
        )


def _happened(facts: _Facts) -> Iterator[Observation]:
    """A rollback that was needed shows that it can be done; as it was not measured, a drill counts for more."""
    if facts.rolled_back:
        yield Observation(
            criterion="infrastructure.rollback",
            grade="E2",
            level=1.0,
            summary=f"the system was rolled back on {day(facts.rolled_back)}, on record",
            collector=f"pilotage {__version__} record",
            collected=facts.rolled_back,
        )


def _assessed(installation: Installation, facts: _Facts, skipped: list[str]) -> Assessment | None:
    """The newest assessment of the pilot, whole; None where none was kept."""
    if facts.assessed is None or not facts.assessed.artefact:
        skipped.append("the pilot's folder was not assessed with this installation: pilotage assess PATH")
        return None
    try:
        return msgspec.json.decode(installation.objects.get(facts.assessed.artefact), type=Assessment)
    except (PilotageError, msgspec.MsgspecError) as error:
        skipped.append(f"the assessment of {day(facts.assessed.collected)}: {error}")
        return None


def _applying(earlier: Assessment | None) -> set[str]:
    """The facts about the folder that an assessment found, as the criteria that it asked show.

    What says nothing of its kind has a model of its own, as a release has.
    """
    if earlier is None:
        return {"classic"}
    found = {rating.criterion.applies_if for each in earlier.dimensions for rating in each.ratings}
    return {each for each in found if each} | set(earlier.makeup.kinds or ["classic"])


def _of_release(facts: _Facts, loaded: LoadedRelease) -> Iterator[Observation]:
    """What the release's own files and history show."""
    release = facts.release
    assert release is not None  # noqa: S101 - it was opened
    if facts.placed is not None:
        yield from approved(facts.passage, facts.approvers, release.author)

    def shown(criterion: str, summary: str, grade: Any, level: float = 1.0) -> Observation:
        return Observation(
            criterion=criterion,
            grade=grade,
            level=level,
            summary=summary,
            collector=f"pilotage {__version__} release",
            collected=release.created,
            subject=release.digest,
            renew="pilotage release build",
        )

    if loaded.manifest.runtime == "onnx":
        yield shown("governance.artefact_safe", "it is served as ONNX: operators and numbers, no code", "E3")
    if "card.md" in loaded.manifest.files:
        worded = facts.system.paper != PaperWords()
        said = "the release holds a card filled from its evidence"
        said += "" if worded else "; nobody said what it is not for: declare `paper` in pilotage.yaml"
        yield shown("governance.model_card", said, "E3", 1.0 if worded else 0.5)
    if "evaluation.json" in loaded.manifest.files:
        document = msgspec.json.decode(loaded.file("evaluation.json"))
        yield from evaluated(document, release.digest, release.created)
    serving = loaded.serving
    said = f"from {serving.threshold:g} up the answer is {serving.adverse!r}: a setting of the release"
    yield shown("business.threshold", said, "E3")
    if facts.run:
        yield shown("data.lineage", f"pipeline run {short(facts.run)} made it, each step with its digests", "E3")


def _observed(
    installation: Installation, facts: _Facts, loaded: LoadedRelease | None, at: int, skipped: list[str]
) -> Telemetry | None:
    if facts.placed is None:
        skipped.append("telemetry: nothing is live")
        return None
    load = (loaded.system() if loaded is not None else facts.system).evaluation.load
    verified = _verified(facts.verified, at)
    return telemetry_of(installation, facts.placed, load, at, skipped, since=facts.live_since, verified=verified)


def _verified(newest: Evidence | None, at: int) -> bool | None:
    if newest is None or at >= newest.collected + LIFE_DAYS * _DAY_US:
        return None
    return newest.passed
