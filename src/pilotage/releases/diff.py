"""What differs between two releases: contract, how they answer, figures, fairness, reasons, origin, packages, files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from pilotage.contracts.comparing import Change, compare_contracts
from pilotage.releases.load import LoadedRelease
from pilotage.releases.scan.packages import locked_packages

__all__ = ["Difference", "Moved", "ReleaseDiff", "diff_releases"]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is other in the second release; empty where one of them has none."""

    name: str
    old: str
    new: str


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """A figure in both, with 95 % intervals [low, high] where they were measured.

    `apart` is whether the intervals do not touch: then it moved by more than chance. The other way round says nothing:
    intervals that touch may still hide a difference, which only the same rows asked of both (a backtest) would show.
    """

    name: str
    old: float | None
    new: float | None
    old_interval: list[float] | None = None
    new_interval: list[float] | None = None
    apart: bool = False


class ReleaseDiff(msgspec.Struct, frozen=True, kw_only=True):
    """All that differs. `same_data` is whether both were built from the same file of data, so that figures compare."""

    old: str
    new: str
    same_data: bool
    contract: list[Change]
    serving: list[Difference]
    metrics: list[Moved]
    fairness: list[Moved]
    reasons: list[Difference]
    origin: list[Difference]
    packages: list[Difference]
    environment: list[Difference]
    files: list[Difference]


def diff_releases(old: LoadedRelease, new: LoadedRelease) -> ReleaseDiff:
    """Compare two opened releases, of one system or of two."""
    before, after = (json.loads(each.file("evaluation.json")) for each in (old, new))
    return ReleaseDiff(
        old=old.digest,
        new=new.digest,
        same_data=old.manifest.origin.data == new.manifest.origin.data,
        contract=compare_contracts(old.contract, new.contract),
        serving=_differences(*(msgspec.to_builtins(each.serving) for each in (old, new))),
        metrics=_metrics(before, after),
        fairness=_fairness(before, after),
        reasons=_differences(_reasons(old), _reasons(new)),
        origin=_differences(_origin(old), _origin(new)),
        packages=_differences(_packages(old), _packages(new)),
        environment=_differences(old.manifest.origin.environment, new.manifest.origin.environment),
        files=_differences(_files(old), _files(new)),
    )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    return [
        Difference(name=name, old=_told(old.get(name)), new=_told(new.get(name)))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _told(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _metrics(before: dict[str, Any], after: dict[str, Any]) -> list[Moved]:
    spans = [each.get("intervals_95") or {} for each in (before, after)]
    values = [
        {name: value for name, value in (each.get("metrics") or {}).items() if _is_number(value)}
        for each in (before, after)
    ]
    return [
        _moved(name, *(each.get(name) for each in values), *(each.get(name) for each in spans))
        for name in dict.fromkeys([*values[0], *values[1]])
    ]


def _fairness(before: dict[str, Any], after: dict[str, Any]) -> list[Moved]:
    old, new = (
        {
            f"{block['column']}: {name}": own
            for block in each.get("fairness") or []
            for name, own in (block.get("disparities") or {}).items()
        }
        for each in (before, after)
    )
    return [
        _moved(
            name,
            *(each[name]["value"] if name in each else None for each in (old, new)),
            *([each[name]["low"], each[name]["high"]] if name in each else None for each in (old, new)),
        )
        for name in dict.fromkeys([*old, *new])
    ]


def _moved(name: str, old: Any, new: Any, was: Any, now: Any) -> Moved:
    spans = [
        list(map(float, each))
        if isinstance(each, list | tuple) and len(each) == 2 and all(map(_is_number, each))
        else None
        for each in (was, now)
    ]
    first, second = spans
    apart = first is not None and second is not None and (first[1] < second[0] or second[1] < first[0])
    return Moved(name=name, old=old, new=new, old_interval=first, new_interval=second, apart=apart)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _reasons(release: LoadedRelease) -> dict[str, Any]:
    explainer = release.explainer()
    groups = {
        f"reason {each.code}": f"{each.text} ({', '.join(each.features)}{', not actionable' * (not each.actionable)})"
        for each in explainer.groups
    }
    return {"method": explainer.method, "background": explainer.background, **groups}


def _origin(release: LoadedRelease) -> dict[str, str]:
    origin = release.manifest.origin
    return {"artefact of the pilot": origin.artefact, "data": origin.data, "built by": origin.builder}


def _packages(release: LoadedRelease) -> dict[str, str]:
    return {each.name: each.version for each in locked_packages(release.file("environment.lock"))}


def _files(release: LoadedRelease) -> dict[str, str]:
    return {name: entry.digest for name, entry in release.manifest.files.items()}
