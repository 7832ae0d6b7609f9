"""An export of decisions as an answer: streamed, of any size; API and console give the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.responses import Response, StreamingResponse

from pilotage.access.model import Person, require
from pilotage.errors import InputError
from pilotage.ledger.export import FORMATS, begin_export
from pilotage.releases.store import find_release
from pilotage.storage.database import reading
from pilotage.web.filters import decision_filter
from pilotage.wiring.installation import Installation

__all__ = ["export_response", "release_digest"]

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
    wanted = decision_filter(query, release_digest(installation))
    made = begin_export(
        installation.ledger(), installation.control, person.id, wanted, format_=format_, payload=payload
    )
    headers = {"content-disposition": f'attachment; filename="decisions.{format_}"', "pilotage-rows": str(made.rows)}
    folder = installation.home.run
    folder.mkdir(exist_ok=True)
    return StreamingResponse(made.pieces(folder), media_type=_TYPES[format_], headers=headers)


def release_digest(installation: Installation) -> Callable[[str], str]:
    """A look-up of a release's digest by a short digest or `system@version`; it raises NotFound."""

    def look_up(ref: str) -> str:
        with reading(installation.control) as connection:
            return find_release(connection, ref).digest

    return look_up


def _payload(text: str) -> bool:
    if text not in _YES | _NO:
        raise InputError("payload is yes or no", got=text[:80], expected="yes or no", mend="write payload=yes")
    return text in _YES
