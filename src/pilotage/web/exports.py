"""An export of decisions or outcomes as an answer: streamed, of any size; API and console give the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.responses import Response, StreamingResponse

from pilotage.access.model import Person, require
from pilotage.access.store import find_person, person_named
from pilotage.errors import InputError, NotFound
from pilotage.ledger.export import begin_export
from pilotage.ledger.outcome_export import STATES, begin_outcome_export
from pilotage.ledger.outcomes import Outcomes
from pilotage.ledger.row_file import FORMATS, RowFile
from pilotage.releases.store import find_release
from pilotage.storage.database import reading
from pilotage.systems.store import find_system
from pilotage.web.filters import LookUps, decision_filter
from pilotage.wiring.installation import Installation

__all__ = ["export_response", "look_ups", "outcomes_response"]

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
    format_ = _one_of("format", query.get("format", "") or FORMATS[0], FORMATS)
    wanted = decision_filter(query, look_ups(installation))
    made = begin_export(
        installation.ledger(), installation.control, person.id, wanted, format_=format_, payload=payload
    )
    return _streamed(installation, made.file, "decisions", {"pilotage-rows": str(made.rows)})


def outcomes_response(installation: Installation, person: Person, query: Mapping[str, str]) -> Response:
    """The outcomes that `system` and `state` choose, as a file. Raises InputError, NotFound before anything is sent."""
    format_ = _one_of("format", query.get("format", "") or FORMATS[0], FORMATS)
    state, system = query.get("state", ""), query.get("system", "")
    if state:
        _one_of("state", state, STATES)
    if system:
        with reading(installation.control) as connection:
            find_system(connection, system)
    made = begin_outcome_export(
        Outcomes(installation.ledger_engine),
        installation.control,
        person.id,
        system=system,
        state=state,
        format_=format_,
        before=installation.ledger().next_leaf(),
    )
    return _streamed(installation, made.file, "outcomes", {})


def _streamed(installation: Installation, file: RowFile, name: str, more: Mapping[str, str]) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}.{file.format}"', **more}
    folder = installation.home.run
    folder.mkdir(exist_ok=True)
    return StreamingResponse(file.pieces(folder), media_type=_TYPES[file.format], headers=headers)


def _one_of(name: str, text: str, choices: Sequence[str]) -> str:
    if text not in choices:
        raise InputError(f"no such {name}", got=text[:80], expected="one of: " + ", ".join(choices), mend="name one")
    return text


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
