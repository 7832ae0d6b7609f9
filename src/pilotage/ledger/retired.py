"""What the events of retention say is gone: entry bundles, by number, with the digest of what was left of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Row

from pilotage.kernel.clock import rfc3339
from pilotage.ledger import store
from pilotage.ledger.kept import PAST
from pilotage.ledger.record import Outcome, Plain, Times
from pilotage.ledger.tiles import TILE_WIDTH

__all__ = ["RETIRED_ENTRIES", "PastRetention", "bundles_named_by", "deletions", "past_plain", "past_retention"]

RETIRED_ENTRIES = "retention.entries"
"""The kind of the event. `facts`: {"bundles": {number: digest of what is left}, "entries": how many went, "rules":
{system: how long they were kept, in words}}."""


@dataclass(frozen=True, kw_only=True)
class PastRetention:
    """Why an entry is not there any more: how long its system keeps such entries, in words, when it was `deleted` (Unix
    microseconds), and the `event` under which the ledger proves the deletion.
    """

    rule: str
    deleted: int
    event: str

    def __str__(self) -> str:
        kept = f" (kept {self.rule})" if self.rule else ""
        return f"past retention{kept}: deleted {rfc3339(self.deleted)}, event {self.event}"


def bundles_named_by(rows: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """The digests of what is left of each deleted bundle, from rows of `events`: an edited row cannot stop it."""
    facts = [row["facts"].get("bundles") for row in rows if isinstance(row.get("facts"), dict)]
    named = [item for one in facts if isinstance(one, dict) for item in one.items()]
    return {int(number): str(left) for number, left in named if number.isdecimal() and len(number) < 16}


def deletions(connection: Connection) -> Sequence[Row[Any]]:
    """The rows of all such events, the newest first."""
    return store.find_events(connection, RETIRED_ENTRIES, "", 1_000_000)


def past_retention(connection: Connection, leaf: int, system: str) -> PastRetention:
    """Why the entry of a leaf is gone."""
    number = str(leaf // TILE_WIDTH)
    told = next((row for row in deletions(connection) if number in row.facts.get("bundles", {})), None)
    if told is None:
        return PastRetention(rule="", deleted=0, event="unknown: run pilotage audit verify")
    return PastRetention(rule=str(told.facts.get("rules", {}).get(system, "")), deleted=told.at, event=told.id)


def past_plain(id_: str, system: str, at: int) -> Plain:
    """The plain part of a decision of which nothing more is known."""
    return Plain(
        id=id_,
        request_id="",
        system=system,
        release="",
        environment="",
        contract="",
        policy="",
        plan="",
        stage="",
        outcome=cast("Outcome", PAST),
        times=Times(received=at),
        commitment="",
    )
