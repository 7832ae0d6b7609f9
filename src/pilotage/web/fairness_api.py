"""The control API of how protected groups fare: the figures since a release went live, and the review of them."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse

from pilotage.access.model import Person
from pilotage.gates.reviewing import confirm, review, reviews_of
from pilotage.kernel.clock import now_us
from pilotage.storage.database import reading
from pilotage.web.bodies import ConfirmFairness, ReviewFairness, read_body
from pilotage.web.operation import Operation
from pilotage.wiring.installation import Installation
from pilotage.wiring.reviewing import measured_fairness

__all__ = ["fairness_document", "table"]


def table(installation: Installation) -> list[Operation]:
    """The operations of fairness."""
    fairness = _Fairness(installation)
    return [
        Operation(
            "GET",
            "/systems/{system}/fairness",
            "evidence.read",
            fairness.show,
            "Protected groups since it went live, and reviews.",
        ),
        Operation(
            "POST",
            "/systems/{system}/fairness/reviews",
            "release.approve",
            fairness.review,
            "Say whether the figures are acceptable.",
            ReviewFairness,
            made=(201,),
        ),
        Operation(
            "POST",
            "/systems/{system}/fairness/reviews/confirm",
            "release.approve",
            fairness.confirm,
            "Stand for the review of another person.",
            ConfirmFairness,
            made=(201,),
        ),
    ]


def fairness_document(installation: Installation, system: str) -> dict[str, Any]:
    """What was measured of the live release's protected groups, and the newest review of each kind, as JSON values."""
    release, found = measured_fairness(installation, system)
    with reading(installation.control) as connection:
        reviews = reviews_of(connection, release)
    told = {"system": system, "release": release, **msgspec.to_builtins(found), "broken": found.broken}
    return told | {"reviews": [msgspec.to_builtins(each) for each in reviews]}


class _Fairness:
    """The work behind each route, in a thread; returns JSON values or a response."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation

    def show(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return fairness_document(self.installation, request.path_params["system"])

    def review(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        said = read_body(ReviewFairness, body)
        release, found = measured_fairness(self.installation, request.path_params["system"])
        control, at = self.installation.control, now_us()
        yes, words = said.acceptable, said.statement
        made = review(control, person, release, found, acceptable=yes, statement=words, at=at)
        return JSONResponse(msgspec.to_builtins(made), status_code=201)

    def confirm(self, request: Request, person: Person, body: dict[str, Any]) -> Any:
        said = read_body(ConfirmFairness, body)
        control, system = self.installation.control, request.path_params["system"]
        made = confirm(control, person, said.review, system=system, at=now_us())
        return JSONResponse(msgspec.to_builtins(made), status_code=201)
