"""The console's pages of what is kept how long, and of erasures and legal holds, with the forms that change them.

Every form is an ordinary POST with a box to tick, so that it works without scripts and nothing goes by a slip.
"""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pilotage.access.model import Person, may
from pilotage.errors import InputError, NotFound
from pilotage.ledger.erasure import list_holds, place_hold, release_hold
from pilotage.ledger.erasure_requests import erasure_requests
from pilotage.ledger.retention import Floor, in_words, retention_floors
from pilotage.storage.database import reading
from pilotage.systems.store import find_system, list_systems
from pilotage.web.console.render import Pages, form
from pilotage.wiring.erasing import erase_person
from pilotage.wiring.retention import classes_now, enforce, parse_period, retention_now, set_retention
from pilotage.wiring.retention_classes import CLASSES

__all__ = ["routes"]

_MOST = 100
_DELETIONS = ("retention.enforced", "retention.entries", "retention.evidence", "retention.journals")


def routes(view: Pages) -> list[BaseRoute]:
    """The routes; pages need `retention.read`, each form the permission of what it does."""
    pages = _RetentionPages(view)
    return [
        Route("/retention", pages.retention),
        Route("/erasure", pages.erasure),
        Route("/retention/set", form(view, "retention.set", pages.set), methods=["POST"]),
        Route("/retention/enforce", form(view, "retention.enforce", pages.enforce), methods=["POST"]),
        Route("/erasure", form(view, "subject.erase", pages.erase), methods=["POST"]),
        Route("/erasure/holds", form(view, "hold.edit", pages.place), methods=["POST"]),
        Route("/erasure/holds/release", form(view, "hold.edit", pages.release), methods=["POST"]),
    ]


class _RetentionPages:
    def __init__(self, view: Pages) -> None:
        self.view = view
        self.installation = view.installation

    def retention(self, request: Request) -> Response:
        person = self.view.person(request, "retention.read")
        ledger = self.installation.ledger()
        told = [row for kind in _DELETIONS for row in ledger.events(kind, "", _MOST)]
        return self.view.render(
            "retention.html",
            section="retention",
            person=person,
            rows=retention_now(self.installation),
            wide=classes_now(self.installation),
            meanings=CLASSES,
            floors=[(each, in_words(each.floor)) for each in retention_floors().values()],
            deletions=sorted(told, key=lambda row: row.leaf, reverse=True)[:_MOST],
            may_set=may(person, "retention.set"),
            may_enforce=may(person, "retention.enforce"),
            done=request.query_params.get("done", "") if request.query_params.get("done") in _DONE else "",
            words=_DONE,
        )

    def erasure(self, request: Request) -> Response:
        person = self.view.person(request, "retention.read")
        requests = erasure_requests(self.installation.ledger(), self.installation.ledger_engine, _MOST)
        asked = request.query_params.get("event", "")
        may_see = may(person, "hold.read")
        with reading(self.installation.control) as connection:
            systems = [each.id for each in list_systems(connection)]
        return self.view.render(
            "erasure.html",
            section="erasure",
            person=person,
            requests=requests,
            asked=next((each for each in requests if each.event == asked), None),
            holds=list_holds(self.installation.control, self.installation.keyring) if may_see else None,
            systems=systems,
            may_erase=may(person, "subject.erase"),
            may_hold=may(person, "hold.edit"),
        )

    def set(self, person: Person, given: dict[str, str]) -> str:
        system, of = given.get("system", ""), given.get("class", "")
        span: Floor | None = {"without_end": Floor(), "declared": None}.get(given.get("mode", ""), Floor(days=-1))
        if span == Floor(days=-1):
            span = parse_period(given.get("months", ""), given.get("days", ""))
        set_retention(self.installation, person, system=system, of=of, span=span, reason=given.get("reason", ""))
        return "/retention?done=set"

    def enforce(self, person: Person, _given: dict[str, str]) -> str:
        done = enforce(self.installation, person)
        return "/retention?done=" + ("deleted" if done.something else "nothing")

    def erase(self, person: Person, given: dict[str, str]) -> str:
        subject = given.get("subject", "").strip()
        if not subject:
            raise InputError("whom to erase is not said", expected="the clients' reference", mend="fill it in")
        report = erase_person(self.installation, person, subject, given.get("reason", "") or "request")
        return "/erasure?" + urlencode({"event": report.event_id})

    def place(self, person: Person, given: dict[str, str]) -> str:
        covers, subject, system = given.get("covers", ""), given.get("subject", "").strip(), given.get("system", "")
        if covers not in ("subject", "system", "all") or (covers == "subject" and not subject):
            raise InputError("what does the hold cover?", expected="one person, one system, or all", mend="choose one")
        reason = given.get("reason", "").strip()
        if not reason:
            raise InputError("a hold needs its reason", mend="say why; it is kept encrypted")
        if covers == "system":
            with reading(self.installation.control) as connection:
                find_system(connection, system)
        cover = {"subject": subject if covers == "subject" else "", "system": system if covers == "system" else ""}
        place_hold(self.installation.control, self.installation.keyring, reason, person.id, **cover)
        return "/erasure"

    def release(self, person: Person, given: dict[str, str]) -> str:
        if not given.get("id"):
            raise NotFound("no hold is named", mend="use the button beside one")
        release_hold(self.installation.control, given["id"], person.id)
        return "/erasure"


_DONE = {
    "set": "The period was set, and is on record.",
    "deleted": "What was due was deleted; the events are below.",
    "nothing": "Nothing was due.",
}
