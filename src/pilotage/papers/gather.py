"""What papers about a release are made from: its files, the registry, evidence, gates, deployments, backtests."""

from __future__ import annotations

import json
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, Engine

from pilotage.access.store import all_people
from pilotage.evidence.model import Evidence, State, state
from pilotage.evidence.stale import CHECK as STALE
from pilotage.evidence.stale import marks_about, stale_reason
from pilotage.evidence.store import for_subject, recorded_digest
from pilotage.gates.model import Passage
from pilotage.gates.store import approvals_of, find_passage
from pilotage.kernel.clock import day
from pilotage.papers.model import Source, Sources
from pilotage.releases.load import LoadedRelease
from pilotage.releases.model import Release
from pilotage.releases.store import list_releases
from pilotage.rollout.model import Deployment, Live, live_after
from pilotage.rollout.store import find_answering, history
from pilotage.storage.database import reading
from pilotage.systems.model import STAGES, AISystem

__all__ = ["Dossier", "gather"]

_FILES = {
    "evaluation": ("evaluation.json", "the evaluation in the release"),
    "serving": ("serving.json", "how the release answers"),
}


@dataclass(frozen=True, kw_only=True)
class Dossier:
    """All that is known of a release at a moment (Unix microseconds)."""

    release: Release
    loaded: LoadedRelease
    system: AISystem
    sources: Sources
    at: int
    evidence: dict[str, tuple[Evidence, State]]
    passages: dict[str, Passage]
    approvals: list[tuple[str, str, str, str]]
    deployments: list[Deployment]
    live: Live | None
    fallback: list[str]
    names: dict[str, str]

    @property
    def address(self) -> str:
        """Its page in the console."""
        return f"/releases/{self.release.folder}"


def gather(control: Engine, release: Release, loaded: LoadedRelease, at: int) -> Dossier:
    """Read it all, in one transaction."""
    with reading(control) as connection:
        return _gather(connection, release, loaded, at)


def _gather(connection: Connection, release: Release, loaded: LoadedRelease, at: int) -> Dossier:
    sources, address = Sources(), f"/releases/{release.folder}"
    facts = msgspec.to_builtins(release) | {"name": release.name, "built": day(release.created)}
    files = {name: msgspec.to_builtins(entry) for name, entry in loaded.manifest.files.items()}
    sources.add(
        Source(name="release", title="its row in the registry", digest=release.digest, address=address),
        facts | {"files": files, "origin": msgspec.to_builtins(loaded.manifest.origin)},
    )
    for name, (file, title) in _FILES.items():
        where = f"{address}/{file}" if file == "evaluation.json" else address
        source = Source(name=name, title=title, digest=loaded.manifest.files[file].digest, address=where)
        sources.add(source, json.loads(loaded.file(file)))
    for name, title, document in (
        ("declaration", "pilotage.yaml as it was", msgspec.to_builtins(loaded.system())),
        ("contract", "the data contract", msgspec.to_builtins(loaded.contract)),
        ("profile", "the reference profile", msgspec.to_builtins(loaded.profile)),
    ):
        file = {"declaration": "system.yaml", "contract": "contract.odcs.yaml", "profile": "profile.json"}[name]
        source = Source(name=name, title=title, digest=loaded.manifest.files[file].digest, address=address)
        sources.add(source, document)
    evidence = _evidence(connection, release, sources, address, at)
    people = {person.id: person.name for person in all_people(connection)}
    passages: dict[str, Passage] = {}
    approvals: list[tuple[str, str, str, str]] = []
    for stage in STAGES:
        passage = find_passage(connection, release.digest, stage)
        if passage is not None:
            passages[stage] = passage
        given = [each for each in approvals_of(connection, release.digest, stage) if not each.withdrawn]
        approvals += [(stage, each.role, people.get(each.person, each.person), day(each.granted)) for each in given]
    acts = history(connection, release.system)
    live = live_after(acts)
    answering = None if live is None else find_answering(connection, live.answering)
    return Dossier(
        release=release,
        loaded=loaded,
        system=loaded.system(),
        sources=sources,
        at=at,
        evidence=evidence,
        passages=passages,
        approvals=approvals,
        deployments=acts,
        live=live,
        fallback=[] if answering is None else [each.release or each.kind for each in answering.fallback],
        names={each.digest: each.name for each in list_releases(connection, release.system)},
    )


def _evidence(
    connection: Connection, release: Release, sources: Sources, address: str, at: int
) -> dict[str, tuple[Evidence, State]]:
    """The newest evidence of each check, with its state now."""
    marks, found = marks_about(connection, release.digest), {}
    for each in for_subject(connection, release.digest):
        if each.check in found or each.check == STALE:
            continue
        now: State = "invalidated" if stale_reason(each, marks) else state(each, at)
        found[each.check] = (each, now)
        source = Source(
            name=each.check,
            title=f"{each.method.lower()} of class {each.grade} by {each.producer}, {day(each.collected)}",
            id=each.id,
            digest=recorded_digest(connection, each.id),
            address=f"{address}#{each.check}",
        )
        sources.add(source, msgspec.to_builtins(each) | {"day": day(each.collected)})
    return dict(sorted(found.items()))
