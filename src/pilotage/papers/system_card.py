"""The system card: what a system is for, who answers for it, what it passed, and what stands behind it."""

from __future__ import annotations

from collections.abc import Iterator

from pilotage.kernel.clock import day
from pilotage.kernel.digests import short
from pilotage.papers.gather import Dossier
from pilotage.papers.model import Line, Paper, Section, Source, Table, Words, stated, words
from pilotage.papers.model_card import evidence_section

__all__ = ["system_card"]


def system_card(dossier: Dossier) -> Paper:
    """The card of the system that a release belongs to, as seen from that release."""
    system, sources = dossier.system, dossier.sources
    _add_sources(dossier)
    owners = tuple(((name,), (getattr(system.owners, name),)) for name in ("business", "model", "operations", "risk"))
    sections = (
        Section(title="Purpose", blocks=(stated(system.purpose),)),
        Section(title="Intended use", blocks=(stated(system.paper.intended_use),)),
        Section(title="Out of scope", blocks=(stated(system.paper.out_of_scope),)),
        Section(
            title="Who is accountable",
            blocks=(
                words("Risk tier: ", sources.figure("declaration", "risk_tier"), "."),
                Table(head=("for", "who"), rows=owners),
            ),
        ),
        Section(title="Where it stands", blocks=tuple(_stages(dossier))),
        Section(title="Gates passed", blocks=(_gates(dossier),)),
        Section(title="Who approved", blocks=(_approvals(dossier),)),
        Section(title="When it cannot answer", blocks=tuple(_fallback(dossier))),
        Section(title="Limits", blocks=tuple(_limits(dossier))),
        Section(title="How it is watched", blocks=(_monitors(dossier),)),
        Section(title="Incidents", blocks=tuple(_incidents(dossier))),
        Section(title="Use of data", blocks=tuple(_data_use(dossier))),
        Section(title="Human oversight", blocks=tuple(_oversight(dossier))),
        evidence_section(dossier),
        Section(title="Contact", blocks=(stated(system.paper.contact),)),
    )
    sources.cite("release", "declaration")
    return Paper(
        kind="system-card",
        title=f"{system.name}: system card with {dossier.release.name}",
        lead=(f"System {system.id}, release {dossier.release.name} ({short(dossier.release.digest)}).",),
        release=dossier.release.digest,
        sections=sections,
        sources=sources.cited(),
    )


def _add_sources(dossier: Dossier) -> None:
    """Gates and deployments as sources; each gate by the verdict that was kept with it."""
    for stage, passage in dossier.passages.items():
        fresh = [each for each in passage.verdict.checks if each.state == "fresh"]
        dossier.sources.add(
            Source(
                name=f"gate:{stage}",
                title=f"the gate to {stage}, passed {day(passage.at)}",
                id=passage.id,
                digest=passage.digest,
                address=f"/systems/{dossier.release.system}",
            ),
            {
                "day": day(passage.at),
                "policy": short(passage.policy),
                "checks": len(passage.verdict.checks),
                "fresh": len(fresh),
                "approvals": sum(each.state == "held" for each in passage.verdict.approvals),
            },
        )
    promoted = [each for each in dossier.deployments if each.action == "promote"]
    rolled = [each for each in dossier.deployments if each.action == "rollback"]
    dossier.sources.add(
        Source(name="rollout", title="the acts of rollout", address=f"/systems/{dossier.release.system}"),
        {
            "promotions": len(promoted),
            "rollbacks": len(rolled),
            "acts": [{"day": day(each.at), "plan": each.plan} for each in dossier.deployments],
        },
    )


def _stages(dossier: Dossier) -> Iterator[Words | Table]:
    live = dossier.live
    if live is None:
        yield words("Nothing is live.")
        return
    is_this = live.release == dossier.release.digest
    name = "this release" if is_this else dossier.names.get(live.release, short(live.release))
    yield words(f"Live at stage {live.stage}: {name}" + (f"; stopped: {live.stopped}." if live.stopped else "."))
    sources = dossier.sources
    yield words(
        "Promotions so far: ",
        sources.figure("rollout", "promotions", form="d"),
        "; rollbacks: ",
        sources.figure("rollout", "rollbacks", form="d"),
        ".",
    )
    last = list(enumerate(dossier.deployments))[-20:]
    yield Table(
        head=("day", "what", "stage", "release", "plan"),
        rows=tuple(
            (
                (sources.figure("rollout", "acts", at, "day"),),
                (each.action,),
                (each.stage,),
                (dossier.names.get(each.release, short(each.release)),),
                (sources.figure("rollout", "acts", at, "plan", form="d"),),
            )
            for at, each in last
        ),
    )


def _gates(dossier: Dossier) -> Words | Table:
    if not dossier.passages:
        return words("None so far.")
    sources = dossier.sources
    rows = tuple(
        (
            (stage,),
            *((sources.figure(f"gate:{stage}", name),) for name in ("day", "checks", "fresh", "approvals", "policy")),
        )
        for stage in dossier.passages
    )
    return Table(head=("stage", "passed", "checks read", "of them fresh", "approvals held", "policy"), rows=rows)


def _approvals(dossier: Dossier) -> Words | Table:
    if not dossier.approvals:
        return words("Nobody so far.")
    dossier.sources.cite(*(f"gate:{stage}" for stage in dossier.passages))
    rows = tuple(tuple((cell,) for cell in each) for each in dossier.approvals)
    return Table(head=("stage", "as", "who", "granted"), rows=rows)


def _fallback(dossier: Dossier) -> Iterator[Words]:
    serving = dossier.system.serving
    chain = [dossier.names.get(each, each) for each in dossier.fallback]
    if dossier.live is None:
        declared = ", ".join(str(each) for each in serving.fallback) if serving.fallback else "nothing"
        yield words(f"Declared to answer in its place: {declared}.")
    else:
        yield words("Answers in its place, in order: " + (", ".join(chain) or "nothing, the request is refused") + ".")
    deadline = dossier.sources.figure("declaration", "serving", "deadline", form=".10g")
    yield words("An answer must come within ", deadline, " seconds.")


def _limits(dossier: Dossier) -> Iterator[Words]:
    yield stated(dossier.system.paper.limitations)
    sources = dossier.sources
    for name, limit in (sources.value("declaration", "fairness") or {}).items():
        if limit is not None:
            figure = sources.figure("declaration", "fairness", name, form=".10g")
            yield words(f"Declared limit, {name.replace('_', ' ')}: ", figure, ".")


def _monitors(dossier: Dossier) -> Words:
    held = "monitoring.stable" in dossier.evidence
    told = "Inputs and score of every window are compared with the reference profile of the release; "
    return words(told + ("evidence of it is below." if held else "no evidence of it is recorded so far."))


def _incidents(dossier: Dossier) -> Iterator[Words]:
    stops = [each for each in dossier.deployments if each.action in ("stop", "rollback")]
    if not stops:
        yield words("No stop and no rollback is recorded.")
    for at, each in enumerate(dossier.deployments):
        if each in stops:
            when = dossier.sources.figure("rollout", "acts", at, "day")
            yield words(when, f": {each.action}: {each.reason or 'no reason was given'}")


def _data_use(dossier: Dossier) -> Iterator[Words]:
    system = dossier.system
    yield words("Declared purposes: ", ", ".join(system.data_use) or "not stated", ".")
    regimes = system.retention.regimes
    yield words("Regimes of retention: ", ", ".join(regimes) or "not stated", ".")
    personal = [each.name for each in dossier.loaded.contract.columns if each.personal]
    dossier.sources.cite("contract")
    yield words("Personal data it takes: ", ", ".join(personal) or "no column is marked so", ".")


def _oversight(dossier: Dossier) -> Iterator[Words]:
    yield stated(dossier.system.paper.human_oversight)
    answer: Line = (
        "A score from ",
        dossier.sources.figure("serving", "threshold", form=".10g"),
        f" on is answered {dossier.loaded.serving.adverse}; a person can override every answer, on record.",
    )
    yield words(*answer)
