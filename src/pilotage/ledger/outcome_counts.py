"""Count outcomes by the score that was given: made once, when outcome and decision are both sealed, and added up.

A cell of the score's profile × outcome, by system, release, arm, mode and the decision's day. A later outcome takes the
place of the earlier one: -1 there, +1 here, so that a sum over batches has every decision once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection

from pilotage.ledger import said_store
from pilotage.ledger.rows import DecisionDraft, place_day
from pilotage.ledger.said import category
from pilotage.profiles.counts import count_values
from pilotage.profiles.model import SCORE, ReferenceProfile

__all__ = ["count_outcomes"]

Rows = list[dict[str, Any]]
_ProfileOf = Callable[[str], ReferenceProfile | None]
_Group = tuple[str, str, str, str, str]
_Counts = dict[_Group, dict[str, list[int]]]


class _Decided(Protocol):
    """What counting needs of a decision: its row, or what will become its row."""

    @property
    def id(self) -> str: ...
    @property
    def system(self) -> str: ...
    @property
    def release(self) -> str: ...
    @property
    def arm(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def at(self) -> int: ...
    @property
    def score(self) -> float | None: ...


def count_outcomes(
    told: Rows, decided: Iterable[DecisionDraft], connection: Connection, profile_of: _ProfileOf, batch: str
) -> Rows:
    """The rows of `outcome_counts` of a batch that adds these rows to `outcomes`, and decisions. Writes nothing."""
    any_before = said_store.any_outcome(connection)
    if not told and not any_before:
        return []
    here: dict[str, _Decided] = {each.id: each for each in decided}
    new = _by_decision(told)
    before = said_store.outcomes_of(connection, new.keys() | here.keys()) if any_before else ()
    old = _by_decision(dict(row._mapping) for row in before)
    sealed = {row.id: row for row in said_store.scored(connection, new.keys() - here.keys())}
    changes: _Counts = defaultdict(dict)
    for id_ in old.keys() | new.keys():
        found: _Decided | None = here.get(id_) or sealed.get(id_)
        if found is None or found.score is None:
            continue
        earlier = _newest(old[id_], found) if id_ not in here else None
        latest = _newest([*old[id_], *new[id_]], found)
        _change(changes, found, earlier, latest, profile_of)
    return [
        {"batch": batch, "system": s, "release": r, "arm": a, "mode": m, "day": d, "counts": counts}
        for (s, r, a, m, d), counts in sorted(changes.items())
    ]


def _by_decision(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["decision"]].append(row)
    return groups


def _newest(rows: Sequence[Mapping[str, Any]], decided: _Decided) -> str | None:
    """What the newest outcome that counts for a decision is counted as."""
    fits = [row for row in rows if row["system"] in ("", decided.system) and row["value"] is not None]
    return category(fits[-1]["value"], fits[-1]["number"]) if fits else None


def _change(
    changes: _Counts, decided: _Decided, earlier: str | None, latest: str | None, profile_of: _ProfileOf
) -> None:
    if earlier == latest:
        return
    profile = profile_of(decided.release)
    column = profile.column(SCORE) if profile is not None else None
    if column is None:
        return
    cells = count_values(column, [decided.score])
    counts = changes[decided.system, decided.release, decided.arm, decided.mode, place_day(decided.at)]
    for outcome, sign in ((earlier, -1), (latest, 1)):
        if outcome is not None:
            sums = counts.setdefault(outcome, [0] * len(cells))
            counts[outcome] = [total + sign * cell for total, cell in zip(sums, cells, strict=True)]
