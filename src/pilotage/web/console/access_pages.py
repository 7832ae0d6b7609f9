"""The console's page of API keys and limits, and the forms that change them, stop a system, and start it again.

A new key is the answer to its form, shown this once; everything else leads back to the page that shows it.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from pilotage.access.limits import PERIODS, Limit
from pilotage.access.model import Person, Secret, may
from pilotage.errors import InputError
from pilotage.kernel.clock import now_us, parse_duration
from pilotage.storage.database import reading
from pilotage.systems.store import list_systems
from pilotage.web.console.render import Pages, form
from pilotage.wiring.access import issuers_now, keys_now, limits_now, switch_here, switch_person_here

__all__ = ["routes"]

_DAY = 86_400_000_000
_DONE = {
    "revoked": "The key is revoked: gateways refuse it within a second.",
    "set": "The limit is set: gateways hold requests to it within a second.",
    "removed": "The limit is removed.",
    "suspended": "The person is suspended: their tokens are refused, their sessions have ended.",
    "resumed": "The person's tokens are taken again.",
}


def routes(view: Pages) -> list[BaseRoute]:
    """The routes; the page needs `system.read`, each form the permission of what it does."""
    pages = _AccessPages(view)
    return [
        Route("/access", pages.page),
        Route("/access/keys", form(view, "key.issue", pages.issue), methods=["POST"]),
        Route("/access/keys/rotate", form(view, "key.issue", pages.rotate), methods=["POST"]),
        Route("/access/keys/revoke", form(view, "key.revoke", pages.revoke), methods=["POST"]),
        Route("/access/limits", form(view, "limit.edit", pages.set_limit), methods=["POST"]),
        Route("/access/limits/remove", form(view, "limit.edit", pages.remove_limit), methods=["POST"]),
        Route("/access/suspend", form(view, "issuer.edit", pages.suspend), methods=["POST"]),
        Route("/access/resume", form(view, "issuer.edit", pages.resume), methods=["POST"]),
        Route("/systems/{system}/stop", form(view, "system.stop", pages.stop), methods=["POST"]),
        Route("/systems/{system}/start", form(view, "system.start", pages.start), methods=["POST"]),
    ]


class _AccessPages:
    def __init__(self, view: Pages) -> None:
        self.view, self.installation = view, view.installation

    def page(self, request: Request) -> Response:
        person = self.view.person(request, "system.read")
        return self._page(person, done=_DONE.get(request.query_params.get("done", ""), ""))

    def _page(self, person: Person, *, done: str = "", new: Secret | None = None) -> Response:
        with reading(self.installation.control) as connection:
            systems = [each.id for each in list_systems(connection)]
        keys = keys_now(self.installation)
        return self.view.render(
            "access.html",
            section="access",
            person=person,
            keys=keys,
            working=[each.key for each in keys if each.state == "good"],
            limits=limits_now(self.installation),
            systems=systems,
            periods=PERIODS,
            issuers=issuers_now(self.installation) if may(person, "issuer.edit") else [],
            done=done,
            new=new,
        )

    def issue(self, person: Person, given: dict[str, str]) -> Response:
        actions = [action for action in ("decide", "outcome") if given.get(action) == "yes"]
        days = given.get("days", "").strip()
        expires = now_us() + _whole(days) * _DAY if days else 0
        new = self.installation.rollout.issue_key(
            person,
            name=given.get("name", "").strip(),
            scopes=[f"{action}:{given.get('system', '')}" for action in actions],
            expires=expires,
            networks=given.get("networks", "").replace(",", " ").split(),
        )
        return self._page(person, new=new)

    def rotate(self, person: Person, given: dict[str, str]) -> Response:
        overlap = parse_duration(given.get("overlap", ""))
        return self._page(
            person, new=self.installation.rollout.rotate_key(person, given.get("key", ""), overlap=overlap)
        )

    def revoke(self, person: Person, given: dict[str, str]) -> str:
        self.installation.rollout.revoke_key(person, given.get("key", ""))
        return "/access?done=revoked"

    def set_limit(self, person: Person, given: dict[str, str]) -> str:
        facts = {name: given.get(name, "").strip() for name in ("scope", "unit", "per")}
        numbers = {name: _whole(given.get(name, "") or "0") for name in ("amount", "burst")}
        self.installation.rollout.set_limit(person, Limit(**facts, **numbers))  # type: ignore[arg-type]  # checked there
        return "/access?done=set"

    def remove_limit(self, person: Person, given: dict[str, str]) -> str:
        self.installation.rollout.remove_limit(person, given.get("limit", ""))
        return "/access?done=removed"

    def suspend(self, person: Person, given: dict[str, str]) -> str:
        issuer, subject, reason = (given.get(name, "").strip() for name in ("issuer", "subject", "reason"))
        if given.get("where") == "here":
            switch_person_here(self.installation.home, issuer, subject, reason, by=person.id)
        else:
            self.installation.rollout.suspend_person(person, issuer, subject, reason)
        return "/access?done=suspended"

    def resume(self, person: Person, given: dict[str, str]) -> str:
        where, issuer, identity = [*given.get("who", "").split(" "), "", "", ""][:3]
        if where == "here":
            switch_person_here(self.installation.home, issuer, identity, None, by=person.id)
        else:
            self.installation.rollout.resume_person(person, issuer, identity)
        return "/access?done=resumed"

    def stop(self, person: Person, given: dict[str, str]) -> str:
        return self._switch(person, given["system"], given.get("where", ""), given.get("reason", ""))

    def start(self, person: Person, given: dict[str, str]) -> str:
        return self._switch(person, given["system"], given.get("where", ""), None)

    def _switch(self, person: Person, system: str, where: str, reason: str | None) -> str:
        if where == "here":
            done = switch_here(self.installation, person, system, reason)
            return f"/systems/{system}?done=" + ("here" if done.followed == done.workers else "waits")
        if where != "all":
            raise InputError("where?", got=where[:40], expected="on every node, or on this one", mend="choose one")
        if reason is None:
            self.installation.rollout.start(person, system)
            return f"/systems/{system}?done=started"
        self.installation.rollout.stop(person, system, reason)
        return f"/systems/{system}?done=stopped"


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise InputError("not a whole number", got=text[:40], expected="digits", mend="write it so")
    return int(text)
