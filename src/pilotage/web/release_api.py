"""The control API of releases: the list, one, what differs from another, its contract, and the scan of its packages."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request

from pilotage.access.model import Person
from pilotage.rollout.service import live
from pilotage.storage.database import reading
from pilotage.web.filters import page_of
from pilotage.web.operation import Operation
from pilotage.web.release_facts import compared, contract_facts, release_document, release_documents, scan_document
from pilotage.wiring.installation import Installation
from pilotage.wiring.releases import found

__all__ = ["table"]

_MOST_LISTED = 1_000


def table(installation: Installation) -> list[Operation]:
    """The operations of releases."""
    releases = _Releases(installation)
    return [
        Operation(
            "GET",
            "/releases",
            "system.read",
            releases.all,
            "The newest releases: which are live, which are yanked and why.",
            query=("system", "limit"),
        ),
        Operation("GET", "/releases/{ref}", "system.read", releases.one, "One release."),
        Operation(
            "GET",
            "/releases/{ref}/diff",
            "evidence.read",
            releases.diff,
            "What differs from the release in production, or from another.",
            query=("against",),
        ),
        Operation(
            "GET",
            "/releases/{ref}/contract",
            "evidence.read",
            releases.contract,
            "The data contract, and what it changes.",
            query=("against",),
        ),
        Operation("GET", "/releases/{ref}/scan", "evidence.read", releases.scan, "The newest scan of its packages."),
    ]


class _Releases:
    """The work behind each route, in a thread; returns JSON values."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation

    def all(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        limit, _ = page_of(request.query_params, limit=100, most=_MOST_LISTED)
        return release_documents(self.installation, request.query_params.get("system", ""), limit)

    def one(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        release = found(self.installation, request.path_params["ref"])
        placed = live(self.installation.control, release.system)
        with reading(self.installation.control) as connection:
            return release_document(connection, release, placed.release if placed else "")

    def diff(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        made = compared(self.installation, request.path_params["ref"], request.query_params.get("against", ""))
        return {"from": made.old.name, "to": made.new.name, **msgspec.to_builtins(made.diff)}

    def contract(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        release = found(self.installation, request.path_params["ref"])
        facts = contract_facts(self.installation, release, request.query_params.get("against", ""))
        return {
            "release": release.digest,
            "digest": release.contract,
            "contract": facts.contract.as_dict(),
            "against": None if facts.old is None else facts.old.digest,
            "changes": msgspec.to_builtins(facts.changes),
            "uses": facts.uses,
            "against_purpose": facts.beyond,
        }

    def scan(self, request: Request, _person: Person, _body: dict[str, Any]) -> Any:
        return scan_document(self.installation, found(self.installation, request.path_params["ref"]))
