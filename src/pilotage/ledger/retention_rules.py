"""Retention rules that a person set: the newest of a system and class wins over what pilotage.yaml declares.

Rows are only ever added, each attested by its event `retention.set`. A floor of a law is no matter of wish: a shorter
period is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from sqlalchemy import Column, Connection, Engine, Table, Text, insert, select

from pilotage.access.model import Person, require
from pilotage.errors import InputError, Refused
from pilotage.kernel.clock import now_us
from pilotage.kernel.ids import uuid7
from pilotage.ledger.retention import Floor, after, floors_on, in_words
from pilotage.ledger.retiring import Policy
from pilotage.storage.database import BIG, control, writing
from pilotage.storage.outbox import emit
from pilotage.storage.witness import attest

__all__ = ["WIDE", "Class", "RetentionRule", "list_rules", "retention_rules", "set_rule", "wide_rules", "with_rules"]

Class = Literal["payloads", "entries", "denials", "evidence", "journals"]
"""The classes of data whose period can be set."""

WIDE: Mapping[str, Floor] = {"denials": Floor(months=13), "evidence": Floor(), "journals": Floor(days=30)}
"""The classes that are kept by the installation, not by system, and how long unless somebody sets it."""

_MOST_MONTHS, _MOST_DAYS = 1_200, 36_500

retention_rules = Table(
    "retention_rules",
    control,
    Column("id", Text, primary_key=True),
    Column("system", Text, nullable=False),
    Column("of", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("months", BIG, nullable=False),
    Column("days", BIG, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", BIG, nullable=False),
)
"""`mode`: span (months and days, none of both for without end) or declared (what pilotage.yaml says holds again)."""


@dataclass(frozen=True, kw_only=True)
class RetentionRule:
    """What a person set for a class of one system's data; `span` None: as declared, zero: without end. `by` is a
    person's id, `at` in Unix microseconds.
    """

    id: str
    system: str
    of: str
    span: Floor | None
    by: str
    at: int


def list_rules(connection: Connection) -> list[RetentionRule]:
    """Every rule that was ever set, the oldest first: of each system and class the last one holds."""
    rows = connection.execute(select(retention_rules).order_by(retention_rules.c.at, retention_rules.c.id))
    return [
        RetentionRule(
            id=row.id,
            system=row.system,
            of=row.of,
            span=Floor(months=row.months, days=row.days) if row.mode == "span" else None,
            by=row.by,
            at=row.at,
        )
        for row in rows
    ]


def with_rules(declared: Mapping[str, Policy], rules: Iterable[RetentionRule]) -> dict[str, Policy]:
    """The policies that hold: as declared, but for what was set."""
    found = dict(declared)
    newest = {(rule.system, rule.of): rule for rule in rules}
    for (system, of), rule in newest.items():
        if rule.span is None or system not in found:
            continue
        if of == "payloads":
            found[system] = replace(found[system], payloads=rule.span)
        elif of == "entries":
            found[system] = replace(found[system], entries=rule.span)
    return found


def wide_rules(rules: Iterable[RetentionRule], regimes: Iterable[str]) -> dict[str, Policy]:
    """The policy of each class in `WIDE`; `regimes` are those of all systems."""
    newest = {rule.of: rule.span for rule in rules if not rule.system}
    bound = tuple(sorted(set(regimes)))
    return {
        of: Policy(payloads=default if (span := newest.get(of)) is None else span, regimes=bound, of=of)
        for of, default in WIDE.items()
    }


def set_rule(
    engine: Engine,
    person: Person,
    *,
    system: str,
    of: str,
    span: Floor | None,
    declared: Policy,
    reason: str,
    at: int | None = None,
) -> Policy:
    """Set how long a class of a system's data is kept; the policy that holds then. `declared` is the system's own.

    For a class in `WIDE` the system is empty, and `declared` has the regimes of all systems.

    Raises Forbidden, InputError, and Refused(code="retention_floor") for a period below a floor that binds the system.
    """
    require(person, "retention.set")
    moment = now_us() if at is None else at
    with writing(engine) as connection:
        rule = RetentionRule(id=uuid7(), system=system, of=of, span=span, by=person.id, at=moment)
        rules = [*list_rules(connection), rule]
        _check(system, of, span, reason)
        wide = wide_rules(rules, declared.regimes)
        holds = wide[of] if of in WIDE else with_rules({system: declared}, rules)[system]
        _check_order(of, holds)
        _refuse_below_floor(of, span, holds, moment)
        row = {
            "id": rule.id,
            "system": system,
            "of": of,
            "mode": "declared" if span is None else "span",
            "months": span.months if span else 0,
            "days": span.days if span else 0,
            "by": person.id,
            "at": moment,
        }
        connection.execute(insert(retention_rules).values(row))
        facts = {"class": of, "kept": "as declared" if span is None else in_words(span)}
        private = {"by": person.id, "name": person.name, "reason": reason}
        told = facts | {"rows": attest(retention_rules, row)}
        emit(connection, "retention.set", system=system, facts=told, private=private, at=moment)
    return holds


def _check(system: str, of: str, span: Floor | None, reason: str) -> None:
    faults: list[dict[str, object]] = []
    if of not in get_args(Class):
        faults.append({"path": "class", "code": "unknown_class", "message": f"no class is called {of[:40]}"})
    elif (of in WIDE) == bool(system):
        what = "is kept by the whole installation: name no system" if system else "is kept by system: name one"
        faults.append({"path": "system", "code": "wrong_class", "message": f"{of} {what}"})
    if span is not None and not (0 <= span.months <= _MOST_MONTHS and 0 <= span.days <= _MOST_DAYS):
        most = f"0 to {_MOST_MONTHS} months, 0 to {_MOST_DAYS} days"
        faults.append({"path": "period", "code": "out_of_range", "message": "no such period", "expected": most})
    if not reason.strip() or len(reason) > 500:
        faults.append({"path": "reason", "code": "missing", "message": "a rule needs its reason, of 1 to 500 letters"})
    if faults:
        expected = "class " + " or ".join(get_args(Class)) + ", a period, a reason"
        raise InputError("the rule cannot be set", expected=expected, mend="mend what is named", faults=faults)


def _check_order(of: str, holds: Policy) -> None:
    if of == "entries" and holds.entries != Floor() and holds.payloads == Floor():
        raise InputError(
            "entries cannot go before their payloads, and these are kept without end",
            got=f"entries {in_words(holds.entries)}, payloads without end",
            mend="set a period for payloads first",
        )


def _refuse_below_floor(of: str, span: Floor | None, holds: Policy, now: int) -> None:
    """A law's floor wins: what it forbids is not even kept as a wish."""
    if span is None or span == Floor():
        return
    longest = next(iter(floors_on(of, holds.regimes)), None)
    if longest is not None and after(now, longest.floor) > after(now, span):
        whom = "a system here" if of in WIDE else "this system"
        raise Refused(
            f"a law that binds {whom} wants such records kept longer: {longest.law}",
            code="retention_floor",
            got=in_words(span),
            expected=f"at least {in_words(longest.floor)}",
            mend="set a longer period; which laws bind a system is declared in pilotage.yaml (retention: regimes)",
        )
