"""The control API of retention: periods, erasures, and legal holds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse

from pilotage.access.model import Person
from pilotage.ledger.erasure import list_holds, place_hold, release_hold
from pilotage.ledger.erasure_requests import erasure_requests
from pilotage.ledger.retention import in_words, retention_floors
from pilotage.ledger.retention_rules import WIDE
from pilotage.web.bodies import (
    Erase,
    PlaceHold,
    SetRetention,
    read_body,
)
from pilotage.web.operation import Operation
from pilotage.wiring.erasing import erase_person
from pilotage.wiring.installation import Installation
from pilotage.wiring.retention import classes_now, enforce, retention_now, set_retention

__all__ = ["table"]


def table(installation: Installation) -> list[Operation]:
    """The operations of retention."""
    kept = _Retention(installation)
    return [
        Operation("GET", "/erasures", "retention.read", kept.erasures, "What became of each request to erase."),
        Operation("POST", "/erasures", "subject.erase", kept.erase, "Erase a person.", Erase, made=(200, 202)),
        Operation("GET", "/retention", "retention.read", kept.retention, "What is kept how long, and what is due."),
        Operation("POST", "/retention", "retention.set", kept.set_retention, "Set a period.", SetRetention),
        Operation("POST", "/retention/enforce", "retention.enforce", kept.enforce, "Delete what is due now."),
        Operation("GET", "/holds", "hold.read", kept.holds, "Legal holds, the newest first."),
        Operation("POST", "/holds", "hold.edit", kept.place_hold, "Place a hold.", PlaceHold, made=(201,)),
        Operation("POST", "/holds/{id}/release", "hold.edit", kept.release_hold, "End a hold."),
    ]


class _Retention:
    """The work behind each route, in a thread; returns JSON values or a response."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation

    def erase(self, _request: Request, person: Person, body: dict[str, Any]) -> Any:
        ask = read_body(Erase, body)
        report = erase_person(self.installation, person, ask.subject, ask.reason)
        return JSONResponse(asdict(report), status_code=202 if report.restricted_until else 200)

    def erasures(self, _request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        found = erasure_requests(self.installation.ledger(), self.installation.ledger_engine)
        return [asdict(each) for each in found]

    def retention(self, _request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        floors = [msgspec.to_builtins(each) for each in retention_floors().values()]
        kept = [asdict(each) for each in retention_now(self.installation)]
        return {"systems": kept, "classes": [asdict(each) for each in classes_now(self.installation)], "floors": floors}

    def set_retention(self, _request: Request, person: Person, body: dict[str, Any]) -> Any:
        ask = read_body(SetRetention, body)
        cover = {"system": ask.system, "of": ask.class_}
        made = set_retention(self.installation, person, **cover, span=ask.span, reason=ask.reason)
        if ask.class_ in WIDE:
            return {"class": ask.class_, "kept": in_words(made.payloads)}
        return {"system": ask.system, "payloads": in_words(made.payloads), "entries": in_words(made.entries)}

    def enforce(self, _request: Request, person: Person, _body: dict[str, Any]) -> Any:
        return asdict(enforce(self.installation, person))

    def holds(self, _request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return [asdict(hold) for hold in list_holds(self.installation.control, self.installation.keyring)]

    def place_hold(self, _request: Request, person: Person, body: dict[str, Any]) -> Any:
        ask = read_body(PlaceHold, body)
        cover = {"subject": ask.subject, "system": ask.system}
        made = place_hold(self.installation.control, self.installation.keyring, ask.reason, person.id, **cover)
        return JSONResponse({"id": made}, status_code=201)

    def release_hold(self, request: Request, person: Person, _body: dict[str, Any]) -> Any:
        release_hold(self.installation.control, request.path_params["id"], person.id)
        return {"id": request.path_params["id"]}
