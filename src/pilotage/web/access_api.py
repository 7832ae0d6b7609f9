"""The control API of API keys, limits and stops: who may ask the gateway, how much, and nobody at all."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse

from pilotage.access.model import Person
from pilotage.kernel.clock import parse_duration, parse_time
from pilotage.web.bodies import IssueKey, Named, Resume, Rotate, SetLimit, Suspend, Switch, read_body
from pilotage.web.operation import Operation
from pilotage.wiring.access import issuers_now, keys_now, limits_now, switch_here, switch_person_here
from pilotage.wiring.installation import Installation

__all__ = ["table"]


def table(installation: Installation) -> list[Operation]:
    """The operations of access."""
    access = _Access(installation)
    return [
        Operation("GET", "/keys", "system.read", access.keys, "API keys, never their secrets."),
        Operation("POST", "/keys", "key.issue", access.issue, "Issue a key, shown this once.", IssueKey, made=(201,)),
        Operation(
            "POST", "/keys/{id}/rotate", "key.issue", access.rotate, "A key in this one's place.", Rotate, made=(201,)
        ),
        Operation("POST", "/keys/{id}/revoke", "key.revoke", access.revoke, "End a key."),
        Operation("GET", "/issuers", "issuer.edit", access.issuers, "Issuers of tokens, and who is known by them."),
        Operation("POST", "/issuers/{issuer}/suspend", "issuer.edit", access.suspend, "Suspend a person.", Suspend),
        Operation("POST", "/issuers/{issuer}/resume", "issuer.edit", access.resume, "Let a person in again.", Resume),
        Operation("GET", "/limits", "system.read", access.limits, "Limits, and what is given out of them."),
        Operation("POST", "/limits", "limit.edit", access.set_limit, "Set a limit.", SetLimit),
        Operation("POST", "/limits/remove", "limit.edit", access.remove_limit, "End a limit.", Named),
        Operation("POST", "/systems/{system}/stop", "system.stop", access.stop, "Answer nothing more.", Switch),
        Operation("POST", "/systems/{system}/start", "system.start", access.start, "Answer again.", Switch),
    ]


class _Access:
    """The work behind each route, in a thread; returns JSON values or a response."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation

    def keys(self, _request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return [each.as_dict() for each in keys_now(self.installation)]

    def issue(self, _request: Request, person: Person, body: dict[str, Any]) -> Any:
        ask = read_body(IssueKey, body)
        until = parse_time(ask.expires) if ask.expires else 0
        rollout = self.installation.rollout
        new = rollout.issue_key(person, name=ask.name, scopes=ask.scopes, networks=ask.networks, expires=until)
        return JSONResponse({"id": new.id, "key": new.text, "expires": new.expires}, status_code=201)

    def rotate(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        id_, overlap = request.path_params["id"], parse_duration(read_body(Rotate, body).overlap)
        new = self.installation.rollout.rotate_key(person, id_, overlap=overlap)
        return JSONResponse({"id": new.id, "key": new.text, "replaces": id_}, status_code=201)

    def revoke(self, request: Request, person: Person, _body: dict[str, Any]) -> Any:
        self.installation.rollout.revoke_key(person, request.path_params["id"])
        return {"id": request.path_params["id"], "revoked": True}

    def issuers(self, _request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return [
            {"name": issuer.name, "issuer": issuer.issuer, "people": [each._asdict() for each in known]}
            for issuer, known in issuers_now(self.installation)
        ]

    def suspend(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        ask, issuer = read_body(Suspend, body), request.path_params["issuer"]
        if ask.here:
            return switch_person_here(self.installation.home, issuer, ask.subject, ask.reason, by=person.id)._asdict()
        made = self.installation.rollout.suspend_person(person, issuer, ask.subject, ask.reason)
        return {"issuer": made.name, "subject": ask.subject, "suspended": len(made.suspended)}

    def resume(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        ask, issuer = read_body(Resume, body), request.path_params["issuer"]
        if ask.here:
            return switch_person_here(self.installation.home, issuer, ask.subject, None, by=person.id)._asdict()
        made = self.installation.rollout.resume_person(person, issuer, ask.subject)
        return {"issuer": made.name, "subject": ask.subject, "suspended": len(made.suspended)}

    def limits(self, _request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return [
            {"id": each.id, **msgspec.to_builtins(each), "given_out": used}
            for each, used in limits_now(self.installation)
        ]

    def set_limit(self, _request: Request, person: Person, body: dict[str, Any]) -> Any:
        made = self.installation.rollout.set_limit(person, read_body(SetLimit, body).limit)
        return {"id": made.id, **msgspec.to_builtins(made)}

    def remove_limit(self, _request: Request, person: Person, body: dict[str, Any]) -> Any:
        id_ = read_body(Named, body).id
        self.installation.rollout.remove_limit(person, id_)
        return {"id": id_, "removed": True}

    def stop(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        ask, system = read_body(Switch, body), request.path_params["system"]
        if ask.here:
            return switch_here(self.installation, person, system, ask.reason)._asdict()
        return msgspec.to_builtins(self.installation.rollout.stop(person, system, ask.reason))

    def start(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        ask, system = read_body(Switch, body), request.path_params["system"]
        if ask.here:
            return switch_here(self.installation, person, system, None)._asdict()
        return msgspec.to_builtins(self.installation.rollout.start(person, system, ask.reason))
