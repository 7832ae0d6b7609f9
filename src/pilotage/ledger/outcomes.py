"""Outcomes and overrides as they are told and read: what is allowed in one, and the reader's side of the index."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from pilotage.errors import InputError
from pilotage.kernel.clock import day, parse_time
from pilotage.ledger import said_store
from pilotage.ledger.said import category
from pilotage.ledger.slicing import BACKFILLED, DECLARED, Sliced, sliced
from pilotage.ledger.sums_store import find_days
from pilotage.profiles.counts import Counts, total
from pilotage.storage.database import reading

__all__ = ["CountedOutcomes", "OutcomeRow", "Outcomes", "Told", "read_told"]

Value = str | int | float | bool
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SYSTEM = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?")
_MOST_TEXT = 200
_AHEAD_US = 300_000_000
_FIELDS = ("decision", "value", "at", "source", "system")


@dataclass(frozen=True, kw_only=True)
class Told:
    """An outcome as told: of which decision, its value, when it became known (Unix microseconds), its source.

    `system` is the one it was told for; empty leaves that open.
    """

    decision: str
    value: Value
    at: int
    source: str = ""
    system: str = ""

    def private(self, by: str) -> dict[str, Any]:
        """The event's private part; `by` is who told it."""
        return {"value": self.value, "at": self.at, "source": self.source, "by": by}


def read_told(fields: Mapping[str, Any], now: int, path: str = "") -> Told:
    """An outcome of JSON values: `decision` and `value`; `at` (now), `source`, `system` if they are given.

    `at` is ISO 8601 text or integer Unix microseconds. Raises InputError with every fault, each under `path`.
    """
    faults: list[dict[str, object]] = []

    def fault(name: str, code: str, message: str, expected: str) -> None:
        faults.append({"path": f"{path}{name}", "code": code, "message": message, "expected": expected})

    for name in fields.keys() - set(_FIELDS):
        fault(str(name)[:80], "unknown_field", "there is no such field", "one of: " + ", ".join(_FIELDS))
    decision = fields.get("decision")
    if not isinstance(decision, str) or not _ID.fullmatch(decision):
        fault("decision", "not_an_id", "this is no decision's id", "the `id` of a reply or receipt, 36 characters")
    value = fields.get("value")
    if "value" not in fields or not _is_value(value):
        fault(
            "value",
            "not_a_value",
            "an outcome needs a label or a number",
            "text of 1 to 200 characters, a finite number, true or false",
        )
    source = fields.get("source", "")
    if not isinstance(source, str) or len(source) > _MOST_TEXT or not source.isprintable():
        fault("source", "not_a_source", "this names no source", f"at most {_MOST_TEXT} printable characters")
    system = fields.get("system", "")
    if not isinstance(system, str) or (system and not _SYSTEM.fullmatch(system)):
        fault("system", "not_a_system", "this is no system's id", "such as credit-default")
    at = _moment(fields.get("at"), now)
    if at is None or not 0 < at <= now + _AHEAD_US:
        fault(
            "at",
            "not_a_time",
            "the truth cannot have become known then",
            "ISO 8601, or Unix microseconds, not in the future",
        )
    if faults:
        raise InputError(
            "the outcome cannot be recorded",
            mend="mend every fault listed, then send it again",
            code="outcome_invalid",
            faults=faults,
        )
    return Told(decision=str(decision), value=value, at=int(at or 0), source=str(source), system=str(system))  # type: ignore[arg-type]  # checked


@dataclass(frozen=True, kw_only=True)
class OutcomeRow:
    """An outcome on record, and the decision it is about (empty or None while there is none sealed).

    `state`: current, superseded (by a later one), erased, unmatched (no such decision is sealed) or other_system (told
    for another system than the decision's). `told` is when it was recorded, `at` when it became known.
    """

    leaf: int
    event: str
    decision: str
    state: str
    value: str | None
    number: float | None
    at: int | None
    told: int
    system: str
    release: str
    arm: str
    stage: str
    decided: int | None
    decision_leaf: int | None
    label: str | None
    score: float | None


@dataclass(frozen=True, kw_only=True)
class CountedOutcomes:
    """Sums of one slice and UTC day: {name: decisions per cell of the score}; names as in table `outcome_counts`."""

    slice: str
    day: str
    counts: Counts


class Outcomes:
    """Reads outcomes and overrides from the ledger's index."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def list(
        self, *, system: str = "", release: str = "", state: str = "", before: int | None = None, limit: int = 100
    ) -> list[OutcomeRow]:
        """Outcomes, the newest first; empty text stands for any. Page on with `before` the last one's `leaf`."""
        with reading(self._engine) as connection:
            rows = said_store.find_outcomes(
                connection, system=system, release=release, state=state, before=before, limit=limit
            )
        return [_outcome(dict(row._mapping)) for row in rows]

    def known(self, decisions: Iterable[str]) -> dict[str, tuple[str, int]]:
        """The newest (value, at) told of each decision that has an outcome."""
        with reading(self._engine) as connection:
            rows = said_store.outcomes_of(connection, decisions)
        return {row.decision: (row.value, row.at) for row in rows if row.value is not None}

    def current(self, systems: Mapping[str, str]) -> dict[str, str]:
        """What the outcome that counts of each decision is counted as; `systems` are the decisions' systems by id."""
        with reading(self._engine) as connection:
            rows = said_store.outcomes_of(connection, systems)
        fits = [row for row in rows if row.value is not None and row.system in ("", systems[row.decision])]
        return {row.decision: category(row.value, row.number) for row in fits}

    def sealed(self, decisions: Iterable[str]) -> dict[str, str]:
        """The system of each of these decisions that is sealed."""
        with reading(self._engine) as connection:
            return {row.id: row.system for row in said_store.scored(connection, decisions)}

    def by_score(
        self, system: str, release: str, *, arm: str = "", mode: str = "live", since: str = "", until: str = ""
    ) -> Counts:
        """A sum of decisions by outcome and cell of the release's score: {outcome: [per cell]}; UTC days, inclusive."""
        with reading(self._engine) as connection:
            rows = said_store.count_rows(
                connection, system=system, release=release, arm=arm, mode=mode, since=since, until=until
            )
        summed = total(row.counts for row in rows)
        return {outcome: cells for outcome, cells in sorted(summed.items()) if any(cells)}

    def counted(
        self, system: str, release: str, *, arm: str = "", mode: str = "live", since: str = "", until: str = ""
    ) -> Sequence[CountedOutcomes]:
        """The counts of outcomes by slice and UTC day of the decisions; the slice "" is by score alone, `*` is all."""
        groups: dict[tuple[str, str], list[Counts]] = {}
        with reading(self._engine) as connection:
            for row in said_store.count_rows(
                connection, system=system, release=release, arm=arm, mode=mode, since=since, until=until, slice_=None
            ):
                groups.setdefault((row.slice, row.day), []).append(row.counts)
        return [CountedOutcomes(slice=name, day=day, counts=total(parts)) for (name, day), parts in groups.items()]

    def decided(self, system: str, release: str, *, arm: str = "", mode: str = "live") -> dict[str, dict[str, int]]:
        """How many decisions of a release ended how (answered, ...), by UTC day."""
        days: dict[str, dict[str, int]] = {}
        with reading(self._engine) as connection:
            for row in find_days(connection, system=system, release=release, arm=arm, mode=mode):
                ended = days.setdefault(day(row.at * 1_000_000), {})
                ended[row.outcome] = ended.get(row.outcome, 0) + row.n
        return days

    def overruled(self, system: str, release: str, since: int) -> int:
        """How many live decisions of a release since a moment (Unix microseconds) a person answered otherwise."""
        with reading(self._engine) as connection:
            return said_store.count_overruled(connection, system, release, since)

    def slices(self, system: str) -> Sliced:
        """By what the outcomes of a system are counted, and from when on."""
        with reading(self._engine) as connection:
            return sliced(said_store.slice_events(connection, system, (DECLARED, BACKFILLED)))

    def waiting(self, system: str) -> int:
        """How many outcomes were told before their system's slices were declared and no backfill has reached."""
        spans = self.slices(system).waiting.values()
        if not spans:
            return 0
        with reading(self._engine) as connection:
            return said_store.count_told(connection, system, min(a for a, _ in spans), max(b for _, b in spans))


def _outcome(row: dict[str, Any]) -> OutcomeRow:
    later, of_system = row.pop("later"), row.pop("of_system")
    if row["decision_leaf"] is None:
        state = "unmatched"
    elif row["system"] not in ("", of_system):
        state = "other_system"
    elif row["value"] is None:
        state = "erased"
    else:
        state = "superseded" if later else "current"
    texts = {name: row[name] or "" for name in ("release", "arm", "stage")}
    return OutcomeRow(**{**row, **texts, "state": state, "system": of_system or row["system"]})


def _is_value(value: object) -> bool:
    if isinstance(value, str):
        return bool(value.strip()) and len(value) <= _MOST_TEXT and value.isprintable()
    if isinstance(value, bool):
        return True
    return (isinstance(value, int) and abs(value) < 2**63) or (isinstance(value, float) and math.isfinite(value))


def _moment(at: object, now: int) -> int | None:
    if at is None:
        return now
    if isinstance(at, int) and not isinstance(at, bool):
        return at
    try:
        return parse_time(at) if isinstance(at, str) and len(at) <= 40 else None
    except (InputError, OverflowError, ValueError):
        return None
