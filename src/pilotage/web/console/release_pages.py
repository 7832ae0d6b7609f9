"""A release's page: what it is, the evidence about it, how good it is and for whom; and its card as a file."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pilotage.evidence.model import Evidence, state
from pilotage.evidence.store import for_subject
from pilotage.kernel.clock import now_us
from pilotage.papers.model import KINDS
from pilotage.releases.bearing import CHECK as LOAD
from pilotage.releases.load import LoadedRelease, open_release
from pilotage.releases.model import Release
from pilotage.releases.refitting import CHECK as STABILITY
from pilotage.releases.store import find_release
from pilotage.releases.verifying import signature_state
from pilotage.releases.yanking import yanked
from pilotage.storage.database import reading
from pilotage.web.console.data_fault_charts import spoilt_bars
from pilotage.web.console.evaluation_view import evaluation_view
from pilotage.web.console.release_charts import group_bars
from pilotage.web.console.render import Pages, download
from pilotage.web.paper_files import paper_file
from pilotage.web.release_facts import is_live, newest_scan

__all__ = ["routes"]

_FILES = {"card.md": "card.md", "evaluation.json": "evaluation.json", "contract.odcs.yaml": "contract.odcs.yaml"}


def routes(view: Pages) -> list[BaseRoute]:
    """The routes of the page and its files; each runs in a thread, because SQL is synchronous."""
    pages = _ReleasePages(view)
    return [
        Route("/releases/{ref}", pages.one),
        Route("/releases/{ref}/papers/{file}", pages.paper),
        Route("/releases/{ref}/{file}", pages.file),
    ]


class _ReleasePages:
    def __init__(self, view: Pages) -> None:
        self.view = view
        self.installation = view.installation

    def _find(self, request: Request) -> tuple[Release, LoadedRelease]:
        with reading(self.installation.control) as connection:
            release = find_release(connection, request.path_params["ref"])
        return release, open_release(self.installation.releases, release.digest)

    def one(self, request: Request) -> Response:
        person = self.view.person(request, "evidence.read")
        release, loaded = self._find(request)
        with reading(self.installation.control) as connection:
            evidence = for_subject(connection, release.digest)
            taken_back = yanked(connection, release.digest)
        # Newest first: of each check the newest counts.
        newest = {each.check: each for each in reversed(evidence)}
        found, now = json.loads(loaded.file("evaluation.json")), now_us()
        found = found | _refits(newest.get(STABILITY)) if "metrics" in found else None
        scan = newest_scan(self.installation, release)
        fairness = found.get("fairness", []) if found else []
        return self.view.render(
            "release.html",
            section="systems",
            person=person,
            release=release,
            serving=loaded.serving,
            signature=loaded.signature,
            signed=signature_state(loaded, self.installation.keyring.vkeys),
            yanked=taken_back,
            is_live=is_live(self.installation, release),
            scan=scan,
            scan_state=state(scan[0], now) if scan else "",
            evidence=[(each, state(each, now)) for each in newest.values()],
            found=found,
            seen=evaluation_view(found) if found else None,
            load=newest.get(LOAD),
            fairness=[(each, group_bars(each["groups"], "selection_rate")) for each in fairness if _alone(each)],
            spoilt=spoilt_bars(found["messy_cases"]["cases"]) if found and "messy_cases" in found else [],
            together=[each for each in fairness if not _alone(each)],
            files=_FILES,
            papers=KINDS,
        )

    def paper(self, request: Request) -> Response:
        self.view.person(request, "evidence.read")
        release, name = self._find(request)[0], request.path_params["file"]
        content = paper_file(self.installation, release.digest, name, request.query_params.get("against", ""))
        return download(content, f"{release.folder[:12]}-{name}")

    def file(self, request: Request) -> Response:
        self.view.person(request, "evidence.read")
        release, loaded = self._find(request)
        name = request.path_params["file"]
        # Any other name is told by the release itself, which holds files that are not for everybody.
        content = loaded.file(name if name in _FILES else "")
        return download(content, f"{release.folder[:12]}-{name}")


def _refits(evidence: Evidence | None) -> dict[str, Any]:
    """What fitting the model again showed; nothing of releases from before it was tried."""
    return {} if evidence is None else {"stability": evidence.figures}


def _alone(block: dict[str, str]) -> bool:
    return " × " not in block["column"]
