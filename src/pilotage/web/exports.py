"""An export of decisions as an answer: streamed, of any size; API and console give the same."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response, StreamingResponse

from pilotage.access.model import Person, require
from pilotage.access.store import find_person, person_named
from pilotage.errors import InputError, NotFound
from pilotage.ledger.export import FORMATS, begin_export
from pilotage.releases.store import find_release
from pilotage.storage.database import reading
from pilotage.web.filters import LookUps, decision_filter
from pilotage.wiring.installation import Installation

__all__ = ["export_response", "look_ups"]

_TYPES = {
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}
_YES, _NO = frozenset({"1", "true", "yes"}), frozenset({"", "0", "false", "no"})


def export_response(installation: Installation, person: Person, query: Mapping[str, str]) -> Response:
    """The decisions that the query chooses, as a file. Raises Forbidden, InputError before anything is sent."""
    payload = _payload(query.get("payload", ""))
    if payload:
        require(person, "decision.read_payload")
    format_ = query.get("format", "") or FORMATS[0]
    if format_ not in FORMATS:
        raise InputError("no such format", got=format_[:80], expected="one of: " + ", ".join(FORMATS), mend="name one")
    wanted = decision_filter(query, look_ups(installation))
    made = begin_export(
        installation.ledger(), installation.control, person.id, wanted, format_=format_, payload=payload
    )
    headers = {"content-disposition": f'attachment; filename="decisions.{format_}"', "pilotage-rows": str(made.rows)}
    folder = installation.home.run
    folder.mkdir(exist_ok=True)
    return StreamingResponse(made.pieces(folder), media_type=_TYPES[format_], headers=headers)


def look_ups(installation: Installation) -> LookUps:
    """The look-ups of an installation's releases and people."""

    def release(ref: str) -> str:
        with reading(installation.control) as connection:
            return find_release(connection, ref).digest

    def reviewer(ref: str) -> str:
        with reading(installation.control) as connection:
            person = person_named(connection, ref) or find_person(connection, ref)
        if person is None:
            raise NotFound("nobody has this name or id", mend="run: pilotage people list")
        return person.id

    return LookUps(release=release, reviewer=reviewer)


def _payload(text: str) -> bool:
    if text not in _YES | _NO:
        raise InputError("payload is yes or no", got=text[:80], expected="yes or no", mend="write payload=yes")
    return text in _YES
