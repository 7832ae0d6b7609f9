"""Compile how a release answers when it goes live: its own `serving:` section, and a fallback chain that really fits.

A target joins the chain only if its input contract accepts all that the live release's does, and its answers are of
the same kind. That is judged once, when a release goes live, and kept with that act: no plan judges it again.
"""

from __future__ import annotations

from collections.abc import Sequence

from pilotage.contracts.accepts import differences
from pilotage.errors import Refused
from pilotage.evidence.model import Evidence
from pilotage.gateway.plan import Answering, Target, Together
from pilotage.releases.load import LoadedRelease
from pilotage.releases.together import proven_rows
from pilotage.runtimes.rules import RULES

__all__ = ["answering_of", "refuse_unfit", "unfit"]

Fault = dict[str, object]


def answering_of(release: LoadedRelease, previous: LoadedRelease | None, proof: Evidence | None) -> Answering:
    """How a release answers, with `previous` in its chain when that is declared and there is one.

    `proof` is the newest evidence of whether its rows may be answered together.
    """
    rules = release.system().serving
    targets = []
    for kind in rules.fallback:
        if kind == "rules":
            found = release.manifest.files[RULES].digest
            targets.append(
                Target(kind="rules", release=release.digest, contract=release.manifest.contract, policy=found)
            )
        elif previous is not None:
            manifest = previous.manifest
            targets.append(
                Target(kind="previous", release=previous.digest, contract=manifest.contract, policy=manifest.policy)
            )
    most, environment = proven_rows(proof)
    most = min(most, rules.together)
    return Answering(
        deadline_ms=max(1, round(rules.deadline * 1_000)),
        max_rows=rules.max_rows,
        fallback=targets,
        when_stopped=rules.stopped,
        floor=rules.floor,
        below=rules.below,
        retry=rules.retry,
        breaker=rules.breaker,
        bulkhead=rules.bulkhead,
        together=Together(rows=most, environment=environment) if most > 1 else Together(),
    )


def unfit(release: LoadedRelease, previous: LoadedRelease) -> list[Fault]:
    """Why `previous` may not answer in the place of a release; nothing when it may."""
    ours, theirs = release.serving, previous.serving
    faults = differences(previous.contract, release.contract)
    for name in ("adverse", "favourable", "positive"):
        here, there = getattr(ours, name), getattr(theirs, name)
        if here != there:
            message = f"the answer's {name} is {there!r} there and {here!r} here"
            faults.append({"path": f"answer.{name}", "code": "fallback_incompatible", "message": message})
    return faults


def refuse_unfit(release: LoadedRelease, previous: LoadedRelease, faults: Sequence[Fault]) -> None:
    """Raise Refused (`fallback_incompatible`) when there are faults."""
    if faults:
        raise Refused(
            "the release before cannot be this one's fallback, as its serving section wants",
            got=previous.digest,
            expected="a release that accepts every row that this one does, and answers alike",
            code="fallback_incompatible",
            mend="build the release with a contract that the one before accepts, or without `previous` in"
            " `serving.fallback` until it is the one before",
            faults=list(faults),
        )
