"""All classes of what an installation keeps: how long each by default, what a deletion means, and what there is now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from pilotage.gates.retiring import survey_evidence
from pilotage.ledger.kept_numbers import Number, kept_numbers
from pilotage.ledger.retention import floors_on, in_words
from pilotage.ledger.retention_rules import WIDE, RetentionRule
from pilotage.ledger.retiring import Policy, StoredSegment
from pilotage.ledger.segment_set import DENIALS
from pilotage.nodes.retiring import survey_copies
from pilotage.nodes.store import list_nodes
from pilotage.rollout import store as rollout_store
from pilotage.rollout.model import live_after, previous_release
from pilotage.storage.database import reading
from pilotage.systems.store import list_systems
from pilotage.wiring.installation import Installation
from pilotage.wiring.readiness import subject_of

__all__ = ["CLASSES", "ClassRetention", "KindOfRecord", "class_retention", "living_subjects", "longest_floor"]


@dataclass(frozen=True, kw_only=True)
class KindOfRecord:
    """A class: what is in it, how long it is kept when nobody says otherwise, and what its deletion means.

    `by` is system or installation where a period can be set, else empty.
    """

    name: str
    what: str
    kept: str
    deleting: str
    by: str = ""


def _settable(of: str) -> str:
    return in_words(WIDE[of])


CLASSES = (
    KindOfRecord(
        name="payloads",
        what="what was asked and answered; outcomes, overrides and explanations about it",
        kept="without end",
        deleting="proofs verify; replay says erased; score, label and person leave the lists; keys under which nothing "
        "is left are destroyed",
        by="system",
    ),
    KindOfRecord(
        name="entries",
        what="plain parts of decisions, and of events about them",
        kept="without end; never before their payloads",
        deleting="hashes stay, so proofs verify for whoever kept the record; replay says past retention; sums stay",
        by="system",
    ),
    KindOfRecord(
        name="denials",
        what="whom gateways turned away: addresses and ids of keys, in events request.denied",
        kept=_settable("denials"),
        deleting="the event stays, with its code, minute and count, and its proof; nobody knows any more who it was",
        by="installation",
    ),
    KindOfRecord(
        name="evidence",
        what="evidence, assessments and backtests, with their raw results",
        kept=f"{_settable('evidence')}; always what an approval or a gate binds, and the newest about what is live",
        deleting="the event that recorded it stays in the tree; audit at no longer shows its figures",
        by="installation",
    ),
    KindOfRecord(
        name="journals",
        what="the last copies of journals of a retired node",
        kept=f"{_settable('journals')} after the node was retired; any other goes once it is sealed",
        deleting="nothing: all of it was sealed into the ledger before",
        by="installation",
    ),
    KindOfRecord(
        name="explanations",
        what="why a decision was what it was",
        kept="with their payloads",
        deleting="it can be made again only while the payload is there",
    ),
    KindOfRecord(
        name="sums",
        what="sums of decisions by minute, hour and day",
        kept="without end: numbers over many decisions",
        deleting="never deleted: figures of a window and audit verify add them up",
    ),
    KindOfRecord(
        name="profiles",
        what="counts of features and scores by batch",
        kept="without end: numbers over many decisions",
        deleting="never deleted: drift of any window is added up from them",
    ),
    KindOfRecord(
        name="outcome counts",
        what="counts of outcomes by score and slice",
        kept="without end: numbers over many decisions",
        deleting="never deleted: performance of any window is added up from them",
    ),
    KindOfRecord(
        name="control events",
        what="who approved, promoted, stopped, erased, and why",
        kept="without end",
        deleting="never deleted: they answer who was responsible",
    ),
    KindOfRecord(
        name="tree",
        what="hash tiles, heads, entries of control events",
        kept="without end: no personal data",
        deleting="never deleted: every proof needs them",
    ),
    KindOfRecord(
        name="keys",
        what="keys of people and days",
        kept="until erasure, or until nothing is left under them",
        deleting="what is encrypted under one is unreadable for ever",
    ),
    KindOfRecord(
        name="environments",
        what="serving environments, for replay",
        kept="as you like: no data of decisions",
        deleting="delete the folder as you like: replay makes them again from their locks",
    ),
    KindOfRecord(
        name="logs",
        what="run/, metrics",
        kept="as you like: no personal data",
        deleting="rotate them as you like",
    ),
    KindOfRecord(
        name="exports",
        what="files that somebody exported",
        kept="outside: the installation keeps none",
        deleting="whoever made one deletes it; the event names who and when",
    ),
)
"""Every class of data that an installation has, the ones with a period first."""


@dataclass(frozen=True, kw_only=True)
class ClassRetention:
    """One class that is not kept by system, as it stands: `number` of them (None: not counted), the `oldest`, how many
    are over their time and `due`, how many more a hold keeps (`held`) or something that refers to them (`bound`), and
    when the `next` goes. `set` is when somebody set the period. Times in Unix microseconds, 0 for never.
    """

    name: str
    what: str
    kept: str
    deleting: str
    settable: bool
    floor: str = "none"
    number: int | None = None
    oldest: int = 0
    due: int = 0
    held: int = 0
    bound: int = 0
    next: int = 0
    set: int = 0


def class_retention(
    installation: Installation,
    policies: Mapping[str, Policy],
    rules: Iterable[RetentionRule],
    segments: Iterable[StoredSegment],
    now: int,
) -> list[ClassRetention]:
    """Every class that is kept by the installation; `policies` are those of `WIDE`, `segments` all that are kept."""
    with reading(installation.ledger_engine) as connection:
        numbers = kept_numbers(connection)
    with reading(installation.control) as connection:
        periods = {
            "denials": _denials(segments, now),
            "evidence": _evidence(connection, policies["evidence"], now),
            "journals": _journals(connection, installation, policies["journals"], now),
        }
    when = {rule.of: rule.at if rule.span else 0 for rule in rules if not rule.system}
    return [
        _as_it_stands(each, policies[each.name], periods[each.name], when.get(each.name, 0))
        if each.by
        else _counted(each, numbers.get(each.name))
        for each in CLASSES
        if each.by != "system"
    ]


def longest_floor(of: str, regimes: Iterable[str]) -> str:
    """The floor that binds a class under these regimes, in words with its law."""
    longest = next(iter(floors_on(of, regimes)), None)
    return "none" if longest is None else f"{in_words(longest.floor)} ({longest.law})"


def living_subjects(connection: Connection) -> set[str]:
    """What evidence may be about that is in use: live releases, those a rollback leads to, declared systems."""
    found = {subject_of(system.id) for system in list_systems(connection)}
    for system in rollout_store.deployed_systems(connection):
        history = rollout_store.history(connection, system)
        live = live_after(history)
        found.update(filter(None, (live.release if live else "", previous_release(history))))
    return found


@dataclass(frozen=True, kw_only=True)
class _Stands:
    number: int
    oldest: int
    due: int
    held: int
    next: int
    bound: int = 0


def _denials(segments: Iterable[StoredSegment], now: int) -> _Stands:
    found = [each for each in segments if each.systems == (DENIALS,)]
    return _Stands(
        number=sum(each.records for each in found),
        oldest=min((each.since for each in found), default=0),
        due=sum(each.records for each in found if each.due(now)),
        held=sum(each.records for each in found if each.held and 0 < each.until <= now),
        next=min((each.until for each in found if each.until > now), default=0),
    )


def _evidence(connection: Connection, policy: Policy, now: int) -> _Stands:
    found = survey_evidence(connection, policy, living_subjects(connection), now)
    return _Stands(
        number=len(found),
        oldest=min((each.collected for each in found), default=0),
        due=sum(each.due(now) for each in found),
        held=sum(each.over(now) and bool(each.held) and not each.why for each in found),
        bound=sum(each.over(now) and bool(each.why) for each in found),
        next=min((each.until for each in found if each.until > now), default=0),
    )


def _journals(connection: Connection, installation: Installation, policy: Policy, now: int) -> _Stands:
    nodes = list_nodes(connection)
    found = survey_copies(installation.home.journal, nodes, connection, policy.payloads)
    return _Stands(
        number=sum(each.files for each in found),
        oldest=min((each.oldest for each in found), default=0),
        due=sum(each.files for each in found if each.due(now)),
        held=sum(each.files for each in found if each.held and 0 < each.until <= now),
        next=min((each.until for each in found if each.until > now), default=0),
    )


def _as_it_stands(of: KindOfRecord, policy: Policy, stands: _Stands, when: int) -> ClassRetention:
    return ClassRetention(
        name=of.name,
        what=of.what,
        kept=in_words(policy.payloads),
        deleting=of.deleting,
        settable=True,
        floor=longest_floor(of.name, policy.regimes),
        number=stands.number,
        oldest=stands.oldest,
        due=stands.due,
        held=stands.held,
        bound=stands.bound,
        next=stands.next,
        set=when,
    )


def _counted(of: KindOfRecord, number: Number | None) -> ClassRetention:
    return ClassRetention(
        name=of.name,
        what=of.what,
        kept=of.kept,
        deleting=of.deleting,
        settable=False,
        number=number.number if number is not None else None,
        oldest=number.oldest if number is not None else 0,
    )
