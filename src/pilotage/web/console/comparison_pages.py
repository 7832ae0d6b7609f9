"""What differs between a release and another, and what its contract asks: two pages that lead on from its own."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pilotage.access.model import Person
from pilotage.releases.diff import Moved
from pilotage.releases.model import Release
from pilotage.releases.store import list_releases
from pilotage.releases.yanking import yanked
from pilotage.storage.database import reading
from pilotage.web.console.contract_files import dictionary_file, dictionary_rows
from pilotage.web.console.release_charts import two_spans
from pilotage.web.console.render import Pages, download
from pilotage.web.release_facts import basis, compared, contract_facts, is_live
from pilotage.wiring.releases import found

__all__ = ["routes"]

_MOST_NAMED = 50


def routes(view: Pages) -> list[BaseRoute]:
    """The routes of the pages; each runs in a thread, because SQL is synchronous."""
    pages = _ComparisonPages(view)
    return [
        Route("/releases/{ref}/diff", pages.diff),
        Route("/releases/{ref}/contract", pages.contract),
        Route("/releases/{ref}/contract/dictionary.html", pages.dictionary),
    ]


class _ComparisonPages:
    def __init__(self, view: Pages) -> None:
        self.view = view
        self.installation = view.installation

    def _asked(self, request: Request) -> tuple[Person, Release, str]:
        person = self.view.person(request, "evidence.read")
        release = found(self.installation, request.path_params["ref"])
        return person, release, request.query_params.get("against", "")

    def _around(self, release: Release) -> dict[str, Any]:
        """What both pages say of a release: where it stands, and the others of its system to compare it with."""
        with reading(self.installation.control) as connection:
            known = [each for each in list_releases(connection, release.system) if each.digest != release.digest]
            others = [(each, yanked(connection, each.digest) is not None) for each in known[:_MOST_NAMED]]
            return {"release": release, "yanked": yanked(connection, release.digest), "others": others}

    def diff(self, request: Request) -> Response:
        person, release, against = self._asked(request)
        old = basis(self.installation, release, against)
        made = None if old is None else compared(self.installation, release.digest, old.digest)
        return self.view.render(
            "diff.html",
            section="systems",
            person=person,
            **self._around(release),
            is_live=is_live(self.installation, release),
            old=old,
            diff=made.diff if made else None,
            metrics=_drawn(made.diff.metrics) if made else [],
            fairness=_drawn(made.diff.fairness) if made else [],
        )

    def contract(self, request: Request) -> Response:
        person, release, against = self._asked(request)
        facts = contract_facts(self.installation, release, against)
        return self.view.render(
            "contract.html",
            section="systems",
            person=person,
            **self._around(release),
            is_live=is_live(self.installation, release),
            facts=facts,
            contract=facts.contract,
            columns=dictionary_rows(facts.contract),
        )

    def dictionary(self, request: Request) -> Response:
        _, release, _ = self._asked(request)
        contract = contract_facts(self.installation, release).contract
        return download(dictionary_file(contract).encode(), f"{release.folder[:12]}-contract.html")


def _drawn(moved: list[Moved]) -> list[tuple[Moved, Any]]:
    """Each figure with its two intervals as a picture, None where one of them was not measured."""
    return [(each, two_spans((each.old, each.old_interval), (each.new, each.new_interval))) for each in moved]
