"""How long an installation keeps what, and the deletions that follow from it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from pilotage.access.model import Person, require
from pilotage.errors import InputError
from pilotage.gates.retiring import finish_evidence, retire_evidence
from pilotage.kernel.clock import now_us
from pilotage.ledger.journal_reader import journal_files, read_frames
from pilotage.ledger.retention import Floor, in_words
from pilotage.ledger.retention_rules import WIDE, list_rules, set_rule, wide_rules, with_rules
from pilotage.ledger.retiring import Policy, StoredSegment, finish, retire, survey
from pilotage.ledger.retiring_entries import StoredBundle, finish_entries, retire_entries, survey_entries
from pilotage.ledger.sealing import Steward
from pilotage.ledger.segment_set import DENIALS
from pilotage.nodes.retiring import retire_copies, survey_copies
from pilotage.nodes.store import list_nodes
from pilotage.storage.database import reading
from pilotage.systems.model import AISystem
from pilotage.systems.store import find_system, list_systems
from pilotage.wiring.erasing import succeed_journal
from pilotage.wiring.installation import Installation
from pilotage.wiring.retention_classes import ClassRetention, class_retention, living_subjects, longest_floor

__all__ = [
    "Enforced",
    "SystemRetention",
    "classes_now",
    "enforce",
    "enforce_now",
    "parse_period",
    "policies_of",
    "retention_now",
    "set_retention",
]


@dataclass(frozen=True, kw_only=True)
class SystemRetention:
    """One system: its wishes and floors in words, what is kept, what is due now, and when the next segment may go.

    `held` segments are due but under a legal hold. The same of entries: `bundles` hold some of its decisions' entries.
    `payloads_set` and `entries_set` are when somebody set the period, 0 where it is as declared, `oldest` and
    `bundles_oldest` since when something is kept. Times in Unix microseconds, 0 for never.
    """

    system: str
    payloads: str
    entries: str
    regimes: tuple[str, ...]
    floor: str
    segments: int
    records: int
    due: int
    due_records: int
    held: int
    next: int
    bundles: int = 0
    bundles_due: int = 0
    bundles_held: int = 0
    bundles_next: int = 0
    payloads_set: int = 0
    entries_set: int = 0
    oldest: int = 0
    bundles_oldest: int = 0


@dataclass(frozen=True, kw_only=True)
class Enforced:
    """What one enforcement deleted: payloads (`records`, with those of denials) in segments, entries in bundles, keys
    under which nothing was left, evidence, copies of journals.
    """

    segments: int
    records: int
    keys: int
    bundles: int
    entries: int
    events: tuple[str, ...]
    evidence: int = 0
    journals: int = 0

    @property
    def something(self) -> bool:
        """Whether anything went."""
        return bool(self.segments or self.bundles or self.evidence or self.journals)


def _policies(installation: Installation) -> dict[str, Policy]:
    """The policies of all that lies in segments: of each system, and of whom gateways turned away."""
    return {**policies_of(installation), DENIALS: wide_policies(installation)["denials"]}


def policies_of(installation: Installation) -> dict[str, Policy]:
    """How long each system's data is kept: as it declares, but for what somebody set."""
    with reading(installation.control) as connection:
        declared = {system.id: _declared(system) for system in list_systems(connection)}
        return with_rules(declared, list_rules(connection))


def wide_policies(installation: Installation) -> dict[str, Policy]:
    """How long each class is kept that is kept by the installation: the default, but for what somebody set."""
    with reading(installation.control) as connection:
        regimes = [regime for system in list_systems(connection) for regime in system.retention.regimes]
        return wide_rules(list_rules(connection), regimes)


def set_retention(
    installation: Installation, person: Person, *, system: str, of: str, span: Floor | None, reason: str
) -> Policy:
    """Set how long a class is kept: payloads or entries of a system, or one of `WIDE`, of no system. None: as declared,
    an empty span: without end. The policy that holds then, with the period of a class of `WIDE` as its `payloads`.

    Raises Forbidden, NotFound, InputError, Refused below a law's floor.
    """
    require(person, "retention.set")
    if of in WIDE or not system:
        declared = wide_policies(installation).get(of, Policy())
    else:
        with reading(installation.control) as connection:
            declared = _declared(find_system(connection, system))
    return set_rule(installation.control, person, system=system, of=of, span=span, declared=declared, reason=reason)


def parse_period(months: str, days: str) -> Floor:
    """A period as forms send it, whole numbers or nothing. Raises InputError."""
    numbers = []
    for text in (months.strip(), days.strip()):
        if text and not (text.isascii() and text.isdigit() and len(text) < 7):
            raise InputError("not a period", got=text[:40], expected="whole numbers of months and days", mend="mend it")
        numbers.append(int(text or "0"))
    if not any(numbers):
        raise InputError(
            "no period is given", expected="months, days, or both", mend="give one, or say that it is kept without end"
        )
    return Floor(months=numbers[0], days=numbers[1])


def _declared(system: AISystem) -> Policy:
    wish = system.retention
    return Policy(payloads=wish.payloads, entries=wish.entries, regimes=tuple(wish.regimes))


def retention_now(installation: Installation, now: int | None = None) -> list[SystemRetention]:
    """What is kept of each system, and what would go now. Deletes nothing."""
    at = now_us() if now is None else now
    policies = _policies(installation)
    kept: dict[str, list[StoredSegment]] = {system: [] for system in policies if system != DENIALS}
    for segment in survey(installation.ledger_engine, installation.control, policies):
        for system in set(segment.systems) - {"", DENIALS}:
            kept.setdefault(system, []).append(segment)
    bundles: dict[str, list[StoredBundle]] = {}
    for bundle in _bundles(installation, policies):
        for system in filter(None, bundle.systems):
            bundles.setdefault(system, []).append(bundle)
    with reading(installation.control) as connection:
        rules = {(rule.system, rule.of): rule.at if rule.span else 0 for rule in list_rules(connection)}
    return [
        replace(
            _of_system(system, policies.get(system, Policy()), kept.get(system, []), bundles.get(system, []), at),
            payloads_set=rules.get((system, "payloads"), 0),
            entries_set=rules.get((system, "entries"), 0),
        )
        for system in kept | bundles
    ]


def classes_now(installation: Installation, now: int | None = None) -> list[ClassRetention]:
    """What is kept of each class that is not kept by system, and what would go now. Deletes nothing."""
    with reading(installation.control) as connection:
        rules = list_rules(connection)
    segments = survey(installation.ledger_engine, installation.control, _policies(installation))
    at = now_us() if now is None else now
    return class_retention(installation, wide_policies(installation), rules, segments, at)


def enforce(installation: Installation, person: Person) -> Enforced:
    """Delete what is due. Raises Forbidden. Cut off, it goes on at the next call, or in the steward."""
    require(person, "retention.enforce")
    steward = installation.steward(holder=f"{installation.settings.node}/retention-{os.getpid()}")
    steward.acquire(steal=True)
    try:
        return enforce_now(installation, steward, person.id)
    finally:
        steward.release()


def enforce_now(installation: Installation, steward: Steward, actor: str) -> Enforced:
    """Delete what is due, with a steward that has the lease: payloads, then entries without payloads, then the rest."""
    policies, now = _policies(installation), steward.clock()
    finish(installation.home.ledger, installation.ledger_engine)
    finish_entries(installation.home.ledger, installation.ledger_engine)
    found = survey(installation.ledger_engine, installation.control, policies)
    over = [segment for segment in found if segment.due(now)]
    if over:
        _leave_no_copy(installation, steward)
    payloads = retire(steward, over, actor)
    rules = {system: in_words(policy.entries) for system, policy in policies.items()}
    due = [bundle for bundle in _bundles(installation, policies) if bundle.due(now)]
    entries = retire_entries(steward, due, actor, rules)
    journals, told = _retire_journals(installation, steward, actor, now)
    return Enforced(
        segments=payloads.segments,
        records=payloads.records,
        keys=payloads.keys,
        bundles=entries.bundles,
        entries=entries.entries,
        events=(*payloads.events, *entries.events, *told),
        evidence=_retire_evidence(installation, actor, now),
        journals=journals,
    )


def _retire_journals(installation: Installation, steward: Steward, actor: str, now: int) -> tuple[int, tuple[str, ...]]:
    span = wide_policies(installation)["journals"].payloads
    with reading(installation.control) as connection:
        found = survey_copies(installation.home.journal, list_nodes(connection), connection, span)
    return retire_copies(steward, [each for each in found if each.due(now)], actor)


def _retire_evidence(installation: Installation, actor: str, now: int) -> int:
    finish_evidence(installation.control, installation.ledger_engine, installation.objects)
    policy = wide_policies(installation)["evidence"]
    with reading(installation.control) as connection:
        living = living_subjects(connection)
    return retire_evidence(installation.control, installation.objects, policy, living, now, actor)


def _leave_no_copy(installation: Installation, steward: Steward) -> None:
    """The last journal of a worker that is gone is never succeeded by itself: it would outlive its payloads."""
    for file in journal_files(installation.home.journal):
        ended = file.newest and file.finished and file.node == installation.settings.node
        if ended and any(True for _ in read_frames(file, steward.keyring.steward)):
            succeed_journal(installation, file)
    steward.seal_all()


def _bundles(installation: Installation, policies: dict[str, Policy]) -> list[StoredBundle]:
    return survey_entries(installation.home.ledger, installation.ledger_engine, installation.control, policies)


def _of_system(
    system: str, policy: Policy, segments: list[StoredSegment], bundles: list[StoredBundle], now: int
) -> SystemRetention:
    due = [segment for segment in segments if segment.due(now)]
    waiting = [segment.until for segment in segments if segment.until > now]
    return SystemRetention(
        system=system,
        payloads=in_words(policy.payloads),
        entries=in_words(policy.entries),
        regimes=policy.regimes,
        floor=longest_floor("payloads", policy.regimes),
        segments=len(segments),
        records=sum(segment.records for segment in segments),
        due=len(due),
        due_records=sum(segment.records for segment in due),
        held=sum(bool(segment.held) and 0 < segment.until <= now for segment in segments),
        next=min(waiting, default=0),
        bundles=len(bundles),
        bundles_due=sum(bundle.due(now) for bundle in bundles),
        bundles_held=sum(bool(bundle.held) and 0 < bundle.until <= now for bundle in bundles),
        bundles_next=min((bundle.until for bundle in bundles if bundle.until > now), default=0),
        oldest=min((segment.since for segment in segments), default=0),
        bundles_oldest=min((bundle.oldest for bundle in bundles), default=0),
    )
