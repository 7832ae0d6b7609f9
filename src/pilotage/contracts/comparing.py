"""What changed between two versions of a contract, and which changes break those who send data."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from pilotage.contracts.accepts import differences
from pilotage.contracts.faults import expectation
from pilotage.contracts.model import Column, DataContract

__all__ = ["Change", "compare_contracts"]

_ASPECTS = ("type", "nullable", "minimum", "maximum", "categories", "format", "pattern", "max_length", "on_fault")
"""What says which values a column takes."""
_MEANINGS = {
    "unit": "callers who send the old unit are answered wrongly",
    "impute": "what was repaired is repaired with another value",
    "personal": "the data is about a person, or no longer",
    "protected": "decisions may not turn on it, or may",
    "unique": "files are held to it",
    "max_age": "files are held to it",
    "purposes": "what the column may be used for",
    "description": "words",
    "example": "words",
}


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change. `breaking`: what the old contract took, the new one may turn away, or read otherwise."""

    path: str
    what: str
    old: str
    new: str
    breaking: bool
    why: str


def compare_contracts(old: DataContract, new: DataContract) -> list[Change]:
    """Every change, the breaking ones first. Where none breaks, the new contract takes every row that the old one took.

    That is held by `accepts.differences`, which fallback chains go by.
    """
    changes = [*_columns(old, new), *_rules(old, new), *_wholes(old, new)]
    if differences(new, old) and not any(each.breaking for each in changes):
        # What does not break by itself may break together: then all of it is told as breaking.
        changes = [msgspec.structs.replace(each, breaking=True) for each in changes]
    return sorted(changes, key=lambda each: not each.breaking)


def _sent(column: Column) -> bool:
    return column.role in ("feature", "subject")


def _columns(old: DataContract, new: DataContract) -> Iterator[Change]:
    for column in new.columns:
        before = old.column(column.name)
        if before is None:
            why = "callers must send it from now on" if _sent(column) else "it is no input"
            yield Change(path=column.name, what="added", old="", new=_told(column), breaking=_sent(column), why=why)
        else:
            yield from _column(old, new, before, column)
    for column in old.columns:
        if new.column(column.name) is None:
            why = "callers who send it are turned away" if _sent(column) else "it was no input"
            yield Change(path=column.name, what="removed", old=_told(column), new="", breaking=_sent(column), why=why)


def _column(old: DataContract, new: DataContract, before: Column, now: Column) -> Iterator[Change]:
    if before.role != now.role:
        breaking = _sent(before) or _sent(now)
        why = "what is sent changes" if breaking else "neither is an input"
        yield Change(path=now.name, what="role", old=before.role, new=now.role, breaking=breaking, why=why)
        return
    for aspect in _ASPECTS:
        was, is_ = getattr(before, aspect), getattr(now, aspect)
        if was != is_:
            narrower = _sent(now) and _turns_away(before, aspect, is_)
            why = f"it took {expectation(before)}" if narrower else "all that was taken still is"
            yield Change(path=now.name, what=aspect, old=_shown(was), new=_shown(is_), breaking=narrower, why=why)
    for aspect, why in _MEANINGS.items():
        was, is_ = getattr(before, aspect), getattr(now, aspect)
        if was != is_:
            breaking = _sent(now) and aspect in ("unit", "impute")
            yield Change(path=now.name, what=aspect, old=_shown(was), new=_shown(is_), breaking=breaking, why=why)


def _turns_away(before: Column, aspect: str, value: object) -> bool:
    """Whether a column with this one aspect changed would turn away what it took before."""
    changed = msgspec.structs.replace(before, **{aspect: value})
    return bool(differences(_only(changed), _only(before)))


class _Bare(msgspec.Struct, frozen=True):
    """As much of a contract as a comparison of its columns needs: a change on its own need not make a whole one."""

    columns: tuple[Column, ...]
    rules: tuple[object, ...] = ()
    brought: dict[str, object] = {}


def _only(column: Column) -> DataContract:
    return _Bare((column,))  # type: ignore[return-value]  # what is read of it is there


def _rules(old: DataContract, new: DataContract) -> Iterator[Change]:
    was, now = ({rule.name: rule for rule in each.rules} for each in (old, new))
    known = {rule.check for rule in old.rules}
    for name, rule in now.items():
        if name not in was or was[name].check != rule.check:
            breaking = rule.check not in known
            before = was[name].check if name in was else ""
            why = "rows that broke no rule may break this one" if breaking else "the same rule by another name"
            yield Change(path=f"rules.{name}", what="rule", old=before, new=rule.check, breaking=breaking, why=why)
        elif was[name].action != rule.action:
            yield Change(
                path=f"rules.{name}",
                what="action",
                old=was[name].action,
                new=rule.action,
                breaking=rule.action == "reject",
                why="what is done about a broken rule",
            )
    for name in was.keys() - now.keys():
        yield Change(
            path=f"rules.{name}", what="rule", old=was[name].check, new="", breaking=False, why="it binds no more"
        )


def _wholes(old: DataContract, new: DataContract) -> Iterator[Change]:
    if old.subject != new.subject:
        yield Change(
            path="subject", what="subject", old=old.subject, new=new.subject, breaking=True, why="who a row is about"
        )
    if old.enrichment != new.enrichment:
        names = [", ".join(sorted(each.brought)) for each in (old, new)]
        yield Change(
            path="enrichment",
            what="enrichment",
            old=names[0],
            new=names[1],
            breaking=True,
            why="what callers send changes",
        )
    if old.keys != new.keys:
        shown = [", ".join(" × ".join(key) for key in each.keys) for each in (old, new)]
        yield Change(path="keys", what="keys", old=shown[0], new=shown[1], breaking=False, why="files are held to it")


def _told(column: Column) -> str:
    return expectation(column) if _sent(column) else column.role


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    if isinstance(value, tuple):
        listed = [f"{each:g}" if isinstance(each, float) else str(each) for each in value]
        return ", ".join(listed[:12]) + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:g}"
    return "" if value is None else str(value)
