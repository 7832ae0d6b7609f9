"""Scan the packages of a release: licences against the declared policy, versions against advisories; as evidence."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from sqlalchemy import Engine

from pilotage.evidence.model import Evidence, tested
from pilotage.evidence.store import record
from pilotage.kernel.clock import day
from pilotage.releases.load import LoadedRelease
from pilotage.releases.scan.advisories import Advisories
from pilotage.releases.scan.licences import licence_of, rule_on
from pilotage.releases.scan.model import Finding, PackageVerdict, Scan, State
from pilotage.releases.scan.packages import Distribution, Package, installed, locked_packages
from pilotage.storage.database import writing
from pilotage.storage.objects import Objects
from pilotage.systems.papers import PackageRules

__all__ = ["CHECK", "keep_scan", "scan_release"]

CHECK = "environment.scanned"
_DAY = 86_400_000_000
_ORDER = ("low", "medium", "high", "critical")
_NAMED = 20


def scan_release(
    loaded: LoadedRelease,
    rules: PackageRules,
    advisories: Advisories,
    *,
    at: int,
    known: dict[Package, Distribution] | None = None,
) -> Scan:
    """Judge every package of a release's lock by `rules`. `known` is what is installed here (read when None).

    Where nothing is known, "unknown" is said, never "clean": no database, one that is too old or does not cover the
    package, a package that is not installed here in that version and so shows no licence.
    """
    lock = loaded.file("environment.lock")
    described = installed() if known is None else known
    too_old = _too_old(advisories, rules, at)
    packages = tuple(_judged(each, described.get(each), rules, advisories, too_old) for each in locked_packages(lock))
    return Scan(
        release=loaded.digest,
        lock=loaded.manifest.files["environment.lock"].digest,
        at=at,
        database=advisories.database,
        packages=packages,
        missing=tuple(_missing(packages, rules)),
        review=tuple(_review(packages, rules)),
    )


def _too_old(advisories: Advisories, rules: PackageRules, at: int) -> str:
    if advisories.database.form == "none" or at - advisories.database.as_of <= rules.days * _DAY:
        return ""
    return f"the database is of {day(advisories.database.as_of)}, older than {rules.days} days"


def _judged(
    package: Package, found: Distribution | None, rules: PackageRules, advisories: Advisories, too_old: str
) -> PackageVerdict:
    licence = licence_of(found)
    why, hits = advisories.judge(package)
    findings = tuple(_accepted(each, package, rules) for each in hits)
    state: State = "vulnerable" if findings else "unknown" if why or too_old else "clean"
    return PackageVerdict(
        name=package.name,
        version=package.version,
        licence=licence.expression,
        licence_source=licence.source if found is not None else "not installed here in this version",
        ruling=rule_on(licence.expression, allowed=rules.allowed, denied=rules.denied),
        state=state,
        why=why or too_old,
        findings=findings,
        accepted=rules.accepted.get(package.name, ""),
    )


def _accepted(finding: Finding, package: Package, rules: PackageRules) -> Finding:
    names = (finding.id, *finding.aliases, package.name)
    return msgspec.structs.replace(
        finding, accepted=next((rules.accepted[n] for n in names if n in rules.accepted), "")
    )


def _fails(finding: Finding, rules: PackageRules) -> bool:
    """Of no known severity is as bad as can be."""
    if finding.accepted:
        return False
    return finding.severity == "unknown" or _ORDER.index(finding.severity) >= _ORDER.index(rules.fail_from)


def _missing(packages: tuple[PackageVerdict, ...], rules: PackageRules) -> Iterator[str]:
    """Why it does not pass: one line for each fault, and one for all packages of which nothing is known."""
    for each in packages:
        for finding in each.findings:
            if _fails(finding, rules):
                mended = f"; mended in {', '.join(finding.fixed_in)}" if finding.fixed_in else ""
                yield f"{each.name} {each.version}: {finding.id} ({finding.severity}){mended}"
        if each.ruling == "denied" and not each.accepted:
            yield f"{each.name} {each.version}: the licence {each.licence} is not allowed"
    unknown = [each for each in packages if each.state == "unknown" and not each.accepted]
    for why in dict.fromkeys(each.why for each in unknown):
        yield f"vulnerabilities unknown, {why}: {_names(each.name for each in unknown if each.why == why)}"
    unlicensed = [each.name for each in packages if each.ruling == "unknown" and not each.accepted]
    if unlicensed:
        yield f"licence unknown: {_names(unlicensed)}"


def _names(names: Iterator[str] | list[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more


def _review(packages: tuple[PackageVerdict, ...], rules: PackageRules) -> Iterator[str]:
    for each in packages:
        if each.ruling == "review":
            yield f"{each.name} {each.version}: {each.licence} is copyleft"
        for finding in each.findings:
            if not _fails(finding, rules):
                why = f"accepted: {finding.accepted}" if finding.accepted else f"below {rules.fail_from}"
                yield f"{each.name} {each.version}: {finding.id} ({finding.severity}), {why}"


def keep_scan(control: Engine, objects: Objects, found: Scan, rules: PackageRules) -> Evidence:
    """Store the scan, and evidence of it that lives as long as a database may be old."""
    evidence = tested(
        CHECK,
        found.release,
        found.at,
        expires=found.at + rules.days * _DAY,
        passed=found.passed,
        figures={
            "packages": len(found.packages),
            **found.counts,
            "lock": found.lock,
            "database": msgspec.to_builtins(found.database),
            "missing": list(found.missing[:40]),
            "review": list(found.review[:40]),
        },
        artefact=objects.put(msgspec.json.encode(found)),
    )
    with writing(control) as connection:
        record(connection, evidence)
    return evidence
